"""What the questions to a tree are answered from: its store, point reads, listing and graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from regfs.progress import SILENT, Progress
from regfs.stores import Capability

if TYPE_CHECKING:
    from regfs.content.cache import Cache
    from regfs.content.kept_manifests import KeptManifests
    from regfs.findings import Finding
    from regfs.gc.scanning import LatestGraph
    from regfs.graph import Graph
    from regfs.stores import WritableStore
    from regfs.tree.inventory import Inventory
    from regfs.tree.measure import Measured
    from regfs.tree.registry import Fetch, Registry, Target


class _MeasuredTree(NamedTuple):
    """A tree that was measured."""

    inventory: Inventory
    graph: Graph
    measured: Measured


class Parts:
    """What every question needs, each made when it is first asked for."""

    def __init__(self, store: WritableStore, progress: Progress = SILENT) -> None:
        self.store = store
        """Bytes at paths."""
        self.history = True
        """Whether the listing also has what tags pointed to before."""
        self.link_times = True
        """Whether the listing also has when layer links were written, and looks at each for it."""
        self.reported: list[Finding] = list(store.problems)
        """What point reads could not read, as it was met."""
        self.latest: LatestGraph | None = None
        """The graph by which the latest plan was made, to apply it by while nothing changes."""
        self.cache: Cache | None = None
        """Where listings of layers and manifests of buckets are kept, if anywhere; set at first."""
        self.fetch: Fetch | None = None
        """Has manifests read by workers elsewhere; set at first."""
        self.requests_per_second: float | None = None
        """As often as other roots are asked at most, that a copy comes from or goes to."""
        self.variables: Mapping[str, str] | None = None
        """Stand for the environment when a copy opens other roots; None: that itself."""
        self._progress = progress

    @cached_property
    def registry(self) -> Registry:
        """Point reads: tags, manifests and blobs, without listing the tree.

        >>> list(tree.registry.tags("my-busybox-extended"))
        ['latest', 'rebuilt']
        """
        from regfs.tree.registry import Registry

        return Registry(self.store, self.reported.append, self._kept(), self.fetch)

    def _kept(self) -> KeptManifests | None:
        """Return where manifests are kept, if each read is a request and there is a cache."""
        if self.cache is None or Capability.REQUESTS not in self.store.capabilities:
            return None
        from regfs.content.kept_manifests import ManifestCache

        return ManifestCache(self.cache, self.store.url)

    @cached_property
    def view(self) -> Registry:
        """The same reads of the moment of the listing, which a report is made of.

        Where a listing costs nothing they are those of now.
        """
        found = self.registry.snapshot()
        if found is not self.registry:
            self.reported += found.store.problems
        return found

    @cached_property
    def inventory(self) -> Inventory:
        """Everything that is there, listed once."""
        from regfs.tree.scan import scan

        return scan(
            self.view.store,
            progress=self._progress,
            history=self.history,
            link_times=self.link_times,
        )

    @cached_property
    def graph(self) -> Graph:
        """What points to what."""
        from regfs.graph import build_graph

        return build_graph(self.inventory, self.view, progress=self._progress)

    def refresh(self) -> None:
        """Forget inventory and graph; they are made again when they are asked for."""
        self.latest = None
        for name in ("view", "inventory", "graph", "_measured"):
            vars(self).pop(name, None)

    @cached_property
    def _measured(self) -> _MeasuredTree:
        """The tree in the one pass that also measures every file."""
        from regfs.graph import build_graph
        from regfs.tree.measure import scan_and_measure

        inventory, measured = scan_and_measure(self.view.store, self._progress)
        graph = build_graph(inventory, self.view, progress=self._progress)
        return _MeasuredTree(inventory, graph, measured)

    @property
    def unread(self) -> list[Finding]:
        """What the answers so far lack because it could not be read, each path once."""
        from regfs.reports.causes import lacking

        found = list(self.reported)
        if "_measured" in vars(self):
            found += self._measured.inventory.findings
            found += self._measured.graph.problems.values()
        if "inventory" in vars(self):
            found += self.inventory.findings
        if "graph" in vars(self):
            found += self.graph.problems.values()
        return lacking(found)

    def _find(self, references: Iterable[str]) -> list[Target]:
        found = (target for text in references for target in self.view.find_all(text))
        return list(dict.fromkeys(found))
