"""Long work for pages, in a thread of its own, and its results, which are kept for a while.

    jobs = Jobs()
    found = await jobs.get("alice", ("image", digest), read, patience=1.5)   # None: not yet

Work goes on when nobody waits for it any more: whoever asks again gets the result. It ends
after `LONGEST`, and clients take turns, so that one layer of many gigabytes, or a small one that
unpacks to terabytes, delays others only so long.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from regfs.errors import RegfsError
from regfs.server.lines import FairQueue
from regfs.server.settings import PAGE_SECONDS

LONGEST: Final = 60.0
"""Seconds that one piece of work may take."""
WAITING: Final = 4
"""Pieces of work of one client that are done or wait."""
WEIGHT: Final = 750_000
"""Weight of the results that are kept; that of an image is the number of its files."""
IDLE: Final = 600.0
"""Seconds for which a result is kept that nobody asks for."""
RETRY: Final = 20.0
"""Seconds after which work that failed is tried again."""


class TakesTooLong(RegfsError):
    """Work for a page that would take longer than pages may wait."""


class Deadline:
    """A Progress that a page can show, and that ends work which takes too long."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.stopped = False
        self._clock = clock
        self._until = clock() + seconds
        self._task = ""
        self._done, self._total = 0, 0

    def __str__(self) -> str:
        if not self._total:
            return self._task
        return f"{self._task}: {min(100 * self._done // self._total, 99)}%"

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Begin a task."""
        self._task, self._done, self._total = task, 0, total or 0
        self.advance(0)

    def advance(self, amount: int) -> None:
        """Note how far it is.

        Raises:
            TakesTooLong: there is no more time.
        """
        self._done += amount
        if self.stopped or self._clock() > self._until:
            raise TakesTooLong("This takes longer than a page can wait")

    def finish(self) -> None:
        """Do nothing: the words stay until the next task begins."""


Work = Callable[[Deadline], tuple[Any, int]]
"""Does something; returns the result and its weight."""


class _KeptResult(NamedTuple):
    value: Any
    weight: int
    until: float
    lasting: bool
    """Whether it is kept for longer if somebody asks for it."""


class Jobs:
    """Work and its results, by key. Belongs to the event loop."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, patience: float = PAGE_SECONDS
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="regfs-files")
        self._lines = FairQueue(1)
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._results: OrderedDict[Hashable, _KeptResult] = OrderedDict()
        self._doing = Deadline(0)

    @property
    def doing(self) -> str:
        """What the thread is doing, in words."""
        return str(self._doing)

    async def get(
        self,
        client: str,
        key: Hashable,
        work: Work,
        patience: float | None = None,
        lasts: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """Return the result of some work; None if it is not there after `patience` seconds.

        A result that does not last, because what is damaged may be mended, is made anew soon.

        Raises:
            LineFull: the client has asked for too much at once.
            RegfsError: what the work has raised.
        """
        self._forget()
        kept = self._results.get(key)
        if kept is not None:
            self._results.move_to_end(key)
            if kept.lasting:
                self._results[key] = kept._replace(until=self._clock() + IDLE)
            return kept.value
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._do(client, key, work, lasts))
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        await asyncio.wait([task], timeout=self._patience if patience is None else patience)
        return task.result() if task.done() else None

    def close(self) -> None:
        """Stop what is running, and drop the results."""
        self._doing.stopped = True
        for task in self._running.values():
            task.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._results.clear()

    async def _do(
        self, client: str, key: Hashable, work: Work, lasts: Callable[[Any], bool]
    ) -> Any:
        async with self._lines.turn(client, longest=WAITING):
            self._doing = Deadline(LONGEST)
            loop = asyncio.get_running_loop()
            value, weight = await loop.run_in_executor(self._worker, work, self._doing)
        lasting = lasts(value)
        until = self._clock() + (IDLE if lasting else RETRY)
        self._results[key] = _KeptResult(value, weight, until, lasting)
        self._forget()
        return value

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        """Forget that work is done; who asks again soon after a failure gets the same."""
        if task.cancelled() or task.exception() is None:
            self._running.pop(key, None)
            return
        asyncio.get_running_loop().call_later(RETRY, self._running.pop, key, None)

    def _forget(self) -> None:
        """Drop results that are old, and the oldest while all are too much; never the last."""
        now = self._clock()
        for key in [key for key, one in self._results.items() if one.until < now]:
            del self._results[key]
        while len(self._results) > 1 and self._weight() > WEIGHT:
            self._results.popitem(last=False)

    def _weight(self) -> int:
        return sum(one.weight for one in self._results.values())
