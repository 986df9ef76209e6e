"""Everything as nodes and edges, for other programs: a row at a time.

    network = network_of(graph, registry.skim, registry.manifest_bytes)
    network.nodes()     repositories, tags, manifests, blobs
    network.edges()     repository -tag-> tag -current-> manifest -layer-> blob
                        manifest -child-> manifest, -subject-> manifest, -base-> manifest

A node is named by what it is: `repository:app`, `tag:app:v1`, and content by its digest alone.
A manifest is one node, however many repositories have it, and so is a blob. `base` leads from
an image to the one it is built on. What cannot be read has a node that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import EdgeKind, Graph, NodeKind
from regfs.graph.model import ROLE_EDGES
from regfs.manifests import Kind, Role
from regfs.manifests.skim import origin_of
from regfs.reports.contents import Holding, Read, holdings, is_alias, is_meant
from regfs.reports.lineage import bases
from regfs.reports.users import Users, users_of
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Target
from regfs.units import utc_time

BASE = "base"
"""The kind of the edge from an image to the one it is built on."""
_NO_PLATFORM = "unknown/unknown"
"""What BuildKit's indexes give attestations."""


@dataclass(frozen=True, slots=True)
class NetworkNode:
    """A repository, a tag, a manifest or a blob. What does not apply is None."""

    id: str
    kind: str
    """repository, tag, manifest, config, layer or blob."""
    label: str
    """A short name for people."""
    repository: str | None = None
    """Of a repository or tag."""
    tag: str | None = None
    digest: str | None = None
    """Of content."""
    form: str | None = None
    """Of a manifest: image, index, artifact, schema1 or unknown."""
    media_type: str | None = None
    """Of content, as manifests say."""
    artifact_type: str | None = None
    platform: str | None = None
    """Of an image: by its index, else by its config."""
    created: str | None = None
    """When an image was built, as its config says."""
    size: int | None = None
    """Bytes of content; None where it is missing."""
    written: datetime | None = None
    """When its file was written; of a tag, when it was set."""
    users: int | None = None
    """Of content: how many tags, and repositories with untagged images, need it."""
    problem: str | None = None
    """The code of the finding that says why a manifest cannot be known."""


@dataclass(frozen=True, slots=True)
class NetworkEdge:
    """Why one node leads to another."""

    source: str
    target: str
    kind: str
    """tag, revision, current, history, child, subject, config, layer, blob, annotation or base."""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What the nodes and edges are of."""

    root: str
    taken_at: datetime
    """When the tree was listed."""


@dataclass(frozen=True, slots=True)
class NetworkDocument:
    """Node-link data, as `networkx.node_link_graph(document, edges="edges")` reads it."""

    directed: bool
    multigraph: bool
    graph: NetworkFacts
    nodes: list[NetworkNode]
    edges: list[NetworkEdge]


class _Details(NamedTuple):
    """What manifests and configs say, which a graph does not keep."""

    media_types: dict[Digest, str]
    platforms: dict[Digest, str]
    created: dict[Digest, str]


def network_of(
    graph: Graph,
    read: Read,
    read_bytes: Callable[[Digest], bytes],
    targets: Iterable[Target] = (),
    *,
    blobs: bool = True,
) -> Network:
    """Return all nodes and edges, or those of the tags and manifests that `targets` name.

    A digest names every tag that needs it. Without `blobs`, configs and layers are left out.
    """
    wanted = list(targets)
    chosen = None
    if wanted:
        chosen = [held for held in holdings(graph) if any(is_meant(graph, held, t) for t in wanted)]
    return Network(graph, read, read_bytes, chosen, wanted, blobs=blobs)


class Network:
    """The nodes and edges of a registry, or of a part of it."""

    def __init__(
        self,
        graph: Graph,
        read: Read,
        read_bytes: Callable[[Digest], bytes],
        chosen: list[Holding] | None,
        targets: list[Target],
        *,
        blobs: bool,
    ) -> None:
        self.facts = NetworkFacts(graph.inventory.url, utc_time(graph.inventory.taken_at))
        self.has_blobs = blobs
        self._graph = graph
        self._read = read
        self._read_bytes = read_bytes
        self._targets = targets
        self._chosen = chosen
        self.repositories = self._repositories()
        """Those that have a node, with their tags that have."""
        self.manifests = self._manifests()
        """Those that have a node, in the order in which they were read."""
        self.users: Users = users_of(graph)

    @property
    def whole(self) -> bool:
        """Whether it is all that is in the tree."""
        return self._chosen is None

    def number(self, digest: Digest) -> int:
        """Return a number that stands for a digest in this tree."""
        return self._graph.inventory.known.add(digest)

    def inventory_of(self, repository: str) -> RepositoryInventory:
        """Return what a repository holds."""
        return self._graph.inventory.repositories[repository]

    def _repositories(self) -> dict[str, list[str]]:
        every = self._graph.inventory.repositories
        if self._chosen is None:
            return {name: list(one.tags) for name, one in every.items()}
        found: dict[str, list[str]] = {}
        for held in self._chosen:
            tags = found.setdefault(held.repository, [])
            if held.tag is not None:
                tags.append(held.tag)
        return found

    def _manifests(self) -> dict[Digest, None]:
        graph = self._graph
        if self._chosen is not None:
            found = set[Digest]().union(*(held.manifests for held in self._chosen))
            order = dict.fromkeys(one for one in graph.manifests if one in found)
            return order | dict.fromkeys(sorted(found - order.keys()))
        named = [graph.named(one) for one in graph.inventory.repositories.values()]
        rest = set(graph.problems).union(graph.successors, *graph.successors.values(), *named)
        order = dict.fromkeys(one for one in graph.manifests if not is_alias(graph, one))
        rest = {one for one in rest if one not in order and not is_alias(graph, one)}
        return order | dict.fromkeys(sorted(rest))

    # -- nodes --------------------------------------------------------------------

    def nodes(self) -> Iterator[NetworkNode]:
        """Yield every node, each once."""
        every = self._graph.inventory.repositories
        for name, tags in self.repositories.items():
            yield NetworkNode(repository_id(name), NodeKind.REPOSITORY, name, name)
            for tag in tags:
                written = every[name].tags[tag].mtime
                yield NetworkNode(
                    tag_id(name, tag),
                    NodeKind.TAG,
                    f"{name}:{tag}",
                    name,
                    tag,
                    written=utc_time(written) if written else None,
                )
        details = self._details()
        for manifest in self.manifests:
            yield self._manifest(manifest, details)
        if self.has_blobs:
            yield from self._blobs(details.media_types)

    def _manifest(self, digest: Digest, details: _Details) -> NetworkNode:
        info = self._graph.manifests.get(digest)
        problem = self._graph.problems.get(digest)
        platform = details.platforms.get(digest)
        node = self._content(digest, NodeKind.MANIFEST, info.media_type if info else None)
        form = info.kind.value if info else Kind.UNKNOWN.value
        return replace(
            node,
            label=f"{platform or form} {digest.short}",
            form=form,
            artifact_type=info.artifact_type if info else None,
            platform=platform,
            created=details.created.get(digest),
            problem=problem.code.value if problem else None,
        )

    def _blobs(self, media_types: dict[Digest, str]) -> Iterator[NetworkNode]:
        roles: dict[Digest, str] = {}
        for manifest in self.manifests:
            for digest, kind in self._parts(manifest):
                if digest not in self.manifests:
                    role = kind if kind in (EdgeKind.CONFIG, EdgeKind.LAYER) else NodeKind.BLOB
                    roles.setdefault(digest, role)
        for digest, role in roles.items():
            yield self._content(digest, role, media_types.get(digest))
        if self.whole:
            for digest in self._graph.inventory.blobs:
                if digest not in roles and digest not in self.manifests:
                    yield self._content(digest, NodeKind.BLOB, None)

    def _content(self, digest: Digest, kind: str, media_type: str | None) -> NetworkNode:
        inventory = self._graph.inventory
        stored = inventory.blobs.get(digest)
        number = inventory.known.find(digest)
        return NetworkNode(
            digest,
            kind,
            f"{kind} {digest.short}",
            digest=digest,
            media_type=media_type or None,
            size=None if stored is None else stored.size,
            written=None if stored is None else utc_time(stored.mtime),
            users=0 if number is None else self.users.tags.count(number),
        )

    def _details(self) -> _Details:
        """Read every manifest, and the config of every image whose index says no platform."""
        details, words = _Details({}, {}, {}), dict[str, str]()
        configs: dict[Digest, Digest] = {}
        for manifest in self.manifests:
            info = self._graph.manifests.get(manifest)
            if info is None:
                continue
            with suppress(RegfsError):  # readable when the graph was built, and gone since
                for one in self._read(manifest).references():
                    if one.media_type:
                        word = words.setdefault(one.media_type, one.media_type)
                        details.media_types.setdefault(one.digest, word)
                    if one.role is Role.MANIFEST and one.platform not in ("", _NO_PLATFORM):
                        details.platforms.setdefault(one.digest, one.platform)
                    if one.role is Role.CONFIG and info.artifact_type is None:
                        configs[manifest] = one.digest
        for manifest, config in configs.items():
            with suppress(RegfsError):  # what is missing or damaged is a matter of verify
                platform, created = origin_of(self._read_bytes(config))
                if platform:
                    details.platforms.setdefault(manifest, platform)
                if created:
                    details.created[manifest] = created
        return details

    # -- edges --------------------------------------------------------------------

    def edges(self) -> Iterator[NetworkEdge]:
        """Yield every edge between nodes, one for each pair: the first reason stays."""
        graph = self._graph
        for name, tags in self.repositories.items():
            yield from self._links(graph.inventory.repositories[name], tags)
        for manifest in self.manifests:
            ahead: dict[str, str] = {}
            for target, kind in graph.successors.get(manifest, {}).items():
                for stored in self._stored(target):
                    if stored in self.manifests:
                        ahead.setdefault(stored, kind)
            for target, role in self._parts(manifest):
                if self.has_blobs or target in self.manifests:
                    ahead.setdefault(target, role)
            for there, why in ahead.items():
                yield NetworkEdge(manifest, there, why)
        yield from self._bases()

    def _links(self, repository: RepositoryInventory, tags: list[str]) -> Iterator[NetworkEdge]:
        name, home = repository.name, repository_id(repository.name)
        for tag in tags:
            yield NetworkEdge(home, tag_id(name, tag), EdgeKind.TAG)
        chosen, seen = set(tags), set[tuple[str, str]]()
        for node, kind, target in self._graph.links(repository):
            is_tag = node.kind is NodeKind.TAG
            if is_tag and node.name not in chosen:
                continue
            start = tag_id(name, node.name) if is_tag else home
            for stored in self._stored(target):
                if stored in self.manifests and (start, stored) not in seen:
                    seen.add((start, stored))
                    yield NetworkEdge(start, stored, kind if is_tag else EdgeKind.REVISION)

    def _parts(self, manifest: Digest) -> Iterator[tuple[Digest, str]]:
        """Yield the blobs that a manifest names, as they are stored."""
        graph = self._graph
        for leaf in graph.leaves(manifest):
            if not is_alias(graph, leaf.digest):
                yield leaf.digest, ROLE_EDGES.get(leaf.role, EdgeKind.BLOB)
        for digest in graph.noted.get(manifest, ()):
            yield digest, EdgeKind.ANNOTATION

    def _stored(self, digest: Digest) -> Iterable[Digest]:
        """Return the digests that content is stored under, which can be others than its name."""
        is_other = is_alias(self._graph, digest)
        return sorted(self._graph.aliases[digest]) if is_other else (digest,)

    def _bases(self) -> Iterator[NetworkEdge]:
        rows = bases(self._graph, self._read, self._targets).images
        digests = {one.image: one.digest for one in rows}
        found = ((one.digest, digests.get(name)) for one in rows for name in one.bases[:1])
        for image, base in dict.fromkeys(found):
            if base is not None and image in self.manifests and base in self.manifests:
                yield NetworkEdge(image, base, BASE)


def repository_id(name: str) -> str:
    """Return the id of the node of a repository."""
    return f"repository:{name}"


def tag_id(name: str, tag: str) -> str:
    """Return the id of the node of a tag."""
    return f"tag:{name}:{tag}"
