"""Manifests of every kind: from bytes to a model and its references.

    parse(b'{"schemaVersion": 2, "config": {...}, "layers": [...]}').references()
    -> (Reference(config, sha256:...), Reference(layer, sha256:...), ...)

There are three outcomes, so that nothing in use is ever overlooked:
- a model of the kind: the document means exactly one thing to every client;
- `UnknownManifest`: a JSON object that regfs does not know, or that clients could read in more
  than one way; it refers to every digest that appears anywhere in it;
- `ManifestInvalid`: not a JSON object, or one that breaks the rules of its kind;
  `DescriptorInvalid` if a descriptor breaks them. Before deleting anything, callers must then
  keep everything that it might name.

Models and parser are imported when they are first asked for: they need pydantic, which takes a
tenth of a second, and most trees can be read without them (`skim`).

Not here: the config of an image (`image_config`), whether bytes match their digest, and whether
the references exist.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from regfs.manifests.media_types import (
    BUILDKIT_CACHE,
    DOCKER_ATTESTATION,
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_V1,
    DOCKER_V1_SIGNED,
    IMAGE_CONFIGS,
    IN_TOTO,
    LAYER_PREFIXES,
    LIMIT,
    MANIFEST_TYPES,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    ORAS_ARTIFACT,
    REFERENCE_TYPE,
    Kind,
    Reference,
    Role,
    absent_by_right,
    is_blob_type,
)

if TYPE_CHECKING:
    from regfs.manifests.models import (
        MODELS,
        REFERENCE_DIGEST,
        ArtifactManifest,
        Descriptor,
        DigestField,
        DockerManifest,
        DockerManifestList,
        DockerManifestV1,
        Document,
        FsLayer,
        ImageIndex,
        ImageManifest,
        Known,
        Manifest,
        Platform,
        Text,
        UnknownManifest,
        V1History,
        attested,
        is_attestation,
        is_buildkit_cache,
        or_empty,
    )
    from regfs.manifests.parsing import json_object, parse, signed_payload, summarise, type_of

__all__ = [
    "LIMIT",
    "OCI_MANIFEST",
    "OCI_INDEX",
    "OCI_ARTIFACT",
    "ORAS_ARTIFACT",
    "DOCKER_MANIFEST",
    "DOCKER_LIST",
    "DOCKER_V1",
    "DOCKER_V1_SIGNED",
    "OCI_CONFIG",
    "DOCKER_CONFIG",
    "OCI_EMPTY",
    "BUILDKIT_CACHE",
    "DOCKER_ATTESTATION",
    "IN_TOTO",
    "IMAGE_CONFIGS",
    "LAYER_PREFIXES",
    "REFERENCE_TYPE",
    "REFERENCE_DIGEST",
    "MODELS",
    "MANIFEST_TYPES",
    "Kind",
    "Role",
    "Reference",
    "Document",
    "Platform",
    "Descriptor",
    "ImageManifest",
    "DockerManifest",
    "ImageIndex",
    "DockerManifestList",
    "ArtifactManifest",
    "FsLayer",
    "V1History",
    "DockerManifestV1",
    "UnknownManifest",
    "Manifest",
    "Known",
    "DigestField",
    "Text",
    "or_empty",
    "absent_by_right",
    "is_blob_type",
    "is_attestation",
    "attested",
    "is_buildkit_cache",
    "parse",
    "json_object",
    "type_of",
    "summarise",
    "signed_payload",
]

_OF_PARSING = frozenset({"json_object", "parse", "signed_payload", "summarise", "type_of"})


def __getattr__(name: str) -> Any:
    """Import and return a name of the models or the parser when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'regfs.manifests' has no attribute {name!r}")
    home = "parsing" if name in _OF_PARSING else "models"
    found = getattr(import_module(f"regfs.manifests.{home}"), name)
    globals()[name] = found
    return found
