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
    Console(file=file, highlight=False, width=width).print(table("", columns, rows))
    return file.getvalue()


def test_where_there_is_room_each_row_is_one_line() -> None:
    assert shown(200).splitlines()[2:] == [
        "blob         1.2 MB                                    683f989ca87c   "
        "no manifest in any repository needs it",
        "layer-link     71 B   team/my-busybox-extended-plain   68b37cd0c0f1   nothing needs it",
    ]


def test_the_widest_columns_fold_first_and_by_words() -> None:
    assert shown(80).splitlines()[2:5] == [
        "blob         1.2 MB                          683f989ca87c   no manifest in any",
        "                                                            repository needs it",
        "layer-link     71 B   team/my-busybox-exte   68b37cd0c0f1   nothing needs it",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_identifiers_stay_whole_and_lines_fit(width: int) -> None:
    out = shown(width)
    assert all(cell_len(line) <= width for line in out.splitlines())
    assert all(row[3] in out for row in ROWS)


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
def test_no_character_is_lost_at_any_width(rows: list[tuple[str, ...]], width: int) -> None:
    out = shown(width, ("a", ">b", "c"), rows)
    for row in rows:
        for cell in row:
            assert not set(cell) - set(out)
    lines = out.splitlines()
    assert sum(len(cell) for row in rows for cell in row) <= sum(
        len(line.replace(" ", "")) for line in lines
    )


@given(st.lists(st.tuples(_WORDS, _WORDS), min_size=1, max_size=5), st.integers(30, 120))
def test_columns_that_may_fold_never_pass_the_edge(rows: list[tuple[str, ...]], width: int) -> None:
    assert all(cell_len(line) <= width for line in shown(width, ("a", "b"), rows).splitlines())


def test_a_terminal_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=80).print(table("", ("a",), [("b",)]))
    file.flush()
    assert file.buffer.getvalue() == b"a\n-\nb\n"
