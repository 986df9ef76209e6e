"""What one listing pass over a registry tree has seen: plain data, and no disk.

    Inventory
        .blobs         digest -> FileInfo of blobs/<algorithm>/<xx>/<hex>/data
        .repositories  name -> RepositoryInventory (tags, revisions, layers, uploads)
        .findings      what could not be listed, or does not belong

How a tree is listed is in `regfs.tree.scan`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import lt
from typing import Final, NamedTuple, TypeVar

from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.stores import Leaves
from regfs.tree.digests import Digests

Value = TypeVar("Value")


class FileInfo(NamedTuple):
    """What listing tells of one file."""

    size: int
    mtime: float
    allocated: int
    """Bytes of disk blocks; -1 where the store has no such thing."""


Ask = Callable[[list[Digest]], Iterable[tuple[Digest, int, float, int]]]
"""Answers what `FileInfo` holds of the files of digests; leaves out those it cannot answer for."""


class DigestTable(Mapping[Digest, FileInfo]):
    """Files named by digest, as columns: 28 bytes each, beside the digests of the tree.

    Rows are in the order of the numbers that their digests have in `known`. With `ask` there
    are no columns: a file is asked about when it matters. Then a digest that is in the table
    may turn out to have no file, and `get` gives None.
    """

    __slots__ = ("_asked", "_is_dense", "allocated", "ask", "known", "mtimes", "numbers", "sizes")

    def __init__(self, known: Digests | None = None, ask: Ask | None = None) -> None:
        self.known = Digests() if known is None else known
        self.ask = ask
        self.numbers = array("I")
        """Row -> number of its digest, ascending."""
        self.sizes = array("q")
        self.mtimes = array("d")
        self.allocated = array("q")
        self._is_dense = True
        """Whether the number of every row is the row itself, as it is with all blobs."""
        self._asked: dict[int, FileInfo | None] = {}

    def extend(
        self,
        numbers: array[int],
        sizes: Iterable[int] = (),
        mtimes: Iterable[float] = (),
        allocated: Iterable[int] = (),
    ) -> None:
        """Add one folder's files, with their columns unless files are asked about later."""
        self.append(numbers, sizes, mtimes, allocated)
        self.order()

    def append(
        self,
        numbers: array[int],
        sizes: Iterable[int] = (),
        mtimes: Iterable[float] = (),
        allocated: Iterable[int] = (),
    ) -> None:
        """Add files as `extend` does; `order` has to follow, once for many folders."""
        self.numbers.extend(numbers)
        self.sizes.extend(sizes)
        self.mtimes.extend(mtimes)
        self.allocated.extend(allocated)

    def order(self) -> None:
        """Put rows in the order of their numbers.

        A digest that came twice counts once, as it came first: a folder that changes while it
        is read may give a name twice.
        """
        if not all(map(lt, self.numbers, islice(self.numbers, 1, None))):
            self._sort()
        self._is_dense = not self.numbers or self.numbers[-1] == len(self.numbers) - 1

    def _sort(self) -> None:
        first: dict[int, int] = {}
        for row, number in enumerate(self.numbers):
            first.setdefault(number, row)
        self.numbers = array("I", sorted(first))
        rows = list(map(first.__getitem__, self.numbers))
        if self.ask is None:
            self.sizes = array("q", map(self.sizes.__getitem__, rows))
            self.mtimes = array("d", map(self.mtimes.__getitem__, rows))
            self.allocated = array("q", map(self.allocated.__getitem__, rows))

    def fill(
        self,
        numbers: Iterable[int],
        sizes: Iterable[int],
        mtimes: Iterable[float],
        allocated: Iterable[int],
    ) -> None:
        """Fill in the columns of files that were to be asked about, by the numbers of digests."""
        if self.ask is not None:
            self.ask = None
            count = len(self.numbers)
            self.sizes = array("q", [_UNFILLED]) * count
            self.mtimes = array("d", bytes(8 * count))
            self.allocated = array("q", bytes(8 * count))
        for number, size, mtime, blocks in zip(numbers, sizes, mtimes, allocated, strict=True):
            row = self.row_of(number)
            if row is not None:
                self.sizes[row], self.mtimes[row], self.allocated[row] = size, mtime, blocks

    def without(self, digests: Iterable[Digest]) -> DigestTable:
        """Return a table of the same files but for some."""
        gone = set(map(self.find, digests))
        rows = [row for row in range(len(self)) if row not in gone]
        found = DigestTable(self.known, self.ask)
        numbers = array("I", map(self.numbers.__getitem__, rows))
        if self.ask is None:
            sizes, mtimes = map(self.sizes.__getitem__, rows), map(self.mtimes.__getitem__, rows)
            found.extend(numbers, sizes, mtimes, map(self.allocated.__getitem__, rows))
        else:
            found.extend(numbers)
        return found

    @property
    def is_filled(self) -> bool:
        """Whether there are columns, and of every digest a file has come."""
        return self.ask is None and _UNFILLED not in self.sizes

    def row_of(self, number: int | None) -> int | None:
        """Return the row of a digest by its number; None when it is not in the table."""
        numbers = self.numbers
        if number is None:
            return None
        if self._is_dense:
            return number if number < len(numbers) else None
        row = bisect_left(numbers, number)
        return row if row < len(numbers) and numbers[row] == number else None

    def find(self, digest: str) -> int | None:
        """Return the row of a digest; None when it is not in the table."""
        return self.row_of(self.known.find(digest))

    def row(self, digest: Digest) -> int:
        """Return the row of a digest that is in the table."""
        row = self.find(digest)
        if row is None:
            raise KeyError(digest)
        return row

    def rows_of(self, numbers: Sequence[int]) -> Sequence[int]:
        """Return the rows of those digests, by their numbers, that are in the table."""
        if self._is_dense:
            count = len(self.numbers)
            return numbers if max(numbers, default=0) < count else [n for n in numbers if n < count]
        return [row for number in numbers if (row := self.row_of(number)) is not None]

    def has_all(self, numbers: Iterable[int]) -> bool:
        """Return whether all digests with these numbers are in the table."""
        if self._is_dense:
            return max(numbers, default=-1) < len(self.numbers)
        return all(self.row_of(number) is not None for number in numbers)

    def number(self, digest: str) -> int | None:
        """Return the number of a digest; None when it is not in the table."""
        number = self.known.find(digest)
        return None if self.row_of(number) is None else number

    def digest(self, row: int) -> Digest:
        """Return the digest of a row."""
        return self.known[self.numbers[row]]

    def __getitem__(self, digest: Digest) -> FileInfo:
        row = self.row(digest)
        if self.ask is None:
            return FileInfo(self.sizes[row], self.mtimes[row], self.allocated[row])
        if row not in self._asked:
            answers = self.ask([digest])
            self._asked[row] = next((FileInfo(*answer[1:]) for answer in answers), None)
        info = self._asked[row]
        if info is None:
            raise KeyError(digest)
        return info

    def size(self, digest: Digest) -> int:
        """Return the bytes of a file; 0 if the digest is not in the table."""
        if self.ask is not None:
            info = self.get(digest)
            return 0 if info is None else info.size
        row = self.find(digest)
        return 0 if row is None else self.sizes[row]

    def forget(self) -> None:
        """Ask about every file anew from now on."""
        self._asked.clear()

    def files(self, rows: Iterable[int]) -> Iterator[tuple[Digest, int, float, int]]:
        """Yield digest, size, time and blocks of rows; of those only that have a file."""
        if self.ask is None:
            for row in rows:
                yield self.digest(row), self.sizes[row], self.mtimes[row], self.allocated[row]
        else:
            yield from self.ask([self.digest(row) for row in rows])

    def __iter__(self) -> Iterator[Digest]:
        return map(self.known.__getitem__, self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self.find(digest) is not None


_UNFILLED: Final = -1


def rows_of(leaves: Leaves, rows: Iterable[int]) -> Leaves:
    """Return `leaves` with only these rows of its columns, of those columns that it has."""
    chosen = list(rows)

    def column(values: Sequence[Value]) -> list[Value]:
        return [values[row] for row in chosen] if values else []

    return leaves._replace(
        names=column(leaves.names),
        sizes=column(leaves.sizes),
        mtimes=column(leaves.mtimes),
        allocated=column(leaves.allocated),
        contents=column(leaves.contents),
    )


class TagEntry(NamedTuple):
    """One digest a tag has pointed to."""

    digest: Digest
    mtime: float
    """When the tag was (last) set to it."""
    size: int
    """Bytes of the link."""


class TagInfo(NamedTuple):
    """One tag."""

    current: Digest | None
    """What it points to; None when there is no current link, or it cannot be understood."""
    mtime: float
    """When the current link was written; 0 when there is none."""
    size: int
    """Bytes of the current link."""
    problem: Code | None
    """Why `current` is None, or why it was only understood with good will."""
    history: tuple[TagEntry, ...]
    """Every digest in its index, oldest first."""

    @property
    def targets(self) -> list[Digest]:
        """What it points to; if that cannot be understood, all it ever pointed to."""
        if self.current is not None:
            return [self.current]
        return [entry.digest for entry in self.history]


class UploadInfo(NamedTuple):
    """One upload that was begun."""

    size: int
    """Bytes of everything in its folder."""
    allocated: int
    files: int
    mtime: float
    """The latest modification of anything in it."""
    started_at: float | None
    """From its startedat file, else from a time-ordered id."""
    has_data: bool
    has_start: bool = True
    """Whether its startedat file is there and says a time."""


class HalfCopy(NamedTuple):
    """Half of a file that rsync was copying."""

    size: int
    mtime: float
    """The time of what was copied, which rsync gives to the copy."""
    changed: float
    """When rsync was last at work on it."""
    wanted_as: str | None
    """Where it was to go, when nothing lies there; None when what lies there is right."""


class LinkContent(NamedTuple):
    """What a link file says."""

    digest: Digest | None
    """What it names; understood with good will when `problem` is set; None when it cannot be."""
    problem: Code | None
    """LINK_EMPTY, LINK_INVALID or PATH_UNREADABLE; None when it holds exactly a digest."""
    text: str = ""
    """What was found or went wrong, for a finding."""


@dataclass(slots=True)
class RepositoryInventory:
    """What one repository holds."""

    name: str
    known: Digests = field(default_factory=Digests, repr=False)
    """The digests of the tree."""
    tags: dict[str, TagInfo] = field(default_factory=dict)
    revisions: DigestTable = field(init=False)
    links: dict[Digest, LinkContent] = field(default_factory=dict)
    """Revision links that do not simply hold the digest of their path."""
    layers: DigestTable = field(init=False)
    uploads: dict[str, UploadInfo] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    """Which of `_manifests`, `_layers`, `_uploads` exist."""
    has_tags_folder: bool = False
    has_history: bool = True
    """Whether the history of every tag was read; if not, only that of tags without current."""

    def __post_init__(self) -> None:
        self.revisions = DigestTable(self.known)
        self.layers = DigestTable(self.known)


@dataclass(slots=True)
class Inventory:
    """Everything one listing pass has seen."""

    url: str
    taken_at: float
    """Seconds since the epoch, UTC, when the scan began."""
    known: Digests = field(default_factory=Digests)
    """Every digest that names a blob, a revision or a layer link, and what manifests name."""
    blobs: DigestTable = field(init=False)
    repositories: dict[str, RepositoryInventory] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Paths met on the way that are not part of the layout."""
    vacant: list[str] = field(default_factory=list)
    """Folders that lack the file they exist for (`data`, `link`)."""
    empty: dict[str, float] = field(default_factory=dict)
    """Folders that hold nothing and may go -> their mtime, if `regfs.tree.leftovers` has looked."""
    temporary: dict[str, FileInfo] = field(default_factory=dict)
    """Halves of files, by path, likewise."""
    copies: dict[str, HalfCopy] = field(default_factory=dict)
    """Halves of copies by rsync that may be of no use to anybody, by path, likewise."""
    lockfiles: list[str] = field(default_factory=list)
    """Lock files of other owners, e.g. GitLab's `database-in-use`."""
    proxy_cache: bool = False
    oci_layout: bool = False
    """Whether it is an OCI layout, shown as a tree."""
    """The tree belongs to a pull-through cache, which expires blobs by itself."""
    whole: bool = True
    """Every repository was wanted; else what the others need is not known."""

    def __post_init__(self) -> None:
        self.blobs = DigestTable(self.known)

    @property
    def complete(self) -> bool:
        """Whether everything that lies in the tree could be listed."""
        return not any(finding.code in INCOMPLETE for finding in self.findings)

    @property
    def lacks_blobs(self) -> bool:
        """Whether repositories link to blobs and there is none: another disk is not mounted."""
        linked = any(one.revisions or one.layers for one in self.repositories.values())
        return linked and not self.blobs

    def hides(self, path: str) -> bool:
        """Return whether what is at a path, or below it, could not all be seen."""
        inside, places = f"{path}/", (one.path for one in self.findings if one.code in INCOMPLETE)
        return any(place.startswith(inside) or inside.startswith(f"{place}/") for place in places)


INCOMPLETE: Final = frozenset(
    {
        Code.PATH_UNREADABLE,
        Code.FOLDER_REPLACED,
        Code.SYMLINK_OUTSIDE,
        Code.SYMLINK_LOOP,
        Code.SPECIAL_FILE,
        Code.ARCHIVE_TRUNCATED,
    }
)
"""Findings that mean: something may be there that was not seen."""
