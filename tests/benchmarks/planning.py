"""The barest loop in two processes over all that a plan has to list and read: the machine's limit.

    python -m tests.benchmarks.planning ROOT    -> {"blobs": .., "links": .., "manifests": ..}

It lists every folder that `regfs gc plan` lists, reads every link that it reads, and reads and
hashes every manifest once. It looks at no time or size, decodes and checks nothing and concludes
nothing. Two processes share each of two steps: to list folders and read links, and then to read
the manifests that these name.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

FOLDER = os.O_RDONLY | os.O_DIRECTORY
Result = TypeVar("Result")


def names(folder: str) -> list[str]:
    """Return the folders in a folder."""
    with os.scandir(folder) as children:
        return [child.name for child in children if child.is_dir()]


def read_all(folder: str, paths: Iterable[str]) -> Iterator[bytes]:
    """Yield the content of files below a folder."""
    parent = os.open(folder, FOLDER)
    for path in paths:
        file = os.open(path, os.O_RDONLY, dir_fd=parent)
        yield os.read(file, 1 << 16)
        os.close(file)
    os.close(parent)


def in_two_processes(
    work: Callable[[list[str]], Result], items: Sequence[str]
) -> tuple[Result, Result]:
    """Return the results of both halves of some items, one half worked on in a second process."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        with open(sending, "wb") as pipe:
            pickle.dump(work(list(items[1::2])), pipe)
        os._exit(0)
    os.close(sending)
    mine = work(list(items[::2]))
    with open(receiving, "rb") as pipe:
        other: Result = pickle.load(pipe)
    os.waitpid(child, 0)
    return mine, other


def repositories(folder: str) -> list[str]:
    """Return the folders of all repositories below a folder."""
    found, pending = [], [folder]
    while pending:
        folder = pending.pop()
        below = names(folder)
        pending.extend(f"{folder}/{name}" for name in below if not name.startswith("_"))
        if "_manifests" in below:
            found.append(folder)
    return found


def read_folders(folders: list[str]) -> tuple[int, int, set[str]]:
    """List folders of blobs and repositories; return blobs, links, and names of manifests."""
    blobs = links = 0
    manifests: set[str] = set()
    for folder in folders:
        if "/repositories/" not in folder:
            blobs += len(names(folder))
            continue
        for below in ("_layers", "_manifests", "_manifests/revisions", "_uploads"):
            names(f"{folder}/{below}")
        layers = names(f"{folder}/_layers/sha256")
        revisions = names(f"{folder}/_manifests/revisions/sha256")
        tags = names(f"{folder}/_manifests/tags")
        for below, paths in (
            ("revisions/sha256", [f"{name}/link" for name in revisions]),
            ("tags", [f"{tag}/current/link" for tag in tags]),
        ):
            links += sum(1 for _ in read_all(f"{folder}/_manifests/{below}", paths))
        links += len(layers)
        manifests.update(revisions)
    return blobs, links, manifests


def plan(root: str) -> dict[str, int]:
    """List and read it all."""
    v2 = f"{root}/docker/registry/v2"
    blobs = f"{v2}/blobs/sha256"

    def hash_manifests(paths: list[str]) -> int:
        return len([hashlib.sha256(content).digest() for content in read_all(blobs, paths)])

    folders = [f"{blobs}/{prefix}" for prefix in names(blobs)]
    mine, other = in_two_processes(read_folders, folders + repositories(f"{v2}/repositories"))
    paths = sorted(f"{name[:2]}/{name}/data" for name in mine[2] | other[2])
    return {
        "blobs": mine[0] + other[0],
        "links": mine[1] + other[1],
        "manifests": sum(in_two_processes(hash_manifests, paths)),
    }


if __name__ == "__main__":
    print(json.dumps(plan(sys.argv[1])))
