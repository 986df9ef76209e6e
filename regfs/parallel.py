"""Asking a slow disk many things at once, and a fast one one thing after the other."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

THREADS: Final = 8
"""Questions under way at once; more gained nothing on one disk."""

_WINDOW: Final = 8 * THREADS


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
