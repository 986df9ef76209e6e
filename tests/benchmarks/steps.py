"""What one process takes, step by step: seconds, and its peak memory."""

from __future__ import annotations

import resource
from collections.abc import Callable


class Steps:
    """The steps so far, as they are printed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """The first step begins now; `clock` says which seconds are meant."""
        self.rows: list[dict[str, object]] = []
        self._clock = clock
        self._begun = clock()

    def note(self, step: str) -> None:
        """End a step; peak memory is that of the process so far, in bytes."""
        seconds = round(self._clock() - self._begun, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.rows.append({"step": step, "seconds": seconds, "peak": peak})
        self._begun = self._clock()
