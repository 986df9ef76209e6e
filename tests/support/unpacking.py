"""Layers packed in any way, images that fit them, and verify at level content."""

from __future__ import annotations

from typing import Any

from regfs.verify import Level, Result
from tests.support.builder import (
    Blob,
    Content,
    TreeBuilder,
    digest_of,
    image,
    tar,
)
from tests.support.packings import PACKINGS
from tests.support.verification import check

OCI_TAR = "application/vnd.oci.image.layer.v1.tar"
SUFFIXES = {"tar": "", "gzip": "+gzip", "zstd": "+zstd"}
FILES = tar({"etc/": None, "etc/hello": b"hello" * 100})


def verify(tree: TreeBuilder, *targets: str, **options: Any) -> Result:
    return check(tree, *targets, level=Level.CONTENT, **options)


def packed(way: str, data: bytes = FILES) -> Blob:
    """Return a layer packed in one way of PACKINGS, with the media type that says so."""
    first = way.replace(":", " ").replace(",", " ").split()[0]
    return Blob(PACKINGS[way](data), OCI_TAR + SUFFIXES[first])


def fitting(*layers: tuple[Blob, bytes], **more: Any) -> Content:
    """Return an image whose config has the diffIDs of these tars."""
    rootfs = {"type": "layers", "diff_ids": [digest_of(data) for _, data in layers]}
    return image([blob for blob, _ in layers], {"rootfs": rootfs, **more})
