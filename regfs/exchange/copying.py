"""Copying blobs: each is hashed as it passes, and gets to its place only if it is right.

Small blobs are read folder by folder and written in one go, larger ones as streams; several at
once where the medium takes that. A blob that is wrong or cannot be read is a finding, and the
others go on; if the source fails for one blob after the other it is down, and that is an error.
Memory is bounded by the number of threads.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from threading import Lock
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import BUFFER_SIZE, Digest, Hasher, hash_stream
from regfs.errors import PathDenied, PathMissing, PathUnsafe, SourceError, StoreError
from regfs.exchange.media import Medium, put
from regfs.findings import Code, Finding
from regfs.progress import SILENT, Progress
from regfs.stores import Store

SMALL: Final = 60 << 10
"""Maximum bytes of a blob that is read at once."""
_BATCH: Final = 64
"""Small blobs that one thread takes together."""
_IN_A_ROW: Final = 20
"""Failures one after the other by which a source is taken to be down."""
_ALGORITHM: Final = 6
"""Length of the name of every algorithm."""


class CopyItem(NamedTuple):
    """One blob to copy."""

    digest: Digest
    """What its bytes must be."""
    stored: Digest
    """The digest under which the source has it: another one of an alias."""
    size: int
    """Bytes, as listed."""
    target: str
    """Where it goes."""


class Copied(NamedTuple):
    """What was copied."""

    blobs: int
    bytes: int


class BlobCopier:
    """Copies blobs from one store to a medium."""

    def __init__(
        self,
        store: Store,
        medium: Medium,
        time_of: Callable[[Digest], float | None],
        progress: Progress = SILENT,
    ) -> None:
        """`time_of` returns when a blob was written, if its copy is to have that time."""
        self._store = store
        self._medium = medium
        self._time_of = time_of
        self._progress = progress
        self._lock = Lock()
        self._failed = 0
        self._blobs = self._bytes = 0
        self.bad: dict[Digest, Finding] = {}
        """What was not copied -> why."""

    @property
    def done(self) -> Copied:
        """What was copied so far."""
        return Copied(self._blobs, self._bytes)

    def copy(self, items: Iterable[CopyItem]) -> None:
        """Copy blobs, in the order of their digests.

        Raises:
            StoreError: the medium cannot be written, or the source is down.
        """
        todo = sorted(items)
        self._progress.start("Copying blobs", sum(item.size for item in todo), "bytes")
        if self._medium.threads == 1:
            for batch in _batches(todo):
                self._copy(batch)
        else:
            self._copy_side_by_side(_batches(todo))
        self._progress.finish()

    def _copy_side_by_side(self, batches: Iterator[list[CopyItem]]) -> None:
        threads = self._medium.threads
        under_way: deque[Future[None]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            try:
                for batch in batches:
                    if len(under_way) >= 2 * threads:
                        under_way.popleft().result()
                    under_way.append(pool.submit(self._copy, batch))
                while under_way:
                    under_way.popleft().result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _copy(self, batch: list[CopyItem]) -> None:
        if batch[0].size > SMALL:
            self._copy_large(batch[0])
            return
        folder = layout.parent_of(layout.blob_folder(batch[0].stored))
        names = [item.stored.encoded for item in batch]
        contents = self._store.contents(folder, names, "data", SMALL + 1)
        for item, content in zip(batch, contents, strict=True):
            if isinstance(content, StoreError):
                self._fail(item, content)
                continue
            if len(content) > SMALL:  # it has grown since it was listed
                self._copy_large(item)
                continue
            found = hashlib.new(item.digest.algorithm, content, usedforsecurity=False).hexdigest()
            if found != item.digest.encoded:
                self._reject(item, f"{item.digest.algorithm}:{found}", len(content))
                continue
            put(self._medium, item.target, content, self._time_of(item.stored))
            self._advance(len(content))
            self._count(item)

    def _copy_large(self, item: CopyItem) -> None:
        try:
            if not self._medium.rewinds and not self._is_right(item):
                return
            with self._medium.begin(item.target, item.size, self._time_of(item.stored)) as file:
                hasher = Hasher(item.digest.algorithm)
                for piece in self._pieces(item):
                    hasher.update(piece)
                    if hasher.size > item.size:
                        break
                    file.write(piece)
                    self._advance(len(piece))
                if hasher.digest() != item.digest:
                    file.discard()
                    self._reject(item, hasher.digest(), hasher.size)
                    return
            self._count(item)
        except SourceError as error:
            cause = error.__cause__
            self._fail(item, cause if isinstance(cause, StoreError) else StoreError(str(error)))

    def _is_right(self, item: CopyItem) -> bool:
        """Return whether a blob is right, before a byte of it goes where none comes back from."""
        try:
            with self._store.open(layout.blob_path(item.stored)) as stream:
                (found,), size = hash_stream(stream, (item.digest.algorithm,))
        except StoreError as error:
            self._fail(item, error)
            return False
        if found != item.digest:
            self._reject(item, found, size)
        return found == item.digest

    def _pieces(self, item: CopyItem) -> Iterator[bytes]:
        """Yield the bytes of a blob.

        Raises:
            SourceError: they cannot be read.
        """
        try:
            with self._store.open(layout.blob_path(item.stored)) as stream:
                while piece := stream.read(BUFFER_SIZE):
                    yield piece
        except StoreError as error:
            raise SourceError(str(error)) from error

    # -- what came of it -------------------------------------------------------------------

    def _count(self, item: CopyItem) -> None:
        with self._lock:
            self._failed = 0
            self._blobs += 1
            self._bytes += item.size

    def _advance(self, amount: int) -> None:
        with self._lock:
            self._progress.advance(amount)

    def _reject(self, item: CopyItem, found: str, size: int) -> None:
        path = layout.blob_path(item.stored)
        actual = f"{found} ({size} bytes)"
        self._note(
            item, Finding(Code.BLOB_CORRUPT, path, item.digest, expected=item.digest, actual=actual)
        )

    def _fail(self, item: CopyItem, error: StoreError) -> None:
        path = layout.blob_path(item.stored)
        if isinstance(error, PathMissing):
            self._note(item, Finding(Code.BLOB_MISSING, path, item.digest))
            return
        reason = str(error).removeprefix(f"{path}: ")
        self._note(item, Finding(Code.BLOB_UNREADABLE, path, item.digest, actual=reason))
        if isinstance(error, PathDenied | PathUnsafe):
            return
        with self._lock:
            self._failed += 1
            is_down = self._failed >= _IN_A_ROW
        if is_down:
            raise error

    def _note(self, item: CopyItem, finding: Finding) -> None:
        with self._lock:
            self.bad[item.digest] = finding


def _batches(items: Iterable[CopyItem]) -> Iterator[list[CopyItem]]:
    """Yield items that are copied together: one large one, or small ones of one folder."""
    for _, group in groupby(items, lambda item: item.stored[: _ALGORITHM + 3]):
        batch: list[CopyItem] = []
        for item in group:
            if item.size > SMALL:
                yield [item]
                continue
            batch.append(item)
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
