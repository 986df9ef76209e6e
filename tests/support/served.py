"""`regfs serve` as a process of its own, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt

from tests.support import wire

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


@contextmanager
def serving(root: Path | str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; give the process, and the URL that it has told."""
    command = [sys.executable, "-m", "regfs", "-r", str(root), "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"(http\S+) serves ", line)
            assert found is not None, line + process.stderr.read()
            yield process, found[1]
        finally:
            if process.poll() is None:
                process.kill()


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; return the exit code, and what was told since the first line."""
    process.send_signal(number)
    _, told = process.communicate(timeout=wire.LOCK_TIMEOUT)
    return process.returncode, told
