"""What the explorer can show, and what a page of it consists of; nothing is read or drawn here.

    Place   where one is: all repositories, one repository, one manifest, ...
    Listed    what is listed there: items, and how each becomes a row
    Line     one line: mark, status, size, bar, cells, name

A page may have 10^5 items, so only those on the screen become rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from regfs.digest import Digest


@dataclass(frozen=True, slots=True)
class AllRepositories:
    """The repositories of the tree."""


@dataclass(frozen=True, slots=True)
class OneRepository:
    """The tags of a repository."""

    name: str


@dataclass(frozen=True, slots=True)
class UntaggedOf:
    """The manifests of a repository that no tag reaches."""

    name: str


@dataclass(frozen=True, slots=True)
class OneManifest:
    """What an index lists, or the layers of an image."""

    name: str
    """Of the repository."""
    tag: str | None
    """What led there, if a tag points to it."""
    digest: Digest
    label: str
    """What the way to it calls it: a tag, a platform."""


@dataclass(frozen=True, slots=True)
class FilesOf:
    """A folder of an image, or of what one layer does to it."""

    name: str
    """Of the repository."""
    digest: Digest
    """Of the manifest."""
    layer: int | None
    """Index into the layers, base first; None: all of them together."""
    path: str
    """Without `/` before or behind it; empty for the root."""
    label: str


@dataclass(frozen=True, slots=True)
class TextOf:
    """The beginning of a file."""

    folder: FilesOf
    path: str


@dataclass(frozen=True, slots=True)
class NeedersOf:
    """The tags and untagged manifests that need a blob or manifest."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class KnownFindings:
    """What is known to be wrong, by the listing and by earlier verifications."""


@dataclass(frozen=True, slots=True)
class MarkedThings:
    """What is marked, and what removing it would free."""

    references: tuple[str, ...]


Place: TypeAlias = (
    AllRepositories
    | OneRepository
    | UntaggedOf
    | OneManifest
    | FilesOf
    | TextOf
    | NeedersOf
    | KnownFindings
    | MarkedThings
)


class Standing(StrEnum):
    """What is known about the content of something; the value is its sign."""

    INTACT = "✓"
    """All of it was verified, and is the same file since."""
    PARTLY = "~"
    """Some of it was verified, and no damage is known."""
    UNKNOWN = " "
    DAMAGED = "✗"


class LineColumn(NamedTuple):
    """A column between size and name."""

    heading: str
    width: int
    """Columns of the terminal."""
    least: int = 0
    """Columns of the terminal from which on it is shown."""
    right: bool = False


Details: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of a label and a text."""


class Line(NamedTuple):
    """One line of a page."""

    name: str
    size: int | None = None
    """Bytes; None if there is no such thing, or it is not known yet."""
    standing: Standing = Standing.UNKNOWN
    cells: tuple[str, ...] = ()
    """A text for each column."""
    aside: str = ""
    """What follows the name, dimmed."""
    opens: Place | None = None
    about: Digest | None = None
    """The blob or manifest it is about."""
    files: FilesOf | None = None
    """The files in it."""
    reference: str = ""
    """What removes it, if it can be removed by name."""
    faint: bool = False
    details: Details = ()


Measure: TypeAlias = Callable[[Any], int | None]
"""Returns the bytes of an item."""


@dataclass(slots=True)
class Listed:
    """What is listed at a place."""

    title: str
    """Where this is, after what its place is in: `app`, `v1`."""
    items: Sequence[Any]
    row: Callable[[Any, Measure | None], Line]
    """Makes the row of an item with the size that is asked for."""
    name: Callable[[Any], str]
    """Returns what identifies an item, what it is sorted by and searched in."""
    measures: dict[str, Measure] = field(default_factory=dict)
    """What the size of an item can be: `stored`, `unique`; the first by default."""
    columns: tuple[LineColumn, ...] = ()
    heading: str = "Name"
    note: str = ""
    """One line about all of it."""
    problems: tuple[str, ...] = ()
    """What could not be read, so that something may be missing here."""
    summary: Details = ()
    by_size: bool = False
    """Whether the largest comes first unless something else is asked for."""
    whole: bool = True
    """Whether it has everything; if not, more comes once the tree is read."""
