"""What zstd would save over gzip: an estimate by a sample of real layers.

    layers by size    aaa bbbbb cccccccc dddddddddddddd eeeeeeeeeeeeeeeeeeeeeeeeee
    parts                  ^           ^           ^           ^           ^

The parts lie at even distances in the bytes of all gzip layers, sorted by size: large layers have
as much weight as they have bytes, and each run takes the same ones. A part is 2 MiB as it is
stored. If all layers together are no larger than the sample, all are measured in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import mean, stdev
from typing import BinaryIO, Final

from regfs.content.recompression import Remade, Stretch, is_gzip, recompress
from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.progress import Progress

LEVELS: Final = (3, 9, 19)
"""Levels of zstd: the usual one, a slower one, and the last that needs no more memory to unpack."""
SAMPLE: Final = 32 << 20
"""Bytes that are measured, as they are stored."""
_PART: Final = 2 << 20
_DEEPEST: Final = 512 << 20
"""Bytes of a layer that are at most unpacked to reach a part of it."""
_THREADS: Final = 2

Open = Callable[[Digest], BinaryIO]
"""Opens a blob, as `Registry.open_blob` does."""


@dataclass(frozen=True, slots=True)
class Recompressed:
    """What all gzip layers would take at one level of zstd."""

    level: int
    bytes: int
    saved: int
    """Bytes; negative if zstd takes more."""
    error: int
    """Bytes that `saved` may be off by, either way, in 19 of 20 samples; 0 if all was measured."""
    speed: int
    """Bytes of tar that one processor compressed in a second of this sample."""
    seconds: float
    """Processor time for all layers at this speed."""


@dataclass(frozen=True, slots=True)
class Recompression:
    """The estimate and its basis."""

    layers: int
    """Gzip layers."""
    bytes: int
    """What they take."""
    others: int
    """Layers that are packed otherwise, or not at all."""
    unread: int
    """Layers that could not be read."""
    parts: int
    """Parts of layers that were compressed anew."""
    sampled: int
    """Bytes of them, as they are stored."""
    whole: bool
    """Whether these are all gzip layers in full."""
    levels: tuple[Recompressed, ...]
    """Empty if there is nothing to measure."""


def recompression(
    sizes: Iterable[tuple[Digest, int]],
    open_blob: Open,
    progress: Progress,
    *,
    sample: int = SAMPLE,
    levels: Sequence[int] = LEVELS,
) -> Recompression:
    """Return what layers of these sizes would take as zstd; read `sample` bytes of them."""
    gzipped: list[tuple[Digest, int]] = []
    others = unread = 0
    for layer, size in sizes:
        try:
            with open_blob(layer) as stream:
                if is_gzip(stream):
                    gzipped.append((layer, size))
                else:
                    others += 1
        except RegfsError:
            unread += 1
    total = sum(size for _, size in gzipped)
    parts, whole = _parts(gzipped, total, sample)
    measured = _measured(parts, open_blob, levels, progress)
    unread += len({layer for (layer, _), one in zip(parts, measured, strict=True) if one is None})
    remade = [one for one in measured if one is not None and one.packed]
    return Recompression(
        layers=len(gzipped),
        bytes=total,
        others=others,
        unread=unread,
        parts=len(remade),
        sampled=sum(one.packed for one in remade),
        whole=whole,
        levels=tuple(
            _at(level, number, remade, total, whole) for number, level in enumerate(levels)
        )
        if remade
        else (),
    )


def _parts(
    layers: list[tuple[Digest, int]], total: int, sample: int
) -> tuple[list[tuple[Digest, Stretch]], bool]:
    """Return the parts to measure, and whether these are all layers in full."""
    if total <= sample:
        return [(layer, Stretch(0, size)) for layer, size in layers], True
    count = max(2, sample // _PART)
    found: list[tuple[Digest, Stretch]] = []
    start = 0
    for layer, size in sorted(layers, key=lambda one: (one[1], one[0])):
        # Each place p = (k + 1/2) * total / count in this layer.
        first = -(-(2 * count * start - total) // (2 * total))
        last = -(-(2 * count * (start + size) - total) // (2 * total))
        for number in range(max(first, 0), min(last, count)):
            place = (2 * number + 1) * total // (2 * count) - start
            offset = min(place, max(size - _PART, 0), _DEEPEST)
            found.append((layer, Stretch(offset, _PART)))
        start += size
    return found, False


def _measured(
    parts: list[tuple[Digest, Stretch]], open_blob: Open, levels: Sequence[int], progress: Progress
) -> list[Remade | None]:
    """Return what came of each part; None for one that could not be read."""
    if not parts:
        return []
    progress.start("Compressing a sample", sum(part.length for _, part in parts), "bytes")

    def measure(one: tuple[Digest, Stretch]) -> Remade | None:
        layer, part = one
        try:
            with open_blob(layer) as stream:
                return recompress(stream, part, levels, progress.advance)
        except RegfsError:
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            found = list(pool.map(measure, parts))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress.finish()
    return found


def _at(level: int, number: int, remade: list[Remade], total: int, whole: bool) -> Recompressed:
    """Return the estimate for one level."""
    ratios = [one.sizes[number] / one.packed for one in remade]
    packed, unpacked = sum(one.packed for one in remade), sum(one.unpacked for one in remade)
    seconds = sum(one.seconds[number] for one in remade)
    ratio = sum(one.sizes[number] for one in remade) / packed if whole else mean(ratios)
    spread = 0.0 if whole or len(ratios) < 2 else 1.96 * stdev(ratios) / len(ratios) ** 0.5
    size = round(total * ratio)
    return Recompressed(
        level=level,
        bytes=size,
        saved=total - size,
        error=round(total * spread),
        speed=round(unpacked / seconds) if seconds else 0,
        seconds=seconds * total / packed,
    )
