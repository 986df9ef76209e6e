"""What is drawn of a network: everything a person wants to see, and nothing more.

Left out are configs, and the link from a repository to a manifest that one of its tags or
indexes leads to anyway. Both formats for people draw the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regfs.errors import Refused, printable
from regfs.graph import EdgeKind, NodeKind
from regfs.render.tables import short
from regfs.reports.network import Network, NetworkEdge, NetworkNode
from regfs.units import human_size

LONGEST: Final = 60
"""Characters of a label; a longer one is cut in the middle."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Nodes and edges in the order in which they are drawn."""

    nodes: list[NetworkNode]
    edges: list[NetworkEdge]


def drawing(network: Network, *, format: str, nodes: int, edges: int) -> Drawing:
    """Return what is drawn.

    Raises:
        Refused: it has more nodes or edges than programs of that format draw, or people read.
    """
    shown = [one for one in network.nodes() if one.kind != EdgeKind.CONFIG]
    known = {one.id for one in shown}
    every = [one for one in network.edges() if one.source in known and one.target in known]
    led_to = {one.target for one in every if one.kind != EdgeKind.REVISION}
    kept = [one for one in every if one.kind != EdgeKind.REVISION or one.target not in led_to]
    if len(shown) > nodes or len(kept) > edges:
        fewer = "REF... draws a part, " if network.whole else ""
        smaller = "--no-blobs leaves blobs out, " if network.has_blobs else ""
        raise Refused(
            f"too large for {format}: {len(shown):,} nodes and {len(kept):,} edges, of at most "
            f"{nodes:,} and {edges:,}; {fewer}{smaller}--format html shows any registry"
        )
    return Drawing(shown, kept)


def words(node: NetworkNode) -> list[str]:
    """Return the lines of a label, printable and not too long."""
    if node.kind == NodeKind.REPOSITORY:
        return [_cut(node.label)]
    if node.kind == NodeKind.TAG:
        return [_cut(node.tag or "")]
    if node.kind == NodeKind.MANIFEST:
        kind = (
            (node.artifact_type or "")
            .removeprefix("application/vnd.")
            .removesuffix(".manifest.v1+json")
        )
        lines = [_cut(node.platform or kind or node.form or ""), short(node.digest or "")]
        return [*lines, node.problem] if node.problem else lines
    size = "missing" if node.size is None else human_size(node.size)
    kind = node.kind if node.users else "unreferenced"
    return [f"{kind} {size}", short(node.digest or "")]


def _cut(text: str) -> str:
    shown = printable(text)
    half = LONGEST // 2 - 1
    return shown if len(shown) <= LONGEST else f"{shown[:half]}...{shown[-half:]}"
