"""Unfinished uploads: bytes that arrive in pieces, and how they become a blob.

    begin     _uploads/<id>/startedat
    receive   _uploads/<id>/data                grows, and is hashed as it does
    commit    blobs/<alg>/<xx>/<hex>/data       the same file, renamed: bytes before links
              _layers/<alg>/<hex>/link
              _uploads/<id>                     removed
    cancel    _uploads/<id>                     removed
    mount     _layers/<alg>/<hex>/link          of a blob that another repository has

The size of `data` is the offset of the upload, so it can be resumed after a restart, here or by
the reference registry. Memory only saves work: a running digest counts if the file is unchanged
since, else the file is read again.

A commit replaces the blob that is there. Verified bytes heal a corrupt blob; identical ones
renew its age, so that gc treats it as in use.

One request at a time writes to an upload. This is ensured within one process only;
`runs.lock.serving_alone` admits only one writable server for each tree.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final, NamedTuple

from regfs import layout
from regfs.digest import ALGORITHMS, CANONICAL, Digest, Hasher, hash_stream
from regfs.errors import (
    AlgorithmUnsupported,
    BlobTooLarge,
    BlobUnknown,
    ContentMismatch,
    OutOfOrder,
    PathMissing,
    SizeInvalid,
    StoreError,
    UploadInvalid,
    UploadUnknown,
    quoted,
)
from regfs.names import check_name, name_problem
from regfs.push.floor import Floor
from regfs.runs.lock import LOCK_TIMEOUT, shared
from regfs.stores import Entry, FileKind, stat_or_none, writable
from regfs.tree.registry import Registry
from regfs.units import rfc3339

REMEMBERED: Final = 1024
"""Uploads whose running digest is kept in memory."""
_STEP: Final = 16 << 20
"""Bytes of one request between two checks of free space."""
SEARCHED: Final = 10_000
"""Repositories that are searched for a blob if the request does not name the source."""


class Upload(NamedTuple):
    """One unfinished upload."""

    name: str
    id: str
    size: int
    """Bytes that have arrived."""


@dataclass(slots=True)
class _Running:
    """The digest of an upload so far, and the state of its file then."""

    hasher: Hasher
    etag: str = ""


@dataclass(slots=True)
class _Claim:
    """The right to write to an upload."""

    cancelled: bool = False


_Key = tuple[str, str]


class Uploads:
    """The unfinished uploads of a registry; safe for several threads."""

    def __init__(
        self,
        registry: Registry,
        *,
        largest: int | None = None,
        keep_free: int = 0,
        timeout: float = LOCK_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`timeout` is how many seconds a commit or a mount waits for a run to end.

        `largest` is how many bytes a blob may have, or None; `keep_free` how many stay free.
        """
        self.registry = registry
        self.store = writable(registry.store)
        self._largest = largest
        self._floor = Floor(self.store, layout.REPOSITORIES, keep_free)
        self._timeout = timeout
        self._clock = clock
        self._guard = threading.Lock()
        self._claims: dict[_Key, _Claim] = {}
        self._running: OrderedDict[_Key, _Running] = OrderedDict()

    def begin(self, name: str, algorithm: str = CANONICAL) -> Upload:
        """Begin an upload whose digest will be of this algorithm.

        Raises:
            NameInvalid: the name of the repository is invalid.
            AlgorithmUnsupported: regfs cannot compute such digests.
            StoreFull: the disk has no space for more.
        """
        check_name(name)
        if algorithm not in ALGORITHMS:
            raise AlgorithmUnsupported(f"unsupported digest algorithm: {quoted(algorithm, 100)}")
        self._floor.see_to(0)
        now = self._clock()
        upload = Upload(name, new_id(now), 0)
        with self.store.create(layout.path_of(layout.UploadStartedAt(name, upload.id))) as file:
            file.write(rfc3339(now).encode())
        self._remember((name, upload.id), _Running(Hasher(algorithm)))
        return upload

    def status(self, name: str, upload: str) -> Upload:
        """Return the state of an upload.

        Raises:
            UploadUnknown: the repository has no such upload.
        """
        there = self._data(name, upload)
        return Upload(name, upload, 0 if there is None else there.size)

    def receive(
        self,
        name: str,
        upload: str,
        *,
        start: int | None = None,
        length: int | None = None,
        algorithm: str | None = None,
    ) -> UploadWriter:
        """Begin to write to an upload. The caller must close or commit the writer in any case.

        `start` is the offset of the bytes to come, if known, and `length` their number.
        `algorithm` is that of the digest of the whole.

        Raises:
            UploadUnknown: the repository has no such upload.
            OutOfOrder: the upload is not at `start`, or another request writes to it.
        """
        key = (name, upload)
        claim = self._claim(key)
        if claim is None:
            size = self.status(name, upload).size
            raise OutOfOrder("another request is writing to this upload", size)
        try:
            there = self._data(name, upload)
            size = 0 if there is None else there.size
            if start is not None and start != size:
                raise OutOfOrder(
                    f"these bytes begin at {start}, and the upload stands at {size}", size
                )
            file = self.store.append(layout.path_of(layout.UploadData(name, upload)))
        except BaseException:
            self._release(key, claim)
            raise
        hasher = self._resumed(key, there, algorithm)
        return UploadWriter(self, claim, file, Upload(name, upload, size), hasher, length)

    def cancel(self, name: str, upload: str) -> None:
        """Cancel an upload, and delete what has arrived.

        Raises:
            UploadUnknown: the repository has no such upload.
        """
        self._data(name, upload)
        key = (name, upload)
        with self._guard:
            claim = self._claims.get(key)
            if claim is not None:
                claim.cancelled = True  # its writer removes it at the end
                return
        self.remove(*key)

    @contextmanager
    def alone_at(self, name: str, upload: str) -> Iterator[bool]:
        """Keep requests from writing to an upload; yield whether none was writing."""
        key = (name, upload)
        claim = self._claim(key)
        try:
            yield claim is not None
        finally:
            if claim is not None:
                self._release(key, claim)

    def mount(
        self,
        name: str,
        digest: Digest,
        source: str | None,
        allowed: Callable[[str], bool],
    ) -> bool:
        """Link a blob that another repository has; return whether such a one was found.

        Without a `source`, all are searched. `allowed` returns whether the client may read from
        a repository.

        Raises:
            NameInvalid: the name of the repository is invalid.
            LockHeld: a run is under way.
        """
        check_name(name)
        found = self._source(digest, source, allowed)
        if found is None:
            return False
        with shared(self.store, timeout=self._timeout):
            there = self.registry.linked(layout.LayerLink(found, digest))
            if there is None:
                return False
            self._link(name, there.digest, there.digest)
            if there.digest != digest:
                self._link(name, digest, there.digest)
            return True

    def _source(
        self, digest: Digest, source: str | None, allowed: Callable[[str], bool]
    ) -> str | None:
        """Return a repository that has a blob and that the client may read."""
        names = [source] if source is not None else self._all_names(digest)
        for name in names:
            if name_problem(name) is not None or not allowed(name):
                continue
            if self.registry.linked(layout.LayerLink(name, digest)) is not None:
                return name
        return None

    def _all_names(self, digest: Digest) -> Iterable[str]:
        """Return the repositories to search for a blob; none if the store does not have it."""
        try:
            self.registry.blob(digest)
        except BlobUnknown:
            return ()
        return islice(self.registry.repositories(), SEARCHED)

    # -- the files of an upload ------------------------------------------------------

    def _data(self, name: str, upload: str) -> Entry | None:
        """Return the data file of an upload; None if no byte has arrived.

        Raises:
            UploadUnknown: the repository has no such upload.
        """
        if not layout.is_upload(upload):
            raise UploadUnknown(f"no such upload in {name}: {quoted(upload, 100)}")
        for key in (layout.UploadData(name, upload), layout.UploadStartedAt(name, upload)):
            there = stat_or_none(self.store, layout.path_of(key))
            if there is not None and there.kind is FileKind.FILE:
                return there if isinstance(key, layout.UploadData) else None
        raise UploadUnknown(f"no such upload in {name}: {upload}")

    def remove(self, name: str, upload: str) -> None:
        """Delete an upload that no request writes to."""
        self._forget((name, upload))
        self.store.delete_tree(layout.upload_folder(name, upload))

    def _link(self, name: str, digest: Digest, content: Digest) -> None:
        with self.store.create(layout.path_of(layout.LayerLink(name, digest))) as file:
            file.write(content.encode())

    # -- what is kept in memory ------------------------------------------------------

    def _claim(self, key: _Key) -> _Claim | None:
        """Return the right to write to an upload; None if another request has it."""
        with self._guard:
            if key in self._claims:
                return None
            claim = self._claims[key] = _Claim()
            return claim

    def _release(self, key: _Key, claim: _Claim) -> None:
        with self._guard:
            self._claims.pop(key, None)
        if claim.cancelled:
            self.remove(*key)

    def _resumed(self, key: _Key, there: Entry | None, algorithm: str | None) -> Hasher | None:
        """Return the running digest of an upload; None if its file has to be read again.

        If nothing has arrived yet, it is of the given algorithm.
        """
        with self._guard:
            running = self._running.pop(key, None)
        if there is None or there.size == 0:
            before = CANONICAL if running is None else running.hasher.algorithm
            return Hasher(algorithm or before)
        return running.hasher if running is not None and running.etag == there.etag else None

    def _remember(self, key: _Key, running: _Running) -> None:
        with self._guard:
            self._running[key] = running
            while len(self._running) > REMEMBERED:
                self._running.popitem(last=False)

    def _forget(self, key: _Key) -> None:
        with self._guard:
            self._running.pop(key, None)


class UploadWriter:
    """The one writer of an upload while a request sends bytes."""

    def __init__(
        self,
        uploads: Uploads,
        claim: _Claim,
        file: BinaryIO,
        upload: Upload,
        hasher: Hasher | None,
        length: int | None,
    ) -> None:
        self.upload = upload
        self._uploads = uploads
        self._claim = claim
        self._file = file
        self._hasher = hasher
        self._length = length
        self._received = 0
        self._unlooked = _STEP  # bytes since the last check of free space
        self._ended = False

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            SizeInvalid: these are more than were announced; they are not written.
            BlobTooLarge: they exceed the limit, and are not written.
            UploadUnknown: the upload was cancelled.
            StoreFull, StoreError: the storage failed; what was written counts as arrived.
        """
        self._see_to_it()
        if self._length is not None and self._received + len(data) > self._length:
            raise SizeInvalid(f"more bytes than the {self._length} that were announced")
        self.expect(len(data), look=self._unlooked >= _STEP)
        self._file.write(data)
        self._received += len(data)
        self._unlooked += len(data)
        if self._hasher is not None:
            self._hasher.update(data)

    def expect(self, size: int, *, look: bool = True) -> None:
        """Check that so many more bytes may arrive; with `look`, check free space too.

        Raises:
            BlobTooLarge, StoreFull: they exceed the limit, or the disk has no space for them.
        """
        largest = self._uploads._largest
        if largest is not None and self.upload.size + self._received + size > largest:
            raise BlobTooLarge(f"a blob must not be larger than {largest} bytes")
        if size and look:
            self._uploads._floor.see_to(size)
            self._unlooked = 0

    def close(self) -> Upload:
        """Make durable what has arrived, and release the upload; return its state.

        Safe to call twice.

        Raises:
            UploadUnknown: the upload was cancelled, or is gone.
        """
        if self._ended:
            return self.upload
        try:
            self._settle()
            return self.upload
        finally:
            self._end()

    def complete(self) -> None:
        """Check that as many bytes have arrived as were announced.

        Raises:
            SizeInvalid: there are fewer.
        """
        if self._length is not None and self._received != self._length:
            raise SizeInvalid(
                f"{self._received} bytes arrived instead of the {self._length} announced"
            )

    def commit(self, digest: Digest) -> Digest:
        """Turn the upload into a blob of its repository.

        Raises:
            ContentMismatch: it has another digest; the upload is removed.
            UploadUnknown: the upload was cancelled, or is gone.
            LockHeld: a run is under way; the upload stays, and can be committed later.
            StoreError: the storage failed.
        """
        try:
            self._settle()
            found = self._digest(digest.algorithm)
            if found != digest:
                self._claim.cancelled = True
                raise ContentMismatch(f"the bytes that have come are {found}, not {digest}")
            self._put(digest)
            return digest
        finally:
            self._end()

    def _settle(self) -> None:
        """Make durable what has arrived, and remember its digest."""
        self._file.close()
        self._see_to_it()
        there = self._there()
        self.upload = self.upload._replace(size=there.size)
        if self._hasher is not None and self._hasher.size == there.size:
            self._uploads._remember(self._key, _Running(self._hasher, there.etag))

    def _put(self, digest: Digest) -> None:
        """Move the bytes into place, then link them."""
        uploads, (name, upload) = self._uploads, self._key
        store = uploads.store
        with shared(store, timeout=uploads._timeout):
            try:
                source = layout.path_of(layout.UploadData(name, upload))
                store.replace(source, layout.blob_path(digest))
            except PathMissing:
                raise self._gone() from None
            store.sync(layout.blob_folder(digest))
            with suppress(PathMissing):  # cancelled at this moment; the bytes are in place
                store.sync(layout.upload_folder(name, upload))
            uploads._link(name, digest, digest)
        with suppress(StoreError):  # it is pushed; what is left of the upload is garbage
            uploads.remove(*self._key)

    def _digest(self, algorithm: str) -> Digest:
        """Return the digest of all that has arrived; read it again if it is unknown."""
        hasher = self._hasher
        if hasher is not None and (hasher.algorithm, hasher.size) == (algorithm, self.upload.size):
            return hasher.digest()
        with self._uploads.store.open(layout.path_of(layout.UploadData(*self._key))) as stream:
            (found,), _ = hash_stream(stream, (algorithm,))
        return found

    def _there(self) -> Entry:
        try:
            return self._uploads.store.stat(layout.path_of(layout.UploadData(*self._key)))
        except PathMissing:
            raise self._gone() from None

    def _see_to_it(self) -> None:
        if self._ended:
            raise UploadInvalid("this request is over")
        if self._claim.cancelled:
            raise self._gone()

    def _gone(self) -> UploadUnknown:
        return UploadUnknown(f"no longer an upload in {self.upload.name}: {self.upload.id}")

    @property
    def _key(self) -> _Key:
        return self.upload.name, self.upload.id

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._uploads._release(self._key, self._claim)

    def __enter__(self) -> UploadWriter:
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        if not self._ended:
            self.close()


def new_id(now: float) -> str:
    """Return a new id of an upload: a UUID of version 7, which holds its time."""
    octets = int(now * 1000).to_bytes(6) + secrets.token_bytes(10)
    number = int.from_bytes(octets)
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
