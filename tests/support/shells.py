"""Real shells on a terminal: what pressing Tab makes of a command line."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Self

from tests.support.spawned import PROJECT

BEGIN = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(regfs completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        "unsetopt ZLE_BRACKETED_PASTE; autoload -U compinit; compinit -u -D; "
        'eval "$(regfs completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "regfs completion fish | source"),
}
"""Shell -> how it is started, and what is typed first."""

PATIENCE = 60
"""Seconds."""


class Shell:
    """An interactive shell in which `regfs` completes, and else prints what it was given."""

    def __init__(self, name: str, root: Path, folder: Path) -> None:
        command, first = BEGIN[name]
        stub = folder / "bin/regfs"
        stub.parent.mkdir()
        stub.write_text(
            "#!/bin/sh\n"
            'if [ -n "$_REGFS_COMPLETE" ] || [ "$1" = completion ]; then\n'
            f'  PYTHONPATH={PROJECT} exec {sys.executable} -m regfs "$@"\n'
            "fi\n"
            "for one in \"$@\"; do printf 'GIVEN<%s>\\n' \"$one\"; done; echo END-OF-'IT'\n"
        )
        stub.chmod(0o755)
        self._main, terminal = pty.openpty()
        self._said = ""
        environment = {
            "PATH": f"{stub.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TERM": "dumb" if name != "fish" else "xterm",
            "LANG": "C.UTF-8",
            "PS1": "$ ",
            "REGFS_ROOT": str(root),
            "REGFS_CONFIG": os.devnull,
        }
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(terminal)
        self._type(f"{first}; echo READY-NO'W'\n")
        self._until("READY-NOW")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._main)

    def complete(self, text: str) -> list[str]:
        """Type a line with a Tab at its end, then Return; return the arguments that were given."""
        self._type(text + "\t\n")
        return re.findall("GIVEN<(.*?)>", self._until("END-OF-IT"))

    def offers(self, text: str, *values: str) -> None:
        """Type a line and two Tabs, and wait until the shell has printed some values.

        Nothing can be typed afterwards.
        """
        self._type(text + "\t\t")
        for value in values:
            self._until(value)

    def _type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def _until(self, words: str) -> str:
        """Read until the shell has printed some words; what follows them is read next time."""
        until = time.monotonic() + PATIENCE
        while words not in self._said:
            assert time.monotonic() < until, self._said
            ready, _, _ = select.select([self._main], [], [], 1.0)
            if ready:
                self._said += os.read(self._main, 1 << 16).decode(errors="replace")
        before, found, self._said = self._said.partition(words)
        return before + found


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def installed(name: str) -> bool:
    """Return whether a shell is there."""
    return shutil.which(name) is not None
