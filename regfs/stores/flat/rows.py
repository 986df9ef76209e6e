r"""Everything that a flat listing names, as sorted columns.

    names in any order -> Gathering.add -> Gathering.finish -> Rows       (gathering.py)

Each row is a file, a folder or something that is not read, and has a key: its path with `\0` for
`/`. Keys sort as folders are walked, everything in a folder before whatever follows it, so all
below a folder is one slice and no folder needs an object of its own.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from typing import Final

from regfs.errors import PathUnsafe, printable
from regfs.findings import Code, Finding
from regfs.stores import FileKind
from regfs.stores.flat.packed import PackedKeys

V2: Final = b"docker\0registry\0v2"
_NO_PARTS: Final = frozenset({"", ".", ".."})

_KINDS: Final = (FileKind.FILE, FileKind.FOLDER, FileKind.SPECIAL, FileKind.LINK)
CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}
"""A kind -> what stands for it in a column."""


def key_of(path: str) -> bytes:
    """Return the key of a path."""
    return os.fsencode(path).replace(b"/", b"\0")


def checked(path: str) -> bytes:
    """Return the key of a path.

    Raises:
        PathUnsafe: it cannot be meant.
    """
    if path and ("\0" in path or not _NO_PARTS.isdisjoint(path.split("/"))):
        raise PathUnsafe(f"{printable(path)}: not a path inside the tree")
    try:
        return key_of(path)
    except UnicodeEncodeError:
        words = "not a path the file system can hold"
        raise PathUnsafe(f"{printable(path)}: {words}") from None


def path_of(key: bytes) -> str:
    """Return the path of a key."""
    return os.fsdecode(key.replace(b"\0", b"/"))


class Rows:
    """Sorted columns of equal length."""

    def __init__(self, keys: list[bytes] | PackedKeys) -> None:
        """All other columns are empty."""
        self.keys = keys
        self.sizes, self.mtimes = array("q"), array("d")
        self.places = array("q")
        self.marks = array("q")
        """What a source knows of a row beside its place."""
        self.kinds = bytearray()
        self.odd: dict[bytes, Finding] = {}
        """Key -> what is wrong with what is there; told by whoever lists it."""
        self.problems: list[Finding] = []
        """What is wrong with the whole: any answer may lack something."""

    def find(self, key: bytes) -> int:
        """Return the row of a key; -1 if it has none."""
        row = self._left(key, 0, len(self.keys))
        return row if row < len(self.keys) and self.keys[row] == key else -1

    def kind(self, row: int) -> FileKind:
        """Return what is in a row."""
        return _KINDS[self.kinds[row]]

    def below(self, key: bytes) -> tuple[int, int]:
        """Return the slice of what is below a folder."""
        if not key:
            return 0, len(self.keys)
        first = self._left(key + b"\0", 0, len(self.keys))
        return first, self.end(key, first, len(self.keys))

    def end(self, key: bytes, first: int, last: int) -> int:
        """Return where the slice that begins at `first` ends: what is below `key`."""
        keys, start = self.keys, key + b"\0"
        if first >= last or not keys[first].startswith(start):
            return first
        # Most folders hold one file.
        if first + 1 >= last or not keys[first + 1].startswith(start):
            return first + 1
        return self._left(key + b"\1", first + 1, last)

    def _left(self, key: bytes, low: int, high: int) -> int:
        """Return where a key is, or would be, in a slice."""
        keys = self.keys
        if isinstance(keys, PackedKeys):
            return keys.left(key, low, high)
        return bisect_left(keys, key, low, high)


def shadowed(path: str) -> Finding:
    """Return what there is to say of a file that nobody sees, for a folder is in its place."""
    words = "both a folder and something else, which is left out"
    return Finding(Code.PATH_UNREADABLE, path, actual=words)
