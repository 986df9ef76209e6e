"""Media types, kinds, roles and references of manifests: all that needs no model.

    media types    what a document says it is
    Kind, Role     the kind of a manifest, and the role of each of its parts
    Reference      one thing that it refers to

Separate from the models, because a graph of plain manifests is read without any, and loading the
models takes longer than reading a thousand manifests.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from regfs.digest import Digest

LIMIT: Final = 4 * 1024 * 1024
"""Bytes of the largest manifest that a registry accepts."""

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
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
BUILDKIT_CACHE: Final = "application/vnd.buildkit.cacheconfig.v0"
IN_TOTO: Final = "application/vnd.in-toto+json"
DOCKER_ATTESTATION: Final = "application/vnd.docker.attestation.manifest.v1+json"
"""The artifact type of an attestation that BuildKit lists beside its image."""

IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYER_PREFIXES: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_NOT_MANIFESTS: Final = IMAGE_CONFIGS | {OCI_EMPTY, BUILDKIT_CACHE, IN_TOTO}

REFERENCE_TYPE: Final = "vnd.docker.reference.type"
"""An annotation of an entry in an index."""
ATTESTATION: Final = "attestation-manifest"
"""Its value where the entry is the attestation of another entry."""
BASE_NAME: Final = "org.opencontainers.image.base.name"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
BASES: Final = frozenset({BASE_NAME, BASE_DIGEST})
"""Annotations of an image that name the one it is built on."""

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
"""Every media type of manifests that regfs reads."""


class Kind(StrEnum):
    """The kind of a manifest, for all media types with the same meaning."""

    IMAGE = "image"
    INDEX = "index"
    ARTIFACT = "artifact"
    SCHEMA1 = "schema1"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """The role of a reference in its manifest."""

    CONFIG = "config"
    LAYER = "layer"
    MANIFEST = "manifest"
    """A child of an index; in an unknown manifest, anything: the content decides."""
    SUBJECT = "subject"
    BLOB = "blob"


class Reference(NamedTuple):
    """One thing that a manifest refers to."""

    role: Role
    digest: Digest
    size: int = -1
    """Bytes, according to the manifest; -1 if it does not say."""
    media_type: str = ""
    platform: str = ""
    """Such as `linux/arm/v7`; `unknown/unknown` for attestations."""
    foreign: bool = False
    """A layer that this registry need not have: by its media type, or because it has URLs."""
    elsewhere: bool = False
    """It has URLs from which clients fetch it, so it need not be here."""


def absent_by_right(references: Iterable[Reference]) -> set[Digest]:
    """Return what need not be here: digests that have URLs wherever they are named."""
    named = list(references)
    needed = {one.digest for one in named if not one.elsewhere}
    return {one.digest for one in named if one.elsewhere} - needed


def is_blob_type(media_type: str) -> bool:
    """Return whether content of a media type is surely not a manifest."""
    return media_type.startswith(LAYER_PREFIXES) or media_type in _NOT_MANIFESTS
