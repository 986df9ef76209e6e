"""What is pushed to a registry: manifests of every kind, and small real layers, made by hand.

`image`, `index`, `artifact`, ... make a `Content`: a manifest with all that is
pushed before it. Where a layer is wanted, a text stands for a small layer that
holds one file of that name. Nothing here knows of trees; nothing of regfs is used.

    base = layer({"etc/hello": b"x"})
    index(image([base]), image([base, "more"], platform="linux/arm64"))
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
IN_TOTO = "application/vnd.in-toto+json"
ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
PROVENANCE = "https://slsa.dev/provenance/v1"

Document = dict[str, Any]


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def dumps(document: object) -> bytes:
    """Return the JSON of a document, with the same bytes every time."""
    return json.dumps(document, separators=(",", ":")).encode()


def tar(files: Mapping[str, bytes | tarfile.TarInfo | None]) -> bytes:
    """Return a tar of `files`: bytes are a file, None is a folder, a TarInfo is itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            data = content if isinstance(content, bytes) else b""
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def layer(files: Mapping[str, bytes | tarfile.TarInfo | None]) -> bytes:
    """Return a gzipped layer that holds `files`; the same bytes every time."""
    return gzip.compress(tar(files), mtime=0)


@dataclass(frozen=True)
class Blob:
    """A config or layer with what its descriptor says beyond the usual."""

    data: bytes
    media_type: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the descriptor: annotations, urls, data, or a wrong size."""
    stored: bool = True
    """False: named and not pushed, as foreign layers are."""
    algorithm: str = "sha256"
    """Of the digest in the descriptor; the blob itself is always stored by sha256."""

    @property
    def digest(self) -> str:
        return digest_of(self.data, self.algorithm)

    def descriptor(self, media_type: str) -> Document:
        own = {"mediaType": self.media_type or media_type, "digest": self.digest}
        return {**own, "size": len(self.data), **self.extra}

    def diff_id(self) -> str:
        plain = gzip.decompress(self.data) if self.data.startswith(b"\x1f\x8b") else self.data
        return digest_of(plain)


Layer = bytes | str | Blob


def blob_of(content: Layer) -> Blob:
    """Return `content` as a Blob; a text becomes a small layer with one file of that name."""
    if isinstance(content, str):
        content = layer({content: content.encode()})
    return content if isinstance(content, Blob) else Blob(content)


@dataclass(frozen=True)
class Content:
    """A manifest and what is pushed before it."""

    data: bytes
    media_type: str
    blobs: tuple[Blob, ...] = ()
    children: tuple[Content, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)
    """What an index says about it beside type, digest and size."""

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def document(self) -> Document:
        return dict(json.loads(self.data))

    def descriptor(self) -> Document:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


Subject = Content | str | None


def _optional(subject: Subject, **fields: object) -> Document:
    """Return the fields that have a value, and the descriptor of the subject if there is one."""
    document: Document = {name: value for name, value in fields.items() if value is not None}
    if isinstance(subject, Content):
        document["subject"] = subject.descriptor()
    elif subject is not None:
        document["subject"] = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 2}
    return document


def _platform(text: str) -> Document:
    system, architecture, *variant = text.split("/")
    platform = {"architecture": architecture, "os": system}
    return platform | ({"variant": variant[0]} if variant else {})


def image(
    layers: Sequence[Layer] = ("hello",),
    config: Mapping[str, Any] | bytes | None = None,
    *,
    docker: bool = False,
    platform: str = "linux/amd64",
    config_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: Subject = None,
    media_type: bool = True,
) -> Content:
    """Return an image manifest; a `config` of bytes is taken as it is, a mapping is added.

    `media_type=False` leaves the field of that name out, as OCI allows.
    """
    blobs = [blob_of(content) for content in layers]
    if not isinstance(config, bytes):
        diff_ids = [blob.diff_id() for blob in blobs]
        history = [{"created_by": f"step {number}"} for number in range(len(blobs))]
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        own: Document = {**_platform(platform), "rootfs": rootfs, "history": history}
        config = dumps({**own, **(config or {})})
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    config_type = config_type or (DOCKER_CONFIG if docker else OCI_CONFIG)
    layer_type = DOCKER_LAYER if docker else OCI_LAYER
    document: Document = {"schemaVersion": 2, **({"mediaType": kind} if media_type else {})}
    document |= _optional(None, artifactType=artifact_type)
    document["config"] = Blob(config).descriptor(config_type)
    document["layers"] = [blob.descriptor(layer_type) for blob in blobs]
    document |= _optional(subject, annotations=annotations)
    entry = {"platform": _platform(platform)}
    return Content(dumps(document), kind, (Blob(config), *blobs), entry=entry)


def artifact(
    blobs: Sequence[Layer] = ("sbom",),
    *,
    subject: Subject = None,
    artifact_type: str = "application/spdx+json",
    annotations: Mapping[str, str] | None = None,
) -> Content:
    """Return an artifact as OCI 1.1 wants it: an image manifest with an empty config."""
    made = image(
        blobs,
        b"{}",
        config_type=OCI_EMPTY,
        artifact_type=artifact_type,
        subject=subject,
        annotations=annotations,
    )
    return Content(made.data, made.media_type, made.blobs, entry={"artifactType": artifact_type})


def index(
    *children: Content | Blob,
    sparse: Sequence[Content] = (),
    docker: bool = False,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: Subject = None,
    media_type: bool = True,
) -> Content:
    """Return an index of manifests (or of layers, as BuildKit's cache); `sparse` are not pushed."""
    kind = DOCKER_LIST if docker else OCI_INDEX
    document: Document = {"schemaVersion": 2, **({"mediaType": kind} if media_type else {})}
    document |= _optional(None, artifactType=artifact_type)
    document["manifests"] = [
        child.descriptor(DOCKER_LAYER if docker else OCI_LAYER)
        if isinstance(child, Blob)
        else {**child.descriptor(), **child.entry}
        for child in (*children, *sparse)
    ]
    document |= _optional(subject, annotations=annotations)
    manifests = tuple(child for child in children if isinstance(child, Content))
    blobs = tuple(child for child in children if isinstance(child, Blob))
    return Content(dumps(document), kind, blobs, manifests)


def subject_index(subject: Content, **fields: Any) -> Content:
    """Return an index that is about something."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], **fields}
    return raw(dumps({**document, "subject": subject.descriptor()}), OCI_INDEX)


def attestation(
    subject: Content, *statements: bytes, types: Sequence[str] = (PROVENANCE,), old: bool = False
) -> Content:
    """Return BuildKit's attestation of an image, to stand beside it in an index.

    `types` are those of the statements, as annotations name them; an `old` one has no subject.
    """
    bodies = [
        Blob(data, IN_TOTO, {"annotations": {"in-toto.io/predicate-type": kind}})
        for data, kind in zip(statements or [provenance_of(subject)], types, strict=True)
    ]
    if old:
        made = image(bodies, b'{"architecture":"unknown","os":"unknown"}')
    else:
        made = artifact(bodies, subject=subject, artifact_type=ATTESTATION)
    notes = {
        "vnd.docker.reference.digest": subject.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    entry = {"annotations": notes, "platform": _platform("unknown/unknown")}
    return Content(made.data, made.media_type, made.blobs, entry=entry)


def provenance_of(subject: Content) -> bytes:
    """Return a statement that says next to nothing about an image."""
    digest = {"sha256": subject.digest.partition(":")[2]}
    return dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": PROVENANCE,
            "subject": [{"name": "app", "digest": digest}],
            "predicate": {},
        }
    )


def buildkit(built: Content) -> Content:
    """Return what `docker buildx build --push` makes of an image: an index with an attestation."""
    return index(built, attestation(built))


def cache_index(layers: Sequence[Layer] = ("cached",), *, docker: bool = False) -> Content:
    """Return BuildKit's registry cache in its index form: an index of layers and its config."""
    blobs = [blob_of(content) for content in layers]
    rows = [{"blob": blob.digest, "parent": -1} for blob in blobs]
    config = Blob(dumps({"layers": rows, "records": []}), CACHE_CONFIG)
    return index(*blobs, config, docker=docker)


def raw(
    data: bytes | Document,
    media_type: str = OCI_MANIFEST,
    blobs: Sequence[Layer] = (),
    children: Sequence[Content] = (),
) -> Content:
    """Return any bytes or document as a manifest."""
    content = data if isinstance(data, bytes) else dumps(data)
    return Content(content, media_type, tuple(map(blob_of, blobs)), tuple(children))


def oci_artifact(blobs: Sequence[Layer] = ("sbom",), *, subject: Subject = None) -> Content:
    """Return a manifest of the withdrawn OCI artifact type."""
    made = [blob_of(content) for content in blobs]
    document: Document = {"mediaType": OCI_ARTIFACT, "artifactType": "application/spdx+json"}
    document["blobs"] = [blob.descriptor("application/octet-stream") for blob in made]
    return raw({**document, **_optional(subject)}, OCI_ARTIFACT, made)


def schema1(name: str, tag: str, layers: Sequence[Layer] = ("hello",)) -> Content:
    """Return a Docker schema 1 manifest, with a signature that has the form of one."""
    blobs = [blob_of(content) for content in layers]
    history = dumps({"id": "0" * 64, "architecture": "amd64", "os": "linux"}).decode()
    document: Document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": blob.digest} for blob in reversed(blobs)],
        "history": [{"v1Compatibility": history} for _ in blobs],
    }
    payload = json.dumps(document, indent=3)
    body, tail = payload[:-2], payload[-2:]
    protected = {
        "formatLength": len(body),
        "formatTail": _base64(tail.encode()),
        "time": "2015-01-01T00:00:00Z",
    }
    signature = {
        "header": {"alg": "ES256", "jwk": {"crv": "P-256", "kty": "EC", "x": "AA", "y": "AA"}},
        "signature": _base64(b"\0" * 64),
        "protected": _base64(dumps(protected)),
    }
    signed = f'{body},\n   "signatures": [{json.dumps(signature)}]{tail}'
    return raw(signed.encode(), DOCKER_SCHEMA1, blobs)


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
