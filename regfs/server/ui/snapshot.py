"""The tree as it was at one moment: inventory, graph, and the reports made of them.

Each report is made at most once. See `snapshots` for when a snapshot is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Final, NamedTuple, TypeVar

from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.graph import Graph
from regfs.reports.images import Image, images
from regfs.reports.lineage import Bases, bases
from regfs.reports.removal import Removal, removal
from regfs.reports.reuse import Reuse, reuse
from regfs.reports.sharing import Sharing, sharing
from regfs.reports.summary import Summary
from regfs.reports.summary import summary as summarise
from regfs.reports.usage import By, Options, Usage, usage
from regfs.server.ui.own import Own
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry, Target
from regfs.units import utc_time
from regfs.verify.affected import Affected
from regfs.verify.known import LedgerState, every_finding, read_known
from regfs.verify.report import ReportedFinding

SHARED_SHOWN: Final = 200
"""Shared layers that are listed; the rest are counted."""


LARGEST: Final = 256 * 1024
"""Bytes of the largest manifest or config that is parsed for a page. Parsing blocks all other
threads: one of 4 MB, which anybody may push, would block them for a quarter of a second."""


Item = TypeVar("Item")


class TagRemoval(NamedTuple):
    """What removing a tag would free: a report of which there are many."""

    name: str
    tag: str


Report = str | TagRemoval
"""A report of a snapshot: the name of a property, or a removal."""
REMOVALS: Final = 200
"""Reports of removals that are kept."""
DERIVED: Final = 500
"""Results of views that are kept."""


class Snapshot:
    """The tree as it was; each report is made on first use."""

    def __init__(self, registry: Registry, inventory: Inventory, graph: Graph, took: float) -> None:
        self.registry = registry
        self.inventory = inventory
        self.graph = graph
        self.took = took
        """Seconds it took to take."""
        self.taken_at = utc_time(inventory.taken_at)
        self._removals: dict[TagRemoval, Removal] = {}
        self._derived: dict[Hashable, object] = {}

    def has(self, report: Report) -> bool:
        """Return whether a report is there already."""
        return report in (self._removals if isinstance(report, TagRemoval) else vars(self))

    def make(self, report: Report) -> None:
        """Make a report, unless it is there."""
        if isinstance(report, TagRemoval):
            self.removal(report)
        else:
            getattr(self, report)

    def derived(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """Return what a view works out once for a snapshot, whoever looks at it."""
        if key not in self._derived:
            if len(self._derived) >= DERIVED:
                self._derived.clear()
            self._derived[key] = make()
        return self._derived[key]  # type: ignore[return-value]  # what `make` has made

    def removal(self, of: TagRemoval) -> Removal:
        """Return what removing a tag would free."""
        found = self._removals.get(of)
        if found is None:
            if len(self._removals) >= REMOVALS:
                self._removals.clear()
            found = removal(self.graph, [Target(of.name, of.tag, None)])
            self._removals[of] = found
        return found

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

    def sharing(self, by: By) -> Sharing:
        """Return who shares what: repositories, namespaces or tags."""
        found: Sharing = getattr(self, f"sharing_{by.name.lower()}")
        return found

    @cached_property
    def sharing_repository(self) -> Sharing:
        """What several repositories need."""
        return sharing(self.graph, By.REPOSITORY)

    @cached_property
    def sharing_namespace(self) -> Sharing:
        """What several namespaces need."""
        return sharing(self.graph, By.NAMESPACE)

    @cached_property
    def sharing_tag(self) -> Sharing:
        """What several tags need."""
        return sharing(self.graph, By.TAG)

    @cached_property
    def bases(self) -> Bases:
        """Which image is built on which."""
        return self.bases_among(self.images)

    def bases_among(self, among: list[Image]) -> Bases:
        """Return which of some images is built on which."""
        layered = [one for one in among if one.layers]
        return bases(self.graph, lambda digest: self.registry.skim(digest, LARGEST), among=layered)

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
        missing = self.usage_repository.missing
        return every_finding(self.ledger, self.inventory, self.graph, missing)

    @cached_property
    def affected(self) -> Affected:
        """Finds the images that a finding affects."""
        return Affected(self.inventory, self.graph)

    @cached_property
    def ledger(self) -> LedgerState:
        """What previous verifications have found."""
        return read_known(self.registry.store, self.inventory, self.graph)
