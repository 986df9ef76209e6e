"""The models of every kind of manifest, with their references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field
from pydantic_core import CoreSchema, core_schema

from regfs.digest import ALGORITHMS, Digest, digests_noted
from regfs.errors import DigestInvalid
from regfs.manifests.media_types import (
    ATTESTATION,
    BUILDKIT_CACHE,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_V1,
    DOCKER_V1_SIGNED,
    IMAGE_CONFIGS,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    ORAS_ARTIFACT,
    REFERENCE_TYPE,
    Kind,
    Reference,
    Role,
    is_blob_type,
)

REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"


class _DigestSchema:
    """The pydantic schema of a Digest; the pattern is checked without calling Python."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: object, _handler: object) -> CoreSchema:
        hexes = "|".join(f"{name}:[0-9a-f]{{{size}}}" for name, size in ALGORITHMS.items())
        return core_schema.no_info_after_validator_function(
            Digest, core_schema.str_schema(pattern=f"^(?:{hexes})$")
        )


def or_empty(empty: Callable[[], object]) -> BeforeValidator:
    """Treat null as absent: Go writes an empty list or map as null."""
    return BeforeValidator(lambda value: empty() if value is None else value)


DigestField: TypeAlias = Annotated[Digest, _DigestSchema]
_Size: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Text: TypeAlias = Annotated[str, or_empty(str)]
_Texts: TypeAlias = Annotated[tuple[str, ...], FailFast(), or_empty(tuple)]
_TextMap: TypeAlias = Annotated[dict[str, str], or_empty(dict)]


class Document(BaseModel):
    """A frozen model that keeps unknown keys.

    `model_dump_json(by_alias=True, exclude_unset=True)` returns the document.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


class Platform(Document):
    """What an image runs on."""

    architecture: Text = ""
    os: Text = ""
    os_version: Text = Field("", alias="os.version")
    os_features: _Texts = Field((), alias="os.features")
    variant: Text = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Document):
    """A reference to content: its digest, size and media type."""

    media_type: str = Field("", alias="mediaType")
    digest: DigestField
    size: _Size
    urls: _Texts = ()
    annotations: _TextMap = Field(default_factory=dict)
    data: str | None = None
    """The content itself, in base64."""
    platform: Platform | None = None
    artifact_type: str = Field("", alias="artifactType")

    @property
    def foreign(self) -> bool:
        """Whether the content belongs elsewhere and need not be pushed."""
        kind = self.media_type
        return bool(self.urls) or ".foreign." in kind or ".nondistributable." in kind

    def reference(self, role: Role) -> Reference:
        """Return it as a reference of a manifest."""
        platform = "" if self.platform is None else str(self.platform)
        # Clients always fetch configs and manifests from the registry itself.
        elsewhere = bool(self.urls) and role in (Role.LAYER, Role.BLOB)
        return Reference(
            role, self.digest, self.size, self.media_type, platform, self.foreign, elsewhere
        )


# Validation stops at the first error: a hostile list of 4 MiB has a million, of 2 kB each.
_Descriptors: TypeAlias = Annotated[tuple[Descriptor, ...], FailFast()]


class _Manifest(Document, ABC):
    kind: ClassVar[Kind]
    counted: ClassVar[bytes] = b'"digest"'
    """The key that every part of a manifest has once, in lower case."""

    schema_version: int = Field(2, alias="schemaVersion")
    media_type: str = Field(alias="mediaType")
    declared_type: str = Field("", alias="artifactType")
    subject: Descriptor | None = None
    """What this manifest is about: a signature or an SBOM names its image."""
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def artifact_type(self) -> str | None:
        """The type of an artifact; None for an image to run."""
        return self.declared_type or None

    def parts(self) -> tuple[Descriptor | FsLayer, ...]:
        """Return all its parts that have a digest."""
        parts = self._parts()
        return parts if self.subject is None else (*parts, self.subject)

    @property
    def noted(self) -> list[Digest]:
        """The digests in its annotations and in those of its descriptors."""
        texts = list(self.annotations.values())
        for part in self.parts():
            if isinstance(part, Descriptor):
                texts += part.annotations.values()
        return digests_noted(texts)

    def references(self) -> tuple[Reference, ...]:
        """Return all its references; a digest can come more than once."""
        references = self._references()
        if self.subject is not None:
            references.append(self.subject.reference(Role.SUBJECT))
        return tuple(references)

    @abstractmethod
    def _parts(self) -> tuple[Descriptor | FsLayer, ...]: ...

    @abstractmethod
    def _references(self) -> list[Reference]: ...


class _ImageFields(_Manifest):
    kind: ClassVar[Kind] = Kind.IMAGE

    config: Descriptor
    layers: _Descriptors = ()
    """Base first."""

    @property
    def artifact_type(self) -> str | None:
        """The type of an artifact, as declared or by its config; None for an image to run."""
        config = self.config.media_type
        return self.declared_type or (None if config in IMAGE_CONFIGS else config or None)

    def _parts(self) -> tuple[Descriptor | FsLayer, ...]:
        return (self.config, *self.layers)

    def _references(self) -> list[Reference]:
        layers = [layer.reference(Role.LAYER) for layer in self.layers]
        return [self.config.reference(Role.CONFIG), *layers]


class ImageManifest(_ImageFields):
    """An OCI image, or an artifact in the same format."""


class DockerManifest(_ImageFields):
    """A Docker image, schema 2."""


class _Index(_Manifest):
    kind: ClassVar[Kind] = Kind.INDEX

    manifests: _Descriptors = ()

    def _parts(self) -> tuple[Descriptor | FsLayer, ...]:
        return self.manifests

    def _references(self) -> list[Reference]:
        return [
            entry.reference(Role.BLOB if is_blob_type(entry.media_type) else Role.MANIFEST)
            for entry in self.manifests
        ]


class ImageIndex(_Index):
    """An OCI index: manifests for several platforms, attestations, referrers, or a cache."""


class DockerManifestList(_Index):
    """A Docker manifest list."""


class ArtifactManifest(_Manifest):
    """The artifact manifest of OCI 1.1 release candidates and of ORAS before."""

    kind: ClassVar[Kind] = Kind.ARTIFACT

    blobs: _Descriptors = ()

    def _parts(self) -> tuple[Descriptor | FsLayer, ...]:
        return self.blobs

    def _references(self) -> list[Reference]:
        return [blob.reference(Role.BLOB) for blob in self.blobs]


class FsLayer(Document):
    """One layer of a schema 1 manifest."""

    blob_sum: DigestField = Field(alias="blobSum")


class V1History(Document):
    """How one layer of a schema 1 manifest was made: JSON in a string."""

    v1_compatibility: str = Field(alias="v1Compatibility")


class DockerManifestV1(_Manifest):
    """A Docker image, schema 1, signed or not. It has no config and gives no sizes."""

    kind: ClassVar[Kind] = Kind.SCHEMA1
    counted: ClassVar[bytes] = b'"blobsum"'

    schema_version: int = Field(1, alias="schemaVersion")
    name: Text = ""
    tag: Text = ""
    architecture: Text = ""
    fs_layers: Annotated[tuple[FsLayer, ...], FailFast()] = Field(alias="fsLayers")
    """Base last; a blob comes as often as it is a layer."""
    history: Annotated[tuple[V1History, ...], FailFast()] = ()
    signatures: Annotated[tuple[dict[str, Any], ...], FailFast()] = ()

    def _parts(self) -> tuple[Descriptor | FsLayer, ...]:
        return self.fs_layers

    def _references(self) -> list[Reference]:
        digests = dict.fromkeys(layer.blob_sum for layer in reversed(self.fs_layers))
        return [Reference(Role.LAYER, digest) for digest in digests]


class UnknownManifest(Document):
    """A JSON object whose meaning is uncertain; it refers to every digest in it."""

    kind: ClassVar[Kind] = Kind.UNKNOWN
    artifact_type: ClassVar[None] = None
    subject: ClassVar[None] = None
    noted: ClassVar[tuple[Digest, ...]] = ()

    media_type: str
    problem: str
    """Why it is not a manifest of a known kind."""
    digests: tuple[DigestField, ...]
    annotations: dict[str, str] = Field(default_factory=dict)

    def references(self) -> tuple[Reference, ...]:
        """Return every digest as a manifest: only their content shows which ones are."""
        return tuple(Reference(Role.MANIFEST, digest) for digest in self.digests)


Known: TypeAlias = (
    ImageManifest
    | ImageIndex
    | DockerManifest
    | DockerManifestList
    | DockerManifestV1
    | ArtifactManifest
)
Manifest: TypeAlias = Known | UnknownManifest

MODELS: Final[dict[str, type[Known]]] = {
    OCI_MANIFEST: ImageManifest,
    OCI_INDEX: ImageIndex,
    DOCKER_MANIFEST: DockerManifest,
    DOCKER_LIST: DockerManifestList,
    DOCKER_V1: DockerManifestV1,
    DOCKER_V1_SIGNED: DockerManifestV1,
    OCI_ARTIFACT: ArtifactManifest,
    ORAS_ARTIFACT: ArtifactManifest,
}


def is_attestation(descriptor: Descriptor) -> bool:
    """Return whether an entry of an index is the attestation of another entry."""
    return descriptor.annotations.get(REFERENCE_TYPE) == ATTESTATION


def attested(descriptor: Descriptor) -> Digest | None:
    """Return the entry of the same index that an attestation is about."""
    try:
        return Digest.parse(descriptor.annotations.get(REFERENCE_DIGEST, ""))
    except DigestInvalid:
        return None


def is_buildkit_cache(manifest: Manifest) -> bool:
    """Return whether a manifest is a build cache, which cannot be run."""
    return not isinstance(manifest, UnknownManifest) and any(
        reference.media_type == BUILDKIT_CACHE for reference in manifest.references()
    )
