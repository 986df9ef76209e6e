"""One blob: what it is, where it is, and what keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from regfs.digest import Digest
from regfs.graph import Node
from regfs.graph.paths import Step
from regfs.reports.paths import PathNode, reasons
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Hyperlink, Look, blob_path
from regfs.tree.registry import Target
from regfs.units import utc_time

PATHS: Final = 20
"""Paths from a repository that are shown."""
STATIONS: Final = 40
"""Stations that are shown of one path: indexes can be nested without end."""
LINKS: Final = 50
"""Repositories that are named."""


@dataclass(frozen=True, slots=True)
class Station:
    """One station on the way from a repository."""

    place: PathNode
    link: Hyperlink | None


@dataclass(frozen=True, slots=True)
class Blob:
    """The view."""

    digest: str
    size: int | None
    """Bytes; None if it is missing."""
    written: datetime | None
    path: str
    is_manifest: bool
    ways: tuple[tuple[Station, ...], ...]
    more: bool
    doubtful: bool
    unneeded: bool
    """Whether nothing leads to it; only shown to those who may see everything."""
    layer_links: tuple[Hyperlink, ...]
    layer_links_omitted: int


def blob(look: Look, digest: Digest) -> Blob:
    """Return the view of a blob."""
    snapshot = look.snapshot
    target = Target(None, None, digest)
    report = reasons(snapshot.graph, target, digest, PATHS, partial(_may_be_shown, look))
    stored = snapshot.inventory.blobs.get(digest)
    links = [name for name in report.layer_links if look.reads(name)]
    return Blob(
        digest=digest,
        size=report.size,
        written=None if stored is None else utc_time(stored.mtime),
        path=blob_path(digest),
        is_manifest=digest in snapshot.graph.manifests,
        ways=tuple(_stations(look, way) for way in report.paths),
        more=report.more,
        doubtful=look.everything and report.doubtful,
        unneeded=look.everything and not report.paths,
        layer_links=tuple(Hyperlink(name, addresses.of_repository(name)) for name in links[:LINKS]),
        layer_links_omitted=max(len(links) - LINKS, 0),
    )


def _may_be_shown(look: Look, way: list[Step]) -> bool:
    """Return whether all of a path may be shown: it can lead through other repositories."""
    first = way[0].node
    if not isinstance(first, Node) or not look.reads(first.repository):
        return False
    return all(look.holds(one.node) for one in way if isinstance(one.node, Digest))


def _stations(look: Look, way: tuple[PathNode, ...]) -> tuple[Station, ...]:
    """Return a path from a repository, each station with its link."""
    name = way[0].name
    found = []
    for place in way[:STATIONS]:
        # A revision and its manifest have the same digest; show it once.
        if place.edge == "content":
            continue
        link: Hyperlink | None = None
        if place.kind == "repository":
            link = Hyperlink(name, addresses.of_repository(name))
        elif place.kind == "tag":
            tag = place.name.removeprefix(f"{name}:")
            link = Hyperlink(place.name, addresses.of_tag(name, tag))
        elif place.kind in ("revision", "manifest"):
            # A referrer may be only in another repository.
            here = look.has(name, Digest(place.name))
            href = addresses.of_manifest(name, place.name) if here else ""
            link = Hyperlink(place.name, href or addresses.of_blob(place.name))
        found.append(Station(place, link))
    return tuple(found)
