"""The barest loop that reads what a plan has to read, in one process and keeping next to nothing.

    python -m tests.benchmarks.planning ROOT    -> {"blobs": .., "links": .., "manifests": ..}

The names of all blobs and layer links, with the kind of each; each revision link and each
tag's `current/link`, stat and read; each manifest, stat, read, hashed and decoded as JSON.
It checks nothing and concludes nothing: a plan in one Python process cannot take less.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

FOLDER = os.O_RDONLY | os.O_DIRECTORY


def names(folder: str) -> list[str]:
    """Return the folders in a folder."""
    with os.scandir(folder) as children:
        return [child.name for child in children if child.is_dir()]


def read(parent: int, path: str) -> bytes:
    """Look at one file, and read it."""
    os.stat(path, dir_fd=parent, follow_symlinks=False)
    file = os.open(path, os.O_RDONLY, dir_fd=parent)
    content = os.read(file, 1 << 16)
    os.close(file)
    return content


def read_all(folder: str, leaf: str) -> int:
    """Read `<folder>/*/<leaf>`; return how many there are."""
    found = names(folder)
    parent = os.open(folder, FOLDER)
    for name in found:
        read(parent, f"{name}/{leaf}")
    os.close(parent)
    return len(found)


def plan(root: str) -> dict[str, int]:
    """Read it all."""
    v2 = f"{root}/docker/registry/v2"
    blobs = sum(len(names(f"{v2}/blobs/sha256/{start}")) for start in names(f"{v2}/blobs/sha256"))
    manifests: set[str] = set()
    links = 0
    pending = [f"{v2}/repositories"]
    while pending:
        folder = pending.pop()
        found = names(folder)
        pending.extend(f"{folder}/{name}" for name in found if not name.startswith("_"))
        if "_layers" in found:
            links += len(names(f"{folder}/_layers/sha256"))
            revisions = f"{folder}/_manifests/revisions/sha256"
            manifests.update(names(revisions))
            links += read_all(revisions, "link")
            links += read_all(f"{folder}/_manifests/tags", "current/link")
    above = os.open(f"{v2}/blobs/sha256", FOLDER)
    for name in manifests:
        content = read(above, f"{name[:2]}/{name}/data")
        hashlib.sha256(content).hexdigest()
        json.loads(content)
    return {"blobs": blobs, "links": links, "manifests": len(manifests)}


if __name__ == "__main__":
    print(json.dumps(plan(sys.argv[1])))
