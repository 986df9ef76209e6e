"""The files of an image or a layer as rows of a report.

file_list(image, "etc") -> FileList(entries=(ListedFile, ...))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from regfs.content.entries import EntryKind, TarEntry
from regfs.errors import ReferenceInvalid, quoted
from regfs.files.changes import Placed
from regfs.files.image import ImageFiles
from regfs.files.listing import KIND_NUMBERS
from regfs.findings import Finding
from regfs.units import utc_time


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file, folder, link or device."""

    path: str
    kind: EntryKind
    mode: int
    """Permission bits, with setuid, setgid and sticky."""
    uid: int
    gid: int
    owner: str
    group: str
    size: int
    """Bytes of the file as it unpacks."""
    time: datetime | None
    """When it was modified; None if that is beyond what a calendar has."""
    target: str | None
    """Where a link points to."""
    device: tuple[int, int] | None
    """Major and minor number."""
    xattrs: dict[str, str]
    """Extended attributes, in hexadecimal digits."""
    layer: int
    """The layer that it comes from; 1 is the base."""


@dataclass(frozen=True, slots=True)
class FileList:
    """What is in an image, in one of its layers, or in a folder of it."""

    reference: str
    manifest: str
    """The manifest of the image; of a layer alone that layer."""
    platform: str
    layers: tuple[str, ...]
    """Base first."""
    layer: int | None
    """The layer that is listed, 1 is the base; None for all on top of each other."""
    path: str
    entries: tuple[ListedFile, ...]
    findings: tuple[Finding, ...]
    """What is wrong with the layers."""


def file_list(
    image: ImageFiles, path: str = "", *, layer: int | None = None, depth: int | None = 1
) -> FileList:
    """Return what is below a path: of the whole, or what one layer has, in the order of its tar.

    `depth` is how many folders deep; None for all. A file is listed itself.

    Raises:
        ReferenceInvalid: nothing is there.
    """
    if layer is None:
        rows = [
            row_of(placed.path, placed.entry, placed.layer)
            for placed in _merged(image, path, depth)
        ]
        base, findings = _base(image, path), image.findings
    else:
        listing = image.listing(layer)
        base, findings = path.strip("/"), list(listing.findings)
        rows = [row_of(one.path, one, layer) for one in listing if _is_below(one.path, base, depth)]
        if base and not rows:
            raise ReferenceInvalid(f"{image.reference}: {quoted(path)}: not in this layer")
    return FileList(
        image.reference,
        image.manifest,
        image.platform,
        image.layers,
        None if layer is None else layer + 1,
        base,
        tuple(rows),
        tuple(findings),
    )


def names(
    image: ImageFiles, path: str = "", *, layer: int | None = None, depth: int | None = 1
) -> Iterator[str]:
    """Yield the paths of a `file_list`, folders with a `/` behind: nothing else.

    Raises:
        ReferenceInvalid: nothing is there.
    """
    base, seen = path.strip("/"), False
    if layer is None:
        found = image.merged.resolve(path)
        if found is None or found.entry.kind is not EntryKind.FOLDER:
            pairs: Iterable[tuple[str, bool]] = (
                (one.path, False) for one in _merged(image, path, 1)
            )
        else:
            base, seen = found.path, True
            pairs = image.merged.names_below(base)
    else:
        listing = image.listing(layer)
        folder, seen = KIND_NUMBERS[EntryKind.FOLDER], not base
        kinds = (kind == folder for kind in listing.columns.kinds)
        pairs = zip(listing.paths(), kinds, strict=True)
    for one, is_folder in pairs:
        if (depth is None and not base) or _is_below(one, base, depth):
            seen = True
            yield f"{one}/" if is_folder else one
    if not seen:
        raise ReferenceInvalid(f"{image.reference}: {quoted(path)}: not in this layer")


def _base(image: ImageFiles, path: str) -> str:
    found = image.merged.resolve(path)
    return path.strip("/") if found is None else found.path


def _merged(image: ImageFiles, path: str, depth: int | None) -> Iterator[Placed]:
    merged = image.merged
    found = merged.resolve(path)
    if found is None:
        found = merged.get(path.strip("/"))  # a link that leads nowhere
    if found is None:
        raise ReferenceInvalid(f"{image.reference}: {quoted(path)}: no such file in it")
    if found.entry.kind is not EntryKind.FOLDER:
        yield merged.get(path.strip("/")) or found  # a link itself, and not what it leads to
    elif depth == 1:
        yield from merged.children(found.path)
    else:
        yield from (
            one for one in merged.below(found.path) if _is_below(one.path, found.path, depth)
        )


def _is_below(path: str, base: str, depth: int | None) -> bool:
    """Return whether a path is a folder itself or up to `depth` levels below it."""
    if path == base or not base or path.startswith(f"{base}/"):
        inside = path[len(base) :].strip("/")
        return depth is None or inside.count("/") < depth
    return False


def row_of(path: str, entry: TarEntry, layer: int) -> ListedFile:
    """Return an entry as a row."""
    return ListedFile(
        path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.owner,
        entry.group,
        entry.size,
        time_of(entry.mtime),
        entry.target or None,
        entry.device,
        {name: value.hex() for name, value in entry.xattrs.items()},
        layer + 1,
    )


def time_of(seconds: float) -> datetime | None:
    """Return a time as a date; None for one that no calendar has."""
    try:
        return utc_time(seconds)
    except (ValueError, OverflowError, OSError):
        return None
