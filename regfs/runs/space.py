"""The space of a run: set aside before anything is moved, and available to end it.

    .regfs/runs/<run>/reserve       bytes that nobody else can take

A run needs space itself: lines of its journal, folders in its quarantine. `claim` takes all of
it at once, before anything is moved, and fails if there is not so much. What is left of it,
`reserve`, stays for as long as something lies in quarantine. A restore or a purge deletes the
reserve first (`spending`), so both work on a full disk: their lines, and the folders that a
restore makes again, take the space of the reserve.

A reserve holds no data. Without one, after a crash or in a tree of an early version, only a
restore or a purge on a full disk fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from regfs import layout
from regfs.errors import StoreError, StoreFull
from regfs.runs.paths import RUNS, journal_of, quarantine_of, reserve_of
from regfs.stores import FileKind, Store, WritableStore, ignore, measure, stat_or_none

RESERVE: Final = 64 << 10
"""Bytes for the lines that end a run, and for what folders grow by when things come back."""


def claim(store: WritableStore, run: str, size: int, keep: int = RESERVE) -> None:
    """See that a run that begins has `size` bytes of space, and set `keep` of them aside.

    Raises:
        StoreFull: there is not so much; nothing was made.
    """
    store.claim(reserve_of(run), max(size, keep))
    store.claim(reserve_of(run), keep)


def unclaim(store: WritableStore, run: str) -> None:
    """Delete the reserve of a run that has not begun, and its folder if that is empty."""
    store.delete([reserve_of(run), f"{RUNS}/{run}"])


def unclaim_abandoned(store: WritableStore) -> None:
    """Delete the reserves of runs that were killed before they began; the caller holds the lock."""
    for entry in store.list(RUNS, ignore):
        run = layout.name_of(entry.path)
        if not begun(store, run):
            unclaim(store, run)


def claim_once(store: WritableStore, run: str) -> None:
    """Set a reserve aside for a run that has none.

    Raises:
        StoreFull: there is not so much space.
    """
    if stat_or_none(store, reserve_of(run)) is None:
        store.claim(reserve_of(run), RESERVE)


def begun(store: Store, run: str) -> bool:
    """Return whether a run has a journal already."""
    return stat_or_none(store, journal_of(run)) is not None


def unreserve(store: WritableStore, run: str) -> None:
    """Delete the reserve of a run, so that its last lines have space."""
    store.delete([reserve_of(run)])


class Occupied(NamedTuple):
    """What files take."""

    bytes: int
    """Of files."""
    allocated: int
    """Bytes of disk blocks, as a plan and `du` count them: without those of the folders that the
    files are in. 0 if the store has no such thing."""


def occupied(store: Store, *runs: str) -> Occupied:
    """Return what lies in the quarantine of runs."""
    sizes = [_occupied(store, quarantine_of(run)) for run in runs]
    return Occupied(sum(one.bytes for one in sizes), sum(one.allocated for one in sizes))


def _occupied(store: Store, folder: str) -> Occupied:
    if stat_or_none(store, folder) is None:
        return Occupied(0, 0)
    size = allocated = 0
    try:
        for found in measure(store, folder, frozenset()):
            size += sum(file[1] for file in found.files)
            allocated += sum(file[3] for file in found.files)
        return Occupied(size, max(allocated, 0))
    except (OSError, StoreError):  # something is not plain
        files = [one for one in store.walk(folder, ignore) if one.kind is FileKind.FILE]
    blocks = sum(max(one.allocated, 0) for one in files)
    return Occupied(sum(one.size for one in files), blocks)


@contextmanager
def spending(store: WritableStore, run: str) -> Iterator[None]:
    """Free the reserve of a run while the block runs; then take it again, if there is space.

    The caller holds the lock.

    Raises:
        StoreFull: from the block; the message says how many bytes to free.
    """
    reserve = stat_or_none(store, reserve_of(run))
    unreserve(store, run)
    try:
        yield
    except StoreFull as error:
        size = RESERVE if reserve is None else reserve.size
        raise StoreFull(f"{error}; make {size} bytes free and do it again") from None
    finally:
        if reserve is not None:
            with suppress(StoreFull):
                store.claim(reserve_of(run), reserve.size)
