"""The space that a run needs before it frees any, and what it does without.

Moving is renaming, so files take no space in quarantine. New folders and the journal do. Both are
estimated before anything is moved, rather too high than too low, and reserved on the disk.

    there is enough                         everything is moved into quarantine
    there is not, and the run deletes at    items are deleted in place, references first
        once (--offline --purge)            (`regfs.runs.in_place`)
    there is not                            the run is refused, with the bytes that it needs
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from regfs import layout
from regfs.errors import StoreFull
from regfs.gc.plan import Action, Plan
from regfs.runs import RESERVE, RUNS, begun, claim, unclaim
from regfs.runs.totals import EMPTY_KINDS
from regfs.stores import Room, WritableStore, folders_above
from regfs.tree.leftovers import is_for_one

IN_PLACE: Final = "regfs gc run --offline --purge"
"""The command that needs no space."""
_LINE: Final = 256
"""Bytes of a journal line without its two paths, at most."""
_ENTRY: Final = 16
"""Bytes that a folder needs for a name, without the name itself, at most."""
_BLOCK: Final = 4096
_SLACK: Final = 4 * _BLOCK
"""Bytes for the metadata of a file, and the first lines of the journal."""
_OWN_FOLDERS: Final = 4
"""`.regfs`, `runs`, that of the run, and its quarantine."""
_OWN_FILES: Final = 4
"""The journal, the reserve, and two locks."""


@dataclass(frozen=True, slots=True)
class Need:
    """The space that a run needs until what it has moved is deleted."""

    bytes: int
    claimed: int
    """Bytes to reserve."""
    keep: int
    """Bytes of these that stay reserved for a restore or a purge."""
    files: int
    """Number of files and folders that are created."""


def need_of(actions: Sequence[Action], room: Room, *, offline: bool) -> Need:
    """Return how much space it takes to move items into quarantine and back."""
    names: defaultdict[str, int] = defaultdict(int)
    journal = 0
    for action in actions:
        if action.kind not in EMPTY_KINDS:
            path = action.path if action.path.isascii() else ascii(action.path)
            journal += _LINE + 2 * len(path)
            folder, _, name = _source(action).rpartition("/")
            names[folder] += len(os.fsencode(name)) + _ENTRY
    folders = {above for folder in names for above in (folder, *folders_above(folder))}
    # A folder that is filled in no order ends up half empty. Its first block is counted below.
    grown = sum(2 * size for size in names.values() if 2 * size > _BLOCK) if room.folder else 0
    if any(action.kind in EMPTY_KINDS for action in actions):
        again = len(folders)
    else:
        again = sum(map(is_for_one, folders)) if offline else 0
    keep = RESERVE + again * room.folder
    size = journal + grown + len(folders) * room.folder + keep
    whole = -(-size // _BLOCK) * _BLOCK
    own = _OWN_FOLDERS * room.folder + _SLACK
    return Need(whole + own, whole, keep, len(folders) + again + _OWN_FOLDERS + _OWN_FILES)


def _source(action: Action) -> str:
    """Return what is renamed for an item: usually the folder made for it."""
    folder, _, name = action.path.rpartition("/")
    return folder if name in ("data", "link") else action.path


def changed_folders(actions: Iterable[Action]) -> list[str]:
    """Return the folders that moving these items changes, sorted."""
    sources = {_source(action) for action in actions}
    # A folder that moves is changed itself: its parent is another one.
    return sorted(sources | {layout.parent_of(source) for source in sources})


def find_room(
    store: WritableStore, run: str, actions: Sequence[Action], *, offline: bool, at_once: bool
) -> bool:
    """Reserve the space for a quarantine; return whether there is enough.

    Raises:
        StoreFull: there is not, and the run does not delete `at_once`; nothing was made.
    """
    room = store.room()
    need = need_of(actions, room, offline=offline)
    try:
        if 0 <= room.files < need.files:
            raise StoreFull("too few files")
        claim(store, run, need.claimed, need.keep)
    except StoreFull:
        if at_once:
            return False
        raise StoreFull(
            f"{RUNS}/{run}: no space left on the device: moving this into quarantine takes "
            f"{need.bytes} bytes and {need.files} new files, but only {room.bytes} bytes"
            f"{f' and {room.files} files' if room.files >= 0 else ''} are free; nothing was "
            "moved. Free that much, or stop the registry and delete without a way back: "
            f"{IN_PLACE}"
        ) from None
    return True


def check_room(store: WritableStore, planned: Plan, *, at_once: bool) -> bool:
    """Return or raise what `find_room` would for a plan, but reserve nothing."""
    run, offline = planned.id, planned.policy.min_age == 0
    if begun(store, run):
        return True  # it has its reserve already
    found = find_room(store, run, planned.actions, offline=offline, at_once=at_once)
    if found:
        unclaim(store, run)
    return found
