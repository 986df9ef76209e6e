"""A table laid out for a terminal: what `regfs.render.tables.table` returns.

    name     size   why            widths come from the longest cell of each column
    ─────────────────────
    app      1 kB   nothing        a column that may fold gets narrower until the table fits
                    needs it

    name                           if it does not fit, the first column stands on its own line
        size   why
    ───────────────
    team/a-long-name
        1 kB   nothing
               needs it

    name   team/a-long-name        and where even that is too wide, each row becomes a block
    size   1 kB

No word is ever broken: names and digests can be copied at any width. One that is wider than the
terminal passes its edge.

Rich's own table measures each cell several times, which takes a third of a millisecond a row;
a plan has 10^5 rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

_GAP: Final = 3
"""Columns of a terminal between two columns of a table."""
_NARROWEST: Final = 24
"""Columns of a terminal that a text keeps if it is cut, or if the table is lifted."""
_INDENT: Final = 2
"""Columns of a terminal before what stands below its first column."""
_MEDIA_TYPE: Final = re.compile(r"(?<=[/.+])")
_SPACE: Final = re.compile(r"(?<!\d) | (?!(?:[kMGTPE]?i?B|%)(?:\W|$))")
"""Where a line may end: not between a number and its unit."""
_BOLD: Final = Style(bold=True)


class Grid:
    """Cells that pass for text on a terminal, in columns.

    The mark of a column sets its style: `>` aligns to the right, `=` never folds, `~` cuts at
    the edge, `/` folds like a media type, and any other by words.
    """

    def __init__(
        self, title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]
    ) -> None:
        """`columns` are pairs of a mark and a heading."""
        self._title = title
        self._marks = [mark for mark, _ in columns]
        self._headings = [heading for _, heading in columns]
        self._rows = list(rows)
        cells = zip(self._headings, *self._rows, strict=True)
        self._natural = [max(map(cell_len, column)) for column in cells]

    @property
    def width(self) -> int:
        """Columns of a terminal that it takes when nothing is folded."""
        return _sum(self._natural)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield the lines."""
        if self._title:
            yield Segment(f"{self._title}\n", _BOLD)
        limit = options.max_width
        rule = "-" if options.ascii_only else "─"
        for lifted in (False, True):
            widths = self._fitted(limit, lifted=lifted)
            if _sum(widths) <= limit and (not lifted or len(widths) > 1):
                for line in self._rows_of(self._headings, widths, lifted=lifted):
                    yield Segment(line, _BOLD)
                yield Segment(f"{rule * _sum(widths)}\n")
                for row in self._rows:
                    yield from map(Segment, self._rows_of(row, widths, lifted=lifted))
                return
        yield from self._blocks(limit)

    def _fitted(self, limit: int, *, lifted: bool) -> list[int]:
        """Return the width of each column: the widest get narrower until the table fits.

        If `lifted`, the first column stands above the others, and takes only an indent.
        """
        widths, least = list(self._natural), self._least
        if lifted:
            least = [
                max(one, min(all_, _NARROWEST)) for one, all_ in zip(least, widths, strict=True)
            ]
            widths[0] = least[0] = _INDENT
        while (excess := _sum(widths) - limit) > 0:
            folding = [n for n, width in enumerate(widths) if width > least[n]]
            if not folding:
                break
            widest = max(widths[number] for number in folding)
            equals = [number for number in folding if widths[number] == widest]
            others = [widths[number] for number in folding if widths[number] < widest]
            floor = max([*others, *(least[number] for number in equals)])
            step = min(widest - floor, -(-excess // len(equals)))
            for number in equals:
                widths[number] -= step
        return widths

    @property
    def _least(self) -> list[int]:
        """How narrow each column can be: as its longest word."""
        least = list(self._natural)
        for number, mark in enumerate(self._marks):
            if mark == "~":
                least[number] = min(_NARROWEST, least[number])
            elif mark in ("", "/"):
                cells = (row[number] for row in (self._headings, *self._rows))
                least[number] = max(_longest(cell, mark) for cell in cells)
        return least

    def _rows_of(self, row: Sequence[str], widths: Sequence[int], *, lifted: bool) -> Iterator[str]:
        """Yield the lines of one row, the first cell above the others if `lifted`."""
        if lifted:
            if row[0]:
                yield f"{row[0]}\n"
            row = ["", *row[1:]]
        yield from self._lines(row, widths)

    def _lines(self, row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
        """Yield the lines of one row."""
        cells = [
            [cell] if cell_len(cell) <= width else _folded(cell, width, mark)
            for cell, width, mark in zip(row, widths, self._marks, strict=True)
        ]
        for number in range(max(map(len, cells))):
            parts = (cell[number] if number < len(cell) else "" for cell in cells)
            line = (" " * _GAP).join(map(_aligned, parts, widths, self._marks))
            yield line.rstrip() + "\n"

    def _blocks(self, limit: int) -> Iterator[Segment]:
        """Yield each row as lines of a heading and a cell, without those that are empty."""
        left = max(map(cell_len, self._headings))
        for number, row in enumerate(self._rows):
            if number:
                yield Segment("\n")
            for heading, cell, mark in zip(self._headings, row, self._marks, strict=True):
                room = max(limit - left - _GAP, 1)
                lines = _folded(cell, room, "/" if mark == "/" else "") if cell else []
                for line in lines:
                    yield Segment(set_cell_size(heading, left) + " " * _GAP, _BOLD)
                    yield Segment(f"{line}\n")
                    heading = ""


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _aligned(text: str, width: int, mark: str) -> str:
    padding = " " * (width - cell_len(text))
    return padding + text if mark == ">" else text + padding


@lru_cache(maxsize=4096)
def _longest(text: str, mark: str) -> int:
    return max(map(cell_len, _pieces(text, mark)))


def _pieces(text: str, mark: str) -> list[str]:
    """Return what must not be broken: words, or the parts of a media type."""
    return [piece for word in _SPACE.split(text) for piece in _parts(word, mark)]


def _parts(word: str, mark: str) -> list[str]:
    return _MEDIA_TYPE.split(word) if mark == "/" else [word]


@lru_cache(maxsize=4096)
def _folded(text: str, width: int, mark: str) -> list[str]:
    """Return the lines of a cell that is too wide."""
    if mark == "~":
        return [set_cell_size(text, width - 1).rstrip() + "…"]
    lines: list[str] = []
    for word in _SPACE.split(text):
        space = " "
        for part in _parts(word, mark):
            if lines and cell_len(lines[-1]) + len(space) + cell_len(part) <= width:
                lines[-1] += space + part
            else:
                lines.append(part)
            space = ""
    return lines
