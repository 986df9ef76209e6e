"""Taking back what a run did: all of it, or what is in use again.

Runs go backwards: what is referred to comes before what refers to it, and is on the
disk before that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from regfs.digest import CANONICAL, hash_stream
from regfs.errors import AlgorithmUnsupported, Refused, StoreError
from regfs.progress import SILENT, Progress
from regfs.runs.changes import movable
from regfs.runs.journal import (
    UNDONE,
    Returned,
    RunKind,
    Skipped,
    at,
    continued,
    left_alone,
    lines_of,
    now,
    quarantine_of,
    require_run,
    told,
)
from regfs.runs.lines import Line
from regfs.runs.space import spending
from regfs.runs.syncing import Touched, sync_cut_off
from regfs.stores import Entry, Kind, Store
from regfs.totals import ActionKind
from regfs.turns import locked

_RANK: Final = {kind.value: rank for rank, kind in enumerate(ActionKind)}


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    run: str
    restored: int
    bytes: int
    skipped: list[Skipped] = field(default_factory=list)
    removed: int = 0
    """Files that the run had put in place, and that lie in its quarantine now."""


def restore(
    store: Store, run: str, *, digests: frozenset[str] = frozenset(), progress: Progress = SILENT
) -> Restored:
    """Take back what a run did, or only what it did to one of `digests`. Safe to repeat.

    What it moved away is put back; what it put in place is moved out, if it still is
    what the run wrote. What lies at its place again by now (pushed since) stays, and
    so does its copy in quarantine.

    Raises:
        RunUnknown: there is no such run.
        Refused: it is purged, or a purge has begun.
        LockHeld: another run is under way.
    """
    require_run(store, run)  # of a run that never was, not even a lock is left behind
    with locked(store):
        lines = lines_of(store, run)
        if told(run, lines).state in ("purging", "purged"):
            raise Refused(f"run {run} is purged: what it moved is deleted")
        sync_cut_off(store)
        undoing = _Undoing(store, run, lines)
        todo = _backwards(run, lines)
        if digests:
            todo = [line for line in todo if line["digest"] in digests]
        with spending(store, run), continued(store, run) as journal:
            journal.write(undoing=now())
            journal.flush()
            progress.start("Restoring", len(todo))
            undoing.undo_all(todo, progress)
            progress.finish()
            if digests:
                journal.write(synced=now())
            else:
                journal.write(restored=now(), count=undoing.restored)
            journal.flush()
        return Restored(
            run, undoing.restored, undoing.bytes, undoing.skipped, removed=undoing.removed
        )


def put_back(store: Store, run: str, paths: Collection[str]) -> list[Returned]:
    """Put back those things of a run that are in use again; the caller holds the lock.

    What lies at its place by now stays, and so does its copy in quarantine. What is told
    to be back is so for good: a purge may come next.
    """
    lines = lines_of(store, run)
    undoing = _Undoing(store, run, lines)
    todo = [line for line in _backwards(run, lines) if line.get("path") in paths]
    with spending(store, run), continued(store, run) as journal:
        journal.write(undoing=now())
        journal.flush()
        found = [
            Returned(run, line["path"], line["kind"], line["digest"], line["size"])
            for line in undoing.put_back(todo)
        ]
        for one in found:
            journal.write(returned=one.path, at=now())
        journal.write(synced=now())
        journal.flush()
    return found


def _backwards(run: str, lines: list[Line]) -> list[Line]:
    """Return what was done, the last first; of a collection never what refers before the rest."""
    todo = [line for line in reversed(lines) if "move" in line or "create" in line]
    if told(run, lines).kind is RunKind.GC:
        # One that was carried on after a crash may have gone through the kinds twice.
        todo.sort(key=lambda line: -_RANK.get(line["kind"], 0))
    return todo


class _Undoing:
    """Taking lines of one journal back: all, or some."""

    def __init__(self, store: Store, run: str, lines: list[Line]) -> None:
        self.store = store
        self.quarantine = quarantine_of(run)
        self.left = left_alone(lines)
        self.made = {line["made"] for line in lines if "made" in line}
        self.restored = self.removed = self.bytes = 0
        self.skipped: list[Skipped] = []
        self.stays: set[str] = set()
        """Paths of which it is said already that they stay as they are."""
        self.touched = Touched(store)

    def undo_all(self, lines: Iterable[Line], progress: Progress) -> None:
        """Take lines back, one after the other; each kind is on the disk before the next."""
        for _, some in groupby(lines, key=lambda line: line["kind"]):
            self._undo_some(some, progress)
            self.touched.sync()

    def _undo_some(self, lines: Iterable[Line], progress: Progress) -> None:
        asked: list[Line] = []

        def moves() -> Iterator[tuple[str, str]]:
            for line in lines:
                progress.advance(1)
                if "create" in line:
                    if line["create"] not in self.left and self._take_out(line):
                        self.removed += 1
                elif line["path"] not in self.left:
                    asked.append(line)
                    yield self._moving(f"{self.quarantine}/{line['move']}", line["move"])

        for failure in self.store.move_many(moves()):
            line = asked.pop()
            # It is not there, or something is at its place: that needs a look at what there is.
            if failure is None or self._put_back(line):
                self.restored += 1
                self.bytes += line["size"]

    def put_back(self, lines: Iterable[Line]) -> list[Line]:
        """Put things back that were moved away, as `undo_all`; return those that were moved."""
        found: list[Line] = []
        wanted = (line for line in lines if "move" in line and line["path"] not in self.left)
        for _, some in groupby(wanted, key=lambda line: line["kind"]):
            found.extend(line for line in some if self._put_back(line))
            self.touched.sync()
        return found

    def _take_out(self, line: Line) -> bool:
        """Move out what the run put in place; return whether it was there."""
        path = line["create"]
        undone = f"{self.quarantine}/{UNDONE}"
        if at(self.store, f"{undone}/{path}") is not None:
            return False
        there = at(self.store, path)
        if there is None:
            return False
        if not _is_written(self.store, there, line):
            if path in self.made:
                self._skip(path, "it is not what the run wrote any more")
            return False
        source = movable(self.store, path) if line.get("folder") else path
        if at(self.store, f"{undone}/{source}") is not None:
            source = path
        self.store.move(*self._moving(source, f"{undone}/{source}"))
        return True

    def _put_back(self, line: Line) -> bool:
        """Move one thing from quarantine to its place; return whether it was moved."""
        source, path = line["move"], line["path"]
        if at(self.store, f"{self.quarantine}/{source}") is None:
            return False
        if at(self.store, source) is None and self._move_back(source):
            return True
        # The registry has made the folder again: what counts is whether the file is there.
        if source != path and at(self.store, path) is None and self._move_back(path):
            return True
        self._skip(path, "it is there again")
        return False

    def _move_back(self, path: str) -> bool:
        """Move a thing to its place; return whether it was still free."""
        try:
            self.store.move(*self._moving(f"{self.quarantine}/{path}", path))
        except StoreError:
            if at(self.store, path) is None:
                raise
            return False  # the registry has made it in this moment
        return True

    def _moving(self, source: str, target: str) -> tuple[str, str]:
        self.touched.moved(source, target)
        return source, target

    def _skip(self, path: str, reason: str) -> None:
        if path not in self.stays:
            self.stays.add(path)
            self.skipped.append(Skipped(path, reason))


def _is_written(store: Store, there: Entry, line: Line) -> bool:
    """Tell whether a file is what a run wrote, by its content."""
    if there.kind is not Kind.FILE or there.size != line["size"]:
        return False
    try:
        with store.open(there.path) as stream:
            algorithm = str(line["content"]).partition(":")[0] or CANONICAL
            (found,), _ = hash_stream(stream, (algorithm,))
    except (StoreError, AlgorithmUnsupported):
        return False
    return str(found) == str(line["content"])
