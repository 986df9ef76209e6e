"""The space of a run: set aside before anything is moved, and there when the run is ended.

    .regfs/runs/<run>/reserve       bytes that nobody else can take

A run needs space of its own: lines of its journal, folders in its quarantine. `claim` takes
all of it at once, while nothing is moved yet, and fails where there is not so much. What is
left of it, `reserve`, stays for as long as something lies in quarantine. Whoever restores or
purges the run deletes the reserve first (`spending`), so that both work on a full disk: their
lines and the folders that a restore makes again take the space that the reserve had.

A reserve holds nothing. That it is gone, after a crash or on a tree of an earlier version,
harms nothing but a restore or purge for which there is no space.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from regfs import layout
from regfs.errors import StoreFull
from regfs.runs.paths import RUNS, journal_of, reserve_of
from regfs.stores import Store, ignore, stat_or_none

RESERVE: Final = 64 << 10
"""Bytes for the lines that end a run, and for what folders grow by when things come back."""


def claim(store: Store, run: str, size: int, keep: int = RESERVE) -> None:
    """See that a run that begins has `size` bytes of space, and set `keep` of them aside.

    Raises:
        StoreFull: there is not so much; nothing was made.
    """
    store.claim(reserve_of(run), max(size, keep))
    store.claim(reserve_of(run), keep)


def unclaim(store: Store, run: str) -> None:
    """Give back the reserve of a run that has not begun, with the run's folder if it is empty."""
    store.delete([reserve_of(run), f"{RUNS}/{run}"])


def unclaim_abandoned(store: Store) -> None:
    """Give back the reserves of runs that were killed before they began; we hold the lock."""
    for entry in store.list(RUNS, ignore):
        run = layout.name_of(entry.path)
        if not begun(store, run):
            unclaim(store, run)


def claim_once(store: Store, run: str) -> None:
    """Set the usual reserve aside for a run that has none.

    Raises:
        StoreFull: there is not so much space.
    """
    if stat_or_none(store, reserve_of(run)) is None:
        store.claim(reserve_of(run), RESERVE)


def begun(store: Store, run: str) -> bool:
    """Return whether a run has a journal already."""
    return stat_or_none(store, journal_of(run)) is not None


def unreserve(store: Store, run: str) -> None:
    """Give back the reserve of a run that ends, for what is written at its end."""
    store.delete([reserve_of(run)])


@contextmanager
def spending(store: Store, run: str) -> Iterator[None]:
    """Let the reserve of a run be used while the block runs; then take it again, if there is room.

    The caller holds the lock.

    Raises:
        StoreFull: from the block, with the bytes that were not enough.
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
