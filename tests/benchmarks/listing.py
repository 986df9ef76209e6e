"""Lists one registry tree, either as regfs does or with the barest loop, and says how long it took.

    python -m tests.benchmarks.listing regfs|loop ROOT    -> {"seconds": .., "counts": {..}}

The loop asks the disk what `regfs.scan` has to ask and nothing more:
one listdir of each folder, one stat of each `data` and `link`, one read of each
revision's link and each tag's `current/link`. It checks nothing, survives no damage,
and keeps only two lists of numbers. Interpreter start and imports are outside the time.
"""

from __future__ import annotations

import json
import os
import sys
import time

FOLDER = os.O_RDONLY | os.O_DIRECTORY
Counts = dict[str, int]


def stat_leaves(
    folder: str, leaf: str, sizes: list[int], mtimes: list[float], *, read: bool = False
) -> int:
    """Stat, and read if asked to, `<folder>/*/<leaf>`; return how many there are."""
    parent = os.open(folder, FOLDER)
    names = os.listdir(parent)
    stat = os.stat
    for name in names:
        status = stat(f"{name}/{leaf}", dir_fd=parent)
        sizes.append(status.st_size)
        mtimes.append(status.st_mtime)
        if read:
            link = os.open(f"{name}/{leaf}", os.O_RDONLY, dir_fd=parent)
            os.read(link, 1024)
            os.close(link)
    os.close(parent)
    return len(names)


def loop(root: str) -> Counts:
    """List the tree with plain system calls."""
    v2 = f"{root}/docker/registry/v2"
    sizes: list[int] = []
    mtimes: list[float] = []
    counts = dict.fromkeys(("blobs", "layers", "revisions", "tags", "history"), 0)
    for algorithm in os.listdir(f"{v2}/blobs"):
        for prefix in os.listdir(f"{v2}/blobs/{algorithm}"):
            folder = f"{v2}/blobs/{algorithm}/{prefix}"
            counts["blobs"] += stat_leaves(folder, "data", sizes, mtimes)
    pending = [f"{v2}/repositories"]
    while pending:
        folder = pending.pop()
        names = os.listdir(folder)
        pending.extend(f"{folder}/{name}" for name in names if not name.startswith("_"))
        if "_layers" in names:
            for algorithm in os.listdir(f"{folder}/_layers"):
                layers = f"{folder}/_layers/{algorithm}"
                counts["layers"] += stat_leaves(layers, "link", sizes, mtimes)
        if "_manifests" in names:
            loop_manifests(f"{folder}/_manifests", sizes, mtimes, counts)
        if "_uploads" in names:
            os.listdir(f"{folder}/_uploads")
    return counts


def loop_manifests(folder: str, sizes: list[int], mtimes: list[float], counts: Counts) -> None:
    """List the revisions and tags of one repository."""
    for algorithm in os.listdir(f"{folder}/revisions"):
        revisions = f"{folder}/revisions/{algorithm}"
        counts["revisions"] += stat_leaves(revisions, "link", sizes, mtimes, read=True)
    tags = os.open(f"{folder}/tags", FOLDER)
    for tag in os.listdir(tags):
        counts["tags"] += 1
        current = os.open(f"{tag}/current/link", os.O_RDONLY, dir_fd=tags)
        os.read(current, 1024)
        os.close(current)
        for algorithm in os.listdir(f"{folder}/tags/{tag}/index"):
            index = f"{folder}/tags/{tag}/index/{algorithm}"
            counts["history"] += stat_leaves(index, "link", sizes, mtimes)
    os.close(tags)


def timed_loop(root: str) -> tuple[float, Counts]:
    """Return the seconds the loop took, and what it counted."""
    start = time.perf_counter()
    counts = loop(root)
    return time.perf_counter() - start, counts


def timed_scan(root: str) -> tuple[float, Counts]:
    """Return the seconds regfs took, and what it counted."""
    from regfs.stores import open_store
    from regfs.tree.scan import scan

    start = time.perf_counter()
    inventory = scan(open_store(root))
    seconds = time.perf_counter() - start
    repositories = inventory.repositories.values()
    tags = [tag for each in repositories for tag in each.tags.values()]
    return seconds, {
        "blobs": len(inventory.blobs),
        "layers": sum(len(each.layers) for each in repositories),
        "revisions": sum(len(each.revisions) for each in repositories),
        "tags": len(tags),
        "history": sum(len(tag.history) for tag in tags),
    }


if __name__ == "__main__":
    way, tree = sys.argv[1:]
    took, counted = {"loop": timed_loop, "regfs": timed_scan}[way](tree)
    print(json.dumps({"seconds": took, "counts": counted}))
