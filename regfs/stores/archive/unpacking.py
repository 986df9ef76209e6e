"""Decompression of an archive while it is read: gzip and zstd, of many members and frames."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final

from regfs.errors import StoreError
from regfs.stores.archive.decompressors import GZIP, Bytes, is_zstd, open_gzip, open_zstd
from regfs.stores.archive.headers import ArchiveDamaged

MAGIC: Final = 4
"""Bytes that tell how an archive is compressed."""
PIECE: Final = 256 << 10
_PIECE_OF_PACKED: Final = 32 << 10


class PlainStream:
    """A tar as bytes that come one after the other, decompressed; see `headers.TarStream`."""

    def __init__(self, raw: Bytes, advance: Callable[[int], None]) -> None:
        """`advance` gets the number of bytes that came.

        Raises:
            StoreError: it cannot be read.
        """
        self.position = 0
        self._advance = advance
        self._buffer, self._at = b"", 0
        head = _head(raw)
        self._broken: tuple[type[Exception], ...] = ()
        self._source: Bytes = _Begun(raw, head)
        if head.startswith(GZIP):
            self._source, self._broken = open_gzip(self._source)
        elif is_zstd(head):
            self._source, self._broken = open_zstd(self._source)
        # With damage, all of the piece is lost that it is in.
        self._piece = _PIECE_OF_PACKED if self._broken else PIECE

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            ArchiveDamaged: it cannot be decompressed.
            StoreError: it cannot be read.
        """
        if self._at == len(self._buffer):
            self._fill()
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        self.position += len(piece)
        return piece

    def _fill(self) -> None:
        """Read the next piece; a read for each header would cost more than all else."""
        try:
            self._buffer, self._at = self._source.read(self._piece), 0
        except self._broken as error:
            words = " ".join(str(error).split())[:200]
            raise ArchiveDamaged(f"it cannot be decompressed: {words}") from None
        except OSError as error:
            raise _unreadable(error) from error
        self._advance(len(self._buffer))

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        found = self.read(size)
        while len(found) < size and (more := self.read(size - len(found))):
            found += more
        return found

    def skip_to(self, position: int) -> bool:
        """Read on to a position that has not come yet; return whether the stream reaches it."""
        while self.position < position:
            if self._at == len(self._buffer):
                self._fill()
            step = min(position - self.position, len(self._buffer) - self._at)
            if not step:
                return False
            self._at += step
            self.position += step
        return True


def _head(raw: Bytes) -> bytes:
    """Return the first bytes of a stream, by which it is told how it is compressed."""
    head = b""
    try:
        while len(head) < MAGIC and (more := raw.read(MAGIC - len(head))):
            head += more
    except OSError as error:
        raise _unreadable(error) from error
    return head


def _unreadable(error: OSError) -> StoreError:
    return StoreError(f"the archive cannot be read: {error.strerror or error}")


class _Begun(io.RawIOBase):
    """A stream of which the beginning has been read already."""

    def __init__(self, raw: Bytes, head: bytes) -> None:
        super().__init__()
        self._raw = raw
        self._head = head

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        size = PIECE if size < 0 else size
        if self._head:
            found, self._head = self._head[:size], self._head[size:]
            return found
        return self._raw.read(size)

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer) as view:
            found = self.read(len(view))
            view[: len(found)] = found
        return len(found)
