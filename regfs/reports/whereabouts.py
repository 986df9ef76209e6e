"""Where each part of an image lies on the disk: the report of `show --paths`. Looks, reads nothing.

tag        docker/registry/v2/repositories/app/_manifests/tags/v1/current/link
manifest   docker/registry/v2/blobs/sha256/48/48a4.../data
revision   docker/registry/v2/repositories/app/_manifests/revisions/sha256/48a4.../link
layer      docker/registry/v2/blobs/sha256/25/2531.../data
layer link docker/registry/v2/repositories/app/_layers/sha256/25b1.../link
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from regfs import layout
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.graph import Graph
from regfs.stores import Store, stat_or_none
from regfs.tree.oci import INDEX, blob_place
from regfs.tree.registry import Target


@dataclass(frozen=True, slots=True)
class ImagePath:
    """A file of an image."""

    what: str
    """`tag`, `tag history`, `manifest`, `revision`, `config`, `layer`, `blob` or `layer link`."""
    digest: str
    path: str
    """Relative to the root."""
    state: str
    """`there`, `missing` or `unseen`, when its place cannot be looked at."""


def image_paths(graph: Graph, store: Store, target: Target, digest: Digest) -> list[ImagePath]:
    """Return where the manifest `digest` lies, which `target` led to, and all that it needs.

    Links are those of the repository that `target` names; without one there are none.
    """
    found = []
    for what, one, key in _keys(graph, target, digest):
        path = layout.path_of(key)
        place = _in_layout(key) if graph.inventory.oci_layout else path
        if place is None:
            continue
        try:
            state = "missing" if stat_or_none(store, path) is None else "there"
        except StoreError:
            state = "unseen"
        found.append(ImagePath(what, one, place, state))
    return found


def _in_layout(key: layout.Key) -> str | None:
    """Return where a part of an image lies in an OCI layout; None of what that does not have."""
    if isinstance(key, layout.BlobData):
        return blob_place(key.digest)
    return INDEX if isinstance(key, layout.TagCurrent) else None


def _keys(graph: Graph, target: Target, digest: Digest) -> Iterator[tuple[str, Digest, layout.Key]]:
    name = target.name
    if name is not None and target.tag is not None:
        yield "tag", digest, layout.TagCurrent(name, target.tag)
        yield "tag history", digest, layout.TagIndex(name, target.tag, digest)
    pending, seen = [digest], set()
    while pending:
        manifest = pending.pop()
        if manifest in seen:
            continue
        seen.add(manifest)
        yield "manifest", manifest, layout.BlobData(manifest)
        if name is not None:
            yield "revision", manifest, layout.RevisionLink(name, manifest)
        for leaf in graph.leaves(manifest):
            if leaf.digest in seen:
                continue
            seen.add(leaf.digest)
            yield leaf.role.value, leaf.digest, layout.BlobData(_stored(graph, leaf.digest))
            if name is not None:
                yield "layer link", leaf.digest, layout.LayerLink(name, leaf.digest)
        pending.extend(reversed(graph.children(manifest)))


def _stored(graph: Graph, digest: Digest) -> Digest:
    """Return the digest by which a blob is stored: registries may store sha512 by sha256."""
    return next((one for one in graph.named_as(digest) if one in graph.inventory.blobs), digest)
