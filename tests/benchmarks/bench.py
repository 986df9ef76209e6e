"""Measures regfs beside what it is measured against, in one run, and prints one table.

    python -m tests.benchmarks.bench [--quick] [NAMES...]

Every side runs in a process of its own: once unmeasured, which warms the cache
and shows that it found what the maker of the tree says is there, then in turns
A B A B. A ratio below 1 means that regfs is faster. What each row means, and
what it takes, is in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
REGFS = [PYTHON, "-m", "regfs"]
PLAN = ["gc", "plan", "--offline"]
REFERENCE = ["docker-registry", "garbage-collect", "--dry-run"]
UNTAGGED = "--delete-untagged"
HIDDEN = ("AWS_CA_BUNDLE", "REGFS_ROOT")
"""Variables that change what one of the programs does."""

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
        self._quick = quick
        self._runs = runs
        self._cold = cold

    def tree(self, kind: str) -> tuple[Path, Json]:
        """Return the root of a tree and what is in it; made when it is not there yet."""
        options = TREES[kind][self._quick].split()
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
        for _ in range(self._runs or (2 if self._quick else case.runs)):
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


def listing_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Scan against the bare loop; timed inside the process, without imports."""
    command = [PYTHON, "-m", "tests.benchmarks.listing"]

    def answer(output: Path) -> Json:
        found: Json = json.loads(output.read_text())["counts"]
        return found

    return (
        Side("scan", [*command, "regfs", str(root)], answer, timed_inside=True),
        Side("listdir+stat loop", [*command, "loop", str(root)], answer, timed_inside=True),
    )


def plan_sides(bench: Bench, root: Path, *options: str) -> tuple[Side, Side]:
    """Plan a collection with regfs and with the reference registry."""
    written = bench.scratch / "plan.json"
    config = bench.scratch / "config.yml"
    storage = {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}}
    # JSON is YAML, so nothing has to be quoted by hand.
    config.write_text(json.dumps({"version": "0.1", "log": {"level": "error"}, "storage": storage}))

    def plan_answer(output: Path) -> Json:
        # In another process: the memory it takes would show in every later figure.
        reader = "import json, sys; print(json.load(open(sys.argv[1]))['totals']['blobs'])"
        run([PYTHON, "-c", reader, str(written)], output)
        return {"blobs": int(output.read_text())}

    plan = [*REGFS, "-r", str(root), *PLAN, *options, "-o", str(written)]
    return (
        Side("gc plan", plan, plan_answer),
        Side("docker-registry", [*REFERENCE, *options, str(config)], reference_answer),
    )


def floor_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Plan, against the bare loop that reads the same."""
    plan, _ = plan_sides(bench, root)
    loop = [PYTHON, "-m", "tests.benchmarks.planning", str(root)]
    return Side(plan.label, plan.command), Side("bare loop", loop)


def reference_answer(output: Path) -> Json:
    """Find the line `N blobs marked, M blobs and K manifests eligible for deletion`."""
    with output.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if " blobs marked, " in line:
                return {"blobs": int(line.partition(", ")[2].partition(" ")[0])}
    raise ValueError("no totals")


def untagged_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """As `plan_sides`, with untagged manifests going as well."""
    return plan_sides(bench, root, UNTAGGED)


def moving_sides(root: Path, what: str) -> tuple[Side, Side]:
    """Move what goes out of a tree, or back; timed inside, for the tree is made whole again."""
    command = [PYTHON, "-m", "tests.benchmarks.moving"]

    def answer(output: Path) -> Json:
        return {"moved": json.loads(output.read_text())["moved"]}

    return (
        Side(f"gc {what}", [*command, "regfs", what, str(root)], answer, timed_inside=True),
        Side("rename loop", [*command, "loop", what, str(root)], answer, timed_inside=True),
    )


def apply_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Move blobs and links into quarantine, against the bare loop."""
    return moving_sides(root, "apply")


def restore_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Move them back."""
    return moving_sides(root, "restore")


def links_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Check the layout and every link, against naming all files and reading none."""

    def verify_answer(output: Path) -> Json:
        document: Json = json.loads(output.read_text())
        return {"links": document["checked"]["links"] if not document["findings"] else "damaged"}

    def find_answer(output: Path) -> Json:
        with output.open("rb") as lines:
            return {"links": sum(line.endswith(b"/link\n") for line in lines)}

    verify = [*REGFS, "-r", str(root), "verify", "--level", "links", "--json"]
    return Side("verify links", verify, verify_answer), Side(
        "find", ["find", str(root)], find_answer
    )


def du_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Measure a whole tree, against a walk that measures the same and knows no registry."""

    def du_answer(output: Path) -> Json:
        return {"files": json.loads(output.read_text())["disk"]["total"]["files"]}

    def walk_answer(output: Path) -> Json:
        return {"files": json.loads(output.read_text())["files"]}

    du = [*REGFS, "-r", str(root), "du", "--json"]
    walk = [PYTHON, "-m", "tests.benchmarks.walking", str(root)]
    return Side("du", du, du_answer), Side("scandir+lstat walk", walk, walk_answer)


def report_sides(bench: Bench, root: Path, report: str) -> tuple[Side, Side]:
    """Make one report, against the plan of a collection."""
    plan, _ = plan_sides(bench, root)
    command = [*REGFS, "-r", str(root), report, "--json"]
    return Side(report, command), Side(plan.label, plan.command)


def sizes_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Check every size, against naming all files and reading none."""
    find = ["find", str(root), "-name", "data"]
    return verify_side(root, "sizes"), Side("find", find, lines_answer)


def version_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Start and say a version, against a Python that does nothing."""
    return Side("--version", [*REGFS, "--version"]), BARE_PYTHON


def ls_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """List a handful of repositories, against a Python that does nothing."""
    return Side("ls", [*REGFS, "-r", str(root), "ls"]), BARE_PYTHON


def each_file(root: Path, command: list[str], files: int, *tests: str) -> list[str]:
    """Return a command that runs another one on the blobs of a tree, so many at once."""
    find = shlex.join(["find", str(root), "-name", "data", *tests, "-print0"])
    spread = shlex.join(["xargs", "-0", "-P", str(os.cpu_count() or 1), "-n", str(files)])
    return ["sh", "-c", f"{find} | {spread} {shlex.join(command)}"]


def lines_answer(output: Path) -> Json:
    """Count the blobs that one line each was printed of."""
    with output.open("rb") as lines:
        return {"blobs": sum(1 for _ in lines)}


def hash_large_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Verify large blobs, against as many openssl as there are processors."""
    openssl = each_file(root, ["openssl", "dgst", "-sha256"], 1)
    return verify_side(root, "digests"), Side("openssl dgst", openssl, lines_answer)


def hash_small_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Hash many small blobs, against as many sha256sum as there are processors."""
    command = [PYTHON, "-m", "tests.benchmarks.hashing", str(root)]

    def answer(output: Path) -> Json:
        found: Json = json.loads(output.read_text())
        return found if found["problems"] else {"blobs": found["blobs"]}

    sha256sum = each_file(root, ["sha256sum"], 500)
    return Side("hash_all", command, answer), Side("xargs sha256sum", sha256sum, lines_answer)


def content_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Unpack and hash layers, against as many zcat | sha256sum as there are processors."""
    unpack = each_file(root, ["sh", "-c", 'zcat "$0" | sha256sum'], 1, "-size", "+64k")
    return verify_side(root, "content", whole), Side("zcat | sha256sum", unpack)


def verify_side(root: Path, level: str, reduce: Callable[[Json], Json] | None = None) -> Side:
    """Verify a tree on one level, as a whole process."""

    def answer(output: Path) -> Json:
        found: Json = json.loads(output.read_text())
        return reduce(found) if reduce else {"blobs": found["checked"]["blobs"]}

    command = [*REGFS, "-r", str(root), "verify", "--level", level, "--json"]
    return Side(f"verify {level}", command, answer)


def whole(found: Json) -> Json:
    """Say nothing of a tree with nothing wrong in it."""
    return {"findings": found["findings"]} if found["findings"] else {}


def stored(summary: Json) -> Json:
    """What hashing must count."""
    return {"blobs": summary["blobs"]}


def listed(summary: Json) -> Json:
    """What listing must count."""
    return {
        "blobs": summary["blobs"],
        "layers": summary["layer_links"],
        "revisions": summary["manifests"],
        "tags": summary["tags"],
        "history": summary["tag_history"],
    }


def links(summary: Json) -> Json:
    """How many links there are."""
    parts = ("layer_links", "manifests", "tags", "tag_history")
    return {"links": sum(summary[part] for part in parts)}


def files(summary: Json) -> Json:
    """How many files there are."""
    return {"files": summary["blobs"] + links(summary)["links"]}


def unreferenced(summary: Json) -> Json:
    """What a plan must find."""
    return {"blobs": summary["unreferenced_blobs"]}


def untagged(summary: Json) -> Json:
    """What a plan must find when untagged manifests go as well."""
    return {"blobs": summary["untagged_blobs"]}


def moved(summary: Json) -> Json:
    """What goes of a tree with one image: each blob nobody names, every second with a link."""
    return {"moved": summary["unreferenced_blobs"] + summary["unreferenced_blobs"] // 2}


def nothing(summary: Json) -> Json:
    """What is not looked at."""
    return {}


BARE_PYTHON = Side("python -c pass", [PYTHON, "-c", "pass"])
ONE_REPOSITORY = (
    "--manifests 2 --repositories 1 --tags 2 --bases 1 --indexes 0 --unreferenced 0 --untagged 0"
)
GARBAGE = "--manifests 4 --repositories 1 --tags 4 --layers 8 --bases 1 --indexes 0"
TREES = {
    "usual": (
        "--blobs 100000 --manifests 20000 --repositories 100",
        "--blobs 10000 --manifests 2000 --repositories 20",
    ),
    "tenth": (
        "--blobs 10000 --manifests 2000 --repositories 10",
        "--blobs 1000 --manifests 200 --repositories 2",
    ),
    "triple": (
        "--blobs 300000 --manifests 60000 --repositories 300",
        "--blobs 30000 --manifests 6000 --repositories 60",
    ),
    "large": (
        "--blobs 1000000 --manifests 200000 --repositories 1000 --layers 5",
        "--blobs 20000 --manifests 4000 --repositories 20 --layers 5",
    ),
    "tags": ("--one-repository --tags 1000 --layers 8", "--one-repository --tags 100 --layers 8"),
    "garbage": (
        f"--blobs 100000 {GARBAGE} --unreferenced 0.9998",
        f"--blobs 10000 {GARBAGE} --unreferenced 0.998",
    ),
    "blobs-large": (
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 268435456",
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 67108864",
    ),
    "blobs-small": (
        "--blobs 100000 --manifests 4 --repositories 1 --tags 4 --layers 8 "
        "--layer-size 4096 --bases 1 --indexes 0 --unreferenced 0.9998",
        "--blobs 20000 --manifests 4 --repositories 1 --tags 4 --layers 8 "
        "--layer-size 4096 --bases 1 --indexes 0 --unreferenced 0.999",
    ),
    "layers": (
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 10000 --files 5000",
        f"--blobs 16 {ONE_REPOSITORY} --layers 8 --layer-size 10000 --files 1000",
    ),
    "many-tags": ("--one-repository --tags 10000 --layers 2 --pushes 1",) * 2,
    "repositories": tuple(
        f"--blobs {3 * count} --manifests {count} --repositories {count} --tags 1 --layers 1 "
        "--bases 1 --indexes 0 --unreferenced 0 --untagged 0"
        for count in (100_000, 5_000)
    ),
    "small": ("--blobs 200 --manifests 40 --repositories 4 --tags 5",) * 2,
}
"""Options of the tree maker, in full and for --quick."""
CASES = [
    Case("scan", "usual", listing_sides, listed, runs=5),
    Case("scan-large", "large", listing_sides, listed, runs=3),
    Case("gc", "usual", plan_sides, unreferenced, runs=5),
    Case("gc-floor", "usual", floor_sides, nothing, runs=5),
    Case("gc-tenth", "tenth", plan_sides, unreferenced, runs=5),
    Case("gc-triple", "triple", plan_sides, unreferenced, runs=3),
    Case("gc-large", "large", plan_sides, unreferenced, runs=1),
    Case("gc-untagged", "tags", untagged_sides, untagged, runs=3),
    Case("gc-apply", "garbage", apply_sides, moved, runs=3),
    Case("gc-restore", "garbage", restore_sides, moved, runs=3),
    Case("hash-large", "blobs-large", hash_large_sides, stored, runs=5),
    Case("hash-small", "blobs-small", hash_small_sides, stored, runs=5),
    Case("content", "layers", content_sides, nothing, runs=5),
    Case("links", "usual", links_sides, links, runs=5),
    Case("sizes", "usual", sizes_sides, stored, runs=5),
    Case("du", "usual", du_sides, files, runs=5),
    Case("info", "usual", partial(report_sides, report="info"), nothing, runs=5),
    Case("reuse", "usual", partial(report_sides, report="reuse"), nothing, runs=5),
    Case("bases", "usual", partial(report_sides, report="bases"), nothing, runs=5),
    Case("version", "small", version_sides, nothing, runs=15),
    Case("ls", "small", ls_sides, nothing, runs=15),
]


def say(text: str) -> None:
    """Tell what goes on, beside the table."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Iterable[Row]) -> str:
    """Lay the rows out in columns."""
    titles = ("name", "side", "median s", "min - max", "cpu s", "runs", "peak MB", "ratio", "tree")
    lines: list[tuple[str, ...]] = [titles]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        for each in filter(None, (row.regfs, row.other)):
            spread = f"{each.low:.3f} - {each.high:.3f}"
            peak = f"{each.peak / 1e6:.0f}"
            cpu = f"{each.cpu:.2f}"
            cells = (each.label, f"{each.median:.3f}", spread, cpu, str(each.runs), peak, ratio)
            lines.append((row.name, *cells, row.what))
            ratio = ""
        if row.problem:
            lines.append((row.name, "not measured: " + row.problem, *[""] * 7))
    widths = [max(len(line[n]) for line in lines if line[2]) for n in range(len(titles))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def machine() -> Json:
    """Say where this was measured."""
    return {
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; print the table."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="bench", description="Measure regfs side by side.")
    parser.add_argument("names", nargs="*", metavar="NAMES", help=f"of {', '.join(names)}; [all]")
    parser.add_argument("--quick", action="store_true", help="small trees, two runs")
    parser.add_argument("--cold", action="store_true", help="empty the caches before each run")
    parser.add_argument("--runs", type=int, help="runs of each side, instead of each row's own")
    parser.add_argument("--workdir", type=Path, help="where trees are kept and found again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    workdir = options.workdir or Path(tempfile.gettempdir()) / "regfs-bench"
    workdir.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in CASES if case.name in (options.names or names)]
    about = machine()
    with tempfile.TemporaryDirectory(prefix=".run-", dir=workdir) as scratch:
        bench = Bench(
            workdir.resolve(), Path(scratch).resolve(), options.quick, options.runs, options.cold
        )
        rows = [bench.measure(case) for case in chosen]
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(table(rows))
    if options.json:
        document = {"machine": about, "quick": options.quick, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if any(row.problem for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
