"""Each format by its name: what it is written from, and how."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regfs.errors import Invalid
from regfs.findings import Finding
from regfs.graph import Graph
from regfs.reports.contents import holdings, is_meant
from regfs.reports.layer_makers import largest_made
from regfs.reports.network import Network, network_of
from regfs.tree.registry import Registry, Target

if TYPE_CHECKING:
    from regfs.render.pictures.page import Picture

FORMATS: Final = ("dot", "mermaid", "graphml", "gexf", "json", "sqlite", "html")
MADE: Final = 4000
"""Layers whose instruction the page says: the largest."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What is exported."""

    graph: Graph
    registry: Registry
    targets: tuple[Target, ...] = ()
    """What to export; everything if there are none."""
    blobs: bool = True
    """Whether configs and layers are among the nodes."""
    unread: int = 0
    """How many things could not be read."""
    findings: Callable[[], Iterable[Finding]] = tuple
    """Called if the format has findings."""


def export(format: str, what: Exported) -> Iterator[bytes]:
    """Yield a registry in one of FORMATS; what can be refused is refused before the first piece.

    Raises:
        Invalid: there is no such format.
        Refused: the registry is too large for it.
        StoreError: there is no space for a temporary file.
    """
    if format not in FORMATS:
        raise Invalid(f"no format is called {format!r}: {', '.join(FORMATS)}")
    if format == "html":
        from regfs.render.pictures.page import page

        return map(str.encode, page(_picture(what)))
    registry = what.registry
    read, read_bytes = registry.skim, registry.manifest_bytes
    network = network_of(what.graph, read, read_bytes, what.targets, blobs=what.blobs)
    if format == "sqlite":
        from regfs.render.pictures.database import database

        return database(network, what.findings())
    return map(str.encode, _text(format)(network))


def _picture(what: Exported) -> Picture:
    """Return what the page shows: the blobs that the targets need, and their images."""
    from regfs.render.pictures.page import Picture
    from regfs.reports.family import family
    from regfs.reports.treemap import areas
    from regfs.reports.users import users_of

    graph, targets = what.graph, what.targets
    users, rows = users_of(graph), None
    if targets:
        rows = set[int]()
        for held in holdings(graph):
            if any(is_meant(graph, held, target) for target in targets):
                needed = array("I", graph.needed_numbers(held.manifests))
                rows.update(graph.inventory.blobs.rows_of(needed))
    return Picture(
        graph=graph,
        users=users,
        top=areas(graph, users, rows),
        family=family(graph, what.registry.skim, targets),
        made=largest_made(graph, what.registry.skim, what.registry.manifest_bytes, MADE),
        unread=what.unread,
    )


def _text(format: str) -> Callable[[Network], Iterator[str]]:
    """Return what writes a format that is text."""
    if format == "dot":
        from regfs.render.pictures.dot import dot

        return dot
    if format == "mermaid":
        from regfs.render.pictures.mermaid import mermaid

        return mermaid
    if format == "json":
        from regfs.render.pictures.node_link import node_link

        return node_link
    from regfs.render.pictures import xml

    return xml.gexf if format == "gexf" else xml.graphml
