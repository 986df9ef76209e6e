"""Pushing by the library, as the server does, without HTTP.

python -m tests.support.pusher ROOT       one process that changes a tree, to be killed
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from regfs.digest import Digest
from regfs.errors import ManifestUnknown
from regfs.push.manifests import Published, Publisher
from regfs.push.uploads import Uploads
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import Blob, Content, TreeBuilder, image, index

OLD = image(["base", "old"])
NEW = index(image(["base", "new"]), image(["base", "arm"], platform="linux/arm64"))


class Pusher:
    """Somebody who pushes into a store, and waits for no run."""

    def __init__(self, store: Any) -> None:
        self.registry = Registry(store)
        self.uploads = Uploads(self.registry, timeout=0)
        self.publisher = Publisher(self.registry, timeout=0)

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


def stock(tree: TreeBuilder) -> None:
    """Make what `change` begins with."""
    one = pusher(tree)
    for tag in ("v1", "stays", "goes"):
        one.push("app", tag, OLD)


def change(one: Pusher) -> None:
    """Push in pieces, move a tag, delete another one; it can be done again after any end."""
    for child in NEW.children:
        for blob in child.blobs:
            upload = one.uploads.begin("app")
            for piece in (blob.data[:40], blob.data[40:80]):
                with one.uploads.receive("app", upload.id) as reception:
                    reception.write(piece)
            with one.uploads.receive("app", upload.id) as reception:
                reception.write(blob.data[80:])
                reception.commit(Digest(blob.digest))
        one.put("app", None, child)
    one.put("app", "v1", NEW)
    with suppress(ManifestUnknown):
        one.publisher.delete_tag("app", "goes")


if __name__ == "__main__":
    change(Pusher(open_store(sys.argv[1])))
