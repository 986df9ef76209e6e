"""Why a blob or manifest is kept: every path from a repository to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from regfs.digest import Digest
from regfs.graph import EdgeKind, Graph, Node, NodeKind
from regfs.graph.paths import Step, why
from regfs.reports.contents import doubtful
from regfs.tree.registry import Target

LOOKED_AT = 50
"""Paths that are looked at for each that is wanted: there can be exponentially many."""


@dataclass(frozen=True, slots=True)
class PathNode:
    """One station of a path."""

    kind: str
    """`repository`, `tag`, `revision`, `manifest` or `blob`."""
    name: str
    """Of a repository its name, of a tag `repository:tag`, else a digest."""
    edge: str | None
    """How the station before leads here; None at the start."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """The report."""

    reference: str
    digest: str
    size: int | None
    """Bytes; None when it is not there, or cannot be seen."""
    unseen: bool
    """Its place cannot be read, so nobody knows whether it is there."""
    paths: tuple[tuple[PathNode, ...], ...]
    more: bool
    """There are more paths than were asked for."""
    doubtful: bool
    """Nothing readable leads here, and an unreadable image may: gc keeps it."""
    layer_links: tuple[str, ...]
    """Repositories with a layer link to it. A link alone keeps nothing."""


def reasons(
    graph: Graph,
    target: Target,
    digest: Digest,
    limit: int,
    shows: Callable[[list[Step]], bool] = lambda path: True,
) -> Reasons:
    """Return up to `limit` paths that lead to a blob or manifest, of those that `shows` admits."""
    looked_at = islice(why(graph, digest), limit * LOOKED_AT)
    paths = list(islice(filter(shows, looked_at), limit * 5 + 1))
    # A tag says more than a revision, which every manifest has.
    paths.sort(key=_is_by_revision)
    stored = graph.inventory.blobs.get(digest)
    return Reasons(
        reference=str(target),
        digest=digest,
        size=None if stored is None else stored.size,
        unseen=stored is None and graph.is_unseen(digest),
        paths=tuple(_places(graph, path) for path in paths[:limit]),
        more=len(paths) > limit,
        doubtful=not paths and digest in doubtful(graph),
        layer_links=tuple(
            name
            for name, repository in graph.inventory.repositories.items()
            if digest in repository.layers
        ),
    )


def _is_by_revision(path: list[Step]) -> bool:
    return any(step.edge is EdgeKind.REVISION for step in path)


def _places(graph: Graph, path: list[Step]) -> tuple[PathNode, ...]:
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
