"""Which file each blob of a listing is: a ledger entry is about one file, not about its copies.

A copy of a tree keeps sizes and times of modification, and the ledger is copied along. But the
copy is another file, whose bytes nobody has read: its inode or device differs, and its ctime is
the time of copying, which no program can set.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
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
_Values = list[int]
"""Device, inode and ctime of files, one file after the other."""


class BlobFiles:
    """The files of blobs at one moment, as columns; a million take 24 MB."""

    def __init__(self, blobs: DigestTable) -> None:
        """No file is known yet."""
        self._blobs = blobs
        count = len(blobs)
        self._devices = array("Q", bytes(8 * count))
        self._inodes = array("Q", bytes(8 * count))
        self._changed = array("q", bytes(8 * count))

    def put(self, rows: Iterable[int], values: _Values) -> None:
        """Note which files the blobs of some rows are."""
        devices, inodes, changed = self._devices, self._inodes, self._changed
        for row, *file in zip(rows, values[::3], values[1::3], values[2::3], strict=True):
            devices[row], inodes[row], changed[row] = file

    def at(self, row: int) -> FileId | None:
        """Return which file the blob of a row is; None if it is gone or cannot be looked at."""
        file = FileId(self._devices[row], self._inodes[row], self._changed[row])
        return file if file.inode else None

    def find(self, digest: Digest) -> FileId | None:
        """Return which file a blob is; None as `at`, or if it is not listed."""
        row = self._blobs.find(digest)
        return None if row is None else self.at(row)


def identify_blobs(store: Store, blobs: DigestTable) -> BlobFiles:
    """Return which files the blobs of a listing are now."""
    files = BlobFiles(blobs)
    # Blobs of one folder were listed together.
    by_folder = groupby(range(len(blobs)), lambda row: blobs.digest(row)[:_START])
    groups = [list(rows) for _, rows in by_folder]

    def work(items: Iterator[int]) -> Iterator[_Values]:
        for item in items:
            digests = list(map(blobs.digest, groups[item]))
            folder = layout.parent_of(layout.blob_folder(digests[0]))
            found = store.identify(folder, (digest.encoded for digest in digests), "data")
            yield [value for file in found for value in (file or _NOWHERE)]

    answers = map_in_two_processes(work, len(groups), fork=len(blobs) >= MANY)
    for rows, values in zip(groups, answers, strict=True):
        files.put(rows, values)
    return files
