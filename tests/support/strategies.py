"""Hypothesis strategies for whatever stands in a registry: digests, names, keys, manifests.

`names` and `tags` are what clients may use, `disk_names` and `disk_tags` what a
disk can hold besides. `manifest_documents` are parsed JSON, `manifests` bytes.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from regfs import layout
from regfs.digest import ALGORITHMS, Digest

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"

Document = dict[str, Any]


def digests(*algorithms: str) -> SearchStrategy[Digest]:
    """Digests, of any supported algorithm unless some are named."""

    def of(algorithm: str) -> SearchStrategy[Digest]:
        size = ALGORITHMS[algorithm] // 2
        content = st.binary(min_size=size, max_size=size)
        return content.map(lambda data: Digest.parse(f"{algorithm}:{data.hex()}"))

    return st.sampled_from(algorithms or tuple(ALGORITHMS)).flatmap(of)


# Names, tags, paths

_WORDS = st.text("abcxyz0189", min_size=1, max_size=6)


@st.composite
def components(draw: st.DrawFn) -> str:
    """One component of a legal name."""
    first, *more = draw(st.lists(_WORDS, min_size=1, max_size=3))
    separators = st.sampled_from([".", "_", "__", "-", "--", "---"])
    return first + "".join(draw(separators) + word for word in more)


_RESERVED = ["tags/list", "blobs/uploads", "manifests/x", "link", "data", "current", "index"]


def names() -> SearchStrategy[str]:
    """Legal names of repositories, some of them made to confuse."""
    plain = st.lists(components(), min_size=1, max_size=3).map("/".join)
    hosts = st.sampled_from(["Team", "My-Host.io", "localhost", "A.B-c"])
    return plain | st.sampled_from(_RESERVED) | st.builds("{}/{}".format, hosts, plain)


def tags() -> SearchStrategy[str]:
    """Legal tags."""
    first = st.sampled_from("abzAZ09_")
    rest = st.text("abzAZ09_.-", max_size=127)
    special = st.sampled_from(["latest", "link", "current", "index", "_layers", "data"])
    fallback = digests("sha256").map(lambda digest: digest.replace(":", "-"))
    return st.builds("{}{}".format, first, rest) | special | fallback


def _wild() -> SearchStrategy[str]:
    """One component of a path as a disk may hold it, bytes that are no text included."""
    data = st.binary(min_size=1, max_size=12).map(lambda data: data.replace(b"/", b"."))
    decoded = data.map(lambda data: data.replace(b"\0", b"-").decode("utf-8", "surrogateescape"))
    return decoded.filter(lambda text: text not in (".", ".."))


def disk_names() -> SearchStrategy[str]:
    """Names of repositories as folders on a disk, legal or not."""
    parts = _wild().filter(lambda text: not text.startswith("_"))
    return names() | st.lists(parts, min_size=1, max_size=3).map("/".join)


def disk_tags() -> SearchStrategy[str]:
    """Names of folders in `tags`, legal or not."""
    return tags() | _wild()


def upload_ids() -> SearchStrategy[str]:
    """Ids of uploads, and other names that a folder in `_uploads` can have."""
    return st.uuids().map(str) | _wild()


def keys() -> SearchStrategy[layout.Key]:
    """Keys of every class but Foreign."""
    name, digest = disk_names(), digests()
    types = st.sampled_from(["application/vnd.example+json", "_", "a/sha256/b", "link"])
    offsets = st.integers(0, 10**19 - 1)
    parts = st.binary(min_size=8, max_size=8).map(bytes.hex)
    return st.one_of(
        st.builds(layout.BlobData, digest),
        st.builds(layout.LayerLink, name, digest),
        st.builds(layout.RevisionLink, name, digest),
        st.builds(layout.SignatureLink, name, digest, digest),
        st.builds(layout.ReferrerLink, name, digest, types, digest),
        st.builds(layout.TagCurrent, name, disk_tags()),
        st.builds(layout.TagIndex, name, disk_tags(), digest),
        st.builds(layout.UploadData, name, upload_ids(), st.just("") | parts),
        st.builds(layout.UploadStartedAt, name, upload_ids()),
        st.builds(
            layout.UploadHashState, name, upload_ids(), st.sampled_from([*ALGORITHMS]), offsets
        ),
    )


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Paths below a root: of the layout, nearly of the layout, and anything else."""
    parts = draw(keys().map(layout.path_of) | st.just(layout.REPOSITORIES)).split("/")
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(parts) - 1))
        part = draw(_wild() | st.sampled_from(parts))
        parts[place : place + draw(st.integers(0, 1))] = [part]
    return "/".join(parts)


# Manifests

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_EXTRAS = st.dictionaries(_TEXT.map("x-{}".format), _JSON, max_size=2)
_ANNOTATIONS = st.dictionaries(_TEXT, _TEXT, max_size=3)
_PLATFORMS = st.sampled_from(
    [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
        {"architecture": "amd64", "os": "windows", "os.version": "10.0.20348.1", "os.features": []},
        {"architecture": "unknown", "os": "unknown"},
    ]
)
LAYER_TYPES = [
    f"{OCI}.layer.v1.tar",
    f"{OCI}.layer.v1.tar+gzip",
    f"{OCI}.layer.v1.tar+zstd",
    f"{OCI}.layer.nondistributable.v1.tar+gzip",
    f"{DOCKER}.image.rootfs.diff.tar.gzip",
    f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.example.layer",
]
CONFIG_TYPES = [
    f"{OCI}.config.v1+json",
    f"{DOCKER}.container.image.v1+json",
    "application/vnd.oci.empty.v1+json",
    "application/vnd.buildkit.cacheconfig.v0",
    "application/vnd.example.config",
]
CHILD_TYPES = [
    f"{OCI}.manifest.v1+json",
    f"{OCI}.index.v1+json",
    f"{DOCKER}.distribution.manifest.v2+json",
    f"{DOCKER}.distribution.manifest.list.v2+json",
    "application/vnd.example.manifest",
]


@st.composite
def descriptors(draw: st.DrawFn, *media_types: str) -> Document:
    """Descriptors, as parsed JSON."""
    optional = {
        "urls": st.lists(_TEXT, max_size=2),
        "annotations": _ANNOTATIONS,
        "platform": _PLATFORMS,
        "artifactType": _TEXT,
        "data": st.binary(max_size=6).map(lambda data: data.hex()),
    }
    document = draw(_EXTRAS)
    document |= {
        "mediaType": draw(st.sampled_from(media_types)),
        "digest": str(draw(digests())),
        "size": draw(st.integers(0, 2**63 - 1)),
    }
    return document | draw(st.fixed_dictionaries({}, optional=optional))


def _common() -> SearchStrategy[Document]:
    subject = descriptors(*CHILD_TYPES)
    optional = {"annotations": _ANNOTATIONS, "artifactType": _TEXT, "subject": subject}
    fixed = st.fixed_dictionaries({"schemaVersion": st.just(2)}, optional=optional)
    return st.builds(lambda extras, known: {**extras, **known}, _EXTRAS, fixed)


@st.composite
def image_documents(draw: st.DrawFn) -> Document:
    """Image manifests, OCI (with and without a media type) and Docker, as parsed JSON."""
    kinds = [f"{OCI}.manifest.v1+json", f"{DOCKER}.distribution.manifest.v2+json", None]
    kind = draw(st.sampled_from(kinds))
    layers = st.lists(descriptors(*LAYER_TYPES), max_size=4)
    return draw(_common()) | {
        **({"mediaType": kind} if kind else {}),
        "config": draw(descriptors(*CONFIG_TYPES)),
        "layers": draw(layers),
    }


@st.composite
def index_documents(draw: st.DrawFn) -> Document:
    """Indexes, OCI (with and without a media type) and Docker, as parsed JSON."""
    kinds = [f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json", None]
    kind = draw(st.sampled_from(kinds))
    entries = st.lists(descriptors(*CHILD_TYPES, *LAYER_TYPES), max_size=4)
    return draw(_common()) | {
        **({"mediaType": kind} if kind else {}),
        "manifests": draw(entries),
    }


@st.composite
def artifact_documents(draw: st.DrawFn) -> Document:
    """Artifact manifests, as parsed JSON."""
    document = draw(_common())
    del document["schemaVersion"]
    kinds = ["oci.artifact.manifest.v1+json", "cncf.oras.artifact.manifest.v1+json"]
    kind = "application/vnd." + draw(st.sampled_from(kinds))
    blobs = st.lists(descriptors("application/vnd.example"), max_size=3)
    return document | {"mediaType": kind, "blobs": draw(blobs)}


@st.composite
def schema1_documents(draw: st.DrawFn) -> Document:
    """Docker manifests of schema 1, unsigned, as parsed JSON."""
    layers = draw(st.lists(digests("sha256"), min_size=1, max_size=4))
    return {
        "schemaVersion": 1,
        "name": draw(names()),
        "tag": draw(tags()),
        "architecture": "amd64",
        "fsLayers": [{"blobSum": str(digest)} for digest in layers],
        "history": [{"v1Compatibility": json.dumps({"id": digest.encoded})} for digest in layers],
    }


def manifest_documents() -> SearchStrategy[Document]:
    """Sound manifests of every kind that regfs knows, as parsed JSON."""
    return st.one_of(
        image_documents(), index_documents(), artifact_documents(), schema1_documents()
    )


@st.composite
def spelled(draw: st.DrawFn, document: Document) -> bytes:
    """One of the many ways in which `document` can be written."""
    items = draw(st.permutations(list(document.items())))
    indent, ascii_only = draw(st.sampled_from([None, 0, 3])), draw(st.booleans())
    return json.dumps(dict(items), indent=indent, ensure_ascii=ascii_only).encode()


def manifests() -> SearchStrategy[bytes]:
    """Sound manifests of every kind that regfs knows, as bytes."""
    return manifest_documents().flatmap(spelled)
