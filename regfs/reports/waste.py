"""Bytes in files of layers that nobody sees, because later layers overwrite or remove the files.

    waste(graph, registry, layers)
        .rows      app:v1 stores 88 MB of files, of which 41 MB are hidden: efficiency 0.68
        .places    var/lib/apt/lists of layer 25b16005, which 12 images carry: 40 MB

Sizes are those of files, unpacked. Images are laid in the order of their layers, so that each
beginning that several share is laid once, and each layer is listed once for each beginning below
it. What is hidden in some image may be seen in another: `unseen` are the bytes that no image
shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.files.layers import Layers
from regfs.graph import Graph
from regfs.names import natural
from regfs.parallel import map_in_two_processes
from regfs.progress import SILENT, Progress
from regfs.reports.image_waste import ImageWaste, Lister, WastedPlace, WasteWalk
from regfs.reports.images import chosen, images, layer_sizes
from regfs.reports.layer_makers import Makers
from regfs.reports.near_duplicates import NearDuplicate, near_duplicates
from regfs.reports.recompression import Recompression, recompression
from regfs.tree.registry import Registry, Target

_FORK: Final = 8 << 20
"""Bytes of layers for which a second process pays."""


@dataclass(frozen=True, slots=True)
class LowEfficiency:
    """An image with less efficiency than asked for."""

    image: str
    efficiency: float


@dataclass(frozen=True, slots=True)
class Waste:
    """The report."""

    images: int
    layers: int
    """Different layers."""
    stored: int
    """Bytes of the files in these layers, stored once."""
    hidden: int
    """Those of them that some image does not show."""
    unseen: int | None
    """Those that no image shows; None if only some images are asked for."""
    carried: int
    """Bytes that are hidden, counted for each image."""
    rows: tuple[ImageWaste, ...]
    """Those that hide most first."""
    rows_omitted: int
    places: tuple[WastedPlace, ...]
    """Those with most bytes first."""
    places_omitted: int
    near_duplicates: tuple[NearDuplicate, ...]
    """Contents that are stored under several digests."""
    configs_unread: int
    """Configs that were not read, so that there may be more near duplicates."""
    at_least: float | None
    """The efficiency that every image has to have, if that was asked for."""
    too_low: tuple[LowEfficiency, ...]
    """The images that have less."""
    recompression: Recompression | None
    """What zstd would save, if that was asked for."""


class WasteOptions(NamedTuple):
    """What is asked for."""

    top: int | None = None
    """How many images, places and files are named."""
    at_least: float | None = None
    """The efficiency that every image has to have."""
    sample: int | None = None
    """Bytes of layers that are compressed anew to see what zstd would save."""


def waste(
    graph: Graph,
    registry: Registry,
    layers: Layers,
    targets: Iterable[Target] = (),
    options: WasteOptions | None = None,
    progress: Progress = SILENT,
) -> Waste:
    """Measure all images, or those of `targets` and their largest hidden files; read all layers."""
    top, at_least, sample = options or WasteOptions()
    every, named = images(graph, registry.skim), list(targets)
    asked = sorted(chosen(graph, every, named) if named else every, key=lambda one: one.layers)
    walk = WasteWalk(asked, Lister(registry, layers), Makers(graph, registry.manifest_bytes))
    sizes = [(one, size) for one, size in layer_sizes(graph, asked).items() if size]
    with layers.quiet():
        _read_ahead(layers, sizes, progress)
        measured = walk.rows(top, progress, name_files=bool(named))
        rows = sorted(measured, key=lambda row: (-row.hidden, natural(row.image)))
    places = walk.places()
    duplicates, unread = near_duplicates(graph, every, registry.manifest_bytes)
    users = {layer for image in asked for layer in image.layers}
    return Waste(
        images=len(rows),
        layers=len(users),
        stored=sum(tally.stored for tally in walk.tallies.values()),
        hidden=sum(place.bytes for group in places for place in group),
        unseen=None if named else sum(place.unseen for group in places for place in group),
        carried=sum(row.hidden for row in rows),
        rows=tuple(rows[:top]),
        rows_omitted=len(rows[top:]) if top else 0,
        places=tuple(walk.told(one, every=not named) for one in places[:top]),
        places_omitted=len(places[top:]) if top else 0,
        near_duplicates=tuple(one for one in duplicates if one.is_of(users)),
        configs_unread=unread,
        at_least=at_least,
        too_low=tuple(_too_low(rows, at_least or 0.0)),
        recompression=None
        if sample is None
        else recompression(sizes, registry.open_blob, progress, sample=sample),
    )


def _read_ahead(layers: Layers, sizes: list[tuple[Digest, int]], progress: Progress) -> None:
    """Read all layers into the cache, in two processes; where there is none, do nothing.

    The largest are at both ends, so that the processes meet among small ones.
    """
    if not layers.has_cache:
        return
    ordered = [layer for layer, _ in sorted(sizes, key=lambda one: (-one[1], one[0]))]
    ordered = ordered[::2] + ordered[1::2][::-1]

    def work(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            yield len(layers.paths(ordered[item]))

    progress.start("Reading layers", len(ordered))
    reading = map_in_two_processes(
        work,
        len(ordered),
        fork=sum(size for _, size in sizes) > _FORK,
        advance=lambda items: progress.advance(len(list(items))),
    )
    for _ in reading:
        pass
    progress.finish()


def _too_low(rows: Iterable[ImageWaste], at_least: float) -> Iterator[LowEfficiency]:
    for row in rows:
        if row.efficiency is not None and row.efficiency < at_least:
            yield LowEfficiency(row.image, row.efficiency)
