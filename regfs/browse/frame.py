"""The parts of the screen and where they are; what they say comes from `regfs.browse.app`.

head       where this is
list       RowList below its headings
details    about the row at the cursor, and about the page; beside the list if there is room
status     what is under way, what went wrong, what is listed
footer     keys
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from textual.app import App, ComposeResult
from textual.containers import Container
from textual.driver import Driver
from textual.events import Click, Resize
from textual.widgets import Footer, Input, Static

from regfs.browse.drawing import draw_details, draw_heading, fitted
from regfs.browse.places import Details
from regfs.browse.row_list import RowList
from regfs.render.tables import printable

_WIDE: Final = 110
"""Columns of the terminal from which on details stand beside the list."""
_LOW: Final = 16
"""Lines of the terminal below which there are neither details nor keys."""


@dataclass(slots=True)
class BrowseEnd:
    """How the explorer ended."""

    marked: tuple[str, ...] = ()
    """References in the order of marking."""
    interrupted: bool = False


class ExplorerFrame(App[BrowseEnd]):
    """The screen of the explorer."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head { height: 1; text-style: bold reverse; text-wrap: nowrap; }
    #columns { height: 1; text-style: underline; text-wrap: nowrap; }
    #middle { height: 1fr; layout: vertical; }
    #middle.wide { layout: horizontal; }
    #middle.wide #list { width: 3fr; }
    #details { height: 8; border-top: solid ansi_bright_black; overflow-y: auto; }
    #middle.wide #details { height: 1fr; width: 2fr; border-top: none; padding-left: 1;
                            border-left: solid ansi_bright_black; }
    #list { layout: vertical; height: 1fr; }
    #status { height: 1; text-style: reverse; text-wrap: nowrap; }
    #search { height: 1; border: none; padding: 0; display: none; }
    .hidden { display: none; }
    """

    def __init__(self, driver: type[Driver] | None = None) -> None:
        """`driver` is what draws; by default that of Textual."""
        super().__init__(driver, ansi_color=True)
        self.rows = RowList()
        self._details_shown: bool | None = None
        """Whether there are details; None: if there is room."""
        self._head = Static(id="head", markup=False)
        self._columns = Static(id="columns", markup=False)
        self._details = Static(id="details", markup=False)
        self._status = Static(id="status", markup=False)
        words = "words in the name; Enter keeps, Escape ends"
        self._search = Input(id="search", placeholder=words, compact=True)
        self._keys = Footer(compact=True, show_command_palette=False)

    def compose(self) -> ComposeResult:
        """Make the parts of the screen."""
        yield self._head
        with Container(id="middle"):
            with Container(id="list"):
                yield self._columns
                yield self.rows
            yield self._details
        yield self._status
        yield self._search
        yield self._keys

    def on_mount(self) -> None:
        """Take the colours of the terminal."""
        self.theme = "ansi-dark"

    def on_resize(self, event: Resize) -> None:
        """Put details beside the list or below it, as there is room."""
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        wide, low = width >= _WIDE, height < _LOW
        shown = not low if self._details_shown is None else self._details_shown
        self.query_one("#middle").set_class(wide, "wide")
        self._details.set_class(not shown, "hidden")
        self._keys.set_class(low, "hidden")
        self.call_after_refresh(self.rows.action_step, 0)

    def action_details(self) -> None:
        """Show the details, or hide them."""
        self._details_shown = self._details.has_class("hidden")
        self._arrange(self.size.width, self.size.height)

    def on_click(self, event: Click) -> None:
        """Go back by a click on the head."""
        if event.widget is self._head:
            self.call_later(self.run_action, "go_back")

    def draw_frame(self, where: str, details: Details) -> None:
        """Say where this is, name the columns, and show details."""
        self._head.update(fitted(printable(f" {where}"), self.size.width))
        width = self.rows.size.width or self.size.width
        self._columns.update(draw_heading(self.rows.look, width))
        self._details.update(draw_details(details, max(self._details.size.width - 2, 20)))

    def draw_status(self, words: str) -> None:
        """Show the line at the bottom."""
        self._status.update(fitted(printable(f" {words}"), self.size.width))
