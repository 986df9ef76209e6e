"""One blob: what it is, where it is, and what keeps it, repository by repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Final

from regfs.digest import Digest
from regfs.graph import Node
from regfs.render.tables import short
from regfs.reports.contents import doubtful
from regfs.reports.paths import NeededBy, needs
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Few, Hyperlink, Look, blob_path
from regfs.units import utc_time

NAMED: Final = 6
"""Tags of one repository that are named."""
LINKS: Final = 50
"""Repositories with a mere link that are named."""


@dataclass(frozen=True, slots=True)
class NeedRow:
    """One repository that needs it."""

    repository: Hyperlink
    roles: str
    """What it is there: `layer`, `config`, `manifest` and so on."""
    tags: Few[Hyperlink]
    untagged: Few[Hyperlink]
    """Manifests that no tag reaches."""


@dataclass(frozen=True, slots=True)
class Blob:
    """The view."""

    digest: str
    size: int | None
    """Bytes; None if it is missing."""
    written: datetime | None
    path: str
    is_manifest: bool
    needs: Few[NeedRow]
    tags: int
    """Number of tags that need it, of those that may be shown."""
    doubtful: bool
    unneeded: bool
    """Whether nothing leads to it; only shown to those who may see everything."""
    layer_links: Few[Hyperlink]
    """Repositories that link it as a layer, and that do not need it."""


def blob(look: Look, digest: Digest) -> Blob:
    """Return the view of a blob."""
    return look.once(("blob", digest), lambda: _blob(look, digest))


def _blob(look: Look, digest: Digest) -> Blob:
    snapshot = look.snapshot
    found = needs(snapshot.graph, digest, partial(_may_be_shown, look))
    stored = snapshot.inventory.blobs.get(digest)
    needing = {one.repository for one in found}
    links = [
        Hyperlink(name, addresses.of_repository(name))
        for name, repository in look.repositories.items()
        if name not in needing and digest in repository.layers
    ]
    return Blob(
        digest=digest,
        size=None if stored is None else stored.size,
        written=None if stored is None else utc_time(stored.mtime),
        path=blob_path(digest),
        is_manifest=digest in snapshot.graph.manifests,
        needs=Few.of(list(_rows(look, found))),
        tags=sum(one.tag is not None for one in found),
        doubtful=look.everything and not found and digest in doubtful(snapshot.graph),
        unneeded=look.everything and not found,
        layer_links=Few.of(links, LINKS),
    )


def _may_be_shown(look: Look, node: Node | Digest) -> bool:
    """Return whether a node may be shown: paths can lead through other repositories."""
    return look.reads(node.repository) if isinstance(node, Node) else look.holds(node)


def _rows(look: Look, found: Iterable[NeededBy]) -> Iterator[NeedRow]:
    order = sorted(found, key=lambda one: one.repository)
    for name, group in groupby(order, key=lambda one: one.repository):
        rows = list(group)
        tags = [
            Hyperlink(one.tag, addresses.of_tag(name, one.tag))
            for one in rows
            if one.tag is not None
        ]
        untagged = [
            Hyperlink(short(one.name.rpartition("@")[2]), _manifest(look, one))
            for one in rows
            if one.tag is None
        ]
        yield NeedRow(
            repository=Hyperlink(name, addresses.of_repository(name)),
            roles=", ".join(sorted({_role(one.role) for one in rows if one.role})),
            tags=Few.of(tags, NAMED),
            untagged=Few.of(untagged, NAMED),
        )


_ROLES: Final = {"current": "manifest", "revision": "manifest", "content": "manifest"}
"""Edges that say how a manifest is found, not what it is."""


def _role(edge: str) -> str:
    return _ROLES.get(edge, edge)


def _manifest(look: Look, one: NeededBy) -> str:
    digest = Digest(one.name.rpartition("@")[2])
    return addresses.of_manifest(one.repository, digest) if look.has(one.repository, digest) else ""
