"""What is wrong: what `regfs verify` has noted in its ledger, and what the structure shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from regfs.digest import Digest
from regfs.findings import Finding, Severity
from regfs.reports.moment import moment
from regfs.server.ui import addresses
from regfs.server.ui.snapshot import LedgerState
from regfs.server.ui.views.parts import Link, Look, Paging, page_of


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding."""

    finding: Finding
    path: str
    subject: Link | None
    """The repository or blob it is about."""
    images: tuple[str, ...]
    """Images that are not whole because of it; the first few."""
    affected: int


@dataclass(frozen=True, slots=True)
class Findings:
    """The view."""

    ledger: LedgerState
    oldest: datetime | None
    verified_share: int
    counts: tuple[tuple[str, int, str, bool], ...]
    """Severity, how many, address, and whether it is the one that is shown."""
    page: Paging[FindingRow]


IMAGES = 5
"""Images that are named with one finding."""


def findings(look: Look, severity: str, number: int) -> Findings:
    """Return what is wrong; for those only who may see everything."""
    snapshot = look.snapshot
    ledger = snapshot.ledger
    noted = ledger.coverage.findings if ledger.coverage else ()
    # One path can be told of twice: by what was hashed, and by what reads it.
    rows = {(row.finding.code, row.finding.path): (row.finding, row.images) for row in noted}
    for finding in [*snapshot.inventory.findings, *snapshot.graph.findings]:
        rows.setdefault((finding.code, finding.path), (finding, ()))
    affected = {(row.finding.code, row.finding.path): row.affected for row in noted}
    counts = Counter(finding.severity.value for finding, _ in rows.values())
    order = list(Severity)
    wanted = severity if severity in counts else ""
    found = sorted(
        (key for key, one in rows.items() if not wanted or one[0].severity.value == wanted),
        key=lambda key: (order.index(rows[key][0].severity), *key),
    )

    def address(page: int) -> str:
        return addresses.with_query("/findings", severity=wanted, page=page if page > 1 else "")

    page = page_of(found, number, address)
    coverage = ledger.coverage
    every = coverage.verified + coverage.unknown if coverage else 0
    return Findings(
        ledger=ledger,
        oldest=None if coverage is None or coverage.oldest is None else moment(coverage.oldest),
        verified_share=100 * coverage.verified // every if coverage and every else 0,
        counts=(
            ("all", len(rows), "/findings", not wanted),
            *(
                (
                    one.value,
                    counts[one.value],
                    addresses.with_query("/findings", severity=one.value),
                    one.value == wanted,
                )
                for one in order
                if counts[one.value]
            ),
        ),
        page=Paging(
            tuple(_row(*rows[key], affected.get(key, 0)) for key in page.rows),
            page.first,
            page.total,
            page.previous,
            page.following,
        ),
    )


def _row(finding: Finding, images: tuple[str, ...], affected: int) -> FindingRow:
    subject: Link | None = None
    if finding.repository is not None:
        subject = Link(finding.repository, addresses.of_repository(finding.repository))
    elif finding.digest is not None:
        subject = Link(Digest(finding.digest).short, addresses.of_blob(finding.digest))
    return FindingRow(finding, finding.path, subject, images[:IMAGES], affected)
