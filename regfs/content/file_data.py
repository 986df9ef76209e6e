"""The data of one file in a tar, holes included.

    LayerReader at the headers of an entry -> FileReader -> the content as it unpacks

Sparse files come in four formats: GNU's old one with further headers, and three in pax headers.
"""

from __future__ import annotations

import io
from itertools import pairwise
from typing import BinaryIO, Final, NamedTuple

from regfs.content.entries import EntryKind, EntryWalk, TarEntry
from regfs.digest import BUFFER_SIZE, Readable
from regfs.errors import LayerInvalid
from regfs.stores.archive.fields import BLOCK, EXTENDED_LIMIT

_MOST: Final = 1 << 16
"""Segments of a sparse file."""
_ZEROS: Final = bytes(BUFFER_SIZE)


class DataSegment(NamedTuple):
    """A part of a sparse file that is no hole."""

    offset: int
    length: int


class _FileWalk(EntryWalk):
    """The walk over the headers of one file."""

    def __init__(self) -> None:
        super().__init__()
        self.entry: TarEntry | None = None
        self.segments: list[DataSegment] | None = None
        self.numbers: list[int] | None = None
        """Those of the segments in a pax header of version 0."""
        self.map_in_data = False

    @property
    def needs(self) -> int:
        """Bytes to feed until the next header; 0 once all headers of the file are read."""
        if self.entry is not None and self._pending is None:
            return 0
        return self._skip + self._block - len(self._rest)

    def _take(self, block: bytes) -> int:
        if self._pending is not None and not self._kind:
            self._add(block[:504])
        return super()._take(block)

    def _made(self, block: bytes) -> TarEntry:
        if block[156] == ord("S"):
            self.segments = []
            self._add(block[386:482])
        elif self._sparse_version == 1:
            self.map_in_data = True
        elif self._sparse_version == 0:
            self.segments = self._paired(self._mapped())
        self.entry = super()._made(block)
        return self.entry

    def _add(self, fields: bytes) -> None:
        """Add the segments in a header of GNU's old format."""
        found = self.segments if self.segments is not None else []
        for start in range(0, len(fields) - 23, 24):
            pair = fields[start : start + 24]
            if not pair[0] or not pair[12]:
                return
            found.append(
                DataSegment(self.number(pair[:12], "offset"), self.number(pair[12:], "length"))
            )
            if len(found) > _MOST:
                raise self.error("a sparse file in too many pieces")

    def _mapped(self) -> list[int]:
        """Return the numbers of a map in a pax header: offset, length, offset, length..."""
        names = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        single = [value for key, value in self._pax if key in names]
        whole = dict(self._pax).get(b"GNU.sparse.map")
        texts = whole.split(b",") if whole else single
        return [self.natural(text, "sparse number") for text in texts]

    def _paired(self, numbers: list[int]) -> list[DataSegment]:
        if len(numbers) % 2 or len(numbers) > 2 * _MOST:
            raise self.error("an invalid map of a sparse file")
        return [DataSegment(*numbers[at : at + 2]) for at in range(0, len(numbers), 2)]

    def read_map(self, source: Readable) -> int:
        """Read the map before the data of a file; return how many bytes it takes.

        It is the number of segments, and then offset and length of each, a line for each number.
        """
        lines, taken = b"", 0
        while True:
            lines += _exactly(source, BLOCK)
            taken += BLOCK
            head = lines.split(b"\n", 1)
            if len(head) == 2:
                count = self.natural(head[0], "sparse number")
                if count <= _MOST and lines.count(b"\n") > 2 * count:
                    break
            if taken > EXTENDED_LIMIT:
                raise self.error("an invalid map of a sparse file")
        numbers = lines.split(b"\n")[1 : 2 * count + 1]
        self.segments = self._paired([self.natural(one, "sparse number") for one in numbers])
        return taken


class FileReader(io.RawIOBase):
    """The content of one file, streamed; `source` is the tar from where its headers begin.

    `blob` is closed with it.

    Raises:
        LayerInvalid: there is no file, or its headers or its map are damaged.
        StoreError: the blob cannot be read.
    """

    def __init__(self, source: Readable, blob: BinaryIO | None = None) -> None:
        super().__init__()
        self._source = source
        self._blob = blob
        walk = _FileWalk()
        while needs := walk.needs:
            walk.feed(_exactly(source, needs))
        if walk.entry is None or walk.entry.kind is not EntryKind.FILE:
            raise walk.error("not a file")
        self.entry = walk.entry
        stored = walk.stored
        if walk.map_in_data:
            stored -= walk.read_map(source)
        self._segments = [DataSegment(0, stored)] if walk.segments is None else walk.segments
        self._check(stored)
        self.holes = self.entry.size - stored
        """Bytes of it that are not stored."""
        self._number = 0
        self._place = 0

    def _check(self, stored: int) -> None:
        ends = [DataSegment(0, 0), *self._segments, DataSegment(self.entry.size, 0)]
        ordered = all(one.offset + one.length <= other.offset for one, other in pairwise(ends))
        if not ordered or sum(one.length for one in self._segments) != stored:
            raise LayerInvalid("the map of a sparse file does not fit its data")

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end; all of them if `size` is negative.

        Raises:
            LayerInvalid: the packed data is damaged or truncated.
            StoreError: the blob cannot be read.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(BUFFER_SIZE), b""))
        while self._number < len(self._segments):
            segment = self._segments[self._number]
            if self._place < segment.offset:
                return self._hole(segment.offset, size)
            left = segment.offset + segment.length - self._place
            if left:
                piece = self._source.read(min(size, left))
                if not piece and size:
                    raise LayerInvalid("the tar ends within a file")
                self._place += len(piece)
                return piece
            self._number += 1
        return self._hole(self.entry.size, size)

    def close(self) -> None:
        """Close it, and the blob."""
        super().close()
        if self._blob is not None:
            self._blob.close()

    def _hole(self, end: int, size: int) -> bytes:
        count = min(size, end - self._place, len(_ZEROS))
        self._place += count
        return _ZEROS[:count]

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read into `buffer`; return the number of bytes."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _exactly(source: Readable, size: int) -> bytes:
    """Return the next `size` bytes, but for the end of the tar fewer."""
    pieces = []
    while size:
        piece = source.read(size)
        if not piece:
            raise LayerInvalid("the tar ends within its headers")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
