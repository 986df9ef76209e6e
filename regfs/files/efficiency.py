"""The efficiency of an image as dive computes it, from the leaves of each layer's own tree.

    efficiency = sum over all paths of the smallest size seen / sum of all sizes seen

dive looks at each layer alone: every path that has nothing below it counts with its size, every
whiteout with the size of the folder that it removes, or 0 for a file. So a file that two layers
have counts once in the numerator and twice in the denominator; a file that is removed not at all
in the numerator. What differs from the bytes that are hidden (stack.py), kept so that the figures
agree:

- A folder that is removed counts in both sums, so it lowers the figure only by half.
- Opaque folders hide nothing.
- A whiteout of something that is not there ends its layer, and takes 1 from the numerator.
- What has something below it does not count, even if it was a file.

A path that is longer than any system takes counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from regfs.content.entries import EntryKind
from regfs.files.layer_stack import META
from regfs.files.merged import LONGEST, WHITEOUT

if TYPE_CHECKING:
    from regfs.files.listing import LayerListing

_OWN: Final = ""
"""The key of a folder's own value; no name is empty."""
_FOLDER: Final = -1
"""The value of a folder; anything else has its size, and what is only implied has 0."""

_KIND: Final = tuple(EntryKind).index(EntryKind.FOLDER)

_Tree: TypeAlias = "dict[str, int | _Tree]"
_Seen: TypeAlias = "int | tuple[int, int, int]"
"""Size of a path that one layer has; else sum, smallest, and how often it was seen."""


class _Before:
    """What a layer has changed, to undo it."""

    def __init__(self, sums: tuple[int, int, int]) -> None:
        self.sums = sums
        self.seen: list[tuple[str, _Seen | None]] = []
        self.nodes: list[tuple[_Tree, str, int | _Tree | None]] = []


class Efficiency:
    """The efficiency of layers that are laid one on another, and taken off again."""

    def __init__(self) -> None:
        self.wasted = 0
        """Bytes of the paths that occur more than once, each time they occur."""
        self._smallest = 0
        self._all = 0
        self._seen: dict[str, _Seen] = {}
        self._root: _Tree = {}
        """What dive takes for the merged layers."""
        self._before: list[_Before] = []
        self._last: tuple[str, _Tree] = ("", self._root)
        """The folder of the path before: most follow one in the same folder."""

    @property
    def score(self) -> float:
        """1 if nothing is wasted."""
        return self._smallest / self._all if self._all else 1.0

    def push(self, listing: LayerListing) -> None:
        """Lay a layer on top."""
        first = not self._before
        self._before.append(_Before((self._smallest, self._all, self.wasted)))
        nodes, parents = _tree_of(listing)
        if first:  # for whiteouts in the lowest layer dive looks at that layer itself
            for path, value in nodes.items():
                self._put(path, value)
        for path, size in self._leaves(nodes, parents):
            self._see(path, size)
        self._stack(nodes)

    def pop(self) -> None:
        """Take the top layer off."""
        change = self._before.pop()
        self._smallest, self._all, self.wasted = change.sums
        for path, seen in reversed(change.seen):
            if seen is None:
                del self._seen[path]
            else:
                self._seen[path] = seen
        for folder, name, node in reversed(change.nodes):
            if node is None:
                del folder[name]
            else:
                folder[name] = node
        self._last = ("", self._root)

    # -- sums ------------------------------------------------------------------------------

    def _leaves(self, nodes: dict[str, int], parents: set[str]) -> Iterator[tuple[str, int | None]]:
        """Yield each path that counts in a layer, with its size; None where dive gives up."""
        removed = {}
        gives_up = False
        for path in nodes:
            if path not in parents and (hidden := _hidden_by(path)) is not None:
                removed[path] = hidden, self._removed(hidden)
                gives_up |= removed[path][1] is None
        # The order only matters if there is an end to it.
        for path in sorted(nodes, key=lambda path: path.split("/")) if gives_up else nodes:
            if path in removed:
                yield removed[path]
                if removed[path][1] is None:
                    return
            elif path not in parents:
                yield path, max(nodes[path], 0)

    def _removed(self, path: str) -> int | None:
        """Return the bytes that dive counts for the removal of a path; None if it is not there."""
        node = self._find(path)
        if not isinstance(node, dict):
            return None if node is None else 0
        if node.get(_OWN) != _FOLDER:
            return 0
        total, pending = 0, [node]
        while pending:
            for inner in pending.pop().values():
                if isinstance(inner, dict):
                    pending.append(inner)
                elif inner > 0:
                    total += inner
        return total

    def _see(self, path: str, size: int | None) -> None:
        before = self._seen.get(path)
        self._before[-1].seen.append((path, before))
        if size is None:
            if before is None:
                self._seen[path] = (0, -1, 0)
                self._smallest -= 1
            return
        self._all += size
        if before is None:
            self._seen[path] = size
            self._smallest += size
            return
        total, smallest, times = before if isinstance(before, tuple) else (before, before, 1)
        least = size if smallest < 0 else min(smallest, size)
        self._seen[path] = (total + size, least, times + 1)
        self._smallest += least - smallest
        if times:
            self.wasted += size + (total if times == 1 else 0)

    # -- the merged layers -----------------------------------------------------------------

    def _stack(self, nodes: dict[str, int]) -> None:
        """Put a layer on the others; a whiteout and its path in one layer go by their names."""
        hidden = {path: one for path in nodes if (one := _hidden_by(path)) is not None}
        late = [one for path, one in hidden.items() if one in nodes and path > one]
        for one in hidden.values():
            self._remove(one)
        for path, value in nodes.items():
            if path not in hidden:
                self._put(path, value)
        for one in late:
            self._remove(one)

    def _find(self, path: str) -> int | _Tree | None:
        node: int | _Tree | None = self._root
        for name in path.split("/"):
            node = node.get(name) if isinstance(node, dict) and name else None
        return node

    def _remove(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        folder = self._find(parent) if parent else self._root
        if isinstance(folder, dict) and name and name in folder:
            self._set(folder, name, None)
            self._last = ("", self._root)

    def _put(self, path: str, value: int) -> None:
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        node = folder.get(name)
        if not isinstance(node, dict):
            self._set(folder, name, value)
        elif node.get(_OWN, 0) != value:
            self._set(node, _OWN, value)

    def _folder(self, path: str) -> _Tree:
        """Return the node of a path as one with others below it."""
        if path == self._last[0]:
            return self._last[1]
        folder = self._root
        for name in path.split("/") if path else ():
            inner = folder.get(name)
            if not isinstance(inner, dict):
                inner = {} if inner is None else {_OWN: inner}
                self._set(folder, name, inner)
            folder = inner
        self._last = (path, folder)
        return folder

    def _set(self, folder: _Tree, name: str, node: int | _Tree | None) -> None:
        self._before[-1].nodes.append((folder, name, folder.get(name)))
        if node is None:
            del folder[name]
        else:
            folder[name] = node


def _tree_of(listing: LayerListing) -> tuple[dict[str, int], set[str]]:
    """Return the nodes of dive's tree of one layer, and which have others below them."""
    nodes: dict[str, int] = {}
    parents: set[str] = set()
    columns = listing.columns
    for path, kind, size in zip(listing.paths(), columns.kinds, columns.sizes, strict=True):
        value = _FOLDER if kind == _KIND else size
        if META in path and (place := f"/{path}".find(f"/{META}")) >= 0:
            path = path[: max(place - 1, 0)]
            value = nodes.get(path, 0)
        if not path or len(path) > LONGEST:
            continue
        nodes[path] = value
        parent = path.rpartition("/")[0]
        while parent and parent not in parents:
            parents.add(parent)
            nodes.setdefault(parent, 0)
            parent = parent.rpartition("/")[0]
    return nodes, parents


def _hidden_by(path: str) -> str | None:
    """Return the path that a whiteout removes; None if it is no whiteout."""
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}{name[len(WHITEOUT) :]}" if name.startswith(WHITEOUT) else None
