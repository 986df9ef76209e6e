"""Short words for what tests ask of a graph."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import networkx as nx

from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.graph import EdgeKind, Graph, Node, NodeKind
from regfs.graph.export import digraph
from regfs.graph.model import ROLE_EDGES
from tests.support.builder import OCI_INDEX, TreeBuilder, digest_of, dumps
from tests.support.registries import scan_and_build


def graph_of(tree: TreeBuilder) -> Graph:
    return scan_and_build(tree)[1]


def found(findings: list[Finding]) -> list[tuple[Code, str]]:
    return [(finding.code, finding.path) for finding in findings]


def of(kind: NodeKind, repository: str, name: str = "") -> Node:
    return Node(kind, repository, name)


def edges(graph: Graph) -> dict[tuple[Any, Any], EdgeKind]:
    found: Any = digraph(graph).edges(data="kind")
    return {(a, b): kind for a, b, kind in found}


def unlinked_index(tree: TreeBuilder, *digests: str, subject: str | None = None) -> str:
    """Write an index of digests, without anything that links it."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    entries = [{"mediaType": OCI_INDEX, "digest": digest, "size": 1} for digest in digests]
    document["manifests"] = entries
    if subject is not None:
        document["subject"] = {"mediaType": OCI_INDEX, "digest": subject, "size": 1}
    data = dumps(document)
    target = tree.blob_path(digest_of(data))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return digest_of(data)


def digraph_with_blobs(
    graph: Graph, repositories: Collection[str] | None = None
) -> nx.DiGraph[Any]:
    """Return a digraph with the blobs as nodes too, of some or all repositories.

    Blob nodes carry `size` in bytes (None when missing).
    """
    manifests = digraph(graph)
    nodes: set[Node | Digest] = set()
    for name in graph.inventory.repositories if repositories is None else repositories:
        start = Node(NodeKind.REPOSITORY, name)
        if start in manifests:
            nodes |= {start} | nx.descendants(manifests, start)
    whole: nx.DiGraph[Any] = manifests.subgraph(nodes).copy()
    for manifest in [node for node in nodes if isinstance(node, Digest)]:
        for leaf in graph.leaves(manifest):
            if leaf.digest not in whole:
                stored = graph.inventory.blobs.get(leaf.digest)
                size = None if stored is None else stored.size
                whole.add_node(leaf.digest, kind=NodeKind.BLOB, size=size)
            if not whole.has_edge(manifest, leaf.digest):
                kind = ROLE_EDGES.get(leaf.role, EdgeKind.BLOB)
                whole.add_edge(manifest, leaf.digest, kind=kind)
    return whole
