"""Hashes every blob of a tree as verify does, and nothing else: no link is read, no graph built.

    python -m tests.benchmarks.hashing ROOT

What `find -name data | xargs sha256sum` does to a tree is this and no more, so this is
what can be held against it. Prints how many blobs were hashed, and how many are wrong.
"""

from __future__ import annotations

import gc
import json
import os
import sys

from regfs.progress import SILENT
from regfs.stores import open_store
from regfs.tree.scan import scan
from regfs.verify.content import hash_all, reading_order


def main(root: str) -> int:
    """Hash the blobs of the tree at `root`."""
    gc.set_threshold(1_000_000)  # as the command line does
    store = open_store(root)
    blobs = scan(store).blobs
    order = reading_order(zip(blobs, blobs.sizes, blobs.mtimes, strict=True))
    done = problems = 0
    for outcome in hash_all(store, order, jobs=os.cpu_count() or 1, executor=None, progress=SILENT):
        done += outcome.blobs
        problems += len(outcome.problems)
    print(json.dumps({"blobs": done, "problems": problems}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
