"""Hashing every blob once, in batches, on any `concurrent.futures.Executor`.

    blobs -> tasks (store url + digests, never bytes) -> outcomes (counts + what is wrong)

A task is about 200 files or 64 MB: a pool costs more for one small file than
hashing it does. Only a window of tasks is under way at once. A blob that does
not match is looked at again between two looks at its size and time, so that a
file somebody is writing is never called corrupt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack
from itertools import islice
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest, hash_stream
from regfs.errors import PathMissing, StoreError
from regfs.findings import Code
from regfs.progress import Progress
from regfs.stores import Store, open_store

BATCH_FILES: Final = 200
BATCH_BYTES: Final = 64 << 20
SMALL: Final = 128 << 10
"""Bytes up to which a blob is read whole."""

_ATTEMPTS: Final = 5
_POLL: Final = 0.1
"""Seconds between two looks at what threads have done."""


class Task(NamedTuple):
    """Some blobs to hash, as it travels to another process or machine."""

    url: str
    """Of the store; the worker must see the same tree there."""
    digests: tuple[Digest, ...]
    bytes: int
    """What they are long together, as listed."""


class Problem(NamedTuple):
    """A blob that is not what its digest says."""

    digest: Digest
    code: Code
    """BLOB_CORRUPT, BLOB_UNREADABLE, or BLOB_MISSING: gone since it was listed."""
    actual: str


class Outcome(NamedTuple):
    """What came of a task."""

    digests: tuple[Digest, ...]
    """Those of the task; one that no problem names is what its digest says."""
    blobs: int
    """Blobs that were read to their end."""
    bytes: int
    problems: tuple[Problem, ...]


class Stopped(Exception):
    """The verification was ended; what was begun is dropped."""


class Watch:
    """What threads of this process share: how far they are, and whether to go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._stopped = False

    def advance(self, amount: int) -> None:
        """Count bytes; the safe boundary at which a thread ends when it is to.

        Raises:
            Stopped: it is to.
        """
        if self._stopped:
            raise Stopped
        with self._lock:
            self._bytes += amount

    def stop(self) -> None:
        """Make every thread end at its next piece."""
        self._stopped = True

    def take(self) -> int:
        """Return the bytes counted since the last call."""
        with self._lock:
            amount, self._bytes = self._bytes, 0
        return amount


def tasks(url: str, blobs: Iterable[tuple[Digest, int]]) -> Iterator[Task]:
    """Yield the tasks for `blobs` (digest and size), in their order."""
    batch: list[Digest] = []
    total = 0
    for digest, size in blobs:
        if batch and (len(batch) == BATCH_FILES or total + size > BATCH_BYTES):
            yield Task(url, tuple(batch), total)
            batch, total = [], 0
        batch.append(digest)
        total += size
    if batch:
        yield Task(url, tuple(batch), total)


def hash_blobs(
    task: Task, store: Store | None = None, advance: Callable[[int], None] | None = None
) -> Outcome:
    """Hash the blobs of one task; runs anywhere. `store` saves opening the url in this process."""
    store = store or open_store(task.url)
    blobs = total = 0
    problems = []
    for digest in task.digests:
        path = f"{layout.blob_folder(digest)}/data"
        try:
            found, size = _hash(store, path, digest.algorithm, advance)
            if found != digest:
                found, size = _hash_again(store, path, digest, advance)
        except PathMissing:
            problems.append(Problem(digest, Code.BLOB_MISSING, ""))
            continue
        except StoreError as error:
            problems.append(Problem(digest, Code.BLOB_UNREADABLE, str(error)))
            continue
        blobs += 1
        total += size
        if found != digest:
            problems.append(Problem(digest, Code.BLOB_CORRUPT, f"{found} ({size} bytes)"))
    return Outcome(task.digests, blobs, total, tuple(problems))


def _hash(
    store: Store, path: str, algorithm: str, advance: Callable[[int], None] | None
) -> tuple[Digest, int]:
    data = store.read(path, SMALL + 1)
    if len(data) <= SMALL:
        if advance is not None:
            advance(len(data))
        return Digest.of(data, algorithm), len(data)
    with store.open(path) as stream:
        (digest,), size = hash_stream(stream, (algorithm,), advance)
    return digest, size


def _hash_again(
    store: Store, path: str, digest: Digest, advance: Callable[[int], None] | None
) -> tuple[Digest, int]:
    """Hash a blob until it is right, or stays the same while it is read.

    Raises:
        StoreError: it changes all the time.
    """
    # Its bytes are counted already: what is done again only has to notice a stop.
    notice = None if advance is None else lambda _: advance(0)
    before = store.stat(path)
    for _ in range(_ATTEMPTS):
        found, size = _hash(store, path, digest.algorithm, notice)
        after = store.stat(path)
        same = (before.size, before.mtime, before.etag) == (after.size, after.mtime, after.etag)
        if found == digest or same:
            return found, size
        before = after
    raise StoreError(f"{path}: changes while it is read")


def hash_all(
    store: Store,
    blobs: Iterable[tuple[Digest, int]],
    *,
    jobs: int,
    executor: Executor | None,
    progress: Progress,
) -> Generator[Outcome, None, None]:
    """Hash `blobs` (digest and size), and yield what came of each task when it is done.

    With an `executor` of the caller, tasks travel by themselves, and progress comes
    a task at a time; without one, `jobs` threads of this process share the store.

    Raises:
        StoreError: a worker of `executor` was lost.
    """
    watch = Watch()
    with ExitStack() as stack:
        if executor is None:
            pool = ThreadPoolExecutor(jobs)
            # Left by a key or by whoever consumes this, threads end at their next piece.
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(watch.stop)
            submit: Callable[[Task], Future[Outcome]] = lambda task: pool.submit(  # noqa: E731
                hash_blobs, task, store, watch.advance
            )
        else:
            remote = executor
            submit = lambda task: remote.submit(hash_blobs, task)  # noqa: E731
        waiting = tasks(store.url, blobs)
        running = {submit(task): task for task in islice(waiting, 4 * jobs)}
        stack.callback(_cancel, running)
        while running:
            done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
            progress.advance(watch.take())
            for future in done:
                task = running.pop(future)
                if executor is not None:
                    progress.advance(task.bytes)
                outcome = _outcome(future)
                running.update((submit(task), task) for task in islice(waiting, 1))
                yield outcome


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise StoreError(f"a worker was lost: {error}") from error


def _cancel(running: dict[Future[Outcome], Task]) -> None:
    for future in running:
        future.cancel()
