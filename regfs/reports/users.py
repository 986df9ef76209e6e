"""Who needs each blob: which tags, and which repositories; for all blobs at once.

    users = users_of(graph)
    users.holders[7]                         ("app", "v1")
    users.tags.of(number)                    [7, 8]        places in `holders`
    users.repositories.count(number)         1

Blobs that the same tags need share one set: a million blobs take 8 MB, and their sets little.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from regfs.graph import Graph
from regfs.reports.contents import Holding, holdings


class Holder(NamedTuple):
    """What a blob is needed by: a tag, or what is untagged in a repository."""

    repository: str
    tag: str | None
    """None for what is untagged."""


class Sets:
    """For each number a set of other numbers, of which most are the same."""

    def __init__(self, length: int) -> None:
        self._places = array("I", bytes(4 * length))
        """Number -> its set; 0 is the empty one."""
        self._before = array("I", [0])
        """Set -> the set it has all of but its largest element."""
        self._last = array("I", [0])
        self._counts = array("I", [0])
        self._next: dict[tuple[int, int], int] = {}

    def add(self, numbers: Iterable[int], element: int) -> None:
        """Add an element, no smaller than any before it, to the sets of these numbers."""
        places, following = self._places, self._next
        for number in numbers:
            if number >= len(places):
                places.extend(bytes(number + 1 - len(places)))
            place = places[number]
            if place and self._last[place] == element:
                continue
            found = following.get((place, element))
            if found is None:
                found = following[place, element] = len(self._before)
                self._before.append(place)
                self._last.append(element)
                self._counts.append(self._counts[place] + 1)
            places[number] = found

    def place(self, number: int) -> int:
        """Return which set a number has; numbers with the same one have the same set."""
        return self._places[number] if number < len(self._places) else 0

    def count(self, number: int) -> int:
        """Return how many elements the set of a number has."""
        return self._counts[self.place(number)]

    def of(self, number: int) -> list[int]:
        """Return the elements of the set of a number, ascending."""
        found, place = list[int](), self.place(number)
        while place:
            found.append(self._last[place])
            place = self._before[place]
        return found[::-1]


class Users(NamedTuple):
    """Who needs each blob, by the numbers of `Inventory.known`."""

    holders: Sequence[Holder]
    """Repository by repository."""
    names: Sequence[str]
    """Of the repositories that hold anything."""
    tags: Sets
    """Blob -> places in `holders`."""
    repositories: Sets
    """Blob -> places in `names`."""


def users_of(graph: Graph, among: Iterable[Holding] | None = None) -> Users:
    """Find out who needs each blob; of all that holds anything, or of some holdings."""
    length = len(graph.inventory.known)
    users = Users([], [], Sets(length), Sets(length))
    holders, names = list[Holder](), list[str]()
    for held in holdings(graph) if among is None else among:
        if not names or names[-1] != held.repository:
            names.append(held.repository)
        numbers = set(graph.needed_numbers(held.manifests))
        users.tags.add(numbers, len(holders))
        users.repositories.add(numbers, len(names) - 1)
        holders.append(Holder(held.repository, held.tag))
    return users._replace(holders=holders, names=names)
