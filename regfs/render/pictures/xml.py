"""A network as GraphML and GEXF, for networkx, Gephi, yEd and Cytoscape.

networkx writes both as well, but holds the network and the whole document in memory: 1.1 GB of
100,000 blobs, where a row at a time takes next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from regfs.errors import printable
from regfs.render.pictures import unambiguous
from regfs.reports.network import Network, NetworkNode
from regfs.units import rfc3339

_HEAD: Final = "<?xml version='1.0' encoding='utf-8'?>\n"
_NUMBERS: Final = frozenset({"size", "users"})
"""Attributes that are numbers; all others are text."""
_NAMES: Final = tuple(field.name for field in fields(NetworkNode))[1:]
_ATTRIBUTES: Final = {name: "long" if name in _NUMBERS else "string" for name in _NAMES}


def graphml(network: Network) -> Iterator[str]:
    """Yield the network as GraphML."""
    yield f'{_HEAD}<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    for name, kind in _ATTRIBUTES.items():
        yield f'<key id="{name}" for="node" attr.name="{name}" attr.type="{kind}"/>\n'
    yield '<key id="why" for="edge" attr.name="kind" attr.type="string"/>\n'
    yield '<graph edgedefault="directed">\n'
    for node in network.nodes():
        data = (f'<data key="{name}">{escape(text)}</data>' for name, text in _values(node))
        yield f"<node id={_quoted(node.id)}>{''.join(data)}</node>\n"
    for edge in network.edges():
        ends = f"source={_quoted(edge.source)} target={_quoted(edge.target)}"
        yield f'<edge {ends}><data key="why">{edge.kind}</data></edge>\n'
    yield "</graph>\n</graphml>\n"


def gexf(network: Network) -> Iterator[str]:
    """Yield the network as GEXF 1.2, in the order of elements that its schema wants."""
    yield f'{_HEAD}<gexf xmlns="http://www.gexf.net/1.2draft" version="1.2">\n'
    yield '<graph defaultedgetype="directed" mode="static">\n<attributes class="node">\n'
    for name, kind in _ATTRIBUTES.items():
        if name != "label":
            yield f'<attribute id="{name}" title="{name}" type="{kind}"/>\n'
    yield '</attributes>\n<attributes class="edge">\n'
    yield '<attribute id="why" title="kind" type="string"/>\n</attributes>\n<nodes>\n'
    for node in network.nodes():
        values = "".join(
            f'<attvalue for="{name}" value={quoteattr(text)}/>'
            for name, text in _values(node)
            if name != "label"
        )
        label = _quoted(node.label)
        yield f"<node id={_quoted(node.id)} label={label}><attvalues>{values}</attvalues></node>\n"
    yield "</nodes>\n<edges>\n"
    for number, edge in enumerate(network.edges()):
        ends = f"source={_quoted(edge.source)} target={_quoted(edge.target)}"
        why = f'<attvalues><attvalue for="why" value="{edge.kind}"/></attvalues>'
        yield f'<edge id="{number}" {ends}>{why}</edge>\n'
    yield "</edges>\n</graph>\n</gexf>\n"


def _values(node: NetworkNode) -> Iterator[tuple[str, str]]:
    """Yield what is known of a node, as text."""
    for name in _NAMES:
        value = getattr(node, name)
        if isinstance(value, datetime):
            yield name, rfc3339(value)
        elif value is not None:
            yield name, printable(value)


def _quoted(text: str) -> str:
    return quoteattr(unambiguous(text))
