"""The journal of a run: what its lines say.

    {"run", "at", "root", "kind", "wait"}               its head; without a kind it is of gc
    {"begin": path}                                     a file may be begun beside this place
    {"move": source, "path", "kind", "digest", "size"}  this will be moved (or copied) away
                                                        .. "mtime": as when it was looked at
    {"undoing"}                                         some of it will be moved back
    {"returned": path}                                  it was in use again, and is back
    {"create": path, "kind", "digest", "size", "content", "folder"}   this will be put in place
    {"made": path} {"left": path}                       it was; nothing was done there, after all
    {"replace": path, "kind", "digest", "size"}         bad bytes will make room for good ones
    {"stays": path}                                     the next purge does not delete this
    {"synced"}                                          no power cut takes back what was moved
    {"applied"} {"restored"} {"purging"} {"purged"}     when
                                                        .. "partly": a purge of what does not stay
                                                        .. "lying": what a run that was cut off
                                                           had moved, in all
    {"torn": bytes}                                     so much before it is no line: a crash

Lines are only added. A last one that a crash has cut off is as if it were not there. How
damage is told from that, `regfs.runs.lines` says.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from regfs import layout
from regfs.errors import PathMissing, RunUnknown
from regfs.runs.lines import JournalReading, Line, Lines, empty, read
from regfs.stores import Store, ignore, stat_or_none
from regfs.units import rfc3339

RUNS: Final = f"{layout.STATE}/runs"
UNDONE: Final = "undone"
"""The folder in a quarantine that holds what the run had made, and a restore took out."""
REPLACED: Final = "replaced"
"""The folder in a quarantine that holds bad bytes for which good ones went back."""
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class RunKind(StrEnum):
    """Why a run changes the tree."""

    GC = "gc"
    HEAL = "heal"
    QUARANTINE = "quarantine"
    RELINK = "relink"


@dataclass(frozen=True, slots=True)
class Skipped:
    """One thing that was to be done and was not, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Returned:
    """One thing that a run had moved away and that came back into use; it is in place again."""

    run: str
    path: str
    kind: str
    digest: str | None
    size: int
    replaced: bool = False
    """Whether something bad lay at its place, which was moved aside."""


def new_run() -> str:
    """Return the name of a run that begins now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def now() -> str:
    """Return the time of a line."""
    return rfc3339(datetime.now(UTC))


def seconds_of(text: object) -> float | None:
    """Return the time that a line tells, in seconds since the epoch; None when it tells none."""
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def journal_of(run: str) -> str:
    """Return the path of a run's journal."""
    return f"{RUNS}/{run}/journal.jsonl"


def quarantine_of(run: str) -> str:
    """Return the folder to which a run moves things."""
    return f"{RUNS}/{run}/quarantine"


@dataclass(frozen=True, slots=True)
class Journal:
    """What is written down of a run."""

    run: str
    lines: list[Line]
    """Those before any damage."""
    damage: str | None
    """What is wrong with the journal; None of one that is whole."""
    reading: JournalReading
    """Where it goes on."""


def read_journal(store: Store, run: str) -> Journal:
    """Return what is written down of a run; damage is told, not raised.

    Raises:
        RunUnknown: there is no such run.
    """
    require_run(store, run)
    try:
        with store.open(journal_of(run)) as stream:
            found = read(run, stream.read())
    except PathMissing:
        return Journal(run, [], "it is gone", empty(run))
    lines, damage = found.lines, found.damage
    for number, line in enumerate(lines):
        wrong = _wrong(run, number, line)
        if wrong is not None:
            return Journal(run, lines[:number], wrong, replace(found, damage=wrong))
    return Journal(run, lines, damage, found)


def journals(store: Store) -> Iterator[Journal]:
    """Yield what is written down of every run, oldest first."""
    for entry in store.list(RUNS, ignore):
        try:
            yield read_journal(store, layout.name_of(entry.path))
        except RunUnknown:
            continue


def _wrong(run: str, number: int, line: Line) -> str | None:
    """Return what is wrong with a line that is written as it should be."""
    if number == 0 and "run" not in line:
        return "its first line is gone"
    if line.get("run", run) != run:
        return f"it is of another run: {str(line['run'])[:80]}"
    if not _is_complete(line):
        return f"a line does not tell what it should: {str(line)[:200]}"
    return None


@contextmanager
def continued(store: Store, run: str) -> Iterator[Lines]:
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


_COMMON: Final[dict[str, type | tuple[type, ...]]] = {
    "kind": str,
    "size": int,
    "digest": (str, type(None)),
}
_PARTS: Final[dict[str, dict[str, type | tuple[type, ...]]]] = {
    "move": {"move": str, "path": str, **_COMMON},
    "create": {"create": str, "content": str, **_COMMON},
    "replace": {"replace": str, **_COMMON},
}
"""What a line that names something must say of it."""


def _is_complete(line: Line) -> bool:
    return all(
        isinstance(line.get(part, ...), kind)
        for name, parts in _PARTS.items()
        if name in line
        for part, kind in parts.items()
    ) and ("applied" not in line or seconds_of(line["applied"]) is not None)
