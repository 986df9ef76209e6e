r"""Everything that a flat listing names, as sorted columns.

    names in any order -> Gathering.add -> Gathering.finish -> Rows

Each row is a file, a folder or something that is not read, and has a key: its path with `\0` for
`/`. Keys sort as folders are walked, everything in a folder before whatever follows it, so all
below a folder is one slice and no folder needs an object of its own.

The tree may begin anywhere within the names: `docker cp` begins with the last part of a path.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Final, NamedTuple, Protocol, TypeVar

from regfs.errors import NotARegistry, PathUnsafe, StoreError, printable
from regfs.findings import Code, Finding
from regfs.stores import LAYOUT_MARK, NOT_MOUNTED, FileKind

V2: Final = b"docker\0registry\0v2"
_TOP: Final = ((b"registry\0v2\0", b"docker\0"), (b"v2\0", b"docker\0registry\0"))
"""How names begin in a listing of a part of the tree, and what is missing before them."""
_PARTS: Final = (b"blobs\0", b"repositories\0")
_MARK: Final = LAYOUT_MARK.encode()
_INDEX: Final = b"index.json"
_SAVED: Final = b"manifest.json"
_NO_PARTS: Final = frozenset({"", ".", ".."})
_LONGEST: Final = 4095
"""Bytes of the longest path that an operating system takes."""
_HOPS: Final = 8
"""Hard links to hard links that are followed."""
_NAMED: Final = 20
"""Names that are reported one by one because no file in a tree can have them."""

_PART: Final = 1 << 16
"""Keys that are sorted at once, about."""
_UNUSUAL: Final = (b"\0", b"//", b"/.", b"\n/", b"\n.", b"/\n")
"""What is in names that are not simply parts with `/` between them, a line each."""
_Number = TypeVar("_Number", int, float)

_KINDS: Final = (FileKind.FILE, FileKind.FOLDER, FileKind.SPECIAL, FileKind.LINK)
_FILE, _FOLDER, _SPECIAL, _LINK = range(4)
_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}


def key_of(path: str) -> bytes:
    """Return the key of a path."""
    return os.fsencode(path).replace(b"/", b"\0")


def checked(path: str) -> bytes:
    """Return the key of a path.

    Raises:
        PathUnsafe: it cannot be meant.
    """
    if path and ("\0" in path or not _NO_PARTS.isdisjoint(path.split("/"))):
        raise PathUnsafe(f"{printable(path)}: not a path inside the tree")
    try:
        return key_of(path)
    except UnicodeEncodeError:
        words = "not a path the file system can hold"
        raise PathUnsafe(f"{printable(path)}: {words}") from None


def path_of(key: bytes) -> str:
    """Return the path of a key."""
    return os.fsdecode(key.replace(b"\0", b"/"))


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


class Rows:
    """Sorted columns of equal length."""

    def __init__(self, keys: list[bytes]) -> None:
        """All columns but the keys are zero."""
        self.keys = keys
        self.sizes = array("q", bytes(8 * len(keys)))
        self.mtimes = array("d", bytes(8 * len(keys)))
        self.places = array("q", bytes(8 * len(keys)))
        self.marks = array("q", bytes(8 * len(keys)))
        """What a source knows of a row beside its place."""
        self.kinds = bytearray(len(keys))
        self.odd: dict[bytes, Finding] = {}
        """Key -> what is wrong with what is there; told by whoever lists it."""
        self.problems: list[Finding] = []
        """What is wrong with the whole: any answer may lack something."""

    def find(self, key: bytes) -> int:
        """Return the row of a key; -1 if it has none."""
        row = bisect_left(self.keys, key)
        return row if row < len(self.keys) and self.keys[row] == key else -1

    def kind(self, row: int) -> FileKind:
        """Return what is in a row."""
        return _KINDS[self.kinds[row]]

    def below(self, key: bytes) -> tuple[int, int]:
        """Return the slice of what is below a folder."""
        if not key:
            return 0, len(self.keys)
        first = bisect_left(self.keys, key + b"\0")
        return first, self.end(key, first, len(self.keys))

    def end(self, key: bytes, first: int, last: int) -> int:
        """Return where the slice that begins at `first` ends: what is below `key`."""
        keys, start = self.keys, key + b"\0"
        if first >= last or not keys[first].startswith(start):
            return first
        # Most folders hold one file.
        if first + 1 >= last or not keys[first + 1].startswith(start):
            return first + 1
        return bisect_left(keys, key + b"\1", first + 1, last)


class Gathering:
    """Takes what a listing names, in any order."""

    def __init__(self, what: str, *, layouts: bool = False) -> None:
        """`what` is the listing in words, for messages: "an archive".

        With `layouts`, a listing of an OCI image layout is taken as it is.
        """
        self._what = what
        self._layouts = layouts
        self._keys: list[bytes] = []
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
        return len(self._keys) + self._bad_count

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
            self._targets[len(self._keys)] = _normal(item.target) or b"" if second else item.target
        self._keys.append(key)
        self._kinds.append(_CODES[item.kind])
        self._sizes.append(max(item.size, 0))
        self._mtimes.append(item.mtime)
        self._places.append(place)
        self._marks.append(mark)

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

    def _refuse(self, name: bytes) -> None:
        self._bad_count += 1
        if self._bad_count <= _NAMED:
            path = os.fsdecode(name[:200])
            words = f"no file of a tree can have such a name: left out of {self._what}"
            self._bad.append(Finding(Code.PATH_UNREADABLE, path, actual=words))

    def finish(self, *, anchored: bool = False) -> Rows:
        """Return the rows of the tree that is in the listing.

        If it is `anchored`, names begin where the tree does, and need not be of a tree at all.

        Raises:
            NotARegistry: there is none, or more than one.
        """
        if not anchored:
            self._find_root()
        rows = Rows([])
        kept = self._kept(_sorted(self._keys), rows.odd)
        targets = {at: row for row, at in enumerate(kept) if at in self._targets}
        # One column after the other: both of all together would take half as much again.
        rows.keys, self._keys = list(map(self._keys.__getitem__, kept)), []
        rows.sizes, self._sizes = _picked(self._sizes, kept), array("q")
        rows.mtimes, self._mtimes = _picked(self._mtimes, kept), array("d")
        rows.places, self._places = _picked(self._places, kept), array("q")
        rows.marks, self._marks = _picked(self._marks, kept), array("q")
        rows.kinds, self._kinds = bytearray(map(self._kinds.__getitem__, kept)), bytearray()
        if self._bad_count > _NAMED:
            words = f"{self._bad_count - _NAMED} more names that no file of a tree can have"
            self._bad.append(Finding(Code.PATH_UNREADABLE, path_of(V2), actual=words))
        rows.problems = [*self.problems, *self._bad]
        self._follow(rows, targets)
        return rows

    def _find_root(self) -> None:
        """Let names begin where the tree does, and forget all others."""
        kind = "registry"
        tops = {above for key in self._keys if (above := _above(key)) is not None}
        if not tops and self._layouts and (tops := self._layouts_in()):
            kind = "OCI layout"
        elif not tops:
            self._complete_names()
            return
        top = min(sorted(tops), key=len)
        if others := sorted(other for other in tops if not other.startswith(top)):
            both = " and ".join(printable(path_of(one)) or "/" for one in (top, others[0]))
            raise NotARegistry(f"{self._what} with more than one {kind}: below {both}")
        if top:
            self._targets = {
                at: target for at, target in self._targets.items() if self._keys[at].startswith(top)
            }
            self._strip(top)

    def _layouts_in(self) -> set[bytes]:
        """Return what stands before the names of the OCI layouts in the listing."""
        names = set(self._keys)
        tops = {key[: -len(_MARK)] for key in names if key.endswith(_MARK)}
        return {top for top in tops if top[-1:] in (b"", b"\0") and top + _INDEX in names}

    def _strip(self, top: bytes) -> None:
        """Let names begin below `top`; all others get the empty key, which is dropped."""

        def below(key: bytes) -> bytes:
            return key[len(top) :] if key.startswith(top) else b""

        self._top = top
        self._keys = list(map(below, self._keys))
        self._rename_targets(below)

    def _rename_targets(self, rename: Callable[[bytes], bytes]) -> None:
        """Let hard links name their targets as the listing now does."""
        for at, target in self._targets.items():
            if self._kinds[at] == _FILE:
                self._targets[at] = rename(target)

    def _complete_names(self) -> None:
        """Put before the names what a listing of a part of the tree lacks."""
        for start, missing in _TOP:
            if any(key.startswith(tuple(start + part for part in _PARTS)) for key in self._keys):
                self._missing = missing
                self._keys = [missing + key for key in self._keys]
                self._rename_targets(missing.__add__)
                return
        if any(key == _SAVED or key.endswith(b"\0" + _SAVED) for key in self._keys):
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

    def _kept(self, order: array[int], odd: dict[bytes, Finding]) -> array[int]:
        """Return the items to keep, of those in order: without second ones of a name, files
        where there is a folder, and folders that tell nothing new.
        """
        keys, kinds = self._keys, self._kinds
        kept = array("I")
        for at, later in pairwise(chain(order, (-1,))):
            key = keys[at]
            following = keys[later] if later >= 0 else b""
            if following.startswith(key):  # seldom
                if not key:
                    continue
                if following == key:
                    if not kinds[at] == kinds[later] == _FOLDER:
                        odd[key] = Finding(Code.ENTRY_DUPLICATE, path_of(key))
                    continue
                if kinds[at] != _FOLDER and following.startswith(key + b"\0"):
                    odd[key] = shadowed(path_of(key))
                    continue
            if key:
                kept.append(at)
        if _FOLDER not in kinds:
            return kept
        some = (at for place, at in enumerate(kept) if not self._tells_nothing(kept, place))
        return array("I", some)

    def _tells_nothing(self, kept: array[int], place: int) -> bool:
        """Return whether an item is a folder that holds one file and nothing else.

        It is as old as its file. There are as many of these as files.
        """
        if self._kinds[kept[place]] != _FOLDER or place + 1 >= len(kept):
            return False
        start, keys = self._keys[kept[place]] + b"\0", self._keys
        only = keys[kept[place + 1]]
        if not only.startswith(start) or b"\0" in only[len(start) :]:
            return False
        alone = place + 2 >= len(kept) or not keys[kept[place + 2]].startswith(start)
        return alone and self._kinds[kept[place + 1]] == _FILE

    def _follow(self, rows: Rows, links: dict[int, int]) -> None:
        """Give second names of files the content of the first, and say of links where they lead."""
        named = {row: self._targets[at] for at, row in links.items()}
        for row, target in named.items():
            key = rows.keys[row]
            if rows.kinds[row] == _LINK:
                rows.odd[key] = _link_finding(key, target)
                continue
            found, hops = rows.find(target), 0
            while found in named and hops < _HOPS:
                found, hops = rows.find(named[found]), hops + 1
            if found < 0 or found in named or rows.kinds[found] != _FILE:
                rows.kinds[row] = _LINK
                where = printable(os.fsdecode(target.replace(b"\0", b"/")[:200]))
                words = f"a hard link to {where}, which is not in {self._what}"
                rows.odd[key] = Finding(Code.PATH_UNREADABLE, path_of(key), actual=words)
                continue
            rows.sizes[row], rows.places[row] = rows.sizes[found], rows.places[found]
        for row, kind in enumerate(rows.kinds) if _SPECIAL in rows.kinds else ():
            if kind == _SPECIAL:
                rows.odd[rows.keys[row]] = Finding(Code.SPECIAL_FILE, path_of(rows.keys[row]))


def _sorted(keys: list[bytes]) -> array[int]:
    """Return the order of the keys: a part at a time, which takes a tenth of the memory."""
    sample = sorted(keys[:: _PART // 16 or 1])[16::16]
    parts = [array("I") for _ in range(len(sample) + 1)]
    for at, number in enumerate(map(partial(bisect_right, sample), keys)):
        parts[number].append(at)
    order = array("I")
    for part in parts:
        order.extend(sorted(part, key=keys.__getitem__))
    return order


def _picked(column: array[_Number], rows: array[int]) -> array[_Number]:
    return array(column.typecode, map(column.__getitem__, rows))


def _plain_keys(names: Sequence[bytes]) -> list[bytes] | None:
    """Return the keys of names; None if there is any that `_normal` has to look at."""
    text = b"\n".join((b"", *names, b""))
    if text.count(b"\n") != len(names) + 1 or any(map(text.__contains__, _UNUSUAL)):
        return None
    if max(map(len, names), default=0) > _LONGEST:
        return None
    return text[1:-1].replace(b"/", b"\0").split(b"\n") if names else []


def shadowed(path: str) -> Finding:
    """Return what there is to say of a file that nobody sees, for a folder is in its place."""
    words = "both a folder and something else, which is left out"
    return Finding(Code.PATH_UNREADABLE, path, actual=words)


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
