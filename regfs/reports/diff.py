"""Two images, indexes or layers side by side: the report of `diff`, by point reads.

    diff(registry, Layers(registry), before, after) -> DiffReport
        .fields     of the manifests that were named: media type, annotations, attestations
        .images     for each platform that both have: fields, layers, files, packages

Two indexes are compared platform by platform. An image is compared with the entry of an index
for its platform, and one of two images with the other one whatever their platforms are. An
image that both sides have is not read, and neither are the files of layers that both have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.errors import ReferenceInvalid, RegfsError
from regfs.files.difference import ComparedImage, FileDifference, file_difference
from regfs.files.image import image_files
from regfs.files.layers import Layers
from regfs.manifests import DockerManifestV1, Manifest, attested, is_attestation, is_blob_type
from regfs.manifests.image_config import ImageConfig
from regfs.reports.blob import content_of
from regfs.reports.diff_config import FieldChange, annotation_changes, config_changes
from regfs.reports.diff_images import IMAGES, INDEXES, ImageReader, PlatformImage
from regfs.reports.diff_layers import LayerAt, LayerChange, contents, layer_changes
from regfs.reports.image import read_manifest
from regfs.reports.instructions import instructions
from regfs.tree.registry import Registry, Target


@dataclass(frozen=True, slots=True)
class DiffSide:
    """What is compared."""

    reference: str
    digest: str
    kind: str
    """`image`, `index`, `artifact`, `schema1`, `unknown`, or `layer`."""
    media_type: str
    """Empty of a layer."""


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """Two images, or two layers, that are not the same."""

    platform: str
    """Empty of layers."""
    before: str
    """The digest of its manifest."""
    after: str
    size_before: int
    """Bytes of its layers as they are stored, each digest once."""
    size_after: int
    fields: tuple[FieldChange, ...]
    """Of manifest and config."""
    layers: tuple[LayerChange, ...]
    files: FileDifference | None
    """None if files were not to be compared, or have no place here, as in artifacts."""


@dataclass(frozen=True, slots=True)
class DiffReport:
    """The report."""

    before: DiffSide
    after: DiffSide
    same: bool
    """Whether both have one digest: then there is nothing else here."""
    fields: tuple[FieldChange, ...] = ()
    """Of the indexes themselves."""
    only_before: tuple[str, ...] = ()
    """Platforms that the other side does not have."""
    only_after: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    """Platforms whose image is the same on both sides."""
    images: tuple[ImageDifference, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be read, and is missing here."""


class DiffTarget(NamedTuple):
    """What a reference led to."""

    target: Target
    digest: Digest


class DiffOptions(NamedTuple):
    """What is compared."""

    platform: str | None = None
    """Of indexes only the image for this one."""
    files: bool = True
    """Whether to look into layers."""
    times: bool = False
    """Whether files differ by their times alone."""


_PEEK: Final = 512
"""Bytes that tell a layer from a manifest."""


def diff(
    registry: Registry,
    layers: Layers,
    before: DiffTarget,
    after: DiffTarget,
    options: DiffOptions = DiffOptions(),  # noqa: B008  # immutable
) -> DiffReport:
    """Compare what two references led to.

    Raises:
        ReferenceInvalid: they cannot be compared: an image with a layer, or images without a
            platform that both sides have.
        BlobUnknown, ContentMismatch, ManifestInvalid: one of the manifests cannot be read.
    """
    manifests = [_manifest(registry, one.digest) for one in (before, after)]
    old, new = (
        DiffSide(str(asked.target), asked.digest, _kind(one), "" if one is None else one.media_type)
        for asked, one in zip((before, after), manifests, strict=True)
    )
    if before.digest == after.digest and options.platform is None:
        return DiffReport(old, new, same=True)
    comparer = _Comparer(registry, layers, (before, after), options)
    if manifests[0] is None and manifests[1] is None:
        layer = comparer.layers()
        return DiffReport(old, new, False, images=(layer,), problems=comparer.problems)
    if manifests[0] is None or manifests[1] is None:
        kinds = f"{before.target} is {_a(old.kind)}, {after.target} {_a(new.kind)}"
        raise ReferenceInvalid(f"{kinds}: a layer is compared with a layer only")
    return comparer.images(old, new, manifests[0], manifests[1])


def _manifest(registry: Registry, digest: Digest) -> Manifest | None:
    """Return a manifest; None of a layer."""
    with registry.open_blob(digest, 0, _PEEK) as file:
        content = content_of(file.read(_PEEK))
    return None if content in ("gzip", "zstd", "tar") else read_manifest(registry, digest)


def _kind(manifest: Manifest | None) -> str:
    if manifest is None:
        return "layer"
    if isinstance(manifest, IMAGES) and manifest.artifact_type is not None:
        return "artifact"
    return manifest.kind.value


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aiu" else f"a {kind}"


class _ReadImage(NamedTuple):
    """An image that was read."""

    manifest: Manifest
    config: ImageConfig | None
    layers: tuple[LayerAt, ...]


class _Comparer:
    def __init__(
        self,
        registry: Registry,
        layers: Layers,
        asked: tuple[DiffTarget, DiffTarget],
        options: DiffOptions,
    ) -> None:
        self._registry = registry
        self._opener = layers
        self._asked = asked
        self._options = options
        self._reader = ImageReader(registry)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read."""
        return tuple(self._reader.problems)

    def images(self, old: DiffSide, new: DiffSide, before: Manifest, after: Manifest) -> DiffReport:
        """Compare two manifests."""
        first, second = (
            list(self._reader.images(asked.digest, manifest))
            for asked, manifest in zip(self._asked, (before, after), strict=True)
        )
        both = isinstance(before, INDEXES) and isinstance(after, INDEXES)
        paired = self._reader.paired(first, second, self._options.platform, must=not both)
        changed = [self._pair(one, two) for one, two in paired.pairs if one.digest != two.digest]
        same = [two.platform for one, two in paired.pairs if one.digest == two.digest]
        return DiffReport(
            before=old,
            after=new,
            same=old.digest == new.digest,
            fields=tuple(_index_changes(before, after)),
            only_before=tuple(paired.only_before),
            only_after=tuple(paired.only_after),
            unchanged=tuple(same),
            images=tuple(one for one in changed if one is not None),
            problems=self.problems,
        )

    def layers(self) -> ImageDifference:
        """Compare two layers."""
        old, new = (
            (LayerAt(one.digest, self._registry.blob(one.digest).size, "", "", ""),)
            for one in self._asked
        )
        digests = self._asked[0].digest, self._asked[1].digest
        return self._difference("", digests, (old, new), (), ())

    def _pair(self, one: PlatformImage, two: PlatformImage) -> ImageDifference | None:
        old, new = self._read(one), self._read(two)
        if old is None or new is None:
            return None
        return self._difference(
            two.platform or ("" if new.config is None else new.config.platform),
            (one.digest, two.digest),
            (old.layers, new.layers),
            _image_changes(old, new),
            layer_changes(old.layers, new.layers),
            # The layers of a build cache are not one on the other.
            files=all(_kind(each.manifest) != "artifact" for each in (old, new)),
        )

    def _difference(
        self,
        platform: str,
        digests: tuple[Digest, Digest],
        layers: tuple[Sequence[LayerAt], Sequence[LayerAt]],
        fields: Iterator[FieldChange] | tuple[()],
        changes: Sequence[LayerChange],
        *,
        files: bool = True,
    ) -> ImageDifference:
        before, after = (
            sum({one.digest: max(one.size, 0) for one in own}.values()) for own in layers
        )
        return ImageDifference(
            platform,
            *digests,
            size_before=before,
            size_after=after,
            fields=tuple(fields),
            layers=tuple(changes),
            files=self._files(digests, layers) if files and self._options.files else None,
        )

    def _read(self, one: PlatformImage) -> _ReadImage | None:
        manifest = one.manifest or self._reader.manifest(one.digest)
        if manifest is None:
            return None
        config = self._reader.config(manifest)
        return _ReadImage(manifest, config, tuple(_layers(manifest, config)))

    def _files(
        self, digests: tuple[Digest, Digest], layers: tuple[Sequence[LayerAt], Sequence[LayerAt]]
    ) -> FileDifference | None:
        """Compare the files of two images; None if one has no root file system."""
        stacks = []
        for asked, digest, own in zip(self._asked, digests, contents(*layers), strict=True):
            name = asked.target.name
            reference = f"{name}@{digest}" if name else digest
            try:
                files = image_files(self._registry, self._opener, reference)
            except ReferenceInvalid:
                return None
            except RegfsError as error:
                self._reader.problems[str(error)] = None
                return None
            stacks.append(ComparedImage(files, own))
        before, after = stacks
        found = file_difference(before, after, self._opener, times=self._options.times)
        self._reader.problems |= dict.fromkeys(found.problems)
        return found


def _layers(manifest: Manifest, config: ImageConfig | None) -> Iterator[LayerAt]:
    """Yield the layers of an image, base first."""
    if isinstance(manifest, DockerManifestV1):
        for layer in reversed(manifest.fs_layers):
            yield LayerAt(layer.blob_sum, -1, "", "", "")
    elif isinstance(manifest, IMAGES):
        count = len(manifest.layers)
        history = config.history if config else ()
        made = instructions((one.created_by, one.empty_layer) for one in history)
        ids = config.rootfs.diff_ids if config else ()
        for number, one in enumerate(manifest.layers):
            yield LayerAt(
                one.digest,
                one.size,
                ids[number] if len(ids) == count else "",
                one.media_type,
                made[number] if len(made) == count else "",
            )


def _image_changes(old: _ReadImage, new: _ReadImage) -> Iterator[FieldChange]:
    """Yield what differs between two images, but for layers and files."""
    before, after = old.manifest, new.manifest
    values: tuple[tuple[str, str | None, str | None], ...] = (
        ("media_type", before.media_type, after.media_type),
        ("artifact_type", before.artifact_type, after.artifact_type),
        ("subject", _subject(before), _subject(after)),
    )
    yield from (FieldChange(name, "", one, two) for name, one, two in values if one != two)
    yield from annotation_changes(before.annotations, after.annotations)
    if old.config is not None and new.config is not None:
        yield from config_changes(old.config, new.config)
    else:
        configs = [
            one.config.digest if isinstance(one, IMAGES) else None for one in (before, after)
        ]
        if configs[0] != configs[1]:
            yield FieldChange("config", "", *configs)


def _subject(manifest: Manifest) -> str | None:
    return None if manifest.subject is None else manifest.subject.digest


def _index_changes(before: Manifest, after: Manifest) -> Iterator[FieldChange]:
    """Yield what differs between two manifests of which one is an index, but for the images."""
    if not isinstance(before, INDEXES) and not isinstance(after, INDEXES):
        return
    if before.media_type != after.media_type:
        yield FieldChange("media_type", "", before.media_type, after.media_type)
    if isinstance(before, INDEXES) and isinstance(after, INDEXES):
        yield from annotation_changes(before.annotations, after.annotations)
    old, new = (_others(one) for one in (before, after))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield FieldChange(*key, old.get(key), new.get(key))


def _others(manifest: Manifest) -> Mapping[tuple[str, str], str]:
    """Return the entries of an index that are no images: kind and name -> digest."""
    found: dict[tuple[str, str], str] = {}
    if not isinstance(manifest, INDEXES):
        return found
    platforms = {one.digest: str(one.platform or "") for one in manifest.manifests}
    for number, one in enumerate(manifest.manifests, 1):
        if is_attestation(one):
            about = attested(one)
            name = platforms.get(about, "") if about is not None else ""
            key = "attestation", name or str(about or number)
        elif is_blob_type(one.media_type):
            key = "entry", f"{number} {one.media_type}"
        else:
            continue
        found[key] = f"{found[key]}, {one.digest}" if key in found else one.digest
    return found
