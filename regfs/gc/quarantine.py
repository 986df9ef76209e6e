"""What lies in the quarantine of collections, and which of it is in use by now. Changes nothing.

In use is, by the tree as it was just scanned,

    blob          what a layer link, a revision, a tag or a manifest that these reach names
    layer link    what a manifest needs that is reached in its repository
    revision      what is reached in its repository: by a tag, from an index
    anything      that was written to after it was looked at: who writes has an answer to give

    tag           what it stands beside (a signature, its image) is reached in its repository

Any other tag is never in use but by the last: that it went was a decision. Its history
names nothing either, as long as it tells what it points to.

Whatever is present is a root here, so what a collection has left in place brings nothing
back by itself. Only a subject is not followed from everything: the list of referrers in a
fallback tag keeps these, and must not keep the image that they are about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.graph import Graph
from regfs.graph.attached import attached_to, lives
from regfs.names import subject_tag
from regfs.runs import (
    FOLDERS,
    Change,
    Item,
    Journal,
    RunKind,
    contents,
    created,
    is_good,
    journals,
    present,
)
from regfs.runs.totals import ActionKind
from regfs.stores import FileKind, Store, ignore
from regfs.tree.inventory import RepositoryInventory

MAY_HOLD_ITEMS: Final = frozenset({"applied", "interrupted", "restored", "purging"})
"""States of runs whose quarantine may still hold something."""

Files = list[tuple[int, float]]
"""Size and mtime of each."""

_LINKS: Final = frozenset({ActionKind.TAG_INDEX, ActionKind.REVISION, ActionKind.LAYER_LINK})


def quarantined_items(store: Store, damaged: Collection[str] = ()) -> Iterator[Item]:
    """Yield what lies in the quarantine of collections, and in that of damaged runs.

    Where lines can be relied on, what they name is looked for. In a damaged run, and in one
    that is known to be damaged by what lies there, everything is that lies there.
    """
    for journal in journals(store):
        if journal.damage is not None or journal.run in damaged:
            # Of what run it was may not be known: what it has moved for being bad stays there.
            found = contents(store, journal).items
            items = [one for one in found if one.change is Change.MOVE and is_good(store, one)]
        elif journal.account.kind is RunKind.GC and journal.account.state in MAY_HOLD_ITEMS:
            items = _by_lines(journal)
        else:
            continue
        yield from _lying(store, items)


def _by_lines(journal: Journal) -> list[Item]:
    account = journal.account
    items = {one.path: one for one in account.items if one.change is Change.MOVE}
    return [
        one
        for one in items.values()
        # What a purge was at when it was cut off may lack some of its files.
        if one.kind not in FOLDERS or (account.state != "purging" and one.path not in account.gone)
    ]


def _lying(store: Store, items: Iterable[Item]) -> Iterator[Item]:
    """Yield those items that lie in quarantine, with whether they were written to."""
    # What a later version has moved is left to it.
    some = [item for item in items if isinstance(item.kind, ActionKind)]
    there = present(store, {one.quarantine_path for one in some if one.kind not in FOLDERS})
    for item in some:
        if item.kind in FOLDERS:
            inside = store.walk(item.quarantine_path, ignore)
            files = [(entry.size, entry.mtime) for entry in inside if entry.kind is FileKind.FILE]
        else:
            files = [there[item.quarantine_path]] if item.quarantine_path in there else []
        if files:
            yield item._replace(written=_is_written(item, files))


def _is_written(item: Item, files: Files) -> bool:
    """Return whether files are not what they were when it was decided that they go."""
    latest = max(mtime for _, mtime in files)
    if item.mtime is None:  # its line is lost, or of a version that did not note it
        return latest > created(item.run).timestamp()
    if sum(length for length, _ in files) != item.size or latest > item.mtime:
        return True
    # The folder of an upload counted too, and may be later than all files in it.
    return latest < item.mtime and item.kind is not ActionKind.UPLOAD


class InUse:
    """What is in use in a tree as it was just scanned."""

    def __init__(self, graph: Graph, candidates: Collection[Digest]) -> None:
        self._graph = graph
        self._candidates = candidates
        self._named: set[Digest] = set()
        """Blobs that anything present names."""
        self._live: dict[str, set[Digest]] = {}
        """Repository -> manifests that its links and tags reach."""
        self._needed: dict[str, set[Digest]] = {}
        """Repository -> blobs that these need."""
        for repository in graph.inventory.repositories.values():
            self._add(repository)

    def _add(self, repository: RepositoryInventory) -> None:
        graph, name = self._graph, repository.name
        roots, tagged = set(repository.revisions), set()
        for digest in repository.revisions:
            roots.update(graph.revision_targets(name, digest))
        for tag, info in repository.tags.items():
            if info.current is None:
                roots.update(entry.digest for entry in info.history)
            elif attached_to(graph, tag, info.current) is None:
                tagged.add(info.current)
            else:
                roots.add(info.current)
        live = graph.reachable(roots) | graph.reachable(tagged, subjects=True)
        self._live[name], self._needed[name] = live, graph.needs(live)
        named = {*self._needed[name], *self._linked(repository)}
        self._named |= named.union(*(graph.aliases.get(digest, ()) for digest in named))

    def _linked(self, repository: RepositoryInventory) -> Iterator[Digest]:
        """Yield those blobs in question that a layer link names, by its path or its content."""
        layers, aliases = repository.layers, self._graph.aliases
        asked = [digest for digest in layers if digest in self._candidates or digest in aliases]
        layers.fetch(asked)
        yield from (digest for digest in asked if layers.get(digest) is not None)

    def needs(self, item: Item) -> bool:
        """Return whether something present needs an item, or has just been written there."""
        if item.written:
            return True
        name, digest = item.repository or "", item.digest
        if item.kind is ActionKind.BLOB:
            return digest in self._named
        if item.kind is ActionKind.TAG:
            return self._stands_beside(name, item.path)
        if item.kind is ActionKind.LAYER_LINK:
            return digest in self._needed.get(name, ())
        return item.kind is ActionKind.REVISION and digest in self._live.get(name, ())

    def _stands_beside(self, name: str, path: str) -> bool:
        """Return whether a tag stands beside a manifest that is in use."""
        found = subject_tag(layout.name_of(path))
        return found is not None and lives(self._graph, found, self._live.get(name, ()))

    def doubts(self) -> set[str]:
        """Return the repositories of which it is not known what they need; "" for the whole tree.

        They may be in doubt only because of what lies in quarantine, or for a moment:
        the reference registry truncates a link before it writes it.
        """
        return {*self._graph.frozen, *([""] if self._graph.incomplete else [])}

    def doubtful(self, items: Iterable[Item], doubts: Collection[str]) -> Iterator[Item]:
        """Yield those items that something in doubt could need."""
        repositories = self._graph.inventory.repositories
        named = {
            entry.digest
            for name in doubts
            if name in repositories
            for info in repositories[name].tags.values()
            for entry in info.history
        }
        for item in items:
            if item.kind is ActionKind.BLOB:
                if "" in doubts or item.digest in named:
                    yield item
            elif item.kind in _LINKS and item.repository in doubts:
                yield item
