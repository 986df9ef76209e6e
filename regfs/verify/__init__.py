"""Verification: whether a tree is what it says, without writing a byte into it.

    verify(registry, scan(store), level=Level.DIGESTS, jobs=2) -> Result
        .checked    blobs, bytes, links, manifests that were looked at
        .findings   what is wrong, each with the images it touches

    links      report.Level.LINKS    the listing, and what every link says    links.py
    sizes      + what images need    is it there, and as long as promised     closure.py
    digests    + all content         every blob hashed, once                  content.py

Here the levels are put together. What is found is told at once, each thing
once; affected.py finds the images, scope.py limits it to what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.inventory import Inventory
from regfs.progress import SILENT, Progress
from regfs.registry import Registry, Target
from regfs.verify.affected import Affected
from regfs.verify.closure import Closure
from regfs.verify.content import BATCH_BYTES, Problem, Totals, hash_all
from regfs.verify.context import Context
from regfs.verify.links import check_links
from regfs.verify.report import Checked, Collector, Level, Result, Row
from regfs.verify.scope import scope_of

__all__ = ["Checked", "Level", "Result", "Row", "verify"]


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
    on_finding: Callable[[Row], None] | None = None,
) -> Result:
    """Check a tree, or what `targets` reach in it.

    The graph is made when it is needed and not given. `executor` takes the hashing
    elsewhere, to workers that see the same store; `jobs` is how many tasks run at
    once. `on_finding` hears of each finding at once, in this thread. Ctrl-C ends it
    early, with what was found so far.
    """
    if level.covers(Level.SIZES) and graph is None:
        graph = Graph.build(inventory, registry, progress=progress)
    scope = scope_of(targets, inventory, graph)
    collector = Collector(Affected(inventory, graph), scope.has_finding, on_finding)
    context = Context(registry, inventory, scope, collector, progress)
    run = _Run(context, graph, level, jobs, executor)
    interrupted = False
    try:
        run.check()
    except KeyboardInterrupt:
        interrupted = True
    rows, more = tuple(collector.rows), collector.more
    return Result(registry.store.url, level, run.checked(), rows, interrupted, more)


class _Run:
    """The levels, one after the other."""

    def __init__(
        self,
        context: Context,
        graph: Graph | None,
        level: Level,
        jobs: int,
        executor: Executor | None,
    ) -> None:
        self._context = context
        self._graph = graph if level.covers(Level.SIZES) else None
        self._level = level
        self._jobs = jobs
        self._executor = executor
        self._links = 0
        self._totals = Totals()

    def checked(self) -> Checked:
        """Return how much was looked at so far."""
        totals = self._totals
        manifests = 0 if self._graph is None else len(self._read())
        return Checked(totals.blobs, totals.bytes, self._links, manifests)

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
            self._totals.blobs = sum(1 for _ in self._blobs())
        else:
            self._check_content(closure)
        for mismatch in mismatches:
            closure.report_size(mismatch, right=self._level.covers(Level.DIGESTS))

    def _read(self) -> list[Digest]:
        """Return the manifests whose bytes were read and hashed for the graph."""
        assert self._graph is not None
        hashed = {Code.BLOB_CORRUPT, Code.MANIFEST_UNREADABLE}
        problems = self._graph.problems
        known = (d for d in self._graph.manifests if d not in problems)
        broken = (d for d, problem in problems.items() if problem.code in hashed)
        scope, blobs = self._context.scope, self._context.inventory.blobs
        return [d for d in (*known, *broken) if scope.has_blob(d) and d in blobs]

    def _count_manifests(self) -> None:
        read = self._read()
        self._totals.blobs = len(read)
        blobs = self._context.inventory.blobs
        self._totals.bytes = sum(blobs[digest].size for digest in read)

    def _blobs(self) -> Iterator[tuple[Digest, int]]:
        """Yield the blobs that are asked for, in the order of the listing: folder by folder."""
        blobs, scope = self._context.inventory.blobs, self._context.scope
        for digest, number in blobs.numbers.items():
            if scope.has_blob(digest):
                yield digest, blobs.sizes[number]

    def _check_content(self, closure: Closure) -> None:
        """Hash every blob that the graph has not hashed already."""
        done = set(self._read())
        left = [(digest, size) for digest, size in self._blobs() if digest not in done]
        # The biggest first: begun last, one of them would keep a single thread busy at the end.
        large = sorted((pair for pair in left if pair[1] > BATCH_BYTES), key=_size, reverse=True)
        small = (pair for pair in left if pair[1] <= BATCH_BYTES)
        progress = self._context.progress
        progress.start("Hashing blobs", sum(size for _, size in left), "bytes")
        found = hash_all(
            self._context.registry.store,
            (pair for group in (large, small) for pair in group),
            self._totals,
            jobs=self._jobs,
            executor=self._executor,
            progress=progress,
        )
        with closing(found):
            for problem in found:
                self._report(closure, problem)
        progress.finish()

    def _report(self, closure: Closure, problem: Problem) -> None:
        digest, code, actual = problem
        path = layout.path_of(layout.BlobData(digest))
        if code is Code.BLOB_MISSING:
            if closure.lost(digest):  # else it was deleted meanwhile, as it may be
                self._context.add(Finding(code, path, digest))
            return
        expected = digest if code is Code.BLOB_CORRUPT else None
        self._context.add(Finding(code, path, digest, expected=expected, actual=actual))


def _size(pair: tuple[Digest, int]) -> int:
    return pair[1]
