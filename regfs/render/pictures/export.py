"""Each format by its name: what it is written from, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from regfs.errors import Invalid
from regfs.findings import Finding
from regfs.graph import Graph
from regfs.reports.network import Network, network_of
from regfs.tree.registry import Registry, Target

FORMATS: Final = ("dot", "mermaid", "graphml", "gexf", "json", "sqlite")


@dataclass(frozen=True, slots=True)
class Exported:
    """What is exported."""

    graph: Graph
    registry: Registry
    targets: tuple[Target, ...] = ()
    """What to export; everything if there are none."""
    blobs: bool = True
    """Whether configs and layers are among the nodes."""
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
    registry = what.registry
    read, read_bytes = registry.skim, registry.manifest_bytes
    network = network_of(what.graph, read, read_bytes, what.targets, blobs=what.blobs)
    if format == "sqlite":
        from regfs.render.pictures.database import database

        return database(network, what.findings())
    return map(str.encode, _text(format)(network))


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
