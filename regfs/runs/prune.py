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
from regfs.runs.journal import Journal, journals
from regfs.runs.lock import exclusive
from regfs.runs.paths import RUNS, journal_of, reserve_of
from regfs.stores import Store, WritableStore

KEEP: Final = 90 * 86400.0
"""Seconds for which the journal of a purged run stays."""


def prune(store: WritableStore, keep: float, now: float) -> list[str]:
    """Delete the journals of runs that were purged at least `keep` seconds ago; return the runs.

    Raises:
        LockHeld: another run is under way.
    """
    if not any(_is_over(store, one, keep, now) for one in journals(store)):
        return []
    with exclusive(store):
        over = [one.run for one in journals(store) if _is_over(store, one, keep, now)]
        for run in over:
            store.delete([journal_of(run), reserve_of(run), f"{RUNS}/{run}"])
        return over


def _is_over(store: Store, journal: Journal, keep: float, now: float) -> bool:
    """Return whether nothing rests on a journal any more."""
    purged_at = journal.account.purged_at
    if journal.damage is not None or journal.account.state != "purged" or purged_at is None:
        return False
    unread: list[Finding] = []
    there = {entry.path for entry in store.list(f"{RUNS}/{journal.run}", unread.append)}
    alone = not unread and there <= {journal_of(journal.run), reserve_of(journal.run)}
    return alone and now - purged_at >= keep
