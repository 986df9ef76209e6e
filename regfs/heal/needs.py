"""What has to be fetched: from the findings of verify to digests, in the order of putting back.

A manifest that is missing may name more that is missing, so manifests are read
from the source while planning, until nothing new is needed. What an index lists
and nobody links is no damage (a partial mirror), and is fetched on demand only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from regfs import layout
from regfs.digest import BUFFER_SIZE, Digest
from regfs.errors import ManifestInvalid, SourceError, SourceLacks, StoreError
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.heal.report import HealPlan, Item
from regfs.heal.source import Source, Wanted
from regfs.inventory import Inventory
from regfs.manifests import LIMIT, Kind, Reference, Role, parse
from regfs.progress import SILENT, Progress
from regfs.registry import Registry
from regfs.stores import Entry
from regfs.verify import Result

_NEEDED: Final = frozenset(
    {
        Code.BLOB_CORRUPT,
        Code.BLOB_MISSING,
        Code.BLOB_SIZE_MISMATCH,
        Code.BLOB_UNREADABLE,
        Code.TAG_DANGLING,
    }
)


def plan_heal(
    registry: Registry,
    inventory: Inventory,
    graph: Graph,
    result: Result,
    source: Source,
    *,
    sparse: bool = False,
    progress: Progress = SILENT,
) -> HealPlan:
    """Return what a source is to give, after verify has said what is wrong.

    `sparse` also asks for what an index lists and no repository links.
    """
    needs = _Needs(registry, inventory, graph, source, sparse=sparse)
    for row in result.findings:
        needs.take(row.finding)
    progress.start("Asking the source", None)
    needs.follow(progress)
    progress.finish()
    items = list(needs.ordered())
    wanted = [item for item in items if item.problem is None]
    return HealPlan(
        root=registry.store.url,
        source=source.url,
        items=items,
        fetch=len(wanted),
        bytes=sum(max(item.size, 0) for item in wanted),
        lacking=len(items) - len(wanted),
    )


class _Needs:
    """Collects what is needed."""

    def __init__(
        self,
        registry: Registry,
        inventory: Inventory,
        graph: Graph,
        source: Source,
        *,
        sparse: bool,
    ) -> None:
        self._registry = registry
        self._inventory = inventory
        self._graph = graph
        self._source = source
        self._sparse = sparse
        self._items: dict[Digest, Item] = {}
        self._pending: deque[Digest] = deque()
        self._below: dict[Digest, list[Digest]] = {}
        """Manifest that is fetched -> what it names that is fetched too."""

    def take(self, finding: Finding) -> None:
        """Take what a finding says is missing or bad."""
        digest, code = finding.digest, finding.code
        if code is Code.INDEX_CHILD_MISSING and self._sparse:
            digest = finding.expected
        elif code is Code.LINK_DANGLING:
            # Only a link to a manifest is a loss: what a layer link is for, an image tells.
            if not isinstance(layout.key_of(finding.path), layout.RevisionLink):
                return
        elif code not in _NEEDED:
            return
        if digest is None:
            return
        needed = Digest(digest)
        manifest = needed in self._graph.digraph
        absent = code in (Code.TAG_DANGLING, Code.LINK_DANGLING, Code.INDEX_CHILD_MISSING)
        if absent and self._there(needed) is not None:
            return  # it is a link that is missing
        self._need(needed, Code.BLOB_MISSING if absent else code, manifest, self._users(needed))

    def _users(self, digest: Digest) -> tuple[str, ...]:
        """Return the repositories that use a digest, else those that link it."""
        names = {node.repository for node in self._graph.owners(digest)}
        if not names:
            repositories = self._inventory.repositories.values()
            names = {one.name for one in repositories if digest in one.layers}
        return tuple(sorted(names))

    def _need(
        self,
        digest: Digest,
        code: Code,
        manifest: bool,
        repositories: tuple[str, ...],
        size: int = -1,
    ) -> None:
        known = self._items.get(digest)
        if known is not None:
            return
        sizes = [size]
        for holder in self._graph.holders(digest):
            sizes += [leaf.size for leaf in self._graph.leaves(holder) if leaf.digest == digest]
        path = layout.path_of(layout.BlobData(digest))
        self._items[digest] = Item(digest, path, code, max(sizes), manifest, repositories)
        self._pending.append(digest)

    def follow(self, progress: Progress) -> None:
        """Ask for everything, and for what the manifests among it name."""
        while self._pending:
            digest = self._pending.popleft()
            item = self._items[digest]
            wanted = Wanted(digest, item.size, item.manifest, item.repositories)
            try:
                if item.manifest:
                    self._items[digest] = self._read(item, wanted)
                else:
                    size = self._source.size(wanted)
                    if item.size < 0:
                        self._items[digest] = replace(item, size=size)
            except SourceLacks as error:
                self._items[digest] = replace(item, problem=str(error))
            except SourceError:
                pass  # it may not like to be asked for sizes: told when it is to be read
            progress.advance(1)

    def _read(self, item: Item, wanted: Wanted) -> Item:
        """Read a manifest from the source, and need what it names."""
        data = b""
        with self._source.open(wanted) as stream:
            while len(data) <= LIMIT and (piece := stream.read(BUFFER_SIZE)):
                data += piece
        if Digest.of(data, item.digest.algorithm) != item.digest:
            return item  # told when it is to be put in place
        try:
            manifest = parse(data)
        except ManifestInvalid:
            return replace(item, size=len(data))
        if manifest.kind is not Kind.UNKNOWN:
            for reference in manifest.references():
                self._name(item, reference)
        return replace(item, size=len(data))

    def _name(self, parent: Item, reference: Reference) -> None:
        """Need what a manifest names, unless it is there or may be absent."""
        role, digest = reference.role, reference.digest
        if role is Role.SUBJECT or reference.foreign:
            return
        there = self._there(digest)
        if there is None and (role is not Role.MANIFEST or self._sparse):
            code, manifest = Code.BLOB_MISSING, role is Role.MANIFEST
            self._need(digest, code, manifest, parent.repositories, reference.size)
        elif there is not None and 0 <= reference.size != there.size:
            # In a blob that none but this manifest names, nobody has seen that before.
            code, manifest = Code.BLOB_SIZE_MISMATCH, role is Role.MANIFEST
            self._need(digest, code, manifest, parent.repositories, reference.size)
        self._below.setdefault(parent.digest, []).append(digest)

    def _there(self, digest: Digest) -> Entry | None:
        try:
            return self._registry.store.stat(layout.path_of(layout.BlobData(digest)))
        except StoreError:
            return None  # if it cannot be put there either, that is told then

    def ordered(self) -> Iterator[Item]:
        """Yield the blobs, then the manifests, each after what it names."""
        yield from (item for item in self._items.values() if not item.manifest)
        done: set[Digest] = set()
        for start in self._items:
            pending = [(start, False)]
            while pending:
                digest, below_done = pending.pop()
                item = self._items.get(digest)
                if item is None or not item.manifest or digest in done:
                    continue
                if below_done:
                    done.add(digest)
                    yield item
                else:
                    pending.append((digest, True))
                    pending.extend((child, False) for child in self._below.get(digest, ()))
