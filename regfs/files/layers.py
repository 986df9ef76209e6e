"""Layers by digest: what is in one, and the content of a file in it.

    Layers(registry).listing(digest) -> LayerListing       read through once
                    .open(digest, entry)              streamed from where its header lies

What is wrong with a layer is in the `findings` of its listing, and is reported to the registry
once: a layer that is missing, damaged or no tar has the entries before the damage, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import BinaryIO, Final, cast
from weakref import WeakValueDictionary

from regfs import layout
from regfs.content.cache import Cache
from regfs.content.entries import EntryKind, EntryWalk, TarEntry
from regfs.content.file_data import FileReader
from regfs.content.hashing import HashedFile
from regfs.content.layers import LayerReader, open_layer
from regfs.content.points import BlobFile, build_points, open_at
from regfs.digest import BUFFER_SIZE, Digest, Hasher, Readable, hash_stream
from regfs.errors import BlobUnknown, LayerInvalid, RegfsError, StoreError, TooManyEntries
from regfs.files.listing import TEXT_LIMIT, Columns, LayerListing, packed, unpacked
from regfs.findings import RULES, Code, Finding, Severity
from regfs.progress import SILENT, Progress
from regfs.tree.registry import Registry

PATHS: Final = "paths"
ENTRIES: Final = "entries"
_SUMS: Final = "sums"
_POINTS: Final = "points"
"""Kinds of items in the cache."""
_LOST: Final = "no such blob"
_GZIP: Final = b"\x1f\x8b"
_FAR: Final = 16 << 20
"""Unpacked bytes before a file from which on seek points pay."""
_SUM: Final = 32
"""Bytes of a sha256."""
_HOLES: Final = 16 << 30
"""Bytes of holes that are hashed in one layer."""


class Layers:
    """The layers of a registry, opened by digest."""

    def __init__(
        self,
        registry: Registry,
        progress: Progress = SILENT,
        cache: Cache | None = None,
        most: int | None = None,
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._most = most
        """Entries of a layer beyond which reading it raises TooManyEntries."""
        self._progress = progress
        self._listings: WeakValueDictionary[Digest, LayerListing] = WeakValueDictionary()
        self._sums: dict[tuple[Digest, int], Digest] = {}
        self._reported: set[Digest] = set()
        self._told: dict[Digest, tuple[Finding, ...]] = {}

    def listing(self, digest: Digest) -> LayerListing:
        """Return the entries of a layer, as far as they can be read; never raises for damage."""
        listing = self._listings.get(digest)
        if listing is None:
            listing = self._cached(digest)
            listing = self._read(digest) if listing is None else listing
            self._listings[digest] = listing
            self._told[digest] = listing.findings
            self.report(digest, listing.findings)
        return listing

    @property
    def has_cache(self) -> bool:
        """Whether listings are kept for later."""
        return self._cache is not None

    def told(self, digest: Digest) -> tuple[Finding, ...]:
        """Return what is wrong with a layer that was read."""
        return self._told.get(digest, ())

    def report(self, digest: Digest, findings: Iterable[Finding]) -> None:
        """Report what is wrong with a layer, once."""
        if digest not in self._reported:
            self._reported.add(digest)
            for finding in findings:
                self._registry.report(finding)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Show no progress of single layers while the block runs."""
        progress, self._progress = self._progress, SILENT
        try:
            yield
        finally:
            self._progress = progress

    def paths(self, digest: Digest) -> bytes:
        """Return the paths of a listing, each with a zero byte behind it: all that a search needs.

        From the cache they come without the rest of the listing.
        """
        listing = self._listings.get(digest)
        if listing is None and self._is_kept(digest):
            found = None if self._cache is None else self._cache.get(PATHS, digest)
            if found is not None:
                return found
        return bytes(self.listing(digest).columns.paths)

    def _is_kept(self, digest: Digest) -> bool:
        """Return whether a blob is there and can be read, so that what is cached of it counts."""
        try:
            with self._registry.open_blob(digest):
                return True
        except RegfsError:
            return False

    def _cached(self, digest: Digest) -> LayerListing | None:
        """Return a listing from the cache; None if it has none, or the layer is not there."""
        if self._cache is None or not self._is_kept(digest):
            return None
        rest = self._cache.get(ENTRIES, digest)
        paths = None if rest is None else self._cache.get(PATHS, digest)
        return None if rest is None or paths is None else unpacked(digest, paths, rest)

    def _keep(self, listing: LayerListing) -> LayerListing:
        """Put a listing into the cache, unless it is not whole: that may be mended."""
        whole = all(one.severity is not Severity.ERROR for one in listing.findings)
        if self._cache is not None and whole:
            paths, rest = packed(listing)
            self._cache.put(PATHS, listing.digest, paths)
            self._cache.put(ENTRIES, listing.digest, rest)
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
                    _fill(columns, walk, open_layer(cast(BinaryIO, source)), self._most)
                except LayerInvalid as error:
                    findings.append(Finding(Code.LAYER_UNREADABLE, path, digest, actual=str(error)))
                source.drain()
                found = source.hasher.digest()
                if found != digest:
                    findings = [Finding(Code.BLOB_CORRUPT, path, digest, actual=found)]
        except BlobUnknown:
            remedy = RULES[Code.BLOB_MISSING].remedy
            lost = Finding(Code.LAYER_UNREADABLE, path, digest, actual=_LOST, advice=remedy)
            findings.append(lost)
        except StoreError as error:
            reason = str(error).removeprefix(f"{path}: ")
            findings.append(Finding(Code.BLOB_UNREADABLE, path, digest, actual=reason))
        finally:
            self._progress.finish()
        for what, (count, first) in walk.odd.items():
            told = f"{count} {what}, first {first[:200]}"
            findings.append(Finding(Code.LAYER_ENTRY_ODD, path, digest, actual=told))
        return self._keep(LayerListing(digest, columns, findings))

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
        if entry.position > _FAR and self._cache is not None:
            found = self._open_at(digest, entry, self._cache)
            if found is not None:
                return found
        raw = self._registry.open_blob(digest)
        try:
            reader = open_layer(raw)
            _skip(reader, entry.position)
            return FileReader(reader, raw)
        except BaseException:
            raw.close()
            raise

    def _open_at(self, digest: Digest, entry: TarEntry, cache: Cache) -> FileReader | None:
        """Open the content of a file by seek points; None if there can be none."""
        stored = self._registry.blob(digest)
        # The points are those of this file as it was: a file that is written to has others.
        state = f"{stored.size} {stored.mtime!r}\n".encode()
        blob = BlobFile(lambda offset: self._registry.open_blob(digest, offset), stored.size)
        if not blob.read(2).startswith(_GZIP):
            return None
        blob.seek(0)
        kept = cache.get(_POINTS, digest)
        if kept is None or not kept.startswith(state):
            listing = self.listing(digest)
            if any(one.severity is Severity.ERROR for one in listing.findings):
                return None
            last = listing.columns.positions[-1] if len(listing) else 0
            self._progress.start(f"Making seek points of {digest.short}")
            points = build_points(blob, last)
            self._progress.finish()
            if points is None:
                return None
            kept = state + points
            cache.put(_POINTS, digest, kept)
        reader = open_at(blob, kept.removeprefix(state), entry.position)
        return None if reader is None else FileReader(reader, cast(BinaryIO, blob))

    def stream(self, digest: Digest, positions: Iterable[int]) -> Iterator[FileReader]:
        """Yield the content of the files at these positions, in one pass through a layer.

        Each is read, or not, before the next one is asked for.

        Raises:
            As `open`.
        """
        with self._registry.open_blob(digest) as raw:
            source = _CountedTar(open_layer(raw))
            for position in sorted(positions):
                _skip(source, position - source.place)
                yield FileReader(source)

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

    def with_content(
        self, digest: Digest, wanted: Digest, rows: Sequence[int] | None = None
    ) -> Iterator[int]:
        """Yield which entries of a layer have that content; of `rows` only, if given.

        The digests of all files of a layer are cached. What a damaged layer hides is not found:
        its listing says that it is damaged.
        """
        listing = self.listing(digest)
        files = [row for row in range(len(listing)) if listing.kind(row) is EntryKind.FILE]
        kept = None if self._cache is None else self._cache.get(_SUMS, digest)
        if kept is not None and len(kept) != _SUM * len(files):
            kept = None
        if kept is None:
            chosen = files if rows is None else sorted(set(files).intersection(rows))
            sums = list(self._hashed(listing, chosen))
            whole = len(sums) == len(files) and not listing.findings
            if whole and self._cache is not None:
                self._cache.put(_SUMS, digest, b"".join(sums))
        else:
            chosen, sums = files, [kept[at : at + _SUM] for at in range(0, len(kept), _SUM)]
        sought = bytes.fromhex(wanted.encoded)
        asked = None if rows is None else set(rows)
        for row, found in zip(chosen, sums, strict=False):
            if found == sought and (asked is None or row in asked):
                yield row

    def _hashed(self, listing: LayerListing, rows: Sequence[int]) -> Iterator[bytes]:
        """Yield the sha256 of files of a layer, as far as it can be read; zeros for one whose
        holes would take hours.
        """
        positions = [listing.columns.positions[row] for row in rows]
        holes = 0
        try:
            for stream in self.stream(listing.digest, positions):
                holes += stream.holes
                if holes > _HOLES:
                    holes -= stream.holes
                    yield bytes(_SUM)
                    continue
                hasher = sha256(usedforsecurity=False)
                while piece := stream.read(BUFFER_SIZE):
                    hasher.update(piece)
                yield hasher.digest()
        except RegfsError:
            return


class _CountedTar:
    """A tar that knows how far it has been read."""

    def __init__(self, source: Readable) -> None:
        self.place = 0
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        piece = self._source.read(size)
        self.place += len(piece)
        return piece


def _fill(columns: Columns, walk: EntryWalk, reader: LayerReader, most: int | None) -> None:
    """Read the entries of a layer into columns."""
    while piece := reader.read(BUFFER_SIZE):
        for entry in walk.read(piece):
            columns.add(entry)
        if most is not None and len(columns) > most:
            raise TooManyEntries(f"A layer has more than {most:,} entries")
        if columns.text > TEXT_LIMIT:
            raise LayerInvalid(
                f"names of more than {TEXT_LIMIT >> 20} MiB; those after {len(columns)} entries "
                "are left out"
            )
    walk.finish()


def _skip(reader: Readable, size: int) -> None:
    while size:
        piece = reader.read(min(size, BUFFER_SIZE))
        if not piece:
            raise LayerInvalid("the tar ends before the file")
        size -= len(piece)
