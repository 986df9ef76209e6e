r"""On which line of a TOML or JSON document each key and each element of an array stands.

    toml_lines('[[a]]\nb = ["x",\n"y"]').of -> {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2,
                                                 ("a", 0, "b", 0): 2, ("a", 0, "b", 1): 3}

The parsers of the standard library give values without places, and a person who has to mend a
file wants the place. Documents are to be valid: the parsers are asked first, these scanners
only look where things are.
"""

from __future__ import annotations

import json
import re
import tomllib
from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Such as ("policies", 0, "keepTags")."""


@dataclass(slots=True)
class Lines:
    """Where everything in a document is."""

    of: dict[Path, int] = field(default_factory=dict)
    """Counted from 1. A table is where its header is, or its first key if it has none."""
    twice: dict[Path, int] = field(default_factory=dict)
    """JSON only: keys that are written more than once, and where the second one is."""

    def nearest(self, path: Path) -> int:
        """Return where a path is, or else what it would be in; 1 when nothing of it is there."""
        while path and path not in self.of:
            path = path[:-1]
        return self.of.get(path, 1)


def toml_lines(text: str) -> Lines:
    """Return where the keys of a valid TOML document are.

    Raises:
        ValueError: it is not valid, and that got in the way.
    """
    return _Toml(text).scan()


def json_lines(text: str) -> Lines:
    """Return where the keys of a valid JSON document are.

    Raises:
        ValueError: it is not valid, and that got in the way.
    """
    return _Json(text).scan()


class _Scanner(ABC):
    """A place in a text that moves on."""

    blank: re.Pattern[str]

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = Lines()
        self._ends = [found.start() for found in re.finditer("\n", text)]

    @property
    def line(self) -> int:
        return bisect_left(self._ends, self.at) + 1

    def take(self, pattern: re.Pattern[str]) -> str:
        """Move over what must be next."""
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"not a valid document: line {self.line}")
        self.at = found.end()
        return found[0]

    def skip(self) -> None:
        """Move over what means nothing."""
        self.take(self.blank)

    def goes_on_with(self, sign: str) -> bool:
        """Move over blanks and, if it is next, over `sign`."""
        self.skip()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def array(self, path: Path) -> None:
        """Move over the elements of an array and its end."""
        number = 0
        while not self.goes_on_with("]"):
            element = (*path, number)
            self.lines.of[element] = self.line
            self.value(element)
            self.goes_on_with(",")
            number += 1

    @abstractmethod
    def value(self, path: Path) -> None:
        """Move over a value."""


class _Json(_Scanner):
    blank = re.compile(r"[ \t\r\n]*")
    string = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
    scalar = re.compile(r"[^ \t\r\n,\]}]+")
    colon = re.compile(":")

    def scan(self) -> Lines:
        self.skip()
        self.value(())
        return self.lines

    def value(self, path: Path) -> None:
        if self.goes_on_with("{"):
            self._object(path)
        elif self.goes_on_with("["):
            self.array(path)
        else:
            self.take(self.string if self.text.startswith('"', self.at) else self.scalar)

    def _object(self, path: Path) -> None:
        while not self.goes_on_with("}"):
            line = self.line
            key = (*path, json.loads(self.take(self.string)))
            if key in self.lines.of:
                self.lines.twice.setdefault(key, line)
            self.lines.of[key] = line
            self.skip()
            self.take(self.colon)
            self.value(key)
            self.goes_on_with(",")


class _Toml(_Scanner):
    blank = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
    bare = re.compile("[A-Za-z0-9_-]+")
    basic = re.compile(r'"(?:[^"\\]|\\.)*"')
    literal = re.compile("'[^']*'")
    strings = (
        re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
        re.compile("'''.*?'{3,5}", re.DOTALL),
        basic,
        literal,
    )
    scalar = re.compile(r"[^,\]}\n#]+")
    equals = re.compile("=")
    end_of_header = re.compile("]]?")

    def scan(self) -> Lines:
        arrays: dict[Path, int] = {}
        table: Path = ()
        while self.at < len(self.text):
            if self.goes_on_with("["):
                table = self._header(arrays)
            elif self.at < len(self.text):
                self._pair(table)
        return self.lines

    def _header(self, arrays: dict[Path, int]) -> Path:
        """Move over a header; return the table that it opens."""
        line = self.line
        is_array = self.goes_on_with("[")
        table: Path = ()
        keys = self._keys()
        for key in keys:
            # A header goes on in the last element of an array of tables.
            table = (*self._last(table, arrays), key)
            self.lines.of.setdefault(table, line)
        if is_array:
            arrays[table] = arrays.get(table, -1) + 1
            table = (*table, arrays[table])
        # Before its own header a table may have been opened by that of a table within it.
        self.lines.of[table] = line
        self.skip()
        self.take(self.end_of_header)
        return table

    def _last(self, table: Path, arrays: dict[Path, int]) -> Path:
        return (*table, arrays[table]) if table in arrays else table

    def _keys(self) -> list[str]:
        """Move over a key, with its dots."""
        keys: list[str] = []
        while not keys or self.goes_on_with("."):
            self.skip()
            first = self.text[self.at : self.at + 1]
            if first == "'":
                keys.append(self.take(self.literal)[1:-1])
            elif first == '"':
                keys.append(str(tomllib.loads(f"key = {self.take(self.basic)}")["key"]))
            else:
                keys.append(self.take(self.bare))
        return keys

    def _pair(self, table: Path) -> None:
        line = self.line
        for key in self._keys():
            table = (*table, key)
            self.lines.of.setdefault(table, line)
        self.skip()
        self.take(self.equals)
        self.value(table)

    def value(self, path: Path) -> None:
        if self.goes_on_with("["):
            self.array(path)
        elif self.goes_on_with("{"):
            while not self.goes_on_with("}"):
                self._pair(path)
                self.goes_on_with(",")
        else:
            matching = (kind for kind in self.strings if kind.match(self.text, self.at))
            self.take(next(matching, self.scalar))
