"""Taking back what a run did: all of it, or what is in use again.

Runs go backwards: what is referred to comes before what refers to it, and is on the
disk before that. Of a run that is damaged everything goes back that lies in its
quarantine, to the place that its path says.

Nothing is deleted. Where a thing has a good copy at its place by now, what lies in quarantine
stays there. Where the place holds bytes that are empty, short or wrong, and those in quarantine
are proven right, the bad ones make room: they are moved aside, which is on the disk before the
good ones follow. Cut off in between, the place is free and the next restore fills it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Final

from regfs.digest import CANONICAL, hash_stream
from regfs.errors import AlgorithmUnsupported, Refused, StoreError
from regfs.progress import SILENT, Progress
from regfs.runs.changes import movable
from regfs.runs.contents import FOLDERS, Area, Thing
from regfs.runs.journal import (
    REPLACED,
    UNDONE,
    Returned,
    RunKind,
    Skipped,
    continued,
    now,
    quarantine_of,
    require_run,
)
from regfs.runs.lines import Line, Lines
from regfs.runs.lock import exclusive
from regfs.runs.places import Place, is_good, place_of
from regfs.runs.space import spending
from regfs.runs.states import Account, Survey, survey
from regfs.runs.sync import Touched, sync_cut_off, sync_everything
from regfs.runs.totals import ActionKind
from regfs.stores import Entry, FileKind, Store, stat_or_none

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
    replaced: list[str] = field(default_factory=list)
    """Paths at which something bad lay, which was moved aside for what went back."""
    along: list[Returned] = field(default_factory=list)
    """What lay in the quarantine of other runs, and what was restored needs."""
    lost: list[Skipped] = field(default_factory=list)
    """What was restored needs this, and it is deleted for good."""


def restore(
    store: Store,
    run: str,
    *,
    digests: frozenset[str] = frozenset(),
    progress: Progress = SILENT,
    before: Callable[[Sequence[Thing]], None] | None = None,
) -> Restored:
    """Take back what a run did, or only what it did to one of `digests`. Safe to repeat.

    What it moved away is put back; what it put in place is moved out, if it still is
    what the run wrote. What has a good copy at its place again by now (pushed since) stays
    in quarantine. `before` is told, while the lock is held, of what will go back.

    Raises:
        RunUnknown: there is no such run.
        Refused: it is purged, or a purge has begun.
        LockHeld: another run is under way.
    """
    require_run(store, run)  # of a run that never was, not even a lock is left behind
    with exclusive(store):
        sync_cut_off(store)
        found = survey(store, run)
        if found.run.state in ("purging", "purged"):
            raise Refused(f"run {run} is purged: what it moved is deleted")
        things = [one for one in found.contents.things if not digests or one.digest in digests]
        if before is not None:
            before([one for one in things if one.area is Area.MOVED])
        with spending(store, run), continued(store, run) as journal:
            undoing = _Undoing(store, run, journal, found.contents.things)
            if found.run.damage is None:
                _restore_lines(found, undoing, digests, progress)
            else:
                _restore_all_there_is(found, undoing, things)
            if digests:
                journal.write(synced=now())
            else:
                journal.write(restored=now(), count=undoing.restored)
            journal.flush()
        return undoing.report()


def _restore_lines(
    found: Survey, undoing: _Undoing, digests: frozenset[str], progress: Progress
) -> None:
    """Take back what lines tell, the last first; of a collection what is referred to first."""
    journal = undoing.journal
    todo = _todo(found)
    if found.run.kind is RunKind.GC:
        # One that was carried on after a crash may have gone through the kinds twice.
        todo.sort(key=lambda line: -_RANK.get(line["kind"], 0))
    if digests:
        todo = [line for line in todo if line["digest"] in digests]
    journal.write(undoing=now(), **lying(found))
    journal.flush()
    undoing.made = {line["made"] for line in found.journal.lines if "made" in line}
    progress.start("Restoring", len(todo))
    undoing.undo_all(todo, progress)
    progress.finish()
    if digests:
        journal.write_all({"returned": path} for path in undoing.back)


def _restore_all_there_is(found: Survey, undoing: _Undoing, things: Iterable[Thing]) -> None:
    """Put back what lies in the quarantine of a damaged run."""
    sync_everything(undoing.store, undoing.run)
    undoing.journal.write(undoing=now())
    undoing.put_back(_backwards(things))
    undoing.leave(found.contents.outside)


def lying(found: Survey) -> Line:
    """Return what a run that was cut off has moved: nothing will tell it afterwards."""
    if found.run.state != "interrupted" or any("lying" in line for line in found.journal.lines):
        return {}
    return {"lying": asdict(found.run.done)}


def _todo(found: Survey) -> list[Line]:
    """Return the lines of what can be taken back, the last first."""
    account = Account.of(found.journal.lines)
    there = {
        thing.path
        for thing in found.contents.things
        # What a purge was at when it was cut off may lack some of its files.
        if thing.area is Area.MOVED and not (thing.kind in FOLDERS and thing.path in account.gone)
    }
    return [
        line
        for line in reversed(found.journal.lines)
        if line.get("path") in there or line.get("create") in account.made
    ]


def _backwards(things: Iterable[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: -_RANK.get(thing.kind, 0))


def put_back(
    store: Store, run: str, things: Collection[Thing], *, make_room: bool = False
) -> list[Returned]:
    """Put back things of a run that are in use again; the caller holds the lock.

    What has something at its place by now stays there, unless that is bad and is to
    `make_room`. What is told to be back is so for good: a purge may come next.
    """
    with spending(store, run), continued(store, run) as journal:
        undoing = _Undoing(store, run, journal, things, make_room=make_room)
        journal.write(undoing=now())
        journal.flush()
        returned = [
            Returned(run, one.path, one.kind, one.digest, one.size, one.path in undoing.replaced)
            for one in undoing.put_back(_backwards(things))
        ]
        journal.write_all({"returned": one.path, "at": now()} for one in returned)
        journal.write(synced=now())
        journal.flush()
    return returned


class _Undoing:
    """Taking back what one run did: all, or some."""

    def __init__(
        self,
        store: Store,
        run: str,
        journal: Lines,
        things: Iterable[Thing],
        *,
        make_room: bool = True,
    ) -> None:
        self.store = store
        self.journal = journal
        self.run = run
        self.quarantine = quarantine_of(run)
        self.things = {(one.area, one.path): one for one in things}
        self.made: set[str] = set()
        """What the run has surely put in place."""
        self.make_room = make_room
        self.restored = self.removed = self.bytes = 0
        self.back: list[str] = []
        self.replaced: list[str] = []
        self.skipped: list[Skipped] = []
        self.stays: set[str] = set()
        """Paths of which it is said already that they stay as they are."""
        self.touched = Touched(store)

    def report(self) -> Restored:
        """Return what was done."""
        return Restored(
            self.run, self.restored, self.bytes, self.skipped, self.removed, self.replaced
        )

    def leave(self, paths: Iterable[str]) -> None:
        """Say that these stay where they lie."""
        for path in paths:
            self._skip(path, "it stays: it lies at no path that tells a place in the tree")

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
                    if self._take_out(line):
                        self.removed += 1
                else:
                    asked.append(line)
                    yield self._moving(f"{self.quarantine}/{line['move']}", line["move"])

        for failure in self.store.move_many(moves()):
            line = asked.pop()
            # It is not there, or something is at its place: that needs a look at what there is.
            if failure is None or self._return(line["path"]):
                self._count(line["path"], line["size"])

    def put_back(self, things: Iterable[Thing]) -> list[Thing]:
        """Put things back, as `undo_all`; return those that were moved."""
        found: list[Thing] = []
        for _, some in groupby(things, key=lambda thing: thing.kind):
            found.extend(thing for thing in some if self._put_back(thing))
            self.touched.sync()
        for thing in found:
            self._count(thing.path, thing.size)
        return found

    def _count(self, path: str, size: int) -> None:
        self.restored += 1
        self.bytes += size
        self.back.append(path)

    def _take_out(self, line: Line) -> bool:
        """Move out what the run put in place; return whether it was there."""
        path = line["create"]
        undone = f"{self.quarantine}/{UNDONE}"
        if stat_or_none(self.store, f"{undone}/{path}") is not None:
            return False
        there = stat_or_none(self.store, path)
        if there is None:
            return False
        if not _is_written(self.store, there, line):
            if path in self.made:
                self._skip(path, "it is not what the run wrote any more")
            return False
        source = movable(self.store, path) if line.get("folder") else path
        if stat_or_none(self.store, f"{undone}/{source}") is not None:
            source = path
        self.store.move(*self._moving(source, f"{undone}/{source}"))
        return True

    def _return(self, path: str) -> bool:
        thing = self.things.get((Area.MOVED, path))
        return thing is not None and self._put_back(thing)

    def _put_back(self, thing: Thing) -> bool:
        """Move one thing from quarantine to its place; return whether it was moved."""
        if thing.area is not Area.MOVED and not self._is_last(thing):
            return False
        if stat_or_none(self.store, thing.lies) is None:
            return False
        source = thing.path if thing.line is None else str(thing.line.get("move", thing.path))
        if thing.area is Area.MOVED and source != thing.path and self._fill(thing, source):
            return True
        # The registry has made the folder again: what counts is whether the file is there.
        if self._fill(thing, thing.path):
            return True
        if thing.kind in FOLDERS and thing.line is None:
            return self._fill_folder(thing)
        return self.make_room and self._replace(thing)

    def _is_last(self, thing: Thing) -> bool:
        """Return whether what a restore took out, or set aside, is the only good copy."""
        if thing.kind != ActionKind.BLOB or not is_good(self.store, thing):
            return False
        return place_of(self.store, thing) in (Place.FREE, Place.BAD)

    def _fill(self, thing: Thing, path: str) -> bool:
        """Move a thing, or the folder made for it, to a place that is free; return whether."""
        if stat_or_none(self.store, path) is not None:
            return False
        area = thing.area.value
        try:
            self.store.move(*self._moving(f"{self.quarantine}/{area}{path}", path))
        except StoreError:
            if stat_or_none(self.store, path) is None:
                raise
            return False  # the registry has made it in this moment
        return True

    def _fill_folder(self, thing: Thing) -> bool:
        """Put back those files of a folder whose places are free; the last is what it says now."""
        start = len(f"{self.quarantine}/{thing.area.value}")
        paths = [file[start:] for file in thing.files]
        paths.sort(key=lambda path: "/current/" in path)
        return any([self._fill(thing, path) for path in paths])

    def _replace(self, thing: Thing) -> bool:
        """Put a thing back if what lies at its place is bad, and it is not."""
        place = place_of(self.store, thing)
        bad = place in (Place.BAD, Place.FREE)
        if not bad or not is_good(self.store, thing):
            also = ", and it is not right either" if bad else ""
            self._skip(thing.path, f"it is there again{also}")
            return False
        path = thing.path
        if thing.kind == ActionKind.TAG and not path.endswith("/current/link"):
            path += "/current/link"  # its history may say more by now than it did
        there, aside = stat_or_none(self.store, path), f"{self.quarantine}/{REPLACED}/{path}"
        if there is not None:
            if stat_or_none(self.store, aside) is not None:
                self._skip(path, "it is bad, and so is what was moved aside before")
                return False
            said = {"kind": thing.kind, "digest": thing.digest, "size": there.size}
            self.journal.write(replace=path, **said)
            self.journal.flush()
            self.store.move(*self._moving(path, aside))
            self.touched.sync()
        if not self._fill(thing, path):
            return False
        self.replaced.append(thing.path)
        return True

    def _moving(self, source: str, target: str) -> tuple[str, str]:
        self.touched.moved(source, target)
        return source, target

    def _skip(self, path: str, reason: str) -> None:
        if path not in self.stays:
            self.stays.add(path)
            self.skipped.append(Skipped(path, reason))


def _is_written(store: Store, there: Entry, line: Line) -> bool:
    """Return whether a file is what a run wrote, by its content."""
    if there.kind is not FileKind.FILE or there.size != line["size"]:
        return False
    try:
        with store.open(there.path) as stream:
            algorithm = str(line["content"]).partition(":")[0] or CANONICAL
            (found,), _ = hash_stream(stream, (algorithm,))
    except (StoreError, AlgorithmUnsupported):
        return False
    return str(found) == str(line["content"])
