"""The journal of a run: read, checked, and continued.

Lines are only added. A last line that a crash has torn counts as not written; how that is told
from damage is in `regfs.runs.lines`, and what lines say in `regfs.runs.records`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from regfs import layout
from regfs.errors import PathMissing, RunUnknown
from regfs.runs.account import Account
from regfs.runs.lines import JournalReading, Lines, empty, read
from regfs.runs.paths import RUNS, journal_of, quarantine_of
from regfs.runs.records import Head, Record, parse
from regfs.stores import Store, WritableStore, ignore, stat_or_none


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


def new_run() -> str:
    """Return the name of a run that begins now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


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
            found = read(run, stream.read())
    except PathMissing:
        return Journal(run, Account(), "it is gone", empty(run))
    records, damage = _parsed(run, found)
    return Journal(run, Account.of(records), damage, replace(found, damage=damage))


def _parsed(run: str, found: JournalReading) -> tuple[list[Record], str | None]:
    """Return what lines say, up to any damage, and what is wrong there."""
    records: list[Record] = []
    for number, line in enumerate(found.lines):
        if number == 0 and "run" not in line:
            return records, "its first line is gone"
        try:
            record = parse(run, line)
        except ValueError:
            return records, f"a line does not say what it should: {str(line)[:200]}"
        if isinstance(record, Head) and record.run != run:
            return records, f"it is of another run: {record.run[:80]}"
        if record is not None:
            records.append(record)
    return records, found.damage


def journals(store: Store, *, but: str | None = None) -> Iterator[Journal]:
    """Yield the journal of every run `but` one, oldest first."""
    for entry in store.list(RUNS, ignore):
        run = layout.name_of(entry.path)
        try:
            if run != but:
                yield read_journal(store, run)
        except RunUnknown:
            continue


@contextmanager
def continued(store: WritableStore, run: str) -> Iterator[Lines]:
    """Open a journal to add to it; the caller holds the lock."""
    try:
        reading = read_journal(store, run).reading
    except RunUnknown:
        reading = empty(run)
    with store.append(journal_of(run)) as file:
        yield Lines(file, reading)


def require_run(store: Store, run: str) -> None:
    """See that there is a run of this name.

    Raises:
        RunUnknown: there is none.
    """
    named = "/" not in run and run not in ("", ".", "..")
    if not (
        named and any(stat_or_none(store, path) for path in (journal_of(run), quarantine_of(run)))
    ):
        raise RunUnknown(f"no such run: {run}")
