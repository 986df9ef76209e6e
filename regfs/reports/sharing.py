"""Who shares the bytes that several need: blobs grouped by exactly who needs them. Pure.

    sharing(graph, By.REPOSITORY) -> 1.08 MB   needed by app, app-debug and base
                                     0.35 MB   needed by app and app-debug

With the unique bytes of `usage`, the groups add up to what is stored for images.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from regfs.graph import Graph
from regfs.reports.contents import holdings
from regfs.reports.usage import By, holding_key


@dataclass(frozen=True, slots=True)
class SharedGroup:
    """Blobs that the same rows need, two or more."""

    rows: tuple[str, ...]
    """Names of the first of these rows."""
    count: int
    """Number of these rows."""
    blobs: int
    bytes: int
    largest: str
    """Digest of the largest of these blobs."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The report."""

    by: By
    groups: tuple[SharedGroup, ...]
    """With the most bytes first."""
    omitted: int
    """Groups left out."""
    omitted_bytes: int


@dataclass(slots=True)
class _UserSet:
    count: int
    largest: int
    """Row of its largest blob."""
    blobs: int = 0
    bytes: int = 0


def sharing(graph: Graph, by: By, *, top: int = 60, named: int = 12) -> Sharing:
    """Group what several repositories, tags or namespaces need; `top` groups, largest first."""
    blobs, names = graph.inventory.blobs, list[str]()
    needs: list[array[int]] = []
    for name, numbers in _rows(graph, by):
        names.append(name)
        needs.append(array("I", blobs.rows_of(array("I", set(numbers)))))
    users = array("I", bytes(4 * len(blobs)))
    """Row of a blob -> how many need it."""
    marks = array("q", bytes(8 * len(blobs)))
    """Row of a blob -> the hash of who needs it."""
    for number, rows in enumerate(needs):
        for row in rows:
            users[row] += 1
            marks[row] = hash((marks[row], number))
    groups = _grouped(users, marks, blobs.sizes)
    ordered = sorted(groups, key=lambda one: (-one.bytes, one.largest))
    shown = ordered[:top]
    members = _members(needs, [one.largest for one in shown], named)
    return Sharing(
        by=by,
        groups=tuple(
            SharedGroup(
                tuple(names[row] for row in members[one.largest]),
                one.count,
                one.blobs,
                one.bytes,
                blobs.digest(one.largest),
            )
            for one in shown
        ),
        omitted=len(ordered) - len(shown),
        omitted_bytes=sum(one.bytes for one in ordered[top:]),
    )


def _rows(graph: Graph, by: By) -> Iterator[tuple[str, array[int]]]:
    """Yield each row with the numbers of the blobs that it needs."""
    found: dict[str, array[int]] = {}
    for held in holdings(graph):
        name = holding_key(held, by).name
        found.setdefault(name, array("I")).extend(graph.needed_numbers(held.manifests))
    return iter(found.items())


def _grouped(users: array[int], marks: array[int], sizes: array[int]) -> Iterable[_UserSet]:
    groups: dict[tuple[int, int], _UserSet] = {}
    for row, count in enumerate(users):
        if count < 2:
            continue
        group = groups.setdefault((count, marks[row]), _UserSet(count, row))
        group.blobs += 1
        group.bytes += sizes[row]
        if sizes[row] > sizes[group.largest]:
            group.largest = row
    return groups.values()


def _members(needs: list[array[int]], wanted: list[int], named: int) -> dict[int, list[int]]:
    """Return for some blobs which of the rows need them; the first few of each."""
    found: dict[int, list[int]] = {row: [] for row in wanted}
    for number, rows in enumerate(needs):
        for row in found.keys() & set(rows):
            if len(found[row]) < named:
                found[row].append(number)
    return found
