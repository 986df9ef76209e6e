"""The entries of one layer, in columns: a tenth of the memory that as many objects take.

LayerListing(digest, columns)[17] -> TarEntry
packed(listing) -> bytes, bytes -> unpacked(...)      for a cache: the paths, and the rest
"""

from __future__ import annotations

import json
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, overload

from regfs import layout
from regfs.content.entries import NO_XATTRS, EntryKind, TarEntry
from regfs.digest import Digest
from regfs.findings import Code, Finding

TEXT_LIMIT: Final = 512 << 20
"""Bytes of names, link targets and attributes in one layer that are kept."""

_KINDS: Final = tuple(EntryKind)
KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
"""Kind of an entry -> its number in `Columns.kinds`."""


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
        self.kinds.append(KIND_NUMBERS[entry.kind])
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


# -- as bytes ---------------------------------------------------------------------------

_COLUMNS: Final = (
    "modes", "uids", "gids", "sizes", "mtimes", "positions", "path_ends", "target_ends", "rests",
)  # fmt: skip
_VERSION: Final = f"1 {sys.byteorder} {array('q').itemsize}{array('i').itemsize}"


def packed(listing: LayerListing) -> tuple[bytes, bytes]:
    """Return the paths of a listing, and everything else of it."""
    columns = listing.columns
    parts = [bytes(columns.kinds), bytes(columns.targets)]
    parts += [getattr(columns, name).tobytes() for name in _COLUMNS]
    head = {
        "version": _VERSION,
        "sizes": [len(part) for part in parts],
        "shared": [
            [owner, group, device, {name: value.hex() for name, value in xattrs.items()}]
            for owner, group, device, xattrs in columns.shared
        ],
        "findings": [[one.code.value, one.actual, one.advice] for one in listing.findings],
    }
    return bytes(columns.paths), b"\n".join([json.dumps(head).encode(), b"".join(parts)])


def unpacked(digest: Digest, paths: bytes, rest: bytes) -> LayerListing | None:
    """Return a listing from what `packed` has returned; None if another version has."""
    line, _, data = rest.partition(b"\n")
    try:
        head = json.loads(line)
        if head["version"] != _VERSION or sum(head["sizes"]) != len(data):
            return None
        columns = _columns(head, paths, memoryview(data))
        path = layout.blob_path(digest)
        findings = [
            Finding(Code(code), path, digest, actual=actual, advice=advice)
            for code, actual, advice in head["findings"]
        ]
    except (ValueError, KeyError, TypeError):
        return None
    return None if columns is None else LayerListing(digest, columns, findings)


def _columns(head: dict[str, Any], paths: bytes, data: memoryview) -> Columns | None:
    columns, start = Columns(), 0
    parts = []
    for size in head["sizes"]:
        parts.append(data[start : start + size])
        start += size
    columns.paths += paths
    columns.kinds += parts[0]
    columns.targets += parts[1]
    for name, part in zip(_COLUMNS, parts[2:], strict=True):
        getattr(columns, name).frombytes(part)
    for owner, group, device, xattrs in head["shared"]:
        attributes = {name: bytes.fromhex(value) for name, value in xattrs.items()}
        columns.shared.append(
            (owner, group, None if device is None else tuple(device), attributes or NO_XATTRS)
        )
    lengths = {len(getattr(columns, name)) for name in _COLUMNS}
    ends = columns.path_ends[-1] if columns.path_ends else 0
    return columns if lengths == {len(columns)} and ends == len(paths) else None
