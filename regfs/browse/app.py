"""The explorer itself: keys as in ncdu and dive.

Nothing here changes a tree. What is marked is handed back when it ends.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from regfs.browse.frame import BrowseEnd
from regfs.browse.help import HelpScreen
from regfs.browse.navigation import Navigator
from regfs.browse.places import FilesOf, KnownFindings, MarkedThings, NeedersOf, OneManifest
from regfs.browse.row_list import RowList


class Explorer(Navigator):
    """The explorer of one tree."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,right,l", "open", "Open"),
        Binding("backspace,left,h,escape", "go_back", "Back"),
        Binding("s", "sort('size')", "Size"),
        Binding("n", "sort('name')", "Name", show=False),
        Binding("u", "measure", "Measure", show=False),
        Binding("d,space", "mark", "Mark"),
        Binding("p", "plan", "Plan"),
        Binding("f", "files", "Files"),
        Binding("w", "why", "Why"),
        Binding("v", "findings", "Verify"),
        Binding("slash", "search", "Find"),
        Binding("i,tab", "details", "Details", show=False, priority=True),
        Binding("r", "reread", "Reread", show=False),
        Binding("question_mark,f1", "help", "Help"),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def action_open(self) -> None:
        """Go into what is at the cursor."""
        current = self.rows.current
        if current is not None and current.opens is not None and not self._loading:
            self._go(current.opens)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Open what was clicked."""
        self.action_open()

    def action_go_back(self) -> None:
        """Go back to where one was before; give up a search first."""
        self._trouble = ""
        if self.visit.words or self._search.display:
            self._close_search()
            self.visit.words = ""
            self._draw_page()
        elif len(self._visits) > 1:
            self._give_up()
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
        if isinstance(self.visit.place, MarkedThings):
            self.visit.place = place
            self._load(self.visit)
        else:
            self._go(place)

    def action_files(self) -> None:
        """Show the files of the image at the cursor, or of the one where this is."""
        current, place = self.rows.current, self.visit.place
        if self._loading or current is None:
            return
        if current.files is not None:
            self._go(current.files)
        elif isinstance(place, OneManifest):
            self._go(FilesOf(place.name, place.digest, None, "", "files"))
        else:
            self._say("files are in a tag, a platform or a layer: open this first")

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
