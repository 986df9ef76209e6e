"""Runs the sides of a case in turns, each in a process of its own, and sums up what they took.

What is compared is in `rows.py`, on which trees in `trees.py`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.trees import TREES

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
HIDDEN = ("AWS_CA_BUNDLE", "PYTHONDONTWRITEBYTECODE", "REGFS_ROOT")
"""Variables that change what one of the programs does. An installed regfs is compiled once, by
pip; here the unmeasured run compiles it, which takes 0.1 s."""

Json = dict[str, Any]


class Failed(Exception):
    """A command did not do its work; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one process."""

    seconds: float
    peak: int
    """Bytes of memory at the most, as the kernel counted them."""
    cpu: float
    """Seconds of all processors together, of the process and of those it started."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things that are compared."""

    label: str
    command: list[str]
    answer: Callable[[Path], Json] = lambda output: {}
    """Reads from its standard output what it found."""
    timed_inside: bool = False
    """Its output says how long it took; otherwise the life of the process is what counts."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one side: seconds, and bytes of memory at the most."""

    label: str
    median: float
    low: float
    high: float
    peak: int
    cpu: float
    """Median of the seconds of all processors together."""
    runs: int


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    what: str = ""
    regfs: Figures | None = None
    other: Figures | None = None
    ratio: float | None = None
    """Median of regfs by median of the other side."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison on one tree."""

    name: str
    tree: str
    sides: Callable[[Bench, Path], tuple[Side, Side]]
    """Given the root of the tree: regfs, and the other side."""
    expect: Callable[[Json], Json]
    """Given what the maker says is in the tree: what both sides must answer."""
    runs: int


class Bench:
    """The folder trees are kept in, one for this run alone, and the way to compare."""

    def __init__(
        self, workdir: Path, scratch: Path, quick: bool, runs: int | None, cold: bool = False
    ) -> None:
        self.scratch = scratch
        self.output = scratch / "output"
        self._workdir = workdir
        self.quick = quick
        self._runs = runs
        self._cold = cold

    def tree(self, kind: str) -> tuple[Path, Json]:
        """Return the root of a tree and what is in it; made when it is not there yet."""
        options = TREES[kind][self.quick].split()
        name = "_".join(option.lstrip("-") for option in options)
        root, summary = self._workdir / name, self._workdir / f"{name}.json"
        if not root.exists():
            say(f"making {root} ..")
            made = self.scratch / name
            run([PYTHON, "-m", "tests.benchmarks.treemaker", str(made), *options], self.output)
            self.output.rename(summary)
            made.rename(root)  # the last step: a tree in its place is a whole one
        loaded: Json = json.loads(summary.read_text())
        return root, loaded

    def measure(self, case: Case) -> Row:
        """Run both sides of a case in turns."""
        row = Row(case.name)
        try:
            root, summary = self.tree(case.tree)
        except Failed as error:
            row.problem = str(error)
            return row
        say(f"measuring {case.name} ..")
        row.what = f"{summary['blobs']} blobs, {summary['manifests']} manifests"
        sides = case.sides(self, root)
        problems = [self.try_out(side, case.expect(summary)) for side in sides]
        row.problem = "; ".join(filter(None, problems))
        samples: tuple[list[Sample], list[Sample]] = ([], [])
        for _ in range(self._runs or (2 if self.quick else case.runs)):
            for side, taken, problem in zip(sides, samples, problems, strict=True):
                if not problem:
                    taken.append(self.sample(side))
        row.regfs, row.other = map(figures, sides, samples)
        if row.regfs and row.other:
            row.ratio = row.regfs.median / row.other.median
        return row

    def try_out(self, side: Side, expected: Json) -> str:
        """Run a side unmeasured; return what is wrong with it, or nothing."""
        try:
            run(side.command, self.output)
            found = side.answer(self.output)
        except Failed as error:
            return f"{side.label}: {error}"
        except (KeyError, ValueError, OSError) as error:
            return f"{side.label}: its answer cannot be read: {error!r}"
        return "" if found == expected else f"{side.label}: found {found}, expected {expected}"

    def sample(self, side: Side) -> Sample:
        """Run a side once and measure it."""
        if self._cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
        if not side.timed_inside:
            return run(side.command)
        sample = run(side.command, self.output)
        inside = float(json.loads(self.output.read_text())["seconds"])
        return Sample(inside, sample.peak, sample.cpu)


def run(command: list[str], output: Path | None = None) -> Sample:
    """Run one process to its end; its standard output goes to a file, or nowhere.

    Raises:
        Failed: it cannot be started, or its exit code is not 0.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in HIDDEN and not key.startswith("REGISTRY_")
    }
    with open(output or os.devnull, "wb") as stdout, tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=PROJECT, env=environment
            )
        except FileNotFoundError as error:
            raise Failed(f"{command[0]} is not installed") from error
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            stderr.seek(0)
            last = stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise Failed(f"exit {process.returncode}: {last[-200:]}")
    return Sample(seconds, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def figures(side: Side, samples: list[Sample]) -> Figures | None:
    """Sum up the runs of one side."""
    if not samples:
        return None
    times = [sample.seconds for sample in samples]
    peak = max(sample.peak for sample in samples)
    cpu = statistics.median(sample.cpu for sample in samples)
    median = statistics.median(times)
    return Figures(side.label, median, min(times), max(times), peak, cpu, len(times))


def say(text: str) -> None:
    """Say what is being done, beside the table."""
    print(text, file=sys.stderr, flush=True)


def machine() -> Json:
    """Say where this was measured."""
    return {
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
