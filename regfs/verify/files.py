"""Which file each blob of a listing is: a ledger entry is about one file, not about its copies.

A copy of a tree keeps sizes and times of modification, and the ledger is copied along. But the
copy is another file, whose bytes nobody has read: its inode or device differs, and its ctime is
the time of copying, which no program can set.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.parallel import map_in_two_processes
from regfs.stores import FileId, Store
from regfs.tree.inventory import DigestTable

MANY: Final = 20_000
"""Blobs from which on a second process is worth its start."""

_START: Final = 9
"""Letters in which the digests of one folder agree: `sha256:ab`."""
_NOWHERE: Final = FileId(0, 0, 0)
_Row = list[int]


class BlobFiles:
    """The files of blobs at one moment, as columns; a million take 24 MB."""

    def __init__(self, blobs: DigestTable) -> None:
        """No file is known yet."""
        self._blobs = blobs
        count = len(blobs)
        self._devices = array("Q", bytes(8 * count))
        self._inodes = array("Q", bytes(8 * count))
        self._changed = array("q", bytes(8 * count))

    def put(self, digests: Iterable[Digest], row: _Row) -> None:
        """Note which files some blobs are: device, inode and ctime of each, one after the other."""
        devices, inodes, changed = self._devices, self._inodes, self._changed
        for digest, *file in zip(digests, row[::3], row[1::3], row[2::3], strict=True):
            place = self._blobs.row(digest)
            devices[place], inodes[place], changed[place] = file

    def find(self, digest: Digest) -> FileId | None:
        """Return which file a blob is; None if it is not there or cannot be looked at."""
        row = self._blobs.find(digest)
        if row is None:
            return None
        file = FileId(self._devices[row], self._inodes[row], self._changed[row])
        return file if file.inode else None


def identify_blobs(store: Store, blobs: DigestTable) -> BlobFiles:
    """Return which files the blobs of a listing are now."""
    files = BlobFiles(blobs)
    folders: dict[str, list[Digest]] = defaultdict(list)
    for digest in blobs:
        folders[digest[:_START]].append(digest)
    groups = list(folders.values())

    def work(items: Iterator[int]) -> Iterator[_Row]:
        for item in items:
            folder = layout.parent_of(layout.blob_folder(groups[item][0]))
            names = (digest.encoded for digest in groups[item])
            found = store.identify(folder, names, "data")
            yield [value for file in found for value in (file or _NOWHERE)]

    rows = map_in_two_processes(work, len(groups), fork=len(blobs) >= MANY)
    for digests, row in zip(groups, rows, strict=True):
        files.put(digests, row)
    return files
