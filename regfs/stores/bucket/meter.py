"""How many requests went to a bucket, by kind, and how many may go in a second.

    list    a page of a listing            put     an object, or a part of one
    get     an object, or a part of one    copy    on the server
    head    what an object is              delete  also of many at once
    retries attempts after a failure, which are counted by their kind as well

What obstore repeats by itself, when a server is busy, is not seen here.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable


class Meter:
    """Counts requests and spreads them over time. May be used from several threads."""

    def __init__(
        self,
        most: float = math.inf,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        run: str | None = None,
    ) -> None:
        """`most` requests are sent in a second."""
        self.most = most
        self.processes = 1
        """Other processes that make requests at once: each may send a part of `most`."""
        self.run = run or uuid.uuid4().hex
        """Names the command that they are made for, in all its processes."""
        self.counts: Counter[str] = Counter()
        """Kind -> requests so far."""
        self._clock = clock
        self._pause = pause
        self._next = 0.0
        """When the next request may be sent, by the monotonic clock."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., Meter], tuple[float, str]]:
        """Return how another process makes one: it counts, and spreads, its own requests.

        One that works for several commands at once has a meter for each.
        """
        return _meter_of, (self.most / self.processes, self.run)

    def send(self, kind: str, count: int = 1) -> None:
        """Count requests that are about to be sent; wait until they may."""
        with self._lock:
            self.counts[kind] += count
            if self.most == math.inf:
                return
            now = self._clock()
            at = max(self._next, now)
            self._next = at + count / self.most
        if at > now:
            self._pause(at - now)

    def retry(self) -> None:
        """Count that a request is sent again."""
        with self._lock:
            self.counts["retries"] += 1


def _meter_of(most: float, run: str) -> Meter:
    return Meter(most, run=run)
