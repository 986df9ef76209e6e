"""The list of a page: draws the lines that are on the screen, and moves the cursor."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from regfs.browse.drawing import LineLook, draw_line
from regfs.browse.places import Line, Listed, Measure
from regfs.names import natural

EMPTY = Listed("", (), lambda item, measure: Line(""), str)


class RowList(ScrollView, can_focus=True):
    """The items of a page in the order that was asked for, without those searched out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Up", show=False),
        Binding("down,j", "step(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "leaf(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "leaf(1)", "Page down", show=False),
        Binding("home,g", "edge(-1)", "First", show=False),
        Binding("end,G", "edge(1)", "Last", show=False),
    ]

    DEFAULT_CSS = "RowList { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }"

    class Moved(Message):
        """The cursor is on another row, or the rows are others."""

    class Chosen(Message):
        """The row at the cursor was clicked again."""

    def __init__(self) -> None:
        super().__init__()
        self.page = EMPTY
        self.measure: Measure | None = None
        self.order: list[int] = []
        """Numbers of the items that are shown, the first row first."""
        self.cursor = 0
        self.marks: set[str] = set()
        """References of what is marked."""
        self._look = LineLook((), sized=False, largest=0)

    # -- what is shown -------------------------------------------------------------------

    def show_page(self, page: Listed, sort: str, *, turned: bool, words: str, measure: str) -> None:
        """Show the items of a page that have `words` in their names.

        `sort` is size, name, or empty for the order of the page; `turned` is the other way round.
        """
        # A first row that nobody chose is no reason to go where it is now.
        at = self.current_name if self.cursor else ""
        self.page, self.measure = page, page.measures.get(measure)
        numbers = range(len(page.items))
        found = [n for n in numbers if self._has(page.items[n], words)] if words else list(numbers)
        sizes = [self._bytes(page.items[n]) for n in numbers]
        if sort == "size":
            found.sort(key=lambda n: (-sizes[n], page.name(page.items[n])))
        elif sort == "name":
            found.sort(key=lambda n: natural(page.name(page.items[n])))
        self.order = found[::-1] if turned else found
        self._look = LineLook(
            page.columns, bool(page.measures), max(sizes, default=0), page.heading, measure
        )
        self.virtual_size = Size(1, len(self.order))
        self.cursor = 0
        self.go_to(at)
        self.refresh()

    def clear(self) -> None:
        """Forget the rows and the cursor."""
        self.page, self.order, self.cursor = EMPTY, [], 0

    def _has(self, item: Any, words: str) -> bool:
        return words.casefold() in self.page.name(item).casefold()

    def _bytes(self, item: Any) -> int:
        return (self.measure(item) or 0) if self.measure else 0

    @property
    def look(self) -> LineLook:
        """How its rows are drawn."""
        return self._look

    @property
    def current(self) -> Line | None:
        """The row at the cursor."""
        if not self.order:
            return None
        return self.page.row(self.page.items[self.order[self.cursor]], self.measure)

    @property
    def current_name(self) -> str:
        """What identifies the item at the cursor; empty if there is none."""
        return self.page.name(self.page.items[self.order[self.cursor]]) if self.order else ""

    def go_to(self, name: str) -> None:
        """Put the cursor on the item of that name, if it is there."""
        names = (self.page.name(self.page.items[n]) for n in self.order) if name else iter(())
        self._move(next((row for row, one in enumerate(names) if one == name), self.cursor))

    def render_line(self, y: int) -> Strip:
        """Draw a line of the screen."""
        row, width = y + self.scroll_offset.y, self.size.width
        if row >= len(self.order):
            return Strip([Segment(" " * width)], width)
        line = self.page.row(self.page.items[self.order[row]], self.measure)
        marked, selected = line.reference in self.marks, row == self.cursor
        return Strip(draw_line(line, self._look, width, marked=marked, selected=selected), width)

    # -- moving --------------------------------------------------------------------------

    def _move(self, row: int) -> None:
        self.cursor = max(min(row, len(self.order) - 1), 0)
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, x_axis=False)
        self.refresh()
        self.post_message(self.Moved())

    def action_step(self, rows: int) -> None:
        """Move the cursor by some rows."""
        self._move(self.cursor + rows)

    def action_leaf(self, pages: int) -> None:
        """Move the cursor by as many rows as the screen has."""
        self._move(self.cursor + pages * max(self.size.height - 1, 1))

    def action_edge(self, end: int) -> None:
        """Move the cursor to the first or last row."""
        self._move(0 if end < 0 else len(self.order) - 1)

    def on_click(self, event: Click) -> None:
        """Select the row that was clicked; open it if it was selected."""
        row = event.y + self.scroll_offset.y
        if row < len(self.order):
            if row == self.cursor:
                self.post_message(self.Chosen())
            self._move(row)

    def on_resize(self, event: Resize) -> None:
        """Keep the cursor on the screen."""
        self._move(self.cursor)
