"""The headers of a tar, one after the other, and whether they are well formed.

    pieces -> TarCheck      checks sizes, checksums, pax records; counts entries
           -> EntryWalk     the same walk, and what each header says: `entries`

Memory holds one piece and one extended header, whatever sizes hostile headers claim. Archives in
which a registry lies have a walk of their own; `stores.archive.fields` says why.
"""

from __future__ import annotations

from typing import Final

from regfs.errors import LayerInvalid
from regfs.stores.archive.fields import BLOCK, EXTENDED_LIMIT, NO_DATA, ZEROS, HeaderFields

_PAX, _PAX_GLOBAL, _SPARSE = b"xgS"
_EXTENDED: Final = frozenset(b"xgLK")


class TarCheck(HeaderFields):
    """Checks whether a tar is well formed, piece by piece.

    Like clients that unpack layers, it checks that sizes, checksums and pax records are right and
    that nothing is truncated. The end marker may be missing; what follows it is ignored.
    `tarfile` would find the same at a sixth of the speed, because it also reads names, times and
    owners.
    """

    def __init__(self) -> None:
        self.entries = 0
        """Number of files, folders, links and so on."""
        self.position = 0
        """Where the header that was taken last begins in the tar."""
        self.stored = 0
        """Bytes in the tar of the data of the last entry."""
        self._begin = 0
        """Where `_rest` begins in the tar."""
        self._rest = b""
        self._skip = 0
        self._padding = 0
        self._kind = 0
        """Type of the extended header whose content comes next; 0 for none."""
        self._block = BLOCK
        """Bytes to take at once next."""
        self._pending: int | None = None
        """Bytes of data after the further headers of a sparse file; None outside of one."""
        self._size: int | None = None
        """The size of the next entry according to a pax header."""
        self._zeros = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            LayerInvalid: it is not a tar archive, or it is damaged.
        """
        if self._zeros == 2:
            return
        data = self._rest + piece if self._rest else piece
        begin, end, position = self._begin, len(data), self._skip
        while position + self._block <= end:
            block = data[position : position + self._block]
            self.position = begin + position
            position += self._block
            position += self._take(block)
            if self._zeros == 2:
                return
        self._rest = data[position:]
        self._skip = max(0, position - end)
        self._begin = begin + min(position, end)

    def finish(self) -> None:
        """End the archive after the last piece.

        Raises:
            LayerInvalid: it is truncated.
        """
        if self._zeros == 2:
            return
        # The padding of the last block is no data, and some writers omit it.
        if self._rest or self._kind or self._pending is not None or self._skip > self._padding:
            raise LayerInvalid(f"tar is truncated in or after entry {self.entries}")

    def _take(self, block: bytes) -> int:
        """Take a header, or the content of one; return the number of bytes to skip."""
        if self._kind:
            return self._take_extended(block)
        if self._pending is not None:
            if block[504]:
                return 0
            skip, self._pending = self._pending, None
            return skip
        if block == ZEROS:
            self._zeros += 1
            return 0
        if self._zeros:
            raise self.error("it follows a single block of zeros")
        return self._take_header(block)

    def _take_header(self, block: bytes) -> int:
        self.check_sum(block)
        kind = block[156]
        size = self.number(block[124:136], "size")
        if kind in _EXTENDED:
            if size > EXTENDED_LIMIT:
                raise self.error(f"an extended header of {size} bytes")
            if size:
                self._kind, self._block, self._padding = kind, size, -size % BLOCK
            return 0
        self.entries += 1
        if self._size is not None:
            size, self._size = self._size, None
        if kind in NO_DATA:
            self.stored = 0
            return 0
        self.stored = size
        self._padding = -size % BLOCK
        if kind == _SPARSE and block[482]:
            self._pending = size + self._padding
            return 0
        return size + self._padding

    def _take_extended(self, content: bytes) -> int:
        if self._kind in (_PAX, _PAX_GLOBAL):
            records = self.records(content)
            if self._kind == _PAX:
                self._take_pax(records)
        else:
            self._take_long(self._kind, content)
        self._kind, self._block = 0, BLOCK
        return self._padding

    def _take_pax(self, records: list[tuple[bytes, bytes]]) -> None:
        """Take the pax records of the next entry; an earlier pax header of it does not count."""
        self._size = None
        for key, value in records:
            if key == b"size":
                self._size = self.natural(value, "pax size")

    def _take_long(self, kind: int, content: bytes) -> None:
        """Take the long name (`L`) or link target (`K`) of the next entry."""

    def error(self, what: str) -> LayerInvalid:
        """Return the error that says what is wrong with the next header."""
        if not self.entries:
            return LayerInvalid(f"not a tar archive: {what}")
        return LayerInvalid(f"tar header after {self.entries} entries: {what}")
