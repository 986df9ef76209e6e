"""A registry at a glance: how much there is, who manages it, its age and its health."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.findings import Severity
from regfs.graph import Graph
from regfs.reports.contents import Read, doubtful, holdings, missing, weight
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import DigestTable, Inventory, RepositoryInventory
from regfs.units import utc_time


class Owner(StrEnum):
    """The program that manages the tree."""

    PLAIN = "plain"
    PROXY_CACHE = "proxy-cache"
    GITLAB = "gitlab"
    TAGLESS = "tagless"
    LAYOUT = "oci-layout"

    @property
    def meaning(self) -> str:
        """What that means, in words."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Owner.PLAIN: "a plain registry",
    Owner.PROXY_CACHE: "a pull-through cache: it expires its content by itself",
    Owner.GITLAB: "GitLab's registry: a database knows what is in use, not this tree",
    Owner.TAGLESS: "manifests but no tags: tags live in a database (Harbor), "
    "or everything was pushed by digest",
    Owner.LAYOUT: "an OCI layout: images in a folder or an archive, and no registry",
}


@dataclass(frozen=True, slots=True)
class UploadTotals:
    """Unfinished uploads."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Blobs:
    """Some blobs."""

    count: int
    bytes: int
    allocated: int = 0
    """Bytes of disk blocks, as far as they are known."""

    def minus(self, other: Blobs) -> Blobs:
        """Return the difference to `other`."""
        count, size = self.count - other.count, self.bytes - other.bytes
        return Blobs(count, size, self.allocated - other.allocated)


@dataclass(frozen=True, slots=True)
class Summary:
    """The report."""

    root: str
    owner: Owner
    lockfiles: tuple[str, ...]
    repositories: int
    tags: int
    revisions: int
    """Revision links: manifests, counted in each repository."""
    untagged: int
    """Revisions that no tag of their repository reaches, directly or through an index."""
    layer_links: int
    manifests: dict[str, int]
    """Media type -> number of different manifests."""
    unreadable_manifests: int
    blobs: Blobs
    needed: Blobs
    doubtful: Blobs
    """Blobs that no readable image needs, but an unreadable one may: gc keeps them."""
    unreferenced: Blobs
    missing: Blobs
    """Needed but not there; bytes as far as manifests say."""
    apparent: int
    """Bytes that all images would take without sharing."""
    saved: int
    """Bytes that sharing saves: apparent - needed."""
    uploads: UploadTotals
    oldest: datetime | None
    """When the oldest blob was written."""
    newest: datetime | None
    findings: dict[str, int]
    """Severity -> number of findings that listing and reading manifests have shown."""


def summary(graph: Graph, read: Read) -> Summary:
    """Add everything up."""
    inventory = graph.inventory
    repositories, blobs, used = inventory.repositories.values(), inventory.blobs, _used(graph)
    in_use = DigestSet(inventory.known)
    in_use.update(graph.needed_numbers(used.manifests))
    doubt = (digest for digest in doubtful(graph) if digest not in in_use)
    gone = {one.digest: one.size for held in used.manifests for one in missing(graph, held, read)}
    stored, needed, unsure = (
        _sum_rows(blobs, range(len(blobs))),
        _sum(blobs, in_use.numbers()),
        _sum(blobs, map(inventory.known.add, doubt)),
    )
    known = [info for digest, info in graph.manifests.items() if digest not in graph.problems]
    found = Counter(finding.severity.value for finding in [*inventory.findings, *graph.findings])
    return Summary(
        root=inventory.url,
        owner=_owner(inventory),
        lockfiles=tuple(inventory.lockfiles),
        repositories=len(inventory.repositories),
        tags=sum(len(one.tags) for one in repositories),
        revisions=sum(len(one.revisions) for one in repositories),
        untagged=sum(
            digest not in used.tagged[one.name] for one in repositories for digest in one.revisions
        ),
        layer_links=sum(len(one.layers) for one in repositories),
        manifests=dict(Counter(info.media_type for info in known).most_common()),
        unreadable_manifests=len(graph.problems),
        blobs=stored,
        needed=needed,
        doubtful=unsure,
        unreferenced=stored.minus(needed).minus(unsure),
        missing=Blobs(len(gone), sum(gone.values())),
        apparent=used.apparent,
        saved=used.apparent - needed.bytes,
        uploads=_uploads(repositories),
        oldest=utc_time(min(blobs.mtimes)) if blobs else None,
        newest=utc_time(max(blobs.mtimes)) if blobs else None,
        findings={severity.value: found[severity.value] for severity in Severity},
    )


class _Used(NamedTuple):
    manifests: set[Digest]
    """What tags reach, and what is untagged."""
    tagged: dict[str, set[Digest]]
    """Repository -> the manifests that its tags reach."""
    apparent: int
    """Bytes, as often as each image has them."""


def _used(graph: Graph) -> _Used:
    repositories = graph.inventory.repositories
    manifests: set[Digest] = set()
    tagged: dict[str, set[Digest]] = {name: set() for name in repositories}
    apparent = 0
    for held in holdings(graph):
        manifests |= held.manifests
        apparent += sum(weight(graph, manifest) for manifest in held.manifests)
        if held.tag is not None:
            top = repositories[held.repository].tags[held.tag].current
            tagged[held.repository] |= graph.reachable([top] if top else [])
    return _Used(manifests, tagged, apparent)


def _sum(blobs: DigestTable, numbers: Iterable[int]) -> Blobs:
    """Return what those blobs take that are there; they are given by the numbers of digests."""
    return _sum_rows(blobs, blobs.rows_of(array("I", numbers)))


def _sum_rows(blobs: DigestTable, rows: Sequence[int]) -> Blobs:
    size = sum(map(blobs.sizes.__getitem__, rows))
    # -1 stands for blocks that are not known.
    return Blobs(len(rows), size, max(sum(map(blobs.allocated.__getitem__, rows)), 0))


def _uploads(repositories: Iterable[RepositoryInventory]) -> UploadTotals:
    sizes = [upload.size for one in repositories for upload in one.uploads.values()]
    return UploadTotals(len(sizes), sum(sizes))


def _owner(inventory: Inventory) -> Owner:
    if inventory.oci_layout:
        return Owner.LAYOUT
    if inventory.lockfiles:
        return Owner.GITLAB
    if inventory.proxy_cache:
        return Owner.PROXY_CACHE
    repositories = inventory.repositories.values()
    tagless = not any(one.tags for one in repositories)
    if tagless and any(one.revisions for one in repositories) and inventory.complete:
        return Owner.TAGLESS
    return Owner.PLAIN
