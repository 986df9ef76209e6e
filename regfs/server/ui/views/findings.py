"""What is wrong: what `regfs verify` has noted in its ledger, and what the structure shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.findings import Finding, Severity
from regfs.reports.moment import moment
from regfs.server.ui import addresses
from regfs.server.ui.snapshot import LedgerState
from regfs.server.ui.views.parts import Hyperlink, Look, PagedRows, page_of
from regfs.verify.report import ReportedFinding

IMAGES: Final = 5
"""Images that are named with one finding."""


class Choice(NamedTuple):
    """A severity that can be looked at alone."""

    label: str
    number: int
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding."""

    finding: Finding
    path: str
    subject: Hyperlink | None
    """The repository or blob it is about."""
    images: tuple[str, ...]
    """Images that are damaged by it; the first few."""
    affected: int


@dataclass(frozen=True, slots=True)
class Findings:
    """The view."""

    ledger: LedgerState
    oldest: datetime | None
    verified_share: int
    choices: tuple[Choice, ...]
    page: PagedRows[FindingRow]


def findings(look: Look, severity: str, number: int) -> Findings:
    """Return what is wrong; for those only who may see everything."""
    rows = look.snapshot.wrong
    counts = Counter(row.finding.severity.value for row in rows)
    wanted = severity if severity in counts else ""
    found = [row for row in rows if not wanted or row.finding.severity.value == wanted]

    def address(page: int) -> str:
        return addresses.with_query("/findings", severity=wanted, page=page if page > 1 else "")

    page = page_of(found, number, address)
    ledger = look.snapshot.ledger
    coverage = ledger.coverage
    every = coverage.verified + coverage.unknown if coverage else 0
    return Findings(
        ledger=ledger,
        oldest=None if coverage is None or coverage.oldest is None else moment(coverage.oldest),
        verified_share=100 * coverage.verified // every if coverage and every else 0,
        choices=tuple(_choices(counts, wanted)),
        page=page.replaced(_row(look, row) for row in page.rows),
    )


def _choices(counts: Counter[str], wanted: str) -> list[Choice]:
    choices = [Choice("all", counts.total(), "/findings", not wanted)]
    for severity in Severity:
        if number := counts[severity.value]:
            href = addresses.with_query("/findings", severity=severity.value)
            choices.append(Choice(severity.value, number, href, severity.value == wanted))
    return choices


def _row(look: Look, row: ReportedFinding) -> FindingRow:
    finding = row.finding
    subject: Hyperlink | None = None
    if finding.repository is not None:
        subject = Hyperlink(finding.repository, addresses.of_repository(finding.repository))
    elif finding.digest is not None:
        subject = Hyperlink(Digest(finding.digest).short, addresses.of_blob(finding.digest))
    images, affected = row.images, row.affected
    if not images and finding.severity is not Severity.INFO:
        images = tuple(sorted(look.snapshot.affected.images(finding)))
        affected = len(images)
    return FindingRow(finding, finding.path, subject, images[:IMAGES], affected)
