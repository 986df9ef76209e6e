"""A bucket that is changed: the contract of a folder over requests.

    move into quarantine     set aside: `copies`, or `versions` where the bucket keeps them; uploads
                             under way: `unfinished`
    move out of it           brought back, never onto something
    delete, delete_tree      below `.regfs` only, for good; nothing in the tree is ever deleted
    append                   `segments`
    create, replace          one put, or one copy on the server
    lock                     `lease`; what has lost it changes nothing more
    sync, claim              nothing: an answer says that it is durable, and there is no limit
    a folder                 is what objects lie in: none is ever empty. A tag or an upload is
                             moved object by object, `current` first out and last back, so that
                             half of one is a tag that is gone, with a history.

What is below the folder of all runs is shown under the paths that everybody else knows (`own`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, TypeVar, cast

from regfs.errors import PathMissing, PathUnsafe, StoreError, printable
from regfs.progress import SILENT, Progress
from regfs.stores import Capability, Entry, FileKind, Report, Store, Writer, ignore
from regfs.stores.blocks import BlockWriter
from regfs.stores.bucket.changing.copies import Copies, place_key
from regfs.stores.bucket.changing.lease import Lease
from regfs.stores.bucket.changing.objects import Objects
from regfs.stores.bucket.changing.own import OwnFile, OwnFiles
from regfs.stores.bucket.changing.probe import Powers, probe
from regfs.stores.bucket.changing.segments import SegmentWriter
from regfs.stores.bucket.changing.unfinished import UnfinishedUploads
from regfs.stores.bucket.changing.versions import Versions
from regfs.stores.bucket.listing.aside import (
    RUNS,
    STATE,
    Aside,
    AsideKind,
    is_own,
    is_quarantined,
    plain_etag,
)
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.client import Object
from regfs.stores.bucket.store import BucketStore

T = TypeVar("T")
R = TypeVar("R")

AHEAD: Final = 16
"""Moves and deletions at once."""
_LOCK: Final = f"{STATE}/lock"
_INSIDE: Final = f"{STATE}/"
_CURRENT: Final = "/current/link"
_FREED_LATER: Final = (
    "what is deleted may be kept for some days (soft delete, versions), and is freed then"
)
_PIECE: Final = 1 << 20
_IN_MEMORY: Final = 8 << 20
"""Bytes of a file that is written at once, from memory."""


class ChangingBucket(BucketStore):
    """The tree in one bucket. May be used from several threads; one at a time changes it."""

    capabilities = Capability.CHANGE | Capability.REQUESTS | Capability.IDENTITIES
    refusal = ""

    def __init__(self, bucket: Bucket, progress: Progress = SILENT) -> None:
        """Nothing is requested yet.

        Raises:
            As `Client`.
        """
        super().__init__(bucket, progress)
        self._own = OwnFiles(self._client, self._uploads)
        self._uploads.set_aside = self._own.uploads
        self._changes: tuple[Objects, Powers, UnfinishedUploads] | None = None
        self._preparing = threading.Lock()
        self._lease: Lease | None = None

    # -- what is there -----------------------------------------------------------------

    def list(self, folder: str, report: Report) -> list[Entry]:
        """Return what is directly in `folder`, sorted by the bytes of the name."""
        if not is_own(folder) or (folder == RUNS and not self._lease):
            return super().list(folder, report)
        return self._own.store(folder).list(folder, report)

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        """Return the names in `folder` when all are folders, else None."""
        if not is_own(folder) or (folder == RUNS and not self._lease):
            return super().subfolders(folder, report)
        return self._own.store(folder).subfolders(folder, report)

    def _below(self, folder: str, report: Report) -> Store:
        if is_own(folder):
            return self._own.store(folder)
        return super()._below(folder, report)

    def stat(self, path: str) -> Entry:
        """Return what is at `path`; a run is as old as the last that came into it."""
        if not is_own(path):
            return super().stat(path)
        if (placed := self._own.find(path)) is not None:
            return placed.entry
        if path.count("/") == RUNS.count("/") + 1:
            if not (moved := self._own.moved_at(path)):
                raise PathMissing(f"{printable(path)}: no such file or folder")
            return Entry(path, 0, moved, kind=FileKind.FOLDER)
        return self._own.store(path).stat(path) if self._lease else super().stat(path)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open an object for reading `length` bytes from `offset`, unbuffered."""
        if not is_own(path):
            return super().open(path, offset, length)
        return self._own.open(self._placed(path), offset, length)

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of an object: all of it when it is shorter."""
        if not is_own(path):
            return super().read(path, limit)
        with self._own.open(self._placed(path), 0, limit) as stream:
            return b"".join(iter(lambda: stream.read(_PIECE), b""))

    def _placed(self, path: str) -> OwnFile:
        placed = self._own.find(path)
        if placed is None:
            self.stat(path)
            raise PathUnsafe(f"{printable(path)}: not a regular file")
        if self._own.grows(placed):
            self._own.parts(path)  # a listing may not show the last ones yet
            placed = self._own.find(path) or placed
        return placed

    # -- moves -------------------------------------------------------------------------

    def move(self, source: str, target: str) -> None:
        """Move a file, or all below a folder, into quarantine or back."""
        for failure in self.move_many([(source, target)]):
            if failure is not None:
                raise failure

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        """Yield for each source and target what `move` would raise, or None once it is moved.

        So many pairs are taken ahead as are moved at once; answers come in their order.
        """
        self._ready()
        remaining = iter(moves)
        while window := tuple(islice(remaining, AHEAD)):
            self._check()
            yield from self._at_once(self._move_pair, window)

    def _move_pair(self, pair: tuple[str, str]) -> StoreError | None:
        try:
            self._move(*pair)
        except StoreError as error:
            if self._lease is not None:
                self._lease.require()  # others may change what this has just made
            return error
        return None

    def _at_once(self, deed: Callable[[T], R], window: Sequence[T]) -> Iterator[R]:
        """Do something to each of a window, by threads; go on only when all have ended.

        Raises:
            What the first that failed has raised: none of the others is still under way.
        """
        pending = [self._pool.submit(deed, one) for one in window]
        try:
            wait(pending)
        except BaseException:  # who interrupts it does not wait for what others still do
            if self._lease is not None:
                self._lease.stop()
            for one in pending:
                one.cancel()
            wait(pending)
            raise
        return iter([one.result() for one in pending])

    def _move(self, source: str, target: str) -> None:
        out = is_quarantined(target)
        if out == is_quarantined(source):
            raise StoreError(f"{printable(source)}: in a bucket, only what is set aside is moved")
        if out:
            self._move_out(source, target)
        else:
            self._move_back(source, target)

    def _move_out(self, source: str, target: str) -> None:
        _, _, mover = self._ready()
        try:
            mover.set_aside(source, target)
            return
        except PathMissing:
            below = [one.path for one in super().walk(source, ignore) if _is_file(one)]
            if not below:
                raise
        for path in sorted(below, key=_current_first):
            mover.set_aside(path, f"{target}{path[len(source) :]}")

    def _move_back(self, source: str, target: str) -> None:
        _, _, mover = self._ready()
        placed = self._own.find(source)
        if placed is not None:
            mover.bring_back(placed, target)
            return
        entries = self._own.store(source).walk(source, ignore)
        below = sorted((one.path for one in entries if _is_file(one)), key=_current_first)
        if not below:
            raise PathMissing(f"{printable(source)}: no such file or folder")
        files = [(self._own.find(path), f"{target}{path[len(source) :]}") for path in below]
        if files[0][1].endswith(_CURRENT):
            # A tag that was set again is another one: its history stays aside as well.
            mover.require_free(*files[0], alone=len(files) == 1)
        for file, place in reversed(files):
            if file is not None:
                mover.bring_back(file, place)

    def replace(self, source: str, target: str) -> None:
        """Copy a file of regfs's own over what is at `target`, and delete it."""
        objects, powers, _ = self._ready()
        self._check()
        key = self._key(source)
        found = objects.find(key)
        if found is None:
            raise PathMissing(f"{printable(source)}: no such file or folder")
        objects.copy(key, self._key(target), found.size, match=found.etag)
        objects.forget(key, versioned=powers.versioned)

    # -- files -------------------------------------------------------------------------

    def create(self, path: str, *, mtime: float | None = None) -> Writer:
        """Begin an object at `path`. In quarantine it keeps `mtime`, anywhere else not."""
        self._ready()
        return _ObjectWriter(self, path, mtime)

    def written(self, path: str, file: BinaryIO, size: int, md5: str, mtime: float | None) -> None:
        """Put what a writer has gathered in place."""
        objects, _, _ = self._ready()
        key = self._key(path)
        aside = None
        if is_quarantined(path):
            if self._own.find(path) is not None:
                raise StoreError(f"{printable(path)}: something is there already")
            aside = Aside(AsideKind.COPY, size, mtime or 0.0, plain_etag(md5))
            key = place_key(objects, path, aside)
        if size <= _IN_MEMORY:
            objects.put(key, file.read())
        else:
            objects.put_file(key, file, size)
        if is_own(path) and (found := self._client.find(key)) is not None:
            self._own.added(Object(key, size, found.mtime, found.etag))

    def append(self, path: str) -> BinaryIO:
        """Open a file for appending, of which each flush is an object."""
        objects, _, _ = self._ready()

        def added(key: str, size: int) -> None:
            found = self._client.find(key)
            mtime = objects.signed.now() if found is None else found.mtime
            self._own.added(Object(key, size, mtime, ""), part_of=path)

        return cast(BinaryIO, SegmentWriter(objects, path, self._own.parts(path), added))

    def share(self, path: str, source: BinaryIO) -> bool:
        """Return False: objects share nothing."""
        return False

    def delete(self, paths: Iterable[str]) -> int:
        """Delete files of regfs's own for good; return how many were there."""
        objects, powers, mover = self._ready()

        def delete(path: str) -> int:
            if is_quarantined(path):
                placed = self._own.find(path)
                if placed is not None:
                    mover.drop(placed)
                return placed is not None
            if is_own(path) and (placed := self._own.find(path)) is not None:
                for one in placed.objects:
                    objects.forget(one.key, versioned=powers.versioned)
                self._own.removed(placed)
                return 1
            if objects.find(self._key(path)) is None:
                return 0
            if not path.startswith(_INSIDE):
                raise StoreError(f"{printable(path)}: is set aside, and never deleted in its place")
            objects.forget(self._key(path), versioned=powers.versioned)
            return 1

        remaining, count = iter(paths), 0
        while window := tuple(islice(remaining, AHEAD)):
            self._check()
            count += sum(self._at_once(delete, window))
        return count

    def delete_tree(self, folder: str) -> int:
        """Delete all of regfs's own below a folder for good; return the number of files."""
        if not folder.startswith(_INSIDE):
            raise StoreError(f"{printable(folder)}: is set aside, and never deleted in its place")
        return self.delete([one.path for one in self.walk(folder, ignore) if _is_file(one)])

    # -- what a disk has -----------------------------------------------------------------

    def require_writable(self, folders: Iterable[str]) -> None:
        """Find out whether we may do all that a change takes; the first that is missing is named.

        Raises:
            RightMissing, StoreError: something is not permitted.
            Refused: regfs does not change a bucket of this kind.
        """
        if list(folders):
            self._ready()

    def claim(self, path: str, size: int) -> None:
        """Do nothing: there is no limit."""

    def sync(self, folder: str) -> None:
        """Do nothing: what was answered is durable."""

    @contextmanager
    def lock(self, path: str, owner: str, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock of the tree while the block runs, if that is what `path` means.

        It is held alone or not at all: a share only sees that nobody holds it. Nobody waits for
        it, so there is no other lock.

        Raises:
            LockHeld: another process holds it.
            LockLost: from the block: the lease could not be renewed.
        """
        if path != _LOCK:
            yield
            return
        if shared:
            # Nothing is written for that: who only reads asks it.
            Lease(Objects(self._client), path, owner, versioned=False).require_free()
            yield
            return
        objects, powers, mover = self._ready()
        lease = Lease(objects, path, owner, versioned=powers.versioned)
        lease.take()
        self._lease = lease
        self._own.hold(True)
        try:
            with objects.guarded(lease.require):
                mover.clear()
                yield
        finally:
            self._lease = None
            self._own.hold(False)
            lease.release()

    def _check(self) -> None:
        """See that the lock is still held, before a batch of changes."""
        if self._lease is not None:
            self._lease.check()

    def _ready(self) -> tuple[Objects, Powers, UnfinishedUploads]:
        """Return what changes the bucket, after finding out what can be done there, once."""
        with self._preparing:
            if self._changes is None:
                objects = Objects(self._client)
                powers = probe(objects)
                if powers.keeps_deleted:
                    self.freed_later = f"{printable(self.url)}: {_FREED_LATER}"
                mover: Copies | Versions = (
                    Versions(objects, self._own)
                    if powers.versioned
                    else Copies(objects, self._own, conditional=powers.conditional)
                )
                unfinished = UnfinishedUploads(objects, self._own, self._uploads, mover)
                self._changes = objects, powers, unfinished
            return self._changes


class _ObjectWriter(BlockWriter):
    """An object that appears whole on `commit`, or not at all."""

    def __init__(self, store: ChangingBucket, path: str, mtime: float | None) -> None:
        self._store = store
        self._path = path
        self._mtime = mtime
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (closed by discard)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._open = True

    def write(self, data: bytes, /) -> int:
        """Add bytes."""
        self._md5.update(data)
        return self._file.write(data)

    def commit(self) -> None:
        """Put it in place, replacing what was there."""
        if not self._open:
            raise StoreError(f"{printable(self._path)}: the file was committed or discarded before")
        size = self._file.tell()
        self._file.seek(0)
        file = cast(BinaryIO, self._file)
        self._store.written(self._path, file, size, self._md5.hexdigest(), self._mtime)
        self.discard()

    def discard(self) -> None:
        """Forget it. Safe to call twice, and after commit."""
        self._open = False
        self._file.close()


def _is_file(entry: Entry) -> bool:
    return entry.kind is FileKind.FILE


def _current_first(path: str) -> tuple[bool, str]:
    return not path.endswith(_CURRENT), path
