"""Who uses how many bytes: the report of `regfs du`, as rectangles and as a table.

The areas add up to what is stored: each row has a rectangle of the bytes that only it needs,
and one more rectangle has the bytes that several rows need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regfs.reports.summary import Summary
from regfs.reports.usage import By, UsageRow
from regfs.server.ui import addresses
from regfs.server.ui.treemap import Box, squarify
from regfs.server.ui.views.parts import Look

SHOWN: Final = 200
"""Rows of the table."""
TILES: Final = 150
"""Rectangles of rows; the rest share one."""
WIDE: Final = Box(0, 0, 1000, 520)
NARROW: Final = Box(0, 0, 360, 480)


@dataclass(frozen=True, slots=True)
class Tile:
    """One rectangle."""

    box: Box
    label: str
    size: int
    href: str
    kind: str
    """`own`, `shared`, `rest`, `unneeded`."""
    tone: int
    """Number of its colour tone, so that neighbours differ."""

    @property
    def letters(self) -> int:
        """How many letters of the label fit."""
        return int((self.box.width - 12) / 8) if self.box.height >= 22 else 0

    @property
    def has_size(self) -> bool:
        """Whether there is room for a second line."""
        return self.box.height >= 42 and self.box.width >= 60


@dataclass(frozen=True, slots=True)
class UsageTableRow:
    """One row of the table."""

    row: UsageRow
    href: str
    label: str


@dataclass(frozen=True, slots=True)
class UsageView:
    """The view."""

    by: By
    choices: tuple[tuple[str, str, bool], ...]
    """Label, address, and whether it is chosen."""
    wide: tuple[Tile, ...]
    narrow: tuple[Tile, ...]
    rows: tuple[UsageTableRow, ...]
    omitted: int
    stored: int
    apparent: int
    shared: int
    shared_words: str
    """What is in the area of shared bytes."""
    missing: int


_CHOICES: Final = {
    By.REPOSITORY: "Repositories",
    By.NAMESPACE: "Namespaces",
    By.TAG: "Tags",
    By.LAYER: "Layers",
    By.MEDIA_TYPE: "Media types",
}
_SHARED: Final = {
    By.REPOSITORY: "shared by repositories",
    By.NAMESPACE: "shared by namespaces",
    By.TAG: "shared by tags",
    By.LAYER: "configs and manifests",
    By.MEDIA_TYPE: "of several types",
}


_WORDS: Final = {
    By.REPOSITORY: "is needed by more than one repository",
    By.NAMESPACE: "is needed by more than one namespace",
    By.TAG: "is needed by more than one tag",
    By.LAYER: "is configs and manifests",
    By.MEDIA_TYPE: "is of more than one type",
}


def by_of(text: str) -> By:
    """Parse `?by=`."""
    return By(text) if text in [one.value for one in By] else By.REPOSITORY


def usage(look: Look, by: By) -> UsageView:
    """Return who uses how much; only for those who may see everything."""
    report = look.snapshot.usage(by)
    rows = tuple(UsageTableRow(row, _href(row, by), _label(row, by)) for row in report.rows[:SHOWN])
    shared = max(report.sum.stored - sum(row.unique for row in report.rows), 0)
    summary = look.snapshot.summary
    plain = _plain_tiles(report.rows, by, shared, summary)
    return UsageView(
        by=by,
        choices=tuple(
            (label, addresses.with_query("/usage", by=one.value), one is by)
            for one, label in _CHOICES.items()
        ),
        wide=_laid(plain, WIDE),
        narrow=_laid(plain, NARROW),
        rows=rows,
        omitted=len(report.rows) - len(rows),
        stored=report.sum.stored,
        apparent=report.sum.apparent,
        shared=shared,
        shared_words=_WORDS[by],
        missing=len(report.missing),
    )


def _href(row: UsageRow, by: By) -> str:
    if row.digest is not None:
        return addresses.of_blob(row.digest)
    if row.repository is not None and row.tag is not None:
        return addresses.of_tag(row.repository, row.tag)
    if row.repository is not None:
        return addresses.of_repository(row.repository)
    return addresses.with_query("/", q=row.name) if by is By.NAMESPACE else ""


def _label(row: UsageRow, by: By) -> str:
    return row.name.partition(":")[2][:12] if by is By.LAYER else row.name


_Plain = tuple[str, int, str, str]
"""Label, bytes, address, kind."""


def _plain_tiles(rows: tuple[UsageRow, ...], by: By, shared: int, summary: Summary) -> list[_Plain]:
    own = sorted(
        ((_label(row, by), row.unique, _href(row, by), "own") for row in rows if row.unique),
        key=lambda tile: -tile[1],
    )
    tiles: list[_Plain] = own[:TILES]
    rest = sum(tile[1] for tile in own[TILES:])
    tiles += [
        (f"{len(own) - TILES:,} more", rest, "", "rest"),
        (_SHARED[by], shared, "/reuse", "shared"),
        ("unreferenced", summary.unreferenced.bytes, "/gc", "unneeded"),
        ("in doubt", summary.doubtful.bytes, "/findings", "unneeded"),
        ("uploads", summary.uploads.bytes, "/gc", "unneeded"),
    ]
    return sorted((tile for tile in tiles if tile[1]), key=lambda tile: -tile[1])


def _laid(tiles: list[_Plain], box: Box) -> tuple[Tile, ...]:
    boxes = squarify([size for _, size, _, _ in tiles], box)
    return tuple(
        Tile(placed, label, size, href, kind, number % 4)
        for number, (placed, (label, size, href, kind)) in enumerate(zip(boxes, tiles, strict=True))
    )
