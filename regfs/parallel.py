"""Doing many small things at once: in threads on a cold disk, in a second process on a warm one.

`adaptive_map` asks a slow disk several questions at once, and a fast one each in turn.
`map_in_windows` asks what is far away, in threads of the caller.

`map_in_two_processes` works through a long row of items from both ends:

    items   0  1  2  3  4  5  6  7  8  9
            this process ->      <- a fork

The result is the same as in one process: this process does every item that the fork has not
answered, because it was killed or met something that plain values cannot express. It does all
of them on a machine with one processor, while other threads run (the fork would wait for a lock
that one of them holds), and on systems without a usable fork. More than two processes gain
nothing: they mostly queue for the same disk.

The fork sends its answers when it ends. It writes nothing else and cleans nothing up.

`map_ahead` lets the fork prepare each item while this process uses the one before:

    this process     uses 0    uses 1    uses 2
    a fork       0   1         2         3
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
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Work = Callable[[Iterator[int]], Iterator[Answer]]
"""Takes the numbers of items one by one, and yields an answer to each in the same order.

An answer is whatever marshal can write: numbers, text, bytes, and tuples, lists and dicts of those.
"""


THREADS: Final = 8
"""Questions under way at once; more gain nothing on one disk."""

_WINDOW: Final = 8 * THREADS
_TASKS: Final = "/proc/self/task"
_SIZE: Final = struct.Struct("=q")
_PIECE: Final = 1 << 20
_LIVES: Final = 0.5
"""Seconds between two looks of a fork at whether its parent lives, if an item takes so long."""


def _times_slept() -> float:
    """Return how often this thread has given up its processor; NaN where that is not counted."""
    return math.nan if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw


_THREAD: Final[int | None] = getattr(resource, "RUSAGE_THREAD", None)


def adaptive_map(
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    is_slow: Callable[[float, Answer], bool],
) -> Iterator[Answer]:
    """Yield `function(item)` for each item, in order.

    Works in this thread until `is_slow(waited, answer)` says that the disk is cold,
    and in a pool of threads from then on; `waited` is how many seconds the answer
    took without computing. A warm cache answers before a thread wakes up, while a
    cold disk answers eight questions in a third of the time that they take one by
    one. Holds 64 answers at most.
    """
    remaining = iter(items)
    for item in remaining:
        begun, slept = time.perf_counter() - time.thread_time(), _times_slept()
        answer = function(item)
        waited = time.perf_counter() - time.thread_time() - begun
        # A thread that never slept has waited for a processor, not for a disk.
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


def map_in_windows(
    pool: Executor, work: Callable[[Item], Answer], items: Iterable[Item], count: int
) -> Iterator[Answer]:
    """Yield what `work` returns for each item, in order; a window of `count` is done at once."""
    remaining = iter(items)
    while window := tuple(islice(remaining, count)):
        if len(window) == 1:
            yield work(window[0])
        else:
            yield from pool.map(work, window)


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause Python's cycle collector: it would walk millions of new, acyclic objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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

    The other process runs `there` in place of `work`, if given. `fork` says whether there is
    enough to do for a second process to pay. `advance` gets the number of each item once,
    when either process has done it.
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
        answers = other.answers()
        answers = None if answers is None else answers[first - row.back :]
    finally:
        other.end()
    if answers is None:
        answers = list(work(iter(range(first, count))))
    row.finish()
    yield from answers


def map_ahead(
    work: Callable[[int], Answer],
    count: int,
    *,
    there: Callable[[int], Any] | None = None,
    fork: bool = True,
) -> Generator[Answer, None, None]:
    """Yield `work(0)`, `work(1)`, .. `work(count - 1)`, prepared while earlier ones are used.

    The other process runs `there` in place of `work`, if given. It is one item ahead, or as many
    as a pipe holds, and holds nothing back: where it fails, this process does the rest.
    """
    done = 0
    if fork and count > 1 and can_fork():
        for answer in _prepared(there or work, count):
            done += 1
            yield answer
    yield from map(work, range(done, count))


def _prepared(work: Callable[[int], Any], count: int) -> Iterator[Any]:
    """Yield what a fork answers, as far as it comes."""
    source, sink = os.pipe()
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        os.close(source)  # so that writing fails once the parent has gone
        _send_each(work, count, sink, parent)
    os.close(sink)
    try:
        with open(source, "rb") as stream:
            while len(head := stream.read(_SIZE.size)) == _SIZE.size:
                size = int(_SIZE.unpack(head)[0])
                if len(data := stream.read(size)) < size:
                    return
                yield marshal.loads(data)
    finally:
        with suppress(ChildProcessError):  # another part of the program has waited for it
            os.waitpid(process, 0)


def _send_each(work: Callable[[int], Any], count: int, sink: int, parent: int) -> None:
    """Send the answer to each item as soon as it is there, and exit."""

    def leave_with_parent(*signalled: object) -> None:
        if os.getppid() != parent:
            os._exit(0)  # it would keep the lock of a parent that was killed

    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when nobody reads
        signal.signal(signal.SIGALRM, leave_with_parent)
        signal.setitimer(signal.ITIMER_REAL, _LIVES, _LIVES)
        gc.disable()
        with open(sink, "wb", buffering=0) as stream:
            for item in range(count):
                data = marshal.dumps(work(item))
                view = memoryview(_SIZE.pack(len(data)) + data)
                while view:
                    view = view[stream.write(view) :]
    finally:
        os._exit(0)


class _Row:
    """Which items are taken, as both processes see it.

    Each side moves only its own end, and stops when the ends meet. If both take the last item
    at the same moment, it is done twice; no item is ever left out.
    """

    def __init__(self, count: int, advance: Callable[[Iterable[int]], None]) -> None:
        self.count = count
        self._shared = mmap.mmap(-1, 2 * _SIZE.size)
        self._advance = advance
        self._left = range(count)
        """The items that have not been passed to `advance`."""
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
            self._report(item, self.back)

    def backward(self) -> Iterator[int]:
        """Take items from the back while the parent lives."""
        item, parent = self.count, os.getppid()
        while item > self.front and os.getppid() == parent:
            item -= 1
            self.back = item
            yield item

    def finish(self) -> None:
        """Pass the remaining items to `advance`."""
        self._report(self._left.stop, self._left.stop)

    def _report(self, start: int, stop: int) -> None:
        """Pass to `advance` all remaining items but `start` to `stop`."""
        left, start = self._left, min(start, self._left.stop)
        self._left = range(start, max(start, stop))
        self._advance([*range(left.start, start), *range(self._left.stop, left.stop)])


class _Fork:
    """The other process."""

    def __init__(self, row: _Row, work: Work[Any]) -> None:
        self._pipe, sink = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._pipe)  # so that writing fails once the parent has gone
            _be_the_fork(row, work, sink)
        self._row = row
        os.close(sink)

    def answers(self) -> list[Any] | None:
        """Return its answers to what it has taken, in order; None if they are not complete."""
        pieces = []
        while piece := os.read(self._pipe, _PIECE):
            pieces.append(piece)
        try:
            answers = marshal.loads(b"".join(pieces))
        except (ValueError, EOFError, TypeError):
            return None
        taken = self._row.count - self._row.back  # it is at its end, and takes no more
        return answers[::-1] if isinstance(answers, list) and len(answers) == taken else None

    def end(self) -> None:
        """Stop it after its current item, and wait until it has exited."""
        self._row.front = self._row.count
        os.close(self._pipe)
        with suppress(ChildProcessError):  # another part of the program has waited for it
            os.waitpid(self._process, 0)


def _be_the_fork(row: _Row, work: Work[Any], sink: int) -> None:
    """Do items from the back, send the answers, and exit."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
        gc.disable()  # a collection would touch, and so copy, the shared memory
        answers = marshal.dumps(list(work(row.backward())))
        with open(sink, "wb", buffering=0) as stream:
            view = memoryview(answers)
            while view:
                view = view[stream.write(view) :]
    finally:
        # Whatever went wrong, the parent does the items again and meets the error itself.
        os._exit(0)
