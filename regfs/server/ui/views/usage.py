"""Who uses how many bytes: the report of `regfs du`, as rectangles and as a table.

The areas add up to what is stored. They come in parts: what only one row needs, what several
share, grouped by who shares it, and what nothing needs. The colour says how many need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from regfs.render.tables import plural
from regfs.reports.sharing import SharedGroup, Sharing
from regfs.reports.summary import Summary
from regfs.reports.usage import By, Usage, UsageRow
from regfs.server.ui import addresses
from regfs.server.ui.treemap import Box, squarify
from regfs.server.ui.views.parts import Look, PagedRows, level_of, page_of
from regfs.units import human_size

TILES: Final = 100
"""Rectangles of rows; the rest share one."""
WIDE: Final = Box(0, 0, 1000, 520)
NARROW: Final = Box(0, 0, 360, 480)
HEAD: Final = 20
"""Height of the words above a part."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One rectangle."""

    box: Box
    label: str
    title: str
    size: int
    href: str
    kind: str
    """`level-0` to `level-4` by how many need it, `rest`, `unneeded`."""

    @property
    def letters(self) -> int:
        """How many letters of the label fit."""
        return int((self.box.width - 12) / 7.5) if self.box.height >= 22 else 0

    @property
    def fitting(self) -> str:
        """The label as far as it fits: its end, in which names of a kind differ."""
        label = self.label
        return label if len(label) <= self.letters else f"…{label[1 - self.letters :]}"

    @property
    def has_size(self) -> bool:
        """Whether there is room for a second line."""
        return self.box.height >= 42 and self.box.width >= 66


@dataclass(frozen=True, slots=True)
class MapHead:
    """The words above a part of the map."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class UsageMap:
    """A map of one shape."""

    box: Box
    heads: tuple[MapHead, ...]
    tiles: tuple[Tile, ...]


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
    noun: str
    """What a row is."""
    choices: tuple[tuple[str, str, bool], ...]
    """Label, address, and whether it is chosen."""
    wide: UsageMap
    narrow: UsageMap
    levels: tuple[int, ...]
    """Those in the map."""
    page: PagedRows[UsageTableRow]
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
_NOUNS: Final = {
    By.REPOSITORY: ("repository", "repositories"),
    By.NAMESPACE: ("namespace", "namespaces"),
    By.TAG: ("tag", "tags"),
    By.LAYER: ("image", "images"),
    By.MEDIA_TYPE: ("type", "types"),
}
"""What a user of bytes is, one and several."""
_WORDS: Final = {
    By.REPOSITORY: "is needed by more than one repository",
    By.NAMESPACE: "is needed by more than one namespace",
    By.TAG: "is needed by more than one tag",
    By.LAYER: "is configs and manifests",
    By.MEDIA_TYPE: "is of more than one type",
}
SHARED_BY: Final = frozenset({By.REPOSITORY, By.NAMESPACE, By.TAG})
"""Rows that can share blobs, so that it is said who shares them."""


def by_of(text: str) -> By:
    """Parse `?by=`."""
    return By(text) if text in [one.value for one in By] else By.REPOSITORY


def usage(look: Look, by: By, number: int) -> UsageView:
    """Return who uses how much; only for those who may see everything."""
    report = look.snapshot.usage(by)
    parts = look.snapshot.derived(("map", by), lambda: list(_parts(look, report)))
    shared = max(report.sum.stored - sum(row.unique for row in report.rows), 0)

    def address(page: int) -> str:
        return addresses.with_query("/usage", by=by.value, page=page if page > 1 else "")

    page = page_of(report.rows, number, address)
    kinds = {tile.kind for part in parts for tile in part.tiles}
    return UsageView(
        by=by,
        noun=_NOUNS[by][0],
        choices=tuple(
            (label, addresses.with_query("/usage", by=one.value), one is by)
            for one, label in _CHOICES.items()
        ),
        wide=_laid(parts, WIDE),
        narrow=_laid(parts, NARROW),
        levels=tuple(level for level in range(5) if f"level-{level}" in kinds),
        page=page.replaced(
            UsageTableRow(row, _href(row, by), _label(row, by)) for row in page.rows
        ),
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


# -- the map -------------------------------------------------------------------------


class _Unplaced(NamedTuple):
    """A rectangle that has no place yet."""

    label: str
    size: int
    href: str
    kind: str
    title: str = ""


class _MapPart(NamedTuple):
    """Rectangles that stand together."""

    label: str
    tiles: list[_Unplaced]

    @property
    def size(self) -> int:
        return sum(tile.size for tile in self.tiles)


def _parts(look: Look, report: Usage) -> Iterator[_MapPart]:
    """Yield the parts of the map that hold anything."""
    by, shared = report.by, report.sum.stored - sum(row.unique for row in report.rows)
    noun, nouns = _NOUNS[by]
    own = "layers" if by is By.LAYER else f"only one {noun}"
    yield from _some(own, _own(report))
    if by in SHARED_BY:
        yield from _some(f"several {nouns}", _shared(look.snapshot.sharing(by), nouns))
    elif by is By.LAYER:
        yield from _some("", [_Unplaced("configs and manifests", shared, "", "rest")])
    else:
        yield from _some("", [_Unplaced("of several types", shared, "", "level-1")])
    yield from _some("no image", _unneeded(look.snapshot.summary))


def _some(label: str, tiles: Iterable[_Unplaced]) -> Iterator[_MapPart]:
    found = sorted((tile for tile in tiles if tile.size > 0), key=lambda tile: -tile.size)
    if found:
        yield _MapPart(label, found)


def _own(report: Usage) -> Iterator[_Unplaced]:
    by = report.by
    rows = sorted((row for row in report.rows if row.unique), key=lambda row: -row.unique)
    for row in rows[:TILES]:
        level = level_of(row.uses) if by is By.LAYER else 0
        title = f"{_label(row, by)}: {human_size(row.unique)}"
        if by is By.LAYER:
            title = f"{title}, in {plural(row.uses, 'image')}"
        yield _Unplaced(_label(row, by), row.unique, _href(row, by), f"level-{level}", title)
    rest = rows[TILES:]
    yield _Unplaced(f"{len(rest):,} more", sum(row.unique for row in rest), "", "rest")


def _shared(report: Sharing, nouns: str) -> Iterator[_Unplaced]:
    for one in report.groups:
        kind = f"level-{level_of(one.count)}"
        yield _Unplaced(
            _names(one, 3, nouns), one.bytes, addresses.of_blob(one.largest), kind,
            f"{human_size(one.bytes)} in {plural(one.blobs, 'blob')}, needed by "
            f"{one.count:,} {nouns}: {_names(one, 12, nouns)}",
        )  # fmt: skip
    yield _Unplaced(f"{report.omitted:,} more groups", report.omitted_bytes, "", "rest")


def _names(one: SharedGroup, most: int, nouns: str) -> str:
    """Return who shares something: names if these are few, else their number first."""
    names = ", ".join(one.rows[:most])
    if one.count <= most:
        return names
    return f"{one.count:,} {nouns}" if most < 12 else f"{names} and {one.count - most:,} more"


def _unneeded(summary: Summary) -> Iterator[_Unplaced]:
    yield _Unplaced("unreferenced", summary.unreferenced.bytes, "/gc", "unneeded")
    yield _Unplaced("in doubt", summary.doubtful.bytes, "/findings", "unneeded")
    yield _Unplaced("uploads", summary.uploads.bytes, "/gc", "unneeded")


def _laid(parts: list[_MapPart], box: Box) -> UsageMap:
    """Lay out the parts, largest first, and the rectangles of each in it, below its words."""
    heads, tiles = [], list[Tile]()
    ordered = sorted(parts, key=lambda part: -part.size)
    for part, area in zip(ordered, squarify([one.size for one in ordered], box), strict=True):
        inner = area
        words = f"{part.label}: {human_size(part.size)}"
        if part.label and area.height > 3 * HEAD and area.width > 7 * len(words):
            heads.append(MapHead(area.x, area.y, words))
            inner = Box(area.x, area.y + HEAD, area.width, area.height - HEAD)
        boxes = squarify([tile.size for tile in part.tiles], inner)
        tiles += [
            Tile(
                placed,
                tile.label,
                tile.title or f"{tile.label}: {human_size(tile.size)}",
                tile.size,
                tile.href,
                tile.kind,
            )
            for placed, tile in zip(boxes, part.tiles, strict=True)
        ]
    return UsageMap(box, tuple(heads), tuple(tiles))
