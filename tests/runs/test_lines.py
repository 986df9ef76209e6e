"""The lines of a journal: what a crash leaves is told from damage, and no damage passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.runs.lines import JournalReading, Lines, empty, end_of, read, tail_of

RUN = "20260101T000000Z-aaaaaa"

_KEYS = st.sampled_from(["run", "move", "path", "applied"])
_VALUES = st.text(max_size=8) | st.integers() | st.none()
_LINE = st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=3)


def written(*lines: dict[str, object], after: bytes = b"", run: str = RUN) -> bytes:
    """Return a journal to which lines were added."""
    file = BytesIO()
    start = read(run, after) if after else empty(run)
    Lines(file, start).write_all(lines)
    return after + file.getvalue()


def old(*lines: dict[str, object]) -> bytes:
    """Return a journal as versions before the check wrote it, with their empty first line."""
    return b"\n" + b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def whole(data: bytes, run: str = RUN) -> JournalReading:
    found = read(run, data)
    assert found.damage is None
    return found


LINES: list[dict[str, object]] = [{"run": RUN}, {"move": "a"}, {"move": "b"}, {"applied": 1}]


# -- what passes ----------------------------------------------------------------------


@given(st.lists(st.lists(_LINE, max_size=4), max_size=4))
def test_lines_are_read_as_written_in_any_number_of_sessions(
    goes: list[list[dict[str, object]]],
) -> None:
    data = b""
    for go in goes:
        data = written(*go, after=data)
    assert whole(data).lines == [line for go in goes for line in go]


@given(st.lists(_LINE, min_size=1, max_size=5), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_journal_cut_anywhere_any_number_of_times_is_continued(
    lines: list[dict[str, object]], cuts: list[float]
) -> None:
    """Only what a write had begun is lost: an end that was durable is never cut off again."""
    data = b""
    expected: list[dict[str, object]] = []
    for cut in cuts:
        longer = written(*lines, after=data)
        added = longer[len(data) :]
        kept = round(cut * len(added))
        if added[:kept] == b"\n":
            kept = 0  # that one byte is told by another test
        data = data + added[:kept]
        found = whole(data)
        assert found.lines[: len(expected)] == expected
        expected = found.lines
    assert whole(written({"run": "x"}, after=data)).lines == [*expected, {"run": "x"}]


def test_a_newline_alone_after_a_torn_line_is_taken_for_damage() -> None:
    """A last line with its newline was whole once; that of a crash has none."""
    data = written(*LINES)[:-5]
    assert whole(data).lines == LINES[:-1]
    assert read(RUN, data + b"\n").damage is not None


@given(st.lists(_LINE, min_size=1, max_size=4), st.lists(_LINE, max_size=3))
def test_an_old_journal_is_read_and_sealed_by_what_is_added(
    before: list[dict[str, object]], added: list[dict[str, object]]
) -> None:
    data = written(*added, after=old(*before))
    assert whole(data).lines == [*before, *added]


def test_a_torn_line_of_an_old_journal_is_skipped_when_a_line_says_so() -> None:
    data = written({"undoing": 1}, after=old(*LINES)[:-5])
    assert whole(data).lines == [*LINES[:-1], {"undoing": 1}]


def test_an_empty_journal_has_no_lines_and_no_damage() -> None:
    assert whole(b"").lines == []
    assert whole(b'{"run": "2026').lines == []


# -- what does not ----------------------------------------------------------------------


def _pieces() -> list[bytes]:
    return written(*LINES).splitlines(keepends=True)


DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a NUL in the middle": lambda p: [p[0], b"\0" + p[1][1:], *p[2:]],
    "a digit of a path": lambda p: [p[0], p[1].replace(b'"a"', b'"c"'), *p[2:]],
    "a digit of a check": lambda p: [p[0], p[1][:-4] + b"g" + p[1][-3:], *p[2:]],
    "a check taken off": lambda p: [p[0], p[1][:-30] + b"}\n", *p[2:]],
    "the first line gone": lambda p: p[1:],
    "a middle line gone": lambda p: [p[0], *p[2:]],
    "two lines swapped": lambda p: [p[0], p[2], p[1], p[3]],
    "a line doubled": lambda p: [p[0], p[1], p[1], *p[2:]],
    "the last line doubled": lambda p: [*p, p[-1]],
    "an empty line": lambda p: [p[0], b"\n", *p[1:]],
    "the last line changed": lambda p: [*p[:-1], b"\0" + p[-1][1:]],
    "NULs for a block": lambda p: [p[0], b"\0" * len(p[1] + p[2]), p[3]],
    "all of it doubled": lambda p: [*p, *p],
    "not one line": lambda p: [b"\0" * 300 + b"\n"],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_after_a_damaged_line_is_believed(damage: str) -> None:
    data = b"".join(DAMAGES[damage](_pieces()))
    found = read(RUN, data)
    assert found.damage is not None
    assert found.lines == LINES[: len(found.lines)]
    # What is added to it, of a restore, does not make it whole.
    again = read(RUN, written({"restored": 1}, after=data))
    assert (again.damage is None, again.lines) == (False, found.lines)


@given(st.data())
def test_a_change_of_any_byte_before_the_last_line_is_damage(data: st.DataObject) -> None:
    good = written(*LINES)
    last = good.rindex(b"\n", 0, -1)
    place = data.draw(st.integers(0, last))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[place]))
    assert read(RUN, good[:place] + bytes([byte]) + good[place + 1 :]).damage is not None


def test_the_lines_of_another_run_do_not_pass() -> None:
    assert read("20260101T000000Z-bbbbbb", written(*LINES)).damage is not None


@pytest.mark.parametrize("change", [(b'"a"', b'"c"'), (b'{"move": "a"}\n', b"")])
def test_a_change_of_lines_that_a_later_check_covers_is_damage(change: tuple[bytes, bytes]) -> None:
    data = written({"restored": 1}, after=old(*LINES))
    assert read(RUN, data.replace(*change)).damage is not None


def test_a_line_of_an_old_journal_that_is_no_json_is_damage() -> None:
    data = old(*LINES)
    assert read(RUN, data.replace(b'{"move": "a"}', b'\0"move": "a"}')).damage is not None


def test_a_line_without_a_check_after_one_that_has_it_is_damage() -> None:
    assert read(RUN, written(*LINES) + b'{"purged": 1}\n').damage is not None


# -- the end alone ------------------------------------------------------------------------


def test_the_last_line_is_found_from_the_end_of_a_journal() -> None:
    data = written(*LINES)
    assert tail_of(data[len(data) // 2 :]) == LINES[-1]
    assert tail_of(old(*LINES)) == LINES[-1]
    assert tail_of(data[:-1]) is None
    assert tail_of(data.replace(b'"applied": 1', b'"applied": 2')) is None
    assert tail_of(data + data.splitlines(keepends=True)[1]) is None
    assert tail_of(b"") is None


@given(st.lists(_LINE, min_size=2, max_size=5), st.integers(0, 3))
def test_a_journal_goes_on_from_its_last_lines_as_from_all_of_them(
    lines: list[dict[str, object]], before: int
) -> None:
    data = written(*lines, after=old(*LINES[:before]))
    found = end_of(data[data.rindex(b"\n", 0, data.rindex(b"\n", 0, -1)) + 1 :])
    assert found is not None
    assert (found.check, found.torn, found.open) == (whole(data).check, 0, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        old(*LINES),
        written(*LINES)[:-1],
        written({"restored": 1}, after=old(*LINES)),
        written(*LINES) + b'{"purged": 1}\n',
        written(*LINES).replace(b'"applied": 1', b'"applied": 2'),
        b"".join([*_pieces(), _pieces()[-1]]),
        _pieces()[-1],
    ],
)
def test_an_end_that_does_not_continue_what_came_before_says_nothing(data: bytes) -> None:
    assert end_of(data) is None
