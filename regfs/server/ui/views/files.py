"""The files of an image: one folder of it, or one file, whole or as one layer has left it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from regfs.content.entries import EntryKind, TarEntry, mode_text
from regfs.digest import Digest
from regfs.files.changes import ChangeKind, FileChange, Placed
from regfs.findings import Severity
from regfs.names import name_problem
from regfs.render.tables import plural, printable
from regfs.server.ui import addresses
from regfs.server.ui.image_files import ChangedChild, Counts, FileStart, LayerEffects, PageImage
from regfs.server.ui.views.parts import Hyperlink, PagedRows, page_of
from regfs.units import utc_time

ROWS: Final = 200
"""Rows of one page of a folder."""
HEX: Final = 2048
"""Bytes that are shown of a file that is no text."""


@dataclass(frozen=True, slots=True)
class FolderRow:
    """Something in a folder."""

    name: str
    href: str
    """Empty for what is gone."""
    is_folder: bool
    target: str
    """What a link leads to, with an arrow before it; the numbers of a device."""
    mode: str
    owner: str
    size: int | None
    """Bytes; of a folder those below it; None for what has none."""
    before: int | None
    """Bytes before this layer, of a file that it has changed."""
    mtime: datetime
    layer: int
    """From 1 at the base."""
    change: str
    """`added`, `changed`, `removed`; empty where no layer was chosen."""
    below: str
    """How much has changed below a folder, in words."""


@dataclass(frozen=True, slots=True)
class LayerTab:
    """A layer that can be chosen."""

    number: int
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class HiddenFileRow:
    """A file in a lower layer that later ones have overwritten or removed."""

    path: str
    href: str
    """As its layer has it."""
    size: int
    layer: int
    how: str
    """`removed by layer 3`."""


@dataclass(frozen=True, slots=True)
class FilesView:
    """The view of a folder."""

    name: str
    digest: str
    reference: str
    """What the command line calls the image; empty where it cannot."""
    repository_href: str
    image_href: str
    crumbs: tuple[Hyperlink, ...]
    """The folders above."""
    path: str
    layer: int | None
    """From 1 at the base; None for all."""
    layer_digest: str
    layer_href: str
    """Its blob."""
    tabs: tuple[LayerTab, ...]
    whole_href: str
    """The same folder in all layers."""
    total: str
    """What the layer changes altogether, in words; empty where none was chosen."""
    bytes: int
    """Of all files below this folder; of a layer, of those it has added or changed."""
    hidden: int
    """Bytes of files in lower layers that nobody sees."""
    hidden_files: tuple[HiddenFileRow, ...]
    """The largest of them; only on the page of the root."""
    efficiency: float
    """Per cent, as dive computes it."""
    page: PagedRows[FolderRow] | None
    """None for a file."""
    file: FileView | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileView:
    """One file."""

    kind: str
    row: FolderRow
    exact: str
    """Its time."""
    xattrs: tuple[str, ...]
    text: str | None
    """Its beginning; None for what has no text."""
    hex: str
    """Its beginning if it is no text."""
    note: str
    """How much of it is shown."""


@dataclass(frozen=True, slots=True)
class FilesPlace:
    """Where a page of files is."""

    name: str
    digest: Digest
    path: str
    layer: int | None
    """From 0 at the base; None for all."""

    def href(self, path: str, layer: int | None = None) -> str:
        """Return the address of a path in the same image."""
        return addresses.of_files(self.name, self.digest, path, layer)


def folder(
    place: FilesPlace, image: PageImage, changes: LayerEffects | None, number: int
) -> FilesView:
    """Return the view of one page of a folder; with `changes`, what a layer did in it."""
    if changes is None:
        count = image.merged.count(place.path)
        page = page_of(range(count), number, lambda one: _page_href(place, one), ROWS)
        part = slice(page.first - 1, page.last) if page.rows else slice(0)
        placed = image.merged.children(place.path, part)
        rows = page.replaced(_row(place, image, one) for one in placed)
        size = image.sizes.get(place.path, 0)
    else:
        names = page_of(changes.names(place.path), number, lambda one: _page_href(place, one), ROWS)
        rows = names.replaced(
            _changed(place, image, changes.child(place.path, name)) for name in names.rows
        )
        size = changes.total.bytes
    return _view(place, image, changes, size, page=rows)


def file(
    place: FilesPlace,
    image: PageImage,
    changes: LayerEffects | None,
    placed: Placed,
    start: FileStart | None,
) -> FilesView:
    """Return the view of a file, a link or a device; `start` is the beginning of its content."""
    entry = image.merged.content(placed).entry
    text, dump, note = None, "", ""
    if start is not None and start.is_text:
        text = start.data.decode("utf-8", "ignore")
        note = _note(len(start.data), start.size)
    elif start is not None:
        dump = "\n".join(_hex(start.data[:HEX]))
        note = _note(min(HEX, len(start.data)), start.size)
    xattrs = tuple(f"{name}={value!r}"[:200] for name, value in placed.entry.xattrs.items())
    row = _row(place, image, placed._replace(entry=placed.entry._replace(size=entry.size)))
    exact = utc_time(placed.entry.mtime).isoformat(sep=" ", timespec="seconds")[:19]
    shown = FileView(placed.entry.kind.value, row, exact, xattrs, text, dump, note)
    return _view(place, image, changes, entry.size, file=shown)


def _view(
    place: FilesPlace,
    image: PageImage,
    changes: LayerEffects | None,
    size: int,
    *,
    page: PagedRows[FolderRow] | None = None,
    file: FileView | None = None,
) -> FilesView:
    layer = place.layer
    digest = "" if layer is None else image.files.layers[layer]
    nameable = name_problem(place.name) is None
    return FilesView(
        name=place.name,
        digest=place.digest,
        reference=f"{place.name}@{place.digest}" if nameable else "",
        repository_href=addresses.of_repository(place.name),
        image_href=addresses.of_manifest(place.name, place.digest),
        crumbs=tuple(_crumbs(place)),
        path=place.path,
        layer=None if layer is None else layer + 1,
        layer_digest=digest,
        layer_href=addresses.of_blob(digest) if digest else "",
        tabs=tuple(
            LayerTab(number + 1, place.href("", number), number == layer)
            for number in range(len(image.files.layers))
        ),
        whole_href=place.href(place.path if image.merged.get(place.path) else ""),
        total="" if changes is None or layer is None else _total(image, changes, layer),
        bytes=size,
        hidden=image.hidden,
        hidden_files=() if place.path or layer is not None else tuple(_hidden(place, image)),
        efficiency=100 * image.efficiency,
        page=page,
        file=file,
        problems=tuple(str(one) for one in image.findings[:10]),
    )


def _total(image: PageImage, changes: LayerEffects, layer: int) -> str:
    """Return what a layer changes altogether, in words; of a damaged one what is known."""
    words = in_words(changes.total)
    findings = image.files.listings[layer].findings
    if any(one.severity is Severity.ERROR for one in findings):
        return f"{words}, as far as it can be read" if words else "it cannot be read"
    return words or "no file differs"


def _hidden(place: FilesPlace, image: PageImage) -> Iterator[HiddenFileRow]:
    for one in image.largest_hidden:
        placed = one.placed
        yield HiddenFileRow(
            path=f"/{placed.path}",
            href=place.href(placed.path, placed.layer),
            size=placed.entry.size,
            layer=placed.layer + 1,
            how=f"{one.how} by layer {one.by + 1}",
        )


def _crumbs(place: FilesPlace) -> Iterator[Hyperlink]:
    """Yield the folders above, the root first."""
    if place.path:
        yield Hyperlink("files", place.href("", place.layer))
    parts = place.path.split("/")
    for end in range(1, len(parts)):
        yield Hyperlink(parts[end - 1], place.href("/".join(parts[:end]), place.layer))


def _page_href(place: FilesPlace, number: int) -> str:
    address = place.href(place.path)
    layer = "" if place.layer is None else place.layer + 1
    return addresses.with_query(address, layer=layer, page=number if number > 1 else "")


def _row(place: FilesPlace, image: PageImage, placed: Placed) -> FolderRow:
    entry = placed.entry
    is_folder = entry.kind is EntryKind.FOLDER
    size = image.sizes.get(placed.path) if is_folder else _size(entry)
    if entry.kind is EntryKind.HARDLINK:
        size = image.merged.content(placed).entry.size
    return FolderRow(
        name=placed.path.rpartition("/")[2],
        href=place.href(placed.path),
        is_folder=is_folder,
        target=_target(entry),
        mode=mode_text(entry.kind, entry.mode),
        owner=_owner(entry),
        size=size,
        before=None,
        mtime=utc_time(entry.mtime),
        layer=placed.layer + 1,
        change="",
        below="",
    )


def _changed(place: FilesPlace, image: PageImage, child: ChangedChild) -> FolderRow:
    """Return the row of something that a layer has changed, or that has changes below it."""
    path = f"{place.path}/{child.name}" if place.path else child.name
    change, below = child.change, child.below
    placed = _shown(image, path, change)
    entry = placed.entry
    is_folder = entry.kind is EntryKind.FOLDER
    before = None
    if change is not None and change.kind is ChangeKind.CHANGED and change.before is not None:
        before = _size(change.before.entry)
    has_more = is_folder and below != Counts()
    return FolderRow(
        name=child.name,
        href=place.href(path, place.layer) if has_more or change is None else _now(place, change),
        is_folder=is_folder,
        target=_target(entry),
        mode=mode_text(entry.kind, entry.mode),
        owner=_owner(entry),
        size=below.bytes if is_folder else _size(entry),
        before=before,
        mtime=utc_time(entry.mtime),
        layer=placed.layer + 1,
        change="" if change is None else change.kind.value,
        below=in_words(below),
    )


def _shown(image: PageImage, path: str, change: FileChange | None) -> Placed:
    """Return what stands for a row: what is there now, or what was there before."""
    if change is not None:
        found = change.after or change.before
        if found is not None:
            return found
    return image.merged.get(path) or Placed(path, _FOLDER._replace(path=path), 0)


_FOLDER: Final = TarEntry("", EntryKind.FOLDER, 0o755, 0, 0, "", "", 0, 0.0, "", None, {}, -1)


def _now(place: FilesPlace, change: FileChange) -> str:
    """Return the address of what a layer has left; empty for what it has removed."""
    return "" if change.kind is ChangeKind.REMOVED else place.href(change.path, place.layer)


def in_words(counts: Counts) -> str:
    """Return how much has changed, in words; empty for nothing."""
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (counts.added, "added"),
            (counts.changed, "changed"),
            (counts.removed, "removed"),
        )
        if number
    ]
    return ", ".join(parts)


def _size(entry: TarEntry) -> int | None:
    return entry.size if entry.kind is EntryKind.FILE else None


def _target(entry: TarEntry) -> str:
    if entry.kind is EntryKind.SYMLINK:
        return f"→ {entry.target}"
    if entry.kind is EntryKind.HARDLINK:
        return f"same file as {entry.target}"
    return "" if entry.device is None else f"{entry.kind} {entry.device[0]}, {entry.device[1]}"


def _owner(entry: TarEntry) -> str:
    return f"{entry.owner or entry.uid}:{entry.group or entry.gid}"


def _note(shown: int, size: int) -> str:
    return "" if shown >= size else f"the first {shown:,} of {plural(size, 'byte')}"


def _hex(data: bytes) -> Iterator[str]:
    """Yield lines as `hexdump -C` prints them."""
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        digits = " ".join(f"{byte:02x}" for byte in row)
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset:08x}  {digits:<47}  {printable(letters)}"
