"""A network for Graphviz: `regfs graph --format dot | dot -Tsvg > registry.svg`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from regfs.graph import EdgeKind, NodeKind
from regfs.render.pictures.drawn import drawing, words
from regfs.reports.network import BASE, Network, NetworkNode

NODES: Final = 2000
EDGES: Final = 6000
"""Beyond this, dot takes minutes and nobody can read what it draws."""

_STYLES: Final[dict[str, str]] = {
    NodeKind.REPOSITORY: 'shape=folder, fillcolor="#dbe9f6"',
    NodeKind.TAG: 'shape=cds, fillcolor="#fff3c4"',
    NodeKind.MANIFEST: 'shape=box, fillcolor="#e3f4e1"',
    EdgeKind.LAYER: 'shape=cylinder, fillcolor="#eeeeee"',
    NodeKind.BLOB: 'shape=note, fillcolor="#f7f7f7"',
}
_EDGES: Final[dict[str, str]] = {
    EdgeKind.LAYER: 'color="#999999"',
    EdgeKind.SUBJECT: 'style=dashed, label="about"',
    EdgeKind.HISTORY: 'style=dotted, label="once"',
    EdgeKind.REVISION: 'style=dotted, label="untagged"',
    BASE: 'color="#2166ac", fontcolor="#2166ac", style=bold, label="built on", constraint=false',
}


def dot(network: Network) -> Iterator[str]:
    """Yield a digraph in the language of Graphviz, a repository with its tags as a cluster.

    Raises:
        Refused: it is too large to be drawn.
    """
    drawn = drawing(network, format="dot", nodes=NODES, edges=EDGES)
    numbers = {node.id: f"n{number}" for number, node in enumerate(drawn.nodes)}
    yield (
        'digraph registry {\n  rankdir=LR;\n  node [style=filled, fontname="sans-serif", '
        'fontsize=10];\n  edge [fontname="sans-serif", fontsize=8];\n'
    )
    open_cluster = False
    for node in drawn.nodes:
        if node.kind == NodeKind.REPOSITORY:
            yield "  }\n" if open_cluster else ""
            yield f'  subgraph cluster_{numbers[node.id]} {{\n    color=grey; label="";\n'
            open_cluster = True
        elif node.kind != NodeKind.TAG and open_cluster:
            yield "  }\n"
            open_cluster = False
        yield f"  {'  ' if open_cluster else ''}{numbers[node.id]} [{_attributes(node)}];\n"
    yield "  }\n" if open_cluster else ""
    for edge in drawn.edges:
        style = f" [{_EDGES[edge.kind]}]" if edge.kind in _EDGES else ""
        yield f"  {numbers[edge.source]} -> {numbers[edge.target]}{style};\n"
    yield "}\n"


def _attributes(node: NetworkNode) -> str:
    damaged = node.problem is not None or (node.digest is not None and node.size is None)
    style = _STYLES.get(node.kind, _STYLES[NodeKind.BLOB])
    lines = "\\n".join(map(_escaped, words(node)))
    return f'label="{lines}", {style}{", color=red, penwidth=2" if damaged else ""}'


def _escaped(text: str) -> str:
    """Return a text for a quoted string, in which Graphviz reads backslashes and entities."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
