"""Setting aside in a bucket with versions: an empty stub, then a delete marker.

    out      HEAD (which version), stub, delete (which makes a marker), versions of that key
    back     the markers above the version are deleted; if another version came between, this one
             is copied to the top, if nothing is there
    for good the version, then the marker above it, then the stub

Nothing is copied, and nothing is deleted until somebody asks for good. At any moment the version
is there; a crash leaves it below a marker, with a stub that says so, or in its place with one.

Why no write is lost. What is written before the marker lies directly below it: the versions are
listed just after, and if it is another one than HEAD told of, the marker is taken away at once.
A crash in between is told later by the same listing, since the marker of a move that ended lies
directly above its version: where another version lies there, and nothing but markers above that,
that version is shown again, be it that somebody has deleted it: doubt keeps. What is written
after the marker lies above it, and is in its place.

A version is named by its id, so what is deleted for good is what was moved away, whatever was
written since; and only if a marker lies directly above it. One that is in its place stays: a
move may have been cut off before its marker, and another run may have brought it back. A marker
is only deleted if there is no older version, which would be in its place again. Older versions
are left to the rules of the bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from regfs.errors import PathChanged, PathMissing, StoreError, printable
from regfs.stores.bucket.changing.copies import CHANGED, place_key, write_back
from regfs.stores.bucket.changing.objects import Objects
from regfs.stores.bucket.changing.own import OwnFile, OwnFiles
from regfs.stores.bucket.listing.aside import Aside, AsideKind, original_of, plain_etag
from regfs.stores.bucket.requests.answers import ObjectVersion
from regfs.stores.bucket.requests.client import Object


class Versions:
    """Moves single objects of a bucket with versions. May be used from several threads."""

    def __init__(self, objects: Objects, own: OwnFiles) -> None:
        self._objects = objects
        self._own = own

    def set_aside(self, source: str, target: str) -> None:
        """Move an object in the tree to a path in quarantine.

        Raises:
            As `Copies.set_aside`.
        """
        key = f"{self._objects.base}{source}"
        found = self._objects.find(key)
        if found is None:
            raise PathMissing(f"{printable(source)}: no such file or folder")
        if not found.version:
            raise StoreError(f"{printable(source)}: the server does not say which version it is")
        aside = Aside(
            AsideKind.VERSION, found.size, found.mtime, plain_etag(found.etag), found.version
        )
        stub = place_key(self._objects, target, aside)
        there = self._own.find(target)
        if there is not None and there.aside != aside:
            raise StoreError(f"{printable(target)}: something is there already")
        if there is None:
            self._objects.put(stub, b"")
            there = OwnFile(target, (Object(stub, 0, self._objects.signed.now() // 1, ""),), aside)
            self._own.added(there.objects[0])
        self._objects.delete(key)
        self._see(source, self._objects.versions(key), there)

    def _see(self, source: str, now: Sequence[ObjectVersion], placed: OwnFile) -> None:
        """See that the version that was meant is the one that the marker hides.

        Raises:
            PathChanged: it is another one, which is in its place again.
        """
        at = _place_of(now, placed)
        if at and now[at - 1].marker:
            return  # whatever lies above has come since
        self._show(f"{self._objects.base}{source}", now, placed)
        self._forget(placed)
        raise PathChanged(f"{printable(source)}: {CHANGED}")

    def require_free(self, placed: OwnFile | None, target: str, *, alone: bool) -> None:
        """See that `current` of a tag can come back; `alone` if no other file of it has to.

        Raises:
            StoreError: something is there.
        """
        there = self._objects.versions(f"{self._objects.base}{target}")
        aside = None if placed is None else placed.aside
        current = _current(there)
        if current is not None and not (aside and _is_same(current, aside)):
            raise StoreError(f"{printable(target)}: something is there already")

    def bring_back(self, placed: OwnFile, target: str) -> None:
        """Move what lies in quarantine to a path in the tree.

        Raises:
            As `Copies.bring_back`.
        """
        aside = placed.aside
        if aside is None or aside.kind is not AsideKind.VERSION:
            self._bring_copy_back(placed, target)
            return
        source = f"{self._objects.base}{original_of(placed.path)}"
        key = f"{self._objects.base}{target}"
        there = self._objects.versions(key)
        if self._show(key, there, placed):
            there = self._objects.versions(key)
        current = _current(there)
        if current is None and key == source and _is_hidden(there, aside.id):
            for marker in takewhile(lambda one: one.marker, there):
                self._objects.delete_version(key, marker.id)
        elif current is None:
            write_back(self._objects, source, aside.id, key, aside.size)
        elif current.id != aside.id and not _is_same(current, aside):
            raise StoreError(f"{printable(target)}: something is there already")
        self._forget(placed)

    def _bring_copy_back(self, placed: OwnFile, target: str) -> None:
        key, copy = f"{self._objects.base}{target}", placed.objects[0]
        if self._objects.find(key) is not None:
            raise StoreError(f"{printable(target)}: something is there already")
        write_back(self._objects, copy.key, "", key, copy.size)
        self._forget(placed)

    def drop(self, placed: OwnFile) -> None:
        """Delete what lies in quarantine for good."""
        aside = placed.aside
        if aside is not None and aside.kind is AsideKind.VERSION:
            key = f"{self._objects.base}{original_of(placed.path)}"
            there = self._objects.versions(key)
            at = _place_of(there, placed)
            self._show(key, there, placed)
            if at and there[at - 1].marker:
                self._drop_hidden(key, there, at)
        self._forget(placed)

    def _drop_hidden(self, key: str, there: Sequence[ObjectVersion], at: int) -> None:
        """Delete the version at a place among all of its key, with the markers that hide it."""
        self._objects.delete_version(key, there[at].id)
        older = there[at + 1 :]
        if all(one.marker for one in older):
            above = takewhile(lambda one: one.marker, reversed(there[:at]))
            for marker in [*older, *above]:
                self._objects.delete_version(key, marker.id)

    def _show(self, key: str, there: Sequence[ObjectVersion], placed: OwnFile) -> bool:
        """Take away the markers above a version that was written before the marker of a move."""
        at = _place_of(there, placed)
        markers = list(takewhile(lambda one: one.marker, there))
        # The marker of a move that has ended lies directly above what it has moved away.
        if not at or there[at - 1].marker or len(markers) >= at:
            return False
        for marker in markers:
            self._objects.delete_version(key, marker.id)
        return bool(markers)

    def _forget(self, placed: OwnFile) -> None:
        for one in placed.objects:
            self._objects.forget(one.key, versioned=True)
        self._own.removed(placed)


def _current(there: Sequence[ObjectVersion]) -> ObjectVersion | None:
    """Return the version that is in its place; None if a marker hides it, or there is none."""
    return there[0] if there and not there[0].marker else None


def _is_hidden(there: Sequence[ObjectVersion], version: str) -> bool:
    """Return whether only markers lie above a version."""
    first = next((one for one in there if not one.marker), None)
    return first is not None and first.id == version and there[0].marker


def _place_of(there: Sequence[ObjectVersion], placed: OwnFile) -> int | None:
    """Return where the version that was moved away is among all of its key."""
    version = "" if placed.aside is None else placed.aside.id
    return next((at for at, one in enumerate(there) if one.id == version), None)


def _is_same(there: ObjectVersion, aside: Aside) -> bool:
    """Return whether what is in its place is what was moved away: a move was not finished."""
    same = plain_etag(there.etag) == aside.etag
    return same and bool(there.etag) and there.size == aside.size
