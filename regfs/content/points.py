"""Seek points: reading a gzip from the middle, without unpacking what comes before.

    points = build_points(blob, spacing)       once: as long as unpacking it with zlib
    open_at(blob, points, position) -> LayerReader

A point is a place between two blocks and the 32 KiB before it. indexed_gzip makes them; where it
is not installed there are none, and layers are unpacked from their beginning. zstd has no such
points. What is cut off or has other bytes may get points too: only a layer that was read to its
end and has its digest is worth them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from regfs.content.layers import LayerReader, Packing

SPACING: Final = 4 << 20
"""Unpacked bytes between two points."""
MOST: Final = 512
"""Points of one layer: each takes 32 KiB."""
_BUFFER: Final = 1 << 20
_PIECE: Final = 256 << 10

Opener = Callable[[int], BinaryIO]
"""Opens a blob from an offset."""


class BlobFile(io.RawIOBase):
    """A blob as a file that can be moved in: it is opened again wherever reading goes on."""

    def __init__(self, opener: Opener, size: int) -> None:
        super().__init__()
        self._opener = opener
        self._size = size
        self._place = 0
        self._stream: BinaryIO | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of what is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset != self._place:
            self._drop()
            self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`; return the number of bytes."""
        if self._stream is None:
            self._stream = self._opener(self._place)
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self._place += count
        return count

    def close(self) -> None:
        """Close it, and the blob."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def build_points(blob: BlobFile, unpacked: int) -> bytes | None:
    """Return the seek points of a gzip that unpacks to about so many bytes.

    None if there are none: it is damaged or no gzip, or indexed_gzip is not installed.

    Raises:
        StoreError: the blob cannot be read.
    """
    library = _library()
    if library is None:
        return None
    spacing = max(SPACING, unpacked // MOST)
    try:
        with library.IndexedGzipFile(
            fileobj=blob, spacing=spacing, readbuf_size=_BUFFER, auto_build=False
        ) as file:
            file.build_full_index()
            made = io.BytesIO()
            file.export_index(fileobj=made)
    except _broken(library):
        return None
    return made.getvalue()


def open_at(blob: BlobFile, points: bytes, position: int) -> LayerReader | None:
    """Return the tar of a layer from a position on; None if the points are of no use.

    Raises:
        StoreError: the blob cannot be read.
    """
    library = _library()
    if library is None:
        return None
    try:
        file = library.IndexedGzipFile(
            fileobj=blob,
            readbuf_size=_BUFFER,
            buffer_size=_PIECE,
            auto_build=False,
            skip_crc_check=True,
        )
        file.import_index(fileobj=io.BytesIO(points))
        file.seek(position)
    except _broken(library):
        return None
    return LayerReader(file, Packing.GZIP, _broken(library))


def _library() -> Any:
    try:
        import indexed_gzip  # type: ignore[import-untyped]
    except ImportError:
        return None
    return indexed_gzip


def _broken(library: Any) -> tuple[type[Exception], ...]:
    errors = (library.ZranError, library.NotCoveredError, library.NoHandleError)
    return (*errors, OSError, EOFError, ValueError)
