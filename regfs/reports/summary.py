"""A registry at a glance: how much there is, whose it is, how old, and whether it is well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from regfs.digest import Digest
from regfs.findings import Severity
from regfs.graph import Graph
from regfs.reports.contents import Read, doubtful, holdings, missing, weight
from regfs.reports.moment import moment
from regfs.tree.inventory import Inventory


class Owner(StrEnum):
    """Who else knows what is in use."""

    PLAIN = "plain"
    """Nobody: the tree says it all."""
    PROXY_CACHE = "proxy-cache"
    """A pull-through cache, which expires content by itself."""
    GITLAB = "gitlab"
    """GitLab's registry with its database."""
    TAGLESS = "tagless"
    """Manifests and not one tag: Harbor keeps tags in a database, others push by digest."""


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
    """What nothing readable needs, and an unreadable image may: damage keeps it."""
    unreferenced: Blobs
    missing: Blobs
    """Needed, and not there; bytes as far as manifests tell."""
    apparent: int
    """Bytes that all images would take without sharing."""
    saved: int
    """Bytes that sharing saves: apparent - needed."""
    uploads: UploadTotals
    oldest: datetime | None
    """When the oldest blob was written."""
    newest: datetime | None
    findings: dict[str, int]
    """Severity -> how many, as far as listing and reading manifests shows."""


def summary(graph: Graph, read: Read) -> Summary:
    """Add everything up."""
    inventory = graph.inventory
    repositories = inventory.repositories.values()
    blobs, apparent = inventory.blobs, 0
    needed: set[Digest] = set()
    tagged: dict[str, set[Digest]] = {name: set() for name in inventory.repositories}
    for held in holdings(graph):
        needed |= held.manifests
        apparent += sum(weight(graph, manifest) for manifest in held.manifests)
        if held.tag is not None:
            tops = inventory.repositories[held.repository].tags[held.tag].current
            tagged[held.repository] |= graph.reachable([tops] if tops else [])
    present = {digest for digest in graph.needs(needed) if digest in blobs}
    doubt = doubtful(graph) - present
    doubt_bytes = sum(blobs[digest].size for digest in doubt)
    gone = {one.digest: one.size for manifest in needed for one in missing(graph, manifest, read)}
    needed_bytes = sum(blobs[digest].size for digest in present)
    stored = sum(blobs.sizes)
    uploads = [upload for one in repositories for upload in one.uploads.values()]
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
            digest not in tagged[one.name] for one in repositories for digest in one.revisions
        ),
        layer_links=sum(len(one.layers) for one in repositories),
        manifests=dict(Counter(info.media_type for info in known).most_common()),
        unreadable_manifests=len(graph.problems),
        blobs=Blobs(len(blobs), stored),
        needed=Blobs(len(present), needed_bytes),
        doubtful=Blobs(len(doubt), doubt_bytes),
        unreferenced=Blobs(
            len(blobs) - len(present) - len(doubt), stored - needed_bytes - doubt_bytes
        ),
        missing=Blobs(len(gone), sum(gone.values())),
        apparent=apparent,
        saved=apparent - needed_bytes,
        uploads=UploadTotals(len(uploads), sum(upload.size for upload in uploads)),
        oldest=moment(min(blobs.mtimes)) if blobs else None,
        newest=moment(max(blobs.mtimes)) if blobs else None,
        findings={severity.value: found[severity.value] for severity in Severity},
    )


def _owner(inventory: Inventory) -> Owner:
    if inventory.lockfiles:
        return Owner.GITLAB
    if inventory.proxy_cache:
        return Owner.PROXY_CACHE
    repositories = inventory.repositories.values()
    tagless = not any(one.tags for one in repositories)
    if tagless and any(one.revisions for one in repositories) and inventory.complete:
        return Owner.TAGLESS
    return Owner.PLAIN
