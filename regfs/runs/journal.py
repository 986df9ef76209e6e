"""The journal of a run: its lines, and what they tell.

    {"run", "at", "root", "kind", "wait"}               its head; without a kind it is of gc
    {"begin": path}                                     a file may be begun beside this place
    {"move": source, "path", "kind", "digest", "size"}  this will be moved (or copied) away
                                                        .. "mtime": as when it was looked at
    {"undoing"}                                         some of it will be moved back
    {"returned": path}                                  it was in use again, and is back
    {"create": path, "kind", "digest", "size", "content", "folder"}   this will be put in place
    {"made": path} {"left": path}                       it was; it was not, after all
    {"synced"}                                          no power cut takes back what was moved
    {"applied"} {"restored"} {"purging"} {"purged"}     when

Lines are only added. A last one that a crash has cut off is as if it were not there.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, BinaryIO, Final

from regfs import layout
from regfs.errors import PathMissing, RunUnknown, StoreError
from regfs.stores import Entry, Store, ignore
from regfs.totals import Totals, sum_up

Line = dict[str, Any]

RUNS: Final = f"{layout.STATE}/runs"
UNDONE: Final = "undone"
"""The folder in a quarantine that holds what the run had made, and a restore took out."""


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


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as its journal tells."""

    run: str
    kind: RunKind
    created_at: datetime
    state: str
    """applied | interrupted | restored | purging | purged"""
    done: Totals
    """What was meant to be moved away and did not come back into use; of an interrupted run
    some may still be in place."""
    made: Totals = field(default_factory=Totals)
    """What was meant to be put in place."""


Runs = list[Run]


def new_run() -> str:
    """Return the name of a run that begins now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def now() -> str:
    """Return the time of a line."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def journal_of(run: str) -> str:
    """Return the path of a run's journal."""
    return f"{RUNS}/{run}/journal.jsonl"


def quarantine_of(run: str) -> str:
    """Return the folder to which a run moves things."""
    return f"{RUNS}/{run}/quarantine"


@contextmanager
def continued(store: Store, run: str) -> Iterator[BinaryIO]:
    """Open a journal to add to it, on a line of its own: a crash may have cut the last one off."""
    with store.append(journal_of(run)) as journal:
        journal.write(b"\n")
        yield journal


def write(journal: BinaryIO, **line: object) -> None:
    """Add a line."""
    journal.write(text_of(line).encode())


def text_of(line: dict[str, object]) -> str:
    """Return a line as it is written."""
    return json.dumps(line) + "\n"


def require_run(store: Store, run: str) -> None:
    """See that there is a run of this name.

    Raises:
        RunUnknown: there is none.
    """
    if "/" in run or run in ("", ".", "..") or at(store, journal_of(run)) is None:
        raise RunUnknown(f"no such run: {run}")


def lines_of(store: Store, run: str) -> list[Line]:
    """Return the lines of a run's journal; a last line that a crash cut off is left out.

    Raises:
        RunUnknown: there is no such run.
        StoreError: a line does not tell what was moved or made.
    """
    require_run(store, run)
    try:
        with store.open(journal_of(run)) as stream:
            lines = parse(stream.read())
    except PathMissing:
        raise RunUnknown(f"no such run: {run}") from None
    for line in lines:
        if not _is_complete(line):
            # Passed over, what it moved would be neither restored nor known to be held.
            shown = json.dumps(line)[:200]
            raise StoreError(f"{journal_of(run)}: damaged, a line lacks something: {shown}")
    return lines


_COMMON: Final[dict[str, type | tuple[type, ...]]] = {
    "kind": str,
    "size": int,
    "digest": (str, type(None)),
}
_PARTS: Final[dict[str, dict[str, type | tuple[type, ...]]]] = {
    "move": {"move": str, "path": str, **_COMMON},
    "create": {"create": str, "content": str, **_COMMON},
}
"""What a line that names something must say of it."""


def _is_complete(line: Line) -> bool:
    return all(
        isinstance(line.get(part, ...), kind)
        for name, parts in _PARTS.items()
        if name in line
        for part, kind in parts.items()
    )


def parse(data: bytes) -> list[Line]:
    """Return those lines that are whole."""
    lines = []
    # Decoded at once: of each line by itself, json would ask again in what way it is encoded.
    for text in data.decode(errors="replace").split("\n"):
        if not text:
            continue
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def told_runs(store: Store) -> Iterator[tuple[Run, list[Line]]]:
    """Yield every run with the lines of its journal, oldest first."""
    for entry in store.list(RUNS, ignore):
        name = entry.path.rpartition("/")[2]
        try:
            lines = lines_of(store, name)
        except RunUnknown:
            continue
        yield told(name, lines), lines


def runs(store: Store) -> list[Run]:
    """Return every run, oldest first."""
    return [run for run, _ in told_runs(store)]


def told(name: str, lines: list[Line]) -> Run:
    """Return what the lines of a journal tell of its run."""
    state = "interrupted"
    for word in ("applied", "restored", "purging", "purged"):
        if any(word in line for line in lines):
            state = word
    kinds = [str(line["kind"]) for line in lines if "run" in line and "kind" in line]
    kind = RunKind(kinds[0]) if kinds and kinds[0] in set(RunKind) else RunKind.GC
    # A run that was carried on after a crash may have said the same twice.
    left = left_alone(lines)
    moves: dict[str, Line] = {}
    for line in lines:
        if "move" in line and line["path"] not in left:
            moves[line["path"]] = line
        elif "returned" in line:
            moves.pop(line["returned"], None)
    made = {
        line["create"]: line for line in lines if "create" in line and line["create"] not in left
    }
    try:
        created = datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        created = datetime.fromtimestamp(0, UTC)
    return Run(name, kind, created, state, summed(moves.values()), summed(made.values()))


def summed(lines: Iterable[Line]) -> Totals:
    """Add up what lines are about."""
    return sum_up((line["kind"], line["size"]) for line in lines)


def left_alone(lines: list[Line]) -> set[str]:
    """Return the paths at which nothing was done, after all."""
    return {line["left"] for line in lines if "left" in line}


def at(store: Store, path: str) -> Entry | None:
    """Return what is at a path; None when there is nothing."""
    try:
        return store.stat(path)
    except PathMissing:
        return None
