"""What zstd would save: how the sample is drawn, and how near the estimate comes."""

from __future__ import annotations

import io
import random
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.recompression import Stretch, recompress
from regfs.digest import Digest
from regfs.errors import BlobUnknown, LayerInvalid
from regfs.progress import SILENT
from regfs.reports import recompression as recompression_module
from regfs.reports.recompression import Recompression, _parts, recompression
from tests.support.packings import PACKINGS

DRAW = random.Random(1)
WORDS = [bytes(DRAW.choices(range(97, 123), k=DRAW.randint(2, 9))) for _ in range(3000)]


def text(size: int) -> bytes:
    """Return what packs about as well as source code does."""
    return b" ".join(DRAW.choices(WORDS, k=size // 5))[:size]


def packed(*contents: bytes, way: str = "gzip") -> dict[Digest, bytes]:
    blobs = [PACKINGS[way](content) for content in contents]
    return {Digest.of(blob): blob for blob in blobs}


def measured(blobs: dict[Digest, bytes], **options: int) -> Recompression:
    def open_blob(digest: Digest) -> BinaryIO:
        if digest not in blobs:
            raise BlobUnknown("gone")
        return io.BytesIO(blobs[digest])

    sizes = [(digest, len(blob)) for digest, blob in blobs.items()]
    sizes += [(Digest.of(b"gone"), 10)] * options.pop("gone", 0)
    return recompression(sizes, open_blob, SILENT, levels=(3, 6), **options)


def test_small_registries_are_compressed_as_a_whole() -> None:
    contents = [text(100_000) for _ in range(3)]
    blobs = packed(*contents)
    found = measured(blobs, sample=1_000_000)
    assert (found.layers, found.parts, found.whole, found.others, found.unread) == (
        3,
        3,
        True,
        0,
        0,
    )
    assert found.bytes == found.sampled == sum(map(len, blobs.values()))
    assert [one.error for one in found.levels] == [0, 0]
    for one in found.levels:
        assert one.bytes + one.saved == found.bytes
    zstd = sum(len(PACKINGS["zstd"](content)) for content in contents)
    assert found.levels[0].bytes == pytest.approx(zstd, rel=0.01)


def test_the_estimate_by_a_sample_comes_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompression_module, "_PART", 128 << 10)
    blobs = packed(*(text(size) for size in range(400_000, 1_400_000, 100_000)), bytes(2_000_000))
    found, whole = measured(blobs, sample=1 << 20), measured(blobs, sample=1 << 30)
    assert not found.whole
    assert found.parts == 8
    assert found.sampled < found.bytes / 2
    for one, other in zip(found.levels, whole.levels, strict=True):
        assert abs(one.bytes - other.bytes) < 0.05 * other.bytes
        assert one.error > 0


def test_only_gzip_is_measured_and_what_cannot_be_read_is_counted() -> None:
    sound = PACKINGS["gzip"](text(300_000))
    broken = {Digest.of(b"broken"): sound[:50_000] + bytes(1000) + sound[51_000:]}
    blobs = packed(text(1000), way="zstd") | packed(text(1000), way="tar") | broken
    found = measured(blobs, sample=1 << 30, gone=1)
    assert (found.layers, found.others, found.unread, found.levels) == (1, 2, 2, ())
    with pytest.raises(LayerInvalid, match="not packed with gzip"):
        recompress(io.BytesIO(PACKINGS["zstd"](b"-")), Stretch(0, 1), (3,), SILENT.advance)


@given(sizes=st.lists(st.integers(1, 1 << 32), min_size=1, max_size=50), count=st.integers(2, 64))
def test_parts_lie_evenly_in_the_bytes_of_all_layers(sizes: list[int], count: int) -> None:
    layers = [(Digest.of(str(number).encode()), size) for number, size in enumerate(sizes)]
    total, sample = sum(sizes), count * (2 << 20)
    parts, whole = _parts(layers, total, sample)
    if whole:
        assert total <= sample
        assert parts == [(layer, Stretch(0, size)) for layer, size in layers]
        return
    assert len(parts) == count
    for layer, size in layers:
        drawn = sum(one == layer for one, _ in parts)
        assert abs(drawn - size * count / total) <= 1
        assert all(part.offset < size for one, part in parts if one == layer)
