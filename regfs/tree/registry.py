"""The tree as typed content, by point reads.

Each read answers one question (what does this tag point to, what does this manifest say)
without listing the tree. `regfs.push` and `regfs.runs` write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from regfs import layout
from regfs.digest import ALGORITHMS, BUFFER_SIZE, Digest, VerifiedReader
from regfs.errors import (
    BlobUnknown,
    ContentMismatch,
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    PathMissing,
    RegfsError,
    StoreError,
)
from regfs.findings import Code, Finding
from regfs.manifests.media_types import LIMIT
from regfs.manifests.skim import Skimmed, skim
from regfs.names import natural
from regfs.stores import Entry, FileKind, Report, Store, ignore, stat_or_none
from regfs.tree.inventory import INCOMPLETE, Inventory, LinkContent
from regfs.tree.links import LINK_LIMIT, parse_link_content
from regfs.tree.references import References, newest_first
from regfs.tree.references import Target as Target
from regfs.tree.scan import walk_repositories

if TYPE_CHECKING:
    from regfs.content.kept_manifests import KeptManifests
    from regfs.manifests import Manifest

_LONGEST: Final = 4095
_LONGEST_PART: Final = 255
"""Characters of a path and of a name in it: no operating system takes more."""


Fetch = Callable[[Iterable[Sequence[Digest]]], Iterator[Mapping[str, bytes]]]
"""Takes the manifests of one folder after the other, a few ahead; gives their bytes, by the digits
of digests, as far as they can be had. Nothing of it is checked yet."""


class Linked(NamedTuple):
    """A blob as a repository has it."""

    digest: Digest
    """Of the blob that lies there: of an alias link another one than what was asked for."""
    size: int


class Registry(References):
    """A registry tree in a store.

    `report` hears of all that could not be read or understood, whether it is raised or
    left out of an answer; of what is simply not there it hears nothing.
    """

    def __init__(
        self,
        store: Store,
        report: Report = ignore,
        kept: KeptManifests | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        self.store = store
        self.report = report
        self.kept = kept
        """Manifests that were read before, for graphs; point reads ask the store."""
        self.fetch = fetch
        """Has manifests read elsewhere, for graphs."""

    def snapshot(self) -> Registry:
        """Return the same reads of the tree as one listing shows it now.

        Itself where asking costs nothing.

        Raises:
            StoreError: it cannot be listed.
        """
        store = self.store.snapshot()
        if store is self.store:
            return self
        return Registry(store, self.report, self.kept, self.fetch)

    def repositories(self) -> Iterator[str]:
        """Yield the name of every repository, depth first by name, as far as it can be listed."""
        seen = Inventory(url=self.store.url, taken_at=0)
        for repository in walk_repositories(self.store, seen):
            yield repository.name
        for finding in seen.findings:
            self.report(finding)

    def exists(self, name: str) -> bool:
        """Return whether there is such a repository.

        Raises:
            StoreError: its folder is there, or may be, and cannot be read.
        """
        folder = layout.repository_folder(name)
        if len(folder) > _LONGEST or any(len(part) > _LONGEST_PART for part in name.split("/")):
            return False
        parts = {f"{folder}/{part}" for part in layout.PARTS}
        unread: list[Finding] = []
        if any(entry.path in parts for entry in self.store.list(folder, unread.append)):
            return True
        for finding in unread:
            hides = finding.path in parts or f"{folder}/".startswith(f"{finding.path}/")
            if finding.code in INCOMPLETE and hides and self._is_folder(folder):
                raise StoreError(f"{finding.path}: {finding.message}")
        return False

    def _is_folder(self, path: str) -> bool:
        """Return whether a folder is at a path, or its place cannot be looked at."""
        entry = stat_or_none(self.store, path)
        return entry is not None and entry.kind in (FileKind.FOLDER, FileKind.LINK)

    def tags(self, name: str) -> dict[str, float]:
        """Return the tags of a repository that can be asked for, and when each was set.

        They are in natural order: `v2` before `v10`.

        Raises:
            NameUnknown: there is no such repository.
        """
        leaves = self.store.leaves(layout.tags_folder(name), "current/link", self.report)
        if not leaves.names and not self.exists(name):
            raise NameUnknown(f"no such repository: {name}")
        times = dict(zip(leaves.names, leaves.mtimes, strict=True))
        return {tag: times[tag] for tag in sorted(times, key=natural)}

    def revisions(self, name: str) -> dict[Digest, float]:
        """Return the manifests of a repository, by digest, and when each was pushed."""
        return self.link_times(partial(layout.revisions_folder, name), self.report)

    def link_times(self, folder: Callable[[str], str], report: Report) -> dict[Digest, float]:
        """Return digest -> when its link was written, sorted; `folder` is that of an algorithm."""
        found = {}
        for algorithm in ALGORITHMS:
            leaves = self.store.leaves(folder(algorithm), "link", report)
            for encoded, mtime in zip(leaves.names, leaves.mtimes, strict=True):
                with suppress(DigestInvalid):
                    found[Digest.parse(f"{algorithm}:{encoded}")] = mtime
        return dict(sorted(found.items()))

    def history(self, name: str, tag: str) -> list[tuple[Digest, float]]:
        """Return each digest that a tag has pointed to and when it was last set, newest first.

        What it points to now is among them, whether its history says so or not.

        Raises:
            StoreError: a part of it cannot be read.
        """
        unread: list[Finding] = []
        found = self.link_times(partial(layout.tag_index_folder, name, tag), unread.append)
        for finding in unread:
            if finding.code in INCOMPLETE:
                raise StoreError(f"{finding.path}: {finding.message}")
        path = layout.path_of(layout.TagCurrent(name, tag))
        current = self.link(path).digest
        if current is not None and current not in found:
            found[current] = self.store.stat(path).mtime
        return newest_first(found.items(), current)

    def link(self, path: str) -> LinkContent:
        """Read one link; never raises for what it holds or for not being readable."""
        try:
            return parse_link_content(self._read(path, LINK_LIMIT))
        except StoreError as error:
            return LinkContent(None, Code.PATH_UNREADABLE, str(error))

    def _read(self, path: str, limit: int, code: Code = Code.PATH_UNREADABLE) -> bytes:
        """Read what a file begins with; report why it cannot be, unless it is not there."""
        try:
            return self.store.read(path, limit)
        except PathMissing:
            raise
        except StoreError as error:
            raise self._told(path, code, error) from None

    def _told(self, path: str, code: Code, error: RegfsError) -> RegfsError:
        """Report what is about to be raised, and return it."""
        self.report(Finding(code, path, actual=str(error).removeprefix(f"{path}: ")))
        return error

    def tag(self, name: str, tag: str) -> Digest:
        """Return what a tag points to.

        Raises:
            ManifestUnknown: no such tag, or its link names no digest.
            StoreError: its link cannot be read.
        """
        path = layout.path_of(layout.TagCurrent(name, tag))
        link = self.link(path)
        if link.digest is not None:
            return link.digest
        try:
            self._read(path, 1)
        except PathMissing:
            raise ManifestUnknown(f"no such tag: {name}:{tag}") from None
        raise ManifestUnknown(f"{path}: tag names no digest: {link.text}")

    def revision(self, name: str, digest: Digest) -> Digest:
        """Return under which digest the bytes of a repository's manifest lie.

        It is another one where a registry has stored what was pushed by sha512 by sha256.

        Raises:
            ManifestUnknown: the repository has no such manifest.
            StoreError: its link cannot be read.
        """
        # Registry 2.1 wrote the links of manifests among those of layers.
        for key in (layout.RevisionLink(name, digest), layout.LayerLink(name, digest)):
            target = self._target(layout.path_of(key), digest)
            if target is not None:
                return target
        raise ManifestUnknown(f"no such manifest in {name}: {digest}")

    def layer(self, name: str, digest: Digest) -> Digest:
        """Return under which digest the bytes of a repository's blob lie; see `revision`.

        Raises:
            BlobUnknown: the repository has no such blob.
            StoreError: its link cannot be read.
        """
        target = self._target(layout.path_of(layout.LayerLink(name, digest)), digest)
        if target is None:
            raise BlobUnknown(f"no such blob in {name}: {digest}")
        return target

    def _target(self, path: str, digest: Digest) -> Digest | None:
        """Return what a link leads to; None when it is not there, or leads to other bytes."""
        try:
            found = parse_link_content(self._read(path, LINK_LIMIT)).digest
        except PathMissing:
            return None
        # Bytes have one digest of an algorithm: another one is no alias, but damage.
        if found is None or (found != digest and found.algorithm == digest.algorithm):
            return None
        return found

    def blob(self, digest: Digest) -> Entry:
        """Return the size and time of a blob.

        Raises:
            BlobUnknown: it is not there.
        """
        path = layout.blob_path(digest)
        try:
            return self.store.stat(path)
        except PathMissing:
            raise BlobUnknown(f"no such blob: {digest}") from None
        except StoreError as error:
            raise self._told(path, Code.BLOB_UNREADABLE, error) from None

    def open_blob(self, digest: Digest, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open a blob's bytes as they lie there, unverified.

        Raises:
            BlobUnknown: it is not there.
        """
        try:
            return self.store.open(layout.blob_path(digest), offset, length)
        except PathMissing:
            raise BlobUnknown(f"no such blob: {digest}") from None

    def stream(self, digest: Digest) -> Iterator[bytes]:
        """Yield a blob's bytes in pieces; the end is only reached when they match the digest.

        Raises:
            BlobUnknown: it is not there.
            ContentMismatch: after the last piece, when the bytes are others.
        """
        path = layout.blob_path(digest)
        with self.open_blob(digest) as raw:
            reader = VerifiedReader(raw, digest, path)
            while piece := reader.read(BUFFER_SIZE):
                yield piece

    def manifest_bytes(self, digest: Digest, limit: int = LIMIT) -> bytes:
        """Return the bytes of a manifest, verified.

        Raises:
            BlobUnknown: it is not there.
            ManifestTooLarge: it is larger than `limit` bytes; nothing was read.
            ContentMismatch: the bytes have another digest.
        """
        path = layout.blob_path(digest)
        try:
            data = self._read(path, limit + 1, Code.BLOB_UNREADABLE)
        except PathMissing:
            raise BlobUnknown(f"no such blob: {digest}") from None
        if len(data) > limit:
            long = ManifestTooLarge(f"{path}: manifest is larger than {limit} bytes")
            raise self._told(path, Code.MANIFEST_TOO_LARGE, long)
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            wrong = ContentMismatch(f"{path}: content does not match its digest: found {found}")
            raise self._told(path, Code.BLOB_CORRUPT, wrong)
        return data

    def manifest(self, digest: Digest, limit: int = LIMIT) -> Manifest:
        """Return a manifest, verified and parsed.

        Raises:
            As `manifest_bytes`, and ManifestInvalid when it is none.
        """
        return self._parsed(digest, self.manifest_bytes(digest, limit))

    def skim(self, digest: Digest, limit: int = LIMIT) -> Manifest | Skimmed:
        """Return what a report needs of a manifest, verified: of a plain one, without the model.

        Raises:
            As `manifest`.
        """
        data = self.manifest_bytes(digest, limit)
        return skim(data) or self._parsed(digest, data)

    def _parsed(self, digest: Digest, data: bytes) -> Manifest:
        from regfs.manifests import parse  # the models, which most reads do without

        try:
            return parse(data)
        except ManifestInvalid as error:
            path = layout.blob_path(digest)
            raise self._told(path, Code.MANIFEST_UNREADABLE, error) from None

    def linked(self, key: layout.LayerLink | layout.RevisionLink) -> Linked | None:
        """Return the blob that a link of a repository leads to; None when it leads nowhere.

        It leads nowhere when the link is not there or says what its path does not, when the
        blob is not there, or has no bytes where there must be some. Bytes are not verified.

        Raises:
            StoreError: it cannot be read.
        """
        digest = self._target(layout.path_of(key), key.digest)
        if digest is None:
            return None
        try:
            there = self.blob(digest)
        except BlobUnknown:
            return None
        hollow = there.size == 0 and not digest.is_of_nothing
        if there.kind is not FileKind.FILE or hollow:
            return None
        return Linked(digest, there.size)

    def holds(self, name: str, digest: Digest) -> bool:
        """Return whether a repository has a link to this manifest or blob."""
        keys = (layout.RevisionLink(name, digest), layout.LayerLink(name, digest))
        found = (stat_or_none(self.store, layout.path_of(key)) for key in keys)
        return any(entry is not None and entry.kind is FileKind.FILE for entry in found)
