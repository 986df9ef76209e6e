"""Where a run keeps what it needs, below `.regfs/runs/<run>`."""

from __future__ import annotations

from typing import Final

from regfs import layout

RUNS: Final = f"{layout.STATE}/runs"


def journal_of(run: str) -> str:
    """Return the path of a run's journal."""
    return f"{RUNS}/{run}/journal.jsonl"


def quarantine_of(run: str) -> str:
    """Return the folder to which a run moves things."""
    return f"{RUNS}/{run}/quarantine"


def reserve_of(run: str) -> str:
    """Return the path of a run's reserve."""
    return f"{RUNS}/{run}/reserve"
