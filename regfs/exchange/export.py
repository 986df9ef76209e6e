"""Writing a copy of a tree, or of a few images, where it can be restored or served from.

    what is there     of an earlier attempt, by size: everything is named by its digest
    blobs             each hashed as it passes; a wrong one is a finding, and not written
    barrier           all of these are durable
    links, then tags  only those that lead to a blob which is there

So an export that was broken off leaves content that nothing refers to, and the same command goes
on. An archive begins anew: it has its name only when it is whole.

What a killed export was writing lies beside its place under a name that only regfs gives
(`stores.unfinished`). The next one deletes it: in a place that is marked as a copy whose export
has not ended, under its lock, so nobody is still writing it, and nothing else has such a name.

Nothing is ever removed from a copy, and a tag in it that points elsewhere is moved only if that
is asked for. A place that holds something else is refused: `.regfs/export.json` says that what
lies there is a copy. While it is written its lock is held, so that no collection takes the blobs
for garbage whose links are still to come.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import PathDenied, Refused, StoreFull, printable
from regfs.exchange import formats
from regfs.exchange.copying import BlobCopier, CopyItem
from regfs.exchange.former import require_folder, write_list
from regfs.exchange.media import Medium, put
from regfs.exchange.report import BlobCount, ExportReport, Format
from regfs.exchange.selection import Wanted, select
from regfs.findings import Finding
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.runs.lock import exclusive
from regfs.stores import FileKind, WritableStore, ignore
from regfs.stores.unfinished import finished_name
from regfs.tree.copied import MARK, is_copy, is_unfinished_copy
from regfs.tree.registry import Registry, Target
from regfs.units import rfc3339

_NAMED: Final = 3
"""Tags that a refusal names."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export."""

    form: Format = Format.TREE
    former: Mapping[Digest, int] = field(default_factory=dict)
    """Blobs to leave out -> their bytes. Manifests go along all the same: without them nobody
    could tell what an export needs."""
    list_file: str | None = None
    """Where to write which blobs the export stands for, those left out included."""
    replace: bool = False
    """Whether to move tags that are there already and point elsewhere."""


def export(
    graph: Graph,
    registry: Registry,
    targets: Sequence[Target],
    medium: Medium,
    options: ExportOptions,
    progress: Progress = SILENT,
) -> ExportReport:
    """Write what targets reach, or everything, to a medium.

    Raises:
        ReferenceInvalid: a target is a digest alone.
        Refused: something else is there, or tags point elsewhere; nothing was written.
        LockHeld: another one writes there.
        StoreError: the medium cannot be written, or the source is down; what was written stays.
    """
    with ExitStack() as stack:
        stack.callback(medium.abandon)
        if options.list_file is not None:
            require_folder(options.list_file)
        if medium.store is not None:
            _occupy(medium.store, stack)
        selection = select(graph, registry, targets)
        work = _Export(graph, registry, medium, selection, options, progress)
        work.refuse_moving()
        try:
            done = work.run()
        except StoreFull as error:
            if medium.store is None:
                raise
            words = "what was written stays, and the same command goes on"
            raise StoreFull(f"{printable(medium.url)}: {error}; {words}") from error
        medium.finish()
    return done


def _occupy(store: WritableStore, stack: ExitStack) -> None:
    """Be the only one who writes to a place, which is empty or holds a copy.

    Raises:
        Refused, LockHeld: something else is there, or another one writes.
        PathDenied: this user may not; the message names the place, for there are two.
    """
    try:
        _require_own(store)
        stack.enter_context(exclusive(store))
        _clear_unfinished(store)
    except PathDenied as error:
        raise PathDenied(f"{printable(store.url)}: {error}") from error


def _require_own(store: WritableStore) -> None:
    """See that a place is empty, or holds a copy.

    Raises:
        Refused: it holds something else.
    """
    inside = [one.path for one in store.list("", ignore) if one.path != layout.STATE]
    if inside and not is_copy(store):
        raise Refused(
            f"{printable(store.url)}: holds {printable(inside[0])}, and is no copy that regfs "
            "export has written; name an empty place, or give it to regfs import as its root"
        )


def _clear_unfinished(store: WritableStore) -> None:
    """Delete what an export was writing when it was killed; the caller holds the lock."""
    if not is_unfinished_copy(store):
        return
    halves = [
        one.path
        for one in store.walk("", ignore)
        if one.kind is FileKind.FILE and finished_name(layout.name_of(one.path)) is not None
    ]
    store.delete(halves)


class _Export:
    """One export."""

    def __init__(
        self,
        graph: Graph,
        registry: Registry,
        medium: Medium,
        selection: Wanted,
        options: ExportOptions,
        progress: Progress,
    ) -> None:
        self._graph = graph
        self._registry = registry
        self._medium = medium
        self._selection = selection
        self._options = options
        self._former = options.former
        self._progress = progress
        is_tree = options.form is Format.TREE
        self._format: formats.CopyFormat = (
            formats.TreeFormat(medium) if is_tree else formats.LayoutFormat(medium)
        )

    def refuse_moving(self) -> None:
        """See that no tag has to move, unless that is asked for."""
        moved = [] if self._options.replace else self._format.moved(self._selection)
        if moved:
            more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
            raise Refused(
                f"{self._medium.url}: {', '.join(moved[:_NAMED])}{more} point elsewhere there; "
                "give --replace to move them"
            )

    def run(self) -> ExportReport:
        """Write it all."""
        began = rfc3339(time.time())
        self._mark(begun_at=began)
        todo, present, left_out = self._sorted()
        copier = BlobCopier(
            self._registry.store, self._medium, self._time_of, progress=self._progress
        )
        copier.copy(todo)
        self._medium.barrier()
        there = [one for one in self._selection.blobs if one not in copier.bad]
        there += [one for one in self._selection.lost if one in self._former]
        self._progress.start("Writing links")
        links = self._format.write_links(self._selection, there, self._graph)
        self._progress.finish()
        self._medium.barrier()
        empty = not any((*links, copier.done.blobs, present.blobs))
        self._mark(begun_at=began, finished_at=rfc3339(time.time()), empty=empty)
        lost = [one for one in self._selection.lost if one not in self._former]
        if self._options.list_file is not None:
            write_list(self._options.list_file, self._stands_for(there))
        findings = [*copier.bad.values(), *self._findings(copier.bad)]
        return ExportReport(
            root=self._registry.store.url,
            to=self._medium.url,
            format=self._options.form,
            repositories=len(self._selection.parts),
            tags=links.tags,
            manifests=links.manifests,
            layer_links=links.layer_links,
            copied=BlobCount(*copier.done),
            present=present,
            left_out=left_out,
            docker=links.docker,
            lacking=len({*copier.bad, *lost}),
            findings=findings,
        )

    def _sorted(self) -> tuple[list[CopyItem], BlobCount, BlobCount]:
        """Return what is to be copied, what is there, and what a former export has."""
        todo: list[CopyItem] = []
        present: list[int] = []
        left_out: list[int] = []
        for item in self._format.items(self._selection, self._graph):
            is_manifest = item.stored in self._selection.manifests
            if self._format.size_of(item) == item.size:
                present.append(item.size)
            elif not is_manifest and self._former.get(item.digest) == item.size:
                left_out.append(item.size)
            else:
                todo.append(item)
        return todo, _counted(present), _counted(left_out)

    def _stands_for(self, there: Iterable[Digest]) -> dict[Digest, int]:
        """Return the blobs that the export has, or a former one -> their bytes."""
        sizes = {**self._former, **self._selection.blobs}
        return {digest: sizes[digest] for digest in there}

    def _time_of(self, stored: Digest) -> float | None:
        info = self._graph.inventory.blobs.get(stored)
        return None if info is None else info.mtime

    def _findings(self, bad: Collection[Digest]) -> list[Finding]:
        """Return what is missing or was left out, unless it was met while copying."""
        selection, former = self._selection, self._former
        missing = [
            one
            for one in selection.missing
            if one.digest not in bad and (one.digest is None or Digest(one.digest) not in former)
        ]
        return [*missing, *selection.findings]

    def _mark(self, **more: Any) -> None:
        """Say in a folder or bucket that what lies there is a copy."""
        if self._medium.store is not None:
            said = {"root": self._registry.store.url, "format": self._options.form.value, **more}
            put(self._medium, MARK, json.dumps(said).encode())


def _counted(sizes: Collection[int]) -> BlobCount:
    return BlobCount(len(sizes), sum(sizes))
