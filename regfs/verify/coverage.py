"""What a ledger says about a tree, without reading a blob: how much was verified, what is damaged.

    merge the ledgers of shards -> write the result -> cover(...) -> Coverage

A result counts as long as its blob is the same file, with the same size and time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.stores import FileId
from regfs.tree.inventory import Inventory
from regfs.verify.affected import Affected
from regfs.verify.cache import in_cache
from regfs.verify.ledger import Ledger, Pick
from regfs.verify.report import Collector, Coverage, Level, ReportedFinding


def pick_from(inventory: Inventory) -> Pick:
    """Return what keeps the entries of listed blobs."""

    def pick(text: str) -> Digest | None:
        return None if inventory.blobs.find(text) is None else Digest(text)

    return pick


def of_this_tree(
    part: Ledger, inventory: Inventory, file_of: Callable[[Digest], FileId | None]
) -> Ledger:
    """Return the results that are about files of this tree as they are now.

    The device number may differ on the machine that made the ledger; the returned entries have
    the number on this machine.
    """
    found = Ledger()
    for digest, entry in part:
        size, mtime, _ = inventory.blobs[digest]
        file = file_of(digest)
        if file is not None and (entry.size, entry.mtime, *entry.file[1:]) == (
            size,
            mtime,
            *file[1:],
        ):
            found.put(digest, entry._replace(file=file))
    return found


def cover(
    inventory: Inventory,
    ledger: Ledger,
    file_of: Callable[[Digest], FileId | None],
    graph: Callable[[], Graph | None],
    *,
    level: Level = Level.DIGESTS,
    on_finding: Callable[[ReportedFinding], None] | None = None,
) -> Coverage:
    """Return what `ledger` says about a tree whose blobs are the files that `file_of` returns.

    `graph` is called only if something is damaged.
    """
    blobs = inventory.blobs
    verified = size = unknown = unknown_size = 0
    oldest: float | None = None
    broken: list[tuple[Digest, Code]] = []
    for digest, length, mtime in zip(blobs, blobs.sizes, blobs.mtimes, strict=True):
        entry = ledger.find(digest, level)
        now = (length, mtime, file_of(digest))
        if entry is None or (entry.size, entry.mtime, entry.file) != now:
            unknown += 1
            unknown_size += length
            continue
        verified += 1
        size += length
        if entry.result is not None:
            broken.append((digest, entry.result))
        elif oldest is None or entry.checked_at < oldest:
            oldest = entry.checked_at
    rows = _rows(inventory, graph() if broken else None, broken, on_finding)
    totals = (verified, size, unknown, unknown_size, oldest)
    return Coverage(inventory.url, level, *totals, tuple(rows))


def _rows(
    inventory: Inventory,
    graph: Graph | None,
    broken: Iterable[tuple[Digest, Code]],
    on_finding: Callable[[ReportedFinding], None] | None,
) -> list[ReportedFinding]:
    collector = Collector(Affected(inventory, graph), lambda finding: True, on_finding)
    for digest, code in broken:
        finding = Finding(code, layout.blob_path(digest), digest)
        collector.add(in_cache(finding) if inventory.proxy_cache else finding)
    return collector.rows
