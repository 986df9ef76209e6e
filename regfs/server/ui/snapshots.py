"""When snapshots of the tree are taken: by a thread that no pull waits for.

Listing a large tree takes seconds to minutes. A request waits a little, then gets the previous
snapshot, or none yet, and `doing` says how far it is. The next snapshot comes with the reports
that were requested of the one before, so a page that was fast stays so. A snapshot that is no
longer requested is dropped, and a large one before the next is taken: it can have hundreds of MB.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from regfs.graph import build_graph
from regfs.server.settings import PAGE_SECONDS
from regfs.server.ui.snapshot import Report, Snapshot, TagRemoval
from regfs.tree.registry import Registry
from regfs.tree.scan import scan

MAX_AGE: Final = 2.0
"""Seconds after which a snapshot is too old for the next request."""
SHARE: Final = 0.1
"""Largest share of the time for taking snapshots, however many requests there are."""
GLANCE: Final = 0.05
"""Seconds to wait for a newer snapshot if there is an older one."""
FRESH_SHARE: Final = 0.25
"""Largest share of the time for snapshots that are requested at once."""
IDLE: Final = 900.0
"""Seconds without a request after which a snapshot is dropped."""
LARGE: Final = 300_000
"""Blobs beyond which there are never two snapshots in memory at once."""
FIRST: Final = ("summary", "usage_repository", "images", "wrong")
"""Reports that are made with every snapshot: nearly every page needs them."""


class _SnapshotStopped(Exception):
    """The server is shutting down, so the snapshot is no longer needed."""


class _Doing:
    """A Progress that a page can show, and that can stop the work."""

    def __init__(self) -> None:
        self.stopped = False
        self._task = ""
        self._done = 0

    def __str__(self) -> str:
        return f"{self._task}: {self._done:,}" if self._done else self._task

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Begin a task."""
        self._task, self._done = task, 0
        self.advance(0)

    def advance(self, amount: int) -> None:
        """Note how far it is."""
        if self.stopped:
            raise _SnapshotStopped
        self._done += amount

    def finish(self) -> None:
        """Do nothing: the words stay until the next task begins."""


class Snapshots:
    """Keeps at most one snapshot of a registry. All but `close` belongs to the event loop."""

    def __init__(
        self,
        registry: Registry,
        *,
        max_age: float = MAX_AGE,
        patience: float = PAGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._max_age = max_age
        self._patience = patience
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="regfs-page")
        self._doing = _Doing()
        self._kept: Snapshot | None = None
        self._kept_since = 0.0
        self._taking: asyncio.Future[Snapshot] | None = None
        self._take_once_more = False
        """Whether somebody asked for a fresh snapshot while one was being taken."""
        self._due: asyncio.TimerHandle | None = None
        """Timer that takes a requested fresh snapshot once its share of the time allows."""
        self._making: dict[Report, asyncio.Future[object]] = {}
        self._asked: set[str] = set()
        """Reports that were requested of the snapshot that is kept."""
        self._asked_at = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._trouble: BaseException | None = None
        """Why the last snapshot could not be taken; given once."""

    @property
    def doing(self) -> str:
        """What the thread is doing, in words."""
        return str(self._doing)

    @property
    def holds(self) -> bool:
        """Whether there is a snapshot in memory."""
        return self._kept is not None

    @property
    def renewing(self) -> bool:
        """Whether the tree is being read again, or will be as soon as it may."""
        return self._taking is not None or self._due is not None

    async def get(
        self, reports: Iterable[Report] = (), *, patience: float | None = None, fresh: bool = False
    ) -> Snapshot | None:
        """Return a snapshot that has these reports; None if that takes longer than `patience`.

        A `fresh` one is taken anew. Reading never exceeds its share of the time, however often
        it is requested: if the share is used up, the older snapshot is returned, and the tree
        is read once the share allows it.

        Raises:
            RegfsError: the tree cannot be read.
        """
        patience = self._patience if patience is None else patience
        reports = tuple(reports)
        self._asked.update(one for one in reports if isinstance(one, str))
        self._asked_at = self._clock()
        until = self._asked_at + patience
        if fresh:
            await self._renew(patience)
        elif self._taking is None and self._fresh_for(SHARE, self._max_age) <= 0:
            self._take()
        if self._taking is not None:
            glance = self._kept is not None and not fresh
            await _wait(self._taking, min(patience, GLANCE) if glance else patience)
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        return await self._with_reports(reports, until)

    async def _with_reports(self, reports: tuple[Report, ...], until: float) -> Snapshot | None:
        """Return a snapshot once it has these reports; None if there is none at that time."""
        snapshot = self._kept
        while snapshot is not None:
            missing = next((one for one in reports if not snapshot.has(one)), None)
            if missing is None:
                return snapshot
            if snapshot is not self._kept:
                snapshot = self._kept  # a newer one has come, which cancels the reports of this
                continue
            making = self._make(snapshot, missing)
            await _wait(making, until - self._clock())
            if not making.done():
                return None
            if not making.cancelled():
                making.result()
        return None

    def close(self) -> None:
        """Stop what is running, and drop the snapshot."""
        self._doing.stopped = True
        self._forget_due()
        self._worker.shutdown(wait=False, cancel_futures=True)
        if self._taking is not None:
            self._taking.cancel()  # or it would call a loop that is closed by then
        self._drop()

    def join(self) -> None:
        """Wait until the thread has ended; only after `close`."""
        self._worker.shutdown(wait=True)

    def _fresh_for(self, share: float, least: float) -> float:
        """Return the seconds until another snapshot may be taken."""
        if self._kept is None:
            return 0.0
        pause = self._kept.took * (1 - share) / share
        return self._kept_since + max(least, pause) - self._clock()

    async def _renew(self, patience: float) -> None:
        """Take a snapshot now or soon; wait for its start if that is near."""
        if self._taking is not None:
            self._take_once_more = True  # what is new may stand where it has read already
            return
        pause = self._fresh_for(FRESH_SHARE, 0.0)
        if 0 < pause <= patience:
            await asyncio.sleep(pause)
        if self._taking is None:
            self._take_when_due()

    def _take_when_due(self) -> None:
        pause = self._fresh_for(FRESH_SHARE, 0.0)
        if pause <= 0:
            self._take()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(pause, self._take)

    def _take(self) -> None:
        self._forget_due()
        if self._taking is not None:
            return
        if self._kept is not None and len(self._kept.inventory.blobs) > LARGE:
            self._drop()
        loop = asyncio.get_running_loop()
        reports, self._asked = (*FIRST, *sorted(self._asked)), set()
        self._taking = loop.run_in_executor(self._worker, self._read, reports)
        self._taking.add_done_callback(self._taken)

    def _make(self, snapshot: Snapshot, report: Report) -> asyncio.Future[object]:
        """Start making a report, unless that has begun."""
        if report not in self._making:
            what = "removal" if isinstance(report, TagRemoval) else report.partition("_")[0]
            self._doing.start(f"Working out the {what}")
            loop = asyncio.get_running_loop()
            making: asyncio.Future[object] = loop.run_in_executor(
                self._worker, snapshot.make, report
            )
            making.add_done_callback(_notice)
            self._making[report] = making
        return self._making[report]

    def _read(self, reports: Iterable[str]) -> Snapshot:
        began = self._clock()
        view = self._registry.snapshot()
        inventory = scan(view.store, progress=self._doing)
        graph = build_graph(inventory, view, progress=self._doing)
        snapshot = Snapshot(view, inventory, graph, 0.0)
        for report in reports:
            self._doing.start("Adding up")
            snapshot.make(report)
        snapshot.took = self._clock() - began
        return snapshot

    def _taken(self, future: asyncio.Future[Snapshot]) -> None:
        self._taking = None
        if future.cancelled():
            return
        self._trouble = future.exception()
        if self._trouble is None:
            self._forget_reports()
            self._kept, self._kept_since = future.result(), self._clock()
            self._look_after(IDLE)
        if self._take_once_more:
            self._take_once_more = False
            self._take_when_due()

    def _look_after(self, seconds: float) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(seconds, self._look_idle)

    def _look_idle(self) -> None:
        unasked = self._clock() - self._asked_at
        if unasked >= IDLE:
            self._drop()
        else:
            self._look_after(IDLE - unasked)

    def _forget_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _drop(self) -> None:
        self._kept = None
        self._forget_reports()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _forget_reports(self) -> None:
        """Cancel the reports of a snapshot that is dropped."""
        for making in self._making.values():
            making.cancel()
        self._making = {}


def _notice(future: asyncio.Future[object]) -> None:
    """Retrieve the outcome of a report, since the request for it may be gone."""
    if not future.cancelled():
        future.exception()


async def _wait(future: asyncio.Future[Any], seconds: float) -> None:
    """Wait for a future for some time, without cancelling it for other waiters."""
    await asyncio.wait([future], timeout=max(seconds, 0.0))
