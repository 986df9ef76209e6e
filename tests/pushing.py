"""Pushing by the library, as the server does, without HTTP."""

from __future__ import annotations

from typing import Any

from regfs.digest import Digest
from regfs.publishing import Published, Publisher
from regfs.registry import Registry
from regfs.stores import open_store
from regfs.uploads import Uploads
from tests.builder import Blob, Content, TreeBuilder


class Pusher:
    """Somebody who pushes into a store, and waits for no run."""

    def __init__(self, store: Any) -> None:
        self.registry = Registry(store)
        self.uploads = Uploads(self.registry, patience=0)
        self.publisher = Publisher(self.registry, patience=0)

    def add_blob(self, name: str, blob: Blob) -> Digest:
        """Push a blob under the digest that its descriptor says."""
        upload = self.uploads.begin(name, blob.algorithm)
        with self.uploads.receive(name, upload.id) as reception:
            reception.write(blob.data)
            return reception.commit(Digest(blob.digest))

    def before(self, name: str, content: Content) -> None:
        """Push everything that a manifest names."""
        for child in content.children:
            self.push(name, None, child)
        for blob in content.blobs:
            if blob.stored:
                self.add_blob(name, blob)

    def push(self, name: str, tag: str | None, content: Content) -> Published:
        """Push a manifest with all that belongs to it; by digest only when `tag` is None."""
        self.before(name, content)
        return self.put(name, tag, content)

    def put(self, name: str, tag: str | None, content: Content) -> Published:
        """Put a manifest, and nothing else."""
        digest = Digest(content.digest) if tag is None else None
        tags = [] if tag is None else [tag]
        put = self.publisher.put
        return put(name, content.data, media_type=content.media_type, digest=digest, tags=tags)


def pusher(tree: TreeBuilder) -> Pusher:
    """Return somebody who pushes into a tree."""
    return Pusher(open_store(str(tree.root)))
