"""Taking back what a run did: all of it, or what is in use again.

A run is taken back in reverse: what is referred to comes first, and is durable before what
refers to it. From a damaged run everything in its quarantine goes back, to the place that its
path says.

Nothing is deleted. An item stays in quarantine if a good copy lies at its place. If its place
holds empty, short or wrong bytes, and the item is proven good, the bad bytes are moved aside,
and that is durable before the item follows. If a crash comes in between, the place is free and
the next restore fills it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Final

from regfs import layout
from regfs.digest import CANONICAL, hash_stream
from regfs.errors import AlgorithmUnsupported, Refused, StoreError
from regfs.progress import SILENT, Progress
from regfs.runs.changes import remove_empty, rename_source
from regfs.runs.journal import Returned, Skipped, continued, require_run
from regfs.runs.lines import Line, Lines
from regfs.runs.lock import exclusive
from regfs.runs.paths import quarantine_of
from regfs.runs.places import Place, is_good, place_of
from regfs.runs.records import Change, Item, RunKind, now
from regfs.runs.space import spending
from regfs.runs.status import Survey, survey
from regfs.runs.sync import ChangedFolders, sync_everything, sync_interrupted
from regfs.runs.totals import FOLDER_KINDS, LINK_KINDS, ActionKind
from regfs.stores import (
    Entry,
    FileKind,
    Store,
    WritableStore,
    folders_above,
    ignore,
    stat_or_none,
)

_RANK: Final[dict[str, int]] = {kind: rank for rank, kind in enumerate(ActionKind)}


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    run: str
    restored: int
    bytes: int
    skipped: list[Skipped] = field(default_factory=list)
    removed: int = 0
    """Files that the run had created, and that lie in its quarantine now."""
    replaced: list[str] = field(default_factory=list)
    """Paths at which bad bytes were moved aside for what went back."""
    along: list[Returned] = field(default_factory=list)
    """What the restored items need, from the quarantine of other runs."""
    lost: list[Skipped] = field(default_factory=list)
    """What the restored items need, and is deleted for good."""


def restore(
    store: WritableStore,
    run: str,
    *,
    digests: frozenset[str] = frozenset(),
    progress: Progress = SILENT,
    before: Callable[[Survey, Sequence[Item]], Mapping[str, str]] | None = None,
) -> Restored:
    """Take back what a run did, or only what it did to one of `digests`. Safe to repeat.

    What it moved away is put back; what it created is moved out, if it still is what the run
    wrote. An item with a good copy at its place (pushed since) stays in quarantine. `before`
    gets the run and its items that will go back, while the lock is held; it returns by their
    paths why some of what the run created has to stay.

    Raises:
        RunUnknown: there is no such run.
        Refused: it is purged, or a purge has begun.
        LockHeld: another run is under way.
    """
    require_run(store, run)  # before the lock: an unknown run leaves nothing behind
    with exclusive(store):
        sync_interrupted(store)
        found = survey(store, run)
        if found.run.state in ("purging", "purged"):
            raise Refused(f"run {run} is purged: what it moved is deleted")
        items = [one for one in found.contents.items if not digests or one.digest in digests]
        moved = [one for one in items if one.change is Change.MOVE]
        stays = {} if before is None else before(found, moved)
        with spending(store, run), continued(store, run) as journal:
            undoing = _Undoing(store, run, journal, needed=stays)
            if found.run.damage is None:
                _restore_lines(found, undoing, digests, progress)
            else:
                _restore_all_there_is(found, undoing, items)
            end = {"restored": now(), "count": undoing.restored}
            journal.write(**({"synced": now()} if digests else end))
            journal.flush()
        _tidy(store, run)
        return undoing.report()


def _tidy(store: WritableStore, run: str) -> None:
    """Remove the empty folders of a quarantine: while it is there, later runs read the journal."""
    remove_empty(store, [one.path for one in store.tree(quarantine_of(run), ignore)])


def _restore_lines(
    found: Survey, undoing: _Undoing, digests: frozenset[str], progress: Progress
) -> None:
    """Take back what lines name, the last first; of a collection what is referred to first."""
    journal = undoing.journal
    todo = _todo(found)
    if found.run.kind is RunKind.GC:
        # A run that was continued after a crash may have gone through the kinds twice.
        todo = _backwards(todo)
    if digests:
        todo = [item for item in todo if item.digest in digests]
    journal.write(undoing=now(), **_moved_fact(found))
    journal.flush()
    undoing.made = found.journal.account.made
    progress.start("Restoring", len(todo))
    undoing.undo_all(todo, progress)
    progress.finish()
    if not found.run.kind.moves_what_is_bad:
        # A tag or repository that an edit has made is a folder too, which registries list.
        created = [item.path for item in todo if item.change is Change.CREATE]
        remove_empty(undoing.store, _folders_in_repositories(created))
    if digests:
        journal.write_all({"returned": path} for path in undoing.back)


def _folders_in_repositories(paths: Iterable[str]) -> set[str]:
    """Return the folders above links, up to that of the first component of a repository."""
    above = {folder for path in paths for folder in folders_above(path)}
    return {folder for folder in above if folder.startswith(f"{layout.REPOSITORIES}/")}


def _restore_all_there_is(found: Survey, undoing: _Undoing, items: Iterable[Item]) -> None:
    """Put back what lies in the quarantine of a damaged run."""
    sync_everything(undoing.store, undoing.run)
    undoing.journal.write(undoing=now())
    undoing.put_back(_backwards(items))
    undoing.leave(found.contents.outside)


def _moved_fact(found: Survey) -> Line:
    """Return what an interrupted run has moved: afterwards nothing shows it."""
    if found.run.state != "interrupted" or found.journal.account.moved_totals is not None:
        return {}
    return {"lying": asdict(found.run.done)}


def _todo(found: Survey) -> list[Item]:
    """Return what can be taken back, the last first."""
    account = found.journal.account
    there = {
        item.path
        for item in found.contents.items
        if item.change is Change.MOVE
        # A purge that was interrupted may have deleted some files of a folder.
        and not (item.kind in FOLDER_KINDS and item.path in account.gone)
    }
    places = {Change.MOVE: there, Change.CREATE: account.created.keys(), Change.REPLACE: ()}
    return [item for item in reversed(account.items) if item.path in places[item.change]]


def _backwards(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: -_RANK.get(item.kind, 0))


def put_back(
    store: WritableStore, items: Iterable[Item], *, make_room: bool = False
) -> list[Returned]:
    """Put back items that are in use again; the caller holds the lock.

    An item stays in quarantine if something lies at its place, unless that is bad and is to
    `make_room`. What is back is durable on return: a purge may come next.
    """
    by_run: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_run[item.run].append(item)
    # Where two runs have moved the same, the later one has it as it was last.
    return [
        one
        for run in sorted(by_run, reverse=True)
        for one in _put_back(store, run, by_run[run], make_room=make_room)
    ]


def _put_back(
    store: WritableStore, run: str, items: Iterable[Item], *, make_room: bool
) -> list[Returned]:
    with spending(store, run), continued(store, run) as journal:
        undoing = _Undoing(store, run, journal, make_room=make_room)
        journal.write(undoing=now())
        journal.flush()
        back = undoing.put_back(_backwards(items))
        journal.write_all({"returned": one.path, "at": now()} for one in back)
        journal.write(synced=now())
        journal.flush()
    return [
        Returned(run, one.path, str(one.kind), one.digest, one.size, one.path in undoing.replaced)
        for one in back
    ]


class _Undoing:
    """Taking back what one run did: all, or some."""

    def __init__(
        self,
        store: WritableStore,
        run: str,
        journal: Lines,
        *,
        make_room: bool = True,
        needed: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.journal = journal
        self.run = run
        self.quarantine = quarantine_of(run)
        self.made: set[str] = set()
        """Paths at which the run surely created something."""
        self.make_room = make_room
        self.needed = needed or {}
        """Path of what the run created, and has to stay -> why."""
        self.restored = self.removed = self.bytes = 0
        self.back: list[str] = []
        self.replaced: list[str] = []
        self.skipped: list[Skipped] = []
        self.stays: set[str] = set()
        """Paths that are reported as skipped already."""
        self.touched = ChangedFolders(store)

    def report(self) -> Restored:
        """Return what was done."""
        return Restored(
            self.run, self.restored, self.bytes, self.skipped, self.removed, self.replaced
        )

    def leave(self, paths: Iterable[str]) -> None:
        """Report that these stay in quarantine."""
        for path in paths:
            self._skip(path, "it stays: its path in quarantine is no path of a registry")

    def undo_all(self, items: Iterable[Item], progress: Progress) -> None:
        """Take items back, one after the other; each kind is on the disk before the next."""
        for _, some in groupby(items, key=lambda item: item.kind):
            self._undo_some(some, progress)
            self.touched.sync()

    def _undo_some(self, items: Iterable[Item], progress: Progress) -> None:
        asked: deque[Item] = deque()

        def moves() -> Iterator[tuple[str, str]]:
            for item in items:
                progress.advance(1)
                if item.change is Change.CREATE:
                    self.removed += self._take_out(item)
                else:
                    asked.append(item)
                    yield self._moving(f"{self.quarantine}/{item.source}", item.source)

        for failure in self.store.move_many(moves()):
            item = asked.popleft()
            # It is not there, or its place is taken: look at what there is.
            if failure is None or self._put_back(item):
                self._count(item)

    def put_back(self, items: Iterable[Item]) -> list[Item]:
        """Put items back, as `undo_all`; return those that were moved."""
        found: list[Item] = []
        for _, some in groupby(items, key=lambda item: item.kind):
            found.extend(item for item in some if self._put_back(item))
            self.touched.sync()
        for item in found:
            self._count(item)
        return found

    def _count(self, item: Item) -> None:
        self.restored += 1
        self.bytes += item.size
        self.back.append(item.path)

    def _take_out(self, item: Item) -> bool:
        """Move out what the run created; return whether it was there."""
        path = item.path
        undone = f"{self.quarantine}/{Change.CREATE.folder}"
        if stat_or_none(self.store, item.quarantine_path) is not None:
            return False
        there = stat_or_none(self.store, path)
        if there is None:
            return False
        if path in self.needed:
            self._skip(path, self.needed[path])
            return False
        if not _is_written(self.store, there, item):
            if path in self.made:
                self._skip(path, "it has changed since the run wrote it")
            return False
        source = rename_source(self.store, path) if item.folder else path
        if stat_or_none(self.store, f"{undone}{source}") is not None:
            source = path
        self.store.move(*self._moving(source, f"{undone}{source}"))
        return True

    def _put_back(self, item: Item) -> bool:
        """Move an item from quarantine to its place; return whether it was moved."""
        if item.change is not Change.MOVE and not self._is_last(item):
            return False
        if stat_or_none(self.store, item.quarantine_path) is None:
            return False
        is_moved = item.change is Change.MOVE
        if is_moved and item.source != item.path and self._fill(item, item.source):
            return True
        # The registry may have made the folder again: what counts is whether the file is there.
        if self._fill(item, item.path):
            return True
        if item.kind in FOLDER_KINDS and not item.named:
            return self._fill_folder(item)
        return self.make_room and self._replace(item)

    def _is_last(self, item: Item) -> bool:
        """Return whether an item that a restore took out or set aside is the only good copy."""
        if item.kind in LINK_KINDS and item.change is Change.CREATE and item.named:
            return is_good(self.store, item)
        if item.kind != ActionKind.BLOB or not is_good(self.store, item):
            return False
        return place_of(self.store, item) in (Place.FREE, Place.BAD)

    def _fill(self, item: Item, path: str) -> bool:
        """Move an item, or the folder made for it, to `path` if that is free; return whether."""
        if stat_or_none(self.store, path) is not None:
            return False
        area = item.change.folder
        try:
            self.store.move(*self._moving(f"{self.quarantine}/{area}{path}", path))
        except StoreError:
            if stat_or_none(self.store, path) is None:
                raise
            return False  # the registry has just created it
        return True

    def _fill_folder(self, item: Item) -> bool:
        """Put back those files of a folder whose places are free; `current` comes last."""
        start = len(f"{self.quarantine}/{item.change.folder}")
        paths = [file[start:] for file in item.files]
        paths.sort(key=lambda path: "/current/" in path)
        return any([self._fill(item, path) for path in paths])

    def _replace(self, item: Item) -> bool:
        """Put an item back if it is good and what lies at its place is bad."""
        place = place_of(self.store, item)
        bad = place in (Place.BAD, Place.FREE)
        if not bad or not is_good(self.store, item):
            also = ", and the copy in quarantine is bad too" if bad else ""
            self._skip(item.path, f"it is there again{also}")
            return False
        path = item.path
        if item.kind == ActionKind.TAG and not path.endswith("/current/link"):
            path += "/current/link"  # its history may say more by now than it did
        there, aside = (
            stat_or_none(self.store, path),
            f"{self.quarantine}/{Change.REPLACE.folder}{path}",
        )
        if there is not None:
            if stat_or_none(self.store, aside) is not None:
                self._skip(path, "it is bad, and bad bytes were moved aside from there before")
                return False
            bad_item = item._replace(
                change=Change.REPLACE, path=path, source=path, size=there.size, mtime=None
            )
            self.journal.write(**bad_item.line())
            self.journal.flush()
            self.store.move(*self._moving(path, aside))
            self.touched.sync()
        if not self._fill(item, path):
            return False
        self.replaced.append(item.path)
        return True

    def _moving(self, source: str, target: str) -> tuple[str, str]:
        self.touched.moved(source, target)
        return source, target

    def _skip(self, path: str, reason: str) -> None:
        if path not in self.stays:
            self.stays.add(path)
            self.skipped.append(Skipped(path, reason))


def _is_written(store: Store, there: Entry, item: Item) -> bool:
    """Return whether a file is what a run wrote, by its content."""
    if there.kind is not FileKind.FILE or there.size != item.size:
        return False
    try:
        with store.open(there.path) as stream:
            algorithm = item.content.partition(":")[0] or CANONICAL
            (found,), _ = hash_stream(stream, (algorithm,))
    except (StoreError, AlgorithmUnsupported):
        return False
    return str(found) == item.content
