"""Setting aside in a bucket without versions: a copy on the server, then a delete.

    out    HEAD, copy (only if it is what HEAD told of), HEAD of the copy, delete
    back   what is small is read and put where nothing is; what is large is copied, if HEAD finds
           nothing there; then the copy in quarantine is deleted

At any moment the bytes are in one place or in both. If a crash leaves them in both, the next who
moves this thing finds the same ETag here and there, or where copies have other ones the same bytes,
and only deletes what is one too many.

Why no write is lost that a registry has acknowledged. Between HEAD and the delete there are some
milliseconds, in which a registry may write the same key again.

    blob           The registry writes it only where it has found nothing, so after the delete.
    layer link     What is written is the same bytes. The push that has written it refuses its
                   manifest afterwards, as the link is gone (MANIFEST_BLOB_UNKNOWN), and the
                   client pushes again; or the manifest was there first, and settle finds that.
    index link     The same bytes; only the history of a tag names it.
    revision link  The same bytes; the tag that is written after it is found by settle, which
                   puts the link back. A manifest that is pushed without a tag, while the same
                   manifest is moved away as garbage, in these milliseconds, leaves no trace: its
                   link is looked at once more just before the delete, and the time between the
                   two is all that remains. A bucket with versions has no such gap.
    current        is not told by its path. The registry writes the tag's index before it, so a
                   set that the delete may have hidden shows there, before or after:
                   - An entry newer than `current` before the copy: a set is under way. It is
                     given time to end; then `current` is looked at again, and stays if it is new.
                   - An entry that was not there before, or is newer, after the delete: the tag
                     was set meanwhile. `current` is put again as that entry says, if nothing is
                     there, and the tag stays.
                   Where a probe has shown that the server honours it, the delete is one only of
                   the ETag that was seen.
    upload         Nobody has acknowledged what is newer than the last look; see `collect` for
                   what is written to while it moves.

On Azure it is shorter. The probe has shown that a delete depends on the ETag, and there no two
writes have the same one, not even of the same bytes. What was copied is what HEAD told of, and what
is deleted is that and nothing else: a write in between, by whomever and of whatever, has made the
delete fail. The thing stays, and the copy goes. What is written after the delete is in its place.
So the revision link of a manifest that is pushed again by digest alone is safe there as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from regfs.errors import PathChanged, PathMissing, PathTooLong, StoreError, printable
from regfs.stores.bucket.changing.objects import Objects
from regfs.stores.bucket.changing.own import OwnFile, OwnFiles
from regfs.stores.bucket.listing.aside import (
    LONGEST,
    Aside,
    AsideKind,
    key_of,
    original_of,
    plain_etag,
)
from regfs.stores.bucket.requests.answers import ObjectHead
from regfs.stores.bucket.requests.client import Object
from regfs.stores.bucket.requests.transport import ObjectChanged

UNDER_WAY: Final = 10.0
"""Seconds that a registry takes at most from writing the index of a tag to writing `current`."""
_CURRENT: Final = re.compile(r".+/_manifests/tags/[^/]+/current/link", re.DOTALL)
_INDEX: Final = re.compile(r".+/_manifests/tags/[^/]+/index/([^/]+)/([^/]+)/link", re.DOTALL)
_REVISION: Final = re.compile(r".+/_manifests/revisions/[^/]+/[^/]+/link", re.DOTALL)
_DELETED: Final = 2.0
"""Seconds from a copy to the delete of the original."""
CHANGED: Final = "it has changed while this run was under way"


class TagWrite(NamedTuple):
    """An entry of the history of a tag."""

    mtime: float
    etag: str


class Copies:
    """Moves single objects of a bucket without versions. May be used from several threads."""

    def __init__(
        self,
        objects: Objects,
        own: OwnFiles,
        *,
        conditional: bool,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`conditional` says that the server honours If-Match when it deletes."""
        self._objects = objects
        self._own = own
        self._conditional = conditional
        self._pause = pause

    # -- out -------------------------------------------------------------------------------

    def set_aside(self, source: str, target: str) -> None:
        """Move an object in the tree to a path in quarantine.

        Raises:
            PathMissing: nothing is at `source`.
            PathChanged: it is written to at this moment; it stays.
            StoreError: something is at `target`, or the storage failed.
        """
        found = self._found(source)
        aside = Aside(AsideKind.COPY, found.size, found.mtime, plain_etag(found.etag))
        key = place_key(self._objects, target, aside)
        index = self._index_when_set(source, found) if _is_current(source) else {}
        there = self._own.find(target)
        if there is not None and there.aside != aside:
            raise StoreError(f"{printable(target)}: something is there already")
        self._copy(source, key, found)
        placed = OwnFile(
            target, (Object(key, found.size, self._objects.signed.now() // 1, found.etag),), aside
        )
        self._own.added(placed.objects[0])
        try:
            self._delete(source, found)
        except (PathChanged, PathMissing):
            self._drop(placed)
            raise
        if _is_current(source) and (entry := self._set_meanwhile(source, index)) is not None:
            self._put_current(source, entry)
            self._drop(placed)
            raise PathChanged(f"{printable(source)}: it was set meanwhile")

    def _found(self, path: str) -> ObjectHead:
        found = self._objects.find(f"{self._objects.base}{path}")
        if found is None:
            raise PathMissing(f"{printable(path)}: no such file or folder")
        return found

    def _copy(self, source: str, key: str, found: ObjectHead) -> None:
        try:
            self._objects.copy(f"{self._objects.base}{source}", key, found.size, match=found.etag)
        except ObjectChanged:
            raise PathChanged(f"{printable(source)}: {CHANGED}") from None

    def _delete(self, source: str, found: ObjectHead) -> None:
        key = f"{self._objects.base}{source}"
        if _REVISION.fullmatch(source) and self._found(source) != found:
            raise PathChanged(f"{printable(source)}: {CHANGED}")
        try:
            self._objects.delete(key, match=found.etag if self._conditional else "")
        except ObjectChanged:
            if self._objects.find(key) is None:
                return  # as below: some servers say of what is gone that it is another
            raise PathChanged(f"{printable(source)}: {CHANGED}") from None
        except PathMissing:
            return  # an answer was lost, or a registry has deleted it: either way it is gone

    # -- tags ------------------------------------------------------------------------------

    def _index_when_set(self, source: str, found: ObjectHead) -> dict[str, TagWrite]:
        """Return the index of a tag when no set of it is under way.

        Raises:
            PathChanged: it has just been set.
        """
        index = self._index(source)
        latest = max((entry.mtime for entry in index.values()), default=0.0)
        left = latest + UNDER_WAY - self._objects.signed.now()
        if latest > found.mtime and left > 0:
            self._pause(min(left, UNDER_WAY))
            if self._found(source) != found:
                raise PathChanged(f"{printable(source)}: {CHANGED}")
        return index

    def _index(self, current: str) -> dict[str, TagWrite]:
        """Return the entries of the index of a tag, by their paths."""
        base = self._objects.base
        folder = f"{current.removesuffix('/current/link')}/index"
        return {
            one.key[len(base) :]: TagWrite(one.mtime, one.etag)
            for one in self._objects.below(f"{base}{folder}")
        }

    def _set_meanwhile(self, current: str, before: dict[str, TagWrite]) -> str | None:
        """Return the entry that says what a tag was set to since its index was read."""
        after = self._index(current)
        new = [path for path, entry in after.items() if before.get(path) != entry]
        return max(new, key=lambda path: after[path].mtime, default=None)

    def _put_current(self, current: str, entry: str) -> None:
        found = _INDEX.fullmatch(entry)
        if found is not None:
            # Where the registry has written it by now, that stays.
            digest = f"{found[1]}:{found[2]}"
            self._objects.put_absent(f"{self._objects.base}{current}", digest.encode())

    def _finish_set(self, placed: OwnFile, current: str) -> None:
        """Set a tag that was set while it was moved away by a process that was killed just then."""
        if not _CURRENT.fullmatch(current):
            return
        # What was there before is older. What a restore has brought back is newer; and if it came
        # at once, all of it is new, as no history of a tag that is set once more is.
        first, last = placed.moved - UNDER_WAY, placed.moved + _DELETED
        index = self._index(current)
        new = [one for one, entry in index.items() if first < entry.mtime <= last]
        if 0 < len(new) < len(index):
            self._put_current(current, max(new, key=lambda one: index[one].mtime))

    # -- back ------------------------------------------------------------------------------

    def require_free(self, placed: OwnFile | None, target: str, *, alone: bool) -> None:
        """See that `current` of a tag can come back; `alone` if no other file of it has to.

        Raises:
            StoreError: something is there.
        """
        if placed is not None and alone:
            self._finish_set(placed, target)
        there = self._objects.find(f"{self._objects.base}{target}")
        if there is not None and (placed is None or not self._is_same(target, there, placed)):
            raise StoreError(f"{printable(target)}: something is there already")

    def bring_back(self, placed: OwnFile, target: str) -> None:
        """Move what lies in quarantine to a path in the tree.

        Raises:
            PathMissing: it is gone from there.
            StoreError: something is at `target`, or the storage failed.
        """
        key, copy = f"{self._objects.base}{target}", placed.objects[0]
        there = self._objects.find(key)
        if there is not None and not self._is_same(target, there, placed):
            raise StoreError(f"{printable(target)}: something is there already")
        if there is None:
            write_back(self._objects, copy.key, "", key, copy.size)
        self._drop(placed)

    def _is_same(self, target: str, there: ObjectHead, placed: OwnFile) -> bool:
        """Return whether what is in the tree is what lies in quarantine: a move was not ended."""
        if placed.aside is None or not there.etag or there.size != placed.size:
            return False
        objects, copy = self._objects, placed.objects[0]
        if plain_etag(there.etag) in (placed.aside.etag, plain_etag(copy.etag)):
            return True
        if objects.signed.content_in_etags:
            return False
        return objects.are_same(f"{objects.base}{target}", copy.key)

    # -- for good --------------------------------------------------------------------------

    def drop(self, placed: OwnFile) -> None:
        """Delete what lies in quarantine for good."""
        if placed.aside is not None:
            self._finish_set(placed, original_of(placed.path))
        self._drop(placed)

    def _drop(self, placed: OwnFile) -> None:
        for one in placed.objects:
            self._objects.forget(one.key, versioned=False)
        self._own.removed(placed)


def place_key(objects: Objects, path: str, aside: Aside) -> str:
    """Return the key of a thing in quarantine.

    Raises:
        PathTooLong: it would be longer than keys may be.
    """
    key = f"{objects.base}{key_of(path, aside)}"
    if len(key.encode()) > LONGEST:
        raise PathTooLong(f"{printable(path)}: its key would be longer than {LONGEST} bytes")
    return key


def write_back(objects: Objects, source: str, version: str, key: str, size: int) -> None:
    """Copy an object to a key where nothing was a moment ago; nothing small goes onto something.

    Raises:
        StoreError: something is there by now.
    """
    if not objects.is_small(size):
        try:
            objects.copy(source, key, size, version=version, absent=True)
        except ObjectChanged:
            if not objects.are_same(source, key):  # which they are if an answer was lost
                raise StoreError(f"{printable(key)}: something is there already") from None
        return
    data = objects.content(source, size + 1, version)
    if len(data) != size:
        raise StoreError(f"{printable(source)}: has not the {size} bytes that it had")
    if not objects.put_absent(key, data):
        raise StoreError(f"{printable(key)}: something is there already")


def _is_current(path: str) -> bool:
    return _CURRENT.fullmatch(path) is not None
