"""The entries of one layer, in columns: a tenth of the memory that as many objects take.

LayerListing(digest, columns)[17] -> TarEntry
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias, overload

from regfs.content.entries import EntryKind, TarEntry
from regfs.digest import Digest
from regfs.findings import Finding

TEXT_LIMIT: Final = 512 << 20
"""Bytes of names, link targets and attributes in one layer that are kept."""

_KINDS: Final = tuple(EntryKind)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


Shared: TypeAlias = tuple[str, str, tuple[int, int] | None, Mapping[str, bytes]]
"""What nearly all entries of a layer have the same: owner, group, device and attributes."""


class Columns:
    """The entries of one layer by column; `add` takes them in order."""

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.modes = array("H")
        self.uids = array("q")
        self.gids = array("q")
        self.sizes = array("q")
        self.mtimes = array("d")
        self.positions = array("q")
        self.paths = bytearray()
        """Each with a zero byte behind it."""
        self.path_ends = array("q")
        """Where each path ends in `paths`, its zero byte included."""
        self.targets = bytearray()
        self.target_ends = array("q")
        self.rests = array("i")
        """Position in `shared` of what the entry has in common with others."""
        self.shared: list[Shared] = []
        self.text = 0
        """Bytes of text that are held."""
        self._known: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self.kinds)

    def add(self, entry: TarEntry) -> None:
        """Add an entry."""
        self.kinds.append(_NUMBERS[entry.kind])
        self.modes.append(entry.mode)
        self.uids.append(entry.uid)
        self.gids.append(entry.gid)
        self.sizes.append(entry.size)
        self.mtimes.append(entry.mtime)
        self.positions.append(entry.position)
        path = entry.path.encode("utf-8", "surrogateescape")
        self.paths += path
        self.paths.append(0)
        self.path_ends.append(len(self.paths))
        if entry.target:
            self.targets += entry.target.encode("utf-8", "surrogateescape")
        self.target_ends.append(len(self.targets))
        self.rests.append(self._rest(entry))
        self.text += len(path) + len(entry.target)

    def _rest(self, entry: TarEntry) -> int:
        """Return the number of what an entry has in common with others."""
        key = (entry.owner, entry.group, entry.device, tuple(entry.xattrs.items()))
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.shared)
            self.shared.append((entry.owner, entry.group, entry.device, entry.xattrs))
            self.text += len(entry.owner) + len(entry.group)
            self.text += sum(len(name) + len(value) for name, value in entry.xattrs.items())
        return number


class LayerListing(Sequence[TarEntry]):
    """The entries of one layer, in the order of its tar."""

    def __init__(self, digest: Digest, columns: Columns, findings: Iterable[Finding] = ()) -> None:
        self.digest = digest
        self.columns = columns
        self.findings = tuple(findings)
        """What is wrong in it; where it could not be read to its end, one is an error."""

    def __len__(self) -> int:
        return len(self.columns.kinds)

    @overload
    def __getitem__(self, index: int) -> TarEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[TarEntry]: ...
    def __getitem__(self, index: int | slice) -> TarEntry | list[TarEntry]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        columns = self.columns
        owner, group, device, xattrs = columns.shared[columns.rests[number]]
        return TarEntry(
            self.path(number),
            _KINDS[columns.kinds[number]],
            columns.modes[number],
            columns.uids[number],
            columns.gids[number],
            owner,
            group,
            columns.sizes[number],
            columns.mtimes[number],
            self.target(number),
            device,
            xattrs,
            columns.positions[number],
        )

    def path(self, number: int) -> str:
        """Return the path of an entry."""
        columns = self.columns
        start = columns.path_ends[number - 1] if number else 0
        path = columns.paths[start : columns.path_ends[number] - 1]
        return path.decode("utf-8", "surrogateescape")

    def kind(self, number: int) -> EntryKind:
        """Return the kind of an entry."""
        return _KINDS[self.columns.kinds[number]]

    def target(self, number: int) -> str:
        """Return where the link of an entry points to; empty if it is no link."""
        columns = self.columns
        start = columns.target_ends[number - 1] if number else 0
        end = columns.target_ends[number]
        return columns.targets[start:end].decode("utf-8", "surrogateescape") if end > start else ""

    def paths(self) -> Iterator[str]:
        """Yield the path of every entry."""
        text = bytes(self.columns.paths).split(b"\0")[:-1]
        return (path.decode("utf-8", "surrogateescape") for path in text)

    def at(self, place: int) -> int:
        """Return the number of the entry whose path holds that place of `columns.paths`."""
        return bisect_right(self.columns.path_ends, place)
