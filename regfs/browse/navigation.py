"""Where one is, and what is shown of it: a stack of places, and two threads behind it.

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
from typing import TYPE_CHECKING, Final

from textual.driver import Driver
from textual.message import Message

from regfs.browse.frame import BrowseEnd, ExplorerFrame
from regfs.browse.places import (
    AllRepositories,
    KnownFindings,
    Listed,
    MarkedThings,
    Place,
)
from regfs.browse.repositories import repositories_page
from regfs.browse.row_list import EMPTY, RowList
from regfs.browse.worker import Activity, BackgroundThread
from regfs.errors import RegfsError

if TYPE_CHECKING:
    from regfs.browse.files import FileReading
    from regfs.browse.tree_data import TreeData
    from regfs.facade import Tree

_BATCH: Final = 0.1
"""Seconds after which repositories that were found are shown."""


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


class Navigator(ExplorerFrame):
    """The walk through one tree; the keys are in `regfs.browse.app`."""

    def __init__(self, tree: Tree, doing: Activity, driver: type[Driver] | None = None) -> None:
        """`doing` is the Progress of `tree`."""
        super().__init__(driver)
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
        self._unread = 0
        """How much of the tree could not be read."""
        self.looking = Activity()
        """What the thread does that makes pages."""
        self._files: FileReading | None = None
        """Belongs to that thread."""
        self._drawn: Visit | None = None
        """Of which the list shows the page."""
        self._reader = BackgroundThread("regfs-read", self._go_on)
        self._pages = BackgroundThread("regfs-page", self._go_on)

    # -- reading -------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Begin to read."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Without handlers (outside the main thread, or not POSIX) they end the process.
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
        shown, latest = 0, monotonic()
        for name in self._tree.view.repositories():
            names.append(name)
            self._doing.advance(1)
            # Each time as many again: to show them takes as long as there are.
            if len(names) >= 2 * shown and monotonic() - latest > _BATCH:
                self._go_on(partial(self._show_names, list(names)))
                shown, latest = len(names), monotonic()
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

        def work() -> tuple[Listed, int]:
            from regfs.browse.files import FileReading
            from regfs.browse.pages import page_of

            self.looking.given_up = False
            if self._files is None:
                self._files = FileReading(self._tree, self.looking)
            try:
                page = page_of(place, self._tree, data, self._files)
                return page, 0 if data is None else len(self._tree.unread)
            finally:
                self.looking.finish()

        self._pages.do(work, partial(self._show, visit), partial(self._withdraw, visit))

    def _show(self, visit: Visit, found: tuple[Listed, int]) -> None:
        page, self._unread = found
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
        problems = [self._trouble] if self._trouble else self.visit.page.problems
        trouble = [("Problem", problem) for problem in problems]
        current = self.rows.current
        about = current.details if current else ()
        summary = self.visit.page.summary
        gap = [("", "")] if about and summary else ()
        self.draw_frame(where + root, (*trouble, *about, *gap, *summary))
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
            if visit.page.problems:
                words.append("not all of it can be read")
            words.append(visit.page.note)
            if self._unread:
                words.append(f"{self._unread:,} could not be read (v)")
            doing = str(self.looking) or str(self._doing)
            if doing or self._waiting:
                words.insert(0, f"{doing or 'Working'}...")
        self.draw_status("; ".join(one for one in words if one))

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """Show the details of another row."""
        self._draw()

    # -- going ---------------------------------------------------------------------------

    def _go(self, place: Place) -> None:
        self._trouble = ""
        if place == self.visit.place:
            return
        if self._loading and len(self._visits) > 1:
            self._give_up()
            self._visits.pop()
        else:
            self.visit.at = self.rows.current_name
        self._visits.append(Visit(place))
        self._load(self.visit)
        self._draw_status()

    @property
    def _loading(self) -> bool:
        """Whether the rows are still those of where one was before."""
        return self._drawn is not self.visit

    def _give_up(self) -> None:
        """Stop reading for a page that nobody waits for any more."""
        self.looking.given_up, self._waiting = True, False

    # -- ending --------------------------------------------------------------------------

    def action_interrupt(self) -> None:
        """End as by Ctrl-C."""
        self._end(BrowseEnd(interrupted=True))

    def _handle_exception(self, error: Exception) -> None:
        """End on a mistake of regfs, which the command line tells in one line."""
        if self.is_headless:  # whoever tests it wants to see it
            super()._handle_exception(error)
        self._end_with(error)

    def _end(self, how: BrowseEnd) -> None:
        self._doing.stopped = self.looking.stopped = True
        self.exit(how)
