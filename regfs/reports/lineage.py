"""Which image is built on which.

There are two kinds of evidence: the annotation `org.opencontainers.image.base.digest` (or
`.base.name`) that names an image of this registry, and the layers: an image whose layers
begin with all the layers of another one is built on it. If there are several, the one with
the most layers counts. Images with exactly the same layers are aliases.

    my-busybox:latest            [A]
    `- app:v1                    [A B]       base my-busybox:latest, own layer B
       `- app:v1-debug           [A B C]     base app:v1, own layer C

All lists of layers go into one prefix tree, so the time grows with the number of layers,
not with the number of pairs of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.reports.contents import Read
from regfs.reports.images import Image, images

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"


@dataclass(frozen=True, slots=True)
class Lineage:
    """One image and its base."""

    image: str
    repository: str
    tag: str | None
    platform: str
    digest: str
    layers: int
    size: int
    """Bytes of its layers that are present, each counted once."""
    bases: tuple[str, ...]
    """Names of its base image; several if they have the same layers."""
    evidence: str | None
    """`annotation` or `layers`; None if this registry has no base of it."""
    base_name: str | None
    """Name of the base by its annotations, in this registry or elsewhere."""
    base_digest: str | None
    own_layers: int
    own_bytes: int
    """What it has beyond its base; everything if it has no base here."""
    aliases: tuple[str, ...]
    """Other images with the same layers."""


@dataclass(frozen=True, slots=True)
class Bases:
    """The report."""

    images: tuple[Lineage, ...]
    """By name."""


class _LayerNode:
    """A node of the prefix tree of layers."""

    __slots__ = ("below", "images")

    def __init__(self) -> None:
        self.below: dict[Digest, _LayerNode] = {}
        self.images: list[Image] = []


def bases(graph: Graph, read: Read) -> Bases:
    """Find the base of every image."""
    every = images(graph, read)
    root = _LayerNode()
    for image in every:
        node = root
        for layer in image.layers:
            node = node.below.setdefault(layer, _LayerNode())
        node.images.append(image)
    finder = _BaseFinder(graph, read, root, every)
    found = [finder.lineage(image) for image in every]
    return Bases(tuple(sorted(found, key=lambda one: one.image)))


def plainest(name: str) -> tuple[int, str]:
    """Return the key that sorts `app:latest` before `app-variant:20240101`."""
    return len(name), name


def _names(found: Iterable[Image]) -> tuple[str, ...]:
    return tuple(sorted((image.name for image in found), key=plainest))


class _BaseFinder:
    def __init__(self, graph: Graph, read: Read, root: _LayerNode, every: list[Image]) -> None:
        self._graph = graph
        self._read = read
        self._root = root
        self._by_digest: dict[Digest, list[Image]] = {}
        self._by_name: dict[str, list[Image]] = {}
        self._annotations: dict[Digest, Mapping[str, str]] = {}
        for image in every:
            for digest in {image.top, image.manifest}:
                self._by_digest.setdefault(digest, []).append(image)
            if image.tag is not None:
                self._by_name.setdefault(f"{image.repository}:{image.tag}", []).append(image)

    def lineage(self, image: Image) -> Lineage:
        """Return the base of one image."""
        same, below = self._prefixes(image)
        notes = self._notes(image)
        found = self._annotated(image, notes)
        evidence = "annotation" if found else "layers" if below else None
        found = found or below
        base_layers = set(found[0].layers) if found else set()
        own = {layer for layer in image.layers if layer not in base_layers}
        return Lineage(
            image=image.name,
            repository=image.repository,
            tag=image.tag,
            platform=image.platform,
            digest=image.manifest,
            layers=len(image.layers),
            size=self._bytes(set(image.layers)),
            bases=_names(found),
            evidence=evidence,
            base_name=notes.get(BASE_NAME),
            base_digest=notes.get(BASE_DIGEST),
            own_layers=len(own),
            own_bytes=self._bytes(own),
            aliases=_names(other for other in same if other is not image),
        )

    def _prefixes(self, image: Image) -> tuple[list[Image], list[Image]]:
        """Return the images with the same layers, and those with its longest proper prefix."""
        node, longest = self._root, list[Image]()
        for layer in image.layers:
            longest = node.images or longest
            node = node.below[layer]
        return node.images, longest

    def _annotated(self, image: Image, notes: Mapping[str, str]) -> list[Image]:
        """Return the image of this registry that the annotations name."""
        candidates = self._by_digest.get(Digest(notes.get(BASE_DIGEST, "")), [])
        if not candidates and BASE_DIGEST not in notes:
            candidates = self._named(notes.get(BASE_NAME, ""))
        others = [base for base in candidates if base.manifest != image.manifest]
        fitting = [base for base in others if base.platform == image.platform]
        starts = [base for base in others if image.layers[: len(base.layers)] == base.layers]
        best = starts or fitting or others
        return [base for base in best if base.layers == best[0].layers]

    def _named(self, name: str) -> list[Image]:
        """Return the images of a name that may begin with a host: `example.org/app:v1`."""
        name = name.partition("@")[0]
        if ":" not in name.rpartition("/")[2]:
            name += ":latest"
        if name in self._by_name:
            return self._by_name[name]
        return self._by_name.get(name.partition("/")[2], [])

    def _notes(self, image: Image) -> Mapping[str, str]:
        """Return the base annotations of an image, else those of its index."""
        own = self._annotations_of(image.manifest)
        if BASE_NAME in own or BASE_DIGEST in own or image.top == image.manifest:
            return own
        return self._annotations_of(image.top)

    def _annotations_of(self, digest: Digest) -> Mapping[str, str]:
        if digest not in self._annotations:
            try:
                manifest = self._read(digest)
            except RegfsError:
                self._annotations[digest] = {}
            else:
                kept = {BASE_NAME, BASE_DIGEST} & manifest.annotations.keys()
                self._annotations[digest] = {key: manifest.annotations[key] for key in kept}
        return self._annotations[digest]

    def _bytes(self, layers: set[Digest]) -> int:
        return sum(map(self._graph.inventory.blobs.size, layers))
