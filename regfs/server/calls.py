"""Short calls of the storage: made on the spot while it answers at once, else in a thread.

A call in a thread changes threads at each of its system calls. Of a manifest that the kernel
has in memory that costs more than the call itself, and under load milliseconds of waiting. So
the loop makes such calls itself, until one of them has taken long: a disk that was waited for
is waited for again, and others must be served meanwhile. Then threads do them for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

SLOW: Final = 0.005
"""Seconds from which on a call has taken long; one that only asks the kernel takes 0.0002."""
PAUSE: Final = 1.0
"""Seconds for which threads do the calls after one that has taken long."""

P = ParamSpec("P")
T = TypeVar("T")


class ShortCalls:
    """How short calls of the storage are made; for one loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._apart_until = clock()

    async def make(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call, which reads no more than some files that are small."""
        began = self._clock()
        if began < self._apart_until:
            return await asyncio.to_thread(work, *args, **kwargs)
        try:
            return work(*args, **kwargs)
        finally:
            ended = self._clock()
            if ended - began >= SLOW:
                self._apart_until = ended + PAUSE
