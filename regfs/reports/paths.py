"""Why a blob or manifest is kept: every path from a repository to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from regfs.digest import Digest
from regfs.graph import EdgeKind, Graph, Node, NodeKind
from regfs.graph.paths import Step, nearest, why
from regfs.names import natural
from regfs.reports.contents import doubtful
from regfs.tree.registry import Target

TRIED = 50
"""Paths that are tried for each one returned: there can be exponentially many."""


@dataclass(frozen=True, slots=True)
class PathNode:
    """One node of a path."""

    kind: str
    """`repository`, `tag`, `revision`, `manifest` or `blob`."""
    name: str
    """The name of a repository, `repository:tag` for a tag, else a digest."""
    edge: str | None
    """The edge from the previous node; None at the start."""


@dataclass(frozen=True, slots=True)
class NeededBy:
    """A tag that keeps something, or a manifest that no tag of its repository reaches."""

    name: str
    """`repository:tag` or `repository@digest`."""
    repository: str
    tag: str | None
    through: tuple[str, ...]
    """Digests of the manifests from there on, the shortest way; that itself is not among them."""
    role: str
    """What it is at the end of that way: `layer`, `config`, `child`, `subject` and so on."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """The report."""

    reference: str
    digest: str
    size: int | None
    """Bytes; None if it is missing or cannot be read."""
    unseen: bool
    """Whether its place cannot be read, so that it may be there or not."""
    paths: tuple[tuple[PathNode, ...], ...]
    more: bool
    """Whether there are more paths than were asked for."""
    doubtful: bool
    """Whether no path is known, but an unreadable image may need it: gc keeps it."""
    layer_links: tuple[str, ...]
    """Repositories with a layer link to it; a link alone does not keep it."""
    needed_by: tuple[NeededBy, ...] = ()
    """Every tag, by name; then every untagged manifest that needs it itself or in an index."""


def reasons(
    graph: Graph,
    target: Target,
    digest: Digest,
    limit: int,
    shows: Callable[[list[Step]], bool] = lambda path: True,
) -> Reasons:
    """Return up to `limit` paths to a blob or manifest for which `shows` returns true."""
    tried = islice(why(graph, digest), limit * TRIED)
    paths = list(islice(filter(shows, tried), limit * 5 + 1))
    # Paths by tag first: every manifest has a revision.
    paths.sort(key=_is_by_revision)
    stored = graph.inventory.blobs.get(digest)
    return Reasons(
        reference=str(target),
        digest=digest,
        size=None if stored is None else stored.size,
        unseen=stored is None and graph.is_unseen(digest),
        paths=tuple(_nodes(graph, path) for path in paths[:limit]),
        more=len(paths) > limit,
        doubtful=not paths and digest in doubtful(graph),
        layer_links=tuple(
            name
            for name, repository in graph.inventory.repositories.items()
            if digest in repository.layers
        ),
    )


def needs(
    graph: Graph, digest: Digest, shows: Callable[[Node | Digest], bool] = lambda node: True
) -> tuple[NeededBy, ...]:
    """Return the tags that keep a blob or manifest, then the untagged manifests that do.

    No way to it leads over what `shows` returns false for.
    """
    found = nearest(graph, digest, shows)
    tagged: dict[str, set[Digest]] = {}
    rows = []
    for node, path in found.items():
        if node.kind is NodeKind.REVISION:
            if node.repository not in tagged:
                tagged[node.repository] = _tagged(graph, node.repository)
            if Digest(node.name) in tagged[node.repository]:
                continue
        rows.append(_need(node, path))

    def place(row: NeededBy) -> tuple[object, ...]:
        return row.tag is None, natural(row.repository), natural(row.tag or row.name)

    return tuple(sorted(rows, key=place))


def _tagged(graph: Graph, repository: str) -> set[Digest]:
    """Return every manifest that a tag of a repository reaches, with its referrers."""
    tags = graph.inventory.repositories[repository].tags.values()
    reached = graph.reachable({target for info in tags for target in info.targets})
    return reached | {one for subject in reached for one in graph.referrers_by_field(subject)}


def _need(node: Node, path: list[Step]) -> NeededBy:
    through = [str(step.node) for step in path[1:-1]]
    tag = None if node.kind is NodeKind.REVISION else node.name
    last = path[-1].edge
    return NeededBy(
        name=f"{node.repository}@{node.name}" if tag is None else f"{node.repository}:{tag}",
        repository=node.repository,
        tag=tag,
        through=tuple(through[1:] if tag is None else through),
        role="" if last is None else last.value,
    )


def _is_by_revision(path: list[Step]) -> bool:
    return any(step.edge is EdgeKind.REVISION for step in path)


def _nodes(graph: Graph, path: list[Step]) -> tuple[PathNode, ...]:
    return tuple(
        PathNode(_kind(graph, step.node), _name(step.node), step.edge.value if step.edge else None)
        for step in path
    )


def _name(node: Node | Digest) -> str:
    if isinstance(node, Node) and node.kind is NodeKind.REVISION:
        return node.name
    return str(node)


def _kind(graph: Graph, node: Node | Digest) -> str:
    if isinstance(node, Node):
        return node.kind.value
    return (NodeKind.MANIFEST if graph.predecessors(node) else NodeKind.BLOB).value
