"""How long work tells that it moves on. The command line draws it; libraries only call it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A counter of one task at a time."""

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Begin a task; `total` is None when unknown, `unit` is "items" or "bytes"."""

    def advance(self, amount: int) -> None:
        """Say that `amount` more units are done."""

    def finish(self) -> None:
        """End the task."""


class Silent:
    """A Progress that shows nothing."""

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Ignore it."""

    def advance(self, amount: int) -> None:
        """Ignore it."""

    def finish(self) -> None:
        """Ignore it."""


SILENT = Silent()
