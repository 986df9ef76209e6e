"""One blob: what it is, where it lies, and what keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from regfs.digest import Digest
from regfs.registry import Target
from regfs.reports.moment import moment
from regfs.reports.reason import Place, reasons
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Link, Look, blob_path

PATHS: Final = 20
"""Paths from a repository that are shown."""
LINKS: Final = 50
"""Repositories that are named."""


@dataclass(frozen=True, slots=True)
class Station:
    """One station on the way from a repository."""

    place: Place
    link: Link | None


@dataclass(frozen=True, slots=True)
class Blob:
    """The view."""

    digest: str
    size: int | None
    """Bytes; None when it is not there."""
    written: datetime | None
    path: str
    is_manifest: bool
    ways: tuple[tuple[Station, ...], ...]
    more: bool
    doubtful: bool
    layer_links: tuple[Link, ...]
    layer_links_omitted: int


def blob(look: Look, digest: Digest) -> Blob:
    """Return all about a blob that may be shown."""
    snapshot = look.snapshot
    report = reasons(snapshot.graph, Target(None, None, digest), digest, PATHS)
    stored = snapshot.inventory.blobs.get(digest)
    ways = [way for way in report.paths if way and look.reads(way[0].name)]
    links = [name for name in report.layer_links if look.reads(name)]
    return Blob(
        digest=digest,
        size=report.size,
        written=None if stored is None else moment(stored.mtime),
        path=blob_path(digest),
        is_manifest=digest in snapshot.graph.manifests,
        ways=tuple(_stations(look, way) for way in ways),
        more=report.more,
        doubtful=report.doubtful,
        layer_links=tuple(Link(name, addresses.of_repository(name)) for name in links[:LINKS]),
        layer_links_omitted=max(len(links) - LINKS, 0),
    )


def _stations(look: Look, way: tuple[Place, ...]) -> tuple[Station, ...]:
    """Return a path from a repository, each station with where it can be seen."""
    name = way[0].name
    held = look.repositories[name].revisions
    found = []
    for place in way:
        # A revision and its content have one digest, and people need it once.
        if place.edge == "content":
            continue
        link: Link | None = None
        if place.kind == "repository":
            link = Link(name, addresses.of_repository(name))
        elif place.kind == "tag":
            tag = place.name.removeprefix(f"{name}:")
            link = Link(place.name, addresses.of_tag(name, tag))
        elif place.kind in ("revision", "manifest"):
            # What is about it can be in another repository alone.
            here = Digest(place.name) in held
            href = addresses.of_manifest(name, place.name) if here else ""
            link = Link(place.name, href or addresses.of_blob(place.name))
        found.append(Station(place, link))
    return tuple(found)
