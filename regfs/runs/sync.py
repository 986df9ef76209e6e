"""Making moves durable: which folders they have changed since these were last synced.

`regfs.runs` says why and when.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from regfs import layout
from regfs.errors import PathMissing, PathUnsafe
from regfs.runs.journal import continued, read_journal, read_tail
from regfs.runs.lines import tail_of
from regfs.runs.paths import RUNS, journal_of, quarantine_of
from regfs.runs.records import Change, Item, now
from regfs.runs.space import spending
from regfs.stores import Store, WritableStore, folders_above, ignore, stat_or_none

_ENDS: Final = ("synced", "applied", "restored", "purging", "purged")
"""Stages before which everything was synced."""


class ChangedFolders:
    """The folders that moves have changed since they were last synced."""

    def __init__(self, store: WritableStore) -> None:
        self._store = store
        self._to: dict[str, None] = {}
        self._from: dict[str, None] = {}

    def moved(self, source: str, target: str) -> None:
        """Note that a thing is about to be moved."""
        self._from[source.rpartition("/")[0]] = None
        self._to[target.rpartition("/")[0]] = None

    def sync(self) -> None:
        """Make every move durable, the new names first."""
        sync_all(self._store, self._to)
        sync_all(self._store, self._from)
        self._to.clear()
        self._from.clear()

    def __bool__(self) -> bool:
        return bool(self._to)


def sync_all(store: WritableStore, folders: Iterable[str]) -> None:
    """Make the names in folders durable; for a folder that is gone, its absence."""
    done: set[str] = set()
    for folder in folders:
        for place in (folder, *folders_above(folder), ""):
            if place in done:
                break
            try:
                store.sync(place)
            except (PathMissing, PathUnsafe):
                continue  # it is gone; or nothing was moved there, as that would be refused too
            done.add(place)
            break


def sync_interrupted(store: WritableStore) -> None:
    """Sync what interrupted runs have moved; the caller holds the lock.

    They were killed, or the storage failed. What they moved is visible, and is relied on from
    now on, so it has to be durable.
    """
    for entry in store.list(RUNS, ignore):
        run = layout.name_of(entry.path)
        if stat_or_none(store, journal_of(run)) is None or _has_ended(store, run):
            continue
        found = read_journal(store, run)
        if found.damage is not None:
            sync_everything(store, run)
        elif found.reading.lines == []:
            continue  # the run has not begun
        sync_all(store, sorted(_changed_by(found.account.items), key=_quarantine_first))
        with spending(store, run), continued(store, run) as journal:
            journal.write(synced=now())
            journal.flush()


def sync_everything(store: WritableStore, run: str) -> None:
    """Sync every folder that moves into a quarantine may have changed, without its lines."""
    quarantine = quarantine_of(run)
    found = [listing.path for listing in store.tree(quarantine, ignore, links=False)]
    sync_all(store, found)
    sync_all(store, [path.removeprefix(f"{quarantine}/") for path in found])


def _has_ended(store: Store, run: str) -> bool:
    last = tail_of(read_tail(store, run))
    # A journal with a torn end says nothing about what came before.
    return last is not None and any(word in last for word in _ENDS)


def _changed_by(items: Iterable[Item]) -> set[str]:
    """Return the folders that moves out and back may have changed, with all above them."""
    found: set[str] = set()
    for item in items:
        paths = {item.source, item.path} if item.change is Change.MOVE else {item.path}
        for path in paths:
            folder = layout.parent_of(path)
            found |= {folder, f"{quarantine_of(item.run)}/{item.change.folder}{folder}"}
    # Which of those above were new is not known any more.
    above = {place for folder in found for place in folders_above(folder)}
    return {place for place in found | above if place.startswith((layout.PREFIX, RUNS))}


def _quarantine_first(folder: str) -> tuple[bool, str]:
    return not folder.startswith(RUNS), folder
