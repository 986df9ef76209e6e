"""Uploads of a tree, sent and committed in one call."""

from __future__ import annotations

from typing import Any

from regfs.digest import Digest
from regfs.push.uploads import Upload, Uploads
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder

DATA = b"0123456789" * 30
SHA256, SHA512 = Digest.of(DATA), Digest.of(DATA, "sha512")


def uploads_of(tree: TreeBuilder, **options: Any) -> Uploads:
    """Return the uploads of a tree as a server that has just begun sees them."""
    return Uploads(Registry(open_store(str(tree.root))), timeout=0, **options)


def send(some: Uploads, upload: Upload, data: bytes, start: int | None = None) -> Upload:
    with some.receive(upload.name, upload.id, start=start) as reception:
        reception.write(data)
    return some.status(upload.name, upload.id)


def commit(some: Uploads, upload: Upload, digest: Digest, data: bytes = b"") -> Digest:
    with some.receive(upload.name, upload.id) as reception:
        reception.write(data)
        return reception.commit(digest)


def push(tree: TreeBuilder, data: bytes, name: str = "app", algorithm: str = "sha256") -> Digest:
    some = uploads_of(tree)
    return commit(some, some.begin(name, algorithm), Digest.of(data, algorithm), data)


def layer_is(tree: TreeBuilder, name: str, digest: Digest, data: bytes) -> bool:
    link, blob = tree.layer_path(name, digest), tree.blob_path(digest)
    return link.read_bytes() == digest.encode() and blob.read_bytes() == data


def mount(
    tree: TreeBuilder, source: str | None, digest: Digest = SHA256, may: tuple[str, ...] = ()
) -> bool:
    return uploads_of(tree).mount("target", digest, source, lambda name: not may or name in may)
