"""What a part of a gzip layer takes as zstd, measured: nothing is written.

    recompress(stream, Stretch(offset, length), (3, 19)) -> Remade(packed, unpacked, sizes, seconds)

Only sizes and times are kept.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, cast

from regfs.errors import LayerInvalid

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

_MAGIC: Final = b"\x1f\x8b"
_PIECE: Final = 16 << 10
"""Bytes of gzip that are unpacked at once, to a thousand times as many at most."""


class Stretch(NamedTuple):
    """A part of a layer, in bytes as they are stored."""

    offset: int
    length: int


class Remade(NamedTuple):
    """A part that was unpacked and compressed anew."""

    packed: int
    """Bytes of it as they are stored."""
    unpacked: int
    sizes: tuple[int, ...]
    """Bytes at each level."""
    seconds: tuple[float, ...]
    """Processor time at each level."""


def is_gzip(stream: BinaryIO) -> bool:
    """Return whether a blob begins as gzip does; reads two bytes.

    Raises:
        StoreError: it cannot be read.
    """
    return stream.read(len(_MAGIC)) == _MAGIC


def recompress(
    stream: BinaryIO, stretch: Stretch, levels: Sequence[int], advance: Callable[[int], None]
) -> Remade:
    """Compress a part of a gzip layer with zstd at each level, as a stream.

    What lies before the part is unpacked only. `advance` gets the bytes that were read of it.

    Raises:
        LayerInvalid: it is damaged, or not gzip.
        StoreError: it cannot be read.
    """
    encoders = [_Encoder(level) for level in levels]
    place = packed = unpacked = 0
    for size, piece in _unpacked(stream):
        place += size
        if place <= stretch.offset:
            continue
        packed += size
        unpacked += len(piece)
        for encoder in encoders:
            encoder.take(piece)
        advance(size)
        if place >= stretch.offset + stretch.length:
            break
    for encoder in encoders:
        encoder.finish()
    sizes = tuple(encoder.size for encoder in encoders)
    return Remade(packed, unpacked, sizes, tuple(encoder.seconds for encoder in encoders))


def _unpacked(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield a gzip file in small pieces: bytes of it, and what they unpack to.

    A reader such as LayerReader is half a megabyte ahead of what it returns.
    """
    broken, opener = _decoder()
    decoder: Any = None
    left = b""
    while data := left or stream.read(_PIECE):
        if decoder is None and not data.startswith(_MAGIC):
            if data.strip(b"\0"):
                raise LayerInvalid("not packed with gzip")
            yield len(data), b""
            left = b""
            continue
        decoder = decoder or opener(31)
        try:
            piece = decoder.decompress(data)
        except broken as error:
            raise LayerInvalid(f"gzip: {error}") from None
        left = decoder.unused_data
        yield len(data) - len(left), piece
        if decoder.eof:
            decoder = None
    if decoder is not None:
        raise LayerInvalid("gzip: it is truncated")


def _decoder() -> tuple[type[Exception], Callable[[int], Any]]:
    """Return the errors and the decoders of gzip; the fast ones are not had everywhere."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.error, zlib.decompressobj
    return cast(type[Exception], isal_zlib.error), isal_zlib.decompressobj


class _Encoder:
    """One level of zstd, which keeps nothing but the size."""

    def __init__(self, level: int) -> None:
        self.size = 0
        self.seconds = 0.0
        self._compressor = ZstdCompressor(level=level)

    def take(self, piece: bytes) -> None:
        begun = time.thread_time()
        self.size += len(self._compressor.compress(piece))
        self.seconds += time.thread_time() - begun

    def finish(self) -> None:
        begun = time.thread_time()
        self.size += len(self._compressor.flush())
        self.seconds += time.thread_time() - begun
