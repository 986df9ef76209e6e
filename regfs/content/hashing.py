"""Hashing a batch of blobs and unpacking the layers among them, in any process.

    Task (store spec + digests, never bytes) -> hash_blobs -> HashOutcome (counts + problems)

`serve` does this in a process of its own. This module is not part of verify, because such a
process has to start within a tenth of a second: it loads the store and hashlib, and neither graph
nor models.

Small blobs are read folder by folder, each at once; larger ones and layers are streamed. Every
blob is read only once. A blob that does not match its digest is hashed again between two checks
of its size and time, so that a file that is being written is never called corrupt.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import BinaryIO, Final, NamedTuple, cast

from regfs import layout
from regfs.content.layers import Packing, open_layer
from regfs.content.tar import TarCheck
from regfs.digest import BUFFER_SIZE, CANONICAL, Digest, Hasher, hash_stream
from regfs.errors import LayerInvalid, PathMissing, StoreError
from regfs.findings import Code
from regfs.stores import Capability, Spec, Store, open_store

SMALL: Final = 60 << 10
"""Maximum bytes of a blob that is read at once."""

_ATTEMPTS: Final = 5
_PIECE: Final = 64 << 10
_ALGORITHM: Final = 6
"""Length of the name of every algorithm."""
_REPORT: Final = 8 << 20
"""Bytes after which a process reports its progress."""

_BLOB_NAME: Final = re.compile(
    rb"(?:^|/)blobs/(sha256|sha384|sha512)/(?:[0-9a-f]{2}/[0-9a-f]{64,128}/data|[0-9a-f]{64,128})"
)

Advance = Callable[[int], None]
"""Called with the number of bytes that were read; raises to stop the work."""


class HashItem(NamedTuple):
    """A blob to hash."""

    digest: Digest
    size: int
    """Bytes, as listed."""
    unpack: bool = False
    """Whether to unpack it as a layer."""


class Task(NamedTuple):
    """Some blobs to hash, as sent to another process or machine."""

    spec: Spec
    """What opens the store; the worker must see the same tree there."""
    items: tuple[HashItem, ...]
    bytes: int
    """Their total size, as listed."""
    number: int = 0
    """The position among all tasks: they end in any order and are reported in this one."""


class Problem(NamedTuple):
    """A blob that does not match its digest, or a layer that cannot be unpacked."""

    digest: Digest
    code: Code
    """BLOB_CORRUPT, BLOB_UNREADABLE, LAYER_UNREADABLE; BLOB_MISSING: gone since it was
    listed; BLOB_CHANGED: it was modified meanwhile."""
    actual: str
    whole: bool = False
    """Whether a blob that was modified matched its digest in the end."""


class Layer(NamedTuple):
    """An unpacked layer."""

    digest: Digest
    packing: Packing
    diff_id: Digest


class HashOutcome(NamedTuple):
    """The result of a task."""

    digests: tuple[Digest, ...]
    """Those of the task; one without a problem matches its digest."""
    blobs: int
    """Number of blobs that were read to the end."""
    bytes: int
    problems: tuple[Problem, ...]
    layers: tuple[Layer, ...] = ()
    """The layers that were unpacked to the end."""
    number: int = 0
    """The number of the task."""


def hash_blobs(
    task: Task, store: Store | None = None, advance: Advance | None = None
) -> HashOutcome:
    """Hash the blobs of one task, in any process. `store` saves opening one."""
    store = store or opened(task.spec)
    work = _HashTask(store, advance or _ignore)
    items = list(task.items)
    if Capability.DIGESTS in store.capabilities:
        items = [item for item in items if not work.take_known(item)]
    small = [one.digest for one in items if one.size <= SMALL and not one.unpack]
    work.take_small(sorted(small))
    for digest, size, unpack in items:
        if size > SMALL or unpack:
            work.take_large(digest, unpack)
    digests = tuple(item.digest for item in task.items)
    found = tuple(work.problems), tuple(work.layers)
    return HashOutcome(digests, work.blobs, work.bytes, *found, task.number)


def opened(spec: Spec) -> Store:
    """Open a store in a process that does tasks; but for folders, each is opened once a command.

    Raises:
        As `open_store`.
    """
    if isinstance(spec, str) and os.path.isdir(spec):
        return open_store(spec)
    with _opening:
        for known, store in _opened:
            if known == spec and _run_of(known) == _run_of(spec):
                return store
        store = open_store(spec)
        _opened.append((spec, store))
        return store


_opened: Final[deque[tuple[Spec, Store]]] = deque(maxlen=8)
_opening: Final = threading.Lock()


def _run_of(spec: Spec) -> str:
    """Return which command it comes from: each has its own limits, and counts for itself."""
    return "" if isinstance(spec, str) else spec.meter.run


def _ignore(amount: int) -> None:
    """Ignore progress."""


def algorithm_of(name: bytes) -> str | None:
    """Return the algorithm of a blob, by the end of its path; None if that is no blob's.

    The path may be that of a tree, or of an OCI layout.
    """
    found = _BLOB_NAME.search(name)
    return found[1].decode() if found is not None and found.end() == len(name) else None


class _HashTask:
    """The work on one task."""

    def __init__(self, store: Store, advance: Advance) -> None:
        self.blobs = 0
        self.bytes = 0
        self.problems: list[Problem] = []
        self.layers: list[Layer] = []
        self._store = store
        self._advance = advance
        self._asks = Capability.REQUESTS in store.capabilities

    def _shared(self, digest: Digest) -> str:
        """Return what the digests of small blobs have in common that are read together.

        Where each is a request, all are: few of a task lie in the same folder.
        """
        return "" if self._asks else digest[: _ALGORITHM + 3]

    def take_known(self, item: HashItem) -> bool:
        """Compare a blob with the digest that was taken as it passed; return whether one was."""
        digest, size, unpack = item
        try:
            found = self._store.digest(layout.blob_path(digest), digest.algorithm)
        except StoreError as error:
            self._fail(digest, error)
            return True
        if found is None or unpack:
            return False
        self._advance(size)
        self.blobs += 1
        self.bytes += size
        if found != digest.encoded:
            actual = f"{digest.algorithm}:{found} ({size} bytes)"
            self.problems.append(Problem(digest, Code.BLOB_CORRUPT, actual))
        return True

    def take_small(self, digests: list[Digest]) -> None:
        """Hash small blobs; those of one folder are adjacent."""
        for _, group in groupby(digests, self._shared):
            together = list(group)
            if self._asks:
                above = layout.BLOBS
                names = [layout.blob_folder(digest)[len(above) + 1 :] for digest in together]
            else:
                above = layout.parent_of(layout.blob_folder(together[0]))
                names = [digest[_ALGORITHM + 1 :] for digest in together]
            contents = self._store.contents(above, names, "data", SMALL + 1, seen=True)
            for digest, content in zip(together, contents, strict=True):
                if isinstance(content, StoreError):
                    self._fail(digest, content)
                elif len(content) > SMALL:  # it grew since it was listed
                    self.take_large(digest, False)
                else:
                    size = len(content)
                    self._advance(size)
                    make = getattr(hashlib, digest[:_ALGORITHM])
                    if make(content, usedforsecurity=False).hexdigest() == digest[_ALGORITHM + 1 :]:
                        self.blobs += 1
                        self.bytes += size
                    else:
                        self._look_again(digest)

    def take_large(self, digest: Digest, unpack: bool) -> None:
        """Hash a blob as a stream, and unpack it on the way if asked to."""
        try:
            with self._store.open(layout.blob_path(digest)) as stream:
                if unpack:
                    self._unpack(digest, stream)
                else:
                    (found,), size = hash_stream(stream, (digest.algorithm,), self._advance)
                    self._judge(digest, found.encoded, size)
        except StoreError as error:
            self._fail(digest, error)

    def _unpack(self, digest: Digest, stream: BinaryIO) -> None:
        source = HashedFile(stream, Hasher(digest.algorithm), self._advance)
        problem = layer = None
        try:
            packing, diff_id = _read_layer(source, self._advance)
            layer = Layer(digest, packing, diff_id)
        except LayerInvalid as error:
            problem = Problem(digest, Code.LAYER_UNREADABLE, str(error))
        source.drain()
        right = self._judge(digest, source.hasher.digest().encoded, source.hasher.size)
        if not right:
            return  # not what was pushed, so its content does not matter
        if layer is not None:
            self.layers.append(layer)
        elif problem is not None:
            self.problems.append(problem)

    def _fail(self, digest: Digest, error: StoreError) -> None:
        code = Code.BLOB_MISSING if isinstance(error, PathMissing) else Code.BLOB_UNREADABLE
        actual = "" if code is Code.BLOB_MISSING else str(error)
        self.problems.append(Problem(digest, code, actual))

    def _judge(self, digest: Digest, found: str, size: int) -> bool:
        """Return whether the content matches the digest; hash it again if not."""
        if found != digest.encoded:
            self._look_again(digest)
            return False
        self.blobs += 1
        self.bytes += size
        return True

    def _look_again(self, digest: Digest) -> None:
        try:
            self._hash_again(digest)
        except StoreError as error:
            self._fail(digest, error)

    def _hash_again(self, digest: Digest) -> None:
        """Hash a blob until it matches, or does not change while it is read."""
        path = layout.blob_path(digest)
        before = self._store.stat(path)
        for _ in range(_ATTEMPTS):
            with self._store.open(path) as stream:
                # Its bytes are counted already; this only checks whether to stop.
                (found,), size = hash_stream(
                    stream, (digest.algorithm,), lambda _: self._advance(0)
                )
            after = self._store.stat(path)
            same = (before.size, before.mtime, before.etag) == (after.size, after.mtime, after.etag)
            if found == digest or same:
                break
            before = after
        else:
            self.problems.append(Problem(digest, Code.BLOB_CHANGED, "it keeps changing"))
            return
        self.blobs += 1
        self.bytes += size
        if found == digest:
            problem = Problem(digest, Code.BLOB_CHANGED, "intact in the end", whole=True)
        else:
            problem = Problem(digest, Code.BLOB_CORRUPT, f"{found} ({size} bytes)")
        self.problems.append(problem)


def _read_layer(source: HashedFile, advance: Advance) -> tuple[Packing, Digest]:
    """Read a layer to its end; return how it is packed, and the digest of its tar.

    Raises:
        LayerInvalid: it cannot be unpacked, or is not a tar.
        StoreError: the blob cannot be read.
    """
    reader = open_layer(cast(BinaryIO, source))
    hasher, tar = Hasher(CANONICAL), TarCheck()
    while piece := reader.read(BUFFER_SIZE):
        hasher.update(piece)
        tar.feed(piece)
        advance(0)  # a few bytes can unpack to very many
    tar.finish()
    return reader.packing, hasher.digest()


class HashedFile(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, stream: BinaryIO, hasher: Hasher, advance: Advance) -> None:
        super().__init__()
        self.hasher = hasher
        self._readinto = stream.readinto  # type: ignore[attr-defined]  # every raw file has it
        self._advance = advance

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read into `buffer`; return the number of bytes."""
        count: int = self._readinto(buffer)
        self.hasher.update(memoryview(buffer)[:count])
        self._advance(count)
        return count

    def drain(self) -> None:
        """Read to the end, because the digest is that of the whole blob."""
        buffer = bytearray(_PIECE)
        while self.readinto(buffer):
            pass


# -- in a process of its own ----------------------------------------------------------------


def serve() -> None:
    """Do the tasks from standard input until it ends; answer on standard output.

    A number is the bytes done meanwhile; a HashOutcome ends a task. The process ends with its
    input, which ends with the parent in any case, and silently on any error: the parent does the
    task again and meets the error there.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    with (
        suppress(Exception),
        open(0, "rb", closefd=False) as source,
        open(1, "wb", closefd=False) as sink,
    ):
        for task in _tasks(source):
            _answer(task, sink)
    os._exit(0)  # without flushing what cannot be written


def _tasks(source: BinaryIO) -> Iterator[Task]:
    with suppress(EOFError):
        while True:
            yield pickle.load(source)


def _answer(task: Task, sink: BinaryIO) -> None:
    unreported = 0

    def advance(amount: int) -> None:
        nonlocal unreported
        unreported += amount
        if unreported >= _REPORT:
            say(unreported)
            unreported = 0

    def say(what: object) -> None:
        pickle.dump(what, sink, pickle.HIGHEST_PROTOCOL)
        sink.flush()

    outcome = hash_blobs(task, None, advance)
    say(unreported)
    say(outcome)
