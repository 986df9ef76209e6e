"""What points to what, and what is reached from where.

    repository --tag--> tag --current--> manifest --child--> manifest
        `------revision-> revision --content--^  `--subject--> manifest

Everything that points is a node of one networkx DiGraph; the blobs that are
only pointed at (layers, configs) are numbers in one integer array beside it,
a slice for each manifest: as nodes they would take twelve times the memory.

`Graph.build` never raises on a bad tree. What cannot be read is a finding, and
where it could name anything that is not seen, it *freezes*: `frozen` tells
which repositories must not lose a thing, `blind` that unseen links may exist
anywhere. Whether anything is deleted is not decided here.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

import networkx as nx

from regfs import layout, manifests
from regfs.digest import CANONICAL, Digest, digests_in
from regfs.errors import ManifestInvalid, PathMissing, StoreError
from regfs.findings import Code, Finding, Severity
from regfs.inventory import INCOMPLETE, Inventory, RepositoryInventory
from regfs.manifests import LIMIT, Role
from regfs.parallel import adaptive_map
from regfs.progress import SILENT, Progress
from regfs.registry import Registry
from regfs.trace import trace


class NodeKind(StrEnum):
    """What a node stands for."""

    REPOSITORY = "repository"
    TAG = "tag"
    REVISION = "revision"
    MANIFEST = "manifest"
    BLOB = "blob"


class EdgeKind(StrEnum):
    """Why one node points to another."""

    TAG = "tag"
    """A repository has a tag."""
    REVISION = "revision"
    """A repository has a manifest, by its revision link."""
    CURRENT = "current"
    """A tag points to a manifest."""
    HISTORY = "history"
    """A tag that does not tell what it points to has once pointed to a manifest."""
    CONTENT = "content"
    """A revision is a manifest."""
    CHILD = "child"
    """An index lists a manifest."""
    SUBJECT = "subject"
    """A referrer is about a manifest. Weak: see `Graph.reachable`."""
    CONFIG = "config"
    LAYER = "layer"
    BLOB = "blob"


class Node(NamedTuple):
    """A repository, tag or revision. A manifest's node is its bare Digest, a blob's likewise."""

    kind: NodeKind
    repository: str
    name: str = ""
    """The tag, or the digest of the revision."""

    def __str__(self) -> str:
        if self.kind is NodeKind.REPOSITORY:
            return self.repository
        return f"{self.repository}{':' if self.kind is NodeKind.TAG else '@'}{self.name}"


class Leaf(NamedTuple):
    """A blob as a manifest names it."""

    digest: Digest
    role: Role
    size: int
    """Bytes by the descriptor; -1 where it gives none."""


class ManifestInfo(NamedTuple):
    """What is kept of a manifest once it is read."""

    kind: manifests.Kind
    media_type: str
    artifact_type: str | None
    size: int
    subject: Digest | None
    first: int
    """Where its leaves begin in the leaf arrays."""
    last: int


class Step(NamedTuple):
    """One node on the way from a root to something, and the edge that leads to it."""

    node: Node | Digest
    edge: EdgeKind | None


_ROLES: Final = tuple(Role)
_ROLE_NUMBERS: Final = {role: number for number, role in enumerate(_ROLES)}
_ROLE_EDGES: Final = {
    Role.CONFIG: EdgeKind.CONFIG,
    Role.LAYER: EdgeKind.LAYER,
    Role.BLOB: EdgeKind.BLOB,
}
_COLD: Final = 1e-3
"""Seconds for one manifest above which the disk is taken for cold."""


class Graph:
    """Repositories, tags, revisions, manifests and what they need."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.digraph: nx.DiGraph[Any] = nx.DiGraph()
        """Nodes are `Node` and `Digest`; node and edge attribute `kind` is NodeKind, EdgeKind."""
        self.manifests: dict[Digest, ManifestInfo] = {}
        """Every manifest that was read and is what its digest says."""
        self.problems: dict[Digest, Finding] = {}
        """Every manifest that is named and cannot be known."""
        self.findings: list[Finding] = []
        self.frozen: dict[str, list[Finding]] = {}
        """Repository -> why nothing that it names may be deleted."""
        self.blind: list[Finding] = []
        """Why no blob at all may be deleted: places where unseen links may lie."""
        self.aliases: dict[Digest, set[Digest]] = {}
        """Digest in another algorithm -> the digest its link holds."""
        self._digests: list[Digest] = list(inventory.blobs)
        self._numbers: dict[Digest, int] = dict(inventory.blobs.numbers)
        self._leaves = array("I")
        self._roles = array("B")
        self._sizes = array("q")
        self._referrers: dict[Digest, list[Digest]] = {}

    @classmethod
    def build(
        cls, inventory: Inventory, registry: Registry, *, progress: Progress = SILENT
    ) -> Graph:
        """Read every manifest that the inventory names, once, and link it all up."""
        graph = cls(inventory)
        was_enabled = gc.isenabled()
        # Millions of long-lived objects and no cycles: the collector would only re-walk them.
        gc.disable()
        try:
            _Builder(graph, registry, progress).run()
        finally:
            if was_enabled:
                gc.enable()
        return graph

    # -- one manifest ---------------------------------------------------------

    def leaves(self, manifest: Digest) -> Iterator[Leaf]:
        """Yield the blobs a manifest names itself, in its order; none when it is unknown."""
        info = self.manifests.get(manifest)
        if info is None:
            return
        for position in range(info.first, info.last):
            number = self._leaves[position]
            role = _ROLES[self._roles[position]]
            yield Leaf(self._digests[number], role, self._sizes[position])

    def children(self, manifest: Digest) -> list[Digest]:
        """Return the manifests an index lists, in its order."""
        return [
            child
            for child, edge in self.digraph.adj.get(manifest, {}).items()
            if edge["kind"] is EdgeKind.CHILD
        ]

    def linked(self, repository: str, digest: Digest) -> list[Digest]:
        """Return what a revision link leads to: its own digest, and what its content names."""
        node = Node(NodeKind.REVISION, repository, digest)
        return list(self.digraph.adj.get(node, {})) or [digest]

    def referrers(self, subject: Digest, repository: str | None = None) -> list[Digest]:
        """Return the manifests about `subject`: by their subject field, or in its fallback tag.

        With `repository`, only those it has as revisions, plus its own fallback tag.
        """
        by_field = self._referrers.get(subject, ())
        every = self.inventory.repositories
        if repository is None:
            listed = [child for one in every.values() for child in self._listed(one, subject)]
            return list(dict.fromkeys([*by_field, *listed]))
        if repository not in every:
            return []
        one = every[repository]
        held = [referrer for referrer in by_field if referrer in one.revisions]
        return list(dict.fromkeys([*held, *self._listed(one, subject)]))

    def _listed(self, repository: RepositoryInventory, subject: Digest) -> list[Digest]:
        """Return what the fallback tag of `subject` lists."""
        info = repository.tags.get(f"{subject.algorithm}-{subject.encoded}")
        return [] if info is None or info.current is None else self.children(info.current)

    # -- reaching -------------------------------------------------------------

    def reachable(
        self,
        start: Iterable[Digest],
        *,
        subjects: bool = False,
        referrers: Collection[Digest] = (),
    ) -> set[Digest]:
        """Return every manifest that `start` leads to, itself included.

        An index leads to its children. `subjects` makes a referrer lead to its
        subject as well; `referrers` are manifests that live while their subject
        does: a subject leads to those of them that are about it.
        """
        found = set(start)
        pending = list(found)
        adjacency = self.digraph.adj
        while pending:
            manifest = pending.pop()
            ahead: list[Digest] = []
            if manifest in self.manifests:
                for target, edge in adjacency[manifest].items():
                    if subjects or edge["kind"] is not EdgeKind.SUBJECT:
                        ahead.append(target)
            if referrers and manifest in self._referrers:
                ahead.extend(r for r in self._referrers[manifest] if r in referrers)
            for target in ahead:
                if target not in found:
                    found.add(target)
                    pending.append(target)
        return found

    def needs(self, found: Iterable[Digest]) -> set[Digest]:
        """Return every blob that these manifests need: the manifests, configs and layers."""
        needed = set(found)
        digests, leaves = self._digests, self._leaves
        for manifest in list(needed):
            info = self.manifests.get(manifest)
            if info is not None:
                needed.update([digests[number] for number in leaves[info.first : info.last]])
        return needed

    # -- asking back ----------------------------------------------------------

    def holders(self, blob: Digest) -> list[Digest]:
        """Return the manifests that name a blob themselves."""
        number = self._numbers.get(blob)
        if number is None:
            return []
        if not hasattr(self, "_holders"):
            self._holders = self._index_holders()
        return self._holders.get(number, [])

    def _index_holders(self) -> dict[int, list[Digest]]:
        index: dict[int, list[Digest]] = {}
        for manifest, info in self.manifests.items():
            for number in dict.fromkeys(self._leaves[info.first : info.last]):
                index.setdefault(number, []).append(manifest)
        return index

    def owners(self, digest: Digest) -> set[Node]:
        """Return the tags and revisions that need a blob or manifest, through any index."""
        starts = [digest, *self.holders(digest)]
        found: set[Node | Digest] = set()
        pending: list[Node | Digest] = [node for node in starts if node in self.digraph]
        while pending:
            node = pending.pop()
            if node in found:
                continue
            found.add(node)
            for before, edge in self.digraph.pred[node].items():
                if edge["kind"] is not EdgeKind.SUBJECT:
                    pending.append(before)
        return {
            node
            for node in found
            if isinstance(node, Node) and node.kind in (NodeKind.TAG, NodeKind.REVISION)
        }

    def why(self, digest: Digest) -> Iterator[list[Step]]:
        """Yield every path from a repository to a blob or manifest, one at a time.

        There can be very many; take as many as are wanted. Referrers count: a path
        may lead over a subject to what is about it.
        """

        def before(node: Node | Digest) -> Iterable[tuple[Node | Digest, EdgeKind]]:
            found = self._before(node)
            if node == digest:
                for holder in self.holders(digest):
                    found.setdefault(holder, self._role_edge(holder, digest))
            return found.items()

        def is_root(node: Node | Digest) -> bool:
            return isinstance(node, Node) and node.kind is NodeKind.REPOSITORY

        start: Node | Digest = digest
        for hops in trace(start, before, is_root):
            edges = [None, *(hop.edge for hop in reversed(hops))]
            yield [Step(hop.node, edge) for hop, edge in zip(reversed(hops), edges, strict=False)]

    def _before(self, node: Node | Digest) -> dict[Node | Digest, EdgeKind]:
        """Return what keeps a node, with the reasons."""
        if node not in self.digraph:
            return {}
        pred = self.digraph.pred[node].items()
        found = {
            before: edge["kind"] for before, edge in pred if edge["kind"] is not EdgeKind.SUBJECT
        }
        # What keeps a referrer is its subject: the edge is walked the other way round.
        info = self.manifests.get(node) if isinstance(node, Digest) else None
        if info is not None and info.subject is not None and info.subject in self.digraph:
            found.setdefault(info.subject, EdgeKind.SUBJECT)
        return found

    def _role_edge(self, manifest: Digest, blob: Digest) -> EdgeKind:
        roles = (leaf.role for leaf in self.leaves(manifest) if leaf.digest == blob)
        return _ROLE_EDGES.get(next(roles), EdgeKind.BLOB)

    # -- whole ----------------------------------------------------------------

    def complete(self, repositories: Collection[str] | None = None) -> nx.DiGraph[Any]:
        """Return a networkx graph with the blobs as nodes too, of some or all repositories.

        Blob nodes carry `size` in bytes (None when missing). For export and for
        small registries: it takes about 1 kB a blob.
        """
        nodes: set[Node | Digest] = set()
        for name in self.inventory.repositories if repositories is None else repositories:
            start = Node(NodeKind.REPOSITORY, name)
            if start in self.digraph:
                nodes |= {start} | nx.descendants(self.digraph, start)
        whole: nx.DiGraph[Any] = self.digraph.subgraph(nodes).copy()
        for manifest in [node for node in nodes if isinstance(node, Digest)]:
            for leaf in self.leaves(manifest):
                if leaf.digest not in whole:
                    stored = self.inventory.blobs.get(leaf.digest)
                    size = None if stored is None else stored.size
                    whole.add_node(leaf.digest, kind=NodeKind.BLOB, size=size)
                if not whole.has_edge(manifest, leaf.digest):
                    kind = _ROLE_EDGES.get(leaf.role, EdgeKind.BLOB)
                    whole.add_edge(manifest, leaf.digest, kind=kind)
        return whole

    # -- used while building --------------------------------------------------

    def _number(self, digest: Digest) -> int:
        number = self._numbers.get(digest)
        if number is None:
            number = self._numbers[digest] = len(self._digests)
            self._digests.append(digest)
        return number

    def _add_leaf(self, digest: Digest, role: Role, size: int) -> None:
        self._leaves.append(self._number(digest))
        self._roles.append(_ROLE_NUMBERS[role])
        self._sizes.append(size)


class _Reading(NamedTuple):
    """What came of reading one manifest."""

    digest: Digest
    data: bytes
    manifest: manifests.Manifest | None
    problem: Finding | None


class _Builder:
    """Fills a Graph; used once."""

    def __init__(self, graph: Graph, registry: Registry, progress: Progress) -> None:
        self.graph = graph
        self.registry = registry
        self.progress = progress
        self.inventory = graph.inventory
        self.revisions: set[Digest] = set()
        """Every digest that is a revision somewhere."""
        self.wanted: dict[Digest, None] = {}

    def run(self) -> None:
        self._note_blindness()
        for repository in self.inventory.repositories.values():
            self.revisions.update(repository.revisions)
        for repository in self.inventory.repositories.values():
            self._add_repository(repository)
        self.progress.start("Reading manifests", len(self.wanted))
        done: set[Digest] = set()
        # Level by level: what a level's indexes list is the next level.
        while level := [digest for digest in self.wanted if digest not in done]:
            self.wanted = {}
            done.update(level)
            for reading in adaptive_map(self._read, level, lambda seconds, _: seconds > _COLD):
                self._add_manifest(reading)
                self.progress.advance(1)
        self.progress.finish()
        self._freeze()

    # -- repositories ---------------------------------------------------------

    def _note_blindness(self) -> None:
        for finding in self.inventory.findings:
            if not finding.path.startswith(layout.REPOSITORIES):
                continue
            incomplete = finding.code in INCOMPLETE
            if incomplete:
                self.graph.blind.append(finding)
            # A link by an algorithm that is unknown here may name anything the repository holds.
            if incomplete or finding.code is Code.ALGORITHM_UNSUPPORTED:
                name = finding.path[len(layout.REPOSITORIES) + 1 :].partition("/_")[0]
                if name in self.inventory.repositories:
                    self.graph.frozen.setdefault(name, []).append(finding)
        # A disk that is not mounted, or tags that live in a database, look the same.
        if self.inventory.blobs and not self.inventory.repositories:
            finding = Finding(Code.REPOSITORIES_MISSING, layout.REPOSITORIES)
            self.graph.findings.append(finding)
            self.graph.blind.append(finding)

    def _add_repository(self, repository: RepositoryInventory) -> None:
        digraph = self.graph.digraph
        home = Node(NodeKind.REPOSITORY, repository.name)
        digraph.add_node(home, kind=NodeKind.REPOSITORY)
        self._read_aliases(repository)
        for digest in repository.revisions:
            node = Node(NodeKind.REVISION, repository.name, digest)
            digraph.add_node(node, kind=NodeKind.REVISION)
            digraph.add_edge(home, node, kind=EdgeKind.REVISION)
            for target in self._revision_targets(repository, digest):
                self._point(node, target, EdgeKind.CONTENT)
        for tag, info in repository.tags.items():
            node = Node(NodeKind.TAG, repository.name, tag)
            digraph.add_node(node, kind=NodeKind.TAG)
            digraph.add_edge(home, node, kind=EdgeKind.TAG)
            if info.current is not None:
                self._point(node, info.current, EdgeKind.CURRENT)
                continue
            for entry in info.history:
                if entry.digest in self.inventory.blobs:
                    self._point(node, entry.digest, EdgeKind.HISTORY)
            if info.problem is not Code.TAG_WITHOUT_CURRENT:
                path = layout.path_of(layout.TagCurrent(repository.name, tag))
                code = info.problem or Code.LINK_INVALID
                finding = Finding(code, path, repository=repository.name, tag=tag)
                self.graph.frozen.setdefault(repository.name, []).append(finding)

    def _point(self, node: Node | Digest, target: Digest, kind: EdgeKind) -> None:
        if target not in self.graph.digraph:
            self.graph.digraph.add_node(target, kind=NodeKind.MANIFEST)
        # The first reason to point stays: an index that lists its own subject keeps it as a child.
        if not self.graph.digraph.has_edge(node, target):
            self.graph.digraph.add_edge(node, target, kind=kind)
        # A subject may come after its referrer, so its absence is nothing to look into.
        if kind is not EdgeKind.SUBJECT or target in self.inventory.blobs:
            self.wanted[target] = None

    def _read_aliases(self, repository: RepositoryInventory) -> None:
        """Read the links that may name a blob by another algorithm than it is stored under."""
        for digest in repository.layers:
            if digest.algorithm != CANONICAL:
                link = self.registry.link(layout.path_of(layout.LayerLink(repository.name, digest)))
                if link.digest is not None and link.digest != digest:
                    self.graph.aliases.setdefault(digest, set()).add(link.digest)

    def _revision_targets(self, repository: RepositoryInventory, digest: Digest) -> list[Digest]:
        """Return what a revision link names: by its path, and by its content where that differs."""
        link = repository.links.get(digest)
        if link is None:
            return [digest]
        path = layout.path_of(layout.RevisionLink(repository.name, digest))
        if link.problem is not None:
            finding = Finding(
                link.problem,
                path,
                digest=digest,
                repository=repository.name,
                expected=digest,
                actual=link.text,
            )
            if link.problem is not Code.PATH_UNREADABLE:  # that has been found while listing
                self.graph.findings.append(finding)
            if link.digest is None:
                self.graph.frozen.setdefault(repository.name, []).append(finding)
        if link.digest is None or link.digest == digest:
            return [digest]
        if link.digest.algorithm != digest.algorithm and digest not in self.inventory.blobs:
            self.graph.aliases.setdefault(digest, set()).add(link.digest)
            return [link.digest]
        self.graph.findings.append(
            Finding(
                Code.LINK_MISMATCH,
                path,
                digest=digest,
                repository=repository.name,
                expected=digest,
                actual=link.digest,
            )
        )
        return [digest, link.digest]

    # -- manifests ------------------------------------------------------------

    def _read(self, digest: Digest) -> _Reading:
        """Read, check and parse one manifest; runs in a thread, changes nothing."""
        path = layout.path_of(layout.BlobData(digest))
        try:
            data = self.registry.store.read(path, LIMIT + 1)
        except PathMissing:
            return _Reading(digest, b"", None, Finding(Code.BLOB_MISSING, path, digest=digest))
        except StoreError as error:
            code = Code.BLOB_UNREADABLE
            return _Reading(digest, b"", None, Finding(code, path, digest, actual=str(error)))
        if len(data) > LIMIT:
            code = Code.MANIFEST_TOO_LARGE
            size = self.inventory.blobs[digest].size if digest in self.inventory.blobs else -1
            finding = Finding(code, path, digest, expected=f"at most {LIMIT}", actual=str(size))
            return _Reading(digest, b"", None, finding)
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            finding = Finding(Code.BLOB_CORRUPT, path, digest, expected=digest, actual=found)
            return _Reading(digest, data, None, finding)
        try:
            return _Reading(digest, data, manifests.parse(data), None)
        except ManifestInvalid as error:
            finding = Finding(Code.MANIFEST_UNREADABLE, path, digest, actual=str(error))
            return _Reading(digest, data, None, finding)

    def _add_manifest(self, reading: _Reading) -> None:
        graph, digest = self.graph, reading.digest
        if reading.problem is not None:
            self._add_broken(reading, reading.problem)
            return
        manifest = reading.manifest
        assert manifest is not None
        if manifest.kind is manifests.Kind.UNKNOWN:
            path = layout.path_of(layout.BlobData(digest))
            kind = manifest.media_type or "none given"
            finding = Finding(Code.MANIFEST_UNKNOWN_TYPE, path, digest, actual=kind)
            graph.findings.append(finding)
        first = len(graph._leaves)
        for reference in manifest.references():
            if reference.role is Role.SUBJECT:
                continue
            is_child = self._is_child(reference)
            if is_child:
                self._point(digest, reference.digest, EdgeKind.CHILD)
            # What is a layer here can be a manifest elsewhere; it counts as both.
            if not is_child or reference.role is not Role.MANIFEST:
                self._add_leaf(reference.digest, reference.role, reference.size)
        subject = manifest.subject.digest if manifest.subject is not None else None
        if subject is not None:
            self._point(digest, subject, EdgeKind.SUBJECT)
            graph._referrers.setdefault(subject, []).append(digest)
        graph.manifests[digest] = ManifestInfo(
            manifest.kind,
            manifest.media_type,
            manifest.artifact_type,
            len(reading.data),
            subject,
            first,
            len(graph._leaves),
        )

    def _add_leaf(self, digest: Digest, role: Role, size: int) -> None:
        self.graph._add_leaf(digest, role, size)
        for other in self.graph.aliases.get(digest, ()):
            self.graph._add_leaf(other, role, size)

    def _is_child(self, reference: manifests.Reference) -> bool:
        """Return whether a reference leads to a manifest.

        Media types decide where they can. Where they cannot (none given, unknown to
        us, or a manifest of unknown type named it), whatever is a revision somewhere
        is a manifest, and what is small enough to be one is looked at.
        """
        digest = reference.digest
        if digest in self.revisions:
            return True
        if reference.role in (Role.CONFIG, Role.LAYER):
            return False
        if reference.media_type in manifests.MANIFEST_TYPES:
            return True
        stored = self.inventory.blobs.get(digest)
        if stored is None:
            return reference.role is Role.MANIFEST
        if stored.size > LIMIT or (reference.role is not Role.MANIFEST and reference.media_type):
            return False
        reading = self._read(digest)
        if reading.manifest is None:
            # What is no JSON is a blob; of what cannot be known nobody can tell.
            problem = reading.problem
            return problem is not None and problem.code is not Code.MANIFEST_UNREADABLE
        return reading.manifest.kind is not manifests.Kind.UNKNOWN or bool(reference.media_type)

    def _add_broken(self, reading: _Reading, problem: Finding) -> None:
        """Take note of a manifest that cannot be known, and keep every digest written in it."""
        graph, digest = self.graph, reading.digest
        graph.problems[digest] = problem
        first = len(graph._leaves)
        for named in digests_in(reading.data):
            reference = manifests.Reference(Role.MANIFEST, named)
            known = named in self.revisions or named in self.inventory.blobs
            if known and self._is_child(reference):
                self._point(digest, named, EdgeKind.CHILD)
            else:
                self._add_leaf(named, Role.BLOB, -1)
        if len(graph._leaves) > first or reading.data:
            kind = manifests.Kind.UNKNOWN
            size = len(reading.data)
            last = len(graph._leaves)
            graph.manifests[digest] = ManifestInfo(kind, "", None, size, None, first, last)

    # -- doubt ----------------------------------------------------------------

    def _freeze(self) -> None:
        """Freeze every repository that names, through anything, a manifest that is not known.

        A child of an index that is nowhere a revision and nowhere a blob is no
        doubt: partial mirrors are legal, and what it would need was never pushed.
        """
        graph = self.graph
        doubtful: dict[Digest, Finding] = {}
        for digest, problem in graph.problems.items():
            befores = graph.digraph.pred[digest]
            named = [node for node in befores if isinstance(node, Node)]
            if problem.code is Code.BLOB_MISSING and not named:
                graph.problems[digest] = self._missing_child(digest, problem)
                continue
            # A missing manifest is told once for each link that names it, with the right words.
            if problem.code is not Code.BLOB_MISSING:
                graph.findings.append(problem)
            for node in named if problem.code is Code.BLOB_MISSING else ():
                graph.findings.append(_dangling(node, digest))
            doubtful[digest] = problem
        for name, reached in self._naming(doubtful):
            reasons = [problem for digest, problem in doubtful.items() if digest in reached]
            graph.frozen.setdefault(name, []).extend(reasons)
        for subject, referrers in graph._referrers.items():
            if subject not in graph.manifests and subject not in graph.problems:
                for referrer in referrers:
                    path = layout.path_of(layout.BlobData(referrer))
                    finding = Finding(Code.SUBJECT_MISSING, path, referrer, expected=subject)
                    graph.findings.append(finding)

    def _missing_child(self, digest: Digest, problem: Finding) -> Finding:
        for index, edge in self.graph.digraph.pred[digest].items():
            if edge["kind"] is EdgeKind.CHILD:
                path = layout.path_of(layout.BlobData(index))
                finding = Finding(Code.INDEX_CHILD_MISSING, path, index, expected=digest)
                self.graph.findings.append(finding)
                problem = finding
        return problem

    def _naming(self, doubtful: Collection[Digest]) -> Iterator[tuple[str, set[Node | Digest]]]:
        """Yield each repository that names any of `doubtful`, and what of them it reaches."""
        pred, succ = self.graph.digraph.pred, self.graph.digraph.succ
        above = _closure(doubtful, pred.__getitem__)
        for node in above:
            if isinstance(node, Node) and node.kind is NodeKind.REPOSITORY:
                # Upwards once for all, downwards only where it leads to some of them.
                ahead = _closure([node], lambda node: [n for n in succ[node] if n in above])
                yield node.repository, ahead


def _closure(
    start: Iterable[Node | Digest], step: Callable[[Node | Digest], Iterable[Node | Digest]]
) -> set[Node | Digest]:
    found = set(start)
    pending = list(found)
    while pending:
        fresh = [node for node in step(pending.pop()) if node not in found]
        found.update(fresh)
        pending.extend(fresh)
    return found


def _dangling(node: Node, digest: Digest) -> Finding:
    if node.kind is NodeKind.TAG:
        path = layout.path_of(layout.TagCurrent(node.repository, node.name))
        return Finding(Code.TAG_DANGLING, path, digest, node.repository, node.name)
    path = layout.path_of(layout.RevisionLink(node.repository, Digest(node.name)))
    return Finding(Code.LINK_DANGLING, path, digest, node.repository, override=Severity.ERROR)
