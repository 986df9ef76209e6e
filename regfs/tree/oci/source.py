"""An OCI image layout as the tree that a registry would have of the same images.

    layout/oci-layout
           index.json                 the tags:  repositories/<name>/_manifests/tags/<tag>/...
           blobs/sha256/<hex>         a blob:    blobs/sha256/<2>/<hex>/data

    a store of the layout -> LayoutSource -> FlatStore

The layout may be in any store: a folder, or a tar of one in whatever form (`skopeo oci-archive:`,
`podman save`, `docker save` since version 25). Bytes of blobs are read where they lie. Links are
made up: a registry would have written them when it got the images, and they hold the digest that
their path names. They are as old as index.json.

A layout knows what its tags point to, and nothing from before (`Capability.OCI_LAYOUT`).
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO, Final

from regfs import layout
from regfs.digest import ALGORITHMS, Digest
from regfs.errors import DigestInvalid, NotARegistry, printable
from regfs.findings import Code, Finding
from regfs.stores import LAYOUT_MARK, Capability, Entry, FileKind, Store, stat_or_none
from regfs.stores.flat.gathering import Gathering, NamedFile
from regfs.stores.flat.rows import Rows
from regfs.stores.flat.store import FlatStore
from regfs.tree.oci import BLOBS, INDEX, blob_place
from regfs.tree.oci.content import LayoutRepositories, RepositoryLinks
from regfs.tree.oci.index import LayoutImage, read_index
from regfs.tree.oci.names import default_repository

_ADVICE: Final = (
    "regfs reads an OCI layout and never changes it; regfs import copies its images into a "
    "registry's tree"
)


_AHEAD: Final = 32
"""Reads at once, where each is a request."""


class LayoutSource:
    """The source of a flat store over an OCI layout."""

    def __init__(self, store: Store) -> None:
        """`store` holds the layout itself."""
        self.url = store.url
        self.refusal = f"{printable(store.url)}: {_ADVICE}"
        requests = Capability.REQUESTS in store.capabilities
        self.ahead = _AHEAD if requests else 1
        kept = Capability.DIGESTS | Capability.REQUESTS
        self.capabilities = (store.capabilities & kept) | Capability.OCI_LAYOUT
        self._store = store
        self._gathering = Gathering(f"{printable(store.url)}: an OCI layout")
        self._paths: list[str] = []
        """Where the files lie in the layout."""
        self._texts: list[bytes] = []
        """What links hold."""
        self._places: dict[Digest, int] = {}
        self._rows = Rows([])

    # -- listing -----------------------------------------------------------------------

    def rows(self) -> Rows:
        """List the blobs, and read every manifest that the index reaches.

        Raises:
            NotARegistry, StoreError: its index is none, or cannot be read.
        """
        report = self._gathering.problems.append
        self._gathering.problems += self._store.problems
        entries = read_index(self._store, report)
        written = self._store.stat(INDEX).mtime
        for folder in (layout.BLOBS, layout.REPOSITORIES):
            self._add(folder, 0, written, kind=FileKind.FOLDER)
        sizes = self._take_blobs()
        default = default_repository(self.url)
        repositories = LayoutRepositories(sizes, self._begin, default)
        if self.ahead > 1:
            repositories.read_ahead(entries, self.ahead)
        try:
            found = repositories.of(entries)
        except NotARegistry as error:
            raise NotARegistry(f"{printable(self.url)}: {error}") from None
        for name, repository in found.items():
            self._add_repository(name, repository, written)
        self._check_sizes(entries, sizes)
        self._rows = self._gathering.finish()
        return self._rows

    def _take_blobs(self) -> dict[Digest, int]:
        """Take all below `blobs`; return the sizes of the blobs."""
        sizes: dict[Digest, int] = {}
        report = self._gathering.problems.append
        for folder in self._store.list(BLOBS, report):
            algorithm = layout.name_of(folder.path)
            if folder.kind is not FileKind.FOLDER or algorithm not in ALGORITHMS:
                self._add_strange(f"{layout.BLOBS}/{algorithm}", folder)
                continue
            for entry in self._store.list(folder.path, report):
                digest = _digest(algorithm, layout.name_of(entry.path))
                if digest is None or entry.kind is not FileKind.FILE:
                    name = layout.name_of(entry.path)
                    self._add_strange(f"{layout.blobs_folder(algorithm)}/{name}", entry)
                    continue
                sizes[digest] = entry.size
                self._add_file(layout.blob_path(digest), entry)
        return sizes

    def _add_strange(self, path: str, entry: Entry) -> None:
        """Add what is no blob; the store has said of a link or a device why it is not read."""
        if entry.kind is FileKind.FILE:
            self._add_file(path, entry)
        elif entry.kind is FileKind.FOLDER:
            self._add(path, 0, entry.mtime, kind=FileKind.FOLDER)

    def _add_file(self, path: str, entry: Entry) -> None:
        self._paths.append(entry.path)
        self._add(path, entry.size, entry.mtime, place=len(self._paths) - 1)

    def _add_repository(self, name: str, repository: RepositoryLinks, mtime: float) -> None:
        for digest in repository.blobs:
            self._add_link(layout.path_of(layout.LayerLink(name, digest)), digest, mtime)
        for digest in repository.revisions:
            self._add_link(layout.path_of(layout.RevisionLink(name, digest)), digest, mtime)
        for tag, digest in repository.tags.items():
            self._add_link(layout.path_of(layout.TagCurrent(name, tag)), digest, mtime)
            self._add_link(layout.path_of(layout.TagIndex(name, tag, digest)), digest, mtime)

    def _add_link(self, path: str, digest: Digest, mtime: float) -> None:
        place = self._places.setdefault(digest, len(self._texts))
        if place == len(self._texts):
            self._texts.append(digest.encode())
        self._add(path, len(digest), mtime, place=-1 - place)

    def _add(
        self, path: str, size: int, mtime: float, *, place: int = 0, kind: FileKind = FileKind.FILE
    ) -> None:
        self._gathering.add(NamedFile(os.fsencode(path), size, mtime, kind), place)

    def _check_sizes(self, entries: list[LayoutImage], sizes: dict[Digest, int]) -> None:
        """Report entries of the index that give another size than there is."""
        for one in dict.fromkeys((entry.digest, entry.size) for entry in entries):
            digest, size = one
            there = sizes.get(digest, size)
            if size >= 0 and there != size:
                self._gathering.problems.append(
                    Finding(
                        Code.DESCRIPTOR_SIZE_MISMATCH,
                        layout.blob_path(digest),
                        digest,
                        expected=str(size),
                        actual=str(there),
                    )
                )

    # -- reading -----------------------------------------------------------------------

    def _begin(self, digest: Digest, limit: int) -> bytes:
        return self._store.read(blob_place(digest), limit)

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of a blob where it lies, or of a link."""
        place = self._rows.places[row]
        if place >= 0:
            return self._store.open(self._paths[place], offset, length)
        text = self._texts[-1 - place]
        return io.BytesIO(text[offset : None if length is None else offset + length])

    def read(self, row: int, limit: int) -> bytes:
        """Return the first bytes of a file."""
        place = self._rows.places[row]
        if place < 0:
            return self._texts[-1 - place][:limit]
        return self._store.read(self._paths[place], limit)

    def known(self, row: int) -> bytes | None:
        """Return None: every file is read."""
        return None

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return the digest that was taken as the layout passed."""
        place = self._rows.places[row]
        return None if place < 0 else self._store.digest(self._paths[place], algorithm)


def _digest(algorithm: str, encoded: str) -> Digest | None:
    """Return the digest that a file is named by; None if it is named by none."""
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except DigestInvalid:
        return None


def is_layout(store: Store) -> bool:
    """Return whether a store holds an OCI layout.

    Raises:
        StoreError: it does not say what is there.
    """
    found = (stat_or_none(store, name) for name in (LAYOUT_MARK, INDEX))
    return all(entry is not None and entry.kind is FileKind.FILE for entry in found)


def open_layout(store: Store) -> FlatStore:
    """Open the layout in a store as a registry's tree.

    Raises:
        NotARegistry: its index is none.
        StoreError: it cannot be read.
    """
    return FlatStore(LayoutSource(store), taken_at=store.taken_at)
