"""Which images hold a file: by name, by content, or both.

    find_files(graph, read, layers, FileQuery("*libssl.so*")) -> FoundFiles(files=(FoundFile, ...))

Each layer is searched once, whatever number of images has it: first its names, and of what
matches its content if that is asked for. What higher layers delete or replace is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from regfs import layout
from regfs.content.entries import EntryKind
from regfs.digest import Digest
from regfs.files.file_list import time_of
from regfs.files.layers import Layers
from regfs.files.search import FilePattern, Visibility
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.parallel import map_in_two_processes
from regfs.progress import SILENT, Progress
from regfs.reports.contents import Read
from regfs.reports.images import Image, chosen, images
from regfs.tree.registry import Registry, Target

_FORK: Final = 8 << 20
"""Bytes of layers for which a second process pays."""

_Answer: TypeAlias = tuple[list[int], list[tuple[str, str | None, str | None]]]
"""Numbers of the entries that were found in a layer, and its findings, as plain values."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file in a layer, and the images that show it."""

    path: str
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    size: int
    time: datetime | None
    target: str | None
    layer: str
    images: tuple[str, ...]
    """As `repository:tag`, with the platform if a tag leads to several images."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The report."""

    pattern: str | None
    sha256: str | None
    searched_images: int
    searched_layers: int
    files: tuple[FoundFile, ...]
    findings: tuple[Finding, ...]
    """What is wrong with layers that were searched."""


@dataclass(frozen=True, slots=True)
class FileQuery:
    """What is looked for."""

    pattern: FilePattern | None
    """None for any name."""
    sha256: Digest | None = None
    targets: tuple[Target, ...] = field(default=())
    """The images to search; none for all."""


def find_files(
    graph: Graph,
    registry: Registry,
    layers: Layers,
    wanted: FileQuery,
    progress: Progress = SILENT,
) -> FoundFiles:
    """Return the files that images have, by path, with the images that show them."""
    read: Read = registry.skim
    every = images(graph, read)
    if wanted.targets:
        every = chosen(graph, every, wanted.targets)
    digests = _ordered(graph, {digest for image in every for digest in image.layers})
    found: dict[Digest, list[int]] = {}
    findings: list[Finding] = []
    for digest, (rows, told) in zip(
        digests, _search(graph, layers, digests, wanted, progress), strict=True
    ):
        path = layout.blob_path(digest)
        news = [Finding(Code(c), path, digest, actual=a, advice=b) for c, a, b in told]
        layers.report(digest, news)
        findings += news
        if rows:
            found[digest] = rows
    pattern = None if wanted.pattern is None else wanted.pattern.text
    files = _files(every, layers, found)
    return FoundFiles(pattern, wanted.sha256, len(every), len(digests), files, tuple(findings))


def _ordered(graph: Graph, digests: set[Digest]) -> list[Digest]:
    """Return layers with the largest at both ends, so that two processes meet among small ones."""
    blobs = graph.inventory.blobs
    sizes = {one: 0 if (stored := blobs.get(one)) is None else stored.size for one in digests}
    ordered = sorted(digests, key=lambda one: (-sizes[one], one))
    return ordered[::2] + ordered[1::2][::-1]


def _search(
    graph: Graph, layers: Layers, digests: Sequence[Digest], wanted: FileQuery, progress: Progress
) -> Iterator[_Answer]:
    """Yield what is found in each layer."""

    def work(items: Iterator[int]) -> Iterator[_Answer]:
        for item in items:
            rows = list(_in_layer(layers, digests[item], wanted))
            told = [(one.code.value, one.actual, one.advice) for one in layers.told(digests[item])]
            yield rows, told

    blobs = graph.inventory.blobs
    size = sum(stored.size for one in digests if (stored := blobs.get(one)) is not None)
    progress.start("Searching layers", len(digests))
    with layers.quiet():
        yield from map_in_two_processes(
            work,
            len(digests),
            fork=size > _FORK,
            advance=lambda items: progress.advance(len(list(items))),
        )
    progress.finish()


def _in_layer(layers: Layers, digest: Digest, wanted: FileQuery) -> Iterator[int]:
    if wanted.pattern is None:
        rows: Sequence[int] | None = None
    else:
        rows = list(wanted.pattern.rows(layers.paths(digest)))
    if wanted.sha256 is None:
        yield from rows or ()
    elif rows is None or rows:
        yield from layers.with_content(digest, wanted.sha256, rows)


def _files(
    every: Sequence[Image], layers: Layers, found: dict[Digest, list[int]]
) -> tuple[FoundFile, ...]:
    """Return the files that images show, by path."""
    shown = Visibility(layers)
    names: defaultdict[tuple[Digest, int], list[str]] = defaultdict(list)
    for image in every:
        if not found.keys().isdisjoint(image.layers):
            for layer, row in shown.of(image.layers, found):
                names[image.layers[layer], row].append(image.name)
    files = []
    by_layer: defaultdict[Digest, list[int]] = defaultdict(list)
    for digest, row in names:
        by_layer[digest].append(row)
    for digest, rows in by_layer.items():
        listing = layers.listing(digest)
        for row in rows:
            one = listing[row]
            files.append(
                FoundFile(
                    one.path,
                    one.kind,
                    one.mode,
                    one.uid,
                    one.gid,
                    one.size,
                    time_of(one.mtime),
                    one.target or None,
                    digest,
                    tuple(dict.fromkeys(names[digest, row])),
                )
            )
    return tuple(sorted(files, key=lambda one: (one.path, one.layer)))
