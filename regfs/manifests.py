"""Manifests of every kind: bytes in, a model and what it refers to out.

    parse(b'{"schemaVersion": 2, "config": {...}, "layers": [...]}').references()
    -> (Reference(config, sha256:...), Reference(layer, sha256:...), ...)

Three outcomes, so that nothing in use is ever overlooked:
- a model of the kind: the document means exactly one thing to every client;
- `UnknownManifest`: a JSON object that regfs does not know, or that clients could
  read in more than one way; it refers to every digest written anywhere in it;
- `ManifestInvalid`: no JSON object, or one that breaks the rules of its own kind;
  `DescriptorInvalid` where it is what it names that breaks them.
  Whoever is about to delete something must then keep everything it might name.

Not here: the config of an image (`image_config`), whether bytes have their digest, and
whether what they refer to exists.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError
from pydantic_core import CoreSchema, core_schema, from_json

from regfs.digest import ALGORITHMS, Digest, digests_in
from regfs.errors import (
    AlgorithmUnsupported,
    DescriptorInvalid,
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
)
from regfs.media_types import (
    BUILDKIT_CACHE as BUILDKIT_CACHE,
)
from regfs.media_types import (
    DOCKER_CONFIG as DOCKER_CONFIG,
)
from regfs.media_types import (
    DOCKER_LIST as DOCKER_LIST,
)
from regfs.media_types import (
    DOCKER_MANIFEST as DOCKER_MANIFEST,
)
from regfs.media_types import (
    DOCKER_V1 as DOCKER_V1,
)
from regfs.media_types import (
    DOCKER_V1_SIGNED as DOCKER_V1_SIGNED,
)
from regfs.media_types import (
    IMAGE_CONFIGS as IMAGE_CONFIGS,
)
from regfs.media_types import (
    IN_TOTO as IN_TOTO,
)
from regfs.media_types import (
    LAYER_PREFIXES as LAYER_PREFIXES,
)
from regfs.media_types import (
    LIMIT as LIMIT,
)
from regfs.media_types import (
    MANIFEST_TYPES as MANIFEST_TYPES,
)
from regfs.media_types import (
    OCI_ARTIFACT as OCI_ARTIFACT,
)
from regfs.media_types import (
    OCI_CONFIG as OCI_CONFIG,
)
from regfs.media_types import (
    OCI_EMPTY as OCI_EMPTY,
)
from regfs.media_types import (
    OCI_INDEX as OCI_INDEX,
)
from regfs.media_types import (
    OCI_MANIFEST as OCI_MANIFEST,
)
from regfs.media_types import (
    ORAS_ARTIFACT as ORAS_ARTIFACT,
)
from regfs.media_types import (
    Kind as Kind,
)
from regfs.media_types import (
    Reference as Reference,
)
from regfs.media_types import (
    Role as Role,
)
from regfs.media_types import (
    is_blob_type as is_blob_type,
)

REFERENCE_TYPE: Final = "vnd.docker.reference.type"
REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"


class _DigestSchema:
    """Tells pydantic what a Digest is; the pattern is checked without a call into Python."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: object, _handler: object) -> CoreSchema:
        hexes = "|".join(f"{name}:[0-9a-f]{{{size}}}" for name, size in ALGORITHMS.items())
        return core_schema.no_info_after_validator_function(
            Digest, core_schema.str_schema(pattern=f"^(?:{hexes})$")
        )


def or_empty(empty: Callable[[], object]) -> BeforeValidator:
    """Take null for absent: Go writes an empty list or map so."""
    return BeforeValidator(lambda value: empty() if value is None else value)


DigestField: TypeAlias = Annotated[Digest, _DigestSchema]
_Size: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Text: TypeAlias = Annotated[str, or_empty(str)]
_Texts: TypeAlias = Annotated[tuple[str, ...], FailFast(), or_empty(tuple)]
_TextMap: TypeAlias = Annotated[dict[str, str], or_empty(dict)]


class Document(BaseModel):
    """Frozen; what regfs does not know is kept.

    `model_dump_json(by_alias=True, exclude_unset=True)` gives the document back.
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
    """Names content: its digest, its size, and what it is."""

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
        """The content may legally be elsewhere and absent here."""
        kind = self.media_type
        return bool(self.urls) or ".foreign." in kind or ".nondistributable." in kind

    def reference(self, role: Role) -> Reference:
        """Return it as what a manifest refers to."""
        platform = "" if self.platform is None else str(self.platform)
        return Reference(role, self.digest, self.size, self.media_type, platform, self.foreign)


# A list ends at its first defect: a hostile one of 4 MiB has a million, and each costs 2 kB.
_Descriptors: TypeAlias = Annotated[tuple[Descriptor, ...], FailFast()]


class _Manifest(Document, ABC):
    kind: ClassVar[Kind]
    counted: ClassVar[bytes] = b'"digest"'
    """The key that every part of a manifest holds once, in small letters."""

    schema_version: int = Field(2, alias="schemaVersion")
    media_type: str = Field(alias="mediaType")
    declared_type: str = Field("", alias="artifactType")
    subject: Descriptor | None = None
    """What this manifest is about: a signature, an SBOM or the like names its image."""
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def artifact_type(self) -> str | None:
        """What an artifact is; None for what is to be run."""
        return self.declared_type or None

    def parts(self) -> tuple[Descriptor | FsLayer, ...]:
        """Return everything in it that holds a digest."""
        parts = self._parts()
        return parts if self.subject is None else (*parts, self.subject)

    def references(self) -> tuple[Reference, ...]:
        """Return everything it refers to; one digest can come more than once."""
        references = self._references()
        if self.subject is not None:
            references.append(self.subject.reference(Role.SUBJECT))
        return tuple(references)

    @abstractmethod
    def _parts(self) -> tuple[Descriptor | FsLayer, ...]: ...

    @abstractmethod
    def _references(self) -> list[Reference]: ...


class _Image(_Manifest):
    kind: ClassVar[Kind] = Kind.IMAGE

    config: Descriptor
    layers: _Descriptors = ()
    """The base first."""

    @property
    def artifact_type(self) -> str | None:
        """What an artifact is: as declared, else by its config; None for what is to be run."""
        config = self.config.media_type
        return self.declared_type or (None if config in IMAGE_CONFIGS else config or None)

    def _parts(self) -> tuple[Descriptor | FsLayer, ...]:
        return (self.config, *self.layers)

    def _references(self) -> list[Reference]:
        layers = [layer.reference(Role.LAYER) for layer in self.layers]
        return [self.config.reference(Role.CONFIG), *layers]


class ImageManifest(_Image):
    """An OCI image, or an artifact in the shape of one."""


class DockerManifest(_Image):
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
    """A Docker image, schema 1, signed or not. It has no config and names no sizes."""

    kind: ClassVar[Kind] = Kind.SCHEMA1
    counted: ClassVar[bytes] = b'"blobsum"'

    schema_version: int = Field(1, alias="schemaVersion")
    name: Text = ""
    tag: Text = ""
    architecture: Text = ""
    fs_layers: Annotated[tuple[FsLayer, ...], FailFast()] = Field(alias="fsLayers")
    """The base last; one blob comes as often as there are layers like it."""
    history: Annotated[tuple[V1History, ...], FailFast()] = ()
    signatures: Annotated[tuple[dict[str, Any], ...], FailFast()] = ()

    def _parts(self) -> tuple[Descriptor | FsLayer, ...]:
        return self.fs_layers

    def _references(self) -> list[Reference]:
        digests = dict.fromkeys(layer.blob_sum for layer in reversed(self.fs_layers))
        return [Reference(Role.LAYER, digest) for digest in digests]


class UnknownManifest(Document):
    """A JSON object whose meaning is not certain; it refers to every digest written in it."""

    kind: ClassVar[Kind] = Kind.UNKNOWN
    artifact_type: ClassVar[None] = None
    subject: ClassVar[None] = None

    media_type: str
    problem: str
    """Why it is not taken for a manifest of a known kind."""
    digests: tuple[DigestField, ...]
    annotations: dict[str, str] = Field(default_factory=dict)

    def references(self) -> tuple[Reference, ...]:
        """Return every digest as a manifest: only looking can tell which of them are."""
        return tuple(Reference(Role.MANIFEST, digest) for digest in self.digests)


_Known: TypeAlias = (
    ImageManifest
    | ImageIndex
    | DockerManifest
    | DockerManifestList
    | DockerManifestV1
    | ArtifactManifest
)
Manifest: TypeAlias = _Known | UnknownManifest
_Model = TypeVar("_Model", bound=_Manifest)

MODELS: Final[dict[str, type[_Known]]] = {
    OCI_MANIFEST: ImageManifest,
    OCI_INDEX: ImageIndex,
    DOCKER_MANIFEST: DockerManifest,
    DOCKER_LIST: DockerManifestList,
    DOCKER_V1: DockerManifestV1,
    DOCKER_V1_SIGNED: DockerManifestV1,
    OCI_ARTIFACT: ArtifactManifest,
    ORAS_ARTIFACT: ArtifactManifest,
}


# What stands at the top of each kind. Two kinds at once, and clients can differ on what it is.
_SHAPES: Final = {
    "config": Kind.IMAGE,
    "layers": Kind.IMAGE,
    "manifests": Kind.INDEX,
    "blobs": Kind.ARTIFACT,
    "fsLayers": Kind.SCHEMA1,
}


_WORDS: Final = {
    "missing": "is missing",
    "model_type": "is no object",
    "dict_type": "is no object",
    "tuple_type": "is no list",
    "string_type": "is no text",
    "int_type": "is no whole number",
    "greater_than_equal": "is negative",
    "less_than_equal": "is more than 2^63 - 1",
}
"""What pydantic finds, in the words of JSON."""


def _keys(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


_TOP: Final = frozenset[str]().union(*map(_keys, MODELS.values()))
_TOP_FOLDED: Final = frozenset(key.casefold() for key in _TOP)
_PART_FOLDED: Final = frozenset(key.casefold() for key in _keys(Descriptor) | _keys(FsLayer))


class _Doubtful(Exception):
    """Not everybody would read the document in the same way, or regfs cannot; says why."""


def parse(data: bytes, *, media_type: str = "", limit: int = LIMIT) -> Manifest:
    """Return the manifest in `data`.

    `media_type` is what the outside says of it (a header, a descriptor); `limit` is in bytes.

    Raises:
        ManifestTooLarge: longer than `limit`; not looked at.
        ManifestInvalid: no JSON object, or breaks the rules of its own kind.
    """
    raw = json_object(data, limit)
    try:
        declared = _declared(raw, media_type.partition(";")[0].strip().lower())
        if raw.get("mediaType") != declared:
            raw["mediaType"] = declared
        manifest = _validated(MODELS[declared], raw)
        _refuse_doubt(manifest, data)
    except _Doubtful as doubt:
        written = raw.get("mediaType") or media_type
        return UnknownManifest(
            media_type=written if isinstance(written, str) else "",
            problem=str(doubt),
            digests=_every_digest(data),
        )
    return manifest


def json_object(data: bytes, limit: int) -> dict[str, Any]:
    """Return the JSON object in `data`, without the known keys that are null."""
    if len(data) > limit:
        raise ManifestTooLarge(f"{len(data)} bytes are more than the limit of {limit}")
    try:
        raw = from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise ManifestInvalid(f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ManifestInvalid("JSON, but not an object")
    if None in raw.values():
        return {key: value for key, value in raw.items() if value is not None or key not in _TOP}
    return raw


def _declared(raw: dict[str, Any], outside: str) -> str:
    """Return the media type that everybody would agree on."""
    if not raw.keys() <= _TOP:
        for key in raw.keys() - _TOP:
            if key.casefold() in _TOP_FOLDED:
                raise _Doubtful(f"the key {_shown(key)} is a known one in other letters")
    shapes = {kind for key, kind in _SHAPES.items() if key in raw}
    if len(shapes) > 1:
        raise _Doubtful(f"reads as more than one kind: {', '.join(sorted(shapes))}")
    declared = raw.get("mediaType") or outside or _by_shape(raw)
    if not isinstance(declared, str) or declared not in MODELS:
        raise _Doubtful(f"unknown media type {_shown(declared)}" if declared else "no media type")
    model = MODELS[declared]
    if MODELS.get(outside, model) is not model:
        raise _Doubtful(f"media type {declared} inside, {outside} outside")
    if shapes - {model.kind}:
        raise _Doubtful(f"media type {declared}, but reads as {shapes.pop()}")
    expected = 1 if model is DockerManifestV1 else 2
    version = raw.get("schemaVersion", expected)
    if type(version) is not int or version != expected:
        raise _Doubtful(f"unknown schemaVersion {_shown(version)}")
    return declared


def type_of(data: bytes) -> str:
    """Return the media type that a manifest states, or its shape means; empty when neither.

    Raises:
        ManifestInvalid: no JSON object, or too large for a manifest.
    """
    raw = json_object(data, LIMIT)
    written = raw.get("mediaType")
    return written if isinstance(written, str) and written else _by_shape(raw)


def _by_shape(raw: dict[str, Any]) -> str:
    """Return the media type of a document that states none, as the reference registry would."""
    if "config" in raw and "layers" in raw:
        return OCI_MANIFEST
    if "manifests" in raw:
        return OCI_INDEX
    if "fsLayers" in raw:
        return DOCKER_V1_SIGNED if "signatures" in raw else DOCKER_V1
    return ""


def _validated(model: type[_Model], raw: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        if unsupported := _unsupported(error):
            raise _Doubtful(unsupported) from None
        kind = DescriptorInvalid if _is_of_descriptor(error) else ManifestInvalid
        raise kind(told(error)) from None


def _is_of_descriptor(error: ValidationError) -> bool:
    """Tell whether the first thing that is wrong is wrong with a descriptor."""
    place = error.errors(include_url=False, include_context=False)[0]["loc"]
    return place[0] in ("config", "subject") or (place[0] in _SHAPES and len(place) > 1)


def _refuse_doubt(manifest: _Known, data: bytes) -> None:
    """Raise _Doubtful when a client could read other descriptors out of `data` than are here."""
    parts = manifest.parts()
    for part in parts:
        # Go, in which most clients are written, takes "Digest" for "digest".
        for key in part.__pydantic_extra__ or ():
            if key.casefold() in _PART_FOLDED:
                raise _Doubtful(f"the key {_shown(key)} is a known one in other letters")
    # Of a key that comes twice, JSON parsers differ on which one counts. Looking for that is
    # slow, and without need when every descriptor that is written has been read.
    count = data.lower().count(manifest.counted)
    if count != len(parts) or b"\\u" in data or not data.isascii():
        _refuse_duplicates(data)


def _refuse_duplicates(data: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            raise _Doubtful("a key comes more than once")

    json.loads(data, object_pairs_hook=check, parse_int=str)


def _every_digest(data: bytes) -> tuple[Digest, ...]:
    """Return every digest in `data`, a JSON document, were it written with escapes."""
    found = digests_in(data)
    if b"\\" in data:
        everything = json.loads(data, object_pairs_hook=list, parse_int=str)
        found += digests_in(json.dumps(everything, ensure_ascii=False).encode())
    return tuple(dict.fromkeys(found))


def _unsupported(error: ValidationError) -> str | None:
    """Return which algorithm is unsupported, if nothing worse is wrong."""
    told = None
    for detail in error.errors(include_url=False, include_context=False):
        problem = _digest_problem(detail["type"], detail["input"])
        if not isinstance(problem, AlgorithmUnsupported):
            return None
        told = told or f"{_place(detail['loc'])}: {problem}"
    return told


def _digest_problem(kind: str, value: object) -> DigestInvalid | None:
    if kind == "string_pattern_mismatch" and isinstance(value, str):
        try:
            Digest.parse(value)
        except DigestInvalid as problem:
            return problem
    return None


def told(error: ValidationError) -> str:
    """Return what is wrong, in one line: the first field, the reason, and how many more."""
    details = error.errors(include_url=False, include_context=False)
    first = details[0]
    reason = _digest_problem(first["type"], first["input"]) or _WORDS.get(
        first["type"], first["msg"]
    )
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{_place(first['loc'])}: {reason}{more}"


def _place(location: tuple[int | str, ...]) -> str:
    """Return a place in a document as people write it: `layers[2].size`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if step.isidentifier() else _shown(step))
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:160] + "..."


def signed_payload(data: bytes) -> bytes:
    """Return the part of a signed schema 1 manifest that its digest is computed of.

    Raises:
        ManifestInvalid: it is not signed, or not in the form that libtrust writes.
    """
    try:
        protected = json.loads(_base64url(json.loads(data)["signatures"][0]["protected"]))
        length, tail = protected["formatLength"], _base64url(protected["formatTail"])
        if type(length) is not int or not 0 <= length <= len(data):
            raise ValueError(f"formatLength {_shown(length)}")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestInvalid(f"no signed schema 1 manifest: {_shown(error)}") from None
    return data[:length] + tail


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_attestation(descriptor: Descriptor) -> bool:
    """Tell whether an entry of an index is what BuildKit says about another entry."""
    return descriptor.annotations.get(REFERENCE_TYPE) == "attestation-manifest"


def attested(descriptor: Descriptor) -> Digest | None:
    """Return the entry of the same index that an attestation is about."""
    try:
        return Digest.parse(descriptor.annotations.get(REFERENCE_DIGEST, ""))
    except DigestInvalid:
        return None


def is_buildkit_cache(manifest: Manifest) -> bool:
    """Tell whether it is a build cache, which no container can run."""
    return not isinstance(manifest, UnknownManifest) and any(
        reference.media_type == BUILDKIT_CACHE for reference in manifest.references()
    )
