"""A table laid out for a terminal: what `regfs.render.tables.table` returns.

    name     size   why            widths come from the longest cell of each column
    ─────────────────────
    app      1 kB   nothing        a column that may fold gets narrower until the table fits
                    needs it

    name   app                     where even that does not fit, each row becomes a block of lines
    size   1 kB

Rich's own table measures each cell several times, which takes a third of a millisecond a row;
a plan has 10^5 rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

_GAP: Final = 3
"""Columns of a terminal between two columns of a table."""
_NARROWEST: Final = 8
"""Columns of a terminal that a column keeps however much is to be folded."""
_BOLD: Final = Style(bold=True)


class Grid:
    """Cells that pass for text on a terminal, in columns.

    The mark of a column sets its style: `>` aligns to the right, `=` never folds, `~` cuts at
    the edge, and any other folds.
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
        widths = self._fitted(options.max_width)
        if _sum(widths) > options.max_width:
            yield from self._blocks(options.max_width)
            return
        for line in self._lines(self._headings, widths):
            yield Segment(line, _BOLD)
        rule = "-" if options.ascii_only else "─"
        yield Segment(f"{rule * _sum(widths)}\n")
        for row in self._rows:
            for line in self._lines(row, widths):
                yield Segment(line)

    def _fitted(self, limit: int) -> list[int]:
        """Return the width of each column: the widest get narrower until the table fits."""
        widths = list(self._natural)
        folding = [number for number, mark in enumerate(self._marks) if mark in ("", "~")]
        while folding and (excess := _sum(widths) - limit) > 0:
            widest = max(folding, key=widths.__getitem__)
            others = [widths[number] for number in folding if widths[number] < widths[widest]]
            equals = [number for number in folding if widths[number] == widths[widest]]
            least = max([*others, _NARROWEST])
            if widths[widest] <= least:
                break
            step = min(widths[widest] - least, -(-excess // len(equals)))
            for number in equals:
                widths[number] -= step
        return widths

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
            for heading, cell in zip(self._headings, row, strict=True):
                lines = _folded(cell, max(limit - left - _GAP, _NARROWEST), "") if cell else []
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
def _folded(text: str, width: int, mark: str) -> list[str]:
    """Return the lines of a cell that is too wide: by words, and a long word by characters."""
    if mark == "~":
        return [set_cell_size(text, width - 1).rstrip() + "…"]
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += chop_cells(word, width) or [""]
    return lines
