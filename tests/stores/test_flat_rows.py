"""Listings as rows: many files at once are what each of them alone would be."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.stores.flat import rows as flat
from regfs.stores.flat.rows import Gathering, NamedFile, Rows

PARTS = st.sampled_from(
    [b"a", b"b", b"ab", b"a!", b"_x", b".", b"..", b".h", b"", b"\n", b"x\0y", b"\xff", b"z" * 4096]
)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(b"/".join), max_size=40)
PLAIN = st.lists(st.lists(st.sampled_from([b"a", b"b", b"ab", b"a!"]), min_size=1, max_size=4)
                 .map(b"/".join), max_size=60)  # fmt: skip


def one_by_one(names: list[bytes]) -> Rows:
    gathering = Gathering("a listing")
    for number, name in enumerate(names):
        gathering.add(NamedFile(name, number, float(number)), number, -number)
    return gathering.finish(anchored=True)


def at_once(names: list[bytes]) -> Rows:
    gathering = Gathering("a listing")
    half = len(names) // 2
    for first, last in ((0, half), (half, len(names))):
        numbers = range(first, last)
        both = array("q", [one for number in numbers for one in (number, -number)])
        gathering.add_files(names[first:last], list(numbers), list(map(float, numbers)), both)
    return gathering.finish(anchored=True)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_PART", 16)  # so that few keys are sorted in many parts


@given(names=NAMES | PLAIN)
def test_many_files_are_what_each_alone_would_be(names: list[bytes]) -> None:
    assert vars(at_once(names)) == vars(one_by_one(names))


@given(names=PLAIN)
def test_rows_are_sorted_and_the_last_of_a_name_counts(names: list[bytes]) -> None:
    rows = at_once(names)
    last = {name.replace(b"/", b"\0"): number for number, name in enumerate(names)}
    shown = {key for key in last if not any(other.startswith(key + b"\0") for other in last)}
    assert rows.keys == sorted(shown)
    assert list(rows.places) == [last[key] for key in rows.keys]
    assert list(rows.marks) == [-last[key] for key in rows.keys]
    assert set(rows.odd) >= last.keys() - shown
