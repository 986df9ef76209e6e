"""A network for Mermaid, which GitHub and GitLab draw in Markdown: a block ```mermaid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from regfs.errors import Refused
from regfs.graph import EdgeKind, NodeKind
from regfs.render.pictures.drawn import drawing, words
from regfs.reports.network import BASE, Network, NetworkNode

NODES: Final = 500
EDGES: Final = 500
"""What Mermaid draws unless whoever shows it has set `maxEdges`."""
TEXT: Final = 50_000
"""Characters that it takes unless `maxTextSize` is set."""

_SHAPES: Final[dict[str, tuple[str, str]]] = {
    NodeKind.REPOSITORY: ('[["', '"]]'),
    NodeKind.TAG: ('(["', '"])'),
    NodeKind.MANIFEST: ('["', '"]'),
    EdgeKind.LAYER: ('[("', '")]'),
    NodeKind.BLOB: ('("', '")'),
}
_ARROWS: Final[dict[str, str]] = {
    EdgeKind.SUBJECT: "-. about .->",
    EdgeKind.HISTORY: "-. once .->",
    EdgeKind.REVISION: "-. untagged .->",
    BASE: "== built on ==>",
}
_PLAIN = re.compile(r"[^A-Za-z0-9 ._/:-]")


def mermaid(network: Network) -> Iterator[str]:
    """Yield a flowchart.

    Raises:
        Refused: it is larger than what Mermaid draws.
    """
    drawn = drawing(network, format="mermaid", nodes=NODES, edges=EDGES)
    numbers = {node.id: f"n{number}" for number, node in enumerate(drawn.nodes)}
    lines = ["flowchart LR"]
    lines += (f"  {numbers[node.id]}{_box(node)}" for node in drawn.nodes)
    lines += (
        f"  {numbers[one.source]} {_ARROWS.get(one.kind, '-->')} {numbers[one.target]}"
        for one in drawn.edges
    )
    text = "\n".join(lines) + "\n"
    if len(text) > TEXT:
        raise Refused(
            f"too large for mermaid: {len(text):,} characters, of at most {TEXT:,}; "
            "REF... draws a part, --format dot or html takes more"
        )
    yield text


def _box(node: NetworkNode) -> str:
    begin, end = _SHAPES.get(node.kind, _SHAPES[NodeKind.BLOB])
    return begin + "<br>".join(map(_escaped, words(node))) + end


def _escaped(text: str) -> str:
    """Return a text in which only plain characters are written as they are."""
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", text)
