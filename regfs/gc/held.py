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

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import PathMissing
from regfs.graph import Graph
from regfs.graph.beside import beside, lives
from regfs.inventory import RepositoryInventory
from regfs.runs import RUNS, Line, Run, RunKind, told_runs
from regfs.stores import Kind, Store, ignore
from regfs.totals import ActionKind

KEPT: Final = frozenset({"applied", "interrupted", "restored"})
"""States of runs whose quarantine may still hold something."""
Files = list[tuple[int, float]]
"""Size and mtime of each."""

_KINDS: Final = frozenset(kind.value for kind in ActionKind)
_FOLDERS: Final = frozenset({ActionKind.TAG, ActionKind.UPLOAD})
_LINKS: Final = frozenset({ActionKind.TAG_INDEX, ActionKind.REVISION, ActionKind.LAYER_LINK})


@dataclass(frozen=True, slots=True)
class Held:
    """One thing in quarantine."""

    run: str
    path: str
    kind: ActionKind
    digest: Digest | None
    written: bool
    """Whether it was written to after it had been looked at."""

    @property
    def repository(self) -> str | None:
        """The repository in which it lay."""
        return layout.repository_of(self.path)


def held(store: Store) -> Iterator[Held]:
    """Yield what lies in the quarantine of collections."""
    for run, lines in told_runs(store):
        if run.kind is RunKind.GC and run.state in KEPT:
            yield from _held_by(store, run, lines)


def _held_by(store: Store, run: Run, lines: Iterable[Line]) -> Iterator[Held]:
    moved = {line["path"]: line for line in lines if "move" in line and line["kind"] in _KINDS}
    for path, files in _files(store, f"{RUNS}/{run.run}/quarantine", moved):
        line = moved[path]
        digest = None if line["digest"] is None else Digest(line["digest"])
        written = _is_written(run, line, files)
        yield Held(run.run, path, ActionKind(line["kind"]), digest, written)


def _files(store: Store, quarantine: str, moved: dict[str, Line]) -> Iterator[tuple[str, Files]]:
    """Yield of each thing that lies there size and mtime of its files."""
    usual: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for path, line in moved.items():
        folder, _, leaf = path.rpartition("/")
        above, _, name = folder.rpartition("/")
        if line["kind"] in _FOLDERS:
            inside = store.walk(f"{quarantine}/{path}", ignore)
            files = [(entry.size, entry.mtime) for entry in inside if entry.kind is Kind.FILE]
        elif above and leaf in ("data", "link"):
            usual[above, leaf][name] = path
            continue
        else:
            files = _file_at(store, f"{quarantine}/{path}")
        if files:
            yield path, files
    # There may be 10^5 of these: they are asked for together that lie together.
    for (above, leaf), paths in usual.items():
        found = store.leaves(f"{quarantine}/{above}", leaf, ignore, only=paths.keys())
        for name, size, mtime in zip(found.names, found.sizes, found.mtimes, strict=True):
            yield paths[name], [(size, mtime)]


def _file_at(store: Store, path: str) -> Files:
    try:
        entry = store.stat(path)
    except PathMissing:
        return []
    return [(entry.size, entry.mtime)] if entry.kind is Kind.FILE else []


def _is_written(run: Run, line: Line, files: Files) -> bool:
    """Tell whether files are not what they were when it was decided that they go."""
    latest = max(mtime for _, mtime in files)
    if "mtime" not in line:  # of a version that did not note it
        return latest > run.created_at.timestamp()
    size, mtime = int(line["size"]), float(line["mtime"])
    if sum(length for length, _ in files) != size or latest > mtime:
        return True
    # The folder of an upload counted too, and may be later than all files in it.
    return latest < mtime and line["kind"] != ActionKind.UPLOAD


class Use:
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
            roots.update(graph.linked(name, digest))
        for tag, info in repository.tags.items():
            if info.current is None:
                roots.update(entry.digest for entry in info.history)
            elif beside(graph, tag, info.current) is None:
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

    def needs(self, thing: Held) -> bool:
        """Tell whether something present needs a thing, or has just been written there."""
        if thing.written:
            return True
        name, digest = thing.repository or "", thing.digest
        if thing.kind is ActionKind.BLOB:
            return digest in self._named
        if thing.kind is ActionKind.TAG:
            return self._stands_beside(name, thing.path)
        if thing.kind is ActionKind.LAYER_LINK:
            return digest in self._needed.get(name, ())
        return thing.kind is ActionKind.REVISION and digest in self._live.get(name, ())

    def _stands_beside(self, name: str, path: str) -> bool:
        """Return whether a tag stands beside a manifest that is in use."""
        found = layout.subject_tag(path.rpartition("/")[2])
        return found is not None and lives(self._graph, found, self._live.get(name, ()))

    def doubts(self) -> set[str]:
        """Return the repositories of which it is not known what they need; "" for the whole tree.

        They may be in doubt only because of what lies in quarantine, or for a moment:
        the reference registry truncates a link before it writes it.
        """
        return {*self._graph.frozen, *([""] if self._graph.blind else [])}

    def doubtful(self, things: Iterable[Held], doubts: Collection[str]) -> Iterator[Held]:
        """Yield those things that something in doubt could need."""
        repositories = self._graph.inventory.repositories
        named = {
            entry.digest
            for name in doubts
            if name in repositories
            for info in repositories[name].tags.values()
            for entry in info.history
        }
        for thing in things:
            if thing.kind is ActionKind.BLOB:
                if "" in doubts or thing.digest in named:
                    yield thing
            elif thing.kind in _LINKS and thing.repository in doubts:
                yield thing
