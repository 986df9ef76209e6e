"""All that one image consists of, by point reads: which of it a repository has, and its sizes.

    image_parts(registry, "app", digest)  ->  ImageParts("whole", manifests, blobs, layers, ...)

A manifest is read with those that it lists, however deep; what a referrer is about is no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from regfs import layout
from regfs.digest import Digest, digests_in
from regfs.errors import ManifestUnknown, RegfsError, StoreError, Unknown
from regfs.manifests import UnknownManifest
from regfs.manifests.media_types import Role
from regfs.tree.registry import Registry


@dataclass(slots=True)
class ImageParts:
    """A manifest with all that it names."""

    state: str = "whole"
    """`whole`; `partial`: an index, and the repository does not have each manifest that it lists;
    `incomplete`: content is missing; `gone`: the repository does not have the manifest;
    `unreadable`."""
    problem: str | None = None
    """What is missing first, or why it cannot be read."""
    kind: str | None = None
    sizes: dict[Digest, int] = field(default_factory=dict)
    """Bytes of the manifests and of all they name, by descriptors."""
    layers: dict[Digest, int] = field(default_factory=dict)
    manifests: dict[Digest, Digest] = field(default_factory=dict)
    """Manifest -> the digest by which it is stored; what is listed comes before its index."""
    blobs: dict[Digest, Digest] = field(default_factory=dict)
    """Each blob that a manifest names anywhere and the repository has, likewise."""

    @property
    def is_servable(self) -> bool:
        """Whether a registry serves it: whole, or an index without some of its platforms."""
        return self.state in ("whole", "partial")

    def lacks(self, state: str, problem: str) -> None:
        """Note what is missing; the first counts, unless something worse follows."""
        if self.state == "whole" or (self.state == "partial" and state != "partial"):
            self.state, self.problem = state, problem


def image_parts(registry: Registry, name: str | None, digest: Digest) -> ImageParts:
    """Return what a manifest of a repository consists of; without `name`, by blobs alone."""
    return _PartsReader(registry, name).read(digest)


class _PartsReader:
    """Reads one image."""

    def __init__(self, registry: Registry, name: str | None) -> None:
        self._registry = registry
        self._name = name
        self._found = ImageParts()

    def read(self, digest: Digest) -> ImageParts:
        found = self._found
        children: dict[Digest, list[Digest]] = {}
        pending = [digest]
        while pending:  # not by recursion: indexes can be nested as deeply as anybody likes
            one = pending.pop()
            if one not in children:
                children[one] = list(self._add(one, is_first=one == digest))
                pending += children[one]
        order = TopologicalSorter(children).static_order()
        found.manifests = {one: found.manifests[one] for one in order if one in found.manifests}
        return found

    def _add(self, digest: Digest, *, is_first: bool) -> Iterator[Digest]:
        """Add what a manifest names; yield the manifests that it lists."""
        found, registry = self._found, self._registry
        try:
            stored = digest if self._name is None else registry.revision(self._name, digest)
            data = registry.manifest_bytes(stored)
            manifest = registry.manifest(stored)
        except Unknown as error:
            is_linked = not isinstance(error, ManifestUnknown)
            state = "incomplete" if is_linked and self._name else "gone" if is_first else "partial"
            found.lacks(state, f"{self._name or 'the tree'} does not have manifest {digest}")
            return
        except RegfsError as error:
            found.lacks("unreadable" if is_first else "incomplete", str(error))
            return
        if isinstance(manifest, UnknownManifest) and not self._is_manifest(digest):
            # A config is JSON too: only the link says that this was pushed as a manifest.
            found.lacks("gone" if is_first else "incomplete", f"{digest} is no manifest")
            return
        found.manifests[digest] = stored
        found.sizes[stored] = len(data)
        found.kind = manifest.kind.value if is_first else found.kind
        if isinstance(manifest, UnknownManifest):  # it may mean anything by a digest
            yield from (one for one in manifest.digests if self._is_manifest(one))
        for one in () if isinstance(manifest, UnknownManifest) else manifest.references():
            if one.role is Role.MANIFEST:
                found.sizes.setdefault(one.digest, max(one.size, 0))
                yield one.digest
            elif one.role is not Role.SUBJECT:
                found.sizes[one.digest] = max(one.size, 0)
                if one.role is Role.LAYER:
                    found.layers[one.digest] = one.size
                if self._stored(one.digest) is None and not one.elsewhere:
                    found.lacks("incomplete", f"{one.role} {one.digest} is missing")
        # Some tools name blobs in annotations only.
        for blob in {*digests_in(data), *manifest.noted}:
            if (found_as := self._stored(blob)) is not None and blob not in found.manifests:
                found.blobs[blob] = found_as

    def _is_manifest(self, digest: Digest) -> bool:
        """Return whether the repository surely has a manifest."""
        try:
            key = layout.RevisionLink(self._name or "", digest)
            return self._name is not None and self._registry.linked(key) is not None
        except StoreError:
            return False

    def _stored(self, blob: Digest) -> Digest | None:
        """Return the digest by which a blob is stored; None if it is not there."""
        try:
            if self._name is None:
                self._registry.blob(blob)
                return blob
            linked = self._registry.linked(layout.LayerLink(self._name, blob))
        except (StoreError, Unknown):
            return None
        return None if linked is None else linked.digest
