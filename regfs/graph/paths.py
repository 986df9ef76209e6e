"""Who needs a blob, and over which ways: the tags and revisions above it, and every path.

    owners(graph, digest)   the tags and revisions that need it, through any index
    nearest(graph, digest)  the tags and revisions that keep it, each with its shortest path
    why(graph, digest)      every path from a repository down to it, one at a time

    root -> a -> c        trace(c, ...) yields   c a root
    root -> b -> c                               c b root

There can be exponentially many paths, so they come one by one. What must not
happen is an exponential search *between* two of them: part of a graph that no
root leads to is cut off first, and where the graph has circles no step is taken
that cannot end at a root. `trace` does not know what nodes and edges stand for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Generic, NamedTuple, TypeVar

from regfs.digest import Digest
from regfs.graph.model import ROLE_EDGES, EdgeKind, Graph, Node, NodeKind

Vertex = TypeVar("Vertex", bound=Hashable)
Edge = TypeVar("Edge")


class Hop(NamedTuple, Generic[Vertex, Edge]):
    """One node of a path, and the edge from it to the one before; none for the first."""

    node: Vertex
    edge: Edge | None


class Step(NamedTuple):
    """One node on the way from a root to something, and the edge that leads to it."""

    node: Node | Digest
    edge: EdgeKind | None


def owners(graph: Graph, digest: Digest) -> set[Node]:
    """Return the tags and revisions that need a blob or manifest, through any index."""
    found: set[Node] = set()
    seen: set[Digest] = set()
    pending = [digest, *graph.manifests_naming(digest)]
    while pending:
        manifest = pending.pop()
        if manifest in seen:
            continue
        seen.add(manifest)
        for before, kind in graph.predecessors(manifest).items():
            if isinstance(before, Node):
                found.add(before)
            elif kind is not EdgeKind.SUBJECT:
                pending.append(before)
    return found


def why(graph: Graph, digest: Digest) -> Iterator[list[Step]]:
    """Yield every path from a repository to a blob or manifest, one at a time.

    There can be very many; take as many as are needed. Referrers count: a path
    may lead over a subject to what is about it.
    """

    def before(node: Node | Digest) -> Iterable[tuple[Node | Digest, EdgeKind]]:
        if isinstance(node, Node):
            edge = EdgeKind.TAG if node.kind is NodeKind.TAG else EdgeKind.REVISION
            return [(Node(NodeKind.REPOSITORY, node.repository), edge)]
        return _before(graph, node, digest).items()

    def is_root(node: Node | Digest) -> bool:
        return isinstance(node, Node) and node.kind is NodeKind.REPOSITORY

    start: Node | Digest = digest
    for hops in trace(start, before, is_root):
        edges = [None, *(hop.edge for hop in reversed(hops))]
        yield [Step(hop.node, edge) for hop, edge in zip(reversed(hops), edges, strict=False)]


def nearest(
    graph: Graph, digest: Digest, shows: Callable[[Node | Digest], bool] = lambda node: True
) -> dict[Node, list[Step]]:
    """Return the tags and revisions that keep a blob or manifest, with the shortest path of each.

    As in `why`, a path may lead over a subject to what is about it. It begins with the tag or
    revision and ends with `digest`. No path leads over what `shows` returns false for.
    """
    after: dict[Node | Digest, Step] = {}
    roots: list[Node] = []
    pending = deque([digest])
    while pending:
        node = pending.popleft()
        for before, edge in _before(graph, node, digest).items():
            if before in after or before == digest or not shows(before):
                continue
            after[before] = Step(node, edge)
            if isinstance(before, Node):
                roots.append(before)
            else:
                pending.append(before)
    return {root: list(_down(root, after)) for root in roots}


def _down(root: Node, after: Mapping[Node | Digest, Step]) -> Iterator[Step]:
    step: Step | None = Step(root, None)
    while step is not None:
        yield step
        step = after.get(step.node)


def _before(graph: Graph, node: Digest, digest: Digest) -> dict[Node | Digest, EdgeKind]:
    """Return what keeps a node of the paths to `digest`, with the reasons."""
    found = _keepers(graph, node)
    if node == digest:
        for holder in graph.manifests_naming(digest):
            found.setdefault(holder, _role_edge(graph, holder, digest))
    return found


def _keepers(graph: Graph, manifest: Digest) -> dict[Node | Digest, EdgeKind]:
    """Return what keeps a manifest, with the reasons."""
    predecessors = graph.predecessors(manifest).items()
    found: dict[Node | Digest, EdgeKind] = {
        one: kind for one, kind in predecessors if kind is not EdgeKind.SUBJECT
    }
    # What keeps a referrer is its subject: the edge is walked the other way round.
    info = graph.manifests.get(manifest)
    if info is not None and info.subject is not None and graph.predecessors(info.subject):
        found.setdefault(info.subject, EdgeKind.SUBJECT)
    return found


def _role_edge(graph: Graph, manifest: Digest, blob: Digest) -> EdgeKind:
    roles = (leaf.role for leaf in graph.leaves(manifest) if leaf.digest == blob)
    role = next(roles, None)
    return EdgeKind.ANNOTATION if role is None else ROLE_EDGES.get(role, EdgeKind.BLOB)


def trace(
    start: Vertex,
    before: Callable[[Vertex], Iterable[tuple[Vertex, Edge]]],
    is_root: Callable[[Vertex], bool],
) -> Iterator[list[Hop[Vertex, Edge]]]:
    """Yield every path from `start` up to a root; no path meets a node twice.

    `before` gives the nodes that lead to a node, each once, with their edges.
    """
    above = _rooted(start, before, is_root)
    if start not in above:
        return
    circular = _circular(above)
    path: list[Hop[Vertex, Edge]] = [Hop(start, None)]
    on_path = {start}
    choices = [iter(above[start])]
    while choices:
        if is_root(path[-1].node):
            yield list(path)
        for node, edge in choices[-1]:
            if node not in on_path and not (circular and not _escapes(node, above, on_path)):
                path.append(Hop(node, edge))
                on_path.add(node)
                choices.append(iter(above[node]))
                break
        else:
            choices.pop()
            on_path.discard(path.pop().node)


_Above = dict[Vertex, list[tuple[Vertex, Edge]]]


def _rooted(
    start: Vertex,
    before: Callable[[Vertex], Iterable[tuple[Vertex, Edge]]],
    is_root: Callable[[Vertex], bool],
) -> _Above[Vertex, Edge]:
    """Return what leads to `start`, without what no root leads to; roots have nothing before."""
    known: _Above[Vertex, Edge] = {}
    after: dict[Vertex, list[Vertex]] = {}
    pending = [start]
    while pending:
        node = pending.pop()
        if node not in known:
            known[node] = [] if is_root(node) else list(before(node))
            for other, _ in known[node]:
                after.setdefault(other, []).append(node)
                pending.append(other)
    rooted: set[Vertex] = set()
    pending = [node for node in known if is_root(node)]
    while pending:
        node = pending.pop()
        if node not in rooted:
            rooted.add(node)
            pending.extend(after.get(node, ()))
    return {node: [step for step in known[node] if step[0] in rooted] for node in rooted}


def _circular(above: _Above[Vertex, Edge]) -> bool:
    order = TopologicalSorter({node: [other for other, _ in above[node]] for node in above})
    try:
        order.prepare()
    except CycleError:
        return True
    return False


def _escapes(start: Vertex, above: _Above[Vertex, Edge], taken: set[Vertex]) -> bool:
    """Return whether a root can be had from `start` without touching a node that is taken."""
    seen = set(taken)
    pending = [start]
    while pending:
        node = pending.pop()
        if not above[node]:
            return True
        if node not in seen:
            seen.add(node)
            pending.extend(other for other, _ in above[node] if other not in seen)
    return False
