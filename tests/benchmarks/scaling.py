"""Hashes a bucket by two threads and by two workers of a cluster; plans it alone and in shares.

    python -m tests.benchmarks.scaling [--blobs 10000] [--manifests 2000] [--tags 120] [--runs 3]

SeaweedFS, the scheduler and the workers run on loopback; the tree is made by `treemaker`. Sides
take turns and the best run of each counts. Printed as JSON: seconds, and ratios. A cluster is to
take at most 1.3 times as long as threads: what it costs on one machine is what it costs on each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from regfs.content.cluster import connected
from regfs.content.manifest_parts import ManifestPart, MergedParts
from regfs.facade import Tree
from regfs.facade import open as open_tree
from regfs.gc.policy import Policy
from regfs.progress import SILENT
from regfs.stores import Store
from regfs.tree.inventory import Inventory
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


def hash_it(store: Store, inventory: Inventory, executor: Executor | None) -> None:
    """Hash every blob."""
    blobs = inventory.blobs
    rows = zip(blobs, blobs.sizes, blobs.mtimes, strict=True)
    found = hash_all(store, reading_order(rows), jobs=2, executor=executor, progress=SILENT)
    outcomes = list(found)
    assert not [problem for one in outcomes for problem in one.problems]
    assert sum(one.blobs for one in outcomes) == len(blobs)


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
    store = _tree().store.snapshot()
    inventory = scan(store)
    threads, workers = [], []
    with cluster_of(folder) as cluster, connected(cluster.address, store) as connection:
        for _ in range(runs):
            threads.append(seconds(lambda: hash_it(store, inventory, None)))
            workers.append(seconds(lambda: hash_it(store, inventory, connection.executor)))
    spent, merged, alone = shares(folder)
    return {
        "blobs": len(inventory.blobs),
        "threads": threads,
        "workers": workers,
        "ratio": round(min(workers) / min(threads), 2),
        "shares": spent,
        "plan of shares": merged,
        "plan alone": alone,
    }


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
