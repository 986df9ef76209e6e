"""Rows about what is inside layers: listing them, one file of them, and finding files.

    python -m tests.benchmarks.inside FOLDER LAYERS FILES

makes a tree of so many layers of so many files each, whose listings lie in a cache beside it and
whose layers hold next to nothing: 10^7 files are not to be packed for a search in their names.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from regfs.content.cache import Cache
from regfs.content.entries import EntryKind
from regfs.digest import Digest
from regfs.files.layers import ENTRIES, PATHS
from regfs.files.listing import Columns, LayerListing, packed
from regfs.files.merged import implied
from tests.benchmarks.measuring import PYTHON, Bench, Json, Side, run
from tests.support.builder import TreeBuilder, image
from tests.support.tars import entry, tar_of

FILES = [PYTHON, "-m", "regfs", "-r"]


def largest(root: Path) -> Path:
    """Return the largest blob of a tree."""
    return max(root.glob("docker/registry/v2/blobs/sha256/*/*/data"), key=os.path.getsize)


def listing_sides(bench: Bench, root: Path, *, again: bool) -> tuple[Side, Side]:
    """List a large layer for the first time, or once more, against tar."""
    blob = largest(root)
    cache = ["--cache", str(bench.scratch / "cache")] if again else ["--no-cache"]
    command = [*FILES, str(root), "files", blob.parent.name, "--layer", "1", *cache]
    tar = ["tar", "-tzf", str(blob)]
    answer = as_by(bench, tar)
    return Side("files, again" if again else "files", command, answer), Side(
        "tar -tzf", tar, answer
    )


def as_by(bench: Bench, command: list[str]) -> Callable[[Path], Json]:
    """Return what says nothing of an output that is that of a command, and how large another is."""
    wanted = bench.scratch / "wanted"
    run(command, wanted)
    expected = wanted.read_bytes()

    def answer(output: Path) -> Json:
        found = output.read_bytes()
        return {} if found == expected else {"bytes": len(found)}

    return answer


def lines_answer(output: Path) -> Json:
    """Count the lines."""
    with output.open("rb") as lines:
        return {"files": sum(1 for _ in lines)}


def cat_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Write the last file of a large layer by seek points, against tar."""
    blob = largest(root)
    listed = bench.scratch / "listed"
    run(["tar", "-tzf", str(blob)], listed)
    path = listed.read_text().split()[-1]
    cache = ["--cache", str(bench.scratch / "cache")]
    command = [*FILES, str(root), "files", blob.parent.name, path, "--cat", *cache]
    tar = ["tar", "-xzOf", str(blob), path]
    answer = as_by(bench, tar)
    return Side("files --cat", command, answer), Side("tar -xzO", tar, answer)


def find_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Search all layers that nothing is known of, against as many zcat as processors."""
    find = shlex.join(["find", str(root), "-name", "data", "-size", "+64k", "-print0"])
    unpack = f"{find} | xargs -0 -P {os.cpu_count() or 1} -n 1 sh -c 'zcat \"$0\" > /dev/null'"
    command = [*FILES, str(root), "files", "--find", "*/99/99*", "--no-cache"]
    return Side("files --find", command), Side("zcat", ["sh", "-c", unpack])


def index_sides(bench: Bench, root: Path) -> tuple[Side, Side]:
    """Find one name among 10^7 that are known, against grep in a file of them."""
    folder = bench.scratch / "known"
    layers, each = (10, 10_000) if bench.quick else (100, 100_000)
    if not folder.exists():
        make_known(folder, layers, each)
    name = f"file-{layers - 1}-{each - 1}"
    command = [*FILES, str(folder / "tree"), "files", "--find", name, "--json"]
    return (
        Side("files --find", [*command, "--cache", str(folder / "cache")], found_answer),
        Side("grep", ["grep", "-F", name, str(folder / "names")], lines_answer),
    )


def found_answer(output: Path) -> Json:
    """Count the files that were found."""
    return {"files": len(json.loads(output.read_text())["files"])}


def make_known(folder: Path, layers: int, files: int) -> None:
    """Make a tree whose layers are in a cache, and a file of all names in them."""
    tree = TreeBuilder(folder / "tree")
    cache = Cache(str(folder / "cache/layers"), 1 << 40)
    with open(folder / "names", "w", encoding="ascii") as names:
        for layer in range(layers):
            data = tar_of([entry(f"layer-{layer}")])
            tree.push("app", f"v{layer}", image([data]))
            columns = Columns()
            for number in range(files):
                path = f"usr/lib/python3/dist-packages/{number % 997}/file-{layer}-{number}"
                one = implied(path)._replace(kind=EntryKind.FILE, size=number)
                columns.add(one)
                names.write(f"{path}\n")
            digest = Digest.of(data)
            paths, rest = packed(LayerListing(digest, columns))
            cache.put(PATHS, digest, paths)
            cache.put(ENTRIES, digest, rest)


if __name__ == "__main__":
    make_known(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
