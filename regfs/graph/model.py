"""The graph itself: its nodes and edges, and the questions it answers."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Finding
from regfs.manifests import media_types
from regfs.manifests.media_types import Role
from regfs.progress import SILENT, Progress
from regfs.stores import folders_above
from regfs.tree.inventory import INCOMPLETE, Inventory, RepositoryInventory
from regfs.tree.registry import Registry

if TYPE_CHECKING:
    import networkx as nx


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
    ANNOTATION = "annotation"
    """A manifest names a blob in an annotation, and its repository links that blob."""


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

    kind: media_types.Kind
    media_type: str
    artifact_type: str | None
    size: int
    subject: Digest | None
    first: int
    """Where its leaves begin in the leaf arrays."""
    last: int


class Images(NamedTuple):
    """Many images as columns: all of their blobs are listed, and none of these is a manifest."""

    digests: Sequence[Digest]
    media_types: Sequence[str]
    artifact_types: Sequence[str | None]
    sizes: Sequence[int]
    """Bytes of each manifest."""
    counts: Sequence[int]
    """How many blobs each names."""
    numbers: array[int]
    """Those blobs, one image after the other, by their number in the inventory."""
    lengths: array[int]
    """Bytes of each of these, by its descriptor."""


class Step(NamedTuple):
    """One node on the way from a root to something, and the edge that leads to it."""

    node: Node | Digest
    edge: EdgeKind | None


_ROLES: Final = tuple(Role)
_ROLE_NUMBERS: Final = {role: number for number, role in enumerate(_ROLES)}
_CONFIG: Final = bytes([_ROLE_NUMBERS[Role.CONFIG]])
_LAYER: Final = bytes([_ROLE_NUMBERS[Role.LAYER]])
_ROLE_EDGES: Final = {
    Role.CONFIG: EdgeKind.CONFIG,
    Role.LAYER: EdgeKind.LAYER,
    Role.BLOB: EdgeKind.BLOB,
}


class Graph:
    """Repositories, tags, revisions, manifests and what they need."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.manifests: dict[Digest, ManifestInfo] = {}
        """Every manifest that was read and is what its digest says."""
        self.problems: dict[Digest, Finding] = {}
        """Every manifest that is named and cannot be known."""
        self.findings: list[Finding] = []
        self.frozen: dict[str, list[Finding]] = {}
        """Repository -> why nothing that it names may be deleted."""
        self.incomplete: list[Finding] = []
        """Why no blob at all may be deleted: places where unseen links may lie."""
        self.aliases: dict[Digest, set[Digest]] = {}
        """Digest in another algorithm -> the digest its link holds."""
        self.successors: dict[Digest, dict[Digest, EdgeKind]] = {}
        """Manifest -> the manifests it points to, and why; only of those that point to any."""
        self.noted: dict[Digest, list[Digest]] = {}
        """Manifest -> blobs that are here and that it names in an annotation, where a repository
        that has the manifest links them. Some tools name blobs nowhere else."""
        self.redirected: dict[str, dict[Digest, list[Digest]]] = {}
        """Repository -> its revision links that do not simply lead to their own digest."""
        self._digests = inventory.blobs.digests.copy()
        """Number -> blob: as in the inventory, then the missing ones that a manifest names."""
        self._missing: dict[Digest, int] = {}
        self._leaves = array("I")
        self._roles = array("B")
        self._sizes = array("q")
        self._referrers: dict[Digest, list[Digest]] = {}

    @cached_property
    def revised(self) -> frozenset[Digest]:
        """Every digest that is a revision in any repository."""
        repositories = self.inventory.repositories.values()
        return frozenset().union(*(one.revisions.numbers for one in repositories))

    @classmethod
    def build(
        cls, inventory: Inventory, registry: Registry, *, progress: Progress = SILENT
    ) -> Graph:
        """Read every manifest that the inventory names, once, and link it all up."""
        from regfs.graph.build import fill  # it fills what is defined here

        graph = cls(inventory)
        fill(graph, registry, progress)
        return graph

    @cached_property
    def _unseen(self) -> frozenset[str]:
        """Places of blobs, and folders of them, that could not be seen."""
        found = self.inventory.findings
        return frozenset(one.path for one in found if one.code in INCOMPLETE)

    def is_unseen(self, digest: Digest) -> bool:
        """Return whether a blob that was not listed may be there: its place was not seen."""
        path = layout.path_of(layout.BlobData(digest)) if self._unseen else ""
        return bool(path) and not self._unseen.isdisjoint((path, *folders_above(path)))

    @cached_property
    def digraph(self) -> nx.DiGraph[Any]:
        """All that points, for networkx. Nodes are `Node` and `Digest`; `kind` tells of which kind.

        Made when it is asked for: to find what is garbage, nobody has to.
        """
        from regfs.graph.export import network

        return network(self)

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
        targets = self.successors.get(manifest, {}).items()
        return [target for target, kind in targets if kind is EdgeKind.CHILD]

    def named_as(self, digest: Digest) -> list[Digest]:
        """Return a digest, and those that it stands for in the algorithm of the store."""
        return [digest, *self.aliases.get(digest, ())]

    def revision_targets(self, repository: str, digest: Digest) -> list[Digest]:
        """Return what a revision link leads to: its own digest, and what its content names."""
        return self.redirected.get(repository, {}).get(digest) or [digest]

    def links(self, repository: RepositoryInventory) -> Iterator[tuple[Node, EdgeKind, Digest]]:
        """Yield every tag and revision of a repository with the manifests it leads to, and why."""
        name = repository.name
        for digest in repository.revisions:
            node = Node(NodeKind.REVISION, name, digest)
            for target in self.revision_targets(name, digest):
                yield node, EdgeKind.CONTENT, target
        for tag, info in repository.tags.items():
            node = Node(NodeKind.TAG, name, tag)
            if info.current is not None:
                yield node, EdgeKind.CURRENT, info.current
                continue
            for entry in info.history:
                if entry.digest in self.inventory.blobs:
                    yield node, EdgeKind.HISTORY, entry.digest

    def referrers(self, subject: Digest, repository: str | None = None) -> list[Digest]:
        """Return the manifests about `subject`: by their subject field, or in its fallback tag.

        With `repository`, only those it has as revisions, as its server lists them.
        """
        by_field = self._referrers.get(subject, ())
        every = self.inventory.repositories
        if repository is None:
            listed = [child for one in every.values() for child in self._listed(one, {subject})]
            return list(dict.fromkeys([*by_field, *listed]))
        if repository not in every:
            return []
        one = every[repository]
        subjects = {subject, *self._revision_aliases(repository, subject)}
        named = [referrer for referrer in by_field if self.manifests[referrer].subject in subjects]
        found = [*named, *self._listed(one, subjects)]
        return list(dict.fromkeys(digest for digest in found if digest in one.revisions))

    def _revision_aliases(self, repository: str, digest: Digest) -> list[Digest]:
        """Return the digests in another algorithm under which a repository has a manifest."""
        links = self.redirected.get(repository, {}).items()
        return [
            link
            for link, targets in links
            if link.algorithm != digest.algorithm and digest in targets
        ]

    def _listed(
        self, repository: RepositoryInventory, subjects: Collection[Digest]
    ) -> list[Digest]:
        """Return what the fallback tags of a manifest list."""
        from regfs.graph.beside import beside, lists

        found: list[Digest] = []
        for tag in map(layout.fallback_tag, subjects):
            info = repository.tags.get(tag)
            current = None if info is None else info.current
            if current is None or current not in repository.revisions:
                continue
            if beside(self, tag, current) is not None:
                found += lists(self, current, subjects)
        return found

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
        # Most manifests lead nowhere: those that do are picked out before any is looked at.
        pending = found & self.successors.keys()
        if referrers:
            pending |= found & self._referrers.keys()
        while pending:
            manifest = pending.pop()
            ahead: list[Digest] = []
            for target, kind in self.successors.get(manifest, _NOTHING).items():
                if subjects or kind is not EdgeKind.SUBJECT:
                    ahead.append(target)
            if referrers and manifest in self._referrers:
                ahead.extend(r for r in self._referrers[manifest] if r in referrers)
            for target in ahead:
                if target not in found:
                    found.add(target)
                    pending.add(target)
        return found

    def needs(self, found: Iterable[Digest]) -> set[Digest]:
        """Return every blob that these manifests need: the manifests, configs and layers."""
        found = set(found)
        needed = set(found)
        digests, leaves, manifests = self._digests, self._leaves, self.manifests
        numbers: set[int] = set()
        for manifest in needed:
            info = manifests.get(manifest)
            if info is not None:
                numbers.update(leaves[info.first : info.last])
        needed.update(map(digests.__getitem__, numbers))
        if self.noted:
            noted = (self.noted[one] for one in self.noted.keys() & found)
            needed.update(*noted)
        return needed

    # -- asking back ----------------------------------------------------------

    def manifests_naming(self, blob: Digest) -> list[Digest]:
        """Return the manifests that name a blob themselves, be it in an annotation."""
        number = self.inventory.blobs.numbers.get(blob, self._missing.get(blob))
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
        for manifest, blobs in self.noted.items():
            for blob in blobs:
                above = index.setdefault(self._number(blob), [])
                if manifest not in above:
                    above.append(manifest)
        return index

    def predecessors(self, manifest: Digest) -> list[Digest]:
        """Return the manifests that point to one."""
        if not hasattr(self, "_predecessors"):
            self._predecessors: dict[Digest, list[Digest]] = {}
            for before, targets in self.successors.items():
                for target in targets:
                    self._predecessors.setdefault(target, []).append(before)
        return self._predecessors.get(manifest, [])

    def owners(self, digest: Digest) -> set[Node]:
        """Return the tags and revisions that need a blob or manifest, through any index."""
        starts = [digest, *self.manifests_naming(digest)]
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
        from regfs.graph.paths import trace

        def before(node: Node | Digest) -> Iterable[tuple[Node | Digest, EdgeKind]]:
            found = self._before(node)
            if node == digest:
                for holder in self.manifests_naming(digest):
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
        role = next(roles, None)
        return EdgeKind.ANNOTATION if role is None else _ROLE_EDGES.get(role, EdgeKind.BLOB)

    # -- whole ----------------------------------------------------------------

    def complete(self, repositories: Collection[str] | None = None) -> nx.DiGraph[Any]:
        """Return a networkx graph with the blobs as nodes too, of some or all repositories.

        Blob nodes carry `size` in bytes (None when missing). For export and for
        small registries: it takes about 1 kB a blob.
        """
        import networkx as nx

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

    def point(self, manifest: Digest, target: Digest, kind: EdgeKind) -> None:
        """Let a manifest point to another, unless it does already: the first reason stays."""
        self.successors.setdefault(manifest, {}).setdefault(target, kind)

    def _number(self, blob: Digest) -> int:
        number = self.inventory.blobs.numbers.get(blob, self._missing.get(blob))
        if number is None:
            number = self._missing[blob] = len(self._digests)
            self._digests.append(blob)
        return number

    def add_images(self, images: Images) -> None:
        """Add images, the first blob of each its config and all others layers."""
        first = len(self._leaves)
        self._leaves.extend(images.numbers)
        self._sizes.extend(images.lengths)
        kind = media_types.Kind.IMAGE
        roles = []
        for digest, media_type, artifact_type, size, count in zip(*images[:5], strict=True):
            last = first + count
            self.manifests[digest] = ManifestInfo(
                kind, media_type, artifact_type, size, None, first, last
            )
            roles.append(_CONFIG + _LAYER * (count - 1))
            first = last
        self._roles.frombytes(b"".join(roles))

    def add_manifest(self, digest: Digest, parsed: ManifestInfo, leaves: Iterable[Leaf]) -> None:
        """Add what is known of a manifest, and the blobs it names."""
        first = len(self._leaves)
        for leaf in leaves:
            self._leaves.append(self._number(leaf.digest))
            self._roles.append(_ROLE_NUMBERS[leaf.role])
            self._sizes.append(leaf.size)
        self.manifests[digest] = parsed._replace(first=first, last=len(self._leaves))
        if parsed.subject is not None:
            for subject in self.named_as(parsed.subject):
                self._referrers.setdefault(subject, []).append(digest)

    def subjects(self) -> Iterable[tuple[Digest, list[Digest]]]:
        """Return every subject that is named, with the manifests that name it."""
        return self._referrers.items()


_NOTHING: Final[Mapping[Digest, EdgeKind]] = {}
