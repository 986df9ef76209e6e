"""A command of gc under strace: its calls that change the tree, and a kill before any of them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.render.tables import to_json
from tests.support.builder import TreeBuilder, image, index
from tests.support.reference import IN_CI
from tests.support.registries import plan_of

CHANGING = (
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,open,openat,creat,write,"
    "writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,ftruncate,truncate,link,linkat,"
    "symlink,symlinkat,chown,fchown,fchownat,chmod,fchmod,fchmodat,utimensat,fallocate"
)
"""Every call that can change a tree, under all the names a kernel knows it by."""


_CALL = re.compile(r"(?P<process>\d+) +(?P<name>\w+)\((?P<rest>.*)")
TRIED = {30: 7, 100: 20}
"""Examples that the profile of hypothesis asks for -> kills of each command; else all."""


@dataclass(frozen=True)
class Call:
    """One system call that changes the tree: the `number`-th of its name in the process."""

    name: str
    number: int
    line: str


@functools.cache
def can_inject() -> bool:
    """Return whether strace is there and may kill a process here."""
    command = ["strace", "-qq", "-e", "inject=rmdir:signal=SIGKILL:when=1"]
    try:
        done = subprocess.run([*command, "rmdir", "/nonexistent"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == -signal.SIGKILL


needs_strace = pytest.mark.skipif(
    not IN_CI and not can_inject(), reason="strace is not installed, or may not trace here"
)


class Scene:
    """A tree with garbage, as it is before one command, and the command."""

    def __init__(self, folder: Path, arrange: Callable[[Scene], list[str]]) -> None:
        self.tree = TreeBuilder(folder / "registry")
        self.plan_file = folder / "plan.json"
        self.log = folder / "strace.log"
        self._saved = folder / "saved"
        _litter(self.tree)
        self.whole = self.tree.files()
        planned = plan_of(self.tree, delete_untagged=True, min_age=0.0)
        self.plan_file.write_text(to_json(planned))
        self.run = planned.id
        self.going = {action.path for action in planned.actions}
        self.kept = {path: data for path, data in self.whole.items() if not self._goes(path)}
        assert len(self.kept) > 10
        assert len(self.kept) < len(self.whole)
        self.command = arrange(self)
        shutil.copytree(self.tree.root, self._saved, symlinks=True)

    def _goes(self, path: str) -> bool:
        return path in self.going or any(path.startswith(f"{gone}/") for gone in self.going)

    def regfs(self, *arguments: str, tracing: tuple[str, ...] = ()) -> int:
        """Run a process of regfs to its end; return its exit code, below 0 for a signal."""
        environment = {
            **os.environ,
            # The number of calls is the same each time.
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        program = [sys.executable, "-m", "regfs", "-r", str(self.tree.root)]
        done = subprocess.run(
            [*tracing, *program, *arguments], capture_output=True, env=environment, check=False
        )
        return done.returncode

    def again(self, *arguments: str) -> int:
        """Run the command, or another one, in this process; return its exit code."""
        return run(["-r", str(self.tree.root), *(arguments or self.command)])

    def reset(self, saved: Path | None = None) -> None:
        """Make the tree again what it was before the command, or what was `saved`."""
        shutil.rmtree(self.tree.root)
        shutil.copytree(saved or self._saved, self.tree.root, symlinks=True)

    def calls(self) -> list[Call]:
        """Run the command to its end; return its calls that change the tree, in order."""
        self.reset()
        tracing = ("strace", "-qq", "-f", "-y", "-o", str(self.log), "-e", f"trace={CHANGING}")
        assert self.regfs(*self.command, tracing=tracing) == 0
        counts: Counter[tuple[str, str]] = Counter()
        found, processes = [], set()
        for line in self.log.read_text(errors="replace").splitlines():
            if (call := _CALL.match(line)) is None:
                continue
            process, name, rest = call.group("process", "name", "rest")
            counts[process, name] += 1
            opened = name in ("open", "openat")
            if str(self.tree.root) in rest and (not opened or "O_CREAT" in rest):
                found.append(Call(name, counts[process, name], line))
                processes.add(process)
        assert len(processes) == 1  # so that it is enough to count in one
        return found

    def kill_before(self, call: Call) -> None:
        """Run the command on the tree as it was, up to this call."""
        self.reset()
        inject = f"inject={call.name}:signal=SIGKILL:when={call.number}"
        tracing = ("strace", "-qq", "-o", str(self.log), "-e", f"trace={call.name}", "-e", inject)
        assert self.regfs(*self.command, tracing=tracing) == -signal.SIGKILL, call.line

    def assert_kept(self, call: Call) -> None:
        """See that everything that stays is in place, byte for byte."""
        files = self.tree.files()
        lost = {path for path, data in self.kept.items() if files.get(path) != data}
        assert not lost, f"killed before {call.line}"


def _litter(tree: TreeBuilder) -> None:
    """Make images that stay, and one of every kind of thing that goes."""
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("app", "v1", image(["base", "two"]))
    tree.push("app", "multi", index(image(["base", "arm"]), image(["base", "amd"])))
    tree.push("lib", "latest", image(["base", "two", "three"]))
    tree.add_blob("lib", "never used")
    tree.blob(b"linked by nothing")
    tree.upload("lib", 100, started_at="2020-01-01T00:00:00Z")
    tree.age(30 * 86400)


def applying(scene: Scene) -> list[str]:
    return ["gc", "apply", str(scene.plan_file)]


def purging_at_once(scene: Scene) -> list[str]:
    return ["gc", "apply", "--purge", str(scene.plan_file)]


def applied(scene: Scene) -> None:
    assert scene.regfs("gc", "apply", str(scene.plan_file)) == 0
    assert scene.tree.files() == scene.kept


def restoring(scene: Scene) -> list[str]:
    applied(scene)
    return ["gc", "restore", scene.run]


def purging(scene: Scene) -> list[str]:
    applied(scene)
    return ["gc", "purge"]
