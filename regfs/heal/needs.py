"""What has to be fetched: from the findings of verify to digests, in the order of repair.

A missing manifest may name more that is missing, so manifests are read from the sources while
planning, until nothing new is needed. Manifests that a repository provably had count like those
it links (reach.py), so that one run also fetches what would be missing once their links are
written.

A manifest that an index lists and no repository links is no damage (a partial mirror), and is
fetched only on demand. If all manifests of an index are missing, all are fetched: nobody can
pull it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from regfs import layout
from regfs.digest import BUFFER_SIZE, Digest
from regfs.errors import (
    ContentMismatch,
    ManifestInvalid,
    RegfsError,
    SourceError,
    SourceLacks,
    StoreError,
)
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.graph.paths import owners
from regfs.heal.reach import Reach
from regfs.heal.report import HealItem, HealPlan
from regfs.heal.source import BlobRequest, Source, ask_each
from regfs.manifests import LIMIT, Kind, Manifest, Reference, Role, absent_by_right, parse
from regfs.progress import SILENT, Progress
from regfs.stores import Entry
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
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
    *sources: Source,
    sparse: bool = False,
    progress: Progress = SILENT,
) -> HealPlan:
    """Return what to fetch from the sources for the findings of a verification.

    With `sparse`, also what an index lists and no repository links.
    """
    needs = _NeededBlobs(registry, inventory, graph, sources, sparse=sparse)
    for row in result.findings:
        needs.take(row.finding)
    needs.take_unlinked()
    progress.start("Asking the sources", None)
    needs.follow(progress)
    progress.finish()
    items = list(needs.ordered())
    fetched = [item for item in items if item.problem is None]
    return HealPlan(
        root=registry.store.url,
        source=", ".join(source.url for source in sources),
        items=items,
        fetch=len(fetched),
        bytes=sum(max(item.size, 0) for item in fetched),
        lacking=len(items) - len(fetched),
    )


class _NeededBlobs:
    """Collects what is needed."""

    def __init__(
        self,
        registry: Registry,
        inventory: Inventory,
        graph: Graph,
        sources: Sequence[Source],
        *,
        sparse: bool,
    ) -> None:
        self._registry = registry
        self._inventory = inventory
        self._graph = graph
        self._sources = sources
        self._sparse = sparse
        self._items: dict[Digest, HealItem] = {}
        self._pending: deque[Digest] = deque()
        self._looked_into: set[Digest] = set()
        self._below: dict[Digest, list[Digest]] = {}
        """Manifest to fetch -> what it names that is fetched too."""

    def take(self, finding: Finding) -> None:
        """Take what is missing or damaged according to a finding."""
        digest, code = finding.digest, finding.code
        if code is Code.INDEX_CHILD_MISSING:
            nobody_can_pull = finding.severity is Severity.ERROR
            digest = finding.expected if self._sparse or nobody_can_pull else None
        elif code is Code.LINK_DANGLING:
            # Only a link to a manifest is a loss; whether a layer is needed, images say.
            if not isinstance(layout.key_of(finding.path), layout.RevisionLink):
                return
        elif code not in _NEEDED:
            return
        if digest is None:
            return
        needed = Digest(digest)
        manifest = bool(self._graph.predecessors(needed))
        absent = code in (Code.TAG_DANGLING, Code.LINK_DANGLING, Code.INDEX_CHILD_MISSING)
        if absent and self._there(needed) is not None:
            if manifest:
                self._look_into(needed, self._users(needed))
            return  # only a link is missing
        self._need(needed, Code.BLOB_MISSING if absent else code, manifest, self._users(needed))

    def take_unlinked(self) -> None:
        """Take what manifests without a link need; verify checks only what is served."""
        reach = Reach(self._registry, self._graph)
        for content in self._inventory.repositories.values():
            for manifest, _ in reach.manifests(content):
                if manifest not in content.revisions:
                    self._look_into(manifest, (content.name,))

    def _look_into(self, manifest: Digest, repositories: tuple[str, ...]) -> None:
        """Take what an existing manifest names and what is missing."""
        if manifest in self._looked_into or manifest in self._items:
            return
        self._looked_into.add(manifest)
        try:
            found = self._registry.manifest(manifest)
        except RegfsError:
            return  # it has a finding of its own
        self._name_all(manifest, found, repositories)

    def _users(self, digest: Digest) -> tuple[str, ...]:
        """Return the repositories that use a digest, or else those that link it."""
        names = {node.repository for node in owners(self._graph, digest)}
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
        for holder in self._graph.manifests_naming(digest):
            sizes += [leaf.size for leaf in self._graph.leaves(holder) if leaf.digest == digest]
        path = layout.blob_path(digest)
        self._items[digest] = HealItem(digest, path, code, max(sizes), manifest, repositories)
        self._pending.append(digest)

    def follow(self, progress: Progress) -> None:
        """Ask the sources for everything, and for what the manifests among it name."""
        while self._pending:
            digest = self._pending.popleft()
            item = self._items[digest]
            request = BlobRequest(digest, item.size, item.manifest, item.repositories)
            try:
                if item.manifest:
                    self._items[digest] = self._read(item, request)
                else:
                    self._items[digest] = replace(item, size=self._size(request))
            except SourceLacks as error:
                self._items[digest] = replace(item, problem=str(error))
            except (SourceError, ContentMismatch):
                pass  # reported if it cannot be fetched either
            progress.advance(1)

    def _size(self, request: BlobRequest) -> int:
        """Return the size of a blob in bytes; -1 if nobody knows.

        Raises:
            SourceError: no source can give it.
        """
        size, _ = ask_each(self._sources, lambda source: source.size(request))
        if request.size >= 0:
            return request.size
        # What one source says must not limit what another may give.
        return size if len(self._sources) == 1 else -1

    def _read(self, item: HealItem, request: BlobRequest) -> HealItem:
        """Read a manifest from the first source that has it right; need what it names."""
        data, _ = ask_each(self._sources, lambda source: _manifest(source, request))
        try:
            manifest = parse(data)
        except ManifestInvalid:
            return replace(item, size=len(data))
        self._name_all(item.digest, manifest, item.repositories)
        return replace(item, size=len(data))

    def _name_all(self, parent: Digest, manifest: Manifest, repositories: tuple[str, ...]) -> None:
        """Take what a manifest names, unless it exists or may be absent."""
        if manifest.kind is Kind.UNKNOWN:
            return
        absent = absent_by_right(manifest.references())
        named = [
            one
            for one in manifest.references()
            if one.role is not Role.SUBJECT and one.digest not in absent
        ]
        children = [one.digest for one in named if one.role is Role.MANIFEST]
        everything = self._sparse or not any(self._there(one) for one in children)
        for reference in named:
            self._name(reference, repositories, everything=everything)
        self._below.setdefault(parent, []).extend(one.digest for one in named)

    def _name(
        self, reference: Reference, repositories: tuple[str, ...], *, everything: bool
    ) -> None:
        digest, manifest = reference.digest, reference.role is Role.MANIFEST
        there = self._there(digest)
        if there is None:
            if everything or not manifest:
                self._need(digest, Code.BLOB_MISSING, manifest, repositories, reference.size)
        elif 0 <= reference.size != there.size:
            # verify reports it only if it has read this manifest.
            self._need(digest, Code.BLOB_SIZE_MISMATCH, manifest, repositories, reference.size)
        elif manifest:
            self._look_into(digest, repositories)

    def _there(self, digest: Digest) -> Entry | None:
        try:
            return self._registry.store.stat(layout.blob_path(digest))
        except StoreError:
            return None  # if it cannot be written there either, heal reports that

    def ordered(self) -> Iterator[HealItem]:
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


def _manifest(source: Source, request: BlobRequest) -> bytes:
    """Read a manifest from a source.

    Raises:
        ContentMismatch: it is something else.
        SourceError: it cannot be read.
    """
    data = b""
    with source.open(request) as stream:
        while len(data) <= LIMIT and (piece := stream.read(BUFFER_SIZE)):
            data += piece
    if Digest.of(data, request.digest.algorithm) != request.digest:
        raise ContentMismatch("the source gave something else")
    return data
