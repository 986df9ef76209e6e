"""Tables on terminals of any width: nothing is lost, what identifies a thing stays on one line."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from regfs.render.tables import table

ROWS = [
    ("blob", "1.2 MB", "", "683f989ca87c", "no manifest in any repository needs it"),
    ("layer-link", "71 B", "team/my-busybox-extended-plain", "68b37cd0c0f1", "nothing needs it"),
]
COLUMNS = ("what", ">size", "repository", "=which", "why")


def shown(
    width: int, columns: tuple[str, ...] = COLUMNS, rows: Sequence[tuple[str, ...]] = ROWS
) -> str:
    file = io.StringIO()
    Console(file=file, highlight=False, width=width).print(table("", columns, rows), crop=False)
    return file.getvalue()


def test_where_there_is_room_each_row_is_one_line() -> None:
    assert shown(200).splitlines()[2:] == [
        "blob         1.2 MB                                    683f989ca87c   "
        "no manifest in any repository needs it",
        "layer-link     71 B   team/my-busybox-extended-plain   68b37cd0c0f1   nothing needs it",
    ]


def test_the_widest_columns_fold_first_and_by_words() -> None:
    assert shown(92).splitlines()[2:5] == [
        "blob         1.2 MB                                    683f989ca87c   no manifest in any",
        "                                                                      repository needs it",
        "layer-link     71 B   team/my-busybox-extended-plain   68b37cd0c0f1   nothing needs it",
    ]


def test_no_cell_folds_between_a_number_and_its_unit() -> None:
    rows = [("1.13 kB of 20 MiB, 20 % less in 3 Blobs",)]
    assert shown(11, ("what",), rows).splitlines()[2:] == [
        "1.13 kB of",
        "20 MiB,",
        "20 % less",
        "in 3 Blobs",
    ]


def test_media_types_fold_at_their_marks() -> None:
    rows = [("image", "application/vnd.oci.image.manifest.v1+json")]
    assert shown(30, ("kind", "/type"), rows).splitlines()[2:] == [
        "image   application/vnd.oci.",
        "        image.manifest.v1+json",
    ]


def test_a_first_column_that_is_too_wide_stands_above_the_others() -> None:
    rows = [("team/my-busybox-extended:latest", "3", "1.2 MB"), ("app:v1", "1", "71 B")]
    assert shown(40, ("Image", ">Tags", ">Bytes"), rows).splitlines() == [
        "Image",
        "     Tags    Bytes",
        "──────────────────",
        "team/my-busybox-extended:latest",
        "        3   1.2 MB",
        "app:v1",
        "        1     71 B",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_names_and_identifiers_stay_whole(width: int) -> None:
    out = shown(width)
    assert all(cell_len(line) <= max(width, 43) for line in out.splitlines())
    assert all(row[2] in out and row[3] in out for row in ROWS)


def test_where_no_table_fits_each_row_is_a_block() -> None:
    assert shown(40).splitlines()[:6] == [
        "what         blob",
        "size         1.2 MB",
        "which        683f989ca87c",
        "why          no manifest in any",
        "             repository needs it",
        "",
    ]


_WORDS = st.text(st.characters(exclude_categories=["C", "Z", "M"]), max_size=40)
_CELLS = st.lists(_WORDS, min_size=3, max_size=3).map(tuple)


@given(st.lists(_CELLS, min_size=1, max_size=5), st.integers(20, 120))
def test_every_word_is_whole_at_any_width(rows: list[tuple[str, ...]], width: int) -> None:
    lines = shown(width, ("a", ">b", "c"), rows).splitlines()
    for row in rows:
        for cell in row:
            assert any(cell in line for line in lines)


_SENTENCES = st.lists(st.text("ab/.+", min_size=1, max_size=8), max_size=9).map(" ".join)


@given(st.lists(st.tuples(_SENTENCES, _SENTENCES), min_size=1, max_size=5), st.integers(30, 120))
def test_columns_that_may_fold_never_pass_the_edge(rows: list[tuple[str, ...]], width: int) -> None:
    shown_lines = shown(width, ("a", "/b"), rows).splitlines()
    assert all(cell_len(line) <= width for line in shown_lines)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=80).print(table("", ("a",), [("b",)]))
    file.flush()
    assert file.buffer.getvalue() == b"a\n-\nb\n"
