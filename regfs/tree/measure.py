"""What every file of a tree takes on the disk, in the same pass that finds the sizes of blobs.

    inventory, measured = scan_and_measure(store)
        measured.parts     links, uploads, other files and folders, added up
        inventory.blobs    the columns of the blobs, which are the rest of the disk

Where all is plain, each folder is listed once, in two processes. Where anything is not (a link,
a special file, something that cannot be read, a digest without its file), the tree is scanned
with care and then walked entry by entry.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from regfs import layout
from regfs.errors import StoreError
from regfs.findings import Finding
from regfs.parallel import map_in_two_processes
from regfs.progress import SILENT, Progress
from regfs.stores import Capability, FileKind, FolderFiles, Store, measure
from regfs.tree.inventory import Inventory
from regfs.tree.scan import MANY, blob_folders, scan

PARTS: Final = ("blobs", "uploads", "links", "quarantine", "own", "other", "folders")
_QUARANTINE: Final = re.compile(rf"{re.escape(layout.STATE)}/runs/[^/]+/quarantine/")
_LINKS: Final = (
    layout.LayerLink,
    layout.RevisionLink,
    layout.SignatureLink,
    layout.ReferrerLink,
    layout.TagCurrent,
    layout.TagIndex,
)
_Answer = tuple[list[int], bytes, bytes, bytes, bytes, int]
"""Files, bytes and blocks of each part; numbers, sizes, times and blocks of blobs; layer links."""


@dataclass(slots=True)
class Amount:
    """Some files."""

    files: int = 0
    bytes: int = 0
    allocated: int = 0
    """Bytes of disk blocks."""

    def add(self, files: int, size: int, allocated: int) -> None:
        """Add files."""
        self.files += files
        self.bytes += size
        self.allocated += allocated


@dataclass(slots=True)
class Measured:
    """What a tree takes on the disk, without the blobs that its inventory has."""

    parts: dict[str, Amount] = field(default_factory=lambda: {name: Amount() for name in PARTS})
    """`blobs` are those that the inventory does not have."""
    has_blocks: bool = True
    """Whether the store tells of disk blocks."""
    unseen: list[Finding] = field(default_factory=list)
    """What could not be listed, or is no plain file or folder."""
    walked: bytearray | None = None
    """Row of a blob -> whether its file was met; None when that of each was."""


def scan_and_measure(store: Store, progress: Progress = SILENT) -> tuple[Inventory, Measured]:
    """List the tree, without the histories of tags, and measure every file in it.

    Raises:
        StoreError: the root itself cannot be listed.
    """
    if Capability.FOLDERS not in store.capabilities:
        inventory = scan(store, progress=progress, history=False)
        return inventory, measure_all(store, inventory, progress)
    inventory = scan(store, progress=progress, history=False, lean=True)
    try:
        return inventory, _Measuring(store, inventory, progress).run()
    except (OSError, StoreError):
        # The careful way says what it is.
        inventory = scan(store, progress=progress, history=False)
        return inventory, measure_all(store, inventory, progress)


class _Measuring:
    """Measures a tree in which all is plain."""

    def __init__(self, store: Store, inventory: Inventory, progress: Progress) -> None:
        self._store = store
        self._inventory = inventory
        self._progress = progress

    def run(self) -> Measured:
        """Measure it, and fill in the columns of its blobs.

        Raises:
            OSError, StoreError: something is not plain, or not as it was listed.
        """
        measured, blobs = Measured(), self._inventory.blobs
        folders = [folder.path for folder in blob_folders(self._store, self._inventory)]
        folders += map(layout.repository_folder, self._inventory.repositories)
        skip = frozenset(folders)
        items = [*folders, ""]

        def work(numbers: Iterator[int]) -> Iterator[_Answer]:
            return (self._measure(items[number], skip) for number in numbers)

        self._progress.start("Measuring files", len(items))
        links = 0
        for answer in map_in_two_processes(work, len(items), fork=len(blobs) >= MANY):
            amounts, *columns, layer_links = answer
            links += layer_links
            for place, name in enumerate(PARTS):
                measured.parts[name].add(*amounts[3 * place : 3 * place + 3])
            blobs.fill(*(array(kind, data) for kind, data in zip("Iqdq", columns, strict=True)))
            self._progress.advance(1)
        self._progress.finish()
        blobs.fill((), (), (), ())
        listed = sum(len(one.layers) for one in self._inventory.repositories.values())
        if links != listed or not blobs.is_filled:
            raise StoreError("the tree is not as it was listed")
        return measured

    def _measure(self, top: str, skip: frozenset[str]) -> _Answer:
        """Measure one folder, in this process or in another one."""
        sorting = _Sorting(self._inventory)
        for folder in measure(self._store, top, skip):
            sorting.take(folder)
        amounts = [
            number
            for name in PARTS
            for part in (sorting.parts[name],)
            for number in (part.files, part.bytes, part.allocated)
        ]
        return (
            amounts,
            sorting.numbers.tobytes(),
            sorting.sizes.tobytes(),
            sorting.mtimes.tobytes(),
            sorting.allocated.tobytes(),
            sorting.layer_links,
        )


class _Sorting:
    """Sorts files into parts, and puts those of blobs into columns."""

    def __init__(self, inventory: Inventory) -> None:
        self.parts = {name: Amount() for name in PARTS}
        self.numbers, self.sizes = array("I"), array("q")
        self.mtimes, self.allocated = array("d"), array("q")
        self._known = inventory.known
        self._blobs = inventory.blobs
        self.layer_links = 0
        self._digests_above: dict[str, tuple[str, str | None]] = {}
        """Folder of blobs or layer links -> algorithm of these, and how digests of blobs begin."""

    def take(self, folder: FolderFiles) -> None:
        """Sort the files of a folder."""
        path, blocks, files = folder
        if path:  # the root is not in itself
            self.parts["folders"].add(0, 0, blocks)
        if not files:
            return
        above, _, name = path.rpartition("/")
        # To take each path apart would cost more than all else together.
        if len(files) == 1 and above in self._digests_above:
            leaf, size, mtime, allocated = files[0]
            algorithm, prefix = self._digests_above[above]
            number = self._known.find(f"{algorithm}:{name}")
            if leaf == "link" and prefix is None and number is not None:
                self.parts["links"].add(1, size, allocated)
                self.layer_links += 1
                return
            if leaf == "data" and name[:2] == prefix and self._blobs.row_of(number) is not None:
                self._add_blob(number or 0, size, mtime, allocated)
                return
        for name, size, mtime, allocated in files:
            key = layout.key_of(f"{path}/{name}" if path else name)
            if isinstance(key, layout.BlobData):
                number = self._blobs.number(key.digest)
                if number is not None:
                    self._digests_above[above] = (key.digest.algorithm, key.digest.prefix)
                    self._add_blob(number, size, mtime, allocated)
                    continue
            part = part_of(key, path)
            if isinstance(key, layout.LayerLink):
                self._digests_above[above] = (key.digest.algorithm, None)
                self.layer_links += 1
            self.parts[part].add(1, size, allocated)

    def _add_blob(self, number: int, size: int, mtime: float, allocated: int) -> None:
        self.numbers.append(number)
        self.sizes.append(size)
        self.mtimes.append(mtime)
        self.allocated.append(allocated)


def part_of(key: object, folder: str) -> str:
    """Return the part that a file belongs to, by its key in the layout and its folder."""
    if isinstance(key, layout.BlobData):
        return "blobs"
    if isinstance(key, _LINKS):
        return "links"
    inside = f"{folder}/"
    if inside.startswith(f"{layout.STATE}/"):
        return "quarantine" if _QUARANTINE.match(inside) else "own"
    in_upload = inside.startswith(layout.REPOSITORIES + "/") and "/_uploads/" in inside
    return "uploads" if in_upload else "other"


def measure_all(store: Store, inventory: Inventory, progress: Progress) -> Measured:
    """Measure a tree entry by entry, whatever there is in it."""
    blobs = inventory.blobs
    measured = Measured(walked=bytearray(len(blobs)))
    assert measured.walked is not None
    progress.start("Measuring files")
    for entry in store.walk("", measured.unseen.append):
        progress.advance(1)
        allocated = max(entry.allocated, 0)
        if entry.kind is FileKind.FOLDER:
            measured.parts["folders"].add(0, 0, allocated)
            continue
        measured.has_blocks = measured.has_blocks and entry.allocated >= 0
        if entry.kind is not FileKind.FILE:
            measured.parts["other"].add(1, 0, allocated)
            continue
        key = layout.key_of(entry.path)
        row = blobs.find(key.digest) if isinstance(key, layout.BlobData) else None
        if row is None:
            part = part_of(key, layout.parent_of(entry.path))
            measured.parts[part].add(1, entry.size, allocated)
        else:
            measured.walked[row] = 1
    progress.finish()
    return measured
