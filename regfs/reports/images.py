"""Which images there are: everything a container can be started from, by name.

    images(graph, registry.skim) -> Image("app:v1 (linux/arm64)", ...), ...

An image is a manifest with layers that a tag reaches, directly or through an index.
One manifest under two tags counts as two images. Attestations, signatures, build caches
and other artifacts are not images. In a repository without tags, manifests go by digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import EdgeKind, Graph
from regfs.graph.attached import attached_to
from regfs.manifests import Kind, Role
from regfs.manifests.skim import Skimmed
from regfs.names import natural
from regfs.reports.contents import Read, is_alias
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Target


class Image(NamedTuple):
    """One image."""

    name: str
    """`repository:tag`, with the platform if a tag leads to several images."""
    repository: str
    tag: str | None
    platform: str
    """By the index; empty without one."""
    top: Digest
    """What the tag points to: an index or the image itself."""
    manifest: Digest
    layers: tuple[Digest, ...]
    """The base first; a layer can occur twice. Images with the same layer have the same object."""


def images(graph: Graph, read: Read) -> list[Image]:
    """Return every image, repository by repository; read only indexes."""
    finder = _ImageFinder(graph, read)
    found: list[Image] = []
    for repository in graph.inventory.repositories.values():
        for tag, top in _tops(graph, repository):
            found.extend(finder.below(repository.name, tag, top))
    return found


def chosen(graph: Graph, every: Iterable[Image], targets: Iterable[Target]) -> list[Image]:
    """Return the images that `targets` name; a layer names all images that have it."""
    named = list(targets)
    return [image for image in every if any(_is_named(graph, image, one) for one in named)]


def layer_sizes(graph: Graph, every: Iterable[Image]) -> dict[Digest, int | None]:
    """Return the bytes of every layer that images have; None for one that is missing."""
    blobs, sizes = graph.inventory.blobs, dict[Digest, int | None]()
    for layer in {layer for image in every for layer in image.layers}:
        stored = blobs.get(layer)
        sizes[layer] = None if stored is None else stored.size
    return sizes


Users: TypeAlias = dict[Digest, list[Image]]
"""Layer -> the images that have it."""


def users_of_layers(every: Iterable[Image]) -> Users:
    """Return for each layer the images that have it."""
    users: Users = {}
    for image in every:
        for layer in dict.fromkeys(image.layers):
            users.setdefault(layer, []).append(image)
    return users


def _is_named(graph: Graph, image: Image, target: Target) -> bool:
    if target.name is not None and target.name != image.repository:
        return False
    if target.tag is not None:
        return target.tag == image.tag
    digest = target.digest
    if digest is None or digest in (image.top, image.manifest) or digest in image.layers:
        return True
    return any(leaf.digest == digest for leaf in graph.leaves(image.manifest))


def _tops(graph: Graph, repository: RepositoryInventory) -> Iterator[tuple[str | None, Digest]]:
    tagged = False
    for tag in sorted(repository.tags, key=natural):
        info = repository.tags[tag]
        if info.current is not None:
            tagged = True
            if attached_to(graph, tag, info.current) is None:
                yield tag, info.current
    if not tagged:
        for digest in sorted(repository.revisions):
            if EdgeKind.CHILD not in graph.predecessors(digest).values():
                yield None, digest


class _ImageFinder:
    def __init__(self, graph: Graph, read: Read) -> None:
        self._graph = graph
        self._read = read
        self._entries: dict[Digest, list[tuple[Digest, str]]] = {}
        self._layers: dict[int, Digest] = {}
        """Number -> layer: images share them, and as many objects as uses would not fit."""

    def below(self, repository: str, tag: str | None, top: Digest) -> list[Image]:
        """Return the images that one tag leads to."""
        found: dict[Digest, str] = {}
        seen: set[Digest] = set()
        pending = [(top, "")]
        while pending:
            digest, platform = pending.pop()
            info = self._graph.manifests.get(digest)
            if info is None or digest in seen:
                continue
            seen.add(digest)
            if info.kind is Kind.INDEX:
                pending.extend(reversed(self._listed(digest)))
            elif info.kind in (Kind.IMAGE, Kind.SCHEMA1) and info.artifact_type is None:
                found[digest] = platform
        several = len(found) > 1
        start = (
            f"{repository}@{top.algorithm}:{top.short}" if tag is None else f"{repository}:{tag}"
        )
        result = []
        for digest, platform in found.items():
            name = f"{start} ({platform or digest.short})" if several else start
            if layers := self._layers_of(digest):
                result.append(Image(name, repository, tag, platform, top, digest, layers))
        return result

    def _layers_of(self, manifest: Digest) -> tuple[Digest, ...]:
        """Return the layers of a manifest, the base first, as blobs are stored."""
        known, layers = self._graph.inventory.known, self._layers
        numbers = self._graph.manifests.numbers_as(Role.LAYER, manifest)
        for number in numbers:
            if number not in layers:
                layers[number] = known[number]
        found = map(layers.__getitem__, numbers)
        # A digest in another algorithm is followed by the one that the blob is stored under.
        return tuple(one for one in found if not is_alias(self._graph, one))

    def _listed(self, index: Digest) -> list[tuple[Digest, str]]:
        """Return the entries of an index that can be images, with their platforms."""
        if index not in self._entries:
            self._entries[index] = self._read_index(index)
        return self._entries[index]

    def _read_index(self, index: Digest) -> list[tuple[Digest, str]]:
        try:
            manifest = self._read(index)
        except RegfsError:  # it was readable when the graph was built, which knows its children
            return [(child, "") for child in self._graph.children(index)]
        if isinstance(manifest, Skimmed):
            pairs = zip(map(Digest, manifest.digests), manifest.platforms, strict=True)
            return [pair for pair in pairs if pair[0] not in manifest.attestations]
        from regfs.manifests import DockerManifestList, ImageIndex, is_attestation  # the models

        if not isinstance(manifest, (ImageIndex, DockerManifestList)):
            return []
        return [
            (entry.digest, str(entry.platform or ""))
            for entry in manifest.manifests
            if not is_attestation(entry)
        ]
