"""The screen that tells the keys."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS: Final = """\
Enter  Right  l     open: repository, tag, platform, layer, folder, file
Backspace  Left  h  back; Escape too
Up  Down  k  j      move; PageUp, PageDown, Home, End, g, G
s                   sort by size; once more: the smallest first
n                   sort by name; once more: the other way round
u                   size: stored, unique or apparent
/                   find: only rows that have these words
d  Space            mark for removal, or take the mark away
p                   plan: what removing the marked would free
f                   files of the image, all its layers together
w                   why: who needs this
v                   verify: what is known to be wrong
i  Tab              details: show or hide
r                   read the tree anew
q                   quit: prints what is marked
Mouse               click: select; again: open; top line: back

First columns   D marked; ✓ verified, ~ partly, ✗ damaged, blank: not known
Files of a layer    + added  ~ changed  - removed
stored    bytes on disk, once        unique    only this row needs them
apparent  the size without sharing   Others    other images with the layer

Nothing here changes the tree. Escape closes this.
"""


class HelpScreen(ModalScreen[None]):
    """The keys; any of those that lead back closes it."""

    CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll { width: 78; max-width: 100%; height: auto; max-height: 100%;
                                border: solid ansi_bright_black; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter,backspace,f1", "dismiss", "Close"),
    ]

    def compose(self) -> ComposeResult:
        """Make the text."""
        with VerticalScroll():
            yield Static(KEYS, markup=False)
