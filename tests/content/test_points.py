"""Seek points give the same bytes as unpacking from the beginning."""

from __future__ import annotations

import gzip
import io
import random
import sys

import pytest

from regfs.content import points
from regfs.content.points import BlobFile, build_points, open_at
from tests.support.packings import PACKINGS

pytest.importorskip("indexed_gzip")

DATA = (
    random.Random(7).randbytes(1 << 20)
    + bytes(3 << 20)
    + b"".join(b"%d" % n for n in range(300_000))
)
PLACES = (0, 1, 700_000, 1 << 20, 4_000_000, len(DATA) - 1, len(DATA))


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "SPACING", 256 << 10)


def blob(data: bytes) -> BlobFile:
    return BlobFile(lambda offset: io.BytesIO(data[offset:]), len(data))


@pytest.mark.parametrize("way", [way for way in PACKINGS if way.startswith("gzip")])
def test_reading_from_a_point_is_reading_from_there(way: str) -> None:
    data = PACKINGS[way](DATA)
    made = build_points(blob(data), len(DATA))
    assert made is not None
    for place in PLACES:
        reader = open_at(blob(data), made, place)
        assert reader is not None
        pieces = []
        while piece := reader.read(100_000):
            pieces.append(piece)
        assert b"".join(pieces) == DATA[place:]


@pytest.mark.parametrize("length", [0, 1, 30, 5000])
def test_what_is_cut_off_gives_no_other_bytes(length: int) -> None:
    data = gzip.compress(DATA)[:length]
    made = build_points(blob(data), len(DATA))
    reader = None if made is None else open_at(blob(data), made, 0)
    assert DATA.startswith(b"" if reader is None else reader.read(100_000))


def test_what_is_no_gzip_has_no_points() -> None:
    assert build_points(blob(b"x" * 100_000), 100_000) is None


def test_points_that_are_damaged_are_of_no_use() -> None:
    data = gzip.compress(DATA)
    made = build_points(blob(data), len(DATA))
    assert made is not None
    assert open_at(blob(data), made[:40], 4_000_000) is None
    assert open_at(blob(data), b"", 4_000_000) is None


def test_there_is_a_bound_on_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "MOST", 4)
    made = build_points(blob(gzip.compress(bytes(64 << 20))), 64 << 20)
    assert made is not None
    assert len(made) < 8 * 32768 + 1000


def test_without_the_library_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(DATA)
    made = build_points(blob(data), len(DATA))
    monkeypatch.setitem(sys.modules, "indexed_gzip", None)
    assert build_points(blob(data), len(DATA)) is None
    assert made is not None
    assert open_at(blob(data), made, 0) is None
