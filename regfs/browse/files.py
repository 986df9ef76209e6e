"""The files of an image, of what one layer does to it, and the text in one file.

    files_page    + added, ~ changed, - removed by the layer; or all layers together
    text_page     a line for each line

An image is read when its files are asked for; the last one is kept, so that its other folders
and layers come at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final, NamedTuple

from regfs.browse.places import FilesOf, Line, LineColumn, Listed, Measure, TextOf
from regfs.content.entries import EntryKind, mode_text
from regfs.digest import Digest
from regfs.errors import Unknown
from regfs.facade import Tree
from regfs.files.changes import ChangeKind, Placed
from regfs.files.image import ImageFiles, image_files
from regfs.files.layers import Layers
from regfs.files.merged import Merged, implied
from regfs.findings import Finding
from regfs.progress import Progress
from regfs.render.tables import plural
from regfs.units import human_size, rfc3339

TEXT: Final = 256 << 10
"""Bytes of a file that are shown."""
_SIGNS: Final = {ChangeKind.ADDED: "+", ChangeKind.CHANGED: "~", ChangeKind.REMOVED: "-"}
_WORDS: Final = {"+": "added", "~": "changed", "-": "removed"}
_READABLE: Final = (EntryKind.FILE, EntryKind.SYMLINK, EntryKind.HARDLINK)


class FileItem(NamedTuple):
    """Something in a folder; a folder may hold a million."""

    name: str
    size: int
    """Bytes; of a folder, of all files in it."""
    sign: str = ""
    """What the layer does to it: `+`, `~` or `-`; empty if nothing, or no layer is asked about."""


class _Sizes:
    """The bytes of all files in each folder."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {"": 0}

    def add(self, path: str, size: int) -> None:
        """Add a file."""
        above = path.rpartition("/")[0]
        self.of[above] = self.of.get(above, 0) + size

    def total(self) -> None:
        """Add to each folder what is in those below it; once, at the end."""
        for path in list(self.of):
            while path and (path := path.rpartition("/")[0]) not in self.of:
                self.of[path] = 0  # it holds folders only
        for path in sorted(self.of, key=_depth, reverse=True):
            if path:
                self.of[path.rpartition("/")[0]] += self.of[path]


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0


class WholeImage:
    """All layers together."""

    def __init__(self, merged: Merged) -> None:
        self._merged = merged
        self._sizes = _Sizes()
        for placed in merged:
            self._sizes.add(placed.path, placed.entry.size)
        self._sizes.total()

    def get(self, path: str) -> Placed | None:
        """Return what lies at a path."""
        return self._merged.get(path)

    def size(self, path: str) -> int:
        """Return the bytes of all files in a folder."""
        return self._sizes.of.get(path, 0)

    def inside(self, path: str) -> list[FileItem]:
        """Return what is in a folder, by name."""
        return [
            FileItem(name, self._size_at(f"{path}/{name}" if path else name))
            for name in self._merged.names(path)
        ]

    def _size_at(self, path: str) -> int:
        placed = self._merged.get(path)
        is_file = placed is not None and placed.entry.kind is not EntryKind.FOLDER
        return placed.entry.size if placed and is_file else self.size(path)


class LayerChanges:
    """What one layer does to those below it."""

    def __init__(self, merged: Merged, layer: int) -> None:
        self._after = Merged.merge(merged.listings[: layer + 1])
        self._before = Merged.merge(merged.listings[:layer])
        self._signs: dict[str, dict[str, str]] = {"": {}}
        """Folder -> name of what is in it -> what the layer does to it, or to what is in that."""
        self._sizes = _Sizes()
        for change in merged.changes(layer):
            placed = change.after or change.before
            if placed is not None:
                self._note(change.path, _SIGNS[change.kind])
                self._sizes.add(change.path, placed.entry.size)
        self._sizes.total()

    def _note(self, path: str, sign: str) -> None:
        above, _, name = path.rpartition("/")
        while True:
            folder = self._signs.get(above)
            if folder is not None:
                folder[name] = sign or folder.get(name, "")
                return
            self._signs[above] = {name: sign}
            above, _, name = above.rpartition("/")
            sign = ""

    def get(self, path: str) -> Placed | None:
        """Return what lies at a path, or lay there before the layer removed it."""
        return self._after.get(path) or self._before.get(path)

    def size(self, path: str) -> int:
        """Return the bytes of all files in a folder that the layer does something to."""
        return self._sizes.of.get(path, 0)

    def inside(self, path: str) -> list[FileItem]:
        """Return what the layer does something to in a folder, by name."""
        base = f"{path}/" if path else ""
        signs = sorted(self._signs.get(path, {}).items())
        return [FileItem(name, self._size_at(base + name), sign) for name, sign in signs]

    def _size_at(self, path: str) -> int:
        placed = self.get(path)
        is_file = placed is not None and placed.entry.kind is not EntryKind.FOLDER
        return placed.entry.size if placed and is_file else self.size(path)


class _OpenImage:
    """One image, and the parts of it that were asked for."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files
        self._layer: tuple[int, LayerChanges] | None = None

    @cached_property
    def _whole(self) -> WholeImage:
        return WholeImage(self.files.merged)

    def part(self, layer: int | None) -> WholeImage | LayerChanges:
        """Return what one layer does, or all layers together; the last layer is kept."""
        if layer is None:
            return self._whole
        if self._layer is None or self._layer[0] != layer:
            self._layer = (layer, LayerChanges(self.files.merged, layer))
        return self._layer[1]


class FileReading:
    """Opens images; keeps the last one."""

    def __init__(self, tree: Tree, progress: Progress) -> None:
        self._registry = tree.view
        self._layers = Layers(tree.view, progress, tree.cache)
        self._latest: tuple[str, Digest, _OpenImage] | None = None

    def image(self, place: FilesOf) -> _OpenImage:
        """Return the image of a place.

        Raises:
            ReferenceInvalid: it has no files.
            Unknown, ContentMismatch, ManifestInvalid: its manifest cannot be read.
        """
        if self._latest is None or self._latest[:2] != (place.name, place.digest):
            self._latest = None  # one at a time in memory
            try:
                found = image_files(self._registry, self._layers, f"{place.name}@{place.digest}")
            except Unknown:  # it is part of an index, and has no link of its own
                found = image_files(self._registry, self._layers, place.digest)
            self._latest = (place.name, place.digest, _OpenImage(found))
        return self._latest[2]

    def beginning(self, image: _OpenImage, path: str) -> bytes:
        """Return the first bytes of a file.

        Raises:
            ReferenceInvalid, LayerInvalid, StoreError: it cannot be read.
        """
        with image.files.open(path) as reader:
            parts, left = [], TEXT + 1
            while left > 0 and (piece := reader.read(left)):
                parts.append(piece)
                left -= len(piece)
        return b"".join(parts)


def files_page(reading: FileReading, place: FilesOf) -> Listed:
    """Return what is in a folder.

    Raises:
        As `FileReading.image`.
    """
    image = reading.image(place)
    part = image.part(place.layer)
    items = part.inside(place.path)

    def line(item: FileItem, measure: Measure | None) -> Line:
        path = f"{place.path}/{item.name}" if place.path else item.name
        found = part.get(path) or Placed(path, implied(path), -1)
        return _file_line(image.files, place, item, found)

    sign = (LineColumn("", 1),) if place.layer is not None else ()
    what = f"what layer {place.layer + 1} does: " if place.layer is not None else ""
    count = plural(len(items), "entry", "entries")
    return Listed(
        place.path.rpartition("/")[2] or place.label,
        items,
        line,
        lambda item: item.name,
        measures={"size": lambda item: item.size},
        columns=(LineColumn("Mode", 10, 70), LineColumn("Owner", 11, 100), *sign),
        heading="File",
        note=f"{what}{count}, {human_size(part.size(place.path))} in /{place.path}",
        problems=tuple(map(_problem, image.files.findings)),
        by_size=True,
    )


def _problem(finding: Finding) -> str:
    return f"{finding.path}: {finding.actual or finding.message}"


def _file_line(files: ImageFiles, place: FilesOf, item: FileItem, found: Placed) -> Line:
    entry, kind = found.entry, found.entry.kind
    mode = mode_text(kind, entry.mode)
    digest = files.layers[found.layer] if 0 <= found.layer < len(files.layers) else None
    is_folder = kind is EntryKind.FOLDER
    opens: FilesOf | TextOf | None = None
    if is_folder:
        opens = FilesOf(place.name, place.digest, place.layer, found.path, item.name)
    elif item.sign != "-" and kind in _READABLE:
        opens = TextOf(place, found.path)
    arrow = "->" if kind is EntryKind.SYMLINK else "="
    sign = (item.sign,) if place.layer is not None else ()
    return Line(
        item.name + ("/" if is_folder else ""),
        item.size,
        cells=(mode, f"{entry.uid}:{entry.gid}", *sign),
        aside=f"{arrow} {entry.target}" if entry.target else "",
        opens=opens,
        about=digest,
        faint=item.sign == "-",
        details=tuple(_file_details(item, found, mode, digest)),
    )


def _file_details(
    item: FileItem, found: Placed, mode: str, digest: Digest | None
) -> Iterable[tuple[str, str]]:
    entry = found.entry
    yield "Path", f"/{found.path}"
    yield "Kind", " ".join(filter(None, (entry.kind.value, _WORDS.get(item.sign))))
    if entry.kind is EntryKind.FILE:
        yield "Size", f"{human_size(entry.size)} ({entry.size:,} bytes)"
    owner = f" {entry.owner}:{entry.group}" if entry.owner or entry.group else ""
    yield "Mode", f"{mode} {entry.uid}:{entry.gid}{owner}"
    if entry.position >= 0:
        yield "Modified", rfc3339(entry.mtime)
    if entry.target:
        yield "Target", entry.target
    if entry.device:
        yield "Device", "{}, {}".format(*entry.device)
    for name, value in sorted(entry.xattrs.items()):
        yield "Attribute", f"{name}={value.decode('utf-8', 'backslashreplace')}"
    if digest is not None:
        yield "Layer", f"{found.layer + 1}: {digest}"


def text_page(reading: FileReading, place: TextOf) -> Listed:
    """Return the beginning of a file, a row for each line.

    Raises:
        ReferenceInvalid, LayerInvalid, StoreError: it cannot be read.
    """
    data = reading.beginning(reading.image(place.folder), place.path)
    whole = len(data) <= TEXT
    lines = data[:TEXT].decode("utf-8", "backslashreplace").split("\n")
    if lines[-1] == "":
        lines.pop()
    numbered = list(enumerate((one.expandtabs() for one in lines), 1))

    def line(item: tuple[int, str], measure: Measure | None) -> Line:
        number, text = item
        return Line(text, cells=(str(number),), details=((f"Line {number}", text),))

    return Listed(
        place.path.rpartition("/")[2],
        numbered,
        line,
        lambda item: f"{item[1]} {item[0]}",
        columns=(LineColumn("", 5, 60, right=True),),
        heading="Text",
        note=f"/{place.path}: " + ("all of it" if whole else f"the first {human_size(TEXT)}"),
    )
