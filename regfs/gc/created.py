"""What an edit created and something else has come to need, so that undoing it must leave that.

`cp` gives a repository the layers of an image. If somebody then pushes another image with the
same layers there, the registry does not ask for them again: the links of the copy are all that
the push has.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.graph import Graph, build_graph
from regfs.runs import Item, Survey
from regfs.stores import Store
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Registry
from regfs.tree.scan import scan

_NEEDED: Final = "something else in its repository needs it by now"
_ROUNDING: Final = 1e-3
"""Seconds by which a file system may round a time."""
_DOUBT: Final = "its repository cannot be read completely, so something may need it"


def needed_by_others(store: Store, found: Survey) -> Mapping[str, str]:
    """Return by their paths why links that a run created have to stay."""
    by_repository: dict[str, list[Item]] = {}
    for item in found.journal.account.created.values():
        by_repository.setdefault(item.repository or "", []).append(item)
    if not by_repository:
        return {}
    inventory = scan(store, want=by_repository.__contains__, lean=True)
    graph = build_graph(inventory, Registry(store))
    stays: dict[str, str] = {}
    for name, items in by_repository.items():
        repository = inventory.repositories.get(name)
        if repository is not None and name in graph.frozen:
            stays.update({item.path: _DOUBT for item in items})
        elif repository is not None:
            own = _CreatedLinks(repository, items)
            stays.update(_needed(graph, own, items))
    return stays


class _CreatedLinks:
    """What a run has created in a repository, and nobody has written since."""

    def __init__(self, repository: RepositoryInventory, items: list[Item]) -> None:
        self.revisions: set[Digest] = set()
        self.tags: set[str] = set()
        self.others = copy(repository)
        """The repository without it."""
        history: set[tuple[str, Digest]] = set()
        for item in items:
            key = layout.key_of(item.path)
            if isinstance(key, layout.RevisionLink):
                info = repository.revisions.get(key.digest)
                if info is not None and _is_untouched(item, info.mtime):
                    self.revisions.add(key.digest)
            elif isinstance(key, layout.TagCurrent):
                tag = repository.tags.get(key.tag)
                if tag is not None and _is_untouched(item, tag.mtime):
                    self.tags.add(key.tag)
            elif isinstance(key, layout.TagIndex):
                history.add((key.tag, key.digest))
        for name, tag in repository.tags.items():
            # A run that was killed may have come no further than the history of a tag.
            if tag.current is None and history.issuperset((name, e.digest) for e in tag.history):
                self.tags.add(name)
        self.others.revisions = repository.revisions.without(self.revisions)
        tags = repository.tags.items()
        self.others.tags = {tag: info for tag, info in tags if tag not in self.tags}


def _is_untouched(item: Item, mtime: float) -> bool:
    """Return whether a link has the time with which the run wrote it."""
    return item.mtime is not None and abs(mtime - item.mtime) < _ROUNDING


def _needed(graph: Graph, own: _CreatedLinks, items: list[Item]) -> dict[str, str]:
    inventory = copy(graph.inventory)
    inventory.repositories = {own.others.name: own.others}
    live = graph.among(inventory).live(own.others)
    blobs = graph.needs(live)
    blobs.update(one for one, stored in graph.aliases.items() if not blobs.isdisjoint(stored))
    stays = {}
    for item in items:
        match layout.key_of(item.path):
            case layout.RevisionLink(_, digest):
                stays[item.path] = digest in live or digest in own.others.revisions
            case layout.LayerLink(_, digest):
                stays[item.path] = digest in blobs
            case layout.TagCurrent(_, tag) | layout.TagIndex(_, tag, _):
                stays[item.path] = tag in own.others.tags
    return {path: _NEEDED for path, needed in stays.items() if needed}
