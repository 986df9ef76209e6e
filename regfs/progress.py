"""Progress of long work. Libraries report it; the command line draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A counter of one task at a time."""

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Begin a task; `total` is None if unknown, `unit` is "items" or "bytes"."""

    def advance(self, amount: int) -> None:
        """Report `amount` more units as done."""

    def finish(self) -> None:
        """End the task."""


class Silent:
    """A Progress that shows nothing."""

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Do nothing."""

    def advance(self, amount: int) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


SILENT = Silent()
