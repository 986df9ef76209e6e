"""Changing a tree during a run: each change is in the journal before it is made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.runs.journal import continued, journals
from regfs.runs.lines import Lines
from regfs.runs.paths import quarantine_of
from regfs.runs.preconditions import require_one_filesystem
from regfs.runs.records import Change, Item, RunKind, now
from regfs.runs.space import claim_once
from regfs.runs.sync import ChangedFolders, sync_interrupted
from regfs.runs.totals import ActionKind
from regfs.stores import (
    Capability,
    Entry,
    FileKind,
    Store,
    WritableStore,
    Writer,
    ignore,
    stat_or_none,
)
from regfs.stores.bulk import BulkWriter, bulk_writer
from regfs.stores.unfinished import finished_name

_TOGETHER: Final = 200
"""Links that are written together; each has two open files meanwhile."""


class PlannedLink(NamedTuple):
    """A link to write."""

    path: str
    kind: ActionKind
    digest: Digest
    mtime: float | None
    """Seconds since the epoch, or now."""


class Changes:
    """The changes of one run."""

    def __init__(self, store: WritableStore, run: str, journal: Lines) -> None:
        self._store = store
        self.run = run
        self._journal = journal
        self._quarantine = quarantine_of(run)
        self._touched = ChangedFolders(store)
        self._new: set[str] = set()
        """Files whose folder was not there before."""

    def note(self, **line: object) -> None:
        """Add a line."""
        self._journal.write(**line)

    def flush(self) -> None:
        """Make the lines durable."""
        self._journal.flush()

    def sync(self) -> None:
        """Make everything that was moved durable: what comes next may rest on it."""
        if self._touched:
            self._touched.sync()
            self.note(synced=now())

    def intend(self, items: Iterable[Item]) -> None:
        """Write down what will be changed, and make that durable."""
        self._journal.write_texts(item.text() for item in items)
        self.flush()

    def move(self, source: str) -> None:
        """Move into quarantine the source of an intended item.

        Raises:
            PathMissing: it is gone.
            StoreError: as the storage answers.
        """
        self._store.move(*self._aside(source))

    def move_many(self, sources: Iterable[str]) -> Iterator[StoreError | None]:
        """Move one after the other; yield what `move` would raise, or None for each that moved.

        A source is asked for when the answer for the one before was taken, or a few ahead.
        """
        return self._store.move_many(map(self._aside, sources))

    def leave(self, path: str) -> None:
        """Write down that an intended change was given up."""
        self.note(left=path)

    def _aside(self, source: str) -> tuple[str, str]:
        target = f"{self._quarantine}/{source}"
        self._touched.moved(source, target)
        return source, target

    def remove_empty(self, folders: Iterable[str]) -> int:
        """Remove those folders that are empty, the innermost first; return how many.

        This is not journaled: a restore makes the folders again that it needs.
        """
        return remove_empty(self._store, folders)

    def announce(self, paths: Iterable[str]) -> None:
        """Write down which files will be begun: a killed run may leave half of one there."""
        for path in paths:
            self.note(begin=path)
        self.flush()

    def begin(self, path: str, *, mtime: float | None = None) -> Writer:
        """Begin an announced file that `create` will put at `path`."""
        if stat_or_none(self._store, layout.parent_of(path)) is None:
            self._new.add(path)
        return self._store.create(path, mtime=mtime)

    def write_link(
        self, path: str, kind: ActionKind, digest: Digest, *, mtime: float | None = None
    ) -> None:
        """Put an announced link in place; a link that it replaces is copied aside.

        Its modification time is `mtime`, in seconds since the epoch, or now; the journal has it,
        so that a later write of the same bytes shows.
        """
        mtime = time.time() if mtime is None else mtime
        data = digest.encode("ascii")  # and nothing more: a newline would break it
        begun = self.begin(path, mtime=mtime)
        content, size = Digest.of(data), len(data)
        try:
            begun.write(data)
            self.create(
                path,
                begun,
                kind=kind,
                digest=digest,
                size=size,
                content=content,
                mtime=mtime,
                small=True,
            )
        finally:
            begun.discard()

    def write_links(self, links: Sequence[PlannedLink]) -> None:
        """Put announced links in place, the many where nothing lies together.

        One by one each would wait for the disk three times. Here the intents are durable, then
        the bytes of all, and only then does any of them get its name: a power cut leaves a link
        whole or not there. The names are durable when this returns.
        """
        bulk = bulk_writer(self._store)
        for start in range(0, len(links), _TOGETHER):
            self._write_together(bulk, links[start : start + _TOGETHER])
        bulk.barrier()

    def _write_together(self, bulk: BulkWriter, links: Sequence[PlannedLink]) -> None:
        begun: list[tuple[Item, Writer]] = []
        try:
            for path, kind, digest, mtime in links:
                if stat_or_none(self._store, path) is not None:
                    self.write_link(path, kind, digest, mtime=mtime)
                    continue
                data, at = digest.encode("ascii"), time.time() if mtime is None else mtime
                new = stat_or_none(self._store, layout.parent_of(path)) is None
                content = Digest.of(data)
                item = Item(
                    self.run, Change.CREATE, path, kind, digest, len(data), path, at, content, new
                )
                begun.append((item, bulk.create(path, mtime=at)))
                begun[-1][1].write(data)
            self.intend(item for item, _ in begun)
            bulk.barrier()
            for (item, _), own in zip(begun, self._put_each(begun, bulk.threads), strict=True):
                self.note(made=item.path, **own)
        finally:
            for _, writer in begun:
                writer.discard()

    def _put_each(
        self, begun: Sequence[tuple[Item, Writer]], threads: int
    ) -> Iterator[dict[str, float]]:
        """Give files their names: on a disk in their order, in a bucket side by side."""
        if Capability.FOLDERS in self._store.capabilities:
            yield from map(self._put, begun)
            return
        from concurrent.futures import ThreadPoolExecutor  # few runs write many links

        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(self._put, begun)

    def _put(self, begun: tuple[Item, Writer]) -> dict[str, float]:
        """Give a file its name; return its own time, as `_own_time`."""
        item, writer = begun
        writer.commit()
        return self._own_time(item.path, item.mtime)

    def create(
        self,
        path: str,
        begun: Writer,
        *,
        kind: ActionKind,
        digest: Digest,
        size: int,
        content: Digest,
        mtime: float | None = None,
        small: bool = False,
    ) -> None:
        """Put a file whose bytes are known to be good in place, and move aside what lay there.

        `content` is the digest of the bytes, `size` their number, `mtime` the time that the file
        was begun with. A `small` file is copied aside and then replaced, so that the place is
        never empty: a damaged link may be all that names what it links.
        """
        there = stat_or_none(self._store, path)
        new = path in self._new or stat_or_none(self._store, layout.parent_of(path)) is None
        item = Item(self.run, Change.CREATE, path, kind, digest, size, path, mtime, content, new)
        if there is None:
            self.intend([item])
        elif small:
            self._copy_aside(item, there)
        else:
            self.intend([_replaced(item, there, digest), item])
            self.move(path)
            self.sync()
        begun.commit()
        self.note(made=path, **self._own_time(path, mtime))

    def _own_time(self, path: str, mtime: float | None) -> dict[str, float]:
        """Return the time of a file that was just written, where the storage gives it another.

        By that time a restore tells what the run wrote from what somebody wrote later.
        """
        if mtime is None or Capability.FOLDERS in self._store.capabilities:
            return {}
        there = stat_or_none(self._store, path)
        return {} if there is None else {"mtime": there.mtime}

    def _copy_aside(self, item: Item, there: Entry) -> None:
        """Copy a small file into quarantine that a new one is about to replace."""
        path = item.path
        content = self._store.read(path, there.size + 1)
        was = layout.tolerant_link(content) or item.digest
        self.intend([_replaced(item, there, was), item])
        with self._store.create(f"{self._quarantine}/{path}", mtime=there.mtime) as copy:
            copy.write(content)

    def finish(self, done: int) -> None:
        """Write down that all is done, when that is durable."""
        self.sync()
        self.note(applied=now(), done=done)
        self.flush()


@contextmanager
def changing(store: WritableStore, run: str, kind: RunKind, **facts: object) -> Iterator[Changes]:
    """Begin a run, or continue it; the caller holds the lock.

    Raises:
        Doubt: what it would move lies on another file system.
        StoreFull: there is no space for what ends a run.
    """
    require_one_filesystem(store)
    sync_interrupted(store)
    claim_once(store, run)
    with continued(store, run) as journal:
        changes = Changes(store, run, journal)
        changes.note(run=run, kind=kind, at=now(), root=store.url, **facts)
        changes.flush()
        yield changes


def _replaced(item: Item, there: Entry, digest: Digest | None) -> Item:
    """Return the item of a file that a new one replaces."""
    path = item.path
    return Item(item.run, Change.MOVE, path, item.kind, digest, there.size, path)


def clear_unfinished(store: WritableStore) -> None:
    """Delete unfinished files that killed runs have left beside their places.

    The caller holds the lock, so nobody is still writing them.
    """
    for journal in journals(store):
        account = journal.account
        interrupted = account.state == "interrupted" and journal.damage is None
        if not interrupted or account.kind is RunKind.GC:
            continue
        for path in account.begun:
            folder, _, name = path.rpartition("/")
            # The file's own folder only, and only what `create` calls such a file.
            beside = (entry.path for entry in store.list(folder, ignore))
            store.delete(one for one in beside if finished_name(layout.name_of(one)) == name)


def remove_empty(store: WritableStore, folders: Iterable[str]) -> int:
    """Remove those folders that are empty, the innermost first; return how many."""
    if Capability.FOLDERS not in store.capabilities:
        return 0  # what holds nothing is no folder there
    # A file may lie there by now, and `delete` would delete it.
    still = (path for path in sorted(folders, reverse=True) if _is_folder(store, path))
    return store.delete(still)


def _is_folder(store: Store, path: str) -> bool:
    found = stat_or_none(store, path)
    return found is not None and found.kind is FileKind.FOLDER


def rename_source(store: Store, path: str) -> str:
    """Return what to rename for a file: its folder if that holds nothing else, else the file."""
    folder = layout.parent_of(path)
    inside = store.list(folder, ignore)
    return folder if [entry.path for entry in inside] == [path] else path
