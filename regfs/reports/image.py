"""One image, index or artifact in full: the report of `show`.

    show(graph, registry, target) -> Shown
        .entries    what an index lists: platforms, attestations, cached layers
        .images     for each image in it: config, and every step with its layer
        .referrers  its signatures, SBOMs and other referrers

history.py matches the steps of the config with the layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import BlobUnknown, ManifestInvalid, ManifestTooLarge, RegfsError
from regfs.graph import Graph
from regfs.graph.attached import Way, attached_to, attachments
from regfs.manifests import (
    LIMIT,
    Descriptor,
    DockerManifest,
    DockerManifestList,
    DockerManifestV1,
    ImageIndex,
    ImageManifest,
    Kind,
    Manifest,
    attested,
    is_attestation,
    is_buildkit_cache,
)
from regfs.manifests.image_config import ImageConfig, parse_config
from regfs.names import SubjectTag
from regfs.reports.attestations import (
    ReadDocument,
    attached_documents,
    held_documents,
    read_document,
)
from regfs.reports.build_cache import CacheFacts, cache_facts
from regfs.reports.builder import BuilderFacts, builder_facts
from regfs.reports.history import BuildStep, LayerFacts, config_steps, schema1_steps
from regfs.reports.images import Image, images
from regfs.reports.start import Config, config_of
from regfs.reports.whereabouts import ImagePath
from regfs.tree.registry import Registry, Target
from regfs.units import utc_time

_READ: Final = 100
"""Attestations of one image or index that are read; nobody writes as many."""


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One entry of an index."""

    kind: str
    """`image`, `index`, `attestation`, `artifact`, `layer`, `config`, `missing`, `unseen`."""
    digest: str
    size: int
    """Bytes of the entry itself, by its descriptor."""
    media_type: str
    platform: str
    about: str | None
    """The entry that an attestation is about."""
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShownImage:
    """One image, or one artifact with layers."""

    digest: str
    media_type: str
    artifact_type: str | None
    platform: str
    size: int
    """Bytes of manifest, config and layers: what a first pull transfers from the registry."""
    shared: int
    """Bytes of its layers that other images have too."""
    config: Config | None
    steps: tuple[BuildStep, ...]
    annotations: dict[str, str]
    build_cache: bool
    """Whether it is a build cache of BuildKit, which no container can run."""
    built: BuilderFacts | None = None
    """How it was built; None of what no container can run, and of images in Docker's first form."""


@dataclass(frozen=True, slots=True)
class ShownReferrer:
    """A referrer: a signature, an SBOM."""

    digest: str
    artifact_type: str | None
    size: int
    """Bytes of its manifest and of what it names, as far as that is present."""
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The report."""

    reference: str
    repository: str | None
    tag: str | None
    digest: str
    media_type: str
    kind: str
    """`image`, `index`, `artifact`, `schema1`, `unknown`, `build-cache`; for a tag attached to
    an image, what it holds: `signature`, `attestation`, `SBOM` or `referrers`."""
    size: int
    """Bytes of the manifest."""
    pushed: datetime
    """When the manifest was written."""
    tags: tuple[str, ...]
    """Every tag of any repository that points to it."""
    annotations: dict[str, str]
    subject: str | None
    entries: tuple[ListedEntry, ...]
    images: tuple[ShownImage, ...]
    referrers: tuple[ShownReferrer, ...]
    attestations: tuple[ReadDocument, ...]
    """What provenance, SBOMs and other statements say; signatures are among the referrers."""
    cache: CacheFacts | None
    """Of a build cache of BuildKit: what it holds."""
    problems: tuple[str, ...]
    """What could not be read."""
    paths: tuple[ImagePath, ...] = ()
    """Where each part lies, if that was asked for."""


def read_manifest(registry: Registry, digest: Digest, largest: int = LIMIT) -> Manifest:
    """Return a manifest; errors name its path.

    Raises:
        BlobUnknown: it is missing.
        ContentMismatch, ManifestInvalid: it is damaged, or not a manifest.
        ManifestTooLarge: it has more than `largest` bytes.
    """
    path = layout.blob_path(digest)
    try:
        return registry.manifest(digest, largest)
    except BlobUnknown:
        raise BlobUnknown(f"{path}: manifest is not there") from None
    except ManifestTooLarge:
        raise
    except ManifestInvalid as error:
        text = str(error)
        raise ManifestInvalid(text if text.startswith(path) else f"{path}: {text}") from None


class Bounds(NamedTuple):
    """What `show` may read; everything by default."""

    among: Iterable[Image] | None = None
    """The images whose layers are compared; None for all."""
    has: Callable[[Digest], bool] = lambda digest: True
    """Whether a digest that the manifest names may be shown; others count as absent."""
    largest: int = LIMIT
    """Bytes; larger manifests and configs are not read."""
    only: Digest | None = None
    """The image of an index to describe in full (the first if there is none such); None: all."""
    attestations: bool = True
    """Whether to read what attestations say."""


def show(
    graph: Graph,
    registry: Registry,
    target: Target,
    digest: Digest,
    bounds: Bounds = Bounds(),  # noqa: B008  # immutable
) -> Shown:
    """Describe the manifest `digest`, which `target` led to, within `bounds`.

    Raises:
        BlobUnknown, ContentMismatch, ManifestInvalid: the manifest itself cannot be read.
    """
    manifest = read_manifest(registry, digest, bounds.largest)
    viewer = _Viewer(graph, registry, target, digest, bounds)
    shown = tuple(viewer.images(digest, manifest, bounds.only))
    kind, subject = _role(graph, target, digest, manifest) or (viewer.kind(manifest), None)
    blob = registry.blob(digest)
    said = tuple(viewer.attestations(digest)) if bounds.attestations else ()
    return Shown(
        reference=str(target),
        repository=target.name,
        tag=target.tag,
        digest=digest,
        media_type=manifest.media_type,
        kind=kind,
        size=blob.size,
        pushed=utc_time(blob.mtime),
        tags=tuple(_tags(graph, {digest})[digest]),
        annotations=dict(manifest.annotations),
        subject=subject if manifest.subject is None else manifest.subject.digest,
        entries=tuple(viewer.entries(manifest)),
        images=shown,
        referrers=tuple(_referrers(graph, target.name, digest, bounds.has)),
        attestations=said,
        cache=viewer.cache(manifest),
        problems=tuple(viewer.problems),
    )


def _role(
    graph: Graph, target: Target, digest: Digest, manifest: Manifest
) -> tuple[str, str | None] | None:
    """Return what a manifest is beyond its own kind, and the subject that its tag names."""
    if (attached := _attached(graph, target, digest)) is not None:
        return attached.holds, attached.subject
    return ("build-cache", None) if is_buildkit_cache(manifest) else None


def _attached(graph: Graph, target: Target, digest: Digest) -> SubjectTag | None:
    """Return what a manifest is attached to by the tag that was asked for, or by all its tags."""
    if target.tag is not None:
        return attached_to(graph, target.tag, digest)
    every = [
        attached_to(graph, tag, digest)
        for name, repository in graph.inventory.repositories.items()
        if target.name in (None, name)
        for tag, info in repository.tags.items()
        if info.current == digest
    ]
    return every[0] if every and all(every) else None


def _tags(graph: Graph, digests: Collection[Digest]) -> dict[Digest, list[str]]:
    """Return every tag that points to each of the digests."""
    found: dict[Digest, list[str]] = {digest: [] for digest in digests}
    for name, repository in graph.inventory.repositories.items():
        for tag, info in sorted(repository.tags.items()):
            if info.current in found:
                found[info.current].append(f"{name}:{tag}")
    return found


def _referrers(
    graph: Graph, name: str | None, digest: Digest, has: Callable[[Digest], bool]
) -> Iterator[ShownReferrer]:
    blobs = graph.inventory.blobs
    found = [
        one for one in attachments(graph, digest, name) if one.way is Way.COSIGN or has(one.digest)
    ]
    tags = _tags(graph, {one.digest for one in found}) if found else {}
    for one in found:
        info = graph.manifests.get(one.digest)
        type_ = None if info is None else info.artifact_type
        yield ShownReferrer(
            digest=one.digest,
            artifact_type=type_ if one.tag is None else f"cosign {one.holds}",
            size=sum(map(blobs.size, filter(has, graph.needs([one.digest])))),
            tags=tuple(tags[one.digest]) if one.tag is None else (one.tag,),
        )


class _Viewer:
    def __init__(
        self,
        graph: Graph,
        registry: Registry,
        target: Target,
        digest: Digest,
        bounds: Bounds,
    ) -> None:
        self._graph = graph
        self._may_have, self._largest = bounds.has, bounds.largest
        self._registry = registry
        self._name = target.name
        self.problems: list[str] = []
        self._users: Counter[Digest] = Counter()
        for image in images(graph, registry.manifest) if bounds.among is None else bounds.among:
            is_this = digest in (image.top, image.manifest)
            if is_this and target.tag is not None:
                is_this = (image.repository, image.tag) == (target.name, target.tag)
            if not is_this:
                self._users.update(set(image.layers))

    def kind(self, manifest: Manifest) -> str:
        """Return the kind of a manifest."""
        artifact = manifest.kind is Kind.IMAGE and manifest.artifact_type is not None
        return Kind.ARTIFACT.value if artifact else manifest.kind.value

    def entries(self, manifest: Manifest) -> Iterator[ListedEntry]:
        """Yield the entries of an index."""
        if not isinstance(manifest, (ImageIndex, DockerManifestList)):
            return
        for entry in manifest.manifests:
            yield ListedEntry(
                kind=self._entry_kind(entry),
                digest=entry.digest,
                size=entry.size,
                media_type=entry.media_type,
                platform=str(entry.platform or ""),
                about=attested(entry) if is_attestation(entry) else None,
                annotations=dict(entry.annotations),
            )

    def _entry_kind(self, entry: Descriptor) -> str:
        if not self._has(entry.digest):
            return "unseen" if self._graph.is_unseen(entry.digest) else "missing"
        if is_attestation(entry):
            return "attestation"
        info = self._graph.manifests.get(entry.digest)
        if info is None:
            return "config" if "config" in entry.media_type else "layer"
        if info.kind is Kind.IMAGE and info.artifact_type is not None:
            return Kind.ARTIFACT.value
        return info.kind.value

    def images(
        self, digest: Digest, manifest: Manifest, only: Digest | None
    ) -> Iterator[ShownImage]:
        """Yield the manifest itself if it has layers, else the images that it lists."""
        listed = list(self._listed(digest, manifest))
        if only is not None:
            listed = ([row for row in listed if row[0] == only] or listed)[:1]
        for one, known, platform in listed:
            found = known or self._read(one)
            if isinstance(found, (ImageManifest, DockerManifest)):
                yield self._image(one, found, platform)
            elif isinstance(found, DockerManifestV1):
                yield self._schema1(one, found)

    def _listed(
        self, digest: Digest, manifest: Manifest
    ) -> Iterator[tuple[Digest, Manifest | None, str]]:
        """Yield what an index lists, nested or not, with its platform; read only indexes."""
        pending: list[tuple[Digest, Manifest | None, str]] = [(digest, manifest, "")]
        seen: set[Digest] = set()
        while pending:
            one, known, platform = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            if known is None and self._graph.manifests[one].kind is Kind.INDEX:
                known = self._read(one)
            if isinstance(known, (ImageIndex, DockerManifestList)):
                pending.extend(
                    (entry.digest, None, str(entry.platform or ""))
                    for entry in reversed(known.manifests)
                    if entry.digest in self._graph.manifests
                    and self._has(entry.digest)
                    and not is_attestation(entry)
                )
            else:
                yield one, known, platform

    def attestations(self, digest: Digest) -> Iterator[ReadDocument]:
        """Yield what the documents about a manifest, or those that it holds, say."""
        where = (self._graph, self._registry, self._name, digest, self._may_have)
        found = [
            one
            for one in held_documents(*where) or attached_documents(*where)
            if one.kind not in ("signature", "document")
        ]
        if len(found) > _READ:
            self.problems.append(f"only the first {_READ} of {len(found)} attestations were read")
        for one in found[:_READ]:
            read = read_document(self._registry, one)
            if read.problem:
                self.problems.append(read.problem)
            yield read

    def cache(self, manifest: Manifest) -> CacheFacts | None:
        """Return what a build cache holds; None of anything else."""
        if not is_buildkit_cache(manifest):
            return None
        facts = cache_facts(self._registry, manifest, lambda layer: self._users[layer] > 0)
        if facts.problem:
            self.problems.append(facts.problem)
        return facts

    def _read(self, digest: Digest) -> Manifest | None:
        try:
            return read_manifest(self._registry, digest, self._largest)
        except RegfsError as error:
            self.problems.append(str(error))
            return None

    def _facts(
        self, layer: Digest, size: int, media_type: str, *, has_urls: bool = False
    ) -> LayerFacts:
        blobs = self._graph.inventory.blobs
        stored = next(
            (one for one in (layer, *self._graph.aliases.get(layer, ())) if self._has(one)), None
        )
        if has_urls and not (stored and self._is_linked(layer)):
            return LayerFacts(layer, size, media_type, present=False, elsewhere=True, images=0)
        unseen = stored is None and self._graph.is_unseen(layer)
        if stored is None:
            path = layout.blob_path(layer)
            self.problems.append(f"{path}: layer {'cannot be seen' if unseen else 'is not there'}")
        return LayerFacts(
            digest=layer,
            size=size if stored is None or size >= 0 else blobs[stored].size,
            media_type=media_type,
            present=None if unseen else stored is not None,
            elsewhere=False,
            images=self._users[stored or layer],
        )

    def _is_linked(self, layer: Digest) -> bool:
        """Return whether the repository in question has a layer, or any repository if none is."""
        every = self._graph.inventory.repositories
        if self._name is None:
            return any(layer in content.layers for content in every.values())
        content = every.get(self._name)
        return content is not None and layer in content.layers

    def _image(
        self, digest: Digest, manifest: ImageManifest | DockerManifest, platform: str
    ) -> ShownImage:
        runs = manifest.artifact_type is None
        config = self._config(manifest.config.digest) if runs else None
        layers = [
            self._facts(one.digest, one.size, one.media_type, has_urls=bool(one.urls))
            for one in manifest.layers
        ]
        titles = [one.annotations for one in manifest.layers]
        here = [one for one in layers if not one.elsewhere]
        own = self._graph.inventory.blobs[digest].size if self._has(digest) else 0
        steps = tuple(config_steps(layers, titles, config))
        return ShownImage(
            digest=digest,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            platform=platform or (config.platform if config else ""),
            size=own + manifest.config.size + _bytes(here),
            shared=_bytes(one for one in here if one.images),
            config=config_of(manifest.config.digest, config) if config else None,
            steps=steps,
            annotations=dict(manifest.annotations),
            build_cache=is_buildkit_cache(manifest),
            built=builder_facts(manifest, config, steps) if runs else None,
        )

    def _has(self, digest: Digest) -> bool:
        return digest in self._graph.inventory.blobs and self._may_have(digest)

    def _schema1(self, digest: Digest, manifest: DockerManifestV1) -> ShownImage:
        layers = [self._facts(one.blob_sum, -1, "") for one in reversed(manifest.fs_layers)]
        own = self._graph.inventory.blobs[digest].size if self._has(digest) else 0
        sizes = {one.digest: max(one.size, 0) for one in layers}
        return ShownImage(
            digest=digest,
            media_type=manifest.media_type,
            artifact_type=None,
            platform=manifest.architecture,
            size=own + sum(sizes.values()),
            shared=sum(sizes[one] for one in {one.digest for one in layers if one.images}),
            config=None,
            steps=tuple(schema1_steps(layers, manifest)),
            annotations=dict(manifest.annotations),
            build_cache=False,
        )

    def _config(self, digest: Digest) -> ImageConfig | None:
        path = layout.blob_path(digest)
        try:
            if not self._may_have(digest):
                raise BlobUnknown(path)
            return parse_config(self._registry.manifest_bytes(digest, self._largest))
        except BlobUnknown:
            self.problems.append(f"{path}: config is not there")
        except RegfsError as error:
            text = str(error)
            self.problems.append(text if text.startswith(path) else f"{path}: config: {text}")
        return None


def _bytes(layers: Iterable[LayerFacts]) -> int:
    """Return the bytes of layers, each counted once."""
    return sum({one.digest: one.size for one in layers}.values())
