"""Which image is built on which.

There are two kinds of evidence: the annotation `org.opencontainers.image.base.digest` (or
`.base.name`) that names an image of this registry, and the layers: an image whose layers
begin with all the layers of another one is built on it. If there are several, the one with
the most layers counts. Images with exactly the same layers are aliases. An image that has no
layer of the base that its annotations name by digest is squashed.

    my-busybox:latest            [A]
    `- app:v1                    [A B]       base my-busybox:latest, own layer B
       `- app:v1-debug           [A B C]     base app:v1, own layer C

The time grows with the number of layers, not with the number of pairs of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests.media_types import BASE_DIGEST, BASE_NAME, BASES
from regfs.names import natural, plainest
from regfs.reports.contents import Read
from regfs.reports.images import Image, chosen, images, layer_sizes
from regfs.tree.registry import Target


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
    squashed: bool = False
    """Whether it has no layer of the base that its annotations name by digest."""


@dataclass(frozen=True, slots=True)
class Bases:
    """The report."""

    images: tuple[Lineage, ...]
    """By name."""


class _Prefixes:
    """Finds images by the layers that others begin with.

    Each beginning of a list of layers has a hash, made from that of the beginning before it. Only
    the hashes of whole lists are kept.
    """

    def __init__(self, every: Iterable[Image]) -> None:
        self._images: dict[tuple[Digest, ...], list[Image]] = {}
        for image in every:
            self._images.setdefault(image.layers, []).append(image)
        self._hashes = {hash_of for layers in self._images for *_, hash_of in [_hashes(layers)]}

    def same(self, image: Image) -> list[Image]:
        """Return the images with the layers of an image, itself among them."""
        return self._images[image.layers]

    def longest(self, image: Image) -> list[Image]:
        """Return the images that have the most layers of those that an image begins with."""
        layers = image.layers
        ends = [end for end, one in enumerate(_hashes(layers[:-1]), 1) if one in self._hashes]
        found = (self._images.get(layers[:end]) for end in reversed(ends))
        return next(filter(None, found), [])


def _hashes(layers: Iterable[Digest]) -> Iterator[int]:
    """Yield the hash of each beginning of some layers."""
    key = 0
    for layer in layers:
        key = hash((key, layer))
        yield key


def bases(
    graph: Graph,
    read: Read,
    targets: Iterable[Target] = (),
    *,
    among: list[Image] | None = None,
) -> Bases:
    """Find the base of every image, or of those that `targets` name, within `among` if given.

    With these come what they are built on and what is built on them.
    """
    every = images(graph, read) if among is None else among
    finder = _BaseFinder(graph, read, every)
    found = sorted(map(finder.lineage, every), key=lambda one: natural(one.image))
    if named := list(targets):
        wanted = _related(found, {image.name for image in chosen(graph, every, named)})
        found = [one for one in found if one.image in wanted]
    return Bases(tuple(found))


def _related(found: list[Lineage], names: set[str]) -> set[str]:
    """Return `names`, those of the images below them, and those built on them, to any depth."""
    below = {one.image: one.bases for one in found}
    above: dict[str, list[str]] = {}
    for one in found:
        for base in one.bases:
            above.setdefault(base, []).append(one.image)
    return _reached(names, below) | _reached(names, above)


def _reached(start: set[str], after: Mapping[str, Iterable[str]]) -> set[str]:
    reached, pending = set[str](), list(start)
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending.extend(after.get(name, ()))
    return reached


def _names(found: Iterable[Image]) -> tuple[str, ...]:
    return tuple(sorted((image.name for image in found), key=plainest))


class _BaseFinder:
    def __init__(self, graph: Graph, read: Read, every: list[Image]) -> None:
        self._graph = graph
        self._read = read
        self._prefixes = _Prefixes(every)
        self._sizes = layer_sizes(graph, every)
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
        same, below = self._prefixes.same(image), self._prefixes.longest(image)
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
            squashed=BASE_DIGEST in notes
            and evidence == "annotation"
            and base_layers.isdisjoint(image.layers),
        )

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
        info = self._graph.manifests.get(digest)
        if info is None or not info.names_base:
            return {}
        if digest not in self._annotations:
            try:
                annotations = self._read(digest).annotations
            except RegfsError:
                annotations = {}
            kept = BASES & annotations.keys()
            self._annotations[digest] = {key: annotations[key] for key in kept}
        return self._annotations[digest]

    def _bytes(self, layers: set[Digest]) -> int:
        return sum(self._sizes[layer] or 0 for layer in layers)
