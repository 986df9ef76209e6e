"""Deleting in place, where there is no space for a quarantine.

Only a run that would purge what it moves anyway, and beside which nobody writes, may do this
(`regfs.gc.sweep`). It takes no space: it writes nothing until it has freed some. There is no
way back, so the argument that nothing needed is lost rests on less than with a quarantine:

    what is deleted  is decided under the lock, by a scan made under the same lock, and each
                     thing is checked again just before, as when it is moved.
    in which order   references before what they refer to, and every folder of one kind is
                     synced before the next kind is touched. A crash or a power cut at any
                     moment leaves garbage, which the next run takes, and no link to
                     something that is gone.
    what with it     a file is deleted by its name, and its folder only if that is empty then:
                     what came to lie beside it stays. A tag or an upload is deleted as a
                     folder; half of a tag still names its manifest, or nothing, and that
                     manifest is deleted later.

Nothing is journaled before, since neither a restore nor the next run could use it: nothing lies
anywhere else. When all is done, and if there is space by then, a journal lists what was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from regfs import layout
from regfs.errors import PathMissing, StoreError, StoreFull
from regfs.runs.changes import remove_empty
from regfs.runs.journal import continued
from regfs.runs.records import Item, RunKind, now
from regfs.runs.sync import sync_all
from regfs.stores import FileKind, WritableStore


class InPlace:
    """The deletions of one run, in the shape of `Changes`."""

    def __init__(self, store: WritableStore, run: str) -> None:
        self._store = store
        self._run = run
        self._touched: dict[str, None] = {}
        self._intended: dict[str, Item] = {}
        """Source -> item."""
        self._deleted: list[Item] = []
        self._count = 0

    def intend(self, items: Iterable[Item]) -> None:
        """Note what is to be deleted."""
        self._intended = {item.source: item for item in items}

    def move_many(self, sources: Iterable[str]) -> Iterator[StoreError | None]:
        """Delete one after the other; yield why one was not deleted, or None for each that was."""
        for source in sources:
            try:
                self._delete(source)
            except StoreError as error:
                yield error
            else:
                yield None

    def leave(self, path: str) -> None:
        """Do nothing: only what was deleted is written down."""

    def _delete(self, source: str) -> None:
        self._touched[layout.parent_of(source)] = None
        path = self._intended[source].path
        if path == source and self._store.stat(path).kind is FileKind.FOLDER:
            deleted = self._store.delete_tree(path)
        else:
            deleted = self._store.delete([path])
            if path != source:
                self._store.delete([source])
        if not deleted:
            raise PathMissing(f"{path}: no such file or folder")
        self._count += deleted
        self._deleted.append(self._intended[source])

    def remove_empty(self, folders: Iterable[str]) -> int:
        """Remove folders that are empty, as `Changes.remove_empty`."""
        return remove_empty(self._store, folders)

    def sync(self) -> None:
        """Make every deletion durable: what comes next may rest on it."""
        sync_all(self._store, self._touched)
        self._touched.clear()

    def finish(self, done: int) -> None:
        """Write down what was deleted, if there is space by now."""
        self.sync()
        run, store = self._run, self._store
        with suppress(StoreFull), continued(store, run) as journal:
            journal.write(run=run, kind=RunKind.GC, at=now(), root=store.url, in_place=done)
            journal.write_all(item.line() for item in self._deleted)
            journal.write(purged=now(), files=self._count)
            journal.flush()
