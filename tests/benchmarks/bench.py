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
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.measuring import Bench, Row, machine
from tests.benchmarks.rows import CASES


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
