"""Who uses how many bytes, and where every byte of the disk is.

    apparent   each image's bytes, added up as if nothing were shared
    stored     the same bytes, once
    unique     stored bytes that no other row needs
    shared     stored - unique

A row is a repository, a tag, a namespace, a media type or a layer. What is
needed and missing is listed beside, and never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.progress import SILENT, Progress
from regfs.reports.contents import (
    Holding,
    Missing,
    Read,
    doubtful,
    holdings,
    is_alias,
    missing,
    weight,
)
from regfs.stores import FileKind, Report, Store, ignore
from regfs.tree.registry import Target


class By(StrEnum):
    """What a row is."""

    REPOSITORY = "repository"
    TAG = "tag"
    LAYER = "layer"
    NAMESPACE = "namespace"
    MEDIA_TYPE = "media-type"


class Sort(StrEnum):
    """What rows are sorted by; sizes with the largest first."""

    STORED = "stored"
    APPARENT = "apparent"
    UNIQUE = "unique"
    SHARED = "shared"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one repository, tag, namespace, media type or layer uses."""

    name: str
    repository: str | None
    tag: str | None
    """Of a row by tag; None there for what is untagged."""
    digest: str | None
    """Of a layer."""
    uses: int
    """Tags of a repository, tag or namespace; of a layer or media type how often it is named."""
    blobs: int
    apparent: int
    stored: int
    unique: int
    shared: int
    missing_blobs: int
    missing_bytes: int
    """As far as manifests tell the sizes of what is missing."""


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


@dataclass(frozen=True, slots=True)
class Sum:
    """All that was asked for, together."""

    tags: int
    untagged: int
    """Repositories of which untagged manifests are counted too."""
    blobs: int
    apparent: int
    stored: int
    unique: int
    """Stored bytes that nothing else needs."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The report."""

    by: By
    rows: tuple[UsageRow, ...]
    omitted: int
    """Rows left out of `rows` by the limit."""
    sum: Sum
    missing: dict[str, int]
    """Digest -> bytes, of everything that is needed and not there."""
    disk: Disk | None
    """None when only some images were asked for."""


class Options(NamedTuple):
    """How rows are made and chosen."""

    by: By = By.REPOSITORY
    sort: Sort = Sort.STORED
    top: int | None = None


class _Key(NamedTuple):
    name: str
    repository: str | None = None
    tag: str | None = None
    digest: str | None = None


@dataclass(slots=True)
class _Tally:
    uses: int = 0
    apparent: int = 0
    blobs: set[Digest] = field(default_factory=set)
    missing: dict[str, int] = field(default_factory=dict)


_Tallies = dict[_Key, _Tally]


def usage(
    graph: Graph,
    read: Read,
    targets: Iterable[Target] = (),
    options: Options | None = None,
    disk: Disk | None = None,
) -> Usage:
    """Count what images use; only of `targets` when there are any."""
    options = options or Options()
    chosen_targets = list(targets)
    everything = list(holdings(graph))
    if chosen_targets:
        chosen = [one for one in everything if any(_is_of(graph, one, t) for t in chosen_targets)]
    else:
        chosen = everything
    tallies = _tally(graph, read, chosen, options.by)
    whole = (
        tallies if len(chosen) == len(everything) else _tally(graph, read, everything, options.by)
    )
    rows = sorted(_rows(graph, tallies, whole), key=_order(options.sort))
    shown = rows if options.top is None else rows[: options.top]
    gone: dict[str, int] = {}
    for manifest in set().union(*[held.manifests for held in chosen]):
        _note_missing(gone, missing(graph, manifest, read))
    return Usage(
        by=options.by,
        rows=tuple(shown),
        omitted=len(rows) - len(shown),
        sum=_sum(graph, chosen, everything),
        missing=dict(sorted(gone.items())),
        disk=disk,
    )


def _is_of(graph: Graph, held: Holding, target: Target) -> bool:
    if target.name is not None and held.repository != target.name:
        return False
    if target.tag is not None:
        return held.tag == target.tag
    if target.digest is None:
        return True
    return target.digest in held.manifests or target.digest in graph.needs(held.manifests)


# -- rows ---------------------------------------------------------------------


def _tally(graph: Graph, read: Read, counted: list[Holding], by: By) -> _Tallies:
    if by in (By.LAYER, By.MEDIA_TYPE):
        return _tally_content(graph, read, counted, by)
    tallies: _Tallies = {}
    blobs = graph.inventory.blobs
    weights: dict[Digest, int] = {}
    for held in counted:
        tally = tallies.setdefault(_holding_key(held, by), _Tally())
        tally.uses += held.tag is not None
        tally.blobs.update(digest for digest in graph.needs(held.manifests) if digest in blobs)
        for manifest in held.manifests:
            if manifest not in weights:
                weights[manifest] = weight(graph, manifest)
            tally.apparent += weights[manifest]
            _note_missing(tally.missing, missing(graph, manifest, read))
    return tallies


def _note_missing(noted: dict[str, int], found: Iterable[Missing]) -> None:
    """Note what is missing; of the sizes that manifests give it, the largest counts."""
    for digest, size in found:
        noted[digest] = max(size, noted.get(digest, 0))


def _holding_key(held: Holding, by: By) -> _Key:
    if by is By.TAG:
        return _Key(str(held), held.repository, held.tag)
    if by is By.REPOSITORY:
        return _Key(held.repository, held.repository)
    namespace, slash, _ = held.repository.partition("/")
    return _Key(namespace + slash)


def _tally_content(graph: Graph, read: Read, counted: list[Holding], by: By) -> _Tallies:
    tallies: _Tallies = {}
    blobs = graph.inventory.blobs
    times = Counter(manifest for held in counted for manifest in held.manifests)
    for manifest, count in times.items():
        layers = by is By.LAYER
        parts = list(_layers(graph, manifest) if layers else _typed(graph, read, manifest))
        for key, digest in parts:
            tally = tallies.setdefault(key, _Tally())
            tally.uses += count
            if digest in blobs:
                tally.blobs.add(digest)
                tally.apparent += blobs[digest].size * count
        lacks = dict(missing(graph, manifest, read))
        for key, digest in parts:
            if digest in lacks:
                _note_missing(tallies[key].missing, [Missing(digest, lacks[digest])])
    return tallies


_Part = tuple[_Key, Digest]


def _layers(graph: Graph, manifest: Digest) -> Iterator[_Part]:
    for leaf in graph.leaves(manifest):
        if leaf.role is not Role.CONFIG and not is_alias(graph, leaf.digest):
            yield _Key(leaf.digest, digest=leaf.digest), leaf.digest


def _typed(graph: Graph, read: Read, manifest: Digest) -> Iterator[_Part]:
    info = graph.manifests.get(manifest)
    if not is_alias(graph, manifest):
        yield _type_key(info.media_type if info else ""), manifest
    types = _types_of(read, manifest) if info else {}
    for leaf in graph.leaves(manifest):
        if not is_alias(graph, leaf.digest):
            yield _type_key(types.get(leaf.digest, "")), leaf.digest


def _type_key(media_type: str) -> _Key:
    return _Key(media_type or "(not known)")


def _types_of(read: Read, manifest: Digest) -> dict[Digest, str]:
    try:
        return {one.digest: one.media_type for one in read(manifest).references()}
    except RegfsError:
        return {}


def _rows(graph: Graph, tallies: _Tallies, whole: _Tallies) -> Iterator[UsageRow]:
    blobs = graph.inventory.blobs
    rows_of: Counter[Digest] = Counter()
    for tally in whole.values():
        rows_of.update(tally.blobs)
    for key, tally in tallies.items():
        stored = sum(blobs[digest].size for digest in tally.blobs)
        unique = sum(blobs[digest].size for digest in tally.blobs if rows_of[digest] == 1)
        yield UsageRow(
            name=key.name,
            repository=key.repository,
            tag=key.tag,
            digest=key.digest,
            uses=tally.uses,
            blobs=len(tally.blobs),
            apparent=tally.apparent,
            stored=stored,
            unique=unique,
            shared=stored - unique,
            missing_blobs=len(tally.missing),
            missing_bytes=sum(tally.missing.values()),
        )


def _order(sort: Sort) -> Callable[[UsageRow], tuple[int, str]]:
    if sort is Sort.NAME:
        return lambda row: (0, row.name)
    return lambda row: (-int(getattr(row, sort.value)), row.name)


def _sum(graph: Graph, chosen: list[Holding], everything: list[Holding]) -> Sum:
    blobs = graph.inventory.blobs
    needed = _needed(graph, chosen)
    others = (
        set() if len(chosen) == len(everything) else _needed(graph, _without(everything, chosen))
    )
    return Sum(
        tags=sum(held.tag is not None for held in chosen),
        untagged=sum(held.tag is None for held in chosen),
        blobs=len(needed),
        apparent=sum(weight(graph, manifest) for held in chosen for manifest in held.manifests),
        stored=sum(blobs[digest].size for digest in needed),
        unique=sum(blobs[digest].size for digest in needed if digest not in others),
    )


def _without(everything: list[Holding], chosen: list[Holding]) -> list[Holding]:
    names = {(held.repository, held.tag) for held in chosen}
    return [held for held in everything if (held.repository, held.tag) not in names]


def _needed(graph: Graph, counted: Iterable[Holding]) -> set[Digest]:
    manifests: set[Digest] = set()
    for held in counted:
        manifests |= held.manifests
    return {digest for digest in graph.needs(manifests) if digest in graph.inventory.blobs}


# -- the disk -----------------------------------------------------------------

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
    needed = _needed(graph, holdings(graph))
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


def _part_of(path: str, kind: FileKind, needed: set[Digest], doubt: set[Digest]) -> str:
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
