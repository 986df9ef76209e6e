"""Deleting for good what runs have moved away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from regfs.findings import Finding
from regfs.progress import SILENT, Progress
from regfs.runs.journal import (
    RUNS,
    Returned,
    Run,
    at,
    continued,
    lines_of,
    now,
    quarantine_of,
    require_run,
    runs,
    summed,
    told,
)
from regfs.runs.space import unreserve
from regfs.runs.syncing import sync_cut_off
from regfs.stores import Kind, Store, ignore
from regfs.totals import Totals
from regfs.turns import locked


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
    findings: list[Finding] = field(default_factory=list)
    """What was said to be in use and is not on this disk."""


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
        going = list(choose(chosen))
        if going:
            sync_cut_off(store)
        for one in going:
            more = _purge(store, one.run, progress)
            names.append(one.run)
            files, size = files + more.files, size + more.bytes
            deleted = deleted.plus(more.deleted)
        return Purged(names, files, size, deleted)


def _purge(store: Store, run: str, progress: Progress) -> Purged:
    """Delete what one run moved away."""
    quarantine = quarantine_of(run)
    entries = (entry for entry in store.walk(quarantine, ignore) if entry.kind is Kind.FILE)
    sizes = {entry.path.removeprefix(f"{quarantine}/"): entry.size for entry in entries}
    size = sum(sizes.values())
    lines = {line["path"]: line for line in lines_of(store, run) if "move" in line}
    deleted = summed(
        line
        for path, line in lines.items()
        if path in sizes or at(store, f"{quarantine}/{path}") is not None
    )
    # The space that was kept for it: the first line has to be written before anything goes.
    unreserve(store, run)
    with continued(store, run) as journal:
        # From here on a restore would be partial, so it is refused: said before the first byte.
        journal.write(purging=now())
        journal.flush()
        progress.start("Deleting from quarantine")
        files = store.delete_tree(quarantine)
        progress.advance(files)
        progress.finish()
        # A power cut could bring it back, and nobody purges again what is said to be purged.
        store.sync(f"{RUNS}/{run}")
        journal.write(purged=now(), files=files, bytes=size)
        journal.flush()
    return Purged([run], files, size, deleted)
