"""The first page: all repositories, and the registry at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from regfs import layout
from regfs.findings import Severity
from regfs.render.reports import percent
from regfs.render.tables import plural
from regfs.reports.summary import Owner
from regfs.server.ui import addresses
from regfs.server.ui.snapshot import Snapshot
from regfs.server.ui.views.parts import (
    Column,
    Look,
    Order,
    PagedRows,
    Usage,
    below,
    page_of,
    usage_of,
)
from regfs.tree.inventory import RepositoryInventory
from regfs.units import human_size, utc_time
from regfs.verify.known import LedgerState


class Figure(NamedTuple):
    """One number of the registry at a glance."""

    label: str
    value: str
    note: str
    href: str = ""
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """One repository."""

    name: str
    href: str
    path: str
    tags: int
    manifests: int
    apparent: int
    stored: int
    unique: int | None
    """None for those who may not see everything: it would reveal other repositories."""
    pushed: datetime | None
    """When a tag or manifest was last written."""
    share: int
    """Per cent of the largest one's stored bytes."""


@dataclass(frozen=True, slots=True)
class RepositoriesView:
    """The view."""

    figures: tuple[Figure, ...]
    owner: str
    """Who else knows what is in use; empty for a plain registry."""
    columns: tuple[Column, ...]
    query: str
    sort: str
    page: PagedRows[RepositoryRow]
    every: int
    """Number of all repositories, whatever the query."""


class _Facts(NamedTuple):
    repository: RepositoryInventory
    row: Usage | None
    pushed: float
    """Seconds since the epoch; 0 if never."""


_COLUMNS: Final[dict[str, tuple[str, bool, Callable[[_Facts], float]]]] = {
    "name": ("Repository", False, lambda one: 0.0),
    "tags": ("Tags", False, lambda one: len(one.repository.tags)),
    "stored": ("Stored", False, lambda one: one.row.stored if one.row else 0),
    "unique": ("Unique", True, lambda one: (one.row.unique or 0) if one.row else 0),
    "apparent": ("Apparent", True, lambda one: one.row.apparent if one.row else 0),
    "pushed": ("Last push", True, lambda one: one.pushed),
}
"""Key -> label, whether narrow screens hide it, and the sort key."""


def repositories(look: Look, query: str, sort: str, number: int) -> RepositoriesView:
    """Return one page of the repositories whose name contains `query`."""
    rows = usage_of(look)
    every, pushed = look.repositories, look.snapshot.pushed
    needle = query.casefold()
    found = [
        _Facts(one, rows.get(name), pushed[name])
        for name, one in every.items()
        if not needle or needle in name.casefold()
    ]
    columns = [key for key in _COLUMNS if key != "unique" or look.everything]
    order = Order.parse(sort, columns, "stored")
    _sort(found, order)

    def address(page: int) -> str:
        chosen = "" if str(order) == "stored" else order
        return addresses.with_query("/", q=query, sort=chosen, page=page if page > 1 else "")

    page = page_of(found, number, address)
    largest = max((row.stored for row in rows.values()), default=0)
    return RepositoriesView(
        figures=_figures(look.snapshot) if look.everything else (),
        owner=_owner(look.snapshot.summary.owner) if look.everything else "",
        columns=tuple(_column(key, order, query) for key in columns),
        query=query,
        sort=str(order),
        page=page.replaced(_row(one, largest) for one in page.rows),
        every=len(every),
    )


def _owner(owner: Owner) -> str:
    """Return a sentence about who manages the tree; empty for a plain registry."""
    words = owner.meaning
    return "" if owner is Owner.PLAIN else f"{words[0].upper()}{words[1:]}."


def _sort(found: list[_Facts], order: Order) -> None:
    found.sort(key=lambda one: one.repository.name)
    if order.key == "name":
        if order.reverse:
            found.reverse()
        return
    value = _COLUMNS[order.key][2]
    found.sort(key=value, reverse=not order.reverse)


def _column(key: str, order: Order, query: str) -> Column:
    label, minor, _ = _COLUMNS[key]
    rising = (key == "name") != order.reverse
    return Column(
        key=key,
        label=label,
        href=addresses.with_query("/", q=query, sort=order.turned(key)),
        sorted=("ascending" if rising else "descending") if key == order.key else "",
        number=key not in ("name", "pushed"),
        minor=minor,
    )


def _row(one: _Facts, largest: int) -> RepositoryRow:
    repository, row, pushed = one
    return RepositoryRow(
        name=repository.name,
        href=addresses.of_repository(repository.name),
        path=below(layout.repository_folder(repository.name)),
        tags=len(repository.tags),
        manifests=len(repository.revisions),
        apparent=row.apparent if row else 0,
        stored=row.stored if row else 0,
        unique=row.unique if row else 0,
        pushed=utc_time(pushed) if pushed else None,
        share=round(100 * row.stored / largest) if row and largest else 0,
    )


def _figures(snapshot: Snapshot) -> tuple[Figure, ...]:
    summary = snapshot.summary
    counts = Counter(row.finding.severity for row in snapshot.wrong)
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    unneeded = summary.unreferenced
    return (
        Figure(
            "Images",
            f"{summary.tags:,}",
            f"{'tag' if summary.tags == 1 else 'tags'} in "
            f"{plural(summary.repositories, 'repository', 'repositories')}",
        ),
        Figure(
            "Stored",
            human_size(summary.blobs.bytes, summary.apparent),
            f"in {plural(summary.blobs.count, 'blob')}",
            "/usage",
        ),
        Figure(
            "Saved by sharing",
            human_size(summary.saved, summary.apparent),
            f"{percent(summary.saved, summary.apparent)} of "
            f"{human_size(summary.apparent, summary.apparent)}",
            "/reuse",
        ),
        Figure(
            "Unreferenced",
            human_size(unneeded.bytes),
            f"in {plural(unneeded.count, 'blob')}",
            "/gc",
        ),
        Figure(
            "Findings",
            plural(errors, "error") if errors else "no errors",
            plural(warnings, "warning") if warnings else _verified(snapshot.ledger),
            "/findings",
            alarming=bool(errors),
        ),
    )


def _verified(ledger: LedgerState) -> str:
    """Return how much of the content was verified."""
    coverage = ledger.coverage
    if coverage is None or not coverage.verified:
        return "content never verified"
    return "all content verified" if not coverage.unknown else "part of the content verified"
