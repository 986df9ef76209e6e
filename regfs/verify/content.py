"""Hashing every blob once, in batches, in threads and processes of this machine or an executor.

    blobs -> tasks -> outcomes       regfs.content.hashing does a task
             |   `- in a thread of this process, in a process of its own (workers.py),
             |      or in the caller's `concurrent.futures.Executor`
             `- about 500 files or 64 MB: for one small file, a pool costs more than hashing;
                only a window of tasks runs at once

The caller sets the order. `reading_order` suits a disk: by time of modification. A registry
writes an upload below `_uploads` and renames it when it is complete, so neither the digest nor
the folder says where its bytes are. But a file system places what is written at one time close
together, and nothing rewrites a blob. So a task is a stretch of the disk, and within a task the
order of folders is good enough. Inode numbers would say the same on ext4, but nothing on XFS,
btrfs and object stores; times are in every listing already. Blobs larger than a task come first,
the largest before all: one that begins last would keep a single thread busy at the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from typing import Final

from regfs import layout
from regfs.content.hashing import HashItem, HashOutcome, Problem, Task, hash_blobs
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.findings import Code
from regfs.progress import Progress
from regfs.stores import Capability, Spec, Store
from regfs.verify.workers import Crew

__all__ = ["HashOutcome", "Problem", "Stopped", "hash_all", "reading_order", "tasks"]

BATCH_FILES: Final = 500
BATCH_BYTES: Final = 64 << 20

_UNSEEN: Final = frozenset({Code.BLOB_MISSING, Code.BLOB_UNREADABLE})
"""What a worker says of blobs that it cannot have."""
_STREAMS: Final = 8
"""Blobs that come over a network at once: one connection brings a tenth of what is hashed."""
_POLL: Final = 0.1
"""Seconds between two checks of what threads have done."""


class Stopped(Exception):
    """The verification was stopped; unfinished tasks are dropped."""


class Watch:
    """What threads of this process share: their progress, and whether to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._stopped = False

    def advance(self, amount: int) -> None:
        """Count bytes; a thread that is to stop ends here.

        Raises:
            Stopped: the thread is to stop.
        """
        if self._stopped:
            raise Stopped
        with self._lock:
            self._bytes += amount

    def stop(self) -> None:
        """Make every thread stop at its next piece."""
        self._stopped = True

    def take(self) -> int:
        """Return the bytes counted since the last call."""
        with self._lock:
            amount, self._bytes = self._bytes, 0
        return amount


def reading_order(blobs: Iterable[tuple[Digest, int, float]]) -> list[tuple[Digest, int]]:
    """Return blobs (digest, size, time of modification) in the order that suits a disk."""
    known = sorted(blobs, key=itemgetter(2))
    large = [(digest, size) for digest, size, _ in known if size > BATCH_BYTES]
    large.sort(key=itemgetter(1), reverse=True)
    return large + [(digest, size) for digest, size, _ in known if size <= BATCH_BYTES]


def tasks(
    spec: Spec,
    blobs: Iterable[tuple[Digest, int]],
    unpack: Callable[[Digest], bool] | None = None,
) -> Iterator[Task]:
    """Yield the tasks for `blobs` (digest and size), in their order."""
    batch: list[HashItem] = []
    total = number = 0
    for digest, size in blobs:
        if batch and (len(batch) == BATCH_FILES or total + size > BATCH_BYTES):
            yield Task(spec, tuple(batch), total, number)
            batch, total, number = [], 0, number + 1
        batch.append(HashItem(digest, size, unpack is not None and unpack(digest)))
        total += size
    if batch:
        yield Task(spec, tuple(batch), total, number)


def hash_all(
    store: Store,
    blobs: Iterable[tuple[Digest, int]],
    *,
    jobs: int | None,
    executor: Executor | None,
    progress: Progress,
    unpack: Callable[[Digest], bool] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Generator[HashOutcome, None, None]:
    """Hash `blobs` (digest and size); yield what came of each task when it is done.

    Layers that `unpack` picks are unpacked too. Tasks go to `executor`, or else to `jobs` threads,
    each with a process of its own; by default one for each processor, and more where bytes come
    over a network and are only hashed. Once `is_over`, nothing more begins, and what runs is
    finished.

    Raises:
        StoreError: a worker of `executor` was lost, or does not see the same tree.
    """
    watch = Watch()
    jobs = jobs or _threads(store, unpack is not None)
    if store.spec is None:
        executor = None  # only this process has what the store has read
    waiting = tasks(store.spec or store.url, blobs, unpack)
    with _pool(store, jobs, executor, watch) as submit:
        running = {} if is_over() else {submit(t): t for t in islice(waiting, 4 * jobs)}
        try:
            while running:
                done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
                progress.advance(watch.take())
                for future in done:
                    task = running.pop(future)
                    if executor is not None:
                        progress.advance(task.bytes)
                    if not is_over():
                        running.update((submit(task), task) for task in islice(waiting, 1))
                    yield future.result() if executor is None else _certain(future, task, store)
                if is_over():
                    running = {f: task for f, task in running.items() if not f.cancel()}
        finally:
            for future in running:
                future.cancel()


def _threads(store: Store, unpacks: bool) -> int:
    """Return how many tasks suit a store; what is unpacked takes a processor and its memory."""
    count = os.cpu_count() or 1
    streams = Capability.REQUESTS in store.capabilities and not unpacks
    return max(count, _STREAMS) if streams else count


@contextmanager
def _pool(
    store: Store, jobs: int, executor: Executor | None, watch: Watch
) -> Iterator[Callable[[Task], Future[HashOutcome]]]:
    """Yield a function that submits a task to `executor`, or to threads that end with the block.

    If the block ends early, threads stop at their next piece and processes at once: they only
    read.
    """
    if executor is not None:
        yield lambda task: executor.submit(hash_blobs, task)
        return
    crew = Crew(
        store, watch.advance, processes=jobs > 1 and Capability.REOPEN in store.capabilities
    )
    pool = ThreadPoolExecutor(jobs)
    try:
        yield lambda task: pool.submit(crew.run, task)
    finally:
        watch.stop()
        crew.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        crew.close()


def _certain(future: Future[HashOutcome], task: Task, store: Store) -> HashOutcome:
    """Return what a worker says of a task; what it accuses is looked at here.

    Raises:
        StoreError: it was lost, or sees another tree than this process.
    """
    from regfs.content.cluster import result_of

    outcome = result_of(future)
    accused = {problem.digest for problem in outcome.problems}
    if not accused:
        return outcome
    items = tuple(item for item in task.items if item.digest in accused)
    again = hash_blobs(task._replace(items=items), store)
    confirmed = {problem.digest for problem in again.problems}
    for digest, code, *_ in outcome.problems:
        if code in _UNSEEN and digest not in confirmed:
            raise StoreError(
                f"{layout.blob_path(digest)}: is here, and a worker does not find it: is the "
                "registry mounted there?"
            )
    layers = tuple(layer for layer in outcome.layers if layer.digest not in accused)
    return outcome._replace(problems=again.problems, layers=layers + again.layers)
