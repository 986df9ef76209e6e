"""What stores say of what they hold: entries, listings, states of paths, free space."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from regfs.errors import StoreError


class FileKind(Enum):
    """What is at a path. Symbolic links inside the tree count as what they lead to."""

    FILE = "file"
    FOLDER = "folder"
    SPECIAL = "special"
    """FIFO, socket or device; never opened."""
    LINK = "link"
    """A symbolic link that is not followed: it leaves the tree, loops or leads nowhere."""


class Entry(NamedTuple):
    """One thing a store lists."""

    path: str
    size: int
    """Bytes; for a folder, what the file system reports."""
    mtime: float
    """Last modification, seconds since the epoch, UTC."""
    etag: str = ""
    """Changes when the content changes, as far as the store can detect it."""
    kind: FileKind = FileKind.FILE
    allocated: int = -1
    """Bytes of disk blocks; -1 where the store has no such thing."""
    changed: float = -1.0
    """Last change of content or attributes (ctime), which no program can set; -1 where the
    store has no such thing."""


class FileId(NamedTuple):
    """Identifies a file and its state; a copy of the file has another one."""

    device: int
    inode: int
    """Never 0."""
    changed: int
    """When content or attributes changed last (ctime), in nanoseconds since the epoch."""


class Leaves(NamedTuple):
    """The files `<folder>/<name>/<leaf>` of one folder, as columns of equal length.

    There can be millions, and an object for each would cost more than the disk access.
    """

    names: list[str]
    sizes: list[int]
    mtimes: list[float]
    allocated: list[int]
    absent: list[str]
    """Children that are folders and hold no such leaf."""
    others: list[Entry]
    """Everything else: stray files in the folder; folders, special files and links that are not
    followed, at the path of the leaf or on the way to it."""
    contents: Sequence[bytes | None] = ()
    """What the files begin with, if requested; None for a file that cannot be read."""


class Listing(NamedTuple):
    """What is directly in one folder, by name, each column sorted by bytes."""

    path: str
    folders: list[str]
    files: list[str]
    others: list[str]
    """What is not followed or opened: special files and links; a finding says why."""
    content: bytes | StoreError | None = None
    """What the requested file begins with, or the error that `read` would raise; None if there
    is no such file, or none was requested."""
    complete: bool = True
    """Whether the folder could be read to its end; if not, a finding says why."""


class FolderFiles(NamedTuple):
    """A folder with what its files take; the folders in it come by themselves."""

    path: str
    allocated: int
    """Bytes of disk blocks of the folder itself."""
    files: list[tuple[str, int, float, int]]
    """Name, size, mtime (seconds since the epoch) and bytes of disk blocks."""


class PathState(NamedTuple):
    """The state of one path, and whether it is alone in its folder."""

    entry: Entry
    alone: bool
    """Whether its folder certainly holds nothing else."""
    folder: tuple[int, ...] = ()
    """Changes when anything comes into its folder or leaves it; empty where that may not show."""
    content: bytes | StoreError | None = None
    """What the file begins with, or the error that `read` raises, if requested."""

    def plain(self) -> tuple[Any, ...] | None:
        """Return it as plain values, for another process; None unless it is a file, read well."""
        path, size, mtime, etag, kind, *rest = self.entry
        if kind is not FileKind.FILE or isinstance(self.content, StoreError):
            return None
        return path, size, mtime, etag, *rest, *self[1:]

    @classmethod
    def of_plain(cls, values: tuple[Any, ...]) -> PathState:
        """Return the state of a path from what `plain` has returned."""
        path, size, mtime, etag, allocated, changed, *rest = values
        return cls(Entry(path, size, mtime, etag, FileKind.FILE, allocated, changed), *rest)


class Unlisted(NamedTuple):
    """What takes space in a store, and no listing shows."""

    uploads: int
    """Those that are neither complete nor aborted."""
    bytes: int


class Room(NamedTuple):
    """The free space of a store."""

    bytes: int
    """Free bytes."""
    files: int
    """Files and folders that can still be made; -1 where there is no such limit."""
    folder: int
    """Bytes that a new folder takes; 0 where that is next to nothing."""
    total: int = 0
    """Bytes of the whole, free or not; 0 where there is no such limit."""
