"""What is done with a batch of blobs, wherever it is done: hash each, unpack those that are layers.

    Task (store url + digests, never bytes) -> hash_blobs -> Outcome (counts + what is wrong)

`serve` does that in a process of its own. A room on layer 2 and not a part of
verify, because such a process is to be up within a tenth of a second: it loads the
store and hashlib, and neither graph nor models.

Small blobs are read folder by folder, each in one go; larger ones, and layers, as a
stream: every blob is read once, whatever is made of it. A blob that does not match
is looked at again between two looks at its size and time, so that a file somebody
is writing is never called corrupt.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import BinaryIO, Final, NamedTuple, cast

from regfs import layout
from regfs.content.layers import Packing, TarCheck, open_layer
from regfs.digest import BUFFER_SIZE, CANONICAL, Digest, Hasher, hash_stream
from regfs.errors import LayerInvalid, PathMissing, StoreError
from regfs.findings import Code
from regfs.stores import Store, open_store

SMALL: Final = 60 << 10
"""Bytes up to which a blob is read whole."""

_ATTEMPTS: Final = 5
_PIECE: Final = 64 << 10
_ALGORITHM: Final = 6
"""Letters in the name of every algorithm."""
_REPORT: Final = 8 << 20
"""Bytes after which a process tells how far it is."""

Advance = Callable[[int], None]
"""Told of bytes that were read; whoever is to stop raises from it."""


class HashItem(NamedTuple):
    """A blob to be hashed."""

    digest: Digest
    size: int
    """Bytes, as listed."""
    unpack: bool = False
    """It is a layer whose content is wanted too."""


class Task(NamedTuple):
    """Some blobs to hash, as it travels to another process or machine."""

    url: str
    """Of the store; the worker must see the same tree there."""
    items: tuple[HashItem, ...]
    bytes: int
    """What they are long together, as listed."""
    number: int = 0
    """Which of all tasks it is: they end in any order, and are told of in this."""


class Problem(NamedTuple):
    """A blob that is not what its digest says, or a layer that cannot be unpacked."""

    digest: Digest
    code: Code
    """BLOB_CORRUPT, BLOB_UNREADABLE, LAYER_UNREADABLE; BLOB_MISSING: gone since it was
    listed; BLOB_CHANGED: others write to it."""
    actual: str
    whole: bool = False
    """It had its digest at last: of a blob that changed before."""


class Layer(NamedTuple):
    """What came out of a layer."""

    digest: Digest
    packing: Packing
    diff_id: Digest


class HashOutcome(NamedTuple):
    """What came of a task."""

    digests: tuple[Digest, ...]
    """Those of the task; one that no problem names is what its digest says."""
    blobs: int
    """Blobs that were read to their end."""
    bytes: int
    problems: tuple[Problem, ...]
    layers: tuple[Layer, ...] = ()
    """Those that were unpacked to their end."""
    number: int = 0
    """That of the task."""


def hash_blobs(
    task: Task, store: Store | None = None, advance: Advance | None = None
) -> HashOutcome:
    """Hash the blobs of one task; runs anywhere. `store` saves opening the url in this process."""
    work = _HashTask(store or open_store(task.url, empty=True), advance or _ignore)
    small = [one.digest for one in task.items if one.size <= SMALL and not one.unpack]
    work.take_small(sorted(small))
    for digest, size, unpack in task.items:
        if size > SMALL or unpack:
            work.take_large(digest, unpack)
    digests = tuple(item.digest for item in task.items)
    found = tuple(work.problems), tuple(work.layers)
    return HashOutcome(digests, work.blobs, work.bytes, *found, task.number)


def _ignore(amount: int) -> None:
    """Nobody asks how far it is."""


class _HashTask:
    """One task while it is done."""

    def __init__(self, store: Store, advance: Advance) -> None:
        self.blobs = 0
        self.bytes = 0
        self.problems: list[Problem] = []
        self.layers: list[Layer] = []
        self._store = store
        self._advance = advance

    def take_small(self, digests: list[Digest]) -> None:
        """Hash blobs that fit into memory; those of one folder stand together."""
        for _, group in groupby(digests, _start):
            together = list(group)
            folder = layout.parent_of(layout.blob_folder(together[0]))
            make = getattr(hashlib, together[0].algorithm)
            names = [digest[_ALGORITHM + 1 :] for digest in together]
            contents = self._store.contents(folder, names, "data", SMALL + 1, seen=True)
            for digest, name, content in zip(together, names, contents, strict=True):
                if isinstance(content, StoreError):
                    self._fail(digest, content)
                elif len(content) > SMALL:  # it has grown since it was listed
                    self.take_large(digest, False)
                else:
                    size = len(content)
                    self._advance(size)
                    if make(content, usedforsecurity=False).hexdigest() == name:
                        self.blobs += 1
                        self.bytes += size
                    else:
                        self._look_again(digest)

    def take_large(self, digest: Digest, unpack: bool) -> None:
        """Hash a blob as a stream, and on the way what is packed in it."""
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
        source = _Hashed(stream, Hasher(digest.algorithm), self._advance)
        problem = layer = None
        try:
            packing, diff_id = _read_layer(source, self._advance)
            layer = Layer(digest, packing, diff_id)
        except LayerInvalid as error:
            problem = Problem(digest, Code.LAYER_UNREADABLE, str(error))
        source.drain()
        right = self._judge(digest, source.hasher.digest().encoded, source.hasher.size)
        if not right:
            return  # not what was pushed, so nothing is said of what is in it
        if layer is not None:
            self.layers.append(layer)
        elif problem is not None:
            self.problems.append(problem)

    def _fail(self, digest: Digest, error: StoreError) -> None:
        code = Code.BLOB_MISSING if isinstance(error, PathMissing) else Code.BLOB_UNREADABLE
        actual = "" if code is Code.BLOB_MISSING else str(error)
        self.problems.append(Problem(digest, code, actual))

    def _judge(self, digest: Digest, found: str, size: int) -> bool:
        """Settle whether what was read has its digest; False when it had another."""
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
        """Hash a blob until it is right, or stays the same while it is read."""
        path = layout.blob_path(digest)
        before = self._store.stat(path)
        for _ in range(_ATTEMPTS):
            with self._store.open(path) as stream:
                # Its bytes are counted already: this only has to notice a stop.
                (found,), size = hash_stream(
                    stream, (digest.algorithm,), lambda _: self._advance(0)
                )
            after = self._store.stat(path)
            same = (before.size, before.mtime, before.etag) == (after.size, after.mtime, after.etag)
            if found == digest or same:
                break
            before = after
        else:
            self.problems.append(Problem(digest, Code.BLOB_CHANGED, "it goes on changing"))
            return
        self.blobs += 1
        self.bytes += size
        if found == digest:
            problem = Problem(digest, Code.BLOB_CHANGED, "its own content at last", whole=True)
        else:
            problem = Problem(digest, Code.BLOB_CORRUPT, f"{found} ({size} bytes)")
        self.problems.append(problem)


def _start(digest: Digest) -> str:
    """Return the part of a digest that blobs of one folder share."""
    return digest[: _ALGORITHM + 3]


def _read_layer(source: _Hashed, advance: Advance) -> tuple[Packing, Digest]:
    """Read a layer to its end; return how it is packed, and the digest of its tar.

    Raises:
        LayerInvalid: it cannot be unpacked, or holds no tar.
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


class _Hashed(io.RawIOBase):
    """A file that is hashed by whoever reads it."""

    def __init__(self, stream: BinaryIO, hasher: Hasher, advance: Advance) -> None:
        super().__init__()
        self.hasher = hasher
        self._readinto = stream.readinto  # type: ignore[attr-defined]  # every raw file has it
        self._advance = advance

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the file goes; return the number of bytes."""
        count: int = self._readinto(buffer)
        self.hasher.update(memoryview(buffer)[:count])
        self._advance(count)
        return count

    def drain(self) -> None:
        """Read on to the end: the digest is of the whole."""
        buffer = bytearray(_PIECE)
        while self.readinto(buffer):
            pass


# -- in a process of its own ----------------------------------------------------------------


def serve() -> None:
    """Do the tasks that come on standard input, until its end; tell of them on standard output.

    Numbers are bytes done meanwhile, an Outcome ends a task. The end of the input, which
    comes with the end of the parent however that ends, ends this process; so does any
    trouble, without a word: the parent does the task again, and learns of it there.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent knows what to do about it
    with (
        suppress(Exception),
        open(0, "rb", closefd=False) as source,
        open(1, "wb", closefd=False) as sink,
    ):
        for task in _tasks(source):
            _answer(task, sink)
    os._exit(0)  # what cannot be written any more is not tried again


def _tasks(source: BinaryIO) -> Iterator[Task]:
    with suppress(EOFError):
        while True:
            yield pickle.load(source)


def _answer(task: Task, sink: BinaryIO) -> None:
    untold = 0

    def advance(amount: int) -> None:
        nonlocal untold
        untold += amount
        if untold >= _REPORT:
            say(untold)
            untold = 0

    def say(what: object) -> None:
        pickle.dump(what, sink, pickle.HIGHEST_PROTOCOL)
        sink.flush()

    outcome = hash_blobs(task, None, advance)
    say(untold)
    say(outcome)
