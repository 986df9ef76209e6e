"""What lies at a path of merged layers, and what one layer does to it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from regfs.content.entries import EntryKind, TarEntry


class Placed(NamedTuple):
    """What lies at a path."""

    path: str
    """Where it lies: other than in its entry if a folder above is a symbolic link."""
    entry: TarEntry
    layer: int
    """Index into the layers of the image, base first."""


class ChangeKind(StrEnum):
    """What a layer does to a path."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class FileChange(NamedTuple):
    """What a layer does to one path."""

    kind: ChangeKind
    path: str
    before: Placed | None
    after: Placed | None


class Hiding(StrEnum):
    """How a file of a lower layer gets out of sight."""

    OVERWRITTEN = "overwritten"
    REMOVED = "removed"


class Hidden(NamedTuple):
    """A regular file that nobody can see any more."""

    placed: Placed
    by: int
    """The layer that hides it."""
    how: Hiding


def changed(path: str, before: Placed | None, after: Placed | None) -> FileChange | None:
    """Return how a path differs; None if it does not."""
    if before is None:
        return None if after is None else FileChange(ChangeKind.ADDED, path, None, after)
    if after is None:
        return FileChange(ChangeKind.REMOVED, path, before, None)
    if before == after:
        return None
    one, other = before.entry, after.entry
    if one.kind is other.kind is EntryKind.FOLDER:
        same = (one.mode, one.uid, one.gid, one.xattrs) == (
            (other.mode, other.uid, other.gid, other.xattrs)
        )
        if same:
            return None
    return FileChange(ChangeKind.CHANGED, path, before, after)
