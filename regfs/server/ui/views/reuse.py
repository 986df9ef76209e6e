"""Which images share which layers: the report of `regfs reuse`, with links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regfs.reports.near_duplicates import NearDuplicate
from regfs.reports.reuse import Reuse as Report
from regfs.reports.reuse import SharedLayer
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Hyperlink, Look, blob_path, image_link, level_of

USERS: Final = 12
"""Images that are named for a layer; the rest are counted."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer that several images have."""

    layer: SharedLayer
    href: str
    path: str
    users: tuple[Hyperlink, ...]
    more: int
    level: int
    """By the number of images: see `level_of`."""
    share: int
    """Per cent of what the first layer saves."""


@dataclass(frozen=True, slots=True)
class PairRow:
    """What one image has in common with each one before it."""

    image: Hyperlink
    bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DuplicateRow:
    """The same content under several digests."""

    duplicate: NearDuplicate
    copies: tuple[tuple[Hyperlink, int, int], ...]
    """Blob, bytes, images."""
    more: int


@dataclass(frozen=True, slots=True)
class ReuseView:
    """The view."""

    report: Report
    stored_share: int
    """Per cent of the apparent bytes that are stored."""
    layers: tuple[LayerRow, ...]
    pairs: tuple[PairRow, ...]
    duplicates: tuple[DuplicateRow, ...]
    duplicates_omitted: int


DUPLICATES: Final = 50
"""Near duplicates that are listed."""


def reuse(look: Look) -> ReuseView:
    """Return what the images that may be shown share."""
    snapshot = look.snapshot
    report = snapshot.reuse
    if not look.everything:
        report = look.once("reuse", lambda: snapshot.reuse_among(look.images))
    links = look.once("links", lambda: {one.name: image_link(one) for one in look.images})
    most = max((layer.saved for layer in report.shared), default=0)
    return ReuseView(
        report=report,
        stored_share=round(100 * report.stored / report.apparent) if report.apparent else 100,
        layers=tuple(_layer(one, links, most) for one in report.shared),
        pairs=_pairs(report, links),
        duplicates=tuple(_duplicate(one) for one in report.near_duplicates[:DUPLICATES]),
        duplicates_omitted=max(len(report.near_duplicates) - DUPLICATES, 0),
    )


def _layer(one: SharedLayer, links: dict[str, Hyperlink], most: int) -> LayerRow:
    return LayerRow(
        layer=one,
        href=addresses.of_blob(one.digest),
        path=blob_path(one.digest),
        users=tuple(links[name] for name in one.used_by[:USERS]),
        more=max(len(one.used_by) - USERS, 0),
        level=level_of(one.images),
        share=round(100 * one.saved / most) if most else 0,
    )


def _pairs(report: Report, links: dict[str, Hyperlink]) -> tuple[PairRow, ...]:
    common = {(pair.first, pair.second): pair.bytes for pair in report.pairs}
    return tuple(
        PairRow(
            links[second],
            tuple(common.get((first, second), 0) for first in report.compared[:number]),
        )
        for number, second in enumerate(report.compared)
    )


def _duplicate(one: NearDuplicate) -> DuplicateRow:
    return DuplicateRow(
        one,
        tuple(
            (Hyperlink(copy.digest, addresses.of_blob(copy.digest)), copy.size, copy.images)
            for copy in one.layers[:USERS]
        ),
        max(len(one.layers) - USERS, 0),
    )
