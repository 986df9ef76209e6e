"""Who shares the bytes that several need: blobs grouped by exactly who needs them. Pure.

    sharing(graph, By.REPOSITORY) -> 1.08 MB   needed by app, app-debug and base
                                     0.35 MB   needed by app and app-debug

With the unique bytes of `usage`, the groups add up to what is stored for images.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from regfs.graph import Graph
from regfs.reports.contents import holdings
from regfs.reports.usage import By, holding_key
from regfs.reports.users import Sets


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


def sharing(graph: Graph, by: By, *, top: int = 60, named: int = 12) -> Sharing:
    """Group what several repositories, tags or namespaces need; `top` groups, largest first."""
    blobs, names = graph.inventory.blobs, list[str]()
    users = Sets(len(blobs))
    """Row of a blob -> places in `names`."""
    for name, numbers in _rows(graph, by):
        users.add(blobs.rows_of(array("I", set(numbers))), len(names))
        names.append(name)
    shared: dict[int, list[int]] = {}
    for row in range(len(blobs)):
        if users.count(row) > 1:
            shared.setdefault(users.place(row), []).append(row)
    groups = [_group(graph, users, names, rows, named) for rows in shared.values()]
    groups.sort(key=lambda one: (-one.bytes, one.largest))
    omitted_bytes = sum(one.bytes for one in groups[top:])
    return Sharing(by, tuple(groups[:top]), max(0, len(groups) - top), omitted_bytes)


def _group(graph: Graph, users: Sets, names: list[str], rows: list[int], named: int) -> SharedGroup:
    """Return the group of some blobs that the same set of users needs."""
    blobs = graph.inventory.blobs
    largest = max(rows, key=blobs.sizes.__getitem__)
    places = users.of(largest)
    return SharedGroup(
        rows=tuple(names[place] for place in places[:named]),
        count=len(places),
        blobs=len(rows),
        bytes=sum(blobs.sizes[row] for row in rows),
        largest=blobs.digest(largest),
    )


def _rows(graph: Graph, by: By) -> Iterable[tuple[str, array[int]]]:
    """Return each row with the numbers of the blobs that it needs."""
    found: dict[str, array[int]] = {}
    for held in holdings(graph):
        name = holding_key(held, by).name
        found.setdefault(name, array("I")).extend(graph.needed_numbers(held.manifests))
    return found.items()
