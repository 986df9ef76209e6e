"""The explorer itself: a stack of places, keys as in ncdu and dive, and two threads behind it.

Nothing here changes a tree. What is marked is handed back when it ends.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from regfs.browse.frame import BrowseEnd, ExplorerFrame
from regfs.browse.help import HelpScreen
from regfs.browse.places import (
    AllRepositories,
    KnownFindings,
    Listed,
    MarkedThings,
    NeedersOf,
    Place,
)
from regfs.browse.repositories import repositories_page
from regfs.browse.rows import EMPTY, RowList
from regfs.browse.worker import Activity, BackgroundThread
from regfs.errors import RegfsError

if TYPE_CHECKING:
    from regfs.browse.tree_data import TreeData
    from regfs.facade import Tree

_BATCH: Final = 0.1
"""Seconds after which repositories that were found are shown."""
_WIDE: Final = 110
"""Columns of the terminal from which on details stand beside the list."""
_LOW: Final = 16
"""Lines of the terminal below which there are neither details nor keys."""


@dataclass(slots=True)
class Visit:
    """A place on the way to where one is, and how it was left."""

    place: Place
    page: Listed = field(default_factory=lambda: EMPTY)
    at: str = ""
    """The item at the cursor."""
    sort: str | None = None
    """size, name, or empty for the order of the page; None: nothing was asked for."""
    turned: bool = False
    words: str = ""
    """What is searched for."""


class Happened(Message):
    """Something that a thread has done; `act` goes on with it."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act


class Explorer(ExplorerFrame):
    """The explorer of one tree."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,right,l", "open", "Open"),
        Binding("backspace,left,h,escape", "go_back", "Back"),
        Binding("s", "sort('size')", "Size"),
        Binding("n", "sort('name')", "Name"),
        Binding("u", "measure", "Unique", show=False),
        Binding("d,space", "mark", "Mark"),
        Binding("p", "plan", "Plan"),
        Binding("w", "why", "Why"),
        Binding("v", "findings", "Verify"),
        Binding("slash", "search", "Find"),
        Binding("i,tab", "details", "Details", show=False, priority=True),
        Binding("r", "reread", "Reread", show=False),
        Binding("question_mark,f1", "help", "Help"),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def __init__(self, tree: Tree, doing: Activity) -> None:
        """`doing` is the Progress of `tree`."""
        super().__init__()
        self._tree = tree
        self.failure: BaseException | None = None
        """What ended it, if it is a mistake of regfs."""
        self._doing = doing
        self._data: TreeData | None = None
        self._visits = [Visit(AllRepositories())]
        self._marked: dict[str, None] = {}
        self._trouble = ""
        self._measure = ""
        self._waiting = False
        self._drawn: Visit | None = None
        """Of which the list shows the page."""
        self._reader = BackgroundThread("regfs-read", self._go_on)
        self._pages = BackgroundThread("regfs-page", self._go_on)

    # -- reading -------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Begin to read."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            with suppress(NotImplementedError, ValueError, RuntimeError):
                asyncio.get_running_loop().add_signal_handler(number, self.action_interrupt)
        self.rows.focus()
        self._read()
        self.set_interval(0.2, self._draw_status)

    @property
    def visit(self) -> Visit:
        """Where one is."""
        return self._visits[-1]

    @property
    def busy(self) -> bool:
        """Whether something that is asked for is not shown yet."""
        known = self._data is not None and self._data.verified is not None
        return self._waiting or not known

    def _read(self) -> None:
        """Read the tree in the background: names first, then everything."""
        self._reader.do(self._name_repositories, lambda _: None, self._end_with)
        self._reader.do(self._read_all, lambda _: None, self._end_with)

    def _name_repositories(self) -> None:
        names: list[str] = []
        self._doing.start("Looking for repositories")
        latest = monotonic()
        for name in self._tree.registry.repositories():
            names.append(name)
            self._doing.advance(1)
            if monotonic() - latest > _BATCH:
                self._go_on(partial(self._show_names, list(names)))
                latest = monotonic()
        self._go_on(partial(self._show_names, names))

    def _show_names(self, names: list[str]) -> None:
        if self._data is None:
            self._visits[0].page = repositories_page(None, names)
            if len(self._visits) == 1:
                self._draw_page()

    def _read_all(self) -> None:
        self._doing.start("Reading the tree")

        from regfs.browse.tree_data import TreeData

        data = TreeData(self._tree)
        self._go_on(lambda: self._have(data))
        self._doing.start("Looking at what was verified")
        data.check()
        self._doing.finish()
        self._go_on(self._refresh_rows)

    def _have(self, data: TreeData) -> None:
        """Go on with all that was read; what was shown before comes anew when it is seen again."""
        self._data = data
        for visit in self._visits:
            visit.page.whole = False
        self._load(self.visit)

    def _go_on(self, act: Callable[[], None]) -> None:
        """Let the thread of the screen do something."""
        if not self._doing.stopped:
            self.post_message(Happened(act))

    def on_happened(self, event: Happened) -> None:
        """Do what a thread has asked for."""
        event.act()

    def _end_with(self, error: BaseException) -> None:
        self.failure = error
        self._end(BrowseEnd())

    # -- pages ---------------------------------------------------------------------------

    def _load(self, visit: Visit) -> None:
        """Work out the page of a visit, and show it if one is still there."""
        data, place, self._waiting = self._data, visit.place, True

        def work() -> Listed:
            from regfs.browse.pages import page_of

            return page_of(place, self._tree, data)

        self._pages.do(work, partial(self._show, visit), partial(self._withdraw, visit))

    def _show(self, visit: Visit, page: Listed) -> None:
        if visit is self.visit:
            self._waiting = False
            visit.page = page
            self._draw_page()

    def _withdraw(self, visit: Visit, error: BaseException) -> None:
        """Go back from where nothing can be shown."""
        if not isinstance(error, RegfsError):
            self._end_with(error)
        elif visit is self.visit:
            self._waiting = False
            if len(self._visits) > 1 and visit.page is EMPTY:
                self._visits.pop()
            self._say(str(error))

    def _say(self, words: str) -> None:
        self._trouble = words
        self._draw()

    def _draw_page(self) -> None:
        visit, page = self.visit, self.visit.page
        if self._measure not in page.measures:
            self._measure = next(iter(page.measures), "")
        sort = visit.sort if visit.sort is not None else "size" if page.by_size else ""
        if self._drawn is not visit:
            self.rows.clear()
            self._drawn = visit
        self.rows.show_page(
            page, sort, turned=visit.turned, words=visit.words, measure=self._measure
        )
        if visit.at:
            self.rows.go_to(visit.at)
            visit.at = ""
        self._draw()

    def _refresh_rows(self) -> None:
        """Draw again what has become known about the rows."""
        if isinstance(self.visit.place, KnownFindings):
            self._load(self.visit)
        self.rows.refresh()
        self._draw()

    def _draw(self) -> None:
        """Draw all but the rows."""
        where = " > ".join(["regfs", *(one.page.title for one in self._visits if one.page.title)])
        root = f"  {self._tree.store.url}" if len(self._visits) == 1 else ""
        trouble = (("Problem", self._trouble),) if self._trouble else ()
        current = self.rows.current
        about = current.details if current else ()
        self.draw_frame(where + root, (*trouble, *about, *self.visit.page.summary))
        self._draw_status()

    def _draw_status(self) -> None:
        visit = self.visit
        marked = self._marked and not isinstance(visit.place, MarkedThings)
        words = [f"{len(self._marked):,} marked"] if marked else []
        if self._trouble:
            words = [self._trouble]
        else:
            if visit.words:
                words.append(f"{len(self.rows.order):,} with {visit.words!r}")
            words.append(visit.page.note)
            if unread := self._unread():
                words.append(unread)
            doing = str(self._doing)
            if doing or self._waiting:
                words.insert(0, f"{doing or 'Working'}...")
        self.draw_status("; ".join(one for one in words if one))

    def _unread(self) -> str:
        """Return in words that something could not be read."""
        count = len(self._tree.unread) if self._data is not None else 0
        return f"{count:,} could not be read (v)" if count else ""

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """Show the details of another row."""
        self._draw()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Open what was clicked."""
        self.action_open()

    # -- keys ----------------------------------------------------------------------------

    def _go(self, place: Place) -> None:
        self._trouble = ""
        if place == self.visit.place:
            return
        self.visit.at = self.rows.current_name
        self._visits.append(Visit(place))
        self._load(self.visit)
        self._draw_status()

    def action_open(self) -> None:
        """Go into what is at the cursor."""
        current = self.rows.current
        if current is not None and current.opens is not None and not self._loading:
            self._go(current.opens)

    @property
    def _loading(self) -> bool:
        """Whether the rows are still those of where one was before."""
        return self._drawn is not self.visit

    def action_go_back(self) -> None:
        """Go back to where one was before; give up a search first."""
        self._trouble = ""
        if self.visit.words or self._search.display:
            self._close_search()
            self.visit.words = ""
            self._draw_page()
        elif len(self._visits) > 1:
            self._visits.pop()
            if self._data is not None and not self.visit.page.whole:
                self._load(self.visit)
            self._draw_page()

    def action_sort(self, by: str) -> None:
        """Sort by size or name; the same once more turns the order round."""
        visit = self.visit
        sort = visit.sort if visit.sort is not None else "size" if visit.page.by_size else ""
        visit.turned = not visit.turned if sort == by else False
        visit.sort = by
        self._draw_page()

    def action_measure(self) -> None:
        """Show the next measure as the size."""
        names = list(self.visit.page.measures)
        if names:
            self._measure = names[(names.index(self._measure) + 1) % len(names)]
            self._draw_page()

    def action_mark(self) -> None:
        """Mark what is at the cursor, or take the mark away."""
        current = self.rows.current
        if current is None or not current.reference or self._loading:
            return
        if current.reference in self._marked:
            del self._marked[current.reference]
        else:
            self._marked[current.reference] = None
        self.rows.marks = set(self._marked)
        self.rows.action_step(1)
        if isinstance(self.visit.place, MarkedThings):
            self.action_plan()
        self._draw_status()

    def action_plan(self) -> None:
        """Show what is marked, and what removing it would free."""
        place = MarkedThings(tuple(self._marked))
        if isinstance(self.visit.place, MarkedThings) and place != self.visit.place:
            self._visits.pop()
        self._go(place)

    def action_why(self) -> None:
        """Show who needs what is at the cursor."""
        current = self.rows.current
        if current is not None and current.about is not None and not self._loading:
            self._go(NeedersOf(current.about))
        elif current is not None:
            self._say("why is about a tag, a manifest or a layer: open this first")

    def action_findings(self) -> None:
        """Show what is known to be wrong."""
        self._go(KnownFindings())

    def action_reread(self) -> None:
        """Read the tree anew."""
        if self._data is not None and not str(self._doing):
            self._trouble = ""
            self._tree.refresh()
            self._read()

    def action_help(self) -> None:
        """Show the keys."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def action_leave(self) -> None:
        """End."""
        self._end(BrowseEnd(tuple(self._marked)))

    def action_interrupt(self) -> None:
        """End as by Ctrl-C."""
        self._end(BrowseEnd(interrupted=True))

    def _handle_exception(self, error: Exception) -> None:
        """End on a mistake of regfs, which the command line tells in one line."""
        if self.is_headless:  # whoever tests it wants to see it
            super()._handle_exception(error)
        self._end_with(error)

    def _end(self, how: BrowseEnd) -> None:
        self._doing.stopped = True
        self.exit(how)

    # -- searching -----------------------------------------------------------------------

    def action_search(self) -> None:
        """Ask for words."""
        self._search.display = True
        self._search.value = self.visit.words
        self._search.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what has the words so far."""
        if event.input.display:
            self.visit.words = event.value
            self._draw_page()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep what was found."""
        self._close_search()

    def _close_search(self) -> None:
        self._search.display = False
        self.rows.focus()
