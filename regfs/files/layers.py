"""Layers by digest: what is in one, and the content of a file in it.

    Layers(registry).listing(digest) -> LayerListing       read through once
                    .open(digest, entry)              streamed from where its header lies

What is wrong with a layer is in the `findings` of its listing, and is reported to the registry
once: a layer that is missing, damaged or no tar has the entries before the damage, or none.
"""

from __future__ import annotations

from typing import BinaryIO, cast
from weakref import WeakValueDictionary

from regfs import layout
from regfs.content.entries import EntryWalk, TarEntry
from regfs.content.file_data import FileReader
from regfs.content.hashing import HashedFile
from regfs.content.layers import LayerReader, open_layer
from regfs.digest import BUFFER_SIZE, Digest, Hasher, hash_stream
from regfs.errors import BlobUnknown, LayerInvalid, StoreError
from regfs.files.listing import TEXT_LIMIT, Columns, LayerListing
from regfs.findings import Code, Finding
from regfs.progress import SILENT, Progress
from regfs.tree.registry import Registry


class Layers:
    """The layers of a registry, opened by digest."""

    def __init__(self, registry: Registry, progress: Progress = SILENT) -> None:
        self._registry = registry
        self._progress = progress
        self._listings: WeakValueDictionary[Digest, LayerListing] = WeakValueDictionary()
        self._sums: dict[tuple[Digest, int], Digest] = {}
        self._reported: set[Digest] = set()

    def listing(self, digest: Digest) -> LayerListing:
        """Return the entries of a layer, as far as they can be read; never raises for damage."""
        listing = self._listings.get(digest)
        if listing is None:
            listing = self._listings[digest] = self._read(digest)
            if digest not in self._reported:
                self._reported.add(digest)
                for finding in listing.findings:
                    self._registry.report(finding)
        return listing

    def _read(self, digest: Digest) -> LayerListing:
        path = layout.blob_path(digest)
        columns, walk = Columns(), EntryWalk()
        findings: list[Finding] = []
        try:
            with self._registry.open_blob(digest) as raw:
                self._progress.start(f"Reading {digest.short}", self._size(digest), "bytes")
                source = HashedFile(raw, Hasher(digest.algorithm), self._progress.advance)
                try:
                    _fill(columns, walk, open_layer(cast(BinaryIO, source)))
                except LayerInvalid as error:
                    findings.append(Finding(Code.LAYER_UNREADABLE, path, digest, actual=str(error)))
                source.drain()
                found = source.hasher.digest()
                if found != digest:
                    findings = [Finding(Code.BLOB_CORRUPT, path, digest, actual=found)]
        except BlobUnknown:
            findings.append(Finding(Code.BLOB_MISSING, path, digest))
        except StoreError as error:
            reason = str(error).removeprefix(f"{path}: ")
            findings.append(Finding(Code.BLOB_UNREADABLE, path, digest, actual=reason))
        finally:
            self._progress.finish()
        for what, (count, first) in walk.odd.items():
            told = f"{count} {what}, first {first[:200]}"
            findings.append(Finding(Code.LAYER_ENTRY_ODD, path, digest, actual=told))
        return LayerListing(digest, columns, findings)

    def _size(self, digest: Digest) -> int | None:
        try:
            return self._registry.blob(digest).size
        except (BlobUnknown, StoreError):
            return None

    def open(self, digest: Digest, entry: TarEntry) -> FileReader:
        """Open the content of a regular file in a layer; the caller closes it.

        Raises:
            LayerInvalid: the layer is damaged there.
            BlobUnknown, StoreError: the layer cannot be read.
        """
        raw = self._registry.open_blob(digest)
        try:
            reader = open_layer(raw)
            _skip(reader, entry.position)
            return FileReader(reader, raw)
        except BaseException:
            raw.close()
            raise

    def sha256(self, digest: Digest, entry: TarEntry) -> Digest:
        """Return the digest of the content of a regular file in a layer.

        Raises:
            As `open`.
        """
        key = (digest, entry.position)
        if key not in self._sums:
            with self.open(digest, entry) as stream:
                (self._sums[key],), _ = hash_stream(cast(BinaryIO, stream))
        return self._sums[key]


def _fill(columns: Columns, walk: EntryWalk, reader: LayerReader) -> None:
    """Read the entries of a layer into columns."""
    while piece := reader.read(BUFFER_SIZE):
        for entry in walk.read(piece):
            columns.add(entry)
        if columns.text > TEXT_LIMIT:
            raise LayerInvalid(
                f"names of more than {TEXT_LIMIT >> 20} MiB; those after {len(columns)} entries "
                "are left out"
            )
    walk.finish()


def _skip(reader: LayerReader, size: int) -> None:
    while size:
        piece = reader.read(min(size, BUFFER_SIZE))
        if not piece:
            raise LayerInvalid("the tar ends before the file")
        size -= len(piece)
