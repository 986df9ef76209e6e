"""Which image is built on which: the report of `regfs bases`, as a tree with links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regfs.render.reports import first_of, in_tree, own_part
from regfs.reports.lineage import Bases, Lineage
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Few, Hyperlink, Look, PagedRows, image_link, page_of

SAME: Final = 8
"""Images with the same layers that are named."""
DEEPEST: Final = 12
"""Levels that are indented; what is deeper stands there too."""


@dataclass(frozen=True, slots=True)
class LineageRow:
    """One image in the tree."""

    lineage: Lineage
    link: Hyperlink
    depth: int
    """0 for an image that is built on no other."""
    words: str
    """What it has beyond its base."""
    same: Few[Hyperlink]
    """Images with the same layers."""
    base: str
    """The base that its annotations name, if that is not in this registry."""


@dataclass(frozen=True, slots=True)
class LineageView:
    """The view."""

    images: int
    based: int
    """Images that are built on another one of this registry."""
    squashed: int
    query: str
    page: PagedRows[LineageRow]


def lineage(look: Look, query: str, number: int) -> LineageView:
    """Return the tree of the images that may be shown; with a query, of those it is part of."""
    report = _report(look)
    tree = look.once("lineage", lambda: _tree(report))
    links = look.once("links", lambda: {one.name: image_link(one) for one in look.images})
    needle = query.casefold()
    found = [row for row in tree if not needle or any(needle in name for name in _names(row[1]))]

    def address(page: int) -> str:
        return addresses.with_query("/bases", q=query, page=page if page > 1 else "")

    page = page_of(found, number, address)
    return LineageView(
        images=len(report.images),
        based=sum(bool(one.bases) for one in report.images),
        squashed=sum(one.squashed for one in report.images),
        query=query,
        page=page.replaced(
            LineageRow(
                lineage=one,
                link=links[one.image],
                depth=min(depth, DEEPEST),
                words=own_part(one),
                same=Few.of([links[name] for name in one.aliases], SAME),
                base=one.base_name or "" if not one.bases else "",
            )
            for depth, one in page.rows
        ),
    )


def _tree(report: Bases) -> list[tuple[int, Lineage]]:
    """Return the images with their levels; of those with the same layers only the first."""
    return [
        (len(lead) // 3, one) for lead, one in in_tree(report.images) if one.image == first_of(one)
    ]


def _names(one: Lineage) -> list[str]:
    return [name.casefold() for name in (one.image, *one.aliases)]


def _report(look: Look) -> Bases:
    if look.everything:
        return look.snapshot.bases
    return look.once("bases", lambda: look.snapshot.bases_among(look.images))
