"""What is kept although nothing needs it, and why. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

NAMED: Final = 1000
"""Items of one reason that are listed; the others are only counted."""


@dataclass(frozen=True, slots=True)
class KeptItem:
    """One item that is kept."""

    reason: str
    """A key of `Plan.kept`."""
    path: str
    size: int
    """Bytes; 0 of a repository."""
    mtime: float | None = None
    """Seconds since the epoch, if its age is the reason."""


@dataclass(slots=True)
class Kept:
    """Counts, bytes and names of what is kept, by reason."""

    counts: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    items: list[KeptItem] = field(default_factory=list)
    """Up to `NAMED` of each reason."""
    first: float = math.inf
    """When the first of what is too young will be old enough, in seconds since the epoch."""
    last: float = -math.inf
    """When all of it will be."""

    def add(self, reason: str, path: str, size: int = 0, mtime: float | None = None) -> None:
        """Add one item."""
        self.counts[reason] += 1
        self.bytes[reason] += size
        if self.counts[reason] <= NAMED:
            self.items.append(KeptItem(reason, path, size, mtime))

    def ripens(self, at: float) -> None:
        """Note when an item that is too young will be old enough."""
        self.first, self.last = min(self.first, at), max(self.last, at)
