"""Which instruction made a layer, by the history in the config of an image that has it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.manifests.skim import history_of
from regfs.reports.contents import Read, is_alias
from regfs.reports.images import Image, images
from regfs.reports.instructions import instructions

ReadBytes = Callable[[Digest], bytes]
"""Reads a small blob, as `Registry.manifest_bytes` does."""
_LONGEST: Final = 300
"""Characters of an instruction among very many."""


class Makers:
    """Finds out what made a layer; reads each config once."""

    def __init__(self, graph: Graph, read_bytes: ReadBytes, longest: int | None = None) -> None:
        """Of instructions that have more characters than `longest` only the beginning is kept."""
        self._graph = graph
        self._read_bytes = read_bytes
        self._longest = longest
        self._known: dict[Digest, list[str]] = {}

    def made_by(self, layer: Digest, image: Image) -> str:
        """Return the instruction that made a layer of an image."""
        return self.of(image)[image.layers.index(layer)]

    def of(self, image: Image) -> list[str]:
        """Return the instruction that made each layer; empty ones if the history is another's."""
        manifest = image.manifest
        if manifest not in self._known:
            self._known[manifest] = []
            for config in _configs_of(self._graph, manifest):
                with suppress(RegfsError):
                    made = instructions(history_of(self._read_bytes(config)))
                    self._known[manifest] = [text[: self._longest] for text in made]
        made = self._known[manifest]
        return made if len(made) == len(image.layers) else [""] * len(image.layers)


def largest_made(graph: Graph, read: Read, read_bytes: ReadBytes, most: int) -> dict[int, str]:
    """Return the instructions that made the largest layers, by rows of `Inventory.blobs`.

    One config is read for each of at most `most` layers, so that a large registry takes seconds.
    """
    blobs = graph.inventory.blobs
    users: dict[Digest, Image] = {}
    for image in images(graph, read):
        for layer in image.layers:
            users.setdefault(layer, image)
    rows = {row: layer for layer in users if (row := blobs.find(layer)) is not None}
    makers, found = Makers(graph, read_bytes, _LONGEST), dict[int, str]()
    for row in sorted(rows, key=lambda row: (-blobs.sizes[row], row))[:most]:
        if text := makers.made_by(rows[row], users[rows[row]]):
            found[row] = text
    return found


def _configs_of(graph: Graph, manifest: Digest) -> list[Digest]:
    numbers = graph.manifests.numbers_as(Role.CONFIG, manifest)
    named = map(graph.inventory.known.__getitem__, numbers)
    return [config for config in named if not is_alias(graph, config)]
