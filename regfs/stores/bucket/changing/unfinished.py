"""Setting aside an upload under way: an empty stub, and nothing else until it is dropped for good.

    out      a stub in quarantine, which says which upload it is, and the parts that it has
    back     the stub is deleted
    for good the parts are looked at once more, the upload is aborted, then the stub is deleted

While the stub is there, the upload is not shown in the tree (`uploads`), and what lies in
quarantine is as large and as old as the upload is by now: who goes on with it is found as whoever
writes to a file in quarantine is, and gets it back.

What a registry sees that goes on with such an upload. The small files beside it (`startedat`, the
states of the digest) are moved away as objects, so every request that begins afterwards is refused
(BLOB_UPLOAD_UNKNOWN), and the client begins anew. A request that has begun before goes on: its
parts arrive, and settle brings everything back before anything is dropped.

Why nothing is lost that a registry has acknowledged. It acknowledges a blob when the upload is
complete and the object is copied to its place. What is complete is no open upload any more, and
cannot be aborted: the server does one or the other. So an abort meets an upload of which no blob
was acknowledged; its client is told that it failed. The object `data` of an upload, where there
is one, is moved as every object is.

Below `.regfs` nobody but regfs writes, and only who holds the lock: an upload there that is a day
old was begun by a process that was killed, and is aborted by the next that takes the lock.

Only the upload that the stub names is aborted, by its id, and only with the parts that it had when
it was set aside: of what has more, nothing is deleted. Parts that were on their way while it was
aborted may survive, so the server is asked whether it is gone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from regfs.errors import PathChanged, PathMissing, StoreError, printable
from regfs.stores.bucket.changing.copies import Copies, place_key
from regfs.stores.bucket.changing.objects import Objects
from regfs.stores.bucket.changing.own import OwnFile, OwnFiles
from regfs.stores.bucket.changing.versions import Versions
from regfs.stores.bucket.listing.aside import STATE, Aside, AsideKind, original_of, plain_etag
from regfs.stores.bucket.listing.uploads import UploadsUnderWay, is_in_upload, key_of_upload
from regfs.stores.bucket.requests.client import Object

_CUT_OFF: Final = 86_400.0
"""Seconds after which nobody is still writing one object."""


class UnfinishedUploads:
    """Moves objects as `objects` does, and uploads under way. May be used from several threads."""

    def __init__(
        self, objects: Objects, own: OwnFiles, uploads: UploadsUnderWay, mover: Copies | Versions
    ) -> None:
        self._objects = objects
        self._own = own
        self._uploads = uploads
        self._mover = mover

    def clear(self) -> None:
        """Abort writes of regfs itself that were cut off: a day old, below its own folder.

        The caller holds the lock, so nobody else writes there. Who may not list them has to
        leave them: they are counted by `unlisted`.
        """
        signed = self._objects.signed
        with suppress(StoreError):
            latest = signed.now() - _CUT_OFF
            for page in signed.uploads(f"{self._objects.base}{STATE}/"):
                for one in page:
                    if one.initiated < latest:
                        signed.abort(one.key, one.id)

    def set_aside(self, source: str, target: str) -> None:
        """Move an object, or an open upload, to a path in quarantine.

        Raises:
            As `Copies.set_aside`.
        """
        try:
            self._mover.set_aside(source, target)
        except PathMissing:
            if not is_in_upload(source):
                raise
            self._set_upload_aside(source, target)

    def _set_upload_aside(self, source: str, target: str) -> None:
        found = self._uploads.at(source)
        if found is None:
            raise PathMissing(f"{printable(source)}: no such file or folder")
        one = found.object
        aside = Aside(AsideKind.UPLOAD, one.size, one.mtime, plain_etag(one.etag), found.id)
        key = place_key(self._objects, target, aside)
        if self._own.find(target) is not None:
            raise StoreError(f"{printable(target)}: something is there already")
        self._objects.put(key, b"")
        self._own.added(Object(key, 0, self._objects.signed.now(), ""))

    def require_free(self, placed: OwnFile | None, target: str, *, alone: bool) -> None:
        """See that an object can come back to a path. Raises as `Copies.require_free`."""
        self._mover.require_free(placed, target, alone=alone)

    def bring_back(self, placed: OwnFile, target: str) -> None:
        """Move what lies in quarantine to its place.

        Raises:
            As `Copies.bring_back`.
        """
        if _is_upload(placed):
            self._forget(placed)  # where it is, it is still; or the registry has ended it
        else:
            self._mover.bring_back(placed, target)

    def drop(self, placed: OwnFile) -> None:
        """Delete what lies in quarantine for good.

        Raises:
            PathChanged: somebody has gone on with an upload; it stays.
            StoreError: it cannot be aborted.
        """
        if not _is_upload(placed):
            self._mover.drop(placed)
            return
        aside = placed.aside
        assert aside is not None
        key, path = key_of_upload(self._objects.base, placed.path), original_of(placed.path)
        there = self._uploads.now(key, aside.id)
        if there is not None:
            if (there.size, plain_etag(there.etag)) != (aside.size, aside.etag):
                words = "it was written to since it was set aside; nothing of it was deleted"
                raise PathChanged(f"{printable(path)}: {words}")
            with suppress(PathMissing):
                self._objects.signed.abort(key, aside.id)
            if self._uploads.now(key, aside.id) is not None:
                raise StoreError(f"{printable(path)}: is still there after it was aborted")
        self._forget(placed)

    def _forget(self, placed: OwnFile) -> None:
        for one in placed.objects:
            self._objects.forget(one.key, versioned=isinstance(self._mover, Versions))
        self._own.removed(placed)


def _is_upload(placed: OwnFile) -> bool:
    return placed.aside is not None and placed.aside.kind is AsideKind.UPLOAD
