"""Where every byte of the disk is: each file of the tree in exactly one part."""

from __future__ import annotations

from dataclasses import dataclass

from regfs import layout
from regfs.findings import Code
from regfs.graph import Graph
from regfs.reports.contents import doubtful
from regfs.stores import Report, ignore
from regfs.tree.digests import DigestSet
from regfs.tree.measure import Amount, Measured


@dataclass(frozen=True, slots=True)
class Part:
    """One of the parts that add up to the disk."""

    files: int
    bytes: int
    allocated: int | None
    """Bytes of disk blocks; None where the store has no such thing."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Every file of the tree, in exactly one part; the parts add up to `total`."""

    images: Part
    """Blobs that are needed, once."""
    doubtful: Part
    """Blobs that an unreadable image may need: damage keeps them."""
    unreferenced: Part
    """Blobs that nothing needs."""
    uploads: Part
    links: Part
    """Links of layers, revisions and tags, with their histories."""
    quarantine: Part
    """What runs have moved away, and a purge frees."""
    own: Part
    """What regfs keeps for itself: journals, the ledger, locks."""
    other: Part
    """What is not of the layout: temporary and foreign files."""
    folders: Part
    """Folders take disk blocks, and have no bytes of their own."""
    total: Part
    unlisted: int
    """Paths that could not be listed; what they hold is not counted."""


def disk_of(graph: Graph, measured: Measured, *, report: Report = ignore) -> Disk:
    """Return what the files of a tree take, each in one part.

    `report` gets a finding for what could not be listed and is not counted. A file that has two
    names (a hard link, a symbolic link inside the tree) counts twice.
    """
    for finding in measured.unseen:
        # Only root may list `lost+found`: that is normal.
        if finding.code is Code.PATH_UNREADABLE and not layout.is_lost_and_found(finding.path):
            report(finding)
    parts = {**_blobs(graph, measured), **measured.parts}
    # A blob that came after the tree was listed is needed by nothing in the listing.
    new = parts.pop("blobs")
    parts["unreferenced"].add(new.files, new.bytes, new.allocated)
    total = Amount()
    for part in parts.values():
        total.add(part.files, part.bytes, part.allocated)

    def made(amount: Amount) -> Part:
        allocated = amount.allocated if measured.has_blocks else None
        return Part(amount.files, amount.bytes, allocated)

    return Disk(
        **{name: made(part) for name, part in parts.items()},
        total=made(total),
        unlisted=len(measured.unseen),
    )


def _blobs(graph: Graph, measured: Measured) -> dict[str, Amount]:
    """Return what the blobs take that images need, or may need, and all others."""
    blobs = graph.inventory.blobs
    images, doubt, others = Amount(), Amount(), Amount()
    needed, doubted = DigestSet(graph.inventory.known), DigestSet(graph.inventory.known)
    for repository in graph.inventory.repositories.values():
        needed.update(graph.needed_numbers(graph.live(repository)))
    doubted.update(map(graph.inventory.known.add, doubtful(graph)))
    rows = zip(blobs.numbers, blobs.sizes, blobs.allocated, strict=True)
    for row, (number, size, allocated) in enumerate(rows):
        if measured.walked is not None and not measured.walked[row]:
            continue
        if needed.has(number):
            images.add(1, size, max(allocated, 0))
        elif doubted.has(number):
            doubt.add(1, size, max(allocated, 0))
        else:
            others.add(1, size, max(allocated, 0))
    return {"images": images, "doubtful": doubt, "unreferenced": others}
