"""Manifests, tags and links: what a push ends with, and what a client may delete.

    put       check everything that the manifest names, then write, in this order,
              blobs/<alg>/<xx>/<hex>/data                          the manifest, as it came
              _manifests/revisions/<alg>/<hex>/link
              _manifests/tags/<tag>/index/<alg>/<hex>/link
              _manifests/tags/<tag>/current/link
    delete    a tag: `current`, then its history
              a manifest: the tags that point to it, then its revision link
              a blob: the layer link of the repository

Each link is written after what it names and removed before it, so that a crash leaves garbage,
never a broken reference. Deleting removes links but no content, which is left to gc.

Only kinds of manifests that the reference registry knows are accepted: a single one of another
kind makes its garbage collector abort. For the same reason a manifest must have
`"schemaVersion": 2`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple
from zlib import crc32

from regfs import layout
from regfs.digest import CANONICAL, Digest
from regfs.errors import (
    BlobUnknown,
    ConditionFailed,
    ContentMismatch,
    ManifestInvalid,
    ManifestUnknown,
    PathUnsafe,
    ReferentsUnknown,
)
from regfs.findings import Finding
from regfs.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    LIMIT,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    Reference,
    Role,
    UnknownManifest,
    parse,
)
from regfs.names import check_name, check_tag
from regfs.runs.lock import LOCK_TIMEOUT, shared
from regfs.stores import FileKind, ignore, writable
from regfs.tree.links import parse_link_content
from regfs.tree.registry import Linked, Registry

ACCEPTED: Final = frozenset({OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST})
"""Media types of manifests that can be pushed."""
_LINK_LIMIT: Final = 1024
_STRIPES: Final = 64
_SHOWN: Final = 10


class Published(NamedTuple):
    """A manifest that was put."""

    digest: Digest
    subject: Digest | None
    tags: tuple[str, ...]


class Publisher:
    """Writes and deletes manifests, tags and links. May be used from several threads."""

    def __init__(
        self, registry: Registry, *, limit: int = LIMIT, timeout: float = LOCK_TIMEOUT
    ) -> None:
        """`limit` is in bytes; `timeout` how many seconds a change waits for a run to end."""
        self.registry = registry
        self.store = writable(registry.store)
        self._limit = limit
        self._timeout = timeout
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """Hold the right to change the links of a repository: one request at a time, and no run."""
        stripe = self._stripes[crc32(name.encode()) % _STRIPES]
        with shared(self.store, timeout=self._timeout), stripe:
            yield

    # -- put ---------------------------------------------------------------------------

    def put(
        self,
        name: str,
        data: bytes,
        *,
        media_type: str = "",
        digest: Digest | None = None,
        tags: Sequence[str] = (),
        only_if: Callable[[Digest | None], bool] | None = None,
    ) -> Published:
        """Put a manifest into a repository, and point tags to it.

        `media_type` is the Content-Type of the request, `digest` the expected digest. `only_if`
        gets what each tag points to, or without tags the manifest itself; None if there is
        nothing. Nobody else changes the repository between this check and the change.

        Raises:
            NameInvalid, TagInvalid: the name or a tag is invalid.
            ManifestTooLarge, ManifestInvalid: the manifest is not accepted.
            ContentMismatch: it has another digest.
            ReferentsUnknown: the repository lacks something that it names.
            ConditionFailed: `only_if` returned false.
            LockHeld: a run is under way.
        """
        check_name(name)
        for tag in tags:
            check_tag(tag)
        manifest = _accepted(data, media_type, self._limit)
        found = _digest_of(data, digest)
        with self._changing(name):
            if only_if is not None:
                self._see_to_condition(name, tags or [found], only_if)
            self._see_to_referents(name, manifest)
            self._write(layout.BlobData(found), data)
            self._write(layout.RevisionLink(name, found), found.encode())
            for tag in tags:
                self._write(layout.TagIndex(name, tag, found), found.encode())
                self._write(layout.TagCurrent(name, tag), found.encode())
        subject = None if manifest.subject is None else manifest.subject.digest
        return Published(found, subject, tuple(tags))

    def _see_to_condition(
        self, name: str, references: Sequence[str], only_if: Callable[[Digest | None], bool]
    ) -> None:
        for reference in references:
            there = self._there(name, reference)
            if not only_if(there):
                raise ConditionFailed(f"{name}: {reference} is {there or 'not there'}")

    def _there(self, name: str, reference: str) -> Digest | None:
        """Return what a client would get for a tag or digest; None if nothing."""
        try:
            if isinstance(reference, Digest):
                return self.registry.revision(name, reference) and reference
            return self.registry.tag(name, reference)
        except ManifestUnknown:
            return None

    def _write(self, key: layout.Key, content: bytes) -> None:
        with self.store.create(layout.path_of(key)) as file:
            file.write(content)

    def _see_to_referents(self, name: str, manifest: Manifest) -> None:
        """Check that a repository has everything that a manifest is made of.

        Raises:
            ReferentsUnknown: it lacks something.
        """
        missing, why = [], []
        for reference in dict.fromkeys(manifest.references()):
            if problem := self._problem(name, reference):
                missing.append(reference.digest)
                why.append(f"{reference.role} {reference.digest} {problem}")
        if missing:
            more = f" and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
            message = (
                f"{name} does not have what the manifest names: {', '.join(why[:_SHOWN])}{more}"
            )
            raise ReferentsUnknown(message, tuple(missing))

    def _problem(self, name: str, reference: Reference) -> str | None:
        """Return what is wrong with one referent of a manifest; None if nothing is."""
        if reference.role is Role.SUBJECT:
            return None  # it may be pushed later, or never
        there = self._found(name, reference)
        if there is None:
            if reference.elsewhere and reference.role is Role.LAYER:
                return None
            return "is not there, and has no urls" if reference.foreign else "is not there"
        if reference.size >= 0 and reference.size != there.size:
            return f"has {there.size} bytes and not {reference.size}"
        return None

    def _found(self, name: str, reference: Reference) -> Linked | None:
        there = None
        if reference.role is Role.MANIFEST:
            there = self.registry.linked(layout.RevisionLink(name, reference.digest))
            if there is not None or reference.media_type in MANIFEST_TYPES:
                return there
        return self.registry.linked(layout.LayerLink(name, reference.digest))

    # -- delete ------------------------------------------------------------------------

    def delete_tag(self, name: str, tag: str) -> None:
        """Delete a tag and its history; what it points to stays.

        Raises:
            ManifestUnknown: there is no such tag.
            LockHeld: a run is under way.
        """
        with self._changing(name):
            if not self._exists(layout.TagCurrent(name, tag)):
                raise ManifestUnknown(f"no such tag: {name}:{tag}")
            self._remove_tag(name, tag)

    def delete_manifest(self, name: str, digest: Digest) -> None:
        """Delete a manifest from a repository, and the tags that point to it.

        Raises:
            ManifestUnknown: the repository does not have it.
            LockHeld: a run is under way.
        """
        key = layout.RevisionLink(name, digest)
        with self._changing(name):
            if not self._exists(key):
                raise ManifestUnknown(f"no such manifest in {name}: {digest}")
            for tag in list(self._tags_of(name, digest)):
                self._remove_tag(name, tag)
            self._remove(key)

    def delete_blob(self, name: str, digest: Digest) -> None:
        """Delete the link that lets a repository serve a blob.

        Raises:
            BlobUnknown: the repository does not have it.
            LockHeld: a run is under way.
        """
        key = layout.LayerLink(name, digest)
        with self._changing(name):
            if not self._exists(key):
                raise BlobUnknown(f"no such blob in {name}: {digest}")
            self._remove(key)

    def _exists(self, key: layout.Key) -> bool:
        path = layout.path_of(key)
        folder = layout.parent_of(path)
        return any(
            entry.path == path and entry.kind is FileKind.FILE
            for entry in self.store.list(folder, ignore)
        )

    def _tags_of(self, name: str, digest: Digest) -> Iterator[str]:
        """Yield the tags that point to a manifest."""
        folder = layout.tags_folder(name)
        leaves = self.store.leaves(folder, "current/link", ignore, limit=_LINK_LIMIT)
        for tag, content in zip(leaves.names, leaves.contents, strict=True):
            if parse_link_content(content).digest == digest:
                yield tag

    def _remove(self, key: layout.LayerLink | layout.RevisionLink) -> None:
        """Remove a link, and its folder if that is empty then."""
        path = layout.path_of(key)
        folder = layout.parent_of(path)
        self.store.delete([path])
        self.store.sync(folder)
        self.store.delete([folder])

    def _remove_tag(self, name: str, tag: str) -> None:
        """Remove the links of a tag, then its folders if they are empty."""
        folder = layout.tag_folder(name, tag)
        current = layout.path_of(layout.TagCurrent(name, tag))
        strange: list[Finding] = []
        below = list(self.store.walk(folder, strange.append))
        if strange:
            # Through a symbolic link this could delete another tag.
            raise PathUnsafe(f"{strange[0]}; the tag is left as it is")
        links = [e.path for e in below if isinstance(layout.key_of(e.path), layout.TagIndex)]
        folders = [e.path for e in below if e.kind is FileKind.FOLDER]
        self.store.delete([current])
        self.store.sync(layout.parent_of(current))
        self.store.delete(links)
        self.store.delete([*sorted(folders, reverse=True), folder])


def _digest_of(data: bytes, expected: Digest | None) -> Digest:
    found = Digest.of(data, CANONICAL if expected is None else expected.algorithm)
    if expected is not None and found != expected:
        raise ContentMismatch(f"the manifest is {found}, not {expected}")
    return found


def _accepted(data: bytes, media_type: str, limit: int) -> Manifest:
    """Parse a manifest that may be pushed.

    Raises:
        ManifestTooLarge, ManifestInvalid: it is not accepted.
    """
    manifest = parse(data, limit=limit)
    if isinstance(manifest, UnknownManifest):
        raise ManifestInvalid(f"cannot push this manifest: {manifest.problem}")
    if manifest.media_type not in ACCEPTED:
        raise ManifestInvalid(f"manifests of type {manifest.media_type} are not accepted")
    if "schema_version" not in manifest.model_fields_set:
        raise ManifestInvalid("schemaVersion is missing")
    outside = media_type.partition(";")[0].strip().lower()
    if outside and outside != manifest.media_type:
        raise ManifestInvalid(f"Content-Type is {outside}, but this is {manifest.media_type}")
    return manifest
