"""The barest walk over a whole tree: a `scandir` of each folder and an `lstat` of each entry.

    python -m tests.benchmarks.walking ROOT    -> {"files": .., "allocated": ..}

`du -s` asks the disk the same: no process that measures every file can ask for less.
"""

from __future__ import annotations

import json
import os
import sys


def walk(root: str) -> dict[str, int]:
    """Measure everything below a folder."""
    files = allocated = 0
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as children:
            for child in children:
                allocated += child.stat(follow_symlinks=False).st_blocks * 512
                if child.is_dir(follow_symlinks=False):
                    pending.append(child.path)
                else:
                    files += 1
    return {"files": files, "allocated": allocated}


if __name__ == "__main__":
    print(json.dumps(walk(sys.argv[1])))
