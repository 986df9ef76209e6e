"""Manifests that no repository has any more: what `rm -rf repositories/app` leaves of its images.

    orphans(graph, registry)  ->  Orphan(sha256:4f0c.., index, whole, 12 MB), ...

A blob is read only if nothing links it or needs it, it is no larger than a manifest may be, and
it begins as JSON does. A manifest that an orphaned index lists is part of that, and not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import LIMIT, Role, UnknownManifest
from regfs.reports.image_parts import image_parts
from regfs.tree.digests import DigestSet
from regfs.tree.registry import Registry
from regfs.units import utc_time

if TYPE_CHECKING:
    from regfs.manifests import Manifest

_START: Final = 64
"""Bytes of a blob that show whether it can be JSON."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A manifest that no repository has."""

    digest: str
    kind: str
    media_type: str
    platforms: tuple[str, ...]
    size: int
    """Bytes of the manifest and of all it names, by descriptors."""
    changed: datetime
    """When its blob was written."""
    state: str
    """`whole`; `partial`: an index, some of whose manifests are gone; `incomplete`."""
    problem: str | None
    """What is missing first."""


@dataclass(frozen=True, slots=True)
class Orphans:
    """Orphaned manifests, the newest first."""

    orphans: tuple[Orphan, ...]


def orphans(graph: Graph, registry: Registry) -> Orphans:
    """Return the manifests that no repository links, tags or lists."""
    found = dict(_manifests(graph, registry))
    listed = {
        one.digest
        for manifest in found.values()
        for one in manifest.references()
        if one.role is Role.MANIFEST
    }
    rows = [_orphan(registry, digest, found[digest]) for digest in found if digest not in listed]
    return Orphans(tuple(sorted(rows, key=lambda one: (one.changed, one.digest), reverse=True)))


def _manifests(graph: Graph, registry: Registry) -> Iterator[tuple[Digest, Manifest]]:
    for digest in _unreferenced(graph):
        try:
            start = registry.store.read(registry.blob(digest).path, _START)
            manifest = registry.manifest(digest) if start.lstrip()[:1] == b"{" else None
        except RegfsError:  # not there any more, or not what its digest says
            continue
        if manifest is not None and not isinstance(manifest, UnknownManifest):
            yield digest, manifest


def _unreferenced(graph: Graph) -> Iterator[Digest]:
    """Yield blobs of the size of a manifest that no repository links or needs."""
    inventory = graph.inventory
    used = DigestSet(inventory.known)
    for repository in inventory.repositories.values():
        used.update(graph.needed_numbers(graph.live(repository)))
        used.update(repository.revisions.numbers)
        used.update(repository.layers.numbers)
    for digest, size, *_ in inventory.blobs.files(used.lacking(inventory.blobs.numbers)):
        if size <= LIMIT:
            yield digest


def _orphan(registry: Registry, digest: Digest, manifest: Manifest) -> Orphan:
    parts = image_parts(registry, None, digest)
    platforms = dict.fromkeys(one.platform for one in manifest.references() if one.platform)
    return Orphan(
        digest,
        manifest.kind.value,
        manifest.media_type,
        tuple(platforms),
        sum(parts.sizes.values()),
        utc_time(registry.blob(digest).mtime),
        parts.state,
        parts.problem,
    )
