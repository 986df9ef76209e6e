"""Times moving what goes out of a tree and back, by regfs or by a bare loop.

    python -m tests.benchmarks.moving regfs|loop apply|restore ROOT

Prints {"seconds", "moved"}. With regfs the life of the process `regfs gc apply` or
`gc restore` is what counts: its start, the second look at the whole tree, checks and
journal. The loop makes the same renames and nothing else: every folder above a target
is made sure of, nothing is looked at or written down. The tree is afterwards as before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

Move = tuple[str, str]


def regfs(root: Path, *arguments: str) -> float:
    """Run regfs; return the seconds it took."""
    command = [sys.executable, "-m", "regfs", "-r", str(root), *arguments]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def sources(plan: Path) -> list[str]:
    """Return the folders of a plan's blobs and layer links, in its order."""
    return [action["path"].rpartition("/")[0] for action in json.loads(plan.read_text())["actions"]]


def move_all(moves: list[Move]) -> float:
    """Rename one after the other; return the seconds it took."""
    begun = time.perf_counter()
    for source, target in moves:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
    return time.perf_counter() - begun


def main(side: str, what: str, folder: str) -> None:
    """Move out and back; print the time of the one that was asked for."""
    root = Path(folder)
    plan = root.with_name(f"{root.name}.plan.json")
    regfs(root, "gc", "plan", "--offline", "-o", str(plan))
    moved = sources(plan)
    if side == "regfs":
        seconds = {"apply": regfs(root, "gc", "apply", str(plan))}
        run = json.loads(plan.read_text())["id"]
        seconds["restore"] = regfs(root, "gc", "restore", run)
        regfs(root, "gc", "purge", run)
    else:
        moves = [(f"{root}/{path}", f"{root}/.bare/{path}") for path in moved]
        seconds = {"apply": move_all(moves)}
        seconds["restore"] = move_all([(target, source) for source, target in moves])
    plan.unlink()
    print(json.dumps({"seconds": seconds[what], "moved": len(moved)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
