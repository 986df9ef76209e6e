"""Efficiency is what dive computes: by figures of dive itself, and by its steps taken one by one.

The figures were printed by dive's own code (d6c6919, May 2025: filetree/efficiency.go and what it
needs, built with Go 1.19) for these very layers; it cannot be installed where the tests run. The
same way every image of the BuildKit trees, and thousands of random ones, gave equal figures.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.entries import read_entries
from regfs.digest import Digest
from regfs.files.efficiency import Efficiency
from regfs.files.listing import Columns, LayerListing
from tests.support.dive import Said, dive_says
from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of


def listed(tar: bytes) -> LayerListing:
    columns = Columns()
    for one in read_entries(io.BytesIO(tar)):
        columns.add(one)
    return LayerListing(Digest.of(b"layer"), columns)


def measured(tars: Sequence[bytes]) -> Said:
    efficiency = Efficiency()
    for one in tars:
        efficiency.push(listed(one))
    return Said(efficiency.score, efficiency.wasted)


APT = [
    [folder("etc"), entry("etc/passwd", b"r" * 900), folder("usr"), folder("usr/bin"),
     entry("usr/bin/sh", b"s" * 120_000), hardlink("usr/bin/ls", "usr/bin/sh"),
     symlink("bin", "usr/bin")],
    [folder("var"), folder("var/lib"), folder("var/lib/apt"), folder("var/lib/apt/lists"),
     *(entry(f"var/lib/apt/lists/{n}", b"l" * 4_000) for n in range(20)),
     folder("var/cache"), entry("var/cache/pkgcache.bin", b"p" * 30_000),
     folder("etc"), entry("etc/passwd", b"r" * 950)],
    [folder("var"), folder("var/lib"), folder("var/lib/apt"), folder("var/lib/apt/lists"),
     *(entry(f"var/lib/apt/lists/.wh.{n}") for n in range(20)), entry("var/.wh.cache")],
]  # fmt: skip
"""Lists and caches that the next instruction removes: files one by one, a folder as a whole."""
CHOWN = [
    [folder("app"), entry("app/main", b"m" * 77_777), entry("app/data", b"d" * 1_234)],
    [folder("app", uid=1000), entry("app/main", b"m" * 77_777, uid=1000)],
    [folder("app"), entry("app/main", b"m" * 80_000), entry("app/.wh.data")],
]
"""A file whose owner is changed, and which is then replaced."""
ODD = [
    [entry("a", b"a" * 100), entry("b/c", b"c" * 50), folder("d"), entry("d/e", b"e" * 70)],
    [entry("b/.wh..wh..opq"), entry("b/n", b"n" * 20), entry(".wh.d"), entry("d", b"d" * 5)],
    [entry(".wh.nothing"), entry("z", b"z" * 1_000), entry("a", b"a" * 30)],
]
"""An opaque folder, a file over a folder, and a whiteout of nothing."""
FIGURES = {
    "apt": (APT, Said(0.6908535421042582, 81_850)),
    "chown": (CHOWN, Said(0.32846681419666535, 236_788)),
    "odd": (ODD, Said(0.7746031746031746, 75)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_are_those_of_dive(name: str) -> None:
    layers, figures = FIGURES[name]
    tars = [tar_of(one) for one in layers]
    assert measured(tars) == pytest.approx(figures, abs=1e-12)
    assert dive_says(tars) == pytest.approx(figures, abs=1e-12)


def test_a_whiteout_in_the_lowest_layer_looks_at_that_layer() -> None:
    """Found by a long search; no builder makes such a layer."""
    tars = [tar_of([entry("a/.wh.a", b"1"), folder("a"), folder(".wh.a")])]
    assert measured(tars) == dive_says(tars) == (0.0, 0)


@pytest.mark.parametrize("layers", [[], [[]], [[folder("etc"), entry("etc/empty")]]])
def test_nothing_wastes_nothing(layers: list[list[Entry]]) -> None:
    assert measured([tar_of(one) for one in layers]) == (1.0, 0)


NAMES = st.sampled_from(["a", "b", "c", ".wh.a", ".wh.b", ".wh.c", ".wh..wh..opq"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DATA = st.integers(0, 50).map(lambda size: b"x" * size)
ENTRIES = st.one_of(
    st.builds(entry, PATHS, DATA),
    st.builds(folder, PATHS),
    st.builds(hardlink, PATHS, PATHS),
    st.builds(symlink, PATHS, PATHS),
)
LAYERS = st.lists(st.lists(ENTRIES, max_size=8), max_size=5)


@given(layers=LAYERS, others=LAYERS)
def test_efficiency_is_what_dive_computes_step_by_step(
    layers: list[list[Entry]], others: list[list[Entry]]
) -> None:
    efficiency, tars = Efficiency(), [tar_of(one) for one in layers]
    for one in tars:
        for other in others:
            efficiency.push(listed(tar_of(other)))
        for _ in others:
            efficiency.pop()
        efficiency.push(listed(one))
    said = dive_says(tars) if tars else Said(1.0, 0)
    assert (efficiency.score, efficiency.wasted) == pytest.approx(said, abs=1e-12)
