"""Where every byte of the disk is: each file of the tree in exactly one part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.reports.contents import doubtful, holdings
from regfs.stores import FileKind, Report, Store, ignore
from regfs.tree.digests import DigestSet


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
    other: Part
    """What is not of the layout: temporary and foreign files, and regfs' own folder."""
    folders: Part
    """They take disk blocks and hold no bytes of their own."""
    total: Part
    unlisted: int
    """Paths that could not be listed; what they hold is not counted."""


_LINKS: Final = (
    layout.LayerLink,
    layout.RevisionLink,
    layout.SignatureLink,
    layout.ReferrerLink,
    layout.TagCurrent,
    layout.TagIndex,
)
_PARTS: Final = ("images", "doubtful", "unreferenced", "uploads", "links", "other", "folders")


@dataclass(slots=True)
class _Count:
    files: int = 0
    bytes: int = 0
    allocated: int = 0

    def part(self, blocks: bool) -> Part:
        return Part(self.files, self.bytes, self.allocated if blocks else None)


def disk_of(
    graph: Graph, store: Store, *, progress: Progress = SILENT, report: Report = ignore
) -> Disk:
    """List every file of the tree once more, and tell what each one is for.

    `report` hears of what could not be listed, and so is not counted. A file that has two
    names (a hard link, a symbolic link inside the tree) counts twice.
    """
    needed = DigestSet(graph.inventory.known)
    for held in holdings(graph):
        needed.update(graph.needed_numbers(held.manifests))
    doubt = doubtful(graph)
    unlisted: list[Finding] = []
    counts = {name: _Count() for name in _PARTS}
    blocks = True
    progress.start("Listing every file")
    for entry in store.walk("", unlisted.append):
        progress.advance(1)
        count = counts[_part_of(entry.path, entry.kind, needed, doubt)]
        count.files += entry.kind is not FileKind.FOLDER
        count.bytes += entry.size if entry.kind is FileKind.FILE else 0
        count.allocated += max(entry.allocated, 0)
        blocks = blocks and (entry.allocated >= 0 or entry.kind is FileKind.FOLDER)
    progress.finish()
    for finding in unlisted:
        # Of `lost+found` everybody knows that only root may look into it.
        if finding.code is Code.PATH_UNREADABLE and not layout.is_lost_and_found(finding.path):
            report(finding)
    total = _Count(
        sum(count.files for count in counts.values()),
        sum(count.bytes for count in counts.values()),
        sum(count.allocated for count in counts.values()),
    )
    parts = {name: count.part(blocks) for name, count in counts.items()}
    return Disk(**parts, total=total.part(blocks), unlisted=len(unlisted))


def _part_of(path: str, kind: FileKind, needed: DigestSet, doubt: set[Digest]) -> str:
    if kind is FileKind.FOLDER:
        return "folders"
    if kind is not FileKind.FILE:
        return "other"
    key = layout.key_of(path)
    if isinstance(key, layout.BlobData):
        if key.digest in needed:
            return "images"
        return "doubtful" if key.digest in doubt else "unreferenced"
    if isinstance(key, _LINKS):
        return "links"
    in_upload = path.startswith(layout.REPOSITORIES + "/") and "/_uploads/" in path
    return "uploads" if in_upload else "other"
