"""Streams that decompress gzip and zstd while they are read, for archives and for layers."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol, TypeAlias, cast

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"
"""What follows the first byte of a frame that says something about others: pzstd begins so."""


class Bytes(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


Decompressor: TypeAlias = tuple[Bytes, tuple[type[Exception], ...]]
"""A stream of what was compressed, and the exceptions that say that it is damaged."""


def is_zstd(begin: bytes) -> bool:
    """Return whether a stream is one of zstd, by its first four bytes or more."""
    skips = begin[1:4] == _SKIPPABLE and begin[0] & 0xF0 == 0x50
    return begin.startswith(ZSTD) or skips


def open_gzip(source: Bytes) -> Decompressor:
    """Decompress gzip, of any number of members, which zeros may follow."""
    opener: Callable[..., Bytes]
    broken: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
    try:  # two to three times as fast as zlib; not available for every processor
        from isal import igzip, isal_zlib

        opener, broken = igzip.IGzipFile, (*broken, cast(type[Exception], isal_zlib.error))
    except ImportError:
        opener = gzip.GzipFile
    return opener(fileobj=cast(BinaryIO, source), mode="rb"), broken


def open_zstd(source: Bytes) -> Decompressor:
    """Decompress zstd, of any number of frames, including skippable ones."""
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError, ZstdFile
    else:
        from backports.zstd import ZstdError, ZstdFile
    return ZstdFile(cast(BinaryIO, source)), (EOFError, ZstdError)
