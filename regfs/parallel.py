"""Doing many small things at once: in threads on a cold disk, in a second process on a warm one.

`adaptive_map` asks a slow disk many things at once, and a fast one one thing after the other.

`map_in_two_processes` does a long row of items from both ends:

    items   0  1  2  3  4  5  6  7  8  9
            this process ->      <- a fork

What is done must be as good as done in one process: items that the fork has no answer to,
because it was killed or met something it could not put into plain values, are done here.
There is no fork where there is one processor, where other threads run (they could hold
a lock that the fork then waits for), or where the system has none worth the name; then all is
done here. Two processes and not more: what they do is mostly waiting in line for one disk.

The fork writes nothing but its answers, at its end, and leaves without any cleaning up.
"""

from __future__ import annotations

import gc
import marshal
import math
import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Work = Callable[[Iterator[int]], Iterator[Answer]]
"""Does items, given by their numbers as they are to be done; yields an answer to each, in order.

Answers are what marshal knows: numbers, text, bytes, and tuples, lists and dicts of those.
"""


THREADS: Final = 8
"""Questions under way at once; more gained nothing on one disk."""

_WINDOW: Final = 8 * THREADS
_TASKS: Final = "/proc/self/task"
_SIZE: Final = struct.Struct("=q")
_PIECE: Final = 1 << 20


def _times_slept() -> float:
    """Return how often this thread has given up its processor by itself; NaN: nobody counts."""
    return math.nan if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw


_THREAD: Final[int | None] = getattr(resource, "RUSAGE_THREAD", None)


def adaptive_map(
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    is_slow: Callable[[float, Answer], bool],
) -> Iterator[Answer]:
    """Yield `function(item)` for each item, in order.

    Works in this thread until `is_slow(waited, answer)` says of an answer, and of
    the seconds it was waited for without computing, that the disk is cold; from
    then on in a pool. A warm cache answers sooner than a thread wakes up, while a
    cold disk answers eight questions in a third of the time it takes for them one
    by one. At most a window of answers is held.
    """
    remaining = iter(items)
    for item in remaining:
        begun, slept = time.perf_counter() - time.thread_time(), _times_slept()
        answer = function(item)
        waited = time.perf_counter() - time.thread_time() - begun
        # A thread that never slept has not waited for a disk, but for a processor.
        slow = is_slow(waited if _times_slept() != slept else 0.0, answer)
        yield answer
        if slow:
            break
    else:
        return
    from concurrent.futures import ThreadPoolExecutor  # a warm cache does without

    with ThreadPoolExecutor(THREADS) as pool:
        while window := list(islice(remaining, _WINDOW)):
            yield from pool.map(function, window)


def can_fork() -> bool:
    """Return whether a second process of this one can be had, and is of use."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        return len(os.listdir(_TASKS)) == 1
    except OSError:
        return False


def map_in_two_processes(
    work: Work[Answer],
    count: int,
    *,
    there: Work[Any] | None = None,
    fork: bool = True,
    advance: Callable[[Iterable[int]], None] = lambda items: None,
) -> Generator[Answer, None, None]:
    """Yield the answers of `work` to 0, 1, .. `count` - 1, in that order.

    `there` is what the other process does in place of `work`; its answers come as they are.
    `fork`: whether there is so much to do that a second process pays. `advance` is told of
    each item once, when it is done, here or there.
    """
    row = _Row(count, advance)
    if not (fork and count > 1 and can_fork()):
        yield from work(row.forward())
        row.finish()
        return
    other = _Fork(row, there or work)
    try:
        yield from work(row.forward())
        first = row.front
        told = other.told(count - row.back)
        told = None if told is None else told[first - row.back :]
    finally:
        other.end()
    if told is None:
        told = list(work(iter(range(first, count))))
    row.finish()
    yield from told


class _Row:
    """Which items are taken, as both processes see it.

    Each side moves its own end only, and stops when the ends have met. When both take the
    last item at the same moment, it is done twice, and never not at all.
    """

    def __init__(self, count: int, advance: Callable[[Iterable[int]], None]) -> None:
        self.count = count
        self._shared = mmap.mmap(-1, 2 * _SIZE.size)
        self._advance = advance
        self._left = range(count)
        """Of what `advance` has not been told."""
        self.front = 0
        self.back = count

    @property
    def front(self) -> int:
        """The first item that this process has not taken."""
        return int(_SIZE.unpack_from(self._shared, 0)[0])

    @front.setter
    def front(self, value: int) -> None:
        _SIZE.pack_into(self._shared, 0, value)

    @property
    def back(self) -> int:
        """The last item that the fork has taken."""
        return int(_SIZE.unpack_from(self._shared, _SIZE.size)[0])

    @back.setter
    def back(self, value: int) -> None:
        _SIZE.pack_into(self._shared, _SIZE.size, value)

    def forward(self) -> Iterator[int]:
        """Take items from the front."""
        item = 0
        while item < self.back:
            self.front = item + 1
            yield item
            item += 1
            self._tell(item, self.back)

    def backward(self) -> Iterator[int]:
        """Take items from the back, as long as there is somebody to tell."""
        item, parent = self.count, os.getppid()
        while item > self.front and os.getppid() == parent:
            item -= 1
            self.back = item
            yield item

    def finish(self) -> None:
        """Tell of what was not told of yet."""
        self._tell(self._left.stop, self._left.stop)

    def _tell(self, start: int, stop: int) -> None:
        """Tell of all but `start` to `stop`, as far as it was not told of yet."""
        left, start = self._left, min(start, self._left.stop)
        self._left = range(start, max(start, stop))
        self._advance([*range(left.start, start), *range(self._left.stop, left.stop)])


class _Fork:
    """The other process."""

    def __init__(self, row: _Row, work: Work[Any]) -> None:
        self._pipe, sink = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._pipe)  # else it would write on when nobody reads any more
            _be_the_fork(row, work, sink)
        self._row = row
        os.close(sink)

    def told(self, count: int) -> list[Any] | None:
        """Return its answers to the last `count` items, in order; None when it has not told."""
        pieces = []
        while piece := os.read(self._pipe, _PIECE):
            pieces.append(piece)
        try:
            answers = marshal.loads(b"".join(pieces))
        except (ValueError, EOFError, TypeError):
            return None
        return answers[::-1] if isinstance(answers, list) and len(answers) == count else None

    def end(self) -> None:
        """Let it stop after what it is doing, and be gone."""
        self._row.front = self._row.count
        os.close(self._pipe)
        with suppress(ChildProcessError):  # somebody else collects the children of this process
            os.waitpid(self._process, 0)


def _be_the_fork(row: _Row, work: Work[Any], sink: int) -> None:
    """Do items from the back, tell of them all, and be gone."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
        gc.disable()  # it would copy what is shared by looking at it
        answers = marshal.dumps(list(work(row.backward())))
        with open(sink, "wb", buffering=0) as stream:
            view = memoryview(answers)
            while view:
                view = view[stream.write(view) :]
    finally:
        # Whatever went wrong, the other process does it again, and learns of it there.
        os._exit(0)
