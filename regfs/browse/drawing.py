"""A row as a line of the terminal: `marked status size [bar] cells name aside`.

All text passes `printable`, and no text is markup: `[red]` is a name like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from regfs.browse.places import Details, Line, LineColumn, Standing
from regfs.render.tables import printable
from regfs.units import human_size

SIZE: Final = 8
"""Columns of the terminal for a size."""
BAR: Final = 10
_BAR_FROM: Final = 60
"""Columns of the terminal from which on there are bars."""
_LABEL: Final = 14

_PLAIN: Final = Style()
_DIM: Final = Style(dim=True)
_SELECTED: Final = Style(reverse=True)
_MARKED: Final = Style(color="yellow", bold=True)
_BAR_STYLE: Final = Style(color="cyan")
_SIGNS: Final = {
    Standing.INTACT: Style(color="green"),
    Standing.PARTLY: Style(color="yellow"),
    Standing.UNKNOWN: _PLAIN,
    Standing.DAMAGED: Style(color="red", bold=True),
}


class LineLook(NamedTuple):
    """How the rows of a page are drawn."""

    columns: tuple[LineColumn, ...]
    sized: bool
    """Whether rows have sizes."""
    largest: int
    """Bytes of the largest row, which has a full bar."""
    heading: str = "Name"
    measure: str = "Size"

    def shown(self, width: int) -> Iterator[tuple[int, LineColumn]]:
        """Yield the columns that so wide a terminal has, with their numbers."""
        return ((n, one) for n, one in enumerate(self.columns) if width >= one.least)


def fitted(text: str, width: int) -> str:
    """Return a text in exactly so many columns of the terminal; what is cut ends in `…`."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def _aligned(text: str, column: LineColumn) -> str:
    if column.right and cell_len(text) <= column.width:
        return " " * (column.width - cell_len(text)) + text
    return fitted(text, column.width)


def draw_heading(look: LineLook, width: int) -> str:
    """Return the line above the rows."""
    line = "   "
    if look.sized:
        line += f"{fitted(look.measure, SIZE):>{SIZE}} "
        line += " " * (BAR + 3) if width >= _BAR_FROM else ""
    for _, column in look.shown(width):
        line += _aligned(column.heading, column) + "  "
    return fitted(line + look.heading, width)


def draw_line(
    row: Line, look: LineLook, width: int, *, marked: bool, selected: bool
) -> list[Segment]:
    """Return the segments of a line, together exactly `width` columns wide."""
    parts = [
        ("D" if marked else " ", _MARKED),
        (row.standing.value, _SIGNS[row.standing]),
        (" ", _PLAIN),
    ]
    if look.sized:
        size = "" if row.size is None else human_size(row.size)
        parts.append((f"{size:>{SIZE}} ", _PLAIN))
        if width >= _BAR_FROM:
            parts.append((_bar(row.size, look.largest), _BAR_STYLE))
    for number, column in look.shown(width):
        text = printable(row.cells[number]) if number < len(row.cells) else ""
        parts.append((_aligned(text, column) + "  ", _PLAIN))
    parts.append((printable(row.name), _MARKED if marked else _DIM if row.faint else _PLAIN))
    if row.aside:
        parts.append((f"  {printable(row.aside)}", _DIM))
    if selected:  # in one piece, whatever colours it has
        parts = [(text, _SELECTED) for text, _ in parts]
    return list(_cut(parts, width, _SELECTED if selected else _PLAIN))


def _bar(size: int | None, largest: int) -> str:
    if size is None:
        return " " * (BAR + 3)
    filled = "#" * round(BAR * min(size, largest) / largest) if largest else ""
    return f"[{filled.ljust(BAR)}] "


def _cut(parts: Iterable[tuple[str, Style]], width: int, rest: Style) -> Iterator[Segment]:
    """Yield parts until the line is full, then what fills it up."""
    left = width
    for text, style in parts:
        length = cell_len(text)
        if length > left:
            yield Segment(fitted(text, left), style)
            return
        yield Segment(text, style)
        left -= length
    yield Segment(" " * left, rest)


def draw_details(details: Details, width: int) -> str:
    """Return labels and texts as lines that fold at `width`."""
    lines: list[str] = []
    for label, text in details:
        room = max(width - _LABEL - 1, 2)
        head = fitted(label, _LABEL)
        for piece in _folded(printable(text), room):
            lines.append(f"{head} {piece}")
            head = " " * _LABEL
    return "\n".join(lines)


def _folded(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text, which break at spaces if there are any to break at."""
    while cell_len(text) > width:
        piece = set_cell_size(text, width).rstrip()
        at = piece.rfind(" ")
        cut = at if at > width // 2 else len(piece)
        yield text[:cut]
        text = text[cut:].lstrip()
    yield text
