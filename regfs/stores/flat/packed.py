r"""Sorted keys in a quarter of the memory: sixty-four together are compressed.

    packed = PackedKeys(keys)       packed[7], packed.left(key), len(packed)

A key of a registry is a digest in hexadecimal between parts that its neighbours have, too: 35 to
40 bytes are left of 170. Who goes through them in order, or looks near what was looked at last,
finds them unpacked; any other look costs some 30 us.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final, overload

TOGETHER: Final = 64
"""Keys that are compressed together."""
_UNPACKED: Final = 256
"""Blocks that stay unpacked: 3 MB of keys."""
_BETWEEN: Final = b"\n"
_ESCAPED: Final = ((b"\\", b"\\\\"), (b"\n", b"\\n"))
"""What a key may hold, for no name of a registry does."""


class PackedKeys(Sequence[bytes]):
    """Keys in ascending order. May be used from several threads."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        """Pack the keys as they come; none is kept."""
        pack, _ = _codec()
        self._firsts: list[bytes] = []
        self._blocks: list[bytes] = []
        self._count = 0
        remaining = iter(keys)
        while some := list(islice(remaining, TOGETHER)):
            self._firsts.append(some[0])
            self._blocks.append(pack(_joined(some)))
            self._count += len(some)
        self._block = _unpacking(self._blocks)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(self._count))]
        if at < 0:
            at += self._count
        number, inside = divmod(at, TOGETHER)
        return self._block(number)[inside]

    def __iter__(self) -> Iterator[bytes]:
        _, unpack = _codec()
        for block in self._blocks:
            yield from _split(unpack(block))

    def left(self, key: bytes, low: int, high: int) -> int:
        """Return where a key is, or would be, in a slice: as `bisect_left`."""
        number = bisect_right(self._firsts, key) - 1
        found = 0
        if number >= 0:
            found = number * TOGETHER + bisect_left(self._block(number), key)
        return max(low, min(found, high))

    @property
    def firsts(self) -> Sequence[bytes]:
        """The first of each sixty-four."""
        return self._firsts

    def blocks(self) -> Iterator[list[bytes]]:
        """Yield all of them, some together, and forget each as it is yielded."""
        _, unpack = _codec()
        for number, block in enumerate(self._blocks):
            self._blocks[number] = b""
            yield _split(unpack(block))


def _unpacking(blocks: Sequence[bytes]) -> Callable[[int], list[bytes]]:
    """Return what unpacks a block by its number, and keeps those that were asked for last."""
    _, unpack = _codec()

    @lru_cache(_UNPACKED)
    def unpacked(number: int) -> list[bytes]:
        return _split(unpack(blocks[number]))

    return unpacked


def _joined(keys: Sequence[bytes]) -> bytes:
    text = _BETWEEN.join(keys)
    if text.count(_BETWEEN) == len(keys) - 1 and b"\\" not in text:
        return text
    return _BETWEEN.join(map(_escaped, keys))


def _escaped(key: bytes) -> bytes:
    for plain, written in _ESCAPED:
        key = key.replace(plain, written)
    return key


def _split(text: bytes) -> list[bytes]:
    keys = text.split(_BETWEEN)
    return keys if b"\\" not in text else list(map(_as_it_was, keys))


def _as_it_was(key: bytes) -> bytes:
    return b"\\".join(part.replace(b"\\n", b"\n") for part in key.split(b"\\\\"))


def _codec() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Return what compresses and decompresses, both in this process only."""
    try:  # four times as fast; not available for every processor
        from isal import isal_zlib
    except ImportError:
        return lambda data: zlib.compress(data, 1), zlib.decompress
    return lambda data: isal_zlib.compress(data, 1), isal_zlib.decompress
