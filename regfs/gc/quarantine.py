"""What lies in the quarantine of collections and edits, and which of it is in use by now.

Nothing is changed here.

By the tree as it was just scanned, an item is in use if it is

    a blob        that a layer link, a revision, a tag, or a manifest reached from these names
    a layer link  to what a manifest needs that is reached in its repository
    a revision    that is reached in its repository: by a tag, from an index
    a tag         attached to a manifest that is reached in its repository (a signature's image)
    anything      that was written to after it was checked: a writer may have acknowledged it

Any other tag is not in use: that it went was a decision. The history of a tag names nothing, as
long as the tag says what it points to.

Whatever is present is a root here, so what a collection left in place brings nothing back by
itself. `Graph.live` answers what these roots reach, as it does for a plan in which nothing may
go; only subjects are followed from tags alone: the list of referrers in a fallback tag keeps
the referrers, and must not keep the image that they are about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.graph import Graph
from regfs.graph.attached import attached_to, lives
from regfs.names import subject_tag
from regfs.runs import (
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
from regfs.runs.journal import has_quarantine
from regfs.runs.paths import journal_of
from regfs.runs.totals import FOLDER_KINDS, LINK_KINDS, ActionKind
from regfs.stores import Entry, FileKind, Store, ignore, stat_or_none
from regfs.tree.inventory import Inventory, RepositoryInventory

MAY_HOLD_ITEMS: Final = frozenset({"applied", "interrupted", "restored", "purging"})
"""States of runs whose quarantine may still hold items."""

_BATCH: Final = 4096
"""Items whose files are asked for together."""

Files = list[tuple[int, float]]
"""Size and mtime of each."""


class JustMoved(NamedTuple):
    """What a run has moved, known without its journal while that says no more than then."""

    run: str
    journal: Entry
    """The state of its journal."""
    items: list[Item]

    @classmethod
    def of(cls, store: Store, run: str, items: list[Item]) -> JustMoved:
        """Return what the run that has just ended has moved; the caller holds the lock."""
        return cls(run, store.stat(journal_of(run)), items)

    def is_all(self, store: Store) -> bool:
        """Return whether nobody has changed the run since; the caller holds the lock."""
        return stat_or_none(store, journal_of(self.run)) == self.journal


def quarantined_items(
    store: Store, damaged: Collection[str] = (), moved: JustMoved | None = None
) -> Iterator[Item]:
    """Yield what lies in the quarantine of collections and edits, and in that of damaged runs.

    Of a whole run, what its lines name is looked for. Of a run with a damaged journal, or one
    in `damaged`, everything that lies there is. `moved` spares reading the journal of its run.
    """
    usable = moved is not None and moved.run not in damaged and moved.is_all(store)
    known = moved if usable else None
    for journal in journals(store, but=known and known.run, only=has_quarantine):
        if journal.damage is not None or journal.run in damaged:
            # It may be no collection: what was moved because it is bad stays there.
            found = contents(store, journal).items
            items = [one for one in found if one.change is Change.MOVE and is_good(store, one)]
        elif not journal.account.kind.moves_what_is_bad and (
            journal.account.state in MAY_HOLD_ITEMS
        ):
            items = _by_lines(journal)
        else:
            continue
        is_edit = journal.damage is None and journal.account.kind is not RunKind.GC
        for item in _lying(store, items):
            # Somebody has named the tag that an edit removed, be its image in use or not.
            if item.written or not (is_edit and item.kind is ActionKind.TAG):
                yield item
    if known is not None:
        yield from _lying(store, known.items)


def _by_lines(journal: Journal) -> list[Item]:
    account = journal.account
    items = {one.path: one for one in account.items if one.change is Change.MOVE}
    # What an edit created, and a restore took out: somebody may have come to need it.
    undone = [one for one in account.created.values() if one.kind in LINK_KINDS]
    return undone + [
        one
        for path, one in items.items()
        # What an edit has replaced is a copy: to put it back is to undo the edit.
        if path not in account.created
        # A purge that was interrupted may have deleted some files of a folder.
        and (
            one.kind not in FOLDER_KINDS
            or (account.state != "purging" and one.path not in account.gone)
        )
    ]


def _lying(store: Store, items: Iterable[Item]) -> Iterator[Item]:
    """Yield those items that lie in quarantine, with `written` set."""
    # What a kind of a later version means is not known here.
    known = (item for item in items if isinstance(item.kind, ActionKind))
    while some := list(islice(known, _BATCH)):
        paths = [item.quarantine_path for item in some]
        there = present(store, paths)
        for item, path in zip(some, paths, strict=True):
            if item.kind in FOLDER_KINDS:
                inside = store.walk(path, ignore)
                files = [
                    (entry.size, entry.mtime) for entry in inside if entry.kind is FileKind.FILE
                ]
            else:
                files = [there[path]] if path in there else []
            if files:
                is_moved = item.change is Change.MOVE
                is_written = is_moved and _is_written(item, files)
                yield item._replace(written=True) if is_written else item


def _is_written(item: Item, files: Files) -> bool:
    """Return whether files have changed since it was decided that they go."""
    if files == [(item.size, item.mtime)]:
        return False
    latest = max(mtime for _, mtime in files)
    if item.mtime is None:  # its line is lost, or of an early version
        return latest > created(item.run).timestamp()
    if sum(length for length, _ in files) != item.size or latest > item.mtime:
        return True
    # The mtime of an upload counts its folder, which may be later than all files in it.
    return latest < item.mtime and item.kind is not ActionKind.UPLOAD


class InUse:
    """What is in use in a tree as it was just scanned."""

    def __init__(self, inventory: Inventory, graph: Graph, candidates: Collection[Digest]) -> None:
        """`graph` knows at least the manifests that are in `inventory`, by the same numbers."""
        self._inventory = inventory
        self._graph = graph
        self._known = inventory.known
        add = self._known.add
        self._aliases = {add(one): set(map(add, others)) for one, others in graph.aliases.items()}
        self._candidates = {*map(add, candidates), *self._aliases}
        """Numbers of the digests that are asked about, in any algorithm."""
        self._named: set[int] = set()
        """Numbers of blobs that something present names."""
        self._live: dict[str, set[Digest]] = {}
        """Repository -> manifests that its links and tags reach."""
        self._needed: dict[str, set[int]] = {}
        """Repository -> numbers of blobs that these need."""
        for repository in inventory.repositories.values():
            self._add(repository)

    def _add(self, repository: RepositoryInventory) -> None:
        graph, name = self._graph, repository.name
        tagged = {
            info.current
            for tag, info in repository.tags.items()
            if info.current is not None and attached_to(graph, tag, info.current) is None
        }
        live = self._live[name] = graph.live(repository, subjects_of=tagged)
        self._needed[name] = self._candidates.intersection(graph.needed_numbers(live))
        named = self._needed[name] | self._linked(repository)
        self._named |= named.union(*(self._aliases.get(number, ()) for number in named))

    def _linked(self, repository: RepositoryInventory) -> set[int]:
        """Return the numbers of candidates that a layer link names, by its path or its content."""
        layers = repository.layers
        rows = [row for row, number in enumerate(layers.numbers) if number in self._candidates]
        return {self._known.add(found[0]) for found in layers.files(rows)}

    def needs(self, item: Item) -> bool:
        """Return whether something present needs an item, or it has been written to."""
        if item.written:
            return True
        digest = item.digest
        number = None if digest is None else self._known.find(digest)
        if item.kind is ActionKind.BLOB:
            return number in self._named
        name = item.repository or ""
        if item.kind is ActionKind.TAG:
            return self._is_attached(name, item.path)
        if item.kind is ActionKind.LAYER_LINK:
            return number in self._needed.get(name, ())
        return item.kind is ActionKind.REVISION and digest in self._live.get(name, ())

    def _is_attached(self, name: str, path: str) -> bool:
        """Return whether a tag is attached to a manifest that is in use."""
        found = subject_tag(layout.name_of(path))
        return found is not None and lives(self._graph, found, self._live.get(name, ()))

    def doubts(self) -> set[str]:
        """Return the repositories whose needs are not known; "" stands for the whole tree.

        They may be in doubt only because of what lies in quarantine, or for a moment: the
        reference registry truncates a link before it writes it.
        """
        return {*self._graph.frozen, *([""] if self._graph.incomplete else [])}

    def doubtful(self, items: Iterable[Item], doubts: Collection[str]) -> Iterator[Item]:
        """Yield those items that something in doubt may need."""
        repositories = self._inventory.repositories
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
            elif item.kind in LINK_KINDS and item.repository in doubts:
                yield item
