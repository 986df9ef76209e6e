"""What one listing pass over a registry tree has seen: plain data, and no disk.

    Inventory
        .blobs         digest -> FileInfo of blobs/<algorithm>/<xx>/<hex>/data
        .repositories  name -> RepositoryInventory (tags, revisions, layers, uploads)
        .findings      what could not be listed, or does not belong

How a tree is listed is in `regfs.tree.scan`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar, cast

from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.stores import Leaves

Value = TypeVar("Value")


class FileInfo(NamedTuple):
    """What listing tells of one file."""

    size: int
    mtime: float
    allocated: int
    """Bytes of disk blocks; -1 where the store has no such thing."""


Ask = Callable[[list[Digest]], Iterable[tuple[Digest, int, float, int]]]
"""Tells of the files of digests what `FileInfo` does; leaves out those of which there is nothing
to tell."""


class DigestTable(Mapping[Digest, FileInfo]):
    """Files named by digest, as columns: a million cost 200 MB less than objects would.

    Every digest has a number, in order of arrival, that indexes the columns.
    With `ask`, what was not told while listing is asked for when it is wanted: then a
    digest that is in the table may turn out to have no file, and `get` gives None.
    """

    __slots__ = ("allocated", "ask", "digests", "mtimes", "numbers", "sizes")

    def __init__(self, ask: Ask | None = None) -> None:
        self.ask = ask
        self.digests: list[Digest] = []
        """By number."""
        self.numbers: dict[Digest, int] = {}
        self.sizes = array("q")
        self.mtimes = array("d")
        self.allocated = array("q")

    def extend(self, digests: list[Digest], leaves: Leaves) -> None:
        """Add one folder's files; `digests` runs parallel to the columns of `leaves`."""
        if len(set(digests)) < len(digests) or not self.numbers.keys().isdisjoint(digests):
            # A folder that changes while it is read may give a name twice.
            fresh: dict[Digest, int] = {}
            for row, digest in enumerate(digests):
                if digest not in self.numbers:
                    fresh.setdefault(digest, row)
            digests, leaves = list(fresh), rows_of(leaves, fresh.values())
        first = len(self.numbers)
        self.digests.extend(digests)
        self.numbers.update(zip(digests, range(first, first + len(digests)), strict=True))
        self.sizes.extend(leaves.sizes)
        self.mtimes.extend(leaves.mtimes)
        self.allocated.extend(leaves.allocated)

    def add_unasked(self, digests: list[Digest]) -> None:
        """Add digests of which nothing but the name is known yet."""
        fresh = [digest for digest in digests if digest not in self.numbers]
        first = len(self.numbers)
        self.digests.extend(fresh)
        self.numbers.update(zip(fresh, range(first, first + len(fresh)), strict=True))
        for column in (self.sizes, self.mtimes, self.allocated):
            column.frombytes(_UNASKED.tobytes() * len(fresh))

    def __getitem__(self, digest: Digest) -> FileInfo:
        number = self.numbers[digest]
        if self.ask is not None and self.sizes[number] == _UNASKED[0]:
            self.fetch([digest])
        if self.sizes[number] == _ABSENT:
            raise KeyError(digest)
        return FileInfo(self.sizes[number], self.mtimes[number], self.allocated[number])

    def own(self, texts: Iterable[str]) -> list[Digest]:
        """Return digests, as the objects of this table where it has them: a million take 120 MB."""
        numbers, digests = self.numbers, self.digests
        return [
            Digest(text) if (number := numbers.get(cast(Digest, text))) is None else digests[number]
            for text in texts
        ]

    def fetch(self, digests: Iterable[Digest]) -> None:
        """Ask about many digests at once, where that is still to be done."""
        if self.ask is not None:
            unasked = [d for d in digests if self.sizes[self.numbers[d]] == _UNASKED[0]]
            for digest in unasked:
                self.sizes[self.numbers[digest]] = _ABSENT
            for digest, size, mtime, allocated in self.ask(unasked):
                number = self.numbers[digest]
                self.sizes[number] = size
                self.mtimes[number] = mtime
                self.allocated[number] = allocated

    def rows(self, digests: Collection[Digest]) -> Iterator[tuple[Digest, int, float]]:
        """Yield each of some digests that has a file, with its size and time."""
        self.fetch(digests)
        for digest in digests:
            number = self.numbers[digest]
            if (size := self.sizes[number]) != _ABSENT:
                yield digest, size, self.mtimes[number]

    def __iter__(self) -> Iterator[Digest]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, digest: object) -> bool:
        return digest in self.numbers


_UNASKED: Final = array("q", [-2])
"""The size of a file that nobody has asked about."""
_ABSENT: Final = -3
"""The size of a file that was asked about, and of which there is nothing to tell."""


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
    tags: dict[str, TagInfo] = field(default_factory=dict)
    revisions: DigestTable = field(default_factory=DigestTable)
    links: dict[Digest, LinkContent] = field(default_factory=dict)
    """Revision links that do not simply hold the digest of their path."""
    layers: DigestTable = field(default_factory=DigestTable)
    uploads: dict[str, UploadInfo] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    """Which of `_manifests`, `_layers`, `_uploads` exist."""
    has_tags_folder: bool = False
    has_history: bool = True
    """Whether the history of every tag was read; if not, only that of tags without current."""
    history_bytes: int = 0
    """Bytes of the links in all tag indexes that were read."""


@dataclass(slots=True)
class Inventory:
    """Everything one listing pass has seen."""

    url: str
    taken_at: float
    """Seconds since the epoch, UTC, when the scan began."""
    blobs: DigestTable = field(default_factory=DigestTable)
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
    """The tree belongs to a pull-through cache, which expires blobs by itself."""
    whole: bool = True
    """Every repository was wanted; else what the others need is not known."""

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
    }
)
"""Findings that mean: something may be there that was not seen."""
