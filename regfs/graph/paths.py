"""Every path from a root down to a node, one at a time, whatever shape the graph has.

    root -> a -> c        trace(c, ...) yields   c a root
    root -> b -> c                               c b root

There can be exponentially many paths, so they come one by one. What must not
happen is an exponential search *between* two of them: part of a graph that no
root leads to is cut off first, and where the graph has circles no step is taken
that cannot end at a root. Nothing here knows what nodes and edges stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Generic, NamedTuple, TypeVar

Node = TypeVar("Node", bound=Hashable)
Edge = TypeVar("Edge")


class Hop(NamedTuple, Generic[Node, Edge]):
    """One node of a path, and the edge from it to the one before; none for the first."""

    node: Node
    edge: Edge | None


def trace(
    start: Node,
    before: Callable[[Node], Iterable[tuple[Node, Edge]]],
    is_root: Callable[[Node], bool],
) -> Iterator[list[Hop[Node, Edge]]]:
    """Yield every path from `start` up to a root; no path meets a node twice.

    `before` gives the nodes that lead to a node, each once, with their edges.
    """
    above = _rooted(start, before, is_root)
    if start not in above:
        return
    circular = _circular(above)
    path: list[Hop[Node, Edge]] = [Hop(start, None)]
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


_Above = dict[Node, list[tuple[Node, Edge]]]


def _rooted(
    start: Node,
    before: Callable[[Node], Iterable[tuple[Node, Edge]]],
    is_root: Callable[[Node], bool],
) -> _Above[Node, Edge]:
    """Return what leads to `start`, without what no root leads to; roots have nothing before."""
    known: _Above[Node, Edge] = {}
    after: dict[Node, list[Node]] = {}
    pending = [start]
    while pending:
        node = pending.pop()
        if node not in known:
            known[node] = [] if is_root(node) else list(before(node))
            for other, _ in known[node]:
                after.setdefault(other, []).append(node)
                pending.append(other)
    rooted: set[Node] = set()
    pending = [node for node in known if is_root(node)]
    while pending:
        node = pending.pop()
        if node not in rooted:
            rooted.add(node)
            pending.extend(after.get(node, ()))
    return {node: [step for step in known[node] if step[0] in rooted] for node in rooted}


def _circular(above: _Above[Node, Edge]) -> bool:
    order = TopologicalSorter({node: [other for other, _ in above[node]] for node in above})
    try:
        order.prepare()
    except CycleError:
        return True
    return False


def _escapes(start: Node, above: _Above[Node, Edge], taken: set[Node]) -> bool:
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
