"""The images below what is compared, and which of them belong together, by platform.

    index  linux/amd64  linux/arm64        PairedImages
    index  linux/amd64  linux/s390x   ->     .pairs        linux/amd64
                                             .only_before  linux/arm64   .only_after  linux/s390x

A manifest is read where its own kind or platform is not told by what lists it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from regfs.digest import Digest
from regfs.errors import PlatformUnknown, ReferenceInvalid, RegfsError
from regfs.manifests import (
    Descriptor,
    DockerManifest,
    DockerManifestList,
    ImageIndex,
    ImageManifest,
    Manifest,
    is_attestation,
    is_blob_type,
)
from regfs.manifests.image_config import ImageConfig, parse_config
from regfs.manifests.platforms import fits
from regfs.reports.image import read_manifest
from regfs.tree.registry import Registry

INDEXES = (ImageIndex, DockerManifestList)
IMAGES = (ImageManifest, DockerManifest)


class PlatformImage(NamedTuple):
    """One image of a side."""

    digest: Digest
    manifest: Manifest | None
    """None: it has not been read."""
    platform: str
    """Empty if it is not known."""


class PairedImages(NamedTuple):
    """Which images of two sides are compared, and the platforms that only one side has."""

    pairs: list[tuple[PlatformImage, PlatformImage]]
    only_before: list[str]
    only_after: list[str]


class ImageReader:
    """Reads the manifests and configs of two sides, and notes what cannot be read."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.problems: dict[str, None] = {}

    def manifest(self, digest: Digest) -> Manifest | None:
        """Return a manifest; None if it cannot be read."""
        try:
            return read_manifest(self._registry, digest)
        except RegfsError as error:
            self.problems[str(error)] = None
            return None

    def config(self, manifest: Manifest) -> ImageConfig | None:
        """Return the config of an image; None of what has none, or if it cannot be read."""
        if not isinstance(manifest, IMAGES) or manifest.artifact_type is not None:
            return None
        digest = manifest.config.digest
        try:
            return parse_config(self._registry.manifest_bytes(digest))
        except RegfsError as error:
            text = str(error)
            where = "" if digest.encoded in text else f"{digest}: "
            self.problems[f"config: {where}{text}"] = None
            return None

    def images(self, digest: Digest, manifest: Manifest) -> Iterator[PlatformImage]:
        """Yield a manifest itself, or the images that an index lists, nested or not."""
        pending = [PlatformImage(digest, manifest, "")]
        seen: set[Digest] = set()
        while pending:
            one = pending.pop()
            if one.digest in seen:
                continue
            seen.add(one.digest)
            if isinstance(one.manifest, INDEXES):
                listed = (self._listed(entry) for entry in reversed(one.manifest.manifests))
                pending += [entry for entry in listed if entry is not None]
            else:
                yield one

    def _listed(self, entry: Descriptor) -> PlatformImage | None:
        """Return an entry of an index; None if it is no image, or an index that is not read."""
        if is_attestation(entry) or is_blob_type(entry.media_type):
            return None
        platform = str(entry.platform or "")
        if "index" not in entry.media_type and "list" not in entry.media_type:
            return PlatformImage(entry.digest, None, platform)
        manifest = self.manifest(entry.digest)
        return None if manifest is None else PlatformImage(entry.digest, manifest, platform)

    def paired(
        self,
        before: Sequence[PlatformImage],
        after: Sequence[PlatformImage],
        platform: str | None,
        *,
        must: bool,
    ) -> PairedImages:
        """Return which images are compared: those for one platform, or for each that both have.

        Raises:
            PlatformUnknown: one of the two has no image for `platform`.
            ReferenceInvalid: there are none, and there must be.
        """
        if len(before) == len(after) == 1 and platform is None:
            return PairedImages([(before[0], after[0])], [], [])
        old, new = (
            {one.platform: one for one in reversed([self._told(one) for one in images])}
            for images in (before, after)
        )
        if platform is not None:
            those = (
                [one for name, one in side.items() if fits(platform, name)] for side in (old, new)
            )
            found = PairedImages(list(zip(*those, strict=False))[:1], [], [])
        else:
            found = PairedImages(
                [(old[name], new[name]) for name in reversed(old) if name in new],
                [name for name in reversed(old) if name not in new],
                [name for name in reversed(new) if name not in old],
            )
        if not found.pairs and (must or platform is not None):
            what = "platform" if platform is None else f"image for {platform}"
            one, other = (
                ", ".join(filter(None, reversed(names))) or "none" for names in (old, new)
            )
            words = f"no {what} in both: {one} in one, {other} in the other"
            raise ReferenceInvalid(words) if platform is None else PlatformUnknown(words)
        return found

    def _told(self, one: PlatformImage) -> PlatformImage:
        """Return an image with its platform, by its config where no index says it."""
        if one.platform:
            return one
        manifest = one.manifest or self.manifest(one.digest)
        config = None if manifest is None else self.config(manifest)
        return one._replace(manifest=manifest, platform="" if config is None else config.platform)
