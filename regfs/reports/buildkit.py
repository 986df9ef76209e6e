"""What BuildKit has done to an image that the classic builder does not: the report of `buildkit`.

    buildkit_report(graph, registry, target, digest) -> BuildKitReport
        .images         of each image: who has built it, and are its layers squashed?
        .differences    index, attestation, rebuild, ...: what differs from the classic builder
        .twins          the same instruction, which another builder has made another layer of

What a difference means is written by regfs.render.buildkit; here are the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from regfs.content.entries import EntryKind
from regfs.digest import Digest
from regfs.errors import LayerInvalid, RegfsError
from regfs.files.layers import Layers
from regfs.graph import EdgeKind, Graph, Node
from regfs.manifests import DockerManifest, ImageManifest, Kind
from regfs.manifests.image_config import parse_config
from regfs.manifests.media_types import OCI_MANIFEST
from regfs.reports.build_cache import CacheFacts
from regfs.reports.builder import BUILDKIT, BuilderFacts, Squash, builder_facts
from regfs.reports.history import BuildStep, LayerFacts, config_steps
from regfs.reports.image import Bounds, Shown, ShownImage, show
from regfs.reports.images import Image, images
from regfs.reports.instructions import keyword
from regfs.reports.lineage import Bases, bases
from regfs.tree.registry import Registry, Target

_COMPARED: Final = 200
"""Images of the same base that are looked at for twins."""
_SMALL: Final = 1 << 20
"""Bytes of the largest layers, and of the files in them, that are compared."""


class Difference(StrEnum):
    """What differs from the classic builder, in the order in which it is told."""

    INDEX = "index"
    """The tag points to an index, though it is of one image."""
    ATTESTATION = "attestation"
    """The index lists what says how the image was built."""
    REBUILD = "rebuild"
    """Each build pushes another index, of the same image too; the old ones stay."""
    TWIN = "layer"
    """The same instruction is another layer than by another builder."""
    CACHE = "inline-cache"
    """The config holds the build cache."""
    TIME = "time"
    """All times were set."""
    PACKING = "packing"
    """Layers are not packed with gzip."""
    TYPES = "media-types"
    """The media types are those of OCI."""


@dataclass(frozen=True, slots=True)
class LayersOf:
    """The layers of one image, told apart by who has made them."""

    digest: str
    platform: str
    built: BuilderFacts
    base: str
    """The image that it is built on; empty if this registry has none."""
    base_layers: int
    base_bytes: int
    base_users: int
    """Other images that have the layers of the base, all of them."""
    own_layers: int
    own_bytes: int
    squash: Squash
    squash_evidence: str


@dataclass(frozen=True, slots=True)
class Twin:
    """A layer, and the one that another builder has made by the same instruction."""

    instruction: str
    digest: str
    other_digest: str
    other_image: str
    other_builder: str
    same_files: bool | None
    """Whether both hold the same files, so that only the bytes of the tars differ; None where one
    of them is large, or cannot be read."""


@dataclass(frozen=True, slots=True)
class BuildKitReport:
    """The report."""

    reference: str
    digest: str
    is_index: bool
    images: tuple[LayersOf, ...]
    attestations: tuple[str, ...]
    """What they are, such as `provenance (SLSA 1, mode min)`."""
    attestation_manifests: int
    attestation_bytes: int
    """Bytes of the manifests of attestations, and of what they name."""
    other_indexes: int
    """Other indexes of the repository that list the same image."""
    untagged_indexes: int
    """Those of them that no tag points to."""
    twins: tuple[Twin, ...]
    cache: CacheFacts | None
    """Of a build cache, which is no image."""
    differences: tuple[Difference, ...]
    """Of an image that BuildKit has built; empty of any other."""
    problems: tuple[str, ...]
    """What could not be read."""


def buildkit_report(
    graph: Graph, registry: Registry, target: Target, digest: Digest
) -> BuildKitReport:
    """Tell what BuildKit has done to the images that a reference leads to.

    Raises:
        BlobUnknown, ContentMismatch, ManifestInvalid: its manifest cannot be read.
    """
    every = images(graph, registry.skim)
    shown = show(graph, registry, target, digest, Bounds(among=every))
    lineages = bases(graph, registry.skim)
    found = [one for one in shown.images if one.built is not None]
    parts = tuple(_layers_of(one, target, lineages) for one in found)
    others = list(_other_indexes(graph, target, digest, [Digest(one.digest) for one in found]))
    twins = tuple(_Twins(registry, every).of(found[0])) if found and not shown.cache else ()
    beside = [one for one in shown.attestations if one.document.way == "index"]
    carriers = {Digest(one.document.manifest) for one in beside}
    sizes = graph.inventory.blobs.size
    report = BuildKitReport(
        reference=str(target),
        digest=digest,
        is_index=graph.manifests[digest].kind is Kind.INDEX if digest in graph.manifests else False,
        images=parts,
        attestations=tuple(dict.fromkeys(_words(shown))),
        attestation_manifests=len(carriers),
        attestation_bytes=sum(map(sizes, graph.needs(carriers))),
        other_indexes=len(others),
        untagged_indexes=sum(not _is_tagged(graph, one) for one in others),
        twins=twins,
        cache=shown.cache,
        differences=(),
        problems=shown.problems,
    )
    return _with_differences(report, shown)


def _with_differences(report: BuildKitReport, shown: Shown) -> BuildKitReport:
    made = [one for one in report.images if one.built.builder == BUILDKIT]
    if not made:
        return report
    there = {
        Difference.INDEX: report.is_index and len(report.images) == 1,
        Difference.ATTESTATION: bool(report.attestations),
        Difference.REBUILD: report.is_index and bool(report.attestations),
        Difference.TWIN: bool(report.twins),
        Difference.CACHE: any(one.config and one.config.inline_cache for one in shown.images),
        Difference.TIME: any(one.built.time for one in made),
        Difference.PACKING: any(one.built.packings for one in made),
        Difference.TYPES: all(one.media_type == OCI_MANIFEST for one in shown.images),
    }
    return replace(report, differences=tuple(key for key, is_so in there.items() if is_so))


def _words(shown: Shown) -> Iterator[str]:
    """Yield what each attestation beside the images is."""
    for one in shown.attestations:
        if one.document.way != "index":
            continue
        if one.provenance is not None:
            mode = f", mode {one.provenance.mode}" if one.provenance.mode else ""
            yield f"provenance (SLSA {one.provenance.slsa}{mode})"
        elif one.sbom is not None:
            yield f"SBOM ({one.sbom.version or one.document.form}, {one.sbom.packages} packages)"
        else:
            yield " ".join(filter(None, (one.document.form, one.document.kind)))


def _layers_of(image: ShownImage, target: Target, lineages: Bases) -> LayersOf:
    assert image.built is not None
    mine = [one for one in lineages.images if one.digest == image.digest]
    same = [one for one in mine if (one.repository, one.tag) == (target.name, target.tag)]
    lineage = next(iter(same or mine), None)
    own = 0 if lineage is None else lineage.own_layers
    layers = [step for step in image.steps if step.digest is not None]
    base = layers[: len(layers) - own] if lineage is not None and lineage.bases else []
    squash, why = image.built.squash, image.built.squash_evidence
    if lineage is not None and lineage.squashed:
        squash, why, base = "yes", f"it shares no layer with its base {lineage.bases[0]}", []
    return LayersOf(
        digest=image.digest,
        platform=image.platform,
        built=image.built,
        base=lineage.bases[0] if lineage is not None and lineage.bases else "",
        base_layers=len(base),
        base_bytes=_bytes(base),
        base_users=min((step.images for step in base), default=0),
        own_layers=len(layers) - len(base),
        own_bytes=_bytes(layers[len(base) :]),
        squash=squash,
        squash_evidence=why,
    )


def _bytes(steps: Iterable[BuildStep]) -> int:
    return sum({step.digest: step.size for step in steps}.values())


def _other_indexes(
    graph: Graph, target: Target, digest: Digest, listed: Sequence[Digest]
) -> Iterator[Digest]:
    """Yield the other indexes of a repository that list one of these images."""
    every = graph.inventory.repositories
    revisions = every[target.name].revisions if target.name is not None else graph.revised
    above = {
        node: None
        for image in listed
        for node, kind in graph.predecessors(image).items()
        if kind is EdgeKind.CHILD and isinstance(node, Digest)
    }
    yield from (node for node in above if node != digest and node in revisions)


def _is_tagged(graph: Graph, index: Digest) -> bool:
    above = graph.predecessors(index).items()
    return any(kind is EdgeKind.CURRENT and isinstance(node, Node) for node, kind in above)


class _Twins:
    """Finds layers that another builder has made by the same instruction on the same base."""

    def __init__(self, registry: Registry, every: Iterable[Image]) -> None:
        self._registry = registry
        self._layers = Layers(registry)
        self._every = every

    def of(self, image: ShownImage) -> Iterator[Twin]:
        """Yield a twin of each layer that has one, each layer once."""
        if image.built is None or image.built.builder != BUILDKIT:
            return
        layers = [Digest(step.digest) for step in image.steps if step.digest is not None]
        mine = {_place(one): one for one in image.steps if one.digest and not one.empty}
        compared: set[Digest] = set()
        for other in self._every:
            is_near = other.layers[:1] == tuple(layers[:1]) and len(layers) > 1
            if not is_near or other.manifest in compared or len(compared) >= _COMPARED:
                continue
            compared.add(other.manifest)
            for builder, step in self._steps(other):
                twin = mine.get(_place(step))
                if twin is not None and twin.digest and step.digest not in (None, *layers):
                    del mine[_place(step)]
                    theirs = Digest(str(step.digest))
                    same = self._same_files(Digest(twin.digest), theirs)
                    words = twin.instruction
                    yield Twin(words, twin.digest, theirs, other.name, builder, same)

    def _same_files(self, one: Digest, other: Digest) -> bool | None:
        try:
            if max(self._registry.blob(digest).size for digest in (one, other)) > _SMALL:
                return None
            return self._files(one) == self._files(other)
        except RegfsError:
            return None

    def _files(self, digest: Digest) -> list[tuple[object, ...]]:
        """Return all that a layer says of its files, and the digests of their contents.

        Raises:
            LayerInvalid, BlobUnknown, StoreError: it cannot be read, or is large.
        """
        listing = self._layers.listing(digest)
        if listing.findings or sum(entry.size for entry in listing) > _SMALL:
            raise LayerInvalid("not compared")
        return [
            (
                *entry._replace(position=0, xattrs={}),
                sorted(entry.xattrs.items()),
                self._layers.sha256(digest, entry) if entry.kind is EntryKind.FILE else "",
            )
            for entry in listing
        ]

    def _steps(self, image: Image) -> Iterator[tuple[str, BuildStep]]:
        """Yield the steps with a layer of their own of an image by another builder."""
        try:
            manifest = self._registry.manifest(image.manifest)
            if not isinstance(manifest, (ImageManifest, DockerManifest)):
                return
            config = parse_config(self._registry.manifest_bytes(manifest.config.digest))
        except RegfsError:
            return
        facts = [
            LayerFacts(one.digest, one.size, one.media_type, True, False, 0)
            for one in manifest.layers
        ]
        steps = list(config_steps(facts, [one.annotations for one in manifest.layers], config))
        made = builder_facts(manifest, config, steps)
        if made.builder in ("", BUILDKIT) or made.squash != "no" or made.folded:
            return
        yield from ((made.builder, step) for step in steps if step.digest and not step.empty)


def _place(step: BuildStep) -> tuple[str, str]:
    """Return what makes two instructions the same: COPY and ADD by where they write."""
    word = keyword(step.instruction)
    if word in ("COPY", "ADD"):
        return word, step.instruction.rpartition(" ")[2]
    return "", step.instruction if word == "RUN" else f"{step.digest} alone"
