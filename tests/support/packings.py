"""Every way in which tools pack the tar of a layer, by name: `PACKINGS["zstd:chunked"](tar)`.

The first word is what regfs calls it. Nothing of regfs is used.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd as _zstd
else:
    from backports import zstd as _zstd

SKIPPABLE = b"\x50\x2a\x4d\x18\x05\0\0\0hello"
"""A frame of zstd that holds no data, as zstd:chunked ends with."""


def zstd(data: bytes) -> bytes:
    """Return `data` as one frame with a checksum."""
    return _zstd.compress(data, options={_zstd.CompressionParameter.checksum_flag: 1})


def pieces(data: bytes, size: int = 50_000) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "gzip, level 9, named": lambda data: _named(data),
    "gzip of many members": lambda data: b"".join(
        gzip.compress(piece, mtime=0) for piece in pieces(data)
    ),
    "gzip of eStargz": lambda data: (
        b"".join(gzip.compress(piece, mtime=0) for piece in pieces(data))
        + gzip.compress(b"", compresslevel=0, mtime=0)
    ),
    "gzip with zeros behind": lambda data: gzip.compress(data, mtime=0) + bytes(1000),
    "zstd": zstd,
    "zstd of many frames": lambda data: b"".join(zstd(piece) for piece in pieces(data)),
    "zstd:chunked": lambda data: (
        b"".join(zstd(piece) for piece in pieces(data)) + SKIPPABLE + SKIPPABLE
    ),
}


def _named(data: bytes) -> bytes:
    """Return a gzip whose header holds a name and a comment."""
    plain = gzip.compress(data, 9, mtime=0)
    return plain[:3] + b"\x18" + plain[4:10] + b"layer.tar\0a comment\0" + plain[10:]
