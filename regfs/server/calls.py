"""Short calls of the storage: made in the event loop while it is fast, else in a thread.

A call in a thread switches threads at each of its system calls. For a manifest in the page cache
that costs more than the call itself, and under load milliseconds of waiting. So the event loop
makes such calls itself until one takes long: a slow disk will be slow again, and the loop has
to serve others meanwhile. Then threads make the calls for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

SLOW: Final = 0.005
"""Seconds from which a call counts as slow; one that needs only the kernel takes 0.0002."""
PAUSE: Final = 1.0
"""Seconds for which threads make the calls after a slow one."""

P = ParamSpec("P")
T = TypeVar("T")


class ShortCalls:
    """Makes short calls of the storage, for one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._apart_until = clock()

    async def make(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that reads no more than a few small files."""
        began = self._clock()
        if began < self._apart_until:
            return await asyncio.to_thread(work, *args, **kwargs)
        try:
            return work(*args, **kwargs)
        finally:
            ended = self._clock()
            if ended - began >= SLOW:
                self._apart_until = ended + PAUSE
