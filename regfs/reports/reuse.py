"""Which images share which layers, and what that saves.

    reuse(graph, registry.skim, registry.manifest_bytes)
        .shared            25b16005... is stored once and used by 7 images
        .pairs             how many bytes any two images have in common
        .near_duplicates   the same content, stored under several digests

Only layers count: configs and manifests are hardly ever shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from regfs.digest import Digest
from regfs.graph import Graph
from regfs.reports.contents import Read
from regfs.reports.images import Image, Users, chosen, images, layer_sizes, users_of_layers
from regfs.reports.layer_makers import Makers, ReadBytes
from regfs.reports.near_duplicates import NearDuplicate, near_duplicates
from regfs.tree.registry import Target

PAIRS: Final = 12
"""Largest number of images for which every pair is compared."""


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """One layer and the images that use it."""

    digest: str
    size: int
    """Bytes; 0 if it is missing."""
    present: bool
    images: int
    repositories: int
    saved: int
    """Bytes that would be stored in addition if every image had its own copy."""
    used_by: tuple[str, ...]
    """Names of the images."""
    instruction: str
    """What made it, by the history of the first of these; empty if that does not say."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What two images have in common."""

    first: str
    second: str
    layers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Reuse:
    """The report; if images were asked for, only of their layers."""

    images: int
    """Images that have any of the layers."""
    repositories: int
    layers: int
    """Different layers."""
    layers_shared: int
    """Those of them that more than one image uses."""
    apparent: int
    """Bytes of these layers, counted for each image that has them."""
    stored: int
    saved: int
    """apparent - stored."""
    shared: tuple[SharedLayer, ...]
    """Those that save most first."""
    shared_omitted: int
    compared: tuple[str, ...]
    """The images of `pairs`, in order; empty if there are too many."""
    pairs: tuple[Pair, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    configs_unread: int
    """Configs that were not read, so that there may be more near duplicates."""


def reuse(
    graph: Graph,
    read: Read,
    read_bytes: ReadBytes,
    targets: Iterable[Target] = (),
    *,
    top: int | None = None,
    among: list[Image] | None = None,
) -> Reuse:
    """Compare the layers of all images, or those of `targets` with all images.

    `among` are all images; by default those of the graph.
    """
    every = images(graph, read) if among is None else among
    asked = chosen(graph, every, named) if (named := list(targets)) else every
    every_user, stored_sizes = users_of_layers(every), layer_sizes(graph, every)
    users = {layer: every_user[layer] for image in asked for layer in image.layers}
    sizes = {layer: stored_sizes[layer] or 0 for layer in users}
    shared = _most_saving(users, sizes)
    seen = {image.name: image for used in users.values() for image in used}
    apparent = sum(sizes[layer] * len(used) for layer, used in users.items())
    duplicates, unread = near_duplicates(graph, every, read_bytes)
    compared = asked if len(asked) <= PAIRS else []
    makers = Makers(graph, read_bytes)
    return Reuse(
        images=len(seen),
        repositories=len({image.repository for image in seen.values()}),
        layers=len(users),
        layers_shared=len(shared),
        apparent=apparent,
        stored=sum(sizes.values()),
        saved=apparent - sum(sizes.values()),
        shared=tuple(_shared(one, stored_sizes[one], users[one], makers) for one in shared[:top]),
        shared_omitted=len(shared[top:]) if top else 0,
        compared=tuple(image.name for image in compared),
        pairs=tuple(_pairs(compared, sizes)),
        near_duplicates=tuple(one for one in duplicates if one.is_of(users)),
        configs_unread=unread,
    )


def _most_saving(users: Users, sizes: dict[Digest, int]) -> list[Digest]:
    """Return the shared layers, sorted by the bytes that sharing saves, most first.

    Only those that are shown get a row: it holds the names of all their images.
    """

    def key(layer: Digest) -> tuple[int, int, Digest]:
        used = len(users[layer])
        return -sizes[layer] * (used - 1), -used, layer

    return sorted((layer for layer, used in users.items() if len(used) > 1), key=key)


def _shared(layer: Digest, stored: int | None, used: list[Image], makers: Makers) -> SharedLayer:
    size = stored or 0
    return SharedLayer(
        digest=layer,
        size=size,
        present=stored is not None,
        images=len(used),
        repositories=len({image.repository for image in used}),
        saved=size * (len(used) - 1),
        used_by=tuple(image.name for image in used),
        instruction=makers.made_by(layer, used[0]),
    )


def _pairs(compared: list[Image], sizes: dict[Digest, int]) -> Iterable[Pair]:
    for first, second in combinations(compared, 2):
        common = set(first.layers) & set(second.layers)
        yield Pair(first.name, second.name, len(common), sum(sizes[layer] for layer in common))
