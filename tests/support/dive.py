"""The efficiency of an image, step by step as dive computes it: the oracle of `regfs waste`.

Written after a look at how dive 0.13 goes about it (filetree/efficiency.go), with its trees of
nodes, and with the merged layers made anew for each whiteout. Slow, and nothing of regfs is used.
That this gives what dive gives is shown by figures of dive itself in test_efficiency.py.

    dive_says([tar of the base, tar of a layer]) -> Said(efficiency=0.75, wasted=7000)
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Said(NamedTuple):
    efficiency: float
    wasted: int


class Node:
    """A file or folder in a tree of dive's."""

    def __init__(self, name: str, parent: Node | None) -> None:
        self.name = name
        self.parent = parent
        self.size = 0
        self.is_folder = False
        self.children: dict[str, Node] = {}

    @property
    def is_whiteout(self) -> bool:
        return self.name.startswith(".wh.")

    @property
    def path(self) -> tuple[str, ...]:
        names = [self.name.removeprefix(".wh.")]
        above = self.parent
        while above is not None and above.parent is not None:
            names.append(above.name)
            above = above.parent
        return tuple(reversed(names))

    def below(self) -> Iterator[Node]:
        """Yield all nodes, children by name before their parent, without the root."""
        for name in sorted(self.children):
            yield from self.children[name].below()
        if self.parent is not None:
            yield self

    def find(self, path: Iterable[str]) -> Node | None:
        node: Node | None = self
        for name in path:
            node = node.children.get(name) if node is not None else None
        return node

    def add(self, path: Sequence[str], size: int, is_folder: bool) -> None:
        node = self
        for name in path:
            if name not in node.children:
                if name.startswith(".wh..wh."):
                    return
                node.children[name] = Node(name, node)
            node = node.children[name]
        node.size, node.is_folder = size, is_folder

    def stack(self, upper: Node) -> None:
        for node in list(upper.below()):
            if node.is_whiteout:
                found = self.find(node.path)
                if found is not None and found.parent is not None:
                    del found.parent.children[found.name]
            else:
                self.add(node.path, node.size, node.is_folder)

    def copy(self, parent: Node | None = None) -> Node:
        made = Node(self.name, parent)
        made.size, made.is_folder = self.size, self.is_folder
        made.children = {name: child.copy(made) for name, child in self.children.items()}
        return made


class Seen:
    def __init__(self) -> None:
        self.total = 0
        self.smallest = -1
        self.times = 0


def dive_says(tars: Sequence[bytes]) -> Said:
    trees = [_tree_of(data) for data in tars]
    seen: dict[tuple[str, ...], Seen] = {}
    for number, tree in enumerate(trees):
        for node in tree.below():
            if node.children:
                continue
            one = seen.setdefault(node.path, Seen())
            size = node.size
            if node.is_whiteout:
                before = trees[0].copy()
                for lower in trees[:number]:
                    before.stack(lower)
                found = before.find(node.path)
                if found is None:
                    break
                size = sum(inner.size for inner in found.below()) if found.is_folder else 0
            one.total += size
            one.smallest = size if one.smallest < 0 else min(size, one.smallest)
            one.times += 1
    smallest = sum(one.smallest for one in seen.values())
    total = sum(one.total for one in seen.values())
    wasted = sum(one.total for one in seen.values() if one.times > 1)
    return Said(smallest / total if total else 1.0, wasted)


def _tree_of(data: bytes) -> Node:
    root = Node("", None)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            path = posixpath.normpath(entry.name).strip("/")
            if path != ".":
                root.add(path.split("/"), entry.size if entry.isreg() else 0, entry.isdir())
    return root
