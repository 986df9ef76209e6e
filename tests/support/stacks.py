"""Random stacks of layers, with the root file system that each makes: a model to compare with.

Each layer changes what those below it have made, as a builder would: what is written lies in
folders, and what is removed was there. Nothing of regfs is used.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import NamedTuple

from hypothesis import strategies as st

from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of


class Node(NamedTuple):
    """What lies at a path."""

    kind: str
    """`file`, `folder` or `symlink`."""
    data: bytes = b""
    """The content; of a link its target."""
    mode: int = 0o644


class Step(NamedTuple):
    """One thing that a layer does."""

    what: str
    """`write`, `folder`, `link`, `hardlink`, `remove` or `empty`."""
    path: str
    data: bytes = b""
    mode: int = 0o644


class Stack:
    """Layers on each other."""

    def __init__(self, below: Stack | None = None) -> None:
        """Begin with the layers of another stack, or with none."""
        self.nodes: dict[str, Node] = {} if below is None else dict(below.nodes)
        """The root file system, by path."""
        self.tars: list[bytes] = [] if below is None else list(below.tars)

    def __repr__(self) -> str:
        return f"{len(self.tars)} layers that make {self.nodes}"

    def add(self, steps: Iterable[Step]) -> None:
        """Add a layer; steps that make no sense are left out."""
        below = dict(self.nodes)
        whiteouts: dict[str, Entry] = {}
        entries: dict[str, Entry] = {}
        for step in steps:
            if step.what in ("remove", "empty"):
                self._remove(step, below, whiteouts, entries)
            elif self._fits(step.path):
                self._write(step, below, whiteouts, entries)
        self.tars.append(tar_of([*whiteouts.values(), *entries.values()]))

    def _fits(self, path: str) -> bool:
        """Return whether folders lead to a path, and nothing or no folder is there."""
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        found = (self.nodes.get(one) for one in above)
        return all(one is None or one.kind == "folder" for one in found)

    def _write(
        self,
        step: Step,
        below: dict[str, Node],
        whiteouts: dict[str, Entry],
        entries: dict[str, Entry],
    ) -> None:
        old = self.nodes.get(step.path)
        if old is not None and (old.kind == "folder") != (step.what == "folder"):
            return
        source = step.data.decode()
        if step.what == "link" and not source:
            return
        if step.what == "hardlink" and (step.path == source or source not in entries):
            return  # to what this layer has, so that it can be unpacked in order
        if step.what == "hardlink" and self.nodes[source].kind != "file":
            return
        parts = step.path.split("/")
        for end in range(1, len(parts)):
            self._folder("/".join(parts[:end]), 0o755, entries)
        entries.pop(step.path, None)
        if step.what == "folder":
            self._folder(step.path, step.mode | 0o111, entries)
        elif step.what == "hardlink":
            entries[step.path] = hardlink(step.path, source)
            self.nodes[step.path] = self.nodes[source]
        elif step.what == "link":
            entries[step.path] = symlink(step.path, source)
            self.nodes[step.path] = Node("symlink", step.data)
        else:
            entries[step.path] = entry(step.path, step.data, mode=step.mode)
            self.nodes[step.path] = Node("file", step.data, step.mode)
            self._unlink(step.path, entries)

    def _unlink(self, path: str, entries: dict[str, Entry]) -> None:
        """Drop hard links of this layer to what is written anew: they would lead to the new."""
        for name, (made, _) in list(entries.items()):
            if made.type == tarfile.LNKTYPE and made.linkname == path:
                del entries[name]
                entries[name] = entry(name, self.nodes[name].data, mode=self.nodes[name].mode)

    def _folder(self, path: str, mode: int, entries: dict[str, Entry]) -> None:
        old = self.nodes.get(path)
        if old is None or path not in entries or old.mode != mode:
            mode = mode if old is None or path not in entries else old.mode
            entries[path] = folder(path, mode=mode)
            self.nodes[path] = Node("folder", b"", mode)

    def _remove(
        self,
        step: Step,
        below: dict[str, Node],
        whiteouts: dict[str, Entry],
        entries: dict[str, Entry],
    ) -> None:
        node = self.nodes.get(step.path)
        if node is None or (step.what == "empty" and node.kind != "folder"):
            return
        inside = f"{step.path}/"
        gone = [one for one in self.nodes if one.startswith(inside)]
        if step.what == "remove":
            gone.append(step.path)
        targets = {made.linkname for made, _ in entries.values()}
        if targets.intersection(gone):
            return  # a hard link of this layer needs it
        for one in gone:
            del self.nodes[one]
            entries.pop(one, None)
        above, _, name = step.path.rpartition("/")
        if step.what == "empty":
            whiteouts[inside] = entry(f"{inside}.wh..wh..opq")
        elif step.path in below:
            path = f"{above}/.wh.{name}" if above else f".wh.{name}"
            whiteouts[step.path] = entry(path)


_PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b", "f/a", "f/d/a"])
_DATA = st.sampled_from([b"", b"one", b"two", b"three", b"d/a", b"a"])
_MODES = st.sampled_from([0o644, 0o600, 0o4755])
STEPS = st.builds(
    Step,
    st.sampled_from(["write"] * 4 + ["folder", "link", "hardlink", "remove", "remove", "empty"]),
    _PATHS,
    _DATA,
    _MODES,
)


@st.composite
def pairs_of_stacks(draw: st.DrawFn) -> tuple[Stack, Stack]:
    """Draw two stacks that have their lowest layers in common."""
    before = Stack()
    for steps in draw(st.lists(st.lists(STEPS, max_size=8), max_size=3)):
        before.add(steps)
    after = Stack(before)
    own = draw(st.lists(st.lists(STEPS, max_size=6), max_size=2))
    for steps in own:
        before.add(steps)
    if draw(st.booleans()):  # as a build of the same file again: other content, the same paths
        data = draw(_DATA)
        own = [[one._replace(data=data) if one.what == "write" else one for one in s] for s in own]
    else:
        own = draw(st.lists(st.lists(STEPS, max_size=6), max_size=2))
    for steps in own:
        after.add(steps)
    return before, after
