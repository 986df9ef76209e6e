"""Layers on top of each other: the root file system that a container sees.

    Merged.merge([base, top])        base  etc/a  etc/b     top  etc/.wh.a  etc/c
    -> etc  etc/b  etc/c             .changes(1) -> removed etc/a, added etc/c

An entry lies where containerd would write it: the folders above it are those that lower layers
and earlier entries have left, symbolic links among them followed within the root. As the OCI
specification says, whiteouts (`.wh.a`, and `.wh..wh..opq` for all that is in a folder) remove
what lower layers have put there, and never what their own layer has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

from regfs.content.entries import NO_XATTRS, EntryKind, TarEntry
from regfs.files.changes import FileChange, Hidden, Hiding, Placed, changed
from regfs.files.listing import LayerListing

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
_RESERVED: Final = ".wh..wh."
"""What aufs kept for itself; clients leave it out."""
_MOST_LINKS: Final = 40
"""Symbolic links that are followed on one way, as in Linux."""


IMPLIED: Final = -1
"""In place of an entry: a folder that no layer has, but that others lie in."""
_SHIFT: Final = 40
_NUMBER: Final = (1 << _SHIFT) - 1
_MOST_IMPLIED: Final = 1 << 20
_MOST_STEPS: Final = 1 << 22
"""Folders that no layer has, and steps along symbolic links in one layer: hostile layers want
thousands for each entry."""
_MANY: Final = 2000
"""Names in a folder that is asked for part by part."""
LONGEST: Final = 4095
"""Bytes of a path, or of the target of a link; no system takes more."""


class _MergedFolder:
    """A folder, its entry and what is in it."""

    __slots__ = ("emptied", "inside", "layer", "reference")

    def __init__(self, reference: int, layer: int) -> None:
        self.reference = reference
        self.layer = layer
        """The layer that has made it, or that has last given its entry."""
        self.inside: dict[str, _Node] = {}
        self.emptied = -1
        """The layer whose whiteout has removed from it what lower layers have."""


_Node: TypeAlias = _MergedFolder | int
"""What lies at a name: anything but a folder is a reference to its entry, with the layer in the
upper bits and the number of the entry in the lower ones."""
_Way: TypeAlias = tuple[_MergedFolder, str]
"""A folder, and the path of its own that leads to it."""


class Merged:
    """A root file system made of layers."""

    def __init__(self, listings: Sequence[LayerListing]) -> None:
        self.listings = tuple(listings)
        self.lost: list[Placed] = []
        """Entries that cannot be where they say: hard links to nothing, files below files."""
        self._root = _MergedFolder(IMPLIED, 0)
        self._sources: dict[int, int] = {}
        """Hard link -> the entry whose content it shares."""
        self._gone: dict[int, tuple[int, Hiding]] = {}
        """Entry with content -> the layer that has last taken a name of it, and how."""
        self._moved: dict[int, str] = {}
        """Entry -> where it lies, if that is not where it says."""
        self._before: dict[str, Placed | None] | None = None
        """Path -> what was there before the layer that is being added; None: nobody asks."""
        self._ways: dict[str, _Way | None] = {}
        self._sorted: dict[str, list[str]] = {}
        """Path of a large folder that was asked for -> the names in it, in order."""
        self._implied = 0
        self._steps = 0

    @classmethod
    def merge(cls, listings: Sequence[LayerListing]) -> Merged:
        """Put layers on top of each other, base first."""
        made = cls(listings)
        for layer in range(len(listings)):
            made._add(layer)
        return made

    # -- questions ---------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Placed]:
        """Yield everything in it but the root, each folder before what it holds, by name."""
        return self.below("")

    def below(self, path: str) -> Iterator[Placed]:
        """Yield everything below a folder, in the same order; nothing if it is none."""
        return (self._placed(here, node) for here, node in self._below(path))

    def _below(self, path: str) -> Iterator[tuple[str, _Node]]:
        node = self._node(path)
        if not isinstance(node, _MergedFolder):
            return
        base = f"{path}/" if path else ""
        stack = [(base, sorted(node.inside.items(), key=_by_name, reverse=True))]
        while stack:
            base, rest = stack[-1]
            if not rest:
                stack.pop()
                continue
            name, one = rest.pop()
            yield base + name, one
            if isinstance(one, _MergedFolder):
                inside = sorted(one.inside.items(), key=_by_name, reverse=True)
                stack.append((f"{base}{name}/", inside))

    def names_below(self, path: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the path of everything below a folder, and whether it is a folder, as `below`."""
        for here, node in self._below(path):
            yield here, isinstance(node, _MergedFolder)

    def get(self, path: str) -> Placed | None:
        """Return what lies at a path, itself and not what links lead to; None for nothing."""
        node = self._node(path)
        return None if node is None else self._placed(path, node)

    def children(self, path: str, part: slice = slice(None)) -> list[Placed]:
        """Return what is directly in a folder, by name, or a part of it; nothing if it is none."""
        node = self._node(path)
        if not isinstance(node, _MergedFolder):
            return []
        base = f"{path}/" if path else ""
        names = self._names(path, node)[part]
        return [self._placed(f"{base}{name}", node.inside[name]) for name in names]

    def _names(self, path: str, folder: _MergedFolder) -> list[str]:
        """Return the names in a folder, in order; those of a large one are sorted once."""
        if len(folder.inside) < _MANY:
            return sorted(folder.inside)
        if path not in self._sorted:
            self._sorted[path] = sorted(folder.inside)
        return self._sorted[path]

    def count(self, path: str) -> int:
        """Return how much is directly in a folder."""
        node = self._node(path)
        return len(node.inside) if isinstance(node, _MergedFolder) else 0

    def names(self, path: str) -> list[str]:
        """Return the names of what is directly in a folder: of a million, without their entries."""
        node = self._node(path)
        return sorted(node.inside) if isinstance(node, _MergedFolder) else []

    def resolve(self, path: str) -> Placed | None:
        """Return what a path leads to within the root, following links; None for nothing."""
        way = self._walk(path, None, last=True)
        return None if way is None else self._placed(way[1], way[0])

    def content(self, placed: Placed) -> Placed:
        """Return the entry with the content of what lies somewhere: that of a hard link is
        elsewhere.
        """
        node = self._node(placed.path)
        source = self._sources.get(node) if isinstance(node, int) else None
        return placed if source is None else self._of(source)

    def changes(self, layer: int) -> Iterator[FileChange]:
        """Yield what a layer adds, changes and removes, by path.

        A folder counts as changed if its mode, owner or attributes do, anything else if the
        layer has it again.
        """
        made = Merged(self.listings)
        for lower in range(layer):
            made._add(lower)
        return made._add_and_tell(layer)

    @property
    def hidden(self) -> Iterator[Hidden]:
        """Yield the regular files that lower layers have and that nobody can see any more.

        A file with several names (hard links) is hidden once the last of them is.
        """
        seen = {self._sources.get(node, node) for node in self._leaves(self._root)}
        for reference, (by, how) in self._gone.items():
            if reference not in seen:
                placed = self._of(reference)
                if placed.entry.kind is EntryKind.FILE:
                    yield Hidden(placed, by, how)

    def references(self) -> Iterator[tuple[int, int]]:
        """Yield the layer of everything that can be seen, and its number there."""
        for node in self._leaves(self._root, folders=True):
            if node != IMPLIED:
                yield node >> _SHIFT, node & _NUMBER

    # -- nodes -------------------------------------------------------------------------------

    def _node(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for name in path.split("/") if path else ():
            if not isinstance(node, _MergedFolder):
                return None
            node = node.inside.get(name)
        return node

    def _placed(self, path: str, node: _Node) -> Placed:
        if isinstance(node, int):
            listing, number = self.listings[node >> _SHIFT], node & _NUMBER
            return Placed(path, listing[number], node >> _SHIFT)
        if node.reference == IMPLIED:
            return Placed(path, implied(path), node.layer)
        return self._placed(path, node.reference)

    def _of(self, reference: int) -> Placed:
        """Return an entry where it lies, or lay before a higher layer."""
        placed = self._placed("", reference)
        return placed._replace(path=self._moved.get(reference, placed.entry.path))

    def _kind(self, reference: int) -> EntryKind:
        return self.listings[reference >> _SHIFT].kind(reference & _NUMBER)

    def _leaves(self, folder: _MergedFolder, *, folders: bool = False) -> Iterator[int]:
        """Yield all references below a folder, or all that are no folders."""
        stack = [folder]
        while stack:
            for node in stack.pop().inside.values():
                if isinstance(node, _MergedFolder):
                    stack.append(node)
                    if folders:
                        yield node.reference
                else:
                    yield node

    # -- the way to a folder -----------------------------------------------------------------

    def _way(self, path: str, layer: int | None) -> _Way | None:
        """Return the folder that a path leads to; missing ones are made for `layer`, if given."""
        found = self._ways.get(path)
        if found is None:
            way = self._walk(path, layer)
            if way is None or not isinstance(way[0], _MergedFolder):
                return None
            found = self._ways[path] = (way[0], way[1])
        return found

    def _walk(
        self, path: str, layer: int | None, *, last: bool = False
    ) -> tuple[_Node, str] | None:
        """Follow a path within the root; with `last` to anything, else to a folder."""
        chain: list[_Way] = [(self._root, "")]
        rest = path.split("/")[::-1]
        links = 0
        while rest:
            name = rest.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del chain[max(1, len(chain) - 1) :]
                continue
            node = chain[-1][0].inside.get(name)
            if node is None and layer is not None:
                node = self._imply(chain, name, layer)
            if isinstance(node, _MergedFolder):
                chain.append((node, name))
            elif node is None:
                return None
            elif self._kind(node) is EntryKind.SYMLINK:
                target = self.listings[node >> _SHIFT].target(node & _NUMBER)
                links += 1
                self._steps += target.count("/") + 1
                if links > _MOST_LINKS or len(target) > LONGEST or self._steps > _MOST_STEPS:
                    return None
                if target.startswith("/"):
                    del chain[1:]
                rest += target.split("/")[::-1]
            elif last and not any(one not in ("", ".") for one in rest):
                return node, "/".join([*(name for _, name in chain[1:]), name])
            else:
                return None
        return chain[-1][0], "/".join(name for _, name in chain[1:])

    def _imply(self, chain: list[_Way], name: str, layer: int) -> _MergedFolder | None:
        """Make a folder that no layer has; None if there are too many."""
        if self._implied == _MOST_IMPLIED:
            return None
        self._implied += 1
        self._note("/".join([*(above for _, above in chain[1:]), name]), None)
        made = chain[-1][0].inside[name] = _MergedFolder(IMPLIED, layer)
        return made

    # -- adding a layer ----------------------------------------------------------------------

    def _add_and_tell(self, layer: int) -> Iterator[FileChange]:
        self._before = {}
        self._add(layer)
        before, self._before = self._before, None
        for path in sorted(before, key=lambda one: one.split("/")):
            change = changed(path, before[path], self.get(path))
            if change is not None:
                yield change

    def _add(self, layer: int) -> None:
        listing = self.listings[layer]
        self._ways.clear()
        self._steps = 0
        for number, path in enumerate(listing.paths()):
            reference = layer << _SHIFT | number
            above, _, name = path.rpartition("/")
            if not path:
                self._add_root(reference, layer)
            elif len(path) > LONGEST:
                self.lost.append(self._placed(path, reference))
            elif not name.startswith(WHITEOUT):
                self._place(above, name, reference)
            elif name == OPAQUE or not name.startswith(_RESERVED):
                self._white_out(above, name, layer)

    def _add_root(self, reference: int, layer: int) -> None:
        if self._kind(reference) is EntryKind.FOLDER:
            self._note("", self._root)
            self._root.reference, self._root.layer = reference, layer

    def _place(self, above: str, name: str, reference: int) -> None:
        layer, kind = reference >> _SHIFT, self._kind(reference)
        source = self._source(reference) if kind is EntryKind.HARDLINK else None
        leads = kind is not EntryKind.HARDLINK or source is not None
        way = self._way(above, layer) if leads else None
        if way is None:
            path = f"{above}/{name}" if above else name
            self.lost.append(self._placed(path, reference))
            return
        folder, real = way
        path = f"{real}/{name}" if real else name
        if real != above:
            self._moved[reference] = path
        old = folder.inside.get(name)
        self._note(path, old)
        if source is not None:
            self._sources[reference] = source
        if kind is EntryKind.FOLDER and isinstance(old, _MergedFolder):
            old.reference, old.layer = reference, layer
            return
        if old is not None:
            self._take(path, old, layer, Hiding.OVERWRITTEN)
        folder.inside[name] = (
            _MergedFolder(reference, layer) if kind is EntryKind.FOLDER else reference
        )

    def _source(self, reference: int) -> int | None:
        """Return the entry whose content a hard link shares; None if there is none."""
        target = self.listings[reference >> _SHIFT].target(reference & _NUMBER)
        above, _, name = target.rpartition("/")
        way = self._way(above, None)
        node = None if way is None else way[0].inside.get(name)
        return self._sources.get(node, node) if isinstance(node, int) else None

    def _white_out(self, above: str, name: str, layer: int) -> None:
        way = self._way(above, None)
        if way is None:
            return
        folder, real = way
        if name == OPAQUE:
            self._empty(folder, real, layer)
            self._ways.clear()
            return
        name = name.removeprefix(WHITEOUT)
        path = f"{real}/{name}" if real else name
        node = folder.inside.get(name)
        if isinstance(node, _MergedFolder):
            self._empty(node, path, layer)
            self._ways.clear()
            if not node.inside and node.layer < layer:
                self._note(path, node)
                del folder.inside[name]
        elif node is not None and node >> _SHIFT < layer:
            self._note(path, node)
            self._take(path, node, layer, Hiding.REMOVED)
            del folder.inside[name]

    def _empty(self, folder: _MergedFolder, path: str, layer: int) -> None:
        """Remove from a folder, and from those in it, what lower layers have."""
        if folder.emptied == layer:
            return
        for one, here in reversed(self._folders(folder, path)):
            one.emptied = layer
            base = f"{here}/" if here else ""
            for name, node in list(one.inside.items()):
                if isinstance(node, _MergedFolder):
                    stays = bool(node.inside) or node.layer >= layer
                else:
                    stays = node >> _SHIFT >= layer
                if not stays:
                    self._note(f"{base}{name}", node)
                    self._forget(node, layer, Hiding.REMOVED)
                    del one.inside[name]

    def _folders(self, folder: _MergedFolder, path: str) -> list[_Way]:
        """Return a folder and all folders below it, each before those in it."""
        found = [(folder, path)]
        for one, here in found:
            base = f"{here}/" if here else ""
            inside = one.inside.items()
            found += [
                (node, f"{base}{name}") for name, node in inside if isinstance(node, _MergedFolder)
            ]
        return found

    def _take(self, path: str, node: _Node, layer: int, how: Hiding) -> None:
        """Take note of all that is at a path and below it, and is about to go."""
        if isinstance(node, int):
            if self._kind(node) is EntryKind.SYMLINK:
                self._ways.clear()
            self._forget(node, layer, how)
            return
        self._ways.clear()
        for one, here in self._folders(node, path):
            for name, inner in one.inside.items():
                self._note(f"{here}/{name}", inner)
                self._forget(inner, layer, how)

    def _forget(self, node: _Node, layer: int, how: Hiding) -> None:
        if isinstance(node, int):
            self._gone[self._sources.get(node, node)] = (layer, how)

    def _note(self, path: str, node: _Node | None) -> None:
        """Remember what was at a path before this layer, if somebody asks for changes."""
        if self._before is not None and path not in self._before:
            self._before[path] = None if node is None else self._placed(path, node)


_by_name: Final = itemgetter(0)


def implied(path: str) -> TarEntry:
    """Return the folder that clients make because others lie in it."""
    kind = EntryKind.FOLDER
    return TarEntry(path, kind, 0o755, 0, 0, "", "", 0, 0.0, "", None, NO_XATTRS, IMPLIED)
