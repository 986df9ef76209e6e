"""Which images share which layers, and what that saves.

    reuse(graph, registry.manifest, read_config)
        .shared            25b16005... is stored once and used by 7 images
        .pairs             how many bytes any two images have in common
        .near_duplicates   the same content, stored under several digests

Only layers count: configs and manifests are hardly ever shared.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.manifests.image_config import ImageConfig
from regfs.reports.contents import Read, is_alias
from regfs.reports.images import Image, chosen, images
from regfs.tree.registry import Target

PAIRS: Final = 12
"""Largest number of images for which every pair is compared."""
CONFIGS: Final = 20_000
"""Most configs that are read to find near duplicates."""

ReadConfig = Callable[[Digest], ImageConfig]


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


@dataclass(frozen=True, slots=True)
class Pair:
    """What two images have in common."""

    first: str
    second: str
    layers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Copy:
    """One of several layers with the same content."""

    digest: str
    size: int
    images: int


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """The same content (diffID) under several digests: compressed twice, so stored twice."""

    diff_id: str
    layers: tuple[Copy, ...]
    wasted: int
    """Bytes of all copies but the smallest."""

    def is_of(self, layers: Container[str]) -> bool:
        """Return whether any of the copies is among `layers`."""
        return any(copy.digest in layers for copy in self.layers)


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
    read_config: ReadConfig,
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
    every_user = _users(every)
    users = {layer: every_user[layer] for image in asked for layer in image.layers}
    blobs = graph.inventory.blobs
    sizes = {layer: blobs.size(layer) for layer in users}
    shared = _most_saving(users, sizes)
    seen = {image.name: image for used in users.values() for image in used}
    apparent = sum(sizes[layer] * len(used) for layer, used in users.items())
    stored = sum(sizes.values())
    duplicates, unread = _near_duplicates(graph, read_config, every, every_user)
    compared = asked if len(asked) <= PAIRS else []
    return Reuse(
        images=len(seen),
        repositories=len({image.repository for image in seen.values()}),
        layers=len(users),
        layers_shared=len(shared),
        apparent=apparent,
        stored=stored,
        saved=apparent - stored,
        shared=tuple(_shared(one, sizes[one], one in blobs, users[one]) for one in shared[:top]),
        shared_omitted=0 if top is None else max(len(shared) - top, 0),
        compared=tuple(image.name for image in compared),
        pairs=tuple(_pairs(compared, sizes)),
        near_duplicates=tuple(one for one in duplicates if one.is_of(users)),
        configs_unread=unread,
    )


_Users = dict[Digest, list[Image]]


def _users(every: list[Image]) -> _Users:
    """Return for each layer the images that have it."""
    users: _Users = {}
    for image in every:
        for layer in dict.fromkeys(image.layers):
            users.setdefault(layer, []).append(image)
    return users


def _most_saving(users: _Users, sizes: dict[Digest, int]) -> list[Digest]:
    """Return the shared layers, sorted by the bytes that sharing saves, most first.

    Only those that are shown get a row: it holds the names of all their images.
    """

    def key(layer: Digest) -> tuple[int, int, Digest]:
        used = len(users[layer])
        return -sizes[layer] * (used - 1), -used, layer

    return sorted((layer for layer, used in users.items() if len(used) > 1), key=key)


def _shared(layer: Digest, size: int, present: bool, used: list[Image]) -> SharedLayer:
    return SharedLayer(
        digest=layer,
        size=size,
        present=present,
        images=len(used),
        repositories=len({image.repository for image in used}),
        saved=size * (len(used) - 1),
        used_by=tuple(image.name for image in used),
    )


def _pairs(compared: list[Image], sizes: dict[Digest, int]) -> Iterable[Pair]:
    for first, second in combinations(compared, 2):
        common = set(first.layers) & set(second.layers)
        yield Pair(first.name, second.name, len(common), sum(sizes[layer] for layer in common))


def _near_duplicates(
    graph: Graph, read_config: ReadConfig, every: Iterable[Image], users: _Users
) -> tuple[list[NearDuplicate], int]:
    """Return contents stored under several digests, and how many configs were not read."""
    layers_by_config = {
        leaf.digest: image.layers
        for image in every
        for leaf in graph.leaves(image.manifest)
        if leaf.role is Role.CONFIG and not is_alias(graph, leaf.digest)
    }
    copies: dict[str, dict[Digest, None]] = {}
    read = 0
    for config, layers in list(layers_by_config.items())[:CONFIGS]:
        try:
            diff_ids = read_config(config).rootfs.diff_ids
        except RegfsError:
            continue
        read += 1
        if len(diff_ids) == len(layers):
            for diff_id, layer in zip(diff_ids, layers, strict=True):
                copies.setdefault(diff_id, {})[layer] = None
    found = [
        _near_duplicate(graph, diff_id, list(layers), users)
        for diff_id, layers in copies.items()
        if sum(layer in graph.inventory.blobs for layer in layers) > 1
    ]
    found.sort(key=lambda one: (-one.wasted, one.diff_id))
    return found, len(layers_by_config) - read


def _near_duplicate(
    graph: Graph, diff_id: str, layers: list[Digest], users: _Users
) -> NearDuplicate:
    blobs = graph.inventory.blobs
    copies = [
        Copy(layer, blobs[layer].size, len(users[layer])) for layer in layers if layer in blobs
    ]
    copies.sort(key=lambda copy: (copy.size, copy.digest))
    return NearDuplicate(diff_id, tuple(copies), sum(copy.size for copy in copies[1:]))
