"""The tree as it was at one moment, taken by a thread that no pull waits for.

    Snapshot    inventory + graph + the reports made of them, each at most once
    Snapshots   keeps one, and takes another when it is requested and the old one has aged

Listing a large tree takes seconds to minutes. A request waits a little, then gets the previous
snapshot, or none yet, and `doing` says how far it is. A snapshot that is no longer requested is
dropped, and a large one before the next is taken: it can have hundreds of MB.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import PathMissing, RegfsError
from regfs.findings import Code, Finding, Severity
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.graph import Graph, build_graph
from regfs.reports.images import Image, images
from regfs.reports.reuse import Reuse, reuse
from regfs.reports.summary import Summary
from regfs.reports.summary import summary as summarise
from regfs.reports.usage import By, Options, Usage, usage
from regfs.server.ui.own import Own
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.units import utc_time
from regfs.verify.affected import Affected
from regfs.verify.cache import in_cache
from regfs.verify.coverage import cover, pick_from
from regfs.verify.files import identify_blobs
from regfs.verify.ledger_file import LEDGER, read_ledger
from regfs.verify.report import Coverage, ReportedFinding

MAX_AGE: Final = 2.0
"""Seconds after which a snapshot is too old for the next request."""
SHARE: Final = 0.1
"""Largest share of the time for taking snapshots, however many requests there are."""
GLANCE: Final = 0.3
"""Seconds to wait for a newer snapshot if there is an older one."""
FRESH_SHARE: Final = 0.25
"""Largest share of the time for snapshots that are requested at once."""
IDLE: Final = 900.0
"""Seconds without a request after which a snapshot is dropped."""
LARGE: Final = 300_000
"""Blobs beyond which there are never two snapshots in memory at once."""
SHARED_SHOWN: Final = 200
"""Shared layers that are listed; the rest are counted."""


LARGEST: Final = 256 * 1024
"""Bytes of the largest manifest or config that is parsed for a page. Parsing blocks all other
threads: one of 4 MB, which anybody may push, would block them for a quarter of a second."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the ledger of `regfs verify` says about the tree."""

    coverage: Coverage | None
    """None if nothing was ever verified, or the ledger cannot be read."""
    latest: datetime | None
    """When a blob was verified last."""
    trouble: str = ""
    """Why the ledger cannot be read."""


class Snapshot:
    """The tree as it was; each report is made on first use."""

    def __init__(self, registry: Registry, inventory: Inventory, graph: Graph, took: float) -> None:
        self.registry = registry
        self.inventory = inventory
        self.graph = graph
        self.took = took
        """Seconds it took to take."""
        self.taken_at = utc_time(inventory.taken_at)

    def has(self, report: str) -> bool:
        """Return whether a report is there already."""
        return report in vars(self)

    @cached_property
    def summary(self) -> Summary:
        """The registry at a glance."""
        return summarise(self.graph, self.registry.skim)

    @cached_property
    def images(self) -> list[Image]:
        """Every image."""
        return images(self.graph, lambda digest: self.registry.skim(digest, LARGEST))

    @cached_property
    def own(self) -> Own:
        """What each repository itself has."""
        return Own(self.graph)

    @cached_property
    def own_images(self) -> list[Image]:
        """Every image that its repository itself has."""
        has = self.own.has
        return [
            one._replace(layers=tuple(part for part in one.layers if has(one.repository, part)))
            for one in self.images
            if has(one.repository, one.manifest)
        ]

    @cached_property
    def pushed(self) -> dict[str, float]:
        """Repository -> when a tag or manifest of it was last written; 0 if never."""
        return {
            name: max(
                max((info.mtime for info in one.tags.values()), default=0.0),
                max(one.revisions.mtimes, default=0.0),
            )
            for name, one in self.inventory.repositories.items()
        }

    def usage(self, by: By) -> Usage:
        """Return who uses how much."""
        found: Usage = getattr(self, f"usage_{by.name.lower()}")
        return found

    @cached_property
    def usage_repository(self) -> Usage:
        """Usage by repository."""
        return self._usage(By.REPOSITORY)

    @cached_property
    def usage_tag(self) -> Usage:
        """Usage by tag."""
        return self._usage(By.TAG)

    @cached_property
    def usage_layer(self) -> Usage:
        """Usage by layer."""
        return self._usage(By.LAYER)

    @cached_property
    def usage_namespace(self) -> Usage:
        """Usage by namespace."""
        return self._usage(By.NAMESPACE)

    @cached_property
    def usage_media_type(self) -> Usage:
        """Usage by media type."""
        return self._usage(By.MEDIA_TYPE)

    def _usage(self, by: By) -> Usage:
        return usage(self.graph, self.registry.manifest, options=Options(by=by))

    @cached_property
    def reuse(self) -> Reuse:
        """Which images share which layers."""
        return self.reuse_among(self.images)

    def reuse_among(self, among: list[Image]) -> Reuse:
        """Return which of some images share which layers."""
        read, read_bytes = self.registry.skim, self.registry.manifest_bytes
        return reuse(self.graph, read, read_bytes, top=SHARED_SHOWN, among=among)

    @cached_property
    def plan(self) -> Plan:
        """What `regfs gc plan` would delete."""
        return self._plan(Policy())

    @cached_property
    def plan_untagged(self) -> Plan:
        """What `regfs gc plan --delete-untagged` would delete."""
        return self._plan(Policy(delete_untagged=True))

    def _plan(self, policy: Policy) -> Plan:
        now = self.inventory.taken_at
        return plan(self.graph, policy, now, self.registry.manifest_bytes)

    @cached_property
    def wrong(self) -> list[ReportedFinding]:
        """Every known finding once, the worst first."""
        noted = self.ledger.coverage.findings if self.ledger.coverage else ()
        gone = [
            Finding(Code.BLOB_MISSING, layout.blob_path(Digest(digest)), digest)
            for digest in self.usage_repository.missing
        ]
        structure = [*self.inventory.findings, *self.graph.findings, *gone]
        if self.inventory.proxy_cache:
            structure = list(map(in_cache, structure))
        rows = {(row.finding.code, row.finding.path): row for row in noted}
        for finding in structure:
            rows.setdefault((finding.code, finding.path), ReportedFinding(finding))
        order = list(Severity)
        return sorted(
            rows.values(),
            key=lambda row: (
                order.index(row.finding.severity),
                # Causes come before their consequences.
                row.finding.code is not Code.BLOBS_MISSING,
                row.finding.code,
                row.finding.path,
            ),
        )

    @cached_property
    def affected(self) -> Affected:
        """Finds the images that a finding affects."""
        return Affected(self.inventory, self.graph)

    @cached_property
    def ledger(self) -> LedgerState:
        """What previous verifications have found."""
        try:
            known = read_ledger(self.registry.store, LEDGER, pick_from(self.inventory))
        except PathMissing:
            return LedgerState(None, None)
        except RegfsError as error:
            return LedgerState(None, None, str(error))
        latest = max((entry.checked_at for _, entry in known), default=None)
        file_of = identify_blobs(self.registry.store, self.inventory.blobs).find
        coverage = cover(self.inventory, known, file_of, lambda: self.graph)
        return LedgerState(coverage, None if latest is None else utc_time(latest))


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._max_age = max_age
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
        self._making: dict[str, asyncio.Future[object]] = {}
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
        self, reports: Iterable[str] = (), *, patience: float = 1.5, fresh: bool = False
    ) -> Snapshot | None:
        """Return a snapshot that has these reports; None if that takes longer.

        A `fresh` one is taken anew. Reading never exceeds its share of the time, however often
        it is requested: if the share is used up, the older snapshot is returned, and the tree
        is read once the share allows it.

        Raises:
            RegfsError: the tree cannot be read.
        """
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
        snapshot = self._kept
        if snapshot is None:
            return None
        for report in reports:
            if not snapshot.has(report):
                making = self._make(snapshot, report)
                await _wait(making, until - self._clock())
                if not making.done() or making.cancelled():
                    return None
                making.result()
        return snapshot

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
        self._taking = loop.run_in_executor(self._worker, self._read)
        self._taking.add_done_callback(self._taken)

    def _make(self, snapshot: Snapshot, report: str) -> asyncio.Future[object]:
        """Start making a report, unless that has begun."""
        if report not in self._making:
            self._doing.start(f"Working out the {report.partition('_')[0]}")
            loop = asyncio.get_running_loop()
            making = loop.run_in_executor(self._worker, getattr, snapshot, report)
            making.add_done_callback(_notice)
            self._making[report] = making
        return self._making[report]

    def _read(self) -> Snapshot:
        began = self._clock()
        inventory = scan(self._registry.store, progress=self._doing)
        graph = build_graph(inventory, self._registry, progress=self._doing)
        snapshot = Snapshot(self._registry, inventory, graph, 0.0)
        for report in FIRST:
            self._doing.start("Adding up")
            getattr(snapshot, report)
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
