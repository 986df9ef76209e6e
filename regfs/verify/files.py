"""Which file each blob of a listing is: what a ledger says of one is not said of its copy.

A copy of a tree keeps sizes and times of modification, and its ledger comes along. But a copy is
another file, with bytes that nobody has read: it has another inode, or lies on another device,
and the time of its last change (ctime) is that of the copying, which nobody can set.
"""

from __future__ import annotations

from array import array
from collections import defaultdict

from regfs import layout
from regfs.digest import Digest
from regfs.stores import FileId, Store
from regfs.tree.inventory import DigestTable


class Files:
    """The files of blobs as they are when this is made; a million take 24 MB."""

    def __init__(self, store: Store, blobs: DigestTable) -> None:
        self._numbers = blobs.numbers
        count = len(blobs.numbers)
        self._devices = array("Q", bytes(8 * count))
        self._inodes = array("Q", bytes(8 * count))
        self._changed = array("q", bytes(8 * count))
        folders: dict[str, list[Digest]] = defaultdict(list)
        for digest in blobs.numbers:
            folders[layout.parent_of(layout.blob_folder(digest))].append(digest)
        for folder, digests in folders.items():
            names = (digest.encoded for digest in digests)
            found = store.identify(folder, names, "data")
            for digest, file in zip(digests, found, strict=True):
                if file is not None:
                    self._put(blobs.numbers[digest], file)

    def _put(self, number: int, file: FileId) -> None:
        self._devices[number], self._inodes[number], self._changed[number] = file

    def of(self, digest: Digest) -> FileId | None:
        """Return which file a blob is; None when it is not there, or cannot be asked about."""
        number = self._numbers.get(digest)
        if number is None:
            return None
        file = FileId(self._devices[number], self._inodes[number], self._changed[number])
        return file if file.inode else None
