"""Where the bytes are: every blob in exactly one area, by who needs it.

    everything
    |- app                       only this repository needs it
    |  |- v1                     only this tag does
    |  `- v1, v2                 these tags do, and nobody else
    |- shared by repositories
    |  `- app, web               both of them, and nobody else
    |- unreferenced              nothing needs it
    `- uncertain                 nothing that can be read needs it; regfs keeps it

The areas of a level add up to the one around them, so that a treemap of a registry in which
nearly all is shared shows who shares what. A small area among very many is put together with
those that as many users share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from regfs.graph import Graph
from regfs.names import natural
from regfs.reports.contents import doubtful
from regfs.reports.users import Users

GROUPS: Final = 200
"""Sets of users that have areas of their own beside each other; the smaller ones are put
together."""
_NAMED: Final = 3
"""Users that the name of an area gives."""
_SPANS: Final = ((2, 2), (3, 5), (6, 10), (11, 30), (31, 100), (101, 1 << 32))
"""From how many to how many users the areas have that are put together."""


class AreaKind(StrEnum):
    """What all blobs of an area have in common."""

    REGISTRY = "registry"
    REPOSITORY = "repository"
    TAG = "tag"
    UNTAGGED = "untagged"
    SHARED = "shared"
    UNREFERENCED = "unreferenced"
    UNCERTAIN = "uncertain"


@dataclass(slots=True)
class Area:
    """Some blobs, or some areas."""

    kind: AreaKind
    name: str
    users: int = 0
    """By how many tags or repositories each of its blobs is needed, where that is what they
    have in common; at least so many."""
    bytes: int = 0
    blobs: int = 0
    areas: list[Area] = field(default_factory=list)
    """The largest first."""
    rows: list[int] = field(default_factory=list)
    """Rows of `Inventory.blobs` that are in it directly, the largest first."""


def areas(graph: Graph, users: Users, among: Collection[int] | None = None) -> Area:
    """Return everything as one area, or only the blobs in some rows of `Inventory.blobs`."""
    blobs = graph.inventory.blobs
    top = Area(AreaKind.REGISTRY, "")
    sorter = _Sorter(users, top)
    unsure = {blobs.find(digest) for digest in doubtful(graph)}
    rows = range(len(blobs)) if among is None else among
    order = sorted(rows, key=lambda row: (-blobs.sizes[row], row))
    for row in order:
        number = blobs.numbers[row]
        if users.tags.count(number):
            area = sorter.used(number)
        else:
            area = sorter.unused(is_unsure=row in unsure)
        area.rows.append(row)
        area.bytes += blobs.sizes[row]
    sorter.arrange()
    return top


class _Sorter:
    """Finds the area of each blob."""

    def __init__(self, users: Users, top: Area) -> None:
        self._users = users
        self._top = top
        self._words = [one.tag or "untagged" for one in users.holders]
        self._found: dict[object, Area] = {}

    def used(self, number: int) -> Area:
        """Return the area of a blob that somebody needs."""
        users = self._users
        tags, repositories = users.tags, users.repositories
        if repositories.count(number) > 1:
            shared = self._area("shared", self._top, AreaKind.SHARED, lambda: "")
            return self._group(("shared", repositories.place(number)), shared, repositories.of,
                               users.names, number)  # fmt: skip
        name = users.names[repositories.of(number)[0]]
        home = self._area(name, self._top, AreaKind.REPOSITORY, lambda: name, 1)
        if tags.count(number) > 1:
            return self._group(("tags", tags.place(number)), home, tags.of, self._words, number)
        place = tags.of(number)[0]
        tag = users.holders[place].tag
        kind = AreaKind.UNTAGGED if tag is None else AreaKind.TAG
        return self._area(("tag", place), home, kind, lambda: tag or "untagged", 1)

    def unused(self, *, is_unsure: bool) -> Area:
        """Return the area of a blob that nobody needs for sure."""
        kind = AreaKind.UNCERTAIN if is_unsure else AreaKind.UNREFERENCED
        return self._area(kind, self._top, kind, lambda: kind.value)

    def _group(
        self,
        key: object,
        home: Area,
        of: Callable[[int], list[int]],
        words: Sequence[str],
        number: int,
    ) -> Area:
        if (found := self._found.get(key)) is not None:
            return found
        places = of(number)
        return self._area(key, home, AreaKind.SHARED, lambda: _names(words, places), len(places))

    def _area(
        self, key: object, home: Area, kind: AreaKind, name: Callable[[], str], users: int = 0
    ) -> Area:
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Area(kind, name(), users)
            home.areas.append(found)
        return found

    def arrange(self) -> None:
        """Add everything up and put the largest first."""
        for area in self._top.areas:
            _add_up(area)
        _add_up(self._top)


def _names(words: Sequence[str], places: Sequence[int]) -> str:
    """Return the names of some users: `app, lib, web and 7 more`."""
    shown = sorted((words[place] for place in places), key=natural)
    more = len(shown) - _NAMED
    return ", ".join(shown[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _add_up(area: Area) -> None:
    area.areas.sort(key=lambda one: (-_bytes(one), natural(one.name)))
    _put_together(area)
    area.bytes = _bytes(area)
    area.blobs = len(area.rows) + sum(_count(one) for one in area.areas)
    for one in area.areas:
        one.blobs = _count(one)


def _bytes(area: Area) -> int:
    return sum(map(_bytes, area.areas)) if area.areas else area.bytes


def _count(area: Area) -> int:
    return sum(map(_count, area.areas)) + len(area.rows)


def _put_together(area: Area) -> None:
    """Put the small ones of very many shared areas together, by how many users share them."""
    shared = [one for one in area.areas if one.kind is AreaKind.SHARED and one.rows]
    small = shared[GROUPS:]
    if not small:
        return
    gone = set(map(id, small))
    area.areas = [one for one in area.areas if id(one) not in gone]
    for least, most in _SPANS:
        found = [one for one in small if least <= one.users <= most]
        if found:
            many = (
                f"{least}" if least == most else f"{least} to {most}" if most < 101 else "over 100"
            )
            merged = Area(AreaKind.SHARED, f"{len(found):,} other groups of {many}", least)
            merged.rows = [row for one in found for row in one.rows]
            merged.bytes = sum(one.bytes for one in found)
            area.areas.append(merged)
    area.areas.sort(key=lambda one: (-_bytes(one), natural(one.name)))
