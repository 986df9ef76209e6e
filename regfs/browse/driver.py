"""The terminal that the explorer is drawn on: that of standard error, as for a pager."""

from __future__ import annotations

import os

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """Takes the size from where it draws: standard output may lead into a pipe.

    Textual asks standard output, and would draw 80 columns on a terminal of any width.
    """

    def _get_terminal_size(self) -> tuple[int, int]:
        if self._file is None:
            return super()._get_terminal_size()
        found = os.get_terminal_size(self._file.fileno())
        return found.columns or 80, found.lines or 24
