"""Runs: what changes a tree is written down before it is done, and can be taken back.

    .regfs/lock                                  held by whoever changes the tree
    .regfs/runs/<run>/journal.jsonl              what was meant, and what was done
    .regfs/runs/<run>/quarantine/<path>          what was moved, under its own path
    .regfs/runs/<run>/quarantine/undone/<path>   what the run had made, and a restore took out

The lines of a journal:

    {"run", "at", "root", "kind", "wait"}               its head; without a kind it is of gc
    {"begin": path}                                     a file may be begun beside this place
    {"move": source, "path", "kind", "digest", "size"}  this will be moved (or copied) away
                                                        .. "mtime": as when it was looked at
    {"returned": path}                                  it was in use again, and is back
    {"create": path, "kind", "digest", "size", "content", "folder"}   this will be put in place
    {"made": path} {"left": path}                       it was; it was not, after all
    {"applied"} {"restored"} {"purging"} {"purged"}     when

What will be done is durable before it is begun. Whether a thing was moved is
seen from where it lies, and whether a file is what a run wrote from its
content, so taking back after a crash, and twice, is the same as once. What was
moved is renamed within the file system: it costs no space until `purge`, and
`restore` renames it back. A restore deletes nothing.

Who decides what is to change is elsewhere: gc's sweep, and heal. This is the
only module that changes a tree, so that nothing is changed without a journal.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, BinaryIO, Final

from regfs import layout
from regfs.digest import CANONICAL, Digest, hash_stream
from regfs.errors import AlgorithmUnsupported, PathMissing, Refused, RunUnknown, StoreError
from regfs.findings import Finding
from regfs.progress import SILENT, Progress
from regfs.stores import UNFINISHED, Entry, Kind, Store, Writer
from regfs.totals import Totals, sum_up
from regfs.turns import LOCK as LOCK
from regfs.turns import locked as locked
from regfs.turns import owner as owner
from regfs.turns import refuse_if_locked as refuse_if_locked

RUNS: Final = f"{layout.STATE}/runs"
_UNDONE: Final = "undone"


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


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    run: str
    restored: int
    bytes: int
    skipped: list[Skipped] = field(default_factory=list)
    removed: int = 0
    """Files that the run had put in place, and that lie in its quarantine now."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What was deleted for good."""

    runs: list[str]
    files: int
    bytes: int
    deleted: Totals = field(default_factory=Totals)
    """The same by kind, as the journals tell."""
    returned: list[Returned] = field(default_factory=list)
    """What was in use again and was put back instead."""
    waiting: list[str] = field(default_factory=list)
    """Runs that are too young: a push that began before them may still be under way."""


def new_run() -> str:
    """Return the name of a run that begins now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


# -- during a run -------------------------------------------------------------


class Changes:
    """The changes of one run: each is journaled, `flush` makes the intents durable."""

    def __init__(self, store: Store, run: str, journal: BinaryIO) -> None:
        self._store = store
        self._journal = journal
        self._quarantine = f"{RUNS}/{run}/quarantine"
        self._new: set[str] = set()
        """Files whose folder was not there before."""

    def note(self, **line: object) -> None:
        """Add a line."""
        _write(self._journal, line)

    def flush(self) -> None:
        """Wait until the lines are on the disk."""
        self._journal.flush()

    def intend_move(
        self,
        path: str,
        source: str,
        *,
        kind: str,
        digest: str | None,
        size: int,
        mtime: float | None = None,
    ) -> None:
        """Say that `path` will be moved away, by moving `source`: itself or its folder.

        `mtime` is that of when it was looked at: another one, later, tells that somebody
        who had opened it before has written to it.
        """
        known = {} if mtime is None else {"mtime": mtime}
        self.note(move=source, path=path, kind=kind, digest=digest, size=size, **known)

    def intend_moves(self, lines: Iterable[dict[str, object]]) -> None:
        """Say it of many, with the fields of `intend_move`, and make it durable."""
        self._journal.write("".join(map(_line, lines)).encode())
        self.flush()

    def move(self, source: str) -> None:
        """Move into quarantine what `intend_move` has named.

        Raises:
            PathMissing: it is gone.
            StoreError: as the storage answers.
        """
        self._store.move(source, f"{self._quarantine}/{source}")

    def move_many(self, sources: Iterable[str]) -> Iterator[StoreError | None]:
        """Move one after the other; yield what `move` would raise, or None when it is moved.

        Each is taken when the one before it has been moved, and its answer heard.
        """
        return self._store.move_many((source, f"{self._quarantine}/{source}") for source in sources)

    def remove_empty(self, folders: Iterable[str]) -> int:
        """Remove folders that are empty, those inside others first; return how many were.

        One that holds anything is left as it is: there is nothing to take back, and
        what a restore puts back brings its folders with it.
        """
        # A file can have come to be where the folder was, and it would be deleted.
        still = (path for path in sorted(folders, reverse=True) if self._is_folder(path))
        return self._store.delete(still)

    def _is_folder(self, path: str) -> bool:
        found = _at(self._store, path)
        return found is not None and found.kind is Kind.FOLDER

    def announce(self, paths: Iterable[str]) -> None:
        """Say which files will be begun: where a run that is killed may leave half of one."""
        for path in paths:
            self.note(begin=path)
        self.flush()

    def begin(self, path: str) -> Writer:
        """Begin a file, announced before, that `create` will put at `path`."""
        if _at(self._store, path.rpartition("/")[0]) is None:
            self._new.add(path)
        return self._store.create(path)

    def create(
        self,
        path: str,
        begun: Writer,
        *,
        kind: str,
        digest: str,
        size: int,
        content: Digest,
        small: bool = False,
    ) -> None:
        """Put a file in place whose bytes are known to be right, and what lay there aside.

        `content` is the digest of the bytes, `size` their number. A `small` file is copied
        aside and then replaced, so that at no moment nothing is there: a damaged link may
        be the only thing that tells of what it links.
        """
        there = _at(self._store, path)
        if there is not None:
            self.intend_move(path, path, kind=kind, digest=digest, size=there.size)
        new = path in self._new
        self.note(create=path, kind=kind, digest=digest, size=size, content=content, folder=new)
        self.flush()
        if there is not None and small:
            with self._store.create(f"{self._quarantine}/{path}") as copy:
                copy.write(self._store.read(path, there.size + 1))
        elif there is not None:
            self.move(path)
            self._store.sync(f"{self._quarantine}/{path.rpartition('/')[0]}")
        begun.commit()
        self.note(made=path)

    def finish(self, done: int) -> None:
        """Say that all was done."""
        self.note(applied=_now(), done=done)
        self.flush()


@contextmanager
def changing(store: Store, run: str, kind: RunKind, **facts: object) -> Iterator[Changes]:
    """Begin a run, or carry it on; the caller holds the lock."""
    with _continued(store, run) as journal:
        changes = Changes(store, run, journal)
        changes.note(run=run, kind=kind, at=_now(), root=store.url, **facts)
        changes.flush()
        yield changes


def clear_unfinished(store: Store) -> None:
    """Delete the halves of files that runs which were killed have left beside their places.

    The caller holds the lock, so nobody is still writing them.
    """
    for run in runs(store):
        if run.state != "interrupted" or run.kind is RunKind.GC:
            continue
        lines = lines_of(store, run.run)
        for path in {line["begin"] for line in lines if "begin" in line}:
            folder, _, name = path.rpartition("/")
            # The file's own folder only, and only what `create` calls such a file.
            beside = (entry.path for entry in store.list(folder, _ignore))
            store.delete(one for one in beside if _is_unfinished(one, name))


def movable(store: Store, path: str) -> str:
    """Return what to rename for a file: the folder made for it, unless it holds more than that."""
    folder = path.rpartition("/")[0]
    inside = store.list(folder, _ignore)
    return folder if [entry.path for entry in inside] == [path] else path


def _is_unfinished(path: str, name: str) -> bool:
    last = path.rpartition("/")[2]
    return last.startswith(f".{name}.") and last.endswith(UNFINISHED)


def _ignore(finding: Finding) -> None:
    """What else lies beside a file was reported by the scan."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _continued(store: Store, run: str) -> Iterator[BinaryIO]:
    """Open a journal to add to it, on a line of its own: a crash may have cut the last one off."""
    with store.append(f"{RUNS}/{run}/journal.jsonl") as journal:
        journal.write(b"\n")
        yield journal


def _write(journal: BinaryIO, line: dict[str, Any]) -> None:
    journal.write(_line(line).encode())


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields) + "\n"


# -- after a run --------------------------------------------------------------


def require_run(store: Store, run: str) -> None:
    """See that there is a run of this name.

    Raises:
        RunUnknown: there is none.
    """
    if "/" in run or run in ("", ".", "..") or _at(store, f"{RUNS}/{run}/journal.jsonl") is None:
        raise RunUnknown(f"no such run: {run}")


def lines_of(store: Store, run: str) -> list[dict[str, Any]]:
    """Return the lines of a run's journal; a last line that a crash cut off is left out.

    Raises:
        RunUnknown: there is no such run.
    """
    require_run(store, run)
    try:
        with store.open(f"{RUNS}/{run}/journal.jsonl") as stream:
            data = stream.read()
    except PathMissing:
        raise RunUnknown(f"no such run: {run}") from None
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


def runs(store: Store) -> list[Run]:
    """Return every run, oldest first."""
    found = []
    for entry in store.list(RUNS, _ignore):
        name = entry.path.rpartition("/")[2]
        try:
            lines = lines_of(store, name)
        except RunUnknown:
            continue
        found.append(told(name, lines))
    return found


def told(name: str, lines: list[dict[str, Any]]) -> Run:
    """Return what the lines of a journal tell of its run."""
    state = "interrupted"
    for word in ("applied", "restored", "purging", "purged"):
        if any(word in line for line in lines):
            state = word
    kinds = [str(line["kind"]) for line in lines if "run" in line and "kind" in line]
    kind = RunKind(kinds[0]) if kinds and kinds[0] in set(RunKind) else RunKind.GC
    # A run that was carried on after a crash may have said the same twice.
    left = _left(lines)
    moves: dict[str, dict[str, Any]] = {}
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
    return Run(name, kind, created, state, _sum(moves.values()), _sum(made.values()))


def _sum(lines: Any) -> Totals:
    return sum_up((line["kind"], line["size"]) for line in lines)


def _left(lines: list[dict[str, Any]]) -> set[str]:
    return {line["left"] for line in lines if "left" in line}


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
        undoing = _Undoing(store, run, lines)
        # Backwards: what is referred to comes before what refers to it.
        todo = [line for line in reversed(lines) if "move" in line or "create" in line]
        if digests:
            todo = [line for line in todo if line["digest"] in digests]
        progress.start("Restoring", len(todo))
        undoing.undo_all(todo, progress)
        progress.finish()
        if not digests:
            with _continued(store, run) as journal:
                _write(journal, {"restored": _now(), "count": undoing.restored})
                journal.flush()
        return Restored(
            run, undoing.restored, undoing.bytes, undoing.skipped, removed=undoing.removed
        )


def put_back(store: Store, run: str, paths: Collection[str]) -> list[Returned]:
    """Put back those things of a run that are in use again; the caller holds the lock.

    What lies at its place by now stays, and so does its copy in quarantine.
    """
    lines = lines_of(store, run)
    undoing = _Undoing(store, run, lines)
    found: list[Returned] = []
    with _continued(store, run) as journal:
        # As in a restore: what is referred to comes before what refers to it.
        for line in reversed(lines):
            if "move" in line and line["path"] in paths and undoing.put_back(line):
                _write(journal, {"returned": line["path"], "at": _now()})
                digest = line["digest"]
                one = Returned(run, line["path"], line["kind"], digest, line["size"])
                found.append(one)
        journal.flush()
    # What is purged next must not be all that the disk has of it.
    folders = {one.path.rpartition("/")[0] for one in found}
    for folder in folders | {folder.rpartition("/")[0] for folder in folders}:
        with suppress(PathMissing):  # somebody has deleted it since
            store.sync(folder)
    return found


class _Undoing:
    """Taking lines of one journal back: all, or some."""

    def __init__(self, store: Store, run: str, lines: list[dict[str, Any]]) -> None:
        self.store = store
        self.quarantine = f"{RUNS}/{run}/quarantine"
        self.left = _left(lines)
        self.made = {line["made"] for line in lines if "made" in line}
        self.restored = self.removed = self.bytes = 0
        self.skipped: list[Skipped] = []
        self.stays: set[str] = set()
        """Paths of which it is said already that they stay as they are."""

    def undo_all(self, lines: Iterable[dict[str, Any]], progress: Progress) -> None:
        """Take lines back, one after the other."""
        asked: list[dict[str, Any]] = []

        def moves() -> Iterator[tuple[str, str]]:
            for line in lines:
                progress.advance(1)
                if "create" in line:
                    if line["create"] not in self.left and self._take_out(line):
                        self.removed += 1
                elif line["path"] not in self.left:
                    asked.append(line)
                    yield f"{self.quarantine}/{line['move']}", line["move"]

        for failure in self.store.move_many(moves()):
            line = asked.pop()
            # It is not there, or something is at its place: that needs a look at what there is.
            if failure is None or self._put_back(line):
                self.restored += 1
                self.bytes += line["size"]

    def put_back(self, line: dict[str, Any]) -> bool:
        """Put one thing that was moved away at its place; return whether it was moved."""
        moved = line["path"] not in self.left and self._put_back(line)
        if moved:
            self.restored += 1
            self.bytes += line["size"]
        return moved

    def _take_out(self, line: dict[str, Any]) -> bool:
        """Move out what the run put in place; return whether it was there."""
        path = line["create"]
        undone = f"{self.quarantine}/{_UNDONE}"
        if _at(self.store, f"{undone}/{path}") is not None:
            return False
        there = _at(self.store, path)
        if there is None:
            return False
        if not _is_written(self.store, there, line):
            if path in self.made:
                self._skip(path, "it is not what the run wrote any more")
            return False
        source = movable(self.store, path) if line.get("folder") else path
        if _at(self.store, f"{undone}/{source}") is not None:
            source = path
        self.store.move(source, f"{undone}/{source}")
        return True

    def _put_back(self, line: dict[str, Any]) -> bool:
        """Move one thing from quarantine to its place; return whether it was moved."""
        source, path = line["move"], line["path"]
        if _at(self.store, f"{self.quarantine}/{source}") is None:
            return False
        if _at(self.store, source) is None and self._move_back(source):
            return True
        # The registry has made the folder again: what counts is whether the file is there.
        if source != path and _at(self.store, path) is None and self._move_back(path):
            return True
        self._skip(path, "it is there again")
        return False

    def _move_back(self, path: str) -> bool:
        """Move a thing to its place; return whether it was still free."""
        try:
            self.store.move(f"{self.quarantine}/{path}", path)
        except StoreError:
            if _at(self.store, path) is None:
                raise
            return False  # the registry has made it in this moment
        return True

    def _skip(self, path: str, reason: str) -> None:
        if path not in self.stays:
            self.stays.add(path)
            self.skipped.append(Skipped(path, reason))


def _at(store: Store, path: str) -> Entry | None:
    """Return what is at a path; None when there is nothing."""
    try:
        return store.stat(path)
    except PathMissing:
        return None


def _is_written(store: Store, there: Entry, line: dict[str, Any]) -> bool:
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


def purge(
    store: Store,
    run: str | None = None,
    *,
    older_than: float = 0.0,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
    choose: Callable[[Sequence[Run]], Iterable[Run]] = iter,
) -> Purged:
    """Delete for good what a run moved away, or what all runs older than `older_than` seconds did.

    Nothing is asked here about what is in use: `regfs.gc.online.purge` does, by `choose`,
    which is given the runs while the lock is held, and says which of them go.

    Raises:
        RunUnknown: there is no such run.
        LockHeld: another run is under way.
    """
    if run is not None:
        require_run(store, run)
    with locked(store):
        found = runs(store) if run is None else [told(run, lines_of(store, run))]
        chosen = [
            one
            for one in found
            if one.state != "purged" and clock() - one.created_at.timestamp() >= older_than
        ]
        names: list[str] = []
        files = size = 0
        deleted = Totals()
        for one in choose(chosen):
            more = _purge(store, one.run, progress)
            names.append(one.run)
            files, size = files + more.files, size + more.bytes
            deleted = deleted.plus(more.deleted)
        return Purged(names, files, size, deleted)


def _purge(store: Store, run: str, progress: Progress) -> Purged:
    """Delete what one run moved away."""
    quarantine = f"{RUNS}/{run}/quarantine"
    entries = (entry for entry in store.walk(quarantine, _ignore) if entry.kind is Kind.FILE)
    sizes = {entry.path.removeprefix(f"{quarantine}/"): entry.size for entry in entries}
    size = sum(sizes.values())
    lines = {line["path"]: line for line in lines_of(store, run) if "move" in line}
    deleted = _sum(
        line
        for path, line in lines.items()
        if path in sizes or _at(store, f"{quarantine}/{path}") is not None
    )
    with _continued(store, run) as journal:
        # From here on a restore would be partial, so it is refused: said before the first byte.
        _write(journal, {"purging": _now()})
        journal.flush()
        progress.start("Deleting from quarantine")
        files = store.delete_tree(quarantine)
        progress.advance(files)
        progress.finish()
        _write(journal, {"purged": _now(), "files": files, "bytes": size})
        journal.flush()
    return Purged([run], files, size, deleted)
