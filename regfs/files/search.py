"""Finding files in layers by name or content, and whether an image still shows them.

    FilePattern("libssl.so*").rows(paths)      which entries of a layer match, from its paths alone
    Visibility(layers).of(image_layers, found)      what of that higher layers have not taken away

Patterns are those of `find`: one without a slash is matched with names (`-name`), one with a slash
with whole paths (`-path`, where `*` also matches a slash).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Final

from regfs.content.entries import EntryKind
from regfs.digest import Digest
from regfs.errors import ReferenceInvalid
from regfs.files.layers import Layers
from regfs.files.listing import KIND_NUMBERS, Columns, LayerListing
from regfs.files.merged import WHITEOUT, Merged

_WILD: Final = re.compile(r"\[[!^]?\]?[^\]]*\]|[*?\[]")
_LONGEST: Final = 4096
_HELD: Final = 16
"""Listings that are held for the next image."""
_SYMLINK: Final = KIND_NUMBERS[EntryKind.SYMLINK]


class FilePattern:
    """A pattern of file names, or of paths."""

    def __init__(self, text: str) -> None:
        """Compile a pattern.

        Raises:
            ReferenceInvalid: it is empty or too long.
        """
        if not text.strip("/") or len(text) > _LONGEST:
            raise ReferenceInvalid(f"a pattern of files has 1 to {_LONGEST} characters")
        self.text = text
        self._whole = "/" in text.rstrip("/")
        text = text.strip("/") if self._whole else text.rstrip("/")
        self._match = re.compile(translate(text)).match
        # What any match holds is looked for first, in all names at once.
        literal = max(_WILD.split(text), key=len)
        self._literal = literal.encode("utf-8", "surrogateescape")

    def rows(self, paths: bytes) -> Iterator[int]:
        """Yield the numbers of the entries that match; `paths` have a zero byte behind each."""
        number = place = 0
        for start, end in self._candidates(paths):
            name = start if self._whole else max(start, paths.rfind(b"/", start, end) + 1)
            text = paths[name:end].decode("utf-8", "surrogateescape")
            if self._match(text) and not _is_whiteout(paths[start:end]):
                number += paths.count(0, place, start)
                place = start
                yield number

    def _candidates(self, paths: bytes) -> Iterator[tuple[int, int]]:
        """Yield where each path begins and ends that holds the literal part of the pattern."""
        place = 0
        while (found := paths.find(self._literal, place)) >= 0:
            end = paths.find(b"\0", found)
            if end < 0:
                return
            yield paths.rfind(b"\0", 0, found) + 1, end
            place = end + 1


def _is_whiteout(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(b".wh.")


class Visibility:
    """Tells which entries of layers an image shows, without putting all of it together."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._held: OrderedDict[Digest, _Sketch] = OrderedDict()
        self._known: dict[tuple[Digest, ...], frozenset[tuple[int, int]]] = {}

    def of(
        self, parts: Sequence[Digest], found: Mapping[Digest, Sequence[int]]
    ) -> frozenset[tuple[int, int]]:
        """Return which of `found` (layer -> numbers of entries) an image of these layers shows.

        Each is an index into `parts` and the number of an entry.
        """
        key = tuple(parts)
        if key not in self._known:
            sketches = [self._sketch(digest) for digest in parts]
            rows = [found.get(digest, ()) for digest in parts]
            self._known[key] = frozenset(_visible(sketches, rows))
        return self._known[key]

    def _sketch(self, digest: Digest) -> _Sketch:
        if digest in self._held:
            self._held.move_to_end(digest)
        else:
            self._held[digest] = _Sketch(self._layers.listing(digest))
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
        return self._held[digest]


class _Sketch:
    """What of a layer decides on paths of others: its links and whiteouts."""

    def __init__(self, listing: LayerListing) -> None:
        self.listing = listing
        paths = bytes(listing.columns.paths)
        self._paths = paths.split(b"\0")[:-1]
        kinds = listing.columns.kinds
        self.links = {n for n, kind in enumerate(kinds) if kind == _SYMLINK}
        mark = WHITEOUT.encode()
        self.whiteouts = (
            {n for n, path in enumerate(self._paths) if mark in path and _is_whiteout(path)}
            if mark in paths
            else set()
        )

    def path(self, row: int) -> bytes:
        return self._paths[row]

    def rows_at(self, paths: set[bytes]) -> set[int]:
        """Return the entries at any of these paths."""
        return {row for row, path in enumerate(self._paths) if path in paths}


def _visible(sketches: list[_Sketch], rows: list[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Yield the layer and number of each entry that is seen, of those in `rows`.

    Only what can hide them is put together: whiteouts, links, and what lies at their paths and at
    those of the folders above.
    """
    wanted = {sketch.path(row) for sketch, some in zip(sketches, rows, strict=True) for row in some}
    places = wanted | {above for path in wanted for above in _above(path)}
    places |= {sketch.path(row) for sketch in sketches for row in sketch.links}
    listings, numbers = [], []
    for sketch, some in zip(sketches, rows, strict=True):
        chosen = sorted({*some, *sketch.links, *sketch.whiteouts, *sketch.rows_at(places)})
        numbers.append(chosen)
        listings.append(_part(sketch.listing, chosen))
    asked = [set(some) for some in rows]
    for layer, number in Merged.merge(listings).references():
        row = numbers[layer][number]
        if row in asked[layer]:
            yield layer, row


def _above(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _part(listing: LayerListing, rows: Iterable[int]) -> LayerListing:
    """Return some entries of a layer; hard links count as files, which may be left out here."""
    columns = Columns()
    for row in rows:
        entry = listing[row]
        linked = entry.kind is EntryKind.HARDLINK
        columns.add(entry._replace(kind=EntryKind.FILE, target="") if linked else entry)
    return LayerListing(listing.digest, columns)
