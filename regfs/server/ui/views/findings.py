"""Findings: those in the ledger of `regfs verify`, and those of the structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.findings import Finding, Severity
from regfs.reports.causes import Cause, Causes
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Hyperlink, Look, PagedRows, page_of
from regfs.units import utc_time
from regfs.verify.known import LedgerState
from regfs.verify.report import ReportedFinding

IMAGES: Final = 5
"""Images that are named for one finding."""


class SeverityFilter(NamedTuple):
    """A severity to filter by."""

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
    also: str
    """Other places of the same cause; empty if there are none, or if each finding is shown."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The view."""

    ledger: LedgerState
    oldest: datetime | None
    verified_share: int
    choices: tuple[SeverityFilter, ...]
    page: PagedRows[FindingRow]
    grouped: int
    """Findings that are shown as part of another."""
    each_href: str
    """The address that shows each finding by itself."""


def findings(look: Look, severity: str, number: int, *, each: bool = False) -> Findings:
    """Return the findings; only for those who may see everything.

    Findings of one cause are one row, unless `each` is given.
    """
    rows = look.snapshot.wrong
    counts = Counter(row.finding.severity.value for row in rows)
    chosen = severity if severity in counts else ""
    found = [row for row in rows if not chosen or row.finding.severity.value == chosen]
    shown = [(row, "") for row in found] if each else list(_grouped(found))

    def address(page: int, each: bool = each) -> str:
        number = page if page > 1 else ""
        return addresses.with_query(
            "/findings", severity=chosen, each="1" if each else "", page=number
        )

    page = page_of(shown, number, address)
    ledger = look.snapshot.ledger
    coverage = ledger.coverage
    every = coverage.verified + coverage.unknown if coverage else 0
    return Findings(
        ledger=ledger,
        oldest=None if coverage is None or coverage.oldest is None else utc_time(coverage.oldest),
        verified_share=100 * coverage.verified // every if coverage and every else 0,
        choices=tuple(_choices(counts, chosen)),
        page=page.replaced(_row(look, row, also) for row, also in page.rows),
        grouped=len(found) - len(shown),
        each_href=address(1, each=True),
    )


def _grouped(rows: Sequence[ReportedFinding]) -> Iterator[tuple[ReportedFinding, str]]:
    """Yield the first finding of each cause, and the places of the others."""
    causes = Causes()
    firsts = [row for row in rows if causes.add(row.finding)]
    for row, cause in zip(firsts, causes, strict=True):
        yield row, _also(cause)


def _also(cause: Cause) -> str:
    more = cause.count - 1 - len(cause.others)
    return ", ".join([*cause.others, *([f"{more:,} more"] if more else [])])


def _choices(counts: Counter[str], chosen: str) -> list[SeverityFilter]:
    choices = [SeverityFilter("all", counts.total(), "/findings", not chosen)]
    for severity in Severity:
        if number := counts[severity.value]:
            href = addresses.with_query("/findings", severity=severity.value)
            choices.append(SeverityFilter(severity.value, number, href, severity.value == chosen))
    return choices


def _row(look: Look, row: ReportedFinding, also: str) -> FindingRow:
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
    return FindingRow(finding, finding.path, subject, images[:IMAGES], affected, also)
