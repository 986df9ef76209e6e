"""Shows an answer that is longer than the terminal in a pager, as git does."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def pager_command(given: str | None) -> list[str]:
    """Return the pager to run; empty if there is none.

    Raises:
        ValueError: a quotation in it does not end.
    """
    text = given if given is not None else os.environ.get("PAGER")
    if text is None:
        text = "less" if shutil.which("less") else ""
    command = shlex.split(text)
    return [] if command == ["cat"] else command


def print_paged(console: Console, people: Callable[[Console], None], command: list[str]) -> bool:
    """Print with `people`, through the pager if it is long; return whether the pager could run."""
    with console.capture() as captured:
        people(console)
    text = captured.get()
    is_long = text.count("\n") >= console.height
    if is_long and _piped(text, command):
        return True
    sys.stdout.write(text)
    return not is_long


def _piped(text: str, command: list[str]) -> bool:
    # Quit if it fits after all, keep colours, leave the text on the screen.
    environment = {"LESS": "FRX", "LV": "-c", **os.environ}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
    try:
        subprocess.run(command, input=text.encode("utf-8", "replace"), env=environment, check=False)
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return True
