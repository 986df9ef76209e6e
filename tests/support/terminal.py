"""regfs on a real terminal: a pseudo-terminal whose output and settings are looked at.

with Terminal("-r", root, "browse") as terminal:
    terminal.wait_for("app")
    terminal.type("q")
    assert terminal.ended() == 0
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from typing import Any, Self

from tests.support.spawned import PROJECT

PATIENCE = 60.0


class Terminal:
    """One program on a terminal of its own."""

    def __init__(
        self,
        *arguments: str,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> None:
        self._mine, self._its = pty.openpty()
        columns, lines = size
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.output = b""
        self.before = termios.tcgetattr(self._its)
        dropped = {"REGFS_ROOT", "NO_COLOR", "COLUMNS", "LINES"}
        environment = {key: value for key, value in os.environ.items() if key not in dropped}
        environment |= {"PYTHONPATH": str(PROJECT), "TERM": "xterm-256color", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "regfs", *arguments],
            stdin=self._its,
            stdout=subprocess.PIPE if piped else self._its,
            stderr=self._its,
            env=environment,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._mine)
        os.close(self._its)

    def _read(self, seconds: float) -> None:
        if select.select([self._mine], [], [], seconds)[0]:
            self.output += os.read(self._mine, 65536)

    def wait_for(self, words: str) -> None:
        """Read until the output has some words."""
        until = time.monotonic() + PATIENCE
        while words.encode() not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < until, self.output
            self._read(0.1)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._mine, text.encode())

    def ended(self) -> int:
        """Return the exit code, once it has ended and all its output is read."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < until, self.output
            self._read(0.1)
        while select.select([self._mine], [], [], 0)[0]:
            self._read(0)
        return self.process.returncode

    @property
    def settings(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._its)
