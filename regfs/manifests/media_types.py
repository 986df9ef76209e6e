"""What manifests are called and made of, as far as no model is needed to tell.

    media types    what a document says it is
    Kind, Role     what it is to us, and what its parts are to it
    Reference      one thing that it refers to

Apart from `manifests`, because a graph of plain manifests is read without any model, and
loading the models takes longer than reading a thousand of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from regfs.digest import Digest

LIMIT: Final = 4 * 1024 * 1024
"""Bytes of the largest manifest a registry accepts."""

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
ORAS_ARTIFACT: Final = "application/vnd.cncf.oras.artifact.manifest.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_V1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_V1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
BUILDKIT_CACHE: Final = "application/vnd.buildkit.cacheconfig.v0"
IN_TOTO: Final = "application/vnd.in-toto+json"

IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYER_PREFIXES: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_NOT_MANIFESTS: Final = IMAGE_CONFIGS | {OCI_EMPTY, BUILDKIT_CACHE, IN_TOTO}

MANIFEST_TYPES: Final = frozenset(
    {
        OCI_MANIFEST,
        OCI_INDEX,
        DOCKER_MANIFEST,
        DOCKER_LIST,
        DOCKER_V1,
        DOCKER_V1_SIGNED,
        OCI_ARTIFACT,
        ORAS_ARTIFACT,
    }
)
"""Every media type of a manifest that regfs reads."""


class Kind(StrEnum):
    """What a manifest is, whoever's media type it has."""

    IMAGE = "image"
    INDEX = "index"
    ARTIFACT = "artifact"
    SCHEMA1 = "schema1"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What one thing is to the manifest that refers to it."""

    CONFIG = "config"
    LAYER = "layer"
    MANIFEST = "manifest"
    """A child of an index; of an unknown manifest, anything: look at what is there."""
    SUBJECT = "subject"
    BLOB = "blob"


class Reference(NamedTuple):
    """One thing that a manifest refers to."""

    role: Role
    digest: Digest
    size: int = -1
    """Bytes, as the manifest says; -1 where it does not."""
    media_type: str = ""
    platform: str = ""
    """Such as `linux/arm/v7`; `unknown/unknown` for attestations."""
    foreign: bool = False
    """A layer that is not this registry's to hand out: by its media type, or as it has urls."""
    elsewhere: bool = False
    """It has urls, from where clients fetch it, so it need not be here."""


def absent_by_right(references: Iterable[Reference]) -> set[Digest]:
    """Return what need not be here: what has urls wherever it is named."""
    named = list(references)
    needed = {one.digest for one in named if not one.elsewhere}
    return {one.digest for one in named if one.elsewhere} - needed


def is_blob_type(media_type: str) -> bool:
    """Return whether content of that media type is surely no manifest."""
    return media_type.startswith(LAYER_PREFIXES) or media_type in _NOT_MANIFESTS
