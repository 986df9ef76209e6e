"""What the images of an OCI layout need, repository by repository: the links that a push makes.

    entries of index.json -> LayoutRepositories -> name -> revisions, blobs, tags

A layout has no links, so every manifest that an entry reaches is read here, once. Bytes are not
verified: a link gives nothing away in a layout that anybody can read, and whoever reads the graph
or verifies it hashes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from regfs.digest import Digest
from regfs.errors import NotARegistry, RegfsError
from regfs.manifests.media_types import (
    LIMIT,
    MANIFEST_TYPES,
    Kind,
    Reference,
    Role,
    is_blob_type,
)
from regfs.manifests.skim import skim
from regfs.tree.oci.index import LayoutImage

if TYPE_CHECKING:
    from regfs.manifests import Manifest

MOST_LINKS: Final = 4_000_000
"""Links that are made: 32 MB of index can name a thousand times as many."""

Read = Callable[[Digest, int], bytes]
"""Digest and limit -> the first bytes of a blob; raises StoreError."""


@dataclass(slots=True)
class RepositoryLinks:
    """What one repository links."""

    revisions: dict[Digest, None] = field(default_factory=dict)
    blobs: dict[Digest, None] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)


class _ManifestParts(NamedTuple):
    """What a manifest names."""

    children: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()
    subject: Digest | None = None


class LayoutRepositories:
    """Finds what each repository links."""

    def __init__(self, sizes: dict[Digest, int], read: Read, default: str) -> None:
        """`sizes` are those of all blobs; `default` is the repository of what has no name."""
        self._sizes = sizes
        self._read = read
        self._default = default
        self._found: dict[str, RepositoryLinks] = {}
        self._homes: dict[Digest, list[str]] = {}
        """Manifest -> the repositories that have it."""
        self._parts: dict[Digest, _ManifestParts] = {}
        self._links = 0

    def of(self, entries: Iterable[LayoutImage]) -> dict[str, RepositoryLinks]:
        """Return the repositories by name.

        Raises:
            NotARegistry: they would link more than is held.
        """
        unnamed: dict[Digest, LayoutImage] = {}
        for entry in entries:
            if not entry.repository:
                unnamed[entry.digest] = entry
                continue
            self._add(entry, entry.repository)
            if entry.tag:
                self._found[entry.repository].tags[entry.tag] = entry.digest
        self._add_unnamed(unnamed)
        return dict(sorted(self._found.items()))

    def read_ahead(self, entries: Iterable[LayoutImage], at_once: int) -> None:
        """Read all manifests that entries reach, some at once: all of a level, then the next."""
        with ThreadPoolExecutor(at_once) as pool:
            level = {entry.digest for entry in entries}
            while level := level - self._parts.keys():
                found = pool.map(self._parts_of, level)
                level = {child for parts in found for child in parts.children}

    def _add_unnamed(self, unnamed: dict[Digest, LayoutImage]) -> None:
        """Put what has no name where it is listed or what it is about is, else by itself."""
        about: dict[Digest, list[Digest]] = {}
        for digest in unnamed:
            subject = self._parts_of(digest).subject
            if subject is not None and subject != digest:
                about.setdefault(subject, []).append(digest)
        waiting = {one for those in about.values() for one in those}
        for digest, entry in unnamed.items():
            if digest not in waiting and not self._homes.get(digest):
                self._add(entry, self._default)
        # Signatures of signatures follow what they are about.
        pending = [one for one in about if self._homes.get(one)]
        while pending:
            subject = pending.pop()
            for digest in about.pop(subject, ()):
                for name in self._homes[subject]:
                    self._add(unnamed[digest], name)
                pending.append(digest)
        for digest in (one for those in about.values() for one in those):
            if not self._homes.get(digest):
                self._add(unnamed[digest], self._default)

    def _add(self, entry: LayoutImage, name: str) -> None:
        """Link an entry and all that it needs in a repository."""
        repository = self._found.setdefault(name, RepositoryLinks())
        listed = Reference(Role.MANIFEST, entry.digest, entry.size, entry.media_type)
        if not self._is_manifest(listed):
            repository.blobs[entry.digest] = None
            return
        pending = [entry.digest]
        while pending:
            digest = pending.pop()
            if digest in repository.revisions:
                continue
            repository.revisions[digest] = None
            self._homes.setdefault(digest, []).append(name)
            parts = self._parts_of(digest)
            before = len(repository.blobs)
            repository.blobs.update(dict.fromkeys(parts.blobs))
            self._links += 1 + len(repository.blobs) - before
            if self._links > MOST_LINKS:
                raise NotARegistry(
                    f"an OCI layout whose images need more than {MOST_LINKS} links, which are not "
                    "held; give each repository a layout of its own"
                )
            pending.extend(parts.children)

    def _parts_of(self, digest: Digest) -> _ManifestParts:
        if digest not in self._parts:
            self._parts[digest] = self._read_parts(digest)
        return self._parts[digest]

    def _read_parts(self, digest: Digest) -> _ManifestParts:
        """Return what a manifest names; nothing of one that cannot be read, as others will say."""
        if not 0 <= self._sizes.get(digest, -1) <= LIMIT:
            return _ManifestParts()
        try:
            data = self._read(digest, LIMIT + 1)
            manifest = skim(data) or _parsed(data)
            references = manifest.references()
        except RegfsError:
            return _ManifestParts()
        plain = [one for one in references if one.role is not Role.SUBJECT]
        children = {one.digest: None for one in plain if self._is_manifest(one)}
        blobs = {one.digest: None for one in plain if self._is_blob(one, children)}
        subject = None if manifest.subject is None else manifest.subject.digest
        return _ManifestParts(tuple(children), tuple(blobs), subject)

    def _is_manifest(self, reference: Reference) -> bool:
        """Return whether a reference leads to a manifest: by its media type, else its content."""
        if reference.role is not Role.MANIFEST or is_blob_type(reference.media_type):
            return False
        if reference.media_type in MANIFEST_TYPES:
            return True
        size = self._sizes.get(reference.digest, -1)
        return 0 <= size <= LIMIT and self._looks_like_one(reference.digest)

    def _looks_like_one(self, digest: Digest) -> bool:
        try:
            data = self._read(digest, LIMIT + 1)
            return (skim(data) or _parsed(data)).kind is not Kind.UNKNOWN
        except RegfsError:
            return False

    def _is_blob(self, reference: Reference, children: dict[Digest, None]) -> bool:
        # What a client fetches from elsewhere was never pushed.
        absent = reference.elsewhere and reference.digest not in self._sizes
        return reference.digest not in children and not absent


def _parsed(data: bytes) -> Manifest:
    from regfs.manifests import parse  # the models, which most layouts do without

    return parse(data)
