"""Listings as rows: many files at once are what each of them alone would be, packed or not."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import RegfsError
from regfs.stores import FileKind
from regfs.stores.flat import gathering as flat
from regfs.stores.flat.gathering import Gathering, NamedFile
from regfs.stores.flat.packed import TOGETHER, PackedKeys
from regfs.stores.flat.rows import V2, Rows, path_of

PARTS = st.sampled_from(
    [b"a", b"b", b"ab", b"a!", b"_x", b".", b"..", b".h", b"", b"\n", b"x\0y", b"\xff", b"z" * 4096]
)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(b"/".join), max_size=40)
PLAIN = st.lists(st.lists(st.sampled_from([b"a", b"b", b"ab", b"a!"]), min_size=1, max_size=4)
                 .map(b"/".join), max_size=60)  # fmt: skip
TREE: Final = path_of(V2).encode()
TOPS = st.sampled_from([TREE, b"x/" + TREE, b"registry/v2/blobs", b"a", b"a\\n", b"a\nb"])
ITEMS = st.lists(
    st.builds(
        NamedFile,
        st.builds(lambda top, rest: b"/".join((top, *rest)), TOPS, st.lists(PARTS, max_size=3)),
        st.integers(0, 9),
        st.floats(0, 9),
        st.sampled_from(FileKind),
        st.none() | st.builds(lambda top, rest: top + b"/" + rest, TOPS, PARTS),
    ),
    max_size=40,
)


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


def seen(rows: Rows) -> dict[str, Any]:
    """Return all columns."""
    return {**vars(rows), "keys": list(rows.keys)}


class Packed(NamedTuple):
    """How many keys make a run, and how many are merged at once."""

    run: int
    part: int


@pytest.fixture(params=[Packed(1 << 17, 1 << 16), Packed(5, 64), Packed(1, 1)], ids=str)
def _packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_RUN", request.param.run)
    monkeypatch.setattr(flat, "_PART", request.param.part)


@pytest.mark.usefixtures("_packed")
@given(names=NAMES | PLAIN)
def test_many_files_are_what_each_alone_would_be(names: list[bytes]) -> None:
    assert seen(at_once(names)) == seen(one_by_one(names))


@pytest.mark.usefixtures("_packed")
@given(names=PLAIN)
def test_rows_are_sorted_and_the_last_of_a_name_counts(names: list[bytes]) -> None:
    rows = at_once(names)
    last = {name.replace(b"/", b"\0"): number for number, name in enumerate(names)}
    shown = {key for key in last if not any(other.startswith(key + b"\0") for other in last)}
    assert list(rows.keys) == sorted(shown)
    assert list(rows.places) == [last[key] for key in rows.keys]
    assert list(rows.marks) == [-last[key] for key in rows.keys]
    assert set(rows.odd) >= last.keys() - shown


def gathered(items: list[NamedFile], *, anchored: bool) -> tuple[dict[str, Any] | str, list[bytes]]:
    """Return the rows of a listing, or why there are none, and the names that they had there."""
    gathering = Gathering("a listing", layouts=True)
    for number, item in enumerate(items):
        gathering.add(item, number, -number)
    assert gathering.count == len(items)
    try:
        rows = gathering.finish(anchored=anchored)
    except RegfsError as error:
        return str(error), []
    return seen(rows), list(map(gathering.name_of, rows.keys))


@given(items=ITEMS, anchored=st.booleans())
def test_what_is_packed_is_what_is_not(items: list[NamedFile], anchored: bool) -> None:
    plain = gathered(items, anchored=anchored)
    with pytest.MonkeyPatch.context() as patch:
        for packed in (Packed(5, 64), Packed(1, 1)):
            patch.setattr(flat, "_RUN", packed.run)
            patch.setattr(flat, "_PART", packed.part)
            assert gathered(items, anchored=anchored) == plain


@given(
    keys=st.lists(st.text("ab\\n\n\0é").map(str.encode), unique=True, max_size=300).map(sorted),
    wanted=st.lists(st.text("ab\\n\n\0é").map(str.encode), max_size=20),
    slices=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5),
)
def test_packed_keys_are_a_sorted_list(
    keys: list[bytes], wanted: list[bytes], slices: list[tuple[int, int]]
) -> None:
    packed = PackedKeys(iter(keys))
    assert (len(packed), list(packed)) == (len(keys), keys)
    assert [packed[at] for at in range(len(keys))] == keys
    assert list(packed.firsts) == keys[::TOGETHER]
    for low, high in ((0, len(keys)), *slices):
        low, high = min(low, len(keys)), min(max(low, high), len(keys))
        for key in (*wanted, *keys):
            assert packed.left(key, low, high) == bisect_left(keys, key, low, high)
    assert [key for block in packed.blocks() for key in block] == keys


def test_no_key_is_beyond_the_end() -> None:
    for count in (0, 1, TOGETHER, TOGETHER + 1):
        packed = PackedKeys(b"%05d" % number for number in range(count))
        with pytest.raises(IndexError):
            packed[count]
