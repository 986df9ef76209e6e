"""Looking at what is about to be moved, in a second process while the batch before is moved.

That is a third of the time of a run. Nothing rests on it alone: each item is looked at once more
by the process that moves it, just before it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import PathChanged, PathMissing, PathTooLong, StoreError
from regfs.gc.actions import Action
from regfs.parallel import map_ahead
from regfs.runs import Change, Item
from regfs.runs.totals import FOLDER_KINDS, LINK_KINDS, ActionKind
from regfs.stores import Entry, FileKind, PathState, Store, ignore
from regfs.tree.links import LINK_LIMIT

BATCH: Final = 2048
"""Actions whose journal lines are made durable together, before the first of them is done."""

MANY: Final = 2 * BATCH
"""Actions that a second process is worth its start for."""

CHANGED: Final = "it has changed while this run was under way"

LINKS: Final = LINK_KINDS | {ActionKind.TAG}

Look = PathState | StoreError
"""What is at a path, or why that is not known."""

_Prepared = list[tuple[Any, ...] | None]


def in_batches(actions: Iterable[Action]) -> Iterator[list[Action]]:
    """Yield actions in batches of one kind each."""
    for _, some in groupby(actions, key=lambda action: action.kind):
        while batch := list(islice(some, BATCH)):
            yield batch


def look_at(store: Store, batches: Sequence[list[Action]]) -> Iterator[Iterable[Look]]:
    """Yield for each batch of actions of one kind what is at their paths, with links read."""

    def here(number: int) -> Iterable[Look] | _Prepared:
        return _examine(store, batches[number])

    def there(number: int) -> _Prepared:
        looks = _examine(store, batches[number])
        return [look.plain() if isinstance(look, PathState) else None for look in looks]

    many = sum(map(len, batches)) >= MANY
    answers = map_ahead(here, len(batches), there=there, fork=many)
    for batch, found in zip(batches, answers, strict=True):
        yield _unpacked(store, batch, found) if isinstance(found, list) else found


def _unpacked(store: Store, batch: list[Action], prepared: _Prepared) -> Iterator[Look]:
    """Yield what another process has seen; what is no plain file is looked at here."""
    for action, values in zip(batch, prepared, strict=True):
        if values is None:
            yield from _examine(store, [action])
        else:
            yield PathState.of_plain(values)


def _examine(store: Store, batch: Sequence[Action]) -> Iterator[Look]:
    limit = LINK_LIMIT if batch[0].kind in LINKS else 0
    return store.examine((action.path for action in batch), limit=limit)


def how_changed(store: Store, action: Action, seen: Look, otherwise: str) -> str | None:
    """Return how an item differs from its action, `otherwise` if in size or time; None if not.

    Raises:
        StoreError: it cannot be looked at.
    """
    if isinstance(seen, PathMissing):
        return "it is gone"
    if isinstance(seen, StoreError):
        raise seen
    entry = seen.entry
    if action.kind in FOLDER_KINDS:
        return _how_folder_changed(store, action, entry, otherwise)
    same = entry.kind is FileKind.FILE and (entry.size, entry.mtime) == (action.size, action.mtime)
    return None if same else otherwise


def _how_folder_changed(store: Store, action: Action, folder: Entry, otherwise: str) -> str | None:
    if folder.kind is not FileKind.FOLDER:
        return "it is no folder any more"
    inside = list(store.walk(folder.path, ignore))
    if any(entry.kind not in (FileKind.FILE, FileKind.FOLDER) for entry in inside):
        return "it holds what is neither a file nor a folder"
    files = [entry for entry in inside if entry.kind is FileKind.FILE]
    size = sum(file.size for file in files)
    # The mtime of an upload counts its folder, that of a tag only its links.
    upload = action.kind is ActionKind.UPLOAD
    mtime = max([entry.mtime for entry in [*([folder] if upload else []), *files]], default=0.0)
    return None if (size, mtime) == (action.size, action.mtime) else otherwise


def why_left(failure: StoreError) -> str | None:
    """Return why a store has left an item in its place; None if the storage has failed."""
    if isinstance(failure, PathMissing):
        return "it is gone"
    if isinstance(failure, PathChanged):
        return CHANGED
    if isinstance(failure, PathTooLong):
        return "its name is too long to be moved into quarantine there"
    return None


def source_of(action: Action, seen: Look) -> str:
    """Return what to rename: the folder of the file if it holds nothing else, else the file."""
    itself = action.kind in FOLDER_KINDS or action.kind is ActionKind.TEMPORARY
    if itself or isinstance(seen, StoreError) or not seen.alone:
        return action.path
    return layout.parent_of(action.path)


def item_of(run: str, action: Action, seen: Look) -> Item:
    """Return what a run is to move for an action."""
    return Item(
        run,
        Change.MOVE,
        action.path,
        action.kind,
        None if action.digest is None else Digest(action.digest),
        action.size,
        source_of(action, seen),
        action.mtime,
    )
