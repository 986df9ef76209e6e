"""Contents that are stored under several digests: packed differently, so stored more than once.

    config of app:v1   diffID 242624d2  ->  layer 27079509   gzip
    config of app:zip  diffID 242624d2  ->  layer c30d1bd9   zstd

Only configs are read.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.manifests.skim import diff_ids_of
from regfs.reports.contents import is_alias
from regfs.reports.images import Image, Users, layer_sizes, users_of_layers
from regfs.reports.layer_makers import ReadBytes

CONFIGS: Final = 20_000
"""Most configs that are read to find near duplicates."""


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


def near_duplicates(
    graph: Graph, every: list[Image], read_bytes: ReadBytes
) -> tuple[list[NearDuplicate], int]:
    """Return the contents stored several times, most wasteful first; and configs left unread."""
    copies, unread = _copies(_configs(graph, every), read_bytes)
    return _found(copies, layer_sizes(graph, every), users_of_layers(every)), unread


_Layers: TypeAlias = dict[tuple[Digest, ...], None]


def _configs(graph: Graph, every: Iterable[Image]) -> dict[Digest, _Layers]:
    """Return the config of each image, with the layers of the images that have it.

    Packed anew, an image keeps its config.
    """
    known, manifests = graph.inventory.known, graph.manifests
    found: dict[int, _Layers] = {}
    for image in every:
        for number in manifests.numbers_as(Role.CONFIG, image.manifest):
            found.setdefault(number, {})[image.layers] = None
    named = ((known[number], layers) for number, layers in found.items())
    return {config: layers for config, layers in named if not is_alias(graph, config)}


def _copies(
    configs: dict[Digest, _Layers], read_bytes: ReadBytes
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
        for one in layers:
            if len(diff_ids) == len(one):
                for diff_id, layer in zip(diff_ids, one, strict=True):
                    copies.setdefault(diff_id, {})[layer] = None
    return copies, len(configs) - read


def _found(
    copies: dict[str, dict[Digest, None]], sizes: dict[Digest, int | None], users: Users
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
