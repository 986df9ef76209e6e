"""Measures `regfs serve` beside docker-registry and nginx over the same files, in one run.

    python -m tests.benchmarks.serve [--quick] [ROWS...] [--runs N]

The table is Markdown. A ratio is always a speed, regfs by the other: above 1, regfs is
faster. Of several runs, in turns A B C A B C, the best of each side counts; seconds
"a GB" or "a 1,000" are those of the processor that the server itself has taken, at the
least. What each row means, and what it takes, is in the README beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.loading import ACCEPT
from tests.benchmarks.measuring import PROJECT, PYTHON, Bench, Failed, Json, machine, say
from tests.benchmarks.servers import Nginx, forget_peak, peak, processor_time
from tests.support.images import Blob, image
from tests.support.processes import RegfsServer, RegistryProcess
from tests.support.reference import ReferenceRegistry, copy, make_oci_layout

PROGRAMS: Final = ("docker-registry", "nginx", "skopeo", "wrk")
SIDES: Final = ("regfs", "docker-registry", "nginx")
GIB: Final = 1 << 30
LOADING: Final = [PYTHON, "-m", "tests.benchmarks.loading"]
LOCK_TIMEOUT: Final = 600
"""Seconds one client may take."""


class Sample(NamedTuple):
    """One run against one server; more is better in `speed`, whatever it counts."""

    speed: float
    shown: str
    work: float = 0.0
    """How much was done, in what `unit` names."""
    unit: str = ""


How = Callable[[RegistryProcess], Sample]


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    what: str
    cells: dict[str, Sample] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    """Seconds of the processor that a server took for one unit of work, at the least."""
    problems: dict[str, str] = field(default_factory=dict)

    def take(self, side: str, server: RegistryProcess, how: How) -> None:
        """Measure a side once more, and keep the best of it."""
        before = processor_time(server)
        try:
            sample = how(server)
        except (Failed, OSError, subprocess.SubprocessError) as error:
            self.problems[side] = str(error)
            return
        if sample.work:
            cost = (processor_time(server) - before) / sample.work
            self.costs[side] = min(cost, self.costs.get(side, cost))
        if side not in self.cells or sample.speed > self.cells[side].speed:
            self.cells[side] = sample

    def shown(self, side: str) -> str:
        """Return what the table says of a side."""
        if side not in self.cells:
            return ""
        sample = self.cells[side]
        cost = f"; {self.costs[side]:.2f} s a {sample.unit}" if side in self.costs else ""
        return sample.shown + cost

    def ratio(self, other: str) -> str:
        """Return the speed of regfs by that of another side."""
        if not {"regfs", other} <= self.cells.keys():
            return ""
        return f"{self.cells['regfs'].speed / self.cells[other].speed:.2f}"


@dataclass(frozen=True, slots=True)
class Lab:
    """Where the files are, and how much is asked for."""

    bench: Bench
    """Where large trees are made and found again."""
    scratch: Path
    quick: bool
    runs: int

    @property
    def size(self) -> int:
        """Bytes of the large blob."""
        return GIB // 16 if self.quick else GIB

    @property
    def seconds(self) -> int:
        """Seconds of one run of wrk."""
        return 2 if self.quick else 6


class Stocked(NamedTuple):
    """A tree with one large blob and one small image, and how they are asked for."""

    root: Path
    blob: str
    """Path of the large blob."""
    tag: str
    digest: str
    """Paths of the manifest."""
    file: Path
    """The large blob again, to be pushed from."""
    name: str
    """Its digest."""


def stock(lab: Lab) -> Stocked:
    """Make the tree through docker-registry."""
    root, file = lab.scratch / "tree", lab.scratch / "large"
    root.mkdir()
    hashed, drawn = hashlib.sha256(), random.Random(1)
    with file.open("wb") as out:
        for _ in range(lab.size >> 20):
            piece = drawn.randbytes(1 << 20)
            hashed.update(piece)
            out.write(piece)
    digest = f"sha256:{hashed.hexdigest()}"
    content = image([f"file {number}" for number in range(8)])
    with ReferenceRegistry(root) as registry:
        registry.push("app", "v1", content)
        load("push", registry, "app", "--file", str(file), "--digest", digest)
    manifests = "/v2/app/manifests"
    paths = (f"/v2/app/blobs/{digest}", f"{manifests}/v1", f"{manifests}/{content.digest}")
    return Stocked(root, *paths, file, digest)


def data_of(root: Path, digest: str) -> Path:
    """Return the file a blob lies in."""
    encoded = digest.partition(":")[2]
    return root / f"docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"


@contextmanager
def serving(
    root: Path, *options: str, files: Mapping[str, Path] | None = None
) -> Iterator[dict[str, RegistryProcess]]:
    """Serve a tree by every side at once; nginx only if there are files for it."""
    with ExitStack() as running:
        sides: dict[str, RegistryProcess] = {
            "regfs": running.enter_context(RegfsServer(root, *options)),
            "docker-registry": running.enter_context(ReferenceRegistry(root)),
        }
        if files:
            sides["nginx"] = running.enter_context(Nginx(root, files))
        yield sides


def load(way: str, server: RegistryProcess, *arguments: str) -> Json:
    """Run one client of `loading.py` against a server.

    Raises:
        Failed: it was answered something else than it asked for.
    """
    command = [*LOADING, way, server.address, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, timeout=LOCK_TIMEOUT, check=False
    )
    if done.returncode:
        raise Failed(done.stderr.strip()[-300:])
    answer: Json = json.loads(done.stdout)
    return answer


def wrk(server: RegistryProcess, *, path: str, connections: int, seconds: int) -> Sample:
    """Ask for one path again and again on so many connections.

    Raises:
        Failed: not every answer was a good one.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Accept: {ACCEPT}", f"http://{server.address}{path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for trouble in ("Non-2xx", "Socket errors"):
        if trouble in said:
            raise Failed(next(line.strip() for line in said.splitlines() if trouble in line))
    found = dict(re.findall(r"(50%|99%|Requests/sec:)\s+(\S+)", said))
    speed = float(found["Requests/sec:"])
    shown = f"{speed:,.0f}/s, p50 {found['50%']}, p99 {found['99%']}"
    return Sample(speed, shown, speed * seconds / 1000, "1,000")


def transfer(
    server: RegistryProcess, way: str, subject: str, options: Sequence[str] = ()
) -> Sample:
    """Move bytes, and say how fast they went."""
    answer = load(way, server, subject, *options)
    speed = answer["bytes"] / answer["seconds"]
    return Sample(speed, f"{speed / 1e9:.2f} GB/s", answer["bytes"] / 1e9, "GB")


def milliseconds(seconds: float) -> Sample:
    """Say how long something took."""
    return Sample(1 / seconds, f"{seconds * 1000:,.1f} ms")


def in_turns(lab: Lab, row: Row, sides: Mapping[str, RegistryProcess], how: How) -> Row:
    """Measure every side of a row, in turns."""
    say(f"measuring {row.name} ..")
    for _ in range(lab.runs):
        for side, server in sides.items():
            row.take(side, server, how)
    return row


def reading(lab: Lab, stocked: Stocked) -> Iterator[Row]:
    """What is read: a large blob, whole and in ranges, and manifests."""
    manifest = data_of(stocked.root, stocked.digest.rpartition("/")[2])
    large = data_of(stocked.root, stocked.name)
    files = {stocked.blob: large, stocked.tag: manifest, stocked.digest: manifest}
    with serving(stocked.root, files=files) as sides:
        for server in sides.values():
            load("get", server, stocked.blob)  # warms the cache
            forget_peak(server)
        transfers: dict[str, tuple[str, str, Sequence[str]]] = {
            "get": (f"GET of a blob of {lab.size >> 20} MiB", "get", ()),
            "get-4": ("the same, 4 at once", "get", ("--clients", "4")),
            "ranges": ("the same, range by range of 16 MiB", "ranges", ()),
            "ranges-small": ("the same, ranges of 1 MiB", "ranges", ("--size", "1048576")),
        }
        for name, (what, way, options) in transfers.items():
            how = partial(transfer, way=way, subject=stocked.blob, options=options)
            yield in_turns(lab, Row(name, what), sides, how)
        yield memory("get-memory", "peak memory of the server in these four", sides)
        for name, path in (("manifest-tag", stocked.tag), ("manifest-digest", stocked.digest)):
            row = Row(name, f"GET of a manifest by {name.partition('-')[2]}, 16 connections")
            yield in_turns(
                lab, row, sides, partial(wrk, path=path, connections=16, seconds=lab.seconds)
            )
        yield open_connections(lab, stocked, sides)


def memory(name: str, what: str, sides: Mapping[str, RegistryProcess]) -> Row:
    """Say how much memory each server had at the most."""
    row = Row(name, what)
    for side, server in sides.items():
        bytes_ = peak(server)
        row.cells[side] = Sample(1 / bytes_, f"{bytes_ / 1e6:.0f} MB")
    return row


def open_connections(lab: Lab, stocked: Stocked, sides: Mapping[str, RegistryProcess]) -> Row:
    """200 connections that ask, while 1,000 others are held and do not."""
    row = Row("crowd", "manifest by tag, 200 connections beside 1,000 idle ones")
    say(f"measuring {row.name} ..")
    how = partial(wrk, path=stocked.tag, connections=200, seconds=lab.seconds)
    for side, server in sides.items():
        command = [*LOADING, "idle", server.address, stocked.tag, "--clients", "1000"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=PROJECT) as held:
            assert held.stdin is not None
            assert held.stdout is not None
            if held.stdout.readline():
                row.take(side, server, how)
            held.stdin.close()
            answered = json.loads(held.stdout.readline() or '{"answered": 0}')["answered"]
        if answered < 1000:
            row.problems[side] = f"only {answered} of the idle connections were held"
    return row


def pushing(lab: Lab, stocked: Stocked) -> Iterator[Row]:
    """What is pushed: a large blob, and an image of 200 small layers."""
    root = lab.scratch / "pushed"
    root.mkdir()
    options = ("--file", str(stocked.file), "--digest", stocked.name)
    drawn = random.Random()

    def push(server: RegistryProcess) -> Sample:
        shutil.rmtree(root / "docker", ignore_errors=True)
        os.sync()
        return transfer(server, "push", "app", options)

    def push_small(server: RegistryProcess) -> Sample:
        # Never the same bytes twice: skopeo remembers where it has seen a blob.
        layers = [Blob(drawn.randbytes(2000)) for _ in range(200)]
        layout = Path(tempfile.mkdtemp(dir=lab.scratch))
        make_oci_layout(layout, {"v1": image(layers, b"{}")})
        os.sync()
        began = time.perf_counter()
        copy(f"oci:{layout}:v1", server.image("small:v1"), "--preserve-digests")
        return milliseconds(time.perf_counter() - began)._replace(work=0.2, unit="1,000 blobs")

    with serving(root, "--writable") as sides:
        for server in sides.values():
            forget_peak(server)
        row = Row("push", f"push of a blob of {lab.size >> 20} MiB: POST, PATCH, PUT")
        yield in_turns(lab, row, sides, push)
        yield memory("push-memory", "peak memory of the server in that", sides)
        row = Row("push-small", "skopeo copy of an image with 200 layers of 2 kB, whole process")
        yield in_turns(lab, row, sides, push_small)


def paging(lab: Lab) -> Iterator[Row]:
    """What is listed: many tags of one repository, many repositories."""
    root, made = lab.bench.tree("many-tags")
    listing = "/v2/library/app/tags/list"
    with serving(root) as sides:
        row = Row("tags", f"{made['tags']:,} tags in one answer")
        yield in_turns(lab, row, sides, partial(page, path=listing))
        only = {"regfs": sides["regfs"]}  # docker-registry 2.8 has no pages of tags
        for name, last in (("first", ""), ("middle", "v5"), ("last", "v998")):
            row = Row(f"tags-{name}", f"{name} page of 100 of them")
            yield in_turns(lab, row, only, partial(page, path=f"{listing}?n=100&last={last}"))
    root, made = lab.bench.tree("repositories")
    count = made["repositories"]
    with serving(root) as sides:
        teams = count // 25
        for name, place in (("first", 0), ("middle", teams // 2), ("last", teams - 3)):
            row = Row(f"catalog-{name}", f"{name} page of 100 of {count:,} repositories")
            path = f"/v2/_catalog?n=100&last=team-{place:03}"
            yield in_turns(lab, row, sides, partial(page, path=path))


def page(server: RegistryProcess, path: str) -> Sample:
    """Ask for a page, and take the better of three times."""
    return milliseconds(min(load("pages", server, path, path, path)["pages"]))


GROUPS: Final[dict[str, Callable[[Lab, Callable[[], Stocked]], Iterator[Row]]]] = {
    "reading": lambda lab, stocked: reading(lab, stocked()),
    "pushing": lambda lab, stocked: pushing(lab, stocked()),
    "paging": lambda lab, stocked: paging(lab),
}


def table(rows: list[Row]) -> str:
    """Lay the rows out in Markdown."""
    lines = [
        "| row | what | regfs | docker-registry | nginx | by docker-registry | by nginx |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.shown(side) for side in SIDES]
        cells += [row.ratio(side) for side in SIDES[1:]]
        lines.append(f"| {' | '.join((row.name, row.what, *cells))} |")
    for row in rows:
        lines += [f"\n{row.name}, {side}: {text}" for side, text in row.problems.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; print the table."""
    parser = argparse.ArgumentParser(prog="serve", description="Measure regfs serve side by side.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; [all]")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--runs", type=int, help="runs of each side [3; with --quick 1]")
    parser.add_argument("--workdir", type=Path, help="where large trees are kept and found again")
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        parser.error(f"not installed: {', '.join(missing)}")
    workdir = options.workdir or Path(tempfile.gettempdir()) / "regfs-bench"
    workdir.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix=".serve-", dir=workdir) as name:
        scratch = Path(name).resolve()
        bench = Bench(workdir.resolve(), scratch, options.quick, None)
        lab = Lab(bench, scratch, options.quick, options.runs or (1 if options.quick else 3))
        kept: list[Stocked] = []

        def stocked() -> Stocked:
            if not kept:
                kept.append(stock(lab))
            return kept[0]

        for group in options.groups or GROUPS:
            rows.extend(GROUPS[group](lab, stocked))
    print(", ".join(f"{key} {value}" for key, value in machine().items()), end="\n\n")
    print(table(rows))
    return 1 if any(row.problems for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
