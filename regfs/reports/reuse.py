"""Which images share which layers, and what that saves.

    reuse(graph, registry.skim, registry.manifest_bytes)
        .shared            25b16005... is stored once and used by 7 images
        .pairs             how many bytes any two images have in common
        .near_duplicates   the same content, stored under several digests

Only layers count: configs and manifests are hardly ever shared.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.manifests.skim import diff_ids_of, history_of
from regfs.reports.contents import Read, is_alias
from regfs.reports.images import Image, chosen, images, layer_sizes
from regfs.reports.instructions import instructions
from regfs.tree.registry import Target

PAIRS: Final = 12
"""Largest number of images for which every pair is compared."""
CONFIGS: Final = 20_000
"""Most configs that are read to find near duplicates."""

ReadBytes = Callable[[Digest], bytes]
"""Reads a small blob, as `Registry.manifest_bytes` does."""


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
    every_user, stored_sizes = _users(every), layer_sizes(graph, every)
    users = {layer: every_user[layer] for image in asked for layer in image.layers}
    sizes = {layer: stored_sizes[layer] or 0 for layer in users}
    shared = _most_saving(users, sizes)
    seen = {image.name: image for used in users.values() for image in used}
    apparent = sum(sizes[layer] * len(used) for layer, used in users.items())
    copies, unread = _copies(_configs(graph, every), read_bytes)
    duplicates = _near_duplicates(copies, stored_sizes, every_user)
    compared = asked if len(asked) <= PAIRS else []
    makers = _Makers(graph, read_bytes)
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


def _shared(layer: Digest, stored: int | None, used: list[Image], makers: _Makers) -> SharedLayer:
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


class _Makers:
    """Finds out what made a layer; reads each config once."""

    def __init__(self, graph: Graph, read_bytes: ReadBytes) -> None:
        self._graph = graph
        self._read_bytes = read_bytes
        self._known: dict[Digest, list[str]] = {}

    def made_by(self, layer: Digest, image: Image) -> str:
        """Return the instruction that made a layer of an image."""
        made = self._instructions(image.manifest)
        return made[image.layers.index(layer)] if len(made) == len(image.layers) else ""

    def _instructions(self, manifest: Digest) -> list[str]:
        if manifest not in self._known:
            self._known[manifest] = []
            for config in _configs_of(self._graph, manifest):
                with suppress(RegfsError):
                    self._known[manifest] = instructions(history_of(self._read_bytes(config)))
        return self._known[manifest]


def _pairs(compared: list[Image], sizes: dict[Digest, int]) -> Iterable[Pair]:
    for first, second in combinations(compared, 2):
        common = set(first.layers) & set(second.layers)
        yield Pair(first.name, second.name, len(common), sum(sizes[layer] for layer in common))


def _configs(graph: Graph, every: Iterable[Image]) -> dict[Digest, tuple[Digest, ...]]:
    """Return the config of each image, with the layers of an image that has it."""
    known, manifests = graph.inventory.known, graph.manifests
    found = {
        number: image.layers
        for image in every
        for number in manifests.numbers_as(Role.CONFIG, image.manifest)
    }
    named = ((known[number], layers) for number, layers in found.items())
    return {config: layers for config, layers in named if not is_alias(graph, config)}


def _configs_of(graph: Graph, manifest: Digest) -> list[Digest]:
    numbers = graph.manifests.numbers_as(Role.CONFIG, manifest)
    named = map(graph.inventory.known.__getitem__, numbers)
    return [config for config in named if not is_alias(graph, config)]


def _copies(
    configs: dict[Digest, tuple[Digest, ...]], read_bytes: ReadBytes
) -> tuple[dict[str, dict[Digest, None]], int]:
    """Return the layers with each content, by diffID, and how many configs were not read."""
    copies: dict[str, dict[Digest, None]] = {}
    read = 0
    for config, layers in islice(configs.items(), CONFIGS):
        try:
            diff_ids = diff_ids_of(read_bytes(config))
        except RegfsError:
            continue
        read += 1
        if len(diff_ids) == len(layers):
            for diff_id, layer in zip(diff_ids, layers, strict=True):
                copies.setdefault(diff_id, {})[layer] = None
    return copies, len(configs) - read


def _near_duplicates(
    copies: dict[str, dict[Digest, None]], sizes: dict[Digest, int | None], users: _Users
) -> list[NearDuplicate]:
    """Return the contents that are stored under several digests, most wasteful first."""
    found = []
    for diff_id, layers in copies.items():
        stored = [
            Copy(layer, size, len(users[layer]))
            for layer in layers
            if (size := sizes[layer]) is not None
        ]
        if len(stored) > 1:
            stored.sort(key=lambda copy: (copy.size, copy.digest))
            wasted = sum(copy.size for copy in stored[1:])
            found.append(NearDuplicate(diff_id, tuple(stored), wasted))
    return sorted(found, key=lambda one: (-one.wasted, one.diff_id))
