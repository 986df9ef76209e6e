"""Verify as a process of its own on a tree nobody should trust: with a time limit, and measured.

    run = verify_apart(tree, "--json", "--level", "links")
    run.code, run.findings(), run.stderr, run.peak

The memory is the kernel's high-water mark of the process itself: what `getrusage`
tells of a child begins with all that its parent had.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.builder import TreeBuilder

PROJECT = Path(__file__).resolve().parents[2]
NOBODY = 65534
TIMEOUT = 300.0
"""Seconds after which a run hangs; on a busy machine the slowest takes a tenth."""

_SCRIPT = """
import contextlib, io, os, sys
import networkx  # what regfs only needs when something is wrong
from regfs.cli.app import run

user, *arguments = sys.argv[1:]
if user != "-":
    # Once as root, so that all is imported: nobody may not be able to read the modules.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(arguments)
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
code = run(arguments)
sys.stdout.flush()
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print("PEAK", peak, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Run:
    """What came of one process."""

    code: int
    stdout: bytes
    stderr: str
    peak: int
    """Bytes of memory at the most."""

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout))

    def findings(self) -> set[tuple[str, str]]:
        return {(one["code"], one["path"]) for one in self.document["findings"]}


def verify_apart(tree: TreeBuilder, *arguments: str, unprivileged: bool = False) -> Run:
    """Run `regfs verify`; be sure that it ends by itself, with one of its exit codes."""
    user = str(NOBODY) if unprivileged and os.geteuid() == 0 else "-"
    command = [sys.executable, "-c", _SCRIPT, user, "-r", str(tree.root), "verify", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    ended = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, timeout=TIMEOUT, check=False
    )
    stderr, _, peak = ended.stderr.decode().rpartition("PEAK ")
    assert "Traceback" not in ended.stderr.decode(), ended.stderr.decode()[-2000:]
    assert ended.returncode in (0, 1), (ended.returncode, ended.stderr[-2000:])
    return Run(ended.returncode, ended.stdout, stderr, int(peak) * 1024)
