"""Every finding that can be known without reading a blob: by listing, by links, and by the ledger.

    known_findings(registry, inventory, graph) -> [Finding(blob-missing ...), ...]

Level `sizes` finds what listing and manifests show. What an earlier verification of contents
found counts as long as its blob is the same file.
"""

from __future__ import annotations

from collections.abc import Callable

from regfs.errors import DocumentInvalid, PathMissing, StoreError
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from regfs.verify import verify
from regfs.verify.coverage import cover, pick_from
from regfs.verify.files import identify_blobs
from regfs.verify.ledger_file import LEDGER, read_ledger
from regfs.verify.options import VerifyOptions
from regfs.verify.report import Level, ReportedFinding


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
