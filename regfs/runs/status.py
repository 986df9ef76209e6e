"""What has become of a run, by its journal and by what lies in its quarantine.

    applied       all was done; what it moved lies in quarantine
    interrupted   it did not end: `done` lies in quarantine, `left` was not moved
    restored      it was taken back, and stays so, whatever is deleted of it later
    purging       a purge did not end
    purged        what it had moved is deleted
    damaged       its journal does not account for what lies in its quarantine

Only what was really moved counts. The journal says when; for a run that did not end, or is
damaged, the mtimes of the folders in its quarantine do: each move has touched the folder that it
led to. The name of a run, and the time in it, are those of its plan, and are only for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from regfs.runs.account import Account
from regfs.runs.contents import Contents, contents
from regfs.runs.journal import Chooser, Journal, journals, read_journal
from regfs.runs.paths import RUNS, journal_of
from regfs.runs.records import Change, Item, RunKind
from regfs.runs.totals import Totals, sum_up
from regfs.stores import FileKind, Store, ignore, stat_or_none
from regfs.units import utc_time

WAIT: Final = 3600.0
"""Seconds, for a run whose journal does not say how long to wait."""
_PURGEABLE: Final = frozenset({"applied", "interrupted", "purging"})
_LATEST: Final = 253_402_300_799.0
"""The end of the year 9999, after which there are no dates."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, by its journal and its quarantine."""

    run: str
    kind: RunKind
    created_at: datetime
    """When its plan was made."""
    moved_at: datetime
    """When it moved its last item."""
    state: str
    """applied | interrupted | restored | purging | purged | damaged"""
    done: Totals
    """What it moved away, and is not back in place."""
    left: Totals = field(default_factory=Totals)
    """What it was to move, and did not come to."""
    made: Totals = field(default_factory=Totals)
    """What it was to create."""
    damage: str | None = None
    """Why the run is damaged; None if it is not."""
    wait: float = 0.0
    """Seconds from its last move until it may be purged beside a registry that serves."""
    purge_from: datetime | None = None
    """When `wait` has passed; None while nothing of it is to be purged."""


Runs = list[Run]


@dataclass(frozen=True, slots=True)
class Survey:
    """A run, with what says so."""

    run: Run
    journal: Journal
    contents: Contents


def survey(store: Store, run: str) -> Survey:
    """Look at one run.

    Raises:
        RunUnknown: there is none of this name.
    """
    return _survey(store, read_journal(store, run))


def surveys(
    store: Store, *, but: str | None = None, only: Chooser = lambda store, run: True
) -> Iterator[Survey]:
    """Look at every run `but` one, oldest first; `only` at those that it chooses."""
    return (_survey(store, journal) for journal in journals(store, but=but, only=only))


def _survey(store: Store, journal: Journal) -> Survey:
    found = contents(store, journal)
    return Survey(_run(store, journal, found), journal, found)


def runs(store: Store) -> Runs:
    """Return every run, oldest first."""
    return [one.run for one in surveys(store)]


def _totals_of(items: Iterable[Item]) -> Totals:
    return sum_up((item.kind, item.size) for item in items)


def _run(store: Store, journal: Journal, found: Contents) -> Run:
    account = journal.account
    damage = journal.damage or found.damage
    there = {item.path for item in found.items if item.change is Change.MOVE}
    state, left = account.state, Totals()
    if damage is not None:
        state = "damaged"
        done = _totals_of(found.items)
    elif state in ("applied", "interrupted"):
        done = _totals_of(item for path, item in account.moved.items() if path in there)
    else:
        done = account.moved_totals or _totals_of([*account.moved.values(), *account.gone.values()])
    if state == "interrupted":
        left = _totals_of(item for path, item in account.moved.items() if path not in there)
    moved_at = min(_moved_at(store, journal, found), _LATEST)
    wait = _wait(account, state)
    return Run(
        journal.run,
        account.kind,
        created(journal.run),
        datetime.fromtimestamp(moved_at, UTC),
        state,
        done,
        left,
        _totals_of(account.created.values()),
        damage,
        wait,
        utc_time(moved_at + wait) if state in _PURGEABLE else None,
    )


def _wait(account: Account, state: str) -> float:
    """Return how many seconds have to pass after the last move of a run until it is purged."""
    if account.kind.moves_what_is_bad or state in ("purging", "damaged"):
        return 0.0
    return max(account.waits, default=WAIT)


def created(run: str) -> datetime:
    """Return when the plan of a run was made, as its name says."""
    try:
        return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _moved_at(store: Store, journal: Journal, found: Contents) -> float:
    """Return when a run moved its last item, or somewhat later."""
    applied_at = journal.account.applied_at
    if applied_at is not None and journal.damage is None and not found.strays:
        return applied_at + 1.0  # the journal leaves out fractions of a second
    # Every move has touched the folder that it led to.
    run = f"{RUNS}/{journal.run}"
    inside = (entry.mtime for entry in store.walk(run, ignore) if entry.kind is FileKind.FOLDER)
    above = (stat_or_none(store, path) for path in (run, journal_of(journal.run)))
    return max([0.0, *inside, *(one.mtime for one in above if one is not None)])
