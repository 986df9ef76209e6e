"""The graph for networkx: every repository, tag, revision and manifest as a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import networkx as nx

from regfs.digest import Digest
from regfs.graph.model import EdgeKind, Graph, Node, NodeKind


def digraph(graph: Graph) -> nx.DiGraph[Any]:
    """Return all that points. Nodes are `Node` and `Digest`; `kind` tells of which kind."""
    made = _LeanDigraph()
    for repository in graph.inventory.repositories.values():
        name = repository.name
        home = Node(NodeKind.REPOSITORY, name)
        made.add_node(home, NodeKind.REPOSITORY)
        for digest in repository.revisions:
            node = Node(NodeKind.REVISION, name, digest)
            made.add_node(node, NodeKind.REVISION)
            made.add_edge(home, node, EdgeKind.REVISION)
        for tag in repository.tags:
            node = Node(NodeKind.TAG, name, tag)
            made.add_node(node, NodeKind.TAG)
            made.add_edge(home, node, EdgeKind.TAG)
        for node, kind, target in graph.links(repository):
            made.add_node(target, NodeKind.MANIFEST)
            made.add_edge(node, target, kind)
    for manifest, targets in graph.successors.items():
        made.add_node(manifest, NodeKind.MANIFEST)
        for target, kind in targets.items():
            made.add_node(target, NodeKind.MANIFEST)
            made.add_edge(manifest, target, kind)
    return made.digraph


class _LeanDigraph:
    """A digraph of which all nodes of a kind share their attributes, and all edges likewise."""

    def __init__(self) -> None:
        self.digraph: nx.DiGraph[Any] = nx.DiGraph()

    def add_node(self, node: Node | Digest, kind: NodeKind) -> None:
        """Add a node, unless it is there."""
        if node not in self.digraph:
            # One attribute dict for all nodes of a kind: one each would take 100 MB in 10^6.
            # Set on this one graph, not on a class of ours: its copies must not share.
            vars(self.digraph)["node_attr_dict_factory"] = _NODE_DICTS[kind]
            self.digraph.add_node(node)

    def add_edge(self, node: Node | Digest, target: Node | Digest, kind: EdgeKind) -> None:
        """Add an edge between nodes that are there, unless there is one already."""
        if not self.digraph.has_edge(node, target):
            vars(self.digraph)["edge_attr_dict_factory"] = _EDGE_DICTS[kind]
            self.digraph.add_edge(node, target)


def _always(shared: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: shared


_NODE_DICTS: Final = {kind: _always({"kind": kind}) for kind in NodeKind}
_EDGE_DICTS: Final = {kind: _always({"kind": kind}) for kind in EdgeKind}
