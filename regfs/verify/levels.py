"""The levels of a verification, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.verify.affected import key_at
from regfs.verify.closure import Closure
from regfs.verify.content import HashOutcome, Problem, hash_all
from regfs.verify.context import Context
from regfs.verify.options import Portion, VerifyOptions
from regfs.verify.read_pass import OF_CONTENT, ReadPass
from regfs.verify.report import Checked, Collector, Level
from regfs.verify.walk import check_links

if TYPE_CHECKING:
    from regfs.verify.unpack import Unpacking


class Levels:
    """Runs the levels of one verification and counts what they check."""

    def __init__(
        self,
        context: Context,
        collector: Collector,
        graph: Graph | None,
        options: VerifyOptions,
        read_pass: ReadPass,
    ) -> None:
        """`context` reports to `collector`."""
        self._context = context
        self._collector = collector
        self._graph = graph if options.level.covers(Level.SIZES) else None
        self._level = options.level
        self._options = options
        self._pass = read_pass
        self._links = 0
        self._blobs_done = 0
        self._bytes_done = 0

    def checked(self) -> Checked:
        """Return how much was checked so far."""
        manifests = 0 if self._graph is None else len(self._read)
        return Checked(
            self._blobs_done,
            self._bytes_done,
            self._links,
            manifests,
            self._pass.skipped,
            *self._pass.left,
        )

    def check(self) -> bool:
        """Run every level up to that of the options; return False if Ctrl-C ended them early."""
        try:
            self._check()
        except KeyboardInterrupt:
            return False
        return True

    def _check(self) -> None:
        for finding in self._context.inventory.findings:
            self._context.add(finding)
        if self._options.portion is Portion.BLOBS:
            self._check_blobs_alone()
            return
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
            closure.report_size(mismatch, right=hashed and self._pass.was_read(mismatch.blob))

    @cached_property
    def _read(self) -> list[Digest]:
        """The manifests whose bytes were read and hashed for the graph."""
        assert self._graph is not None
        hashed = {Code.BLOB_CORRUPT, Code.MANIFEST_UNREADABLE, Code.DESCRIPTOR_INVALID}
        problems = self._graph.problems
        known = (d for d in self._graph.manifests if d not in problems)
        broken = (d for d, problem in problems.items() if problem.code in hashed)
        scope, blobs = self._context.scope, self._context.inventory.blobs
        return [d for d in (*known, *broken) if scope.has_blob(d) and d in blobs]

    def _count_manifests(self) -> None:
        blobs = self._context.inventory.blobs
        self._blobs_done = len(self._read)
        self._bytes_done = sum(blobs.sizes[blobs.row(digest)] for digest in self._read)

    def _blobs(self) -> Iterator[Digest]:
        """Yield the blobs in scope."""
        scope = self._context.scope
        return (digest for digest in self._context.inventory.blobs if scope.has_blob(digest))

    def _check_content(self, closure: Closure, doubtful: Iterable[Digest]) -> None:
        """Hash the blobs that are due and that the graph has not hashed."""
        assert self._graph is not None
        context, read_pass = self._context, self._pass
        unpacking = None
        rest = self._options.portion is Portion.REST
        if self._level.covers(Level.CONTENT) and not rest:
            from regfs.verify.unpack import Unpacking  # the models, which other levels do without

            unpacking = Unpacking(context, self._graph)
            unpacking.begin(read_pass.is_proven)
        done = dict.fromkeys(self._read)
        problems = self._graph.problems
        candidates = (digest for digest in self._blobs() if digest not in done)
        due = read_pass.begin(candidates, () if unpacking is None else unpacking.fresh, doubtful)
        read_pass.record(done, {d: problems[d].code for d in done if d in problems})
        if not rest:
            self._hash(closure, due, unpacking)
        if unpacking is not None:
            unpacking.finish()
            read_pass.prove(self._broken_content(), unpacking.unfinished)
        self._report_earlier()

    def _check_blobs_alone(self) -> None:
        """Hash the blobs that are due; of one that is gone, who sees the images says more."""
        self._hash(None, self._pass.begin(self._blobs(), (), ()), None)
        self._report_earlier()

    def _report_earlier(self) -> None:
        """Report what an earlier pass found damaged, and this one has not read."""
        for digest, code in self._pass.broken.items():
            path = layout.blob_path(digest)
            found = Finding(code, path, digest, actual="by an earlier run; not read again")
            self._context.add(found)

    def _hash(
        self, closure: Closure | None, due: list[tuple[Digest, int]], unpacking: Unpacking | None
    ) -> None:
        progress = self._context.progress
        progress.start("Hashing blobs", sum(size for _, size in due), "bytes")
        found = hash_all(
            self._context.registry.store,
            due,
            jobs=self._options.jobs,
            executor=self._options.executor,
            progress=progress,
            unpack=None if unpacking is None else unpacking.wants,
            is_over=self._pass.is_over,
        )
        waiting: dict[int, tuple[Problem, ...]] = {}
        following = 0
        try:
            with closing(found):
                for outcome in found:
                    self._take(outcome, unpacking)
                    waiting[outcome.number] = outcome.problems
                    while following in waiting:
                        self._report(closure, waiting.pop(following))
                        following += 1
        finally:  # if Ctrl-C ends the run, some tasks were never done
            for number in sorted(waiting):
                self._report(closure, waiting[number])
        progress.finish()

    def _take(self, outcome: HashOutcome, unpacking: Unpacking | None) -> None:
        self._blobs_done += outcome.blobs
        self._bytes_done += outcome.bytes
        self._pass.done(outcome.digests, {one.digest: one.code for one in outcome.problems})
        if unpacking is not None:
            unpacking.take(outcome.layers)

    def _broken_content(self) -> dict[Digest, Code]:
        """Return what is wrong with the content of blobs that match their digest."""
        rows = self._collector.rows
        broken = [row.finding for row in rows if row.finding.code in OF_CONTENT]
        keys = ((key_at(finding.path), finding.code) for finding in broken)
        return {key.digest: code for key, code in keys if isinstance(key, layout.BlobData)}

    def _report(self, closure: Closure | None, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._report_one(closure, problem)

    def _report_one(self, closure: Closure | None, problem: Problem) -> None:
        digest, code, actual, whole = problem
        path = layout.blob_path(digest)
        if code is Code.BLOB_MISSING:
            # Otherwise it was rightly deleted meanwhile, or a merge sees that it is not there.
            if closure is not None and closure.lost(digest):
                self._context.add(Finding(code, path, digest))
            return
        expected = digest if code is Code.BLOB_CORRUPT else None
        finding = Finding(code, path, digest, expected=expected, actual=actual)
        # A blob that matched in the end damages no image.
        self._context.add(replace(finding, override=Severity.INFO) if whole else finding)
