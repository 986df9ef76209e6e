"""The journal of a run: read, checked, and continued.

Lines are only added. A last line that a crash has torn counts as not written; how that is told
from damage is in `regfs.runs.lines`, and what lines say in `regfs.runs.records`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from regfs import layout
from regfs.errors import PathMissing, ReferenceAmbiguous, RunUnknown, did_you_mean
from regfs.runs.account import Account
from regfs.runs.lines import JournalReading, Line, Lines, empty, end_of, read, tail_of
from regfs.runs.paths import RUNS, journal_of, quarantine_of
from regfs.runs.records import Head, Record, parse
from regfs.stores import Store, WritableStore, ignore, stat_or_none

_TAIL: Final = 4096


LATEST: Final = "latest"
"""Stands for the run with the latest plan."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """One path at which something was to be done and was not, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Returned:
    """One item that a run had moved away, that is in use again and back in place."""

    run: str
    path: str
    kind: str
    digest: str | None
    size: int
    replaced: bool = False
    """Whether bad bytes lay at its place, and were moved aside."""


def new_run(at: datetime | None = None) -> str:
    """Return the name of a run that begins now, or then; names are in the order of time."""
    at = at or datetime.now(UTC)
    return f"{at:%Y%m%dT%H%M%SZ}-{at.microsecond:05x}{secrets.token_hex(1)[0]}"


@dataclass(frozen=True, slots=True)
class Journal:
    """What is written down about a run."""

    run: str
    account: Account
    """What its lines add up to, as far as they are whole."""
    damage: str | None
    """What is wrong with the journal; None if it is whole."""
    reading: JournalReading
    """Where it goes on."""


def read_journal(store: Store, run: str) -> Journal:
    """Return the journal of a run; damage is reported in it, not raised.

    Raises:
        RunUnknown: there is no such run.
    """
    require_run(store, run)
    try:
        with store.open(journal_of(run)) as stream:
            found = read(run, stream.read(), _Parser(run))
    except PathMissing:
        return Journal(run, Account(), "it is gone", empty(run))
    return Journal(run, Account.of(found.lines), found.damage, found)


class _Parser:
    """Parses the lines of a run, the first of which has to be the first of that run."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._begun = False

    def __call__(self, line: Line) -> Record | None:
        if not self._begun and "run" not in line:
            raise ValueError("its first line is gone")
        try:
            record = parse(self._run, line)
        except ValueError:
            shown = str(line)[:200]
            raise ValueError(f"a line does not say what it should: {shown}") from None
        if isinstance(record, Head) and record.run != self._run:
            raise ValueError(f"it is of another run: {record.run[:80]}")
        self._begun = True
        return record


Chooser = Callable[[Store, str], bool]
"""Whether the journal of a run is to be read."""


def has_quarantine(store: Store, run: str) -> bool:
    """Return whether something of a run may lie in quarantine.

    A tree keeps the journals of all runs that ever were; there is no need to read those of runs
    of which nothing is left.
    """
    return stat_or_none(store, quarantine_of(run)) is not None


def may_be_purged(store: Store, run: str) -> bool:
    """Return whether a purge has anything to do for a run: something of it may be left."""
    if has_quarantine(store, run) or stat_or_none(store, journal_of(run)) is None:
        return True
    last = tail_of(read_tail(store, run))
    return last is None or last.keys().isdisjoint(("purged", "restored"))


def journals(
    store: Store, *, but: str | None = None, only: Chooser = lambda store, run: True
) -> Iterator[Journal]:
    """Yield the journal of every run `but` one, oldest first; `only` of those that it chooses."""
    for entry in store.list(RUNS, ignore):
        run = layout.name_of(entry.path)
        if run == but or not only(store, run):
            continue
        try:
            yield read_journal(store, run)
        except RunUnknown:
            continue


@contextmanager
def continued(store: WritableStore, run: str) -> Iterator[Lines]:
    """Open a journal to add to it; the caller holds the lock."""
    reading = _end_of_journal(store, run)
    if reading is None:
        try:
            reading = read_journal(store, run).reading
        except RunUnknown:
            reading = empty(run)
    with store.append(journal_of(run)) as file:
        yield Lines(file, reading)


def _end_of_journal(store: Store, run: str) -> JournalReading | None:
    """Return how a journal goes on, if its last lines show that."""
    return end_of(read_tail(store, run)) if stat_or_none(store, journal_of(run)) else None


def read_tail(store: Store, run: str) -> bytes:
    """Return the last bytes of a journal, as many as several lines usually take."""
    size = store.stat(journal_of(run)).size
    with store.open(journal_of(run), max(size - _TAIL, 0)) as stream:
        return stream.read()


def require_run(store: Store, run: str) -> None:
    """See that there is a run of this name.

    Raises:
        RunUnknown: there is none.
    """
    named = "/" not in run and run not in ("", ".", "..")
    if not (
        named and any(stat_or_none(store, path) for path in (journal_of(run), quarantine_of(run)))
    ):
        names = [layout.name_of(entry.path) for entry in store.list(RUNS, ignore)]
        if not names:
            raise RunUnknown(f"no such run: {run}; there are none")
        raise RunUnknown(f"no such run: {run}{did_you_mean(run, [*names, LATEST])}")


def find_run(store: Store, text: str) -> str:
    """Return the name of the run that is meant: by its name, a unique beginning, or `latest`.

    Raises:
        RunUnknown: there is none.
        ReferenceAmbiguous: several begin so; the message lists them.
    """
    found = [layout.name_of(entry.path) for entry in store.list(RUNS, ignore)]
    fits = [run for run in found if run.startswith(text)] if text else []
    if text == LATEST and found:
        return max(found)
    if text in fits or not fits:
        return text  # whoever opens it says that it is unknown
    if len(fits) > 1:
        raise ReferenceAmbiguous(f"{text!r} begins several runs: {', '.join(sorted(fits))}")
    return fits[0]
