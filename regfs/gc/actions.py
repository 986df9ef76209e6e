"""One item that a collection deletes. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from regfs.runs.totals import ActionKind


@dataclass(frozen=True, slots=True)
class Action:
    """One item to move away, and the state of it when that was decided."""

    kind: ActionKind
    path: str
    """A file; for a tag, upload, directory or repository its folder."""
    digest: str | None
    repository: str | None
    size: int
    """Bytes of the file, or of all files in the folder."""
    mtime: float
    """In seconds since the epoch. If the mtime differs later, the item was used meanwhile."""
    reason: str
    allocated: int = 0
    """Bytes of the disk blocks of the file, or of all files in the folder; 0 where not known."""
