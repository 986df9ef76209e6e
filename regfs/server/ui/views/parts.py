"""Common parts of views: rights, links, pages of a long list, sortable columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Generic, NamedTuple, TypeVar

from regfs import layout
from regfs.digest import Digest
from regfs.reports.images import Image
from regfs.reports.usage import UsageRow
from regfs.server.ui import addresses
from regfs.server.ui.own import OwnUsage
from regfs.server.ui.snapshot import Snapshot
from regfs.tree.inventory import RepositoryInventory

ROWS: Final = 100
"""Rows of one page."""
LISTED: Final = 200
"""Rows of a list that has no pages."""

Item = TypeVar("Item")
Other = TypeVar("Other")


class Look:
    """A snapshot as one user may see it."""

    def __init__(self, snapshot: Snapshot, may_read: Callable[[str], bool] | None = None) -> None:
        self.snapshot = snapshot
        self._may_read = may_read

    def reads(self, name: str | None) -> bool:
        """Return whether a repository may be shown."""
        return name is not None and (self._may_read is None or self._may_read(name))

    def repository(self, name: str) -> RepositoryInventory | None:
        """Return a repository; None if it does not exist or may not be shown."""
        return self.snapshot.inventory.repositories.get(name) if self.reads(name) else None

    @cached_property
    def repositories(self) -> dict[str, RepositoryInventory]:
        """All repositories that may be shown."""
        every = self.snapshot.inventory.repositories
        if self._may_read is None:
            return every
        return {name: one for name, one in every.items() if self._may_read(name)}

    @cached_property
    def everything(self) -> bool:
        """Whether everything may be shown."""
        return len(self.repositories) == len(self.snapshot.inventory.repositories)

    @cached_property
    def images(self) -> list[Image]:
        """All images that may be shown."""
        if self.everything:
            return self.snapshot.images
        own = self.snapshot.own_images
        return [image for image in own if image.repository in self.repositories]

    def images_of(self, name: str) -> list[Image]:
        """Return the images of a repository that may be shown."""
        return self.once("images by repository", self._by_repository).get(name, [])

    def _by_repository(self) -> dict[str, list[Image]]:
        found: dict[str, list[Image]] = {}
        for image in self.images:
            found.setdefault(image.repository, []).append(image)
        return found

    def once(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """Return what is worked out once for all who may see the same."""
        scope = None if self.everything else frozenset(self.repositories)
        return self.snapshot.derived((key, scope), make)

    def has(self, name: str, digest: Digest) -> bool:
        """Return whether a repository itself has a blob or manifest."""
        return self.snapshot.own.has(name, digest)

    def holds(self, digest: Digest) -> bool:
        """Return whether a blob may be shown: some repository that may be shown has it."""
        return self.everything or any(self.has(name, digest) for name in self.repositories)


Usage = UsageRow | OwnUsage


def usage_of(look: Look) -> Mapping[str, Usage]:
    """Return what each repository uses: as `regfs du` counts, for those who may see everything."""
    if look.everything:
        return {row.name: row for row in look.snapshot.usage_repository.rows}
    return {name: look.snapshot.own.usage(name) for name in look.repositories}


class Hyperlink(NamedTuple):
    """Text with a link."""

    text: str
    href: str


_LEVELS: Final = (2, 3, 6, 21)
"""The numbers of users from which on a deeper level begins."""
LEVELS: Final = ("1", "2", "3 to 5", "6 to 20", "more than 20")
"""Users of each level, in words."""


def level_of(users: int) -> int:
    """Return the level of sharing, from 0 (one user) to 4, of what so many need."""
    return bisect_right(_LEVELS, users)


class DiskPath(NamedTuple):
    """Where something is on the disk."""

    what: str
    path: str
    """Below `docker/registry/v2`."""
    holds: str = ""
    """The content of the file, if it is a link."""


def image_link(image: Image) -> Hyperlink:
    """Return a link to an image."""
    if image.tag is None:
        return Hyperlink(image.name, addresses.of_manifest(image.repository, image.top))
    href = addresses.of_tag(image.repository, image.tag)
    of = image.manifest if image.manifest != image.top else None
    return Hyperlink(image.name, addresses.with_query(href, of=of))


def below(path: str) -> str:
    """Return a path as pages show it: from `docker/registry/v2` on."""
    return path.removeprefix(layout.PREFIX + "/")


def blob_path(digest: Digest | str) -> str:
    """Return where a blob is on the disk."""
    return below(layout.blob_path(Digest(digest)))


@dataclass(frozen=True, slots=True)
class Few(Generic[Item]):
    """The first few of what may be very many."""

    shown: tuple[Item, ...]
    omitted: int

    @classmethod
    def of(cls, every: Sequence[Item], most: int = LISTED) -> Few[Item]:
        """Return the first `most` of them."""
        return cls(tuple(every[:most]), max(len(every) - most, 0))


@dataclass(frozen=True, slots=True)
class PagedRows(Generic[Item]):
    """One page of a long list."""

    rows: tuple[Item, ...]
    first: int
    """The number of its first row, from 1."""
    total: int
    previous: str | None
    following: str | None

    @property
    def last(self) -> int:
        """The number of its last row."""
        return self.first + len(self.rows) - 1

    def replaced(self, rows: Iterable[Other]) -> PagedRows[Other]:
        """Return the same page with other rows."""
        return PagedRows(tuple(rows), self.first, self.total, self.previous, self.following)

    @property
    def several(self) -> bool:
        """Whether there is more than this page."""
        return self.previous is not None or self.following is not None


def page_of(
    rows: Sequence[Item], number: int, address: Callable[[int], str], size: int = ROWS
) -> PagedRows[Item]:
    """Return page `number`, from 1, or the last one if there are fewer."""
    pages = max(-(-len(rows) // size), 1)
    number = min(max(number, 1), pages)
    first = (number - 1) * size
    return PagedRows(
        rows=tuple(rows[first : first + size]),
        first=first + 1 if rows else 0,
        total=len(rows),
        previous=address(number - 1) if number > 1 else None,
        following=address(number + 1) if number < pages else None,
    )


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column that rows can be sorted by."""

    key: str
    label: str
    href: str
    sorted: str
    """`ascending`, `descending` or empty."""
    number: bool
    """Whether it holds numbers."""
    minor: bool
    """Whether narrow screens hide it."""


class Order(NamedTuple):
    """What rows are sorted by."""

    key: str
    reverse: bool
    """Whether the usual order is reversed: names from z, sizes from the smallest."""

    @classmethod
    def parse(cls, text: str, known: Sequence[str], usual: str) -> Order:
        """Parse `?sort=`: a key, or `-` and a key."""
        key = text.removeprefix("-")
        return cls(key, text.startswith("-")) if key in known else cls(usual, False)

    def __str__(self) -> str:
        return f"-{self.key}" if self.reverse else self.key

    def turned(self, key: str) -> Order:
        """Return the order that a click on a column gives."""
        return Order(key, self.key == key and not self.reverse)
