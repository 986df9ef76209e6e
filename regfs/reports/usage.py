"""Who uses how many bytes.

    apparent   each image's bytes, added up as if nothing were shared
    stored     the same bytes, once
    unique     stored bytes that no other row needs
    shared     stored - unique

A row is a repository, a tag, a namespace, a media type or a layer. What is
needed but missing is listed separately, and not counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.names import natural
from regfs.reports.contents import (
    Holding,
    Read,
    holdings,
    is_alias,
    is_meant,
    missing,
    weight,
)
from regfs.reports.disk import Disk
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import DigestTable
from regfs.tree.registry import Target


class By(StrEnum):
    """What a row is."""

    REPOSITORY = "repository"
    TAG = "tag"
    LAYER = "layer"
    NAMESPACE = "namespace"
    MEDIA_TYPE = "media-type"


class Sort(StrEnum):
    """What rows are sorted by; sizes with the largest first."""

    STORED = "stored"
    APPARENT = "apparent"
    UNIQUE = "unique"
    SHARED = "shared"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one repository, tag, namespace, media type or layer uses."""

    name: str
    repository: str | None
    tag: str | None
    """Of a row by tag; None there for what is untagged."""
    digest: str | None
    """Of a layer."""
    uses: int
    """Tags of a repository, tag or namespace; of a layer or media type how often it is named."""
    blobs: int
    apparent: int
    stored: int
    unique: int
    shared: int
    missing_blobs: int
    missing_bytes: int
    """As far as manifests tell the sizes of what is missing."""


@dataclass(frozen=True, slots=True)
class Sum:
    """All that was asked for, together."""

    tags: int
    untagged: int
    """Repositories of which untagged manifests are counted too."""
    blobs: int
    apparent: int
    stored: int
    unique: int
    """Stored bytes that nothing else needs."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The report."""

    by: By
    rows: tuple[UsageRow, ...]
    omitted: int
    """Rows left out of `rows` by the limit."""
    sum: Sum
    missing: dict[str, int]
    """Digest -> bytes, of everything that is needed and not there."""
    disk: Disk | None
    """None when only some images were asked for."""


class Options(NamedTuple):
    """How rows are made and chosen."""

    by: By = By.REPOSITORY
    sort: Sort = Sort.STORED
    top: int | None = None


class Key(NamedTuple):
    """What a row is about."""

    name: str
    repository: str | None = None
    tag: str | None = None
    digest: str | None = None


@dataclass(slots=True)
class _Tally:
    uses: int = 0
    apparent: int = 0
    numbers: array[int] = field(default_factory=lambda: array("I"))
    """Of blobs, some of them repeatedly."""
    missing: dict[str, int] = field(default_factory=dict)

    def rows(self, blobs: DigestTable) -> Sequence[int]:
        """Return the rows of the blobs that are there, each once."""
        return blobs.rows_of(array("I", set(self.numbers)))


_Tallies = dict[Key, _Tally]


def usage(
    graph: Graph,
    read: Read,
    targets: Iterable[Target] = (),
    options: Options | None = None,
    disk: Disk | None = None,
) -> Usage:
    """Count what images use; only of `targets` when there are any."""
    options = options or Options()
    count = _Count(graph, read, options.by)
    rest = _Count(graph, read, options.by)
    wanted = list(targets)
    for held in holdings(graph):
        is_chosen = not wanted or any(is_meant(graph, held, target) for target in wanted)
        (count if is_chosen else rest).add(held)
    rows = sorted(_rows(graph, count.tallies(), rest.tallies()), key=_order(options.sort))
    shown = rows if options.top is None else rows[: options.top]
    return Usage(
        by=options.by,
        rows=tuple(shown),
        omitted=len(rows) - len(shown),
        sum=count.sum(rest),
        missing=dict(sorted(count.missing.items())),
        disk=disk,
    )


# -- counting -------------------------------------------------------------------


class _Count:
    """What some holdings use, all together and row by row."""

    def __init__(self, graph: Graph, read: Read, by: By) -> None:
        self._graph = graph
        self._read = read
        self._by = by
        self._tags = self._untagged = self._apparent = 0
        self._needed = DigestSet(graph.inventory.known)
        self._tallies: _Tallies = {}
        self._times: Counter[int] = Counter()
        """Number of a manifest -> by how many holdings it is held."""
        self.missing: dict[str, int] = {}
        """Digest -> bytes."""

    def add(self, held: Holding) -> None:
        """Count what one tag holds, or what is untagged in one repository."""
        graph = self._graph
        numbers = graph.needed_numbers(held.manifests)
        self._tags += held.tag is not None
        self._untagged += held.tag is None
        self._needed.update(numbers)
        apparent = sum(weight(graph, manifest) for manifest in held.manifests)
        self._apparent += apparent
        absent: dict[str, int] = {}
        for manifest in held.manifests:
            _note_missing(absent, missing(graph, manifest, self._read))
        _note_missing(self.missing, absent.items())
        if self._by in (By.LAYER, By.MEDIA_TYPE):
            self._times.update(map(graph.inventory.known.add, held.manifests))
            return
        tally = self._tallies.setdefault(holding_key(held, self._by), _Tally())
        tally.uses += held.tag is not None
        tally.numbers.extend(numbers)
        tally.apparent += apparent
        _note_missing(tally.missing, absent.items())

    def tallies(self) -> _Tallies:
        """Return what was counted for each row."""
        if self._times:
            return _tally_content(self._graph, self._read, self._times, self._by)
        return self._tallies

    def sum(self, rest: _Count) -> Sum:
        """Return what was counted altogether; `rest` is everything else."""
        blobs = self._graph.inventory.blobs
        needed = blobs.rows_of(array("I", self._needed.numbers()))
        unique = blobs.rows_of(array("I", self._needed.numbers(without=rest._needed)))
        return Sum(
            tags=self._tags,
            untagged=self._untagged,
            blobs=len(needed),
            apparent=self._apparent,
            stored=sum(map(blobs.sizes.__getitem__, needed)),
            unique=sum(map(blobs.sizes.__getitem__, unique)),
        )


def _note_missing(noted: dict[str, int], found: Iterable[tuple[str, int]]) -> None:
    """Note what is missing; of the sizes that manifests give it, the largest counts."""
    for digest, size in found:
        noted[digest] = max(size, noted.get(digest, 0))


def holding_key(held: Holding, by: By) -> Key:
    """Return the row to which a holding counts: a repository, a tag or a namespace."""
    if by is By.TAG:
        return Key(str(held), held.repository, held.tag)
    if by is By.REPOSITORY:
        return Key(held.repository, held.repository)
    namespace, slash, _ = held.repository.partition("/")
    return Key(namespace + slash)


def _tally_content(graph: Graph, read: Read, times: Counter[int], by: By) -> _Tallies:
    tallies: _Tallies = {}
    blobs, known = graph.inventory.blobs, graph.inventory.known
    for number, count in times.items():
        manifest = known[number]
        layers = by is By.LAYER
        parts = list(_layers(graph, manifest) if layers else _typed(graph, read, manifest))
        for key, digest in parts:
            tally = tallies.setdefault(key, _Tally())
            tally.uses += count
            row = blobs.find(digest)
            if row is not None:
                tally.numbers.append(blobs.numbers[row])
                tally.apparent += blobs.sizes[row] * count
        lacks = dict(missing(graph, manifest, read))
        for key, digest in parts:
            if digest in lacks:
                _note_missing(tallies[key].missing, [(digest, lacks[digest])])
    return tallies


_Part = tuple[Key, Digest]


def _layers(graph: Graph, manifest: Digest) -> Iterator[_Part]:
    for leaf in graph.leaves(manifest):
        if leaf.role is not Role.CONFIG and not is_alias(graph, leaf.digest):
            yield Key(leaf.digest, digest=leaf.digest), leaf.digest


def _typed(graph: Graph, read: Read, manifest: Digest) -> Iterator[_Part]:
    info = graph.manifests.get(manifest)
    if not is_alias(graph, manifest):
        yield _type_key(info.media_type if info else ""), manifest
    types = _types_of(read, manifest) if info else {}
    for leaf in graph.leaves(manifest):
        if not is_alias(graph, leaf.digest):
            yield _type_key(types.get(leaf.digest, "")), leaf.digest


def _type_key(media_type: str) -> Key:
    return Key(media_type or "(not known)")


def _types_of(read: Read, manifest: Digest) -> dict[Digest, str]:
    try:
        return {one.digest: one.media_type for one in read(manifest).references()}
    except RegfsError:
        return {}


def _rows(graph: Graph, tallies: _Tallies, others: _Tallies) -> Iterator[UsageRow]:
    """Yield the rows of some tallies; blobs of the same row or another one may be in `others`."""
    blobs = graph.inventory.blobs
    sizes = blobs.sizes
    users = array("I", bytes(4 * len(blobs)))
    """Row of a blob -> how many rows of the report need it."""
    for key in {**tallies, **others}:
        tally = _merged(tallies.get(key), others.get(key))
        for row in tally.rows(blobs):
            users[row] += 1
    for key, tally in tallies.items():
        rows = tally.rows(blobs)
        stored = sum(map(sizes.__getitem__, rows))
        unique = sum(sizes[row] for row in rows if users[row] == 1)
        yield UsageRow(
            name=key.name,
            repository=key.repository,
            tag=key.tag,
            digest=key.digest,
            uses=tally.uses,
            blobs=len(rows),
            apparent=tally.apparent,
            stored=stored,
            unique=unique,
            shared=stored - unique,
            missing_blobs=len(tally.missing),
            missing_bytes=sum(tally.missing.values()),
        )


def _merged(one: _Tally | None, other: _Tally | None) -> _Tally:
    """Return the blobs of two tallies."""
    if one is None or other is None:
        return one or other or _Tally()
    return _Tally(numbers=one.numbers + other.numbers)


def _order(sort: Sort) -> Callable[[UsageRow], Any]:
    if sort is Sort.NAME:
        return lambda row: natural(row.name)
    return lambda row: (-int(getattr(row, sort.value)), row.name)
