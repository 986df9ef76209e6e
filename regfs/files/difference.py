"""The files of two images side by side: what their root file systems do not have in common.

    file_difference(before, after, layers)
        added    app/new      0 -> 120 B
        changed  app/run     80 ->  80 B    content, mode
        removed  etc/old     10 ->   0 B

Layers that lie at the bottom of both images make the same files. What is in them is asked only
where one image writes a path of which the other says nothing: then they tell whether it is new.
If both write the same paths, as two builds of one Dockerfile mostly do, they are not read at
all. The content of files is read where only that can tell: two files of one size, each in a
layer that the other image does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final, NamedTuple, cast

from regfs.content.entries import EntryKind, TarEntry
from regfs.content.packages import PackageChange
from regfs.digest import Digest, hash_stream
from regfs.errors import RegfsError, printable
from regfs.files.changes import Placed
from regfs.files.image import ImageFiles
from regfs.files.installed import FileAt, Pair, is_of_database, package_changes
from regfs.files.layers import Layers
from regfs.files.listing import LayerListing
from regfs.files.merged import Merged
from regfs.files.upper_paths import UpperPaths
from regfs.findings import Severity

_HOLES: Final = 16 << 30
"""Bytes of holes that are read in one layer: it takes seconds, and hostile tars have terabytes."""


class FileFate(StrEnum):
    """What becomes of a path."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FileDelta:
    """A path that is not the same in two root file systems."""

    change: FileFate
    path: str
    kind: EntryKind
    """What is there afterwards, or before if it was removed. A hard link is what it leads to."""
    before: int
    """Bytes of the file; 0 of what is none."""
    after: int
    what: tuple[str, ...]
    """Of what is changed: `kind`, `content`, `target`, `device`, `mode`, `owner`, `xattrs`, and
    `time` if that was asked for."""


@dataclass(frozen=True, slots=True)
class FileDifference:
    """What two root file systems do not have in common."""

    changes: tuple[FileDelta, ...]
    """By path, a folder before what it holds."""
    packages: tuple[PackageChange, ...]
    """Of the databases of package managers that differ."""
    problems: tuple[str, ...]
    """What could not be read: changes may be missing, or be none."""


class ComparedImage(NamedTuple):
    """The layers of an image, base first."""

    files: ImageFiles
    contents: Sequence[str]
    """For each layer what those with the same files have in common: the diffID if it is known,
    else the digest."""

    def part(self, begin: int, end: int | None = None) -> _LayerRun:
        """Return some of the layers, read."""
        places = range(len(self.contents))[begin:end]
        return _LayerRun(
            [self.files.layers[place] for place in places],
            [self.contents[place] for place in places],
            [self.files.listing(place) for place in places],
        )


class _LayerRun(NamedTuple):
    """Some layers that have been read."""

    digests: list[Digest]
    contents: list[str]
    listings: list[LayerListing]

    def under(self, other: _LayerRun) -> _LayerRun:
        """Return these layers with others on top of them."""
        return _LayerRun(
            self.digests + other.digests,
            self.contents + other.contents,
            self.listings + other.listings,
        )


def file_difference(
    before: ComparedImage, after: ComparedImage, layers: Layers, *, times: bool = False
) -> FileDifference:
    """Return what differs between the files of two images; their times only if asked to."""
    shared = 0
    for one, other in zip(before.contents, after.contents, strict=False):
        if one != other:
            break
        shared += 1
    parts = [before.part(shared), after.part(shared)]
    if not UpperPaths(parts[0].listings).is_as_far_as(UpperPaths(parts[1].listings)):
        # Where one of the two cannot be read the other one may do.
        below = before.part(0, shared)
        parts = [below.under(part) for part in parts]
    return _Comparison(layers, parts[0], parts[1], times=times).difference()


class _File(NamedTuple):
    """What lies at a path, a hard link followed."""

    layer: Digest
    content: str
    entry: TarEntry

    @property
    def place(self) -> tuple[Digest, int]:
        """Where its content is read."""
        return self.layer, self.entry.position


class _Pending(NamedTuple):
    """A path that differs, or may differ by its content."""

    path: str
    before: _File | None
    after: _File | None
    what: tuple[str, ...]

    @property
    def is_doubtful(self) -> bool:
        """Whether only reading tells if both have the same content."""
        if self.before is None or self.after is None:
            return False
        old, new = self.before.entry, self.after.entry
        return old.kind is new.kind is EntryKind.FILE and 0 < old.size == new.size


class _Comparison:
    """Compares two root file systems."""

    def __init__(self, layers: Layers, before: _LayerRun, after: _LayerRun, *, times: bool) -> None:
        self._layers = layers
        self._parts = before, after
        self._merged = Merged.merge(before.listings), Merged.merge(after.listings)
        self._times = times
        self._problems = {
            f"{finding.path}: {finding.actual or finding.message}": None
            for listing in (*before.listings, *after.listings)
            for finding in listing.findings
            if finding.severity is Severity.ERROR
        }

    def difference(self) -> FileDifference:
        # A million changes are kept as rows; only what is still to be read as entries.
        found: list[FileDelta | None] = []
        doubtful: dict[int, _Pending] = {}
        databases: dict[str, Pair] = {}
        for one in self._pending():
            if is_of_database(one.path):
                databases[one.path] = _at(one.before), _at(one.after)
            if one.is_doubtful:
                doubtful[len(found)] = one
                found.append(None)
            elif one.what or one.before is None or one.after is None:
                found.append(_delta(one, one.what))
        sums = self._sums(doubtful.values())
        for number, one in doubtful.items():
            pair = [sums.get(cast(_File, file).place) for file in (one.before, one.after)]
            differs = None not in pair and pair[0] != pair[1]
            what = ("content", *one.what) if differs else one.what
            found[number] = _delta(one, what) if what else None
        changes = tuple(one for one in found if one is not None)
        packages, unread = package_changes(self._layers, databases)
        return FileDifference(changes, tuple(packages), (*self._problems, *unread))

    def _pending(self) -> Iterator[_Pending]:
        """Yield the paths of both that are not surely the same."""
        for path, *placed in _joined(*self._merged):
            old, new = (None if one is None else self._file(n, one) for n, one in enumerate(placed))
            if old is None or new is None:
                yield _Pending(path, old, new, ())
            elif (old.content, old.entry.position) != (new.content, new.entry.position):
                yield _Pending(path, old, new, tuple(self._what(old.entry, new.entry)))

    def _file(self, side: int, placed: Placed) -> _File:
        if placed.entry.kind is EntryKind.HARDLINK:
            placed = self._merged[side].content(placed)
        part = self._parts[side]
        if not part.digests:  # the root of an image without layers
            return _File(Digest(""), "", placed.entry)
        return _File(part.digests[placed.layer], part.contents[placed.layer], placed.entry)

    def _what(self, old: TarEntry, new: TarEntry) -> Iterator[str]:
        """Yield what differs, as far as headers say it."""
        if old.kind is not new.kind:
            yield "kind"
            return
        if old.size != new.size:
            yield "content"
        if old.target != new.target:
            yield "target"
        if old.device != new.device:
            yield "device"
        if old.mode != new.mode and new.kind is not EntryKind.SYMLINK:  # which have none
            yield "mode"
        if (old.uid, old.gid) != (new.uid, new.gid):
            yield "owner"
        if old.xattrs != new.xattrs:
            yield "xattrs"
        if self._times and old.mtime != new.mtime:
            yield "time"

    def _sums(self, doubtful: Iterable[_Pending]) -> dict[tuple[Digest, int], Digest]:
        """Return the digests of the contents that may differ; each layer is read once."""
        wanted: dict[Digest, set[int]] = defaultdict(set)
        for one in doubtful:
            for file in (one.before, one.after):
                if file is not None:
                    wanted[file.layer].add(file.entry.position)
        sums: dict[tuple[Digest, int], Digest] = {}
        for layer, positions in wanted.items():
            try:
                self._hash(layer, positions, sums)
            except RegfsError as error:
                self._problems[f"{layer}: {error}"] = None
        return sums

    def _hash(
        self, layer: Digest, positions: set[int], sums: dict[tuple[Digest, int], Digest]
    ) -> None:
        """Add the digests of some files of a layer, which is read once."""
        holes = 0
        places = sorted(positions)
        for place, stream in zip(places, self._layers.stream(layer, places), strict=True):
            if holes + stream.holes > _HOLES:
                words = "not compared: it is full of holes"
                self._problems[f"{layer}: {printable(stream.entry.path)}: {words}"] = None
                continue
            holes += stream.holes
            (digest,), _ = hash_stream(cast(BinaryIO, stream))
            sums[layer, place] = digest


def _at(file: _File | None) -> FileAt | None:
    return None if file is None else FileAt(file.layer, file.entry)


def _delta(one: _Pending, what: tuple[str, ...]) -> FileDelta:
    fate = FileFate.CHANGED
    if one.before is None or one.after is None:
        fate = FileFate.ADDED if one.before is None else FileFate.REMOVED
    last = cast(_File, one.after or one.before)
    before, after = (0 if file is None else file.entry.size for file in (one.before, one.after))
    return FileDelta(fate, one.path, last.entry.kind, before, after, what)


def _joined(before: Merged, after: Merged) -> Iterator[tuple[str, Placed | None, Placed | None]]:
    """Yield each path that one of two root file systems has, with what lies there in both."""
    yield "", before.get(""), after.get("")
    sides = iter(before), iter(after)
    old, new = (next(side, None) for side in sides)
    while old is not None or new is not None:
        first, second = (None if one is None else one.path.split("/") for one in (old, new))
        comes_first = second is None or (first is not None and first <= second)
        comes_second = first is None or (second is not None and second <= first)
        path = cast(Placed, old if comes_first else new).path
        yield path, old if comes_first else None, new if comes_second else None
        if comes_first:
            old = next(sides[0], None)
        if comes_second:
            new = next(sides[1], None)
