"""Verification: whether a tree is what it says, without writing a byte into it.

    verify(registry, scan(store), level=Level.DIGESTS, jobs=2) -> Result
        .checked    blobs, bytes, links, manifests that were looked at
        .findings   what is wrong, each with the images it touches
        .images     the damaged images, each with what is wrong with it

    links      report.Level.LINKS    the listing, and what every link says    links.py
    sizes      + what images need    is it there, and as long as promised     closure.py
    digests    + all content         every blob hashed, once                  content.py
    content    + what is in layers   unpacked while they are hashed           unpack.py

Here the levels are put together. What is found is told at once, each thing once and in an
order that depends on the tree alone: what threads find waits for what comes before it.
affected.py finds the images, scope.py limits it to what was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph, build_graph
from regfs.progress import SILENT, Progress
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry, Target
from regfs.verify.affected import Affected, key_at
from regfs.verify.closure import Closure
from regfs.verify.content import HashOutcome, Problem, hash_all
from regfs.verify.context import Context
from regfs.verify.elsewhere import Elsewhere
from regfs.verify.images import PullableImage, images_of
from regfs.verify.ledger_file import LedgerFile
from regfs.verify.links import check_links
from regfs.verify.report import Checked, Collector, ImageDamage, Level, ReportedFinding, Result
from regfs.verify.rounds import OF_CONTENT, ReadPass, Timing
from regfs.verify.schedule import Selection
from regfs.verify.scope import scope_of
from regfs.verify.unpack import Unpacking

__all__ = [
    "Checked",
    "ImageDamage",
    "PullableImage",
    "LedgerFile",
    "Level",
    "Result",
    "ReportedFinding",
    "Selection",
    "images_of",
    "verify",
]


def verify(
    registry: Registry,
    inventory: Inventory,
    graph: Graph | None = None,
    *,
    level: Level = Level.DIGESTS,
    targets: Sequence[Target] = (),
    jobs: int = 2,
    executor: Executor | None = None,
    progress: Progress = SILENT,
    on_finding: Callable[[ReportedFinding], None] | None = None,
    selection: Selection = Selection(),  # noqa: B008  # frozen
    ledger: LedgerFile | None = None,
    started: float | None = None,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> Result:
    """Check a tree, or what `targets` reach in it.

    The graph is made when it is needed and not given. `executor` takes the hashing
    elsewhere, to workers that see the same store; `jobs` is how many tasks run at
    once. `on_finding` hears of each finding at once, in this thread. `started` is when
    the caller began, where listing the tree is to count. Ctrl-C ends it early, with
    what was found so far.

    Which blobs are read, of those that `targets` reach, `selection` says. What came of
    each goes into `ledger`, which the caller has entered; what it knows makes the order.

    Raises:
        Invalid: `selection` makes no sense at this level, or without a ledger.
    """
    started = clock() if started is None else started
    round_ = ReadPass(
        registry.store, inventory, level, selection, ledger, Timing(started, clock, steady)
    )
    if level.covers(Level.SIZES) and graph is None:
        graph = build_graph(inventory, registry, progress=progress)
    scope = scope_of(targets, inventory, graph)
    elsewhere = Elsewhere(registry)
    collector = Collector(Affected(inventory, graph, elsewhere), scope.has_finding, on_finding)
    context = Context(registry, inventory, scope, collector, progress, elsewhere)
    run = _Run(context, graph, level, jobs, executor, round_)
    interrupted = False
    try:
        run.check()
    except KeyboardInterrupt:
        interrupted = True
    return Result(
        registry.store.url,
        level,
        run.checked(),
        tuple(collector.rows),
        interrupted,
        collector.images,
        started,
        clock(),
        collector.more,
    )


class _Run:
    """The levels, one after the other."""

    def __init__(
        self,
        context: Context,
        graph: Graph | None,
        level: Level,
        jobs: int,
        executor: Executor | None,
        round_: ReadPass,
    ) -> None:
        self._context = context
        self._graph = graph if level.covers(Level.SIZES) else None
        self._level = level
        self._jobs = jobs
        self._executor = executor
        self._round = round_
        self._links = 0
        self._blobs_done = 0
        self._bytes_done = 0

    def checked(self) -> Checked:
        """Return how much was looked at so far."""
        manifests = 0 if self._graph is None else len(self._read())
        return Checked(
            self._blobs_done,
            self._bytes_done,
            self._links,
            manifests,
            self._round.skipped,
            *self._round.left,
        )

    def check(self) -> None:
        """Run every level that was asked for."""
        for finding in self._context.inventory.findings:
            self._context.add(finding)
        self._links = check_links(self._context)
        if self._graph is None:
            return
        closure = Closure(self._context, self._graph)
        closure.check()
        mismatches = list(closure.size_mismatches())
        self._count_manifests()
        if self._level is Level.SIZES:
            self._blobs_done = sum(1 for _ in self._blobs())
        else:
            self._check_content(closure, [mismatch.blob for mismatch in mismatches])
        hashed = self._level.covers(Level.DIGESTS)
        for mismatch in mismatches:
            closure.report_size(mismatch, right=hashed and self._round.was_read(mismatch.blob))

    def _read(self) -> list[Digest]:
        """Return the manifests whose bytes were read and hashed for the graph."""
        assert self._graph is not None
        hashed = {Code.BLOB_CORRUPT, Code.MANIFEST_UNREADABLE, Code.DESCRIPTOR_INVALID}
        problems = self._graph.problems
        known = (d for d in self._graph.manifests if d not in problems)
        broken = (d for d, problem in problems.items() if problem.code in hashed)
        scope, blobs = self._context.scope, self._context.inventory.blobs
        return [d for d in (*known, *broken) if scope.has_blob(d) and d in blobs]

    def _count_manifests(self) -> None:
        read = self._read()
        self._blobs_done = len(read)
        blobs = self._context.inventory.blobs
        self._bytes_done = sum(blobs[digest].size for digest in read)

    def _blobs(self) -> Iterator[Digest]:
        """Yield the blobs that are asked for."""
        scope = self._context.scope
        return (digest for digest in self._context.inventory.blobs if scope.has_blob(digest))

    def _check_content(self, closure: Closure, doubtful: Iterable[Digest]) -> None:
        """Hash the blobs that are due and that the graph has not hashed already."""
        assert self._graph is not None
        context, round_ = self._context, self._round
        unpacking = None
        if self._level.covers(Level.CONTENT):
            unpacking = Unpacking(context, self._graph)
            unpacking.begin(round_.is_proven)
        done = dict.fromkeys(self._read())
        problems = self._graph.problems
        wanted = (digest for digest in self._blobs() if digest not in done)
        due = round_.begin(wanted, () if unpacking is None else unpacking.fresh, doubtful)
        round_.record(done, {d: problems[d].code for d in done if d in problems})
        self._hash(closure, due, unpacking)
        if unpacking is not None:
            unpacking.finish()
            round_.prove(self._broken_content(), unpacking.unfinished)
        for digest, code in round_.broken.items():
            path = layout.blob_path(digest)
            context.add(Finding(code, path, digest, actual="so in an earlier run, not read again"))

    def _hash(
        self, closure: Closure, due: list[tuple[Digest, int]], unpacking: Unpacking | None
    ) -> None:
        progress = self._context.progress
        progress.start("Hashing blobs", sum(size for _, size in due), "bytes")
        found = hash_all(
            self._context.registry.store,
            due,
            jobs=self._jobs,
            executor=self._executor,
            progress=progress,
            unpack=None if unpacking is None else unpacking.wants,
            is_over=self._round.is_over,
        )
        waiting: dict[int, tuple[Problem, ...]] = {}
        told = 0
        try:
            with closing(found):
                for outcome in found:
                    self._take(outcome)
                    if unpacking is not None:
                        unpacking.take(outcome.layers)
                    waiting[outcome.number] = outcome.problems
                    while told in waiting:
                        self._report(closure, waiting.pop(told))
                        told += 1
        finally:  # of a run that is cut off, some tasks were never done
            for number in sorted(waiting):
                self._report(closure, waiting[number])
        progress.finish()

    def _take(self, outcome: HashOutcome) -> None:
        self._blobs_done += outcome.blobs
        self._bytes_done += outcome.bytes
        self._round.done(outcome.digests, {one.digest: one.code for one in outcome.problems})

    def _broken_content(self) -> dict[Digest, Code]:
        """Return what was found in blobs that are intact as such."""
        rows = self._context.collector.rows
        broken = [row.finding for row in rows if row.finding.code in OF_CONTENT]
        keys = ((key_at(finding.path), finding.code) for finding in broken)
        return {key.digest: code for key, code in keys if isinstance(key, layout.BlobData)}

    def _report(self, closure: Closure, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._report_one(closure, problem)

    def _report_one(self, closure: Closure, problem: Problem) -> None:
        digest, code, actual, whole = problem
        path = layout.blob_path(digest)
        if code is Code.BLOB_MISSING:
            if closure.lost(digest):  # else it was deleted meanwhile, as it may be
                self._context.add(Finding(code, path, digest))
            return
        expected = digest if code is Code.BLOB_CORRUPT else None
        finding = Finding(code, path, digest, expected=expected, actual=actual)
        # A blob that came right at last harms no image.
        self._context.add(replace(finding, override=Severity.INFO) if whole else finding)
