"""What the explorer knows of the tree: read in stages, so that the first names come at once.

    repositories    by point reads
    Reading.read    lists the tree and builds the graph; adds up what each repository uses
    Reading.check   what is known to be wrong, and which blobs were verified

The two threads of the explorer share it: one reads, the other makes pages of what is there.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import cached_property
from typing import Final, NamedTuple

from regfs.browse.places import Standing
from regfs.digest import Digest
from regfs.facade import Tree
from regfs.findings import Severity
from regfs.graph import Graph
from regfs.reports.contents import Holding, holdings, holdings_of
from regfs.reports.images import Image, images
from regfs.reports.usage import By, Options, Sort, UsageRow, usage
from regfs.units import rfc3339
from regfs.verify.affected import Affected
from regfs.verify.known import LedgerState, every_finding, read_known
from regfs.verify.ledger import LedgerEntry
from regfs.verify.report import Level, ReportedFinding

_EXAMINED: Final = 2000
"""Findings whose images are looked for: in a tree without blobs there are as many as links."""
_UNSEEN, _INTACT, _DAMAGED = range(3)


class Verified(NamedTuple):
    """What is known about the content of the tree."""

    findings: tuple[ReportedFinding, ...]
    """The worst first."""
    words: str
    """How much was verified, and when."""
    of_repository: dict[str, Standing]
    of_tag: dict[tuple[str, str | None], Standing]
    """The tag is None for what is untagged."""
    blobs: bytearray
    """Row of a blob -> whether it was verified, and how that ended."""


class TreeData:
    """The tree as it was when it was read."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.graph: Graph = tree.graph
        read = tree.view.manifest
        self._used = usage(self.graph, read)
        self.used: dict[str, UsageRow] = {row.name: row for row in self._used.rows}
        self.verified: Verified | None = None

    @property
    def stored(self) -> int:
        """Bytes of all that images need."""
        return self._used.sum.stored

    @cached_property
    def used_by_tag(self) -> dict[str, dict[str | None, UsageRow]]:
        """Repository -> tag -> what it uses; None is what is untagged."""
        found: dict[str, dict[str | None, UsageRow]] = {}
        options = Options(By.TAG, Sort.NAME)
        for row in usage(self.graph, self.tree.view.manifest, options=options).rows:
            found.setdefault(row.repository or "", {})[row.tag] = row
        return found

    @cached_property
    def images(self) -> list[Image]:
        """Every image."""
        return images(self.graph, self.tree.view.skim)

    @cached_property
    def _platforms(self) -> dict[tuple[str, str | None], list[str]]:
        found: dict[tuple[str, str | None], list[str]] = {}
        for one in self.images:
            if one.platform:
                found.setdefault((one.repository, one.tag), []).append(one.platform)
        return found

    def platforms(self, repository: str, tag: str | None) -> list[str]:
        """Return the platforms that the index of a tag lists; none if it points to an image."""
        return self._platforms.get((repository, tag), [])

    def size(self, digests: Iterable[Digest]) -> int:
        """Return the bytes of manifests and of all they need, each blob once."""
        return sum(map(self.graph.inventory.blobs.size, self.graph.needs(digests)))

    def standing(self, digests: Iterable[Digest]) -> Standing:
        """Return what is known about manifests and all they need, or about blobs."""
        if self.verified is None:
            return Standing.UNKNOWN
        numbers = self.graph.needed_numbers(digests)
        return self._standing(numbers, self.verified.blobs)

    def check(self) -> None:
        """Work out what is known to be wrong, and what was verified."""
        blobs = bytearray(len(self.graph.inventory.blobs))

        def note(digest: Digest, entry: LedgerEntry) -> None:
            row = self.graph.inventory.blobs.row(digest)
            # Damage that any level has found stays damage.
            if entry.result is not None:
                blobs[row] = _DAMAGED
            elif blobs[row] == _UNSEEN and entry.level.covers(Level.DIGESTS):
                blobs[row] = _INTACT

        known = read_known(self.tree.store, self.graph.inventory, self.graph, note)
        findings = every_finding(known, self.graph.inventory, self.graph, self._used.missing)
        affected = Affected(self.graph.inventory, self.graph)
        errors = [one.finding for one in findings if one.finding.severity is Severity.ERROR]
        damaged = {name for one in errors[:_EXAMINED] for name in affected.images(one)}
        of_tag: dict[tuple[str, str | None], Standing] = {}
        told = bool(damaged) or any(blobs)
        for held in holdings(self.graph) if told else ():
            of_tag[held.repository, held.tag] = self._of_holding(held, blobs, damaged)
        of_repository: dict[str, set[Standing]] = {}
        for (name, _), standing in of_tag.items():
            of_repository.setdefault(name, set()).add(standing)
        self.verified = Verified(
            tuple(findings),
            _words(known, len(blobs)),
            {name: _together(found) for name, found in of_repository.items()},
            of_tag,
            blobs,
        )

    def _of_holding(self, held: Holding, states: bytearray, damaged: set[str]) -> Standing:
        names = {held.label, *(f"{held.repository}@{one}" for one in held.manifests)}
        if not damaged.isdisjoint(names):
            return Standing.DAMAGED
        return self._standing(self.graph.needed_numbers(held.manifests), states)

    def _standing(self, numbers: array[int], states: bytearray) -> Standing:
        rows = self.graph.inventory.blobs.rows_of(numbers)
        found = set(map(states.__getitem__, rows))
        if _DAMAGED in found:
            return Standing.DAMAGED
        if _INTACT not in found:
            return Standing.UNKNOWN
        return Standing.INTACT if _UNSEEN not in found else Standing.PARTLY

    def held(self, repository: str, tag: str | None) -> set[Digest]:
        """Return the manifests that a tag reaches, or that none does."""
        one = self.graph.inventory.repositories.get(repository)
        found = () if one is None else holdings_of(self.graph, one)
        return next((held.manifests for held in found if held.tag == tag), set())


def _together(found: set[Standing]) -> Standing:
    """Return what holds for all of several things."""
    if Standing.DAMAGED in found:
        return Standing.DAMAGED
    if len(found) == 1:
        return next(iter(found))
    return Standing.PARTLY


def _words(known: LedgerState, total: int) -> str:
    """Return how much was verified, and when."""
    if known.trouble:
        return f"the ledger of `regfs verify` cannot be read: {known.trouble}"
    if known.coverage is None:
        return "never verified: `regfs verify` checks the content"
    when = "" if known.latest is None else f", latest {rfc3339(known.latest.timestamp())}"
    return f"{known.coverage.verified:,} of {total:,} blobs verified{when}"
