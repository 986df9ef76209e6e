"""Commands in a process of their own on a tree nobody should trust: with a time limit, measured.

    run = verify_apart(tree, "--json", "--level", "links")
    run.code, run.findings(), run.stderr, run.peak

    runs = commands_apart(tree, folder, [["waste", "app:v1"], ["files", "app:v1"]])
    runs.told["waste"].code, runs.told["waste"].stderr, runs.peak

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


@dataclass(frozen=True)
class Told:
    """What one of several commands in a process came to."""

    code: int
    stderr: str
    seconds: float


@dataclass(frozen=True)
class Runs:
    """What came of several commands, one after the other in one process."""

    told: dict[str, Told]
    """By the command lines."""
    peak: int
    """Bytes of memory at the most."""


_SEVERAL = """
import contextlib, io, json, os, sys, time
from regfs.cli.app import run

told = {}
for words in json.loads(sys.argv[1]):
    err, begun = io.StringIO(), time.monotonic()
    with open(os.devnull, "w") as out:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(words)
    told[" ".join(words)] = code, err.getvalue(), time.monotonic() - begun
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(json.dumps([told, int(peak)]))
"""


def commands_apart(tree: TreeBuilder, folder: Path, commands: list[list[str]]) -> Runs:
    """Run commands in `folder`, which has to be empty and stays so but for `cache`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "80",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "REGFS_ROOT": str(tree.root),
    }
    command = [sys.executable, "-c", _SEVERAL, json.dumps(commands)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    assert ended.stderr == b""
    told, peak = json.loads(ended.stdout)
    return Runs({words: Told(*one) for words, one in told.items()}, peak * 1024)
