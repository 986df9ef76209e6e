"""On which line things stand: of documents written by a pen that remembers."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.positions import Path, json_lines, toml_lines


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of everything in a parsed document."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*path, number))


class Pen:
    """Writes a document, and remembers on which line each path was begun."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}
        self.keys = 0

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def choose(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def times(self, most: int) -> range:
        return range(self.draw(st.integers(0, most)))


class TomlPen(Pen):
    def key(self) -> tuple[str, str]:
        """Return a new key, as it is and as it is written."""
        self.keys += 1
        number = self.keys
        ways: list[tuple[str, str]] = [
            (f"k{number}", f"k{number}"),
            (f"{number}-x_", f"{number}-x_"),
            (f"a.b{number}", f'"a.b{number}"'),
            (f'q"]{number}', f'"q\\"]{number}"'),
            (f"A#{number}", f"'A#{number}'"),
            (f"é{number}", f'"\\u00e9{number}"'),
        ]
        return self.draw(st.sampled_from(ways))

    def gap(self) -> None:
        """Write blank lines and comments."""
        self.text += self.choose("", "", "\n", "\r\n", "# k = [\n", "  # '''\n\t\n")

    def document(self) -> None:
        self.gap()
        self.pairs(())
        for _ in self.times(3):
            self.table()

    def pairs(self, table: Path) -> None:
        for _ in self.times(2):
            self.text += self.choose("", "  ")
            self.pair(table)
            self.text += self.choose("\n", "  # x = 1\n", "\r\n")
            self.gap()

    def table(self) -> None:
        (key, shown), is_array = self.key(), self.choose(True, False)
        for number in range(1 + self.choose(0, 0, 1, 2) * is_array):
            self.note((key,))
            path: Path = (key, number) if is_array else (key,)
            self.note(path)
            self.text += f"[[ {shown}]] # ]\n" if is_array else f"[{shown} ]\n"
            self.pairs(path)
            for _ in self.times(1):
                inner, inner_shown = self.key()
                self.note((*path, inner))
                self.text += f"[{shown} . {inner_shown}]\n"
                self.pairs((*path, inner))

    def pair(self, table: Path) -> None:
        parts = [self.key() for _ in range(self.choose(1, 1, 2, 3))]
        for key, _ in parts:
            table = (*table, key)
            self.note(table)
        self.text += self.choose(".", " . ").join(shown for _, shown in parts)
        self.text += self.choose("=", " = ")
        self.value(table, self.choose(0, 1, 2))

    def value(self, path: Path, depth: int) -> None:
        kind = self.choose("scalar", "text", "array", "inline") if depth else "text"
        if kind == "scalar":
            self.text += self.choose("1", "true", "-1.5e3", "1979-05-27 07:32:00", "0xff", "inf")
        elif kind == "text":
            self.text += self.choose(*STRINGS)
        elif kind == "array":
            self.array(path, depth)
        else:
            self.text += "{"
            for number in self.times(2):
                self.text += ", " if number else " "
                self.pair(path)
            self.text += "}"

    def array(self, path: Path, depth: int) -> None:
        self.text += "["
        for number in self.times(3):
            self.text += ("," if number else "") + self.choose("", " ", "\n", "# ], \n\n")
            self.note((*path, number))
            self.value((*path, number), depth - 1)
        self.text += self.choose("", "\n", " # ]\n") + "]"


STRINGS = [
    '""',
    "''",
    '"a # b"',
    '"]},\\""',
    "'\\'",
    "'[[x]]'",
    '""""""',
    "''''''",
    '"""\n[a]\nk = "1"\n"""',
    "'''\n[[a]]\n# '' x'''",
    '"""a\\"""\n"""',
    '""""quoted" ""\n"""""',
    "''''a'\n'''''",
    '"""\\\\"""',
]


@st.composite
def toml_documents(draw: st.DrawFn) -> TomlPen:
    pen = TomlPen(draw)
    pen.document()
    return pen


@given(toml_documents())
def test_every_key_of_toml_is_found_on_its_line(pen: TomlPen) -> None:
    assert set(paths(tomllib.loads(pen.text))) == pen.lines.keys()
    assert toml_lines(pen.text).of == pen.lines


class JsonPen(Pen):
    def gap(self) -> None:
        self.text += self.choose("", "", " ", "\n", "\r\n\t")

    def value(self, path: Path, depth: int) -> None:
        kind = self.choose("scalar", "text", "array", "object") if depth else "scalar"
        if kind == "scalar":
            self.text += self.choose("1", "true", "null", "-1.5e3", '"x"')
        elif kind == "text":
            self.text += self.choose('""', '"]}"', '"\\""', '"\\\\"', '"{\\"a\\": 1,"', '"\\n,"')
        elif kind == "array":
            self.text += "["
            for number in self.items():
                self.note((*path, number))
                self.value((*path, number), depth - 1)
            self.gap()
            self.text += "]"
        else:
            self.text += "{"
            for number in self.items():
                key, shown = self.choose(("a", '"a"'), ('"', '"\\""'), ("é]", '"\\u00e9]"'))
                inner = (*path, f"{key}{number}")
                self.note(inner)
                self.text += f'{shown[:-1]}{number}"'
                self.gap()
                self.text += ":"
                self.gap()
                self.value(inner, depth - 1)
            self.gap()
            self.text += "}"

    def items(self) -> Iterator[int]:
        """Yield numbers, with what separates their elements written."""
        for number in self.times(3):
            self.gap()
            self.text += "," if number else ""
            self.gap()
            yield number


@st.composite
def json_documents(draw: st.DrawFn) -> JsonPen:
    pen = JsonPen(draw)
    pen.gap()
    pen.value((), 3)
    pen.gap()
    return pen


@given(json_documents())
def test_every_key_of_json_is_found_on_its_line(pen: JsonPen) -> None:
    assert set(paths(json.loads(pen.text))) == pen.lines.keys()
    found = json_lines(pen.text)
    assert found.of == pen.lines
    assert found.twice == {}


def test_a_key_that_json_gives_twice_is_told_where_it_is_again() -> None:
    found = json_lines('{"a": {"b": 1,\n"b": 2,\n"b": 3},\n"a": 4, "c": {"b": 1}}')
    assert found.twice == {("a", "b"): 2, ("a",): 4}


def test_a_table_is_where_its_own_header_is() -> None:
    text = "[a.b]\nx = 1\n[a]\ny = 1\n[[c.d]]\n[c]\n[[c.d]]\nz = 1\n[c.d.e]"
    assert toml_lines(text).of == {
        ("a",): 3,
        ("a", "b"): 1,
        ("a", "b", "x"): 2,
        ("a", "y"): 4,
        ("c",): 6,
        ("c", "d"): 5,
        ("c", "d", 0): 5,
        ("c", "d", 1): 7,
        ("c", "d", 1, "z"): 8,
        ("c", "d", 1, "e"): 9,
    }


def test_what_is_not_there_is_looked_for_in_what_it_would_be_in() -> None:
    found = toml_lines("\n[[a]]\nb = 1\n")
    assert found.nearest(("a", 0, "b")) == 3
    assert found.nearest(("a", 0, "c", 5)) == 2
    assert found.nearest(("x",)) == found.nearest(()) == 1


@pytest.mark.parametrize("text", ["a", "= 1", "[a", "a = [", "a = {b", "a = "])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        toml_lines(text)


@pytest.mark.parametrize("text", ["", "{", '{"a"', '{"a" 1}', "[", "[1", '"x', "{1: 2}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        json_lines(text)
