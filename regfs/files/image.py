"""The files of one image, found by its reference.

    image_files(registry, layers, "app:v1")  .layers  .merged["etc/hosts"]  .open("etc/hosts")

What has no root file system (a chart, an SBOM, a build cache) is refused. An index stands for
its only image; of several for the one of this machine's platform, as for clients.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from regfs import layout
from regfs.content.entries import EntryKind
from regfs.content.file_data import FileReader
from regfs.content.layers import is_filesystem, packing_of
from regfs.digest import Digest
from regfs.errors import (
    ManifestInvalid,
    PlatformUnknown,
    ReferenceInvalid,
    RegfsError,
    Unknown,
    quoted,
)
from regfs.files.layers import Layers
from regfs.files.listing import Columns, LayerListing
from regfs.files.merged import Merged
from regfs.findings import Code, Finding
from regfs.manifests.media_types import DOCKER_LAYER, IMAGE_CONFIGS, Kind, Reference, Role
from regfs.manifests.platforms import fits, own_platform
from regfs.manifests.skim import Skimmed

if TYPE_CHECKING:
    from regfs.manifests import Manifest
    from regfs.manifests.image_config import ImageConfig
    from regfs.tree.registry import Registry

_FOREIGN: Final = (".foreign.", ".nondistributable.")
_DEEPEST: Final = 4
"""Indexes within each other."""


class ImageLayer(NamedTuple):
    """A layer of an image."""

    digest: Digest
    media_type: str
    foreign: bool
    """Whether the registry need not have it."""


class ImageFiles:
    """The files of one image, or of one layer without its image."""

    def __init__(
        self,
        registry: Registry,
        layers: Layers,
        reference: str,
        manifest: Digest,
        parts: tuple[ImageLayer, ...],
        config: Digest | None = None,
        platform: str = "",
    ) -> None:
        self.reference = reference
        """What was asked for, in full."""
        self.manifest = manifest
        """The image manifest, not its index; for a layer alone, that layer."""
        self.parts = parts
        """The layers, base first."""
        self._platform = platform
        self._config = config
        self._registry = registry
        self._opener = layers

    @cached_property
    def layers(self) -> tuple[Digest, ...]:
        """The digests of the layers, base first."""
        return tuple(part.digest for part in self.parts)

    @property
    def platform(self) -> str:
        """Such as `linux/arm64`; empty if nothing says it."""
        return self._platform or ("" if self.config is None else self.config.platform)

    @cached_property
    def config(self) -> ImageConfig | None:
        """The config; None if there is none, or it cannot be read."""
        from regfs.manifests.image_config import parse_config

        if self._config is None:
            return None
        try:
            return parse_config(self._registry.manifest_bytes(self._config))
        except (ManifestInvalid, Unknown) as error:
            path = layout.blob_path(self._config)
            self._registry.report(Finding(Code.CONFIG_UNREADABLE, path, actual=str(error)))
        except RegfsError:  # reported by the read
            return None
        return None

    @cached_property
    def listings(self) -> tuple[LayerListing, ...]:
        """What is in each layer, base first."""
        return tuple(self.listing(number) for number in range(len(self.parts)))

    def listing(self, number: int) -> LayerListing:
        """Return what is in one layer; 0 is the base."""
        part = self.parts[number]
        path = layout.blob_path(part.digest)
        problem = None
        if not is_filesystem(part.media_type):
            problem = f"{part.media_type or 'no media type'}: not part of a root file system"
        elif packing_of(part.media_type) is None:
            problem = "it is encrypted"
        elif part.foreign and not self._is_here(part.digest):
            problem = "it is kept elsewhere, as foreign layers are"
        if problem is None:
            return self._opener.listing(part.digest)
        finding = Finding(Code.LAYER_UNREADABLE, path, part.digest, actual=problem, advice=_CLOSED)
        self._registry.report(finding)
        return LayerListing(part.digest, Columns(), [finding])

    def _is_here(self, digest: Digest) -> bool:
        try:
            self._registry.blob(digest)
        except Unknown:
            return False
        except RegfsError:  # reading it will tell
            return True
        return True

    @cached_property
    def merged(self) -> Merged:
        """The root file system."""
        return Merged.merge(self.listings)

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with its layers."""
        return [finding for listing in self.listings for finding in listing.findings]

    def open(self, path: str, layer: int | None = None) -> FileReader:
        """Open the content of a file, to which symbolic links may lead; or as one layer has it.

        Raises:
            ReferenceInvalid: there is no such file, or it is a folder or a device.
            LayerInvalid, StoreError: its layer cannot be read.
        """
        merged = self.merged if layer is None else Merged.merge([self.listing(layer)])
        placed = merged.resolve(path)
        if placed is None:
            link = merged.get(path.strip("/"))
            missing = "no such file in it" if link is None else "a link that leads nowhere"
            raise ReferenceInvalid(f"{self.reference}: {quoted(path)}: {missing}")
        placed = merged.content(placed)
        if placed.entry.kind is not EntryKind.FILE:
            raise ReferenceInvalid(f"{self.reference}: {quoted(path)} is a {placed.entry.kind}")
        return self._opener.open(self.layers[layer or placed.layer], placed.entry)


_CLOSED: Final = "Its files cannot be shown from here"


def image_files(
    registry: Registry, layers: Layers, reference: str, platform: str | None = None
) -> ImageFiles:
    """Return the files of an image, or of the one layer whose digest `reference` is.

    Raises:
        ReferenceInvalid: it has no root file system, or is an index with several images and
            none for this machine; the message names them.
        PlatformUnknown: it has no image for `platform`.
        ReferenceInvalid, Unknown: as `Registry.find_content`.
        ContentMismatch, ManifestInvalid: its manifest is damaged.
    """
    target, digest = registry.find_content(reference)
    if target.tag is None and not _is_json(registry, digest):
        part = ImageLayer(digest, DOCKER_LAYER, False)
        return ImageFiles(registry, layers, str(target), digest, (part,))
    shown = str(target)
    # Of a plain manifest the models are not needed, which take longer to load than a listing.
    manifest, named = registry.skim(digest), None
    for _ in range(_DEEPEST):
        if manifest.kind is not Kind.INDEX:
            break
        digest, named = _chosen(manifest, shown, platform)
        manifest = registry.skim(digest)
    found = _parts(registry, target.name, manifest)
    if found is None:
        raise ReferenceInvalid(f"{shown} has no files: {_what(manifest)}")
    config = next((one.digest for one in _named(manifest, Role.CONFIG)), None)
    made = ImageFiles(registry, layers, shown, digest, found, config, named or "")
    if platform is not None and named is None and not fits(platform, made.platform):
        there = made.platform or "no platform"
        raise PlatformUnknown(f"{shown} is for {there}, not {quoted(platform)}")
    return made


def _is_json(registry: Registry, digest: Digest) -> bool:
    with registry.open_blob(digest, 0, 64) as stream:
        return stream.read(64).lstrip().startswith(b"{")


def _named(manifest: Manifest | Skimmed, role: Role) -> list[Reference]:
    """Return what a manifest refers to in a role."""
    return [one for one in manifest.references() if one.role is role]


def _chosen(index: Manifest | Skimmed, shown: str, platform: str | None) -> tuple[Digest, str]:
    """Return the manifest in an index that is asked for, and its platform."""
    about = _attestations(index)
    images = [one for one in _named(index, Role.MANIFEST) if one.digest not in about]
    told = ", ".join(dict.fromkeys(one.platform or "no platform" for one in images))
    if not images:
        raise ReferenceInvalid(f"{shown} has no files: an index without images")
    if platform is None and len(images) == 1:
        return images[0].digest, images[0].platform
    own = platform or own_platform()
    for one in images:
        if fits(own, one.platform):
            return one.digest, one.platform
    if platform is None:
        raise ReferenceInvalid(f"{shown} has no image for {own}; choose a platform: {told}")
    raise PlatformUnknown(f"{shown} has no image for {quoted(platform)}; it has {told}")


def _attestations(index: Manifest | Skimmed) -> Container[str]:
    """Return the entries of an index that are about others."""
    if isinstance(index, Skimmed):
        return index.attestations
    from regfs.manifests import DockerManifestList, ImageIndex, is_attestation

    entries = index.manifests if isinstance(index, ImageIndex | DockerManifestList) else ()
    return {entry.digest for entry in entries if is_attestation(entry)}


def _parts(
    registry: Registry, name: str | None, manifest: Manifest | Skimmed
) -> tuple[ImageLayer, ...] | None:
    """Return the layers of a manifest, base first; None if it has no root file system."""
    layers = _named(manifest, Role.LAYER)
    if manifest.kind is Kind.SCHEMA1:
        return tuple(ImageLayer(one.digest, DOCKER_LAYER, False) for one in layers)
    configs = {one.media_type for one in _named(manifest, Role.CONFIG)}
    empty = not layers and not configs.isdisjoint(IMAGE_CONFIGS)
    if not empty and not any(is_filesystem(one.media_type) for one in layers):
        return None
    return tuple(
        ImageLayer(
            _stored(registry, name, one.digest),
            one.media_type,
            one.foreign or any(word in one.media_type for word in _FOREIGN),
        )
        for one in layers
    )


def _stored(registry: Registry, name: str | None, digest: Digest) -> Digest:
    """Return under which digest the bytes of a layer lie."""
    if name is None:
        return digest
    try:
        return registry.layer(name, digest)
    except RegfsError:  # reading the blob tells what is wrong, if anything is
        return digest


def _what(manifest: Manifest | Skimmed) -> str:
    """Return what a manifest without a root file system holds, for a message."""
    types = dict.fromkeys(reference.media_type for reference in manifest.references())
    told = ", ".join(kind for kind in types if kind)
    return f"its parts are {quoted(told)}" if told else "it is no image"
