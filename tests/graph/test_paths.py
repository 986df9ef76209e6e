"""Tracing: every path to a root, each once, and no time lost where no root is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from regfs.graph.paths import trace

Graph = dict[int, list[int]]
"""Node -> what leads to it."""


def traced(graph: Graph, start: int, roots: set[int]) -> Iterator[list[int]]:
    found = trace(
        start, lambda node: [(n, (n, node)) for n in graph.get(node, [])], roots.__contains__
    )
    for hops in found:
        assert hops[0].edge is None
        for below, hop in pairwise(hops):
            assert hop.edge == (hop.node, below.node)
        yield [hop.node for hop in hops]


def brute(graph: Graph, path: list[int], roots: set[int]) -> Iterator[list[int]]:
    if path[-1] in roots:
        yield path
        return
    for node in graph.get(path[-1], []):
        if node not in path:
            yield from brute(graph, [*path, node], roots)


@given(
    st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=4, unique=True)),
    st.integers(0, 6),
    st.sets(st.integers(0, 6), max_size=3),
)
def test_every_path_is_found_once(graph: Graph, start: int, roots: set[int]) -> None:
    found = sorted(traced(graph, start, roots))
    assert found == sorted(brute(graph, [start], roots))


def test_a_root_is_a_path_by_itself() -> None:
    assert list(traced({1: [2]}, 1, {1})) == [[1]]


def ladder(first: int, length: int) -> Graph:
    """Return a graph with 2^length ways from `first` up to `first + 2 * length`."""
    graph: Graph = {}
    for left in range(first, first + 2 * length, 2):
        # Both of a pair lead on to both of the next.
        graph[left] = graph[left + 1] = [left + 2, left + 3]
    return graph


def test_paths_come_one_by_one() -> None:
    graph = ladder(0, 60)
    graph[120] = graph[121] = [999]
    paths = list(islice(traced(graph, 0, {999}), 5))
    assert len({tuple(path) for path in paths}) == 5
    assert all(len(path) == 62 for path in paths)


def test_what_no_root_leads_to_costs_nothing() -> None:
    graph = ladder(0, 60)
    assert list(traced(graph, 0, {999})) == []
    graph[0] = [*graph[0], 999]
    assert list(traced(graph, 0, {999})) == [[0, 999]]


def test_ways_that_only_lead_back_cost_nothing() -> None:
    graph = ladder(0, 60)
    # The only way out of the ladder is through the start, where the path has been already.
    graph[0] = [*graph[0], 999]
    graph[120] = graph[121] = [0]
    assert list(traced(graph, 0, {999})) == [[0, 999]]


def test_a_search_for_a_way_out_meets_nothing_twice() -> None:
    graph = {0: [1, 9], 1: [4, 2], 2: [4], 4: [0]}
    assert list(traced(graph, 0, {9})) == [[0, 9]]


def test_a_long_chain_is_one_path() -> None:
    graph = {node: [node + 1] for node in range(20_000)}
    (path,) = traced(graph, 0, {20_000})
    assert path == list(range(20_001))
