"""Which file each blob of a listing is: what a ledger says of one is not said of its copy.

A copy of a tree keeps sizes and times of modification, and its ledger comes along. But a copy is
another file, with bytes that nobody has read: it has another inode, or lies on another device,
and the time of its last change (ctime) is that of the copying, which nobody can set.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping

from regfs import layout
from regfs.digest import Digest
from regfs.stores import FileId, Store
from regfs.tree.inventory import DigestTable


class BlobFiles:
    """The files of blobs at one moment, as columns; a million take 24 MB."""

    def __init__(self, numbers: Mapping[Digest, int]) -> None:
        """`numbers` gives each blob its row; no file is known yet."""
        self._numbers = numbers
        count = len(numbers)
        self._devices = array("Q", bytes(8 * count))
        self._inodes = array("Q", bytes(8 * count))
        self._changed = array("q", bytes(8 * count))

    def put(self, digest: Digest, file: FileId) -> None:
        """Note which file a blob is."""
        number = self._numbers[digest]
        self._devices[number], self._inodes[number], self._changed[number] = file

    def find(self, digest: Digest) -> FileId | None:
        """Return which file a blob is; None if it is not there or cannot be looked at."""
        number = self._numbers.get(digest)
        if number is None:
            return None
        file = FileId(self._devices[number], self._inodes[number], self._changed[number])
        return file if file.inode else None


def identify_blobs(store: Store, blobs: DigestTable) -> BlobFiles:
    """Return which files the blobs of a listing are now."""
    files = BlobFiles(blobs.numbers)
    folders: dict[str, list[Digest]] = defaultdict(list)
    for digest in blobs.numbers:
        folders[layout.parent_of(layout.blob_folder(digest))].append(digest)
    for folder, digests in folders.items():
        names = (digest.encoded for digest in digests)
        found = store.identify(folder, names, "data")
        for digest, file in zip(digests, found, strict=True):
            if file is not None:
                files.put(digest, file)
    return files
