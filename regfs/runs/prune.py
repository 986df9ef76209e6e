"""Deleting the journals of runs that were purged long ago.

Why it is safe. The journal of a purged run is needed by nobody: `purged` was written when the
folder of its quarantine was durably gone, so nothing can be restored by it, and no later run
reads it. A plan of its name that is applied again is checked like any other: what it names and
finds is moved only if a plan made at that moment says so too. A journal stays when anything
could still rest on it:

    it is damaged, or says another state      something may lie in quarantine, or be restored
    there is anything else in the run's folder
    it does not say when it was purged, or    its age is unknown
    says a time to come
"""

from __future__ import annotations

from typing import Final

from regfs.findings import Finding
from regfs.runs.journal import Journal, journals, read_tail
from regfs.runs.lines import Line, tail_of
from regfs.runs.lock import exclusive
from regfs.runs.paths import RUNS, journal_of, reserve_of
from regfs.runs.records import Record, Stage, parse
from regfs.stores import Store, WritableStore, stat_or_none

KEEP: Final = 90 * 86400.0
"""Seconds for which the journal of a purged run stays."""


def prune(store: WritableStore, keep: float, now: float) -> list[str]:
    """Delete the journals of runs that were purged at least `keep` seconds ago; return the runs.

    Raises:
        LockHeld: another run is under way.
    """
    if not _over(store, keep, now):
        return []
    with exclusive(store):
        over = _over(store, keep, now)
        for run in over:
            store.delete([journal_of(run), reserve_of(run), f"{RUNS}/{run}"])
        return over


def _over(store: Store, keep: float, now: float) -> list[str]:
    """Return the runs on whose journals nothing rests any more."""

    def may_be_over(store: Store, run: str) -> bool:
        # The end of a journal costs next to nothing; few of them are old enough to be read.
        if stat_or_none(store, journal_of(run)) is None:
            return False
        last = tail_of(read_tail(store, run))
        stage = None if last is None else _parsed(run, last)
        at = stage.at if isinstance(stage, Stage) else None
        return at is not None and now - at >= keep

    return [one.run for one in journals(store, only=may_be_over) if _is_over(store, one)]


def _parsed(run: str, line: Line) -> Record | None:
    try:
        return parse(run, line)
    except ValueError:
        return None


def _is_over(store: Store, journal: Journal) -> bool:
    """Return whether nothing rests on a journal any more."""
    if journal.damage is not None or journal.account.state != "purged":
        return False
    unread: list[Finding] = []
    there = {entry.path for entry in store.list(f"{RUNS}/{journal.run}", unread.append)}
    return not unread and there <= {journal_of(journal.run), reserve_of(journal.run)}
