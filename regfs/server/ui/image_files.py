"""The files of one image for pages: opened once, then answered folder by folder.

    PageImage       the merged root file system, and the bytes below each of its folders
    LayerEffects    what one layer adds, changes and removes, folder by folder

Only what a repository itself has is opened: a manifest may name the layers of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import Final, NamedTuple

from regfs.content.cache import Cache
from regfs.content.entries import EntryKind
from regfs.digest import Digest
from regfs.errors import RegfsError, TooManyEntries
from regfs.files.changes import ChangeKind, FileChange, Hidden, Placed
from regfs.files.efficiency import Efficiency
from regfs.files.image import ImageFiles, image_files
from regfs.files.layers import Layers
from regfs.files.merged import Merged
from regfs.findings import Finding
from regfs.server.ui.jobs import Deadline
from regfs.tree.registry import Registry

MOST: Final = 500_000
"""Files of an image, or changes of a layer, that are held for pages."""
HEAD: Final = 65_536
"""Bytes of a file that a page shows."""
SHOWN: Final = 20
"""Hidden files of an image that are named."""
DEEPEST: Final = 8 << 30
"""Where in its layer a file may lie: what stands before it is unpacked to reach it."""


class OutOfReach(RegfsError):
    """A file that lies too deep in its layer for a page."""


class NotOwn(RegfsError):
    """A part of an image that its repository does not have."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image whose layers have been read."""

    files: ImageFiles
    layers: Layers
    merged: Merged
    sizes: dict[str, int]
    """Folder -> bytes of the files below it."""
    hidden: int
    """Bytes of files in lower layers that later ones have overwritten or removed."""
    largest_hidden: tuple[Hidden, ...]
    """The largest of these files."""
    efficiency: float
    """As dive computes it: 1 if nothing is wasted."""
    findings: tuple[Finding, ...]
    """What of its layers could not be read."""
    entries: int
    """Of all its layers."""


def open_image(
    registry: Registry,
    name: str,
    digest: Digest,
    has: Callable[[Digest], bool],
    progress: Deadline,
    cache: Cache | None = None,
) -> PageImage:
    """Read the layers of an image of a repository, which `has` what it returns true for.

    Raises:
        NotOwn: a layer is not in the repository.
        TooManyEntries: it has more than MOST.
        RegfsError: it has no files, or its manifest cannot be read.
    """
    layers = Layers(registry, progress, cache, most=MOST)
    files = image_files(registry, layers, f"{name}@{digest}")
    check_own(files, has)
    entries = 0
    for number in range(len(files.parts)):
        entries += len(files.listing(number))
        if entries > MOST:
            raise TooManyEntries(f"The image has more than {MOST:,} entries")
    progress.start("Putting the layers together")
    hidden = list(files.merged.hidden)
    efficiency = Efficiency()
    for listing in files.listings:
        progress.advance(0)
        efficiency.push(listing)
    return PageImage(
        files=files,
        layers=layers,
        merged=files.merged,
        sizes=dict(_sizes(files.merged)),
        hidden=sum(one.placed.entry.size for one in hidden),
        largest_hidden=tuple(nlargest(SHOWN, hidden, key=lambda one: one.placed.entry.size)),
        efficiency=efficiency.score,
        findings=tuple(files.findings),
        entries=entries,
    )


def check_own(files: ImageFiles, has: Callable[[Digest], bool]) -> None:
    """Check that a repository itself has every layer of an image.

    Raises:
        NotOwn: it lacks one, be it because that is kept elsewhere.
    """
    for number, part in enumerate(files.parts, 1):
        if not has(part.digest):
            raise NotOwn(f"Layer {number} ({part.digest.short}) is not in this repository")


def _sizes(merged: Merged) -> Iterator[tuple[str, int]]:
    """Yield each folder with the bytes of the files below it."""
    sizes: dict[str, int] = {"": 0}
    for one in merged:
        if one.entry.kind is EntryKind.FOLDER:
            sizes[one.path] = 0
        elif one.entry.kind is EntryKind.FILE:
            sizes[one.path.rpartition("/")[0]] += one.entry.size
    for path in sorted(sizes, key=lambda path: path.count("/"), reverse=True):
        if path:
            sizes[path.rpartition("/")[0]] += sizes[path]
    yield from sizes.items()


class Counts(NamedTuple):
    """Changes below a folder."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    bytes: int = 0
    """Of files that were added or changed, as they are now."""

    def plus(self, one: FileChange) -> Counts:
        """Return the counts with one more change."""
        kind, after = one.kind, one.after
        size = after.entry.size if after is not None and kind is not ChangeKind.REMOVED else 0
        return Counts(
            self.added + (kind is ChangeKind.ADDED),
            self.changed + (kind is ChangeKind.CHANGED),
            self.removed + (kind is ChangeKind.REMOVED),
            self.bytes + size,
        )


class ChangedChild(NamedTuple):
    """Something in a folder that a layer changes, or that has changes below it."""

    name: str
    change: FileChange | None
    """None for a folder that only has changes below it."""
    below: Counts


class LayerEffects:
    """What one layer does to the files below it."""

    def __init__(self, changes: Iterable[FileChange], progress: Deadline) -> None:
        self._own = {one.path: one for one in changes}
        self._below: dict[str, Counts] = {"": Counts()}
        self._children: dict[str, set[str]] = {}
        self._sorted: dict[str, list[str]] = {}
        for one in self._own.values():
            progress.advance(1)  # folders can be thousands deep
            path = one.path
            while path:
                folder, _, name = path.rpartition("/")
                self._children.setdefault(folder, set()).add(name)
                self._below[folder] = self._below.get(folder, Counts()).plus(one)
                path = folder
        self.total = self._below[""]

    def __len__(self) -> int:
        return len(self._own)

    def get(self, path: str) -> FileChange | None:
        """Return what it does to a path itself."""
        return self._own.get(path)

    def has(self, path: str) -> bool:
        """Return whether it changes a path or something below it."""
        return path in self._own or path in self._below

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder that have changes, in order."""
        if folder not in self._sorted:
            self._sorted[folder] = sorted(self._children.get(folder, ()))
        return self._sorted[folder]

    def child(self, folder: str, name: str) -> ChangedChild:
        """Return what it does to something in a folder."""
        path = f"{folder}/{name}" if folder else name
        return ChangedChild(name, self._own.get(path), self._below.get(path, Counts()))


def layer_changes(image: PageImage, layer: int, progress: Deadline) -> LayerEffects:
    """Return what a layer changes; 0 is the base.

    Raises:
        TakesTooLong: that takes longer than pages may wait.
    """
    progress.start(f"Comparing layer {layer + 1} with those below it")
    return LayerEffects(image.merged.changes(layer), progress)


class FileStart(NamedTuple):
    """The beginning of a file."""

    data: bytes
    size: int
    """Bytes of the whole file."""

    @property
    def is_text(self) -> bool:
        """Whether it is text, which a cut character at its end does not change."""
        if b"\0" in self.data:
            return False
        try:
            self.data.decode()
        except UnicodeDecodeError as error:
            return len(self.data) < self.size and len(self.data) - error.start < 4
        return True


def file_start(image: PageImage, placed: Placed, progress: Deadline) -> FileStart:
    """Read the beginning of a regular file, or of what a hard link leads to.

    Raises:
        OutOfReach: it lies too deep in its layer.
        LayerInvalid, StoreError: its layer cannot be read.
    """
    progress.start("Reading the file")
    source = placed if placed.entry.kind is EntryKind.FILE else image.merged.content(placed)
    entry = source.entry
    if entry.kind is not EntryKind.FILE:
        return FileStart(b"", 0)
    if entry.position > DEEPEST:
        raise OutOfReach(f"It lies behind {DEEPEST >> 30} GiB of others in its layer")
    parts, left = list[bytes](), HEAD
    with image.layers.open(image.files.layers[source.layer], entry) as stream:
        while left and (piece := stream.read(left)):
            parts.append(piece)
            left -= len(piece)
    return FileStart(b"".join(parts), entry.size)
