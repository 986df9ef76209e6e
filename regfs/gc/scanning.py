"""Scanning as much of a tree as a collection needs, and building its graph no more than needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from regfs import layout
from regfs.gc.plan import needs_history
from regfs.gc.policy import Policy
from regfs.gc.quarantine import JustMoved
from regfs.graph import Graph, build_graph
from regfs.progress import SILENT, Progress
from regfs.runs import Item, require_one_filesystem
from regfs.runs.totals import ActionKind
from regfs.stores import Store, folders_above
from regfs.tree.digests import Digests
from regfs.tree.inventory import DigestTable, Inventory, RepositoryInventory
from regfs.tree.registry import Registry
from regfs.tree.scan import scan

Key = TypeVar("Key")
Value = TypeVar("Value")


def scan_for_plan(
    store: Store, policy: Policy, progress: Progress = SILENT, known: Digests | None = None
) -> Inventory:
    """Scan a tree as a plan by `policy` needs it; `known` are the digests of an earlier scan.

    Raises:
        Doubt: a part of it lies on another file system, so a plan could not be applied.
    """
    history = needs_history(policy)
    inventory = scan(store, progress=progress, history=history, lean=True, known=known)
    require_one_filesystem(store, _folders(inventory))
    if policy.leftovers:
        from regfs.tree.leftovers import find_leftovers

        find_leftovers(store, inventory)
    return inventory


def _folders(inventory: Inventory) -> set[str]:
    """Return the folders where another file system may be mounted: not those of single files."""
    beginnings = inventory.known.beginnings()
    found = {f"{layout.BLOBS}/{text.replace(':', '/')}" for text in beginnings}
    found |= {f"{layout.REPOSITORIES}/{name}" for name in inventory.repositories}
    return found.union(*map(_above, found))


def _above(folder: str) -> Iterator[str]:
    return (one for one in folders_above(folder) if one.startswith(layout.PREFIX))


class LatestGraph:
    """The graph of a tree as its latest scan shows it, and what was moved since.

    What a manifest names follows from its digest, and that was checked when it was read. So a
    graph stays true while scans find the same links, tags and blobs; only when they find others
    are all manifests read again. Nothing is deleted for good by a graph that is taken over:
    `regfs.gc.collect` builds one anew before it purges.
    """

    def __init__(self, registry: Registry, graph: Graph | None = None) -> None:
        self._registry = registry
        self._graph = graph
        self.moved: JustMoved | None = None
        """What the run that was just carried out has moved."""

    @property
    def graph(self) -> Graph | None:
        """The graph; None before there was a scan."""
        return self._graph

    @property
    def known(self) -> Digests | None:
        """The digests of its scan, to be given to the next one."""
        return None if self._graph is None else self._graph.inventory.known

    def of(self, inventory: Inventory, progress: Progress = SILENT) -> Graph:
        """Return the graph of an inventory, or an earlier one if that has the same content.

        What tables of the earlier one ask about when it matters, they ask again.
        """
        if self._graph is None or not _is_same(self._graph, inventory):
            self._graph = build_graph(inventory, self._registry, progress=progress)
        else:
            before = self._graph.inventory
            before.blobs.forget()
            for repository in before.repositories.values():
                repository.layers.forget()
        return self._graph

    def without(
        self, moved: Collection[Item], inventory: Inventory, progress: Progress = SILENT
    ) -> Graph:
        """Return the graph of an inventory, or an earlier one that only has `moved` beside it."""
        if self._graph is None or not _lacks_only(moved, self._graph, inventory):
            self._graph = build_graph(inventory, self._registry, progress=progress)
        return self._graph


def _is_same(graph: Graph, now: Inventory) -> bool:
    """Return whether a scan finds all that the one of a graph did, and nothing else."""
    before = graph.inventory
    others = ("foreign", "vacant", "empty", "temporary", "copies", "lockfiles", "proxy_cache")
    return (
        _lacks_only((), graph, now)
        and all(getattr(before, name) == getattr(now, name) for name in others)
        and all(
            (repository.tags, repository.uploads, repository.parts, repository.has_history)
            == (other.tags, other.uploads, other.parts, other.has_history)
            for repository, other in _pairs(before, now)
        )
    )


def _lacks_only(moved: Iterable[Item], graph: Graph, now: Inventory) -> bool:
    """Return whether a scan finds all that the one of a graph did but for `moved`, and no more.

    In doubt the answer is no, as it is for scans that number digests differently.
    """
    before = graph.inventory
    if (
        before.known is not now.known
        or graph.frozen
        or graph.incomplete
        or before.findings != now.findings
    ):
        return False
    if before.repositories.keys() != now.repositories.keys():
        return False
    gone: dict[tuple[str | None, str], set[object]] = defaultdict(set)
    for item in moved:
        is_tag = item.kind == ActionKind.TAG or item.digest is None
        name = layout.name_of(item.path) if is_tag else now.known.find(item.digest or "")
        repository = None if item.kind == ActionKind.BLOB else item.repository
        gone[repository, item.kind].add(name)
    return _lacks_rows(before.blobs, now.blobs, gone[None, ActionKind.BLOB]) and all(
        _lacks_links(repository, other, gone) for repository, other in _pairs(before, now)
    )


def _pairs(
    before: Inventory, now: Inventory
) -> Iterator[tuple[RepositoryInventory, RepositoryInventory]]:
    for name, repository in before.repositories.items():
        yield repository, now.repositories[name]


def _lacks_links(
    before: RepositoryInventory,
    now: RepositoryInventory,
    gone: Mapping[tuple[str | None, str], set[object]],
) -> bool:
    name = before.name
    # The history of a tag that says what it points to is nobody's root.
    had, has = ({tag: info[:4] for tag, info in one.tags.items()} for one in (before, now))
    return (
        before.links == now.links
        and _lacks(had, has, gone[name, ActionKind.TAG])
        and _lacks_rows(before.revisions, now.revisions, gone[name, ActionKind.REVISION])
        and _lacks_rows(before.layers, now.layers, gone[name, ActionKind.LAYER_LINK])
    )


def _lacks_rows(had: DigestTable, has: DigestTable, gone: Collection[object]) -> bool:
    """Return whether of two tables the later one lacks only what is gone, and has no more."""
    # A link by another algorithm than sha256 may have another content under the same name.
    if had.known.others(had.numbers) or had.known.others(has.numbers):
        return False
    same = (had.numbers, had.sizes, had.mtimes) == (has.numbers, has.sizes, has.mtimes)
    return same or _lacks(_rows(had), _rows(has), gone)


def _lacks(had: Mapping[Key, Value], has: Mapping[Key, Value], gone: Collection[object]) -> bool:
    """Return whether of two listings the later one lacks only what is gone, and has no more."""
    return has.items() <= had.items() and all(key in gone for key in had.keys() - has.keys())


def _rows(table: DigestTable) -> Mapping[int, object]:
    """Return the rows of a table by the numbers of their digests."""
    if table.ask is not None:
        return dict.fromkeys(table.numbers)
    return dict(zip(table.numbers, zip(table.sizes, table.mtimes, strict=True), strict=True))
