"""Takes what a listing names, in any order, and makes rows of it.

    names -> add -> runs of 131,072, sorted, their keys packed -> finish: merged, picked -> Rows

So ten million names are held in 0.7 GB, and in twice that for a moment while they are merged:
objects for their keys alone would take 1.7 GB. A listing that fits into one run is never packed.

The tree may begin anywhere within the names: `docker cp` begins with the last part of a path.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, islice
from operator import itemgetter
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

from regfs.errors import NotARegistry, StoreError, printable
from regfs.findings import Code, Finding
from regfs.stores import LAYOUT_MARK, NOT_MOUNTED, FileKind
from regfs.stores.flat.packed import TOGETHER, PackedKeys
from regfs.stores.flat.rows import CODES, V2, Rows, path_of, shadowed

_TOP: Final = ((b"registry\0v2\0", b"docker\0"), (b"v2\0", b"docker\0registry\0"))
"""How names begin in a listing of a part of the tree, and what is missing before them."""
_PARTS: Final = (b"blobs\0", b"repositories\0")
_MARK: Final = LAYOUT_MARK.encode()
_INDEX: Final = b"index.json"
_SAVED: Final = b"manifest.json"
_LONGEST: Final = 4095
"""Bytes of the longest path that an operating system takes."""
_HOPS: Final = 8
"""Hard links to hard links that are followed."""
_NAMED: Final = 20
"""Names that are reported one by one because no file in a tree can have them."""

_RUN: Final = 1 << 17
"""Keys that are sorted and packed together: 22 MB of them."""
_PART: Final = 1 << 16
"""Keys that are merged at once, about."""
_UNUSUAL: Final = (b"\0", b"//", b"/.")
"""What is in names, with `/` before and after each, that are not simply parts with it between."""
_Number = TypeVar("_Number", int, float)

_FILE: Final = CODES[FileKind.FILE]
_FOLDER: Final = CODES[FileKind.FOLDER]
_SPECIAL: Final = CODES[FileKind.SPECIAL]
_LINK: Final = CODES[FileKind.LINK]


class Named(Protocol):
    """One thing that a flat listing names."""

    @property
    def name(self) -> bytes:
        """As it is written there."""

    @property
    def kind(self) -> FileKind:
        """What it is."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime(self) -> float:
        """Seconds since the epoch."""

    @property
    def target(self) -> bytes | None:
        """What a link leads to; of a FILE, the name of the file that it is a second name of."""


class NamedFile(NamedTuple):
    """A file as a listing of nothing else names it."""

    name: bytes
    size: int
    mtime: float
    kind: FileKind = FileKind.FILE
    target: bytes | None = None


_Item: TypeAlias = tuple[bytes, int]
"""A key, and the number of what has it, in the order of the columns."""
_NOTHING: Final[_Item] = (b"", -1)
_Part: TypeAlias = tuple[list[bytes], list[int]]
"""Some keys, and as many numbers."""


class _SortedRun:
    """Keys that came together, sorted, taken from the beginning on."""

    def __init__(self, keys: PackedKeys, first: int) -> None:
        self._firsts = keys.firsts
        self._blocks = keys.blocks()
        self._next = 0
        self._left: list[bytes] = []
        self._at = first

    def take(self, limit: bytes | None) -> list[_Item]:
        """Return the keys less than `limit`, or all, with the numbers of what has them."""
        start = self._next
        end = len(self._firsts) if limit is None else bisect_left(self._firsts, limit)
        found = list(chain(self._left, *islice(self._blocks, max(end - start, 0))))
        self._next = max(start, end)
        cut = len(found) if limit is None else bisect_left(found, limit)
        self._left = found[cut:]
        self._at += cut
        return list(zip(found[:cut], range(self._at - cut, self._at), strict=True))


class Gathering:
    """Takes what a listing names, in any order."""

    def __init__(self, what: str, *, layouts: bool = False) -> None:
        """`what` is the listing in words, for messages: "an archive".

        With `layouts`, a listing of an OCI image layout is taken as it is.
        """
        self._what = what
        self._layouts = layouts
        self._runs: list[PackedKeys] = []
        self._keys: list[bytes] = []
        """Of what is in no run yet: the last rows of the columns."""
        self._kinds = bytearray()
        self._sizes, self._mtimes = array("q"), array("d")
        self._places, self._marks = array("q"), array("q")
        self._targets: dict[int, bytes] = {}
        self._bad: list[Finding] = []
        self._bad_count = 0
        self.problems: list[Finding] = []
        self._top = self._missing = b""
        """What all names had before the tree, and what the tree has before all names."""

    @property
    def count(self) -> int:
        """Number of items that came."""
        return len(self._kinds) + self._bad_count

    def name_of(self, key: bytes) -> bytes:
        """Return the name that a key had in the listing, once that is finished."""
        return (self._top + key)[len(self._missing) :].replace(b"\0", b"/")

    def add(self, item: Named, place: int, mark: int = 0) -> None:
        """Take one item; a later one of the same name takes the place of an earlier one.

        `place` is where the source finds its content, `mark` what else it knows of it.
        """
        key = _normal(item.name)
        if key is None:
            self._refuse(item.name)
            return
        if item.target is not None:
            second = item.kind is FileKind.FILE
            target = _normal(item.target) or b"" if second else item.target
            self._targets[len(self._kinds)] = target
        self._keys.append(key)
        self._kinds.append(CODES[item.kind])
        self._sizes.append(max(item.size, 0))
        self._mtimes.append(item.mtime)
        self._places.append(place)
        self._marks.append(mark)
        if len(self._keys) >= _RUN:
            self._pack()

    def add_files(
        self,
        names: Sequence[bytes],
        sizes: Sequence[int],
        mtimes: Sequence[float],
        numbers: array[int],
    ) -> None:
        """Take many files; `numbers` has the place and the mark of each, in turn."""
        places, marks = numbers[::2], numbers[1::2]
        keys = _plain_keys(names)
        if keys is None:
            files = map(NamedFile, names, sizes, mtimes)
            for file, place, mark in zip(files, places, marks, strict=True):
                self.add(file, place, mark)
            return
        self._keys += keys
        self._kinds += bytes(len(keys))
        self._sizes.extend(sizes)
        self._mtimes.extend(mtimes)
        self._places += places
        self._marks += marks
        if len(self._keys) >= _RUN:
            self._pack()

    def _refuse(self, name: bytes) -> None:
        self._bad_count += 1
        if self._bad_count <= _NAMED:
            path = os.fsdecode(name[:200])
            words = f"no file of a tree can have such a name: left out of {self._what}"
            self._bad.append(Finding(Code.PATH_UNREADABLE, path, actual=words))

    def _pack(self) -> None:
        """Make a run of what came since the last one."""
        keys, self._keys = self._keys, []
        first = len(self._kinds) - len(keys)
        order = array("I", sorted(range(len(keys)), key=keys.__getitem__))
        self._runs.append(PackedKeys(map(keys.__getitem__, order)))
        for column in (self._sizes, self._places, self._marks):
            column[first:] = _picked(column[first:], order)
        self._mtimes[first:] = _picked(self._mtimes[first:], order)
        kinds = self._kinds[first:]
        self._kinds[first:] = bytes(map(kinds.__getitem__, order))
        if self._targets:
            now = {first + at: first + place for place, at in enumerate(order)}
            self._targets = {now.get(at, at): one for at, one in self._targets.items()}

    # -- the tree within the names ----------------------------------------------------------

    def finish(self, *, anchored: bool = False) -> Rows:
        """Return the rows of the tree that is in the listing.

        If it is `anchored`, names begin where the tree does, and need not be of a tree at all.

        Raises:
            NotARegistry: there is none, or more than one.
        """
        if not anchored:
            self._find_root()
        if self._runs and self._keys:
            self._pack()
        rows, kept = Rows([]), array("I")
        keys = self._kept_keys(kept, rows.odd)
        rows.keys = PackedKeys(keys) if self._runs else list(keys)
        self._runs = []
        known = self._targets
        targets = {at: row for row, at in enumerate(kept) if at in known} if known else {}
        # One column after the other: both of all together would take half as much again.
        rows.sizes, self._sizes = _picked(self._sizes, kept), array("q")
        rows.mtimes, self._mtimes = _picked(self._mtimes, kept), array("d")
        rows.places, self._places = _picked(self._places, kept), array("q")
        rows.marks, self._marks = _picked(self._marks, kept), array("q")
        rows.kinds = bytearray(map(self._kinds.__getitem__, kept))
        if self._bad_count > _NAMED:
            words = f"{self._bad_count - _NAMED} more names that no file of a tree can have"
            self._bad.append(Finding(Code.PATH_UNREADABLE, path_of(V2), actual=words))
        rows.problems = [*self.problems, *self._bad]
        self._follow(rows, targets)
        return rows

    def _names(self) -> Iterator[bytes]:
        """Yield the key of everything that came."""
        return chain(*self._runs, self._keys)

    def _find_root(self) -> None:
        """Let names begin where the tree does, and forget all others."""
        kind = "registry"
        tops = self._tops()
        if not tops and self._layouts and (tops := self._layouts_in()):
            kind = "OCI layout"
        elif not tops:
            self._complete_names()
            return
        self._top = top = min(sorted(tops), key=len)
        if others := sorted(other for other in tops if not other.startswith(top)):
            both = " and ".join(printable(path_of(one)) or "/" for one in (top, others[0]))
            raise NotARegistry(f"{self._what} with more than one {kind}: below {both}")

    def _tops(self) -> set[bytes]:
        """Return what stands before `docker/registry/v2` in the names."""
        tops: set[bytes] = set()
        start = V2  # of the last name that had it; the next begins as it, as a rule
        for key in self._names():
            if not (tops and key.startswith(start)) and (above := _above(key)) is not None:
                tops.add(above)
                start = above + V2 + b"\0"
        return tops

    def _layouts_in(self) -> set[bytes]:
        """Return what stands before the names of the OCI layouts in the listing."""
        names = {key for key in self._names() if key.endswith((_MARK, _INDEX))}
        tops = {key[: -len(_MARK)] for key in names if key.endswith(_MARK)}
        return {top for top in tops if top[-1:] in (b"", b"\0") and top + _INDEX in names}

    def _complete_names(self) -> None:
        """Find what a listing of a part of the tree lacks before its names."""
        for start, missing in _TOP:
            starts = tuple(start + part for part in _PARTS)
            if any(key.startswith(starts) for key in self._names()):
                self._missing = missing
                return
        if any(key == _SAVED or key.endswith(b"\0" + _SAVED) for key in self._names()):
            raise NotARegistry(
                f"{self._what} of docker save, without an OCI layout: skopeo copy "
                "docker-archive:FILE oci-archive:NEW, and give that"
            )
        for problem in self.problems:
            if problem.code is Code.ARCHIVE_TRUNCATED:
                raise StoreError(
                    f"{self._what} with no registry in what came of it: {problem.actual}"
                )
        raise NotARegistry(
            f"{self._what} with no registry in it: no docker/registry/v2; {NOT_MOUNTED}"
        )

    def _in_tree(self, key: bytes) -> bytes:
        """Return a key as it is in the tree; empty if it is none of it."""
        if self._top:
            return key[len(self._top) :] if key.startswith(self._top) else b""
        return self._missing + key

    # -- sorting ----------------------------------------------------------------------------

    def _sorted(self) -> Iterator[_Part]:
        """Yield everything by its key in the listing, what came first before what came later.

        What is yielded is forgotten.
        """
        if not self._runs:
            keys, self._keys = self._keys, []
            order = sorted(range(len(keys)), key=keys.__getitem__)
            yield list(map(keys.__getitem__, order)), order
            return
        firsts = sorted(chain.from_iterable(run.firsts for run in self._runs))
        step = max(_PART // TOGETHER, 1)
        starts = accumulate(map(len, self._runs), initial=0)
        runs = list(map(_SortedRun, self._runs, starts))
        for limit in (*firsts[step::step], None):
            # The sort keeps the order of equal keys, and what is sorted in it costs nothing.
            part = sorted(chain.from_iterable(run.take(limit) for run in runs), key=itemgetter(0))
            yield [key for key, _ in part], [at for _, at in part]

    def _kept_keys(self, kept: array[int], odd: dict[bytes, Finding]) -> Iterator[bytes]:
        """Yield the keys of what is kept, and put its numbers into `kept`."""
        parts = self._distinct(odd)
        if _FOLDER in self._kinds:
            items = chain.from_iterable(zip(*part, strict=True) for part in parts)
            for key, at in self._telling(items):
                kept.append(at)
                yield key
            return
        for keys, numbers in parts:
            kept.extend(numbers)
            yield from keys

    def _distinct(self, odd: dict[bytes, Finding]) -> Iterator[_Part]:
        """Yield everything of the tree without second ones of a name, and files where there is a
        folder.
        """
        last, number = _NOTHING
        for keys, numbers in chain(self._sorted(), (([b""], [-1]),)):
            if (self._top or self._missing) and numbers != [-1]:
                keys = list(map(self._in_tree, keys))
            if last:
                keys, numbers = [last, *keys], [number, *numbers]
            if not keys:
                continue
            # As a rule no key begins as the one before it; an empty one is such a beginning.
            if any(map(bytes.startswith, islice(keys, 1, None), keys)):
                items = list(self._seen(keys, numbers, odd))
                yield [key for key, _ in items], [at for _, at in items]
            else:
                yield keys[:-1], numbers[:-1]
            last, number = keys[-1], numbers[-1]

    def _seen(
        self, keys: Sequence[bytes], numbers: Sequence[int], odd: dict[bytes, Finding]
    ) -> Iterator[_Item]:
        """Yield all but the last, without those that what follows takes the place of."""
        kinds = self._kinds
        following = zip(islice(keys, 1, None), islice(numbers, 1, None), strict=True)
        for (after, later), key, at in zip(following, keys, numbers, strict=False):
            if not after.startswith(key):
                yield key, at
            elif after == key:
                if key and not kinds[at] == kinds[later] == _FOLDER:
                    odd[key] = Finding(Code.ENTRY_DUPLICATE, path_of(key))
            elif key and kinds[at] != _FOLDER and after.startswith(key + b"\0"):
                odd[key] = shadowed(path_of(key))
            elif key:
                yield key, at

    def _telling(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Yield everything but folders that hold one file and nothing else.

        They are as old as their file. There are as many of these as files.
        """
        kinds, (key, at) = self._kinds, _NOTHING
        only, only_at = next(items, _NOTHING)
        for following, later in chain(items, (_NOTHING, _NOTHING)):
            start = key + b"\0"
            if at >= 0 and not (
                kinds[at] == _FOLDER
                and only.startswith(start)
                and kinds[only_at] == _FILE
                and b"\0" not in only[len(start) :]
                and not following.startswith(start)
            ):
                yield key, at
            key, at, only, only_at = only, only_at, following, later

    def _follow(self, rows: Rows, links: dict[int, int]) -> None:
        """Give second names of files the content of the first, and say of links where they lead."""
        named = {row: self._targets[at] for at, row in links.items()}
        for row, target in named.items():
            key = rows.keys[row]
            if rows.kinds[row] == _LINK:
                rows.odd[key] = _link_finding(key, target)
                continue
            found, hops = rows.find(self._in_tree(target)), 0
            while found in named and hops < _HOPS:
                found, hops = rows.find(self._in_tree(named[found])), hops + 1
            if found < 0 or found in named or rows.kinds[found] != _FILE:
                rows.kinds[row] = _LINK
                where = printable(path_of((self._in_tree(target) or target)[:200]))
                words = f"a hard link to {where}, which is not in {self._what}"
                rows.odd[key] = Finding(Code.PATH_UNREADABLE, path_of(key), actual=words)
                continue
            rows.sizes[row], rows.places[row] = rows.sizes[found], rows.places[found]
        for row, kind in enumerate(rows.kinds) if _SPECIAL in rows.kinds else ():
            if kind == _SPECIAL:
                rows.odd[rows.keys[row]] = Finding(Code.SPECIAL_FILE, path_of(rows.keys[row]))


def _picked(column: array[_Number], rows: array[int]) -> array[_Number]:
    return array(column.typecode, map(column.__getitem__, rows))


def _plain_keys(names: Sequence[bytes]) -> list[bytes] | None:
    """Return the keys of names; None if there is any that `_normal` has to look at."""
    text = b"/".join((b"", *names, b""))
    if any(map(text.__contains__, _UNUSUAL)) or max(map(len, names), default=0) > _LONGEST:
        return None
    return [name.replace(b"/", b"\0") for name in names]


def _normal(name: bytes) -> bytes | None:
    """Return the key of a name; None if it cannot be that of anything in a tree."""
    if b"\0" in name or len(name) > _LONGEST:
        return None
    if not (name[:1] in b"./" or b"//" in name or b"/." in name):  # as nearly all names are
        return name.rstrip(b"/").replace(b"/", b"\0")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    return None if b".." in parts else b"\0".join(parts)


def _above(key: bytes) -> bytes | None:
    """Return what stands before `docker/registry/v2` in a key; None if that is not in it."""
    start = key.find(V2)
    while start >= 0:
        end = start + len(V2)
        if (start == 0 or key[start - 1] == 0) and (end == len(key) or key[end] == 0):
            return key[:start]
        start = key.find(V2, start + 1)
    return None


def _link_finding(key: bytes, target: bytes) -> Finding:
    """Return what there is to say of a symbolic link, which is never followed."""
    depth = key.count(b"\0")
    outside = target.startswith(b"/")
    for part in target.split(b"/"):
        depth += -1 if part == b".." else part not in (b"", b".")
        outside = outside or depth < 0
    code = Code.SYMLINK_OUTSIDE if outside else Code.SYMLINK_LOOP
    return Finding(code, path_of(key), actual=printable(os.fsdecode(target[:200])))
