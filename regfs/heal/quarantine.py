"""Moving corrupt data into quarantine, so that a push can heal it.

A registry never overwrites existing content, not even an empty file: it answers a push with
"exists already". It accepts the good data only after the bad data is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from regfs import layout
from regfs.content.hashing import HashItem, Task, hash_blobs
from regfs.digest import Digest
from regfs.errors import PathMissing
from regfs.findings import Code
from regfs.heal.report import Quarantined
from regfs.progress import SILENT, Progress
from regfs.runs import Change, Changes, Item, RunKind, Skipped, changing, new_run, rename_source
from regfs.runs.lock import exclusive
from regfs.runs.totals import ActionKind
from regfs.stores import FileKind, writable
from regfs.tree.registry import Registry
from regfs.verify import Result


def corrupt(result: Result) -> list[Digest]:
    """Return the blobs that a verification found corrupt."""
    rows = (row.finding for row in result.findings if row.finding.code is Code.BLOB_CORRUPT)
    return list(dict.fromkeys(Digest(found.digest) for found in rows if found.digest))


def quarantine(
    registry: Registry, digests: Iterable[Digest], *, progress: Progress = SILENT
) -> Quarantined:
    """Move corrupt blobs among `digests` into quarantine; hash each again just before.

    A blob that is intact by now, or cannot be read, stays.

    Raises:
        LockHeld: another run is under way.
        StoreError: the storage failed.
    """
    candidates = list(digests)
    store = writable(registry.store)
    if not candidates:
        return Quarantined(None, store.url, [], 0)
    run: str | None = None
    moved: list[str] = []
    skipped: list[Skipped] = []
    total = 0
    progress.start("Moving into quarantine", len(candidates))
    with exclusive(store), ExitStack() as stack:
        changes: Changes | None = None
        for digest in candidates:
            progress.advance(1)
            path = layout.blob_path(digest)
            if (reason := _why_not(registry, digest)) is not None:
                skipped.append(Skipped(path, reason))
                continue
            if changes is None:
                run = new_run()
                changes = stack.enter_context(changing(store, run, RunKind.QUARANTINE))
            try:
                total += _move(registry, changes, path, digest)
                moved.append(path)
            except PathMissing:
                skipped.append(Skipped(path, "it is gone"))
        if changes is not None:
            changes.finish(len(moved))
    progress.finish()
    return Quarantined(run, store.url, moved, total, skipped)


def _why_not(registry: Registry, digest: Digest) -> str | None:
    """Hash a blob once more; return why it stays, or None if it is corrupt."""
    outcome = hash_blobs(Task(registry.store.url, (HashItem(digest, 0),), 0), registry.store)
    if not outcome.problems or outcome.problems[0].whole:
        return "it is intact by now"
    _, code, actual, _ = outcome.problems[0]
    if code is Code.BLOB_MISSING:
        return "it is gone"
    return None if code is Code.BLOB_CORRUPT else f"it cannot be read: {actual}"


def _move(registry: Registry, changes: Changes, path: str, digest: Digest) -> int:
    entry = registry.store.stat(path)
    assert entry.kind is FileKind.FILE  # it was read as one
    source = rename_source(registry.store, path)
    item = Item(changes.run, Change.MOVE, path, ActionKind.BLOB, digest, entry.size, source)
    changes.intend([item])
    changes.move(source)
    return entry.size
