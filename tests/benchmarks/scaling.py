"""Hashes a bucket by two threads and by two workers of a cluster; plans it alone and in shares.

    python -m tests.benchmarks.scaling [--blobs 10000] [--manifests 2000] [--tags 120] [--runs 3]

SeaweedFS, the scheduler and the workers run on loopback; the tree is made by `treemaker`. Sides
take turns and the best run of each counts. Printed as JSON: seconds, seconds of processors, and
ratios. A cluster is to take at most 1.3 times as long as threads: what it costs on one machine is
what it costs on each.

Each run of threads has a listing of its own, made before its time begins: a listing remembers the
small objects that were read of it, and workers have none. So both sides ask for every blob, and
that is checked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import distributed

from regfs.content.cluster import Cluster, connected
from regfs.content.manifest_parts import ManifestPart, MergedParts
from regfs.facade import Tree
from regfs.facade import open as open_tree
from regfs.gc.policy import Policy
from regfs.progress import SILENT
from regfs.stores import Store
from regfs.tree.scan import scan
from regfs.verify.content import hash_all, reading_order
from tests.benchmarks.treemaker import main as make_tree
from tests.support.buckets import NAME, reached_at, upload
from tests.support.cluster import cluster_of
from tests.support.object_stores import seaweedfs

ROOT = f"s3://{NAME}"
SHARES = 4


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return round(time.perf_counter() - begun, 2)


class Run(NamedTuple):
    """What it took to hash every blob once."""

    seconds: float
    here: float
    """Seconds of processors of this process."""
    workers: float
    """Those of the workers."""


def hash_it(live: Store, cluster: Cluster | None, pids: list[int]) -> Run:
    """Hash every blob, with threads or the workers of a cluster."""
    store = live.snapshot()
    inventory = scan(store)
    blobs = inventory.blobs
    order = reading_order(zip(blobs, blobs.sizes, blobs.mtimes, strict=True))
    executor = None if cluster is None else cluster.executor
    counts = store.requests if cluster is None else cluster.requests
    asked, here, there = counts.get("get", 0), time.process_time(), _spent(pids)
    begun = time.perf_counter()
    outcomes = list(hash_all(store, order, jobs=2, executor=executor, progress=SILENT))
    took = time.perf_counter() - begun
    assert not [problem for one in outcomes for problem in one.problems]
    assert sum(one.blobs for one in outcomes) == len(blobs)
    assert counts["get"] - asked == len(blobs)
    spent = (took, time.process_time() - here, _spent(pids) - there)
    return Run(*(round(one, 2) for one in spent))


def _spent(pids: list[int]) -> float:
    import psutil  # type: ignore[import-untyped]  # comes with Dask

    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def no_op(address: str, count: int = 200) -> float:
    """Return the milliseconds of a task that does nothing, as `verify` sends them: some at once."""
    with distributed.Client(address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        tasks = client.get_executor(pure=False)
        begun = time.perf_counter()
        list(tasks.map(abs, range(count)))
        return round((time.perf_counter() - begun) / count * 1000, 1)


def shares(folder: Path) -> tuple[list[float], float, float]:
    """Return the seconds of each share, of the plan of all of them, and of the plan alone."""
    parts = [folder / f"part{number}" for number in range(1, SHARES + 1)]
    spent = [
        seconds(lambda part=part, number=number: _tree().read_share(number, SHARES, str(part)))  # type: ignore[misc]
        for number, part in enumerate(parts, 1)
    ]
    opened = [ManifestPart.open(str(part)) for part in parts]
    kept = MergedParts(opened)
    merged = seconds(lambda: _tree().plan(Policy(), kept))
    assert kept.lacking == 0
    return spent, merged, seconds(lambda: _tree().plan(Policy()))


def _tree() -> Tree:
    return open_tree(ROOT)


def measure(folder: Path, runs: int) -> dict[str, object]:
    """Return the figures of the bucket that is there."""
    threads, workers = [], []
    with cluster_of(folder) as cluster:
        pids = [process.pid for process in cluster.workers]
        live = _tree().store
        begun = time.perf_counter()
        with connected(cluster.address, live) as connection:
            began = round(time.perf_counter() - begun, 2)
            for _ in range(runs):
                threads.append(hash_it(live, None, pids))
                workers.append(hash_it(live, connection, pids))
        task = no_op(cluster.address)
    spent, merged, alone = shares(folder)
    return {
        "threads": threads,
        "workers": workers,
        "ratio": round(min(workers).seconds / min(threads).seconds, 2),
        "processors": round(min(_processors(workers)) / min(_processors(threads)), 2),
        "connecting": began,
        "a task of nothing, in milliseconds": task,
        "shares": spent,
        "plan of shares": merged,
        "plan alone": alone,
    }


def _processors(runs: list[Run]) -> list[float]:
    return [one.here + one.workers for one in runs]


def main() -> int:
    """Make the bucket, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blobs", default="10000")
    parser.add_argument("--manifests", default="2000")
    parser.add_argument("--tags", default="120")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="regfs-scaling-") as name:
        folder = Path(name)
        shape = ["--blobs", given.blobs, "--manifests", given.manifests, "--tags", given.tags]
        make_tree([str(folder / "tree"), "--repositories", "50", *shape])
        (folder / "server").mkdir()
        with seaweedfs(folder / "server") as url, reached_at(url):
            upload(folder / "tree")
            found = measure(folder, given.runs)
    print(json.dumps(found, indent=1))
    return 0 if float(str(found["ratio"])) <= 1.3 else 1


if __name__ == "__main__":
    sys.exit(main())
