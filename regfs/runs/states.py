"""What has become of a run: told by its journal, and by what lies in its quarantine.

    applied       all was done; what it moved lies in quarantine
    interrupted   it was cut off: `done` lies in quarantine, `left` was not moved
    restored      it was taken back, and stays so, whatever is deleted of it later
    purging       a purge was cut off
    purged        what it had moved is deleted
    damaged       its journal does not account for what lies in its quarantine

Only what was really moved is counted. When it was moved its journal says; of a run that did
not come to its end, and of one that is damaged, the folders of its quarantine say so: each
move has touched the one that it led to. The name of a run, and the time in it, are those of
a plan, and are only for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from regfs.runs.contents import Area, Contents, contents
from regfs.runs.journal import (
    RUNS,
    Journal,
    RunKind,
    journal_of,
    journals,
    read_journal,
    seconds_of,
)
from regfs.runs.lines import Line
from regfs.runs.totals import Totals, sum_up
from regfs.stores import FileKind, Store, ignore, stat_or_none

_LATEST: Final = 253_402_300_799.0
"""The end of the year 9999, after which there are no dates."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as its journal and its quarantine tell."""

    run: str
    kind: RunKind
    created_at: datetime
    """When its plan was made."""
    moved_at: datetime
    """When it has moved its last thing."""
    state: str
    """applied | interrupted | restored | purging | purged | damaged"""
    done: Totals
    """What it moved away, and is not back in place."""
    left: Totals = field(default_factory=Totals)
    """What it was to move, and was cut off before."""
    made: Totals = field(default_factory=Totals)
    """What was meant to be put in place."""
    damage: str | None = None
    """What is wrong with a run that is damaged."""


Runs = list[Run]


@dataclass(slots=True)
class Account:
    """What the lines of a journal come to."""

    moved: dict[str, Line] = field(default_factory=dict)
    """By path what was meant to be moved, and was neither left, nor put back, nor deleted."""
    made: dict[str, Line] = field(default_factory=dict)
    gone: dict[str, Line] = field(default_factory=dict)
    """What was deleted for good by itself."""
    state: str = "interrupted"
    restored: bool = False
    lying: Totals | None = None
    """What a run that was cut off had moved, when it was taken back or purged."""
    _before: dict[str, Line] = field(default_factory=dict)
    """Of what was meant to be moved twice, the line before."""
    _stays: set[str] = field(default_factory=set)
    """What the next purge does not delete."""

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Account:
        """Go through lines in order: one that was carried on may have said the same twice."""
        account = cls()
        for line in lines:
            account._add(line)
        return account

    def _add(self, line: Line) -> None:
        if "move" in line:
            path = line["path"]
            if path in self.moved:
                self._before[path] = self.moved[path]
            self.moved[path] = line
        elif "create" in line:
            self.made[line["create"]] = line
        elif "left" in line:
            self._leave(line["left"])
        elif "returned" in line:
            self.moved.pop(line["returned"], None)
        elif "stays" in line:
            self._stays.add(line["stays"])
        elif "partly" in line:
            going = self.moved.keys() - self._stays
            self.gone.update({path: self.moved.pop(path) for path in going})
            self._stays.clear()
        else:
            self._turn(line)

    def _leave(self, path: str) -> None:
        self.made.pop(path, None)
        self.moved.pop(path, None)
        if path in self._before:
            self.moved[path] = self._before.pop(path)

    def _turn(self, line: Line) -> None:
        for word in ("applied", "restored", "purging", "purged"):
            if word in line:
                self.state = word
        self.restored |= "restored" in line
        if "lying" in line:
            self.lying = Totals(**line["lying"])
        if self.state == "purged" and self.restored:
            self.state = "restored"


@dataclass(frozen=True, slots=True)
class Survey:
    """A run, with what it was told by."""

    run: Run
    journal: Journal
    contents: Contents


def survey(store: Store, run: str) -> Survey:
    """Look at one run.

    Raises:
        RunUnknown: there is none of this name.
    """
    return _survey(store, read_journal(store, run))


def surveys(store: Store) -> Iterator[Survey]:
    """Look at every run, oldest first."""
    return (_survey(store, journal) for journal in journals(store))


def _survey(store: Store, journal: Journal) -> Survey:
    lying = contents(store, journal)
    return Survey(_told(store, journal, lying), journal, lying)


def runs(store: Store) -> Runs:
    """Return every run, oldest first."""
    return [one.run for one in surveys(store)]


def summed(lines: Iterable[Line]) -> Totals:
    """Add up what lines are about."""
    return sum_up((line["kind"], line["size"]) for line in lines)


def kind_of(journal: Journal) -> RunKind:
    """Return what a run is for; one that does not say so is a collection."""
    kinds = [str(line["kind"]) for line in journal.lines if "run" in line and "kind" in line]
    return RunKind(kinds[0]) if kinds and kinds[0] in set(RunKind) else RunKind.GC


def _told(store: Store, journal: Journal, lying: Contents) -> Run:
    account = Account.of(journal.lines)
    damage = journal.damage or lying.damage
    there = {thing.path for thing in lying.things if thing.area is Area.MOVED}
    state, left = account.state, Totals()
    if damage is not None:
        state = "damaged"
        done = sum_up((thing.kind, thing.size) for thing in lying.things)
    elif state in ("applied", "interrupted"):
        done = summed(line for path, line in account.moved.items() if path in there)
    else:
        done = account.lying or summed([*account.moved.values(), *account.gone.values()])
    if state == "interrupted":
        left = summed(line for path, line in account.moved.items() if path not in there)
    return Run(
        journal.run,
        kind_of(journal),
        created(journal.run),
        datetime.fromtimestamp(min(_moved_at(store, journal, lying), _LATEST), UTC),
        state,
        done,
        left,
        summed(account.made.values()),
        damage,
    )


def created(run: str) -> datetime:
    """Return when the plan of a run was made, as its name says."""
    try:
        return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _moved_at(store: Store, journal: Journal, lying: Contents) -> float:
    """Return when a run has moved its last thing, or somewhat later."""
    ends = [seconds_of(line["applied"]) or 0.0 for line in journal.lines if "applied" in line]
    if ends and journal.damage is None and not lying.strays:
        return max(ends) + 1.0  # it was written without the fraction of the second
    # Every move has touched the folder in quarantine that it led to.
    run = f"{RUNS}/{journal.run}"
    inside = (entry.mtime for entry in store.walk(run, ignore) if entry.kind is FileKind.FOLDER)
    above = (stat_or_none(store, path) for path in (run, journal_of(journal.run)))
    return max([0.0, *inside, *(one.mtime for one in above if one is not None)])
