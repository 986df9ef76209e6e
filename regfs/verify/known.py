"""Every finding that can be known without reading a blob: by listing, by links, and by the ledger.

    known_findings(registry, inventory, graph) -> [Finding(blob-missing ...), ...]

    known = read_known(store, inventory, graph)                 what the ledger says
    every_finding(known, inventory, graph, missing)             and what listing showed, at once

Level `sizes` finds what listing and manifests show. What an earlier verification of contents
found counts as long as its blob is the same file. The page and the explorer, which answer at once,
do without the looks at links and sizes of that level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import DocumentInvalid, PathMissing, RegfsError, StoreError
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.stores import Store
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from regfs.units import utc_time
from regfs.verify import verify
from regfs.verify.cache import in_cache
from regfs.verify.coverage import cover, pick_from
from regfs.verify.files import identify_blobs
from regfs.verify.ledger import LedgerEntry
from regfs.verify.ledger_file import LEDGER, read_ledger
from regfs.verify.options import VerifyOptions
from regfs.verify.report import Coverage, Level, ReportedFinding


def known_findings(
    registry: Registry,
    inventory: Inventory,
    graph: Graph,
    progress: Progress = SILENT,
    report: Callable[[Finding], None] = lambda _: None,
) -> list[Finding]:
    """Return the findings, each once, however many there are.

    `report` hears of a ledger that is there and cannot be read.
    """
    found: dict[tuple[str, str], Finding] = {}

    def note(row: ReportedFinding) -> None:
        found.setdefault((row.finding.code, str(row.finding)), row.finding)

    options = VerifyOptions(level=Level.SIZES)
    verify(registry, inventory, graph, options, progress=progress, on_finding=note)
    try:
        ledger = read_ledger(registry.store, LEDGER, pick_from(inventory))
        file_of = identify_blobs(registry.store, inventory.blobs).find
        cover(inventory, ledger, file_of, lambda: graph, on_finding=note)
    except (PathMissing, DocumentInvalid):
        pass  # one of an earlier version does not say which files it is about: verify starts anew
    except StoreError as error:
        unread = Finding(Code.PATH_UNREADABLE, LEDGER, actual=str(error))
        found[unread.code, LEDGER] = unread
        report(unread)
    return list(found.values())


class LedgerState(NamedTuple):
    """What the ledger of `regfs verify` says about a tree."""

    coverage: Coverage | None = None
    """None if nothing was ever verified, or the ledger cannot be read."""
    latest: datetime | None = None
    """When a blob was verified last."""
    trouble: str = ""
    """Why the ledger cannot be read."""


def read_known(
    store: Store,
    inventory: Inventory,
    graph: Graph,
    on_entry: Callable[[Digest, LedgerEntry], None] | None = None,
) -> LedgerState:
    """Return what earlier verifications have found; never raises.

    `on_entry` hears of each entry whose blob is still the file that was verified.
    """
    try:
        ledger = read_ledger(store, LEDGER, pick_from(inventory))
    except PathMissing:
        return LedgerState()
    except RegfsError as error:
        return LedgerState(trouble=str(error))
    file_of = identify_blobs(store, inventory.blobs).find
    coverage = cover(inventory, ledger, file_of, lambda: graph)
    latest = max((entry.checked_at for _, entry in ledger), default=None)
    for digest, entry in ledger:
        if on_entry is None:
            break
        blob = inventory.blobs[digest]
        if (entry.size, entry.mtime, entry.file) == (blob.size, blob.mtime, file_of(digest)):
            on_entry(digest, entry)
    return LedgerState(coverage, None if latest is None else utc_time(latest))


def every_finding(
    known: LedgerState, inventory: Inventory, graph: Graph, missing: Iterable[str]
) -> list[ReportedFinding]:
    """Return every finding once, the worst first: of the ledger, the listing and the graph.

    `missing` are the digests that images need and that are not there.
    """
    gone = [Finding(Code.BLOB_MISSING, layout.blob_path(Digest(one)), one) for one in missing]
    listed = [*inventory.findings, *graph.findings, *gone]
    if inventory.proxy_cache:
        listed = list(map(in_cache, listed))
    noted = known.coverage.findings if known.coverage else ()
    rows = {(row.finding.code, row.finding.path): row for row in noted}
    for finding in listed:
        rows.setdefault((finding.code, finding.path), ReportedFinding(finding))
    order = list(Severity)
    return sorted(
        rows.values(),
        key=lambda row: (
            order.index(row.finding.severity),
            # Causes come before their consequences.
            row.finding.code is not Code.BLOBS_MISSING,
            row.finding.code,
            row.finding.path,
        ),
    )
