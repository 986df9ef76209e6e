"""Times moving what goes out of a tree and back, by regfs or by a bare loop.

    python -m tests.benchmarks.moving regfs apply|restore|run ROOT
    python -m tests.benchmarks.moving loop apply|restore ROOT

Prints {"seconds", "moved"}. With regfs the life of the process `regfs gc apply`,
`gc restore` or `gc run --offline` is what counts: its start, each look at the whole tree,
checks and journal. The loop makes the same renames and nothing else: every folder above a target
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


def regfs(root: Path, *arguments: str) -> tuple[float, bytes]:
    """Run regfs; return the seconds it took, and what it printed."""
    command = [sys.executable, "-m", "regfs", "-r", str(root), *arguments]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun, done.stdout


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


def collect(root: Path) -> tuple[float, int]:
    """Time `gc run`, then put everything back; return the seconds, and how many things it moved."""
    seconds, output = regfs(root, "gc", "run", "--offline", "--yes", "--json")
    document = json.loads(output)
    put_back(root, document["run"])
    return seconds, document["done"]["blobs"] + document["done"]["layer_links"]


def put_back(root: Path, run: str) -> float:
    """Undo a run and forget it; return the seconds that undoing took."""
    seconds, _ = regfs(root, "gc", "restore", run)
    regfs(root, "gc", "purge", run)
    return seconds


def apply_and_restore(side: str, root: Path) -> tuple[dict[str, float], int]:
    """Move what a plan names out and back; return the seconds of both, and how many things."""
    plan = root.with_name(f"{root.name}.plan.json")
    regfs(root, "gc", "plan", "--offline", "-o", str(plan))
    moved = sources(plan)
    if side == "regfs":
        seconds = {"apply": regfs(root, "gc", "apply", str(plan))[0]}
        seconds["restore"] = put_back(root, json.loads(plan.read_text())["id"])
    else:
        moves = [(f"{root}/{path}", f"{root}/.bare/{path}") for path in moved]
        seconds = {"apply": move_all(moves)}
        seconds["restore"] = move_all([(target, source) for source, target in moves])
    plan.unlink()
    return seconds, len(moved)


def main(side: str, what: str, folder: str) -> None:
    """Print the time of what was asked for; the tree is afterwards as before."""
    if what == "run":
        took, moved = collect(Path(folder))
    else:
        seconds, moved = apply_and_restore(side, Path(folder))
        took = seconds[what]
    print(json.dumps({"seconds": took, "moved": moved}))


if __name__ == "__main__":
    main(*sys.argv[1:])
