"""Fills a graph: links from the inventory, and every manifest read once.

A manifest is read, hashed and parsed; its references are kept and the model
dropped. What cannot be read, parsed or trusted becomes a finding, and freezes
every repository that names it.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple, TypeGuard

from regfs import layout, manifests
from regfs.digest import CANONICAL, Digest, digests_in
from regfs.errors import DescriptorInvalid, ManifestInvalid, PathMissing, StoreError
from regfs.findings import Code, Finding, Severity
from regfs.graph.model import EdgeKind, Graph, Leaf, ManifestInfo, Node, NodeKind
from regfs.inventory import INCOMPLETE, Inventory, RepositoryInventory
from regfs.listing import complete_history
from regfs.manifests import LIMIT, Role
from regfs.parallel import adaptive_map
from regfs.progress import Progress
from regfs.registry import Registry
from regfs.skim import Skimmed, skim
from regfs.stores import Store

_COLD: Final = 1e-3
"""Seconds of waiting for one manifest above which the disk is taken for cold."""


class Reading(NamedTuple):
    """What came of reading one manifest."""

    digest: Digest
    data: bytes
    manifest: manifests.Manifest | Skimmed | None
    problem: Finding | None


def fill(graph: Graph, registry: Registry, progress: Progress) -> None:
    """Read every manifest that the inventory of `graph` names, once, and link it all up."""
    was_enabled = gc.isenabled()
    # Millions of long-lived objects and no cycles: the collector would only re-walk them.
    gc.disable()
    try:
        _Builder(graph, registry, progress).run()
    finally:
        if was_enabled:
            gc.enable()


def read_manifests(
    store: Store, inventory: Inventory, digests: Iterable[Digest]
) -> Iterator[Reading]:
    """Read, check and parse manifests, folder by folder, in many threads when the disk is cold."""
    folders: dict[str, list[Digest]] = defaultdict(list)
    strangers = []
    for digest in digests:
        if digest in inventory.blobs:
            folders[layout.blob_folder(digest).rpartition("/")[0]].append(digest)
        else:
            strangers.append(digest)

    def read(folder: str) -> list[Reading]:
        wanted = folders[folder]
        names = [digest.encoded for digest in wanted]
        contents = store.contents(folder, names, "data", LIMIT + 1)
        return [_judge(d, content) for d, content in zip(wanted, contents, strict=True)]

    def is_slow(waited: float, readings: list[Reading]) -> bool:
        return waited > _COLD * len(readings)

    batches: Iterator[list[Reading]] = adaptive_map(read, folders, is_slow)
    yield from chain.from_iterable(batches)
    # The listing has not seen these as plain files, so the store has to look what they are.
    yield from (read_manifest(store, digest) for digest in strangers)


def read_manifest(store: Store, digest: Digest) -> Reading:
    """Read, check and parse one manifest."""
    try:
        return _judge(digest, store.read(layout.path_of(layout.BlobData(digest)), LIMIT + 1))
    except StoreError as error:
        return _judge(digest, error)


def _judge(digest: Digest, content: bytes | StoreError) -> Reading:
    """Return what comes of a manifest's bytes, or of the failure to read them."""
    try:
        if isinstance(content, bytes) and len(content) <= LIMIT:
            found = Digest.of(content, digest.algorithm)
            if found == digest:
                return Reading(digest, content, skim(content) or manifests.parse(content), None)
            code, expected, actual = Code.BLOB_CORRUPT, str(digest), str(found)
        elif isinstance(content, bytes):
            code, expected, actual = Code.MANIFEST_TOO_LARGE, f"at most {LIMIT} bytes", "more"
            content = b""
        elif isinstance(content, PathMissing):
            code, expected, actual = Code.BLOB_MISSING, None, None
        else:
            code, expected, actual = Code.BLOB_UNREADABLE, None, str(content)
    except DescriptorInvalid as error:
        code, expected, actual = Code.DESCRIPTOR_INVALID, None, str(error)
    except ManifestInvalid as error:
        code, expected, actual = Code.MANIFEST_UNREADABLE, None, str(error)
    path = layout.path_of(layout.BlobData(digest))
    problem = Finding(code, path, digest, expected=expected, actual=actual)
    return Reading(digest, content if isinstance(content, bytes) else b"", None, problem)


class _Builder:
    """Fills a Graph; used once."""

    def __init__(self, graph: Graph, registry: Registry, progress: Progress) -> None:
        self.graph = graph
        self.registry = registry
        self.progress = progress
        self.inventory = graph.inventory
        self.revisions: set[Digest] = set()
        """Every digest that is a revision somewhere."""
        self.wanted: dict[Digest, None] = {}

    def run(self) -> None:
        self._note_blindness()
        for repository in self.inventory.repositories.values():
            self.revisions.update(repository.revisions)
        for repository in self.inventory.repositories.values():
            self._add_repository(repository)
        self.progress.start("Reading manifests", len(self.wanted))
        done: set[Digest] = set()
        # Level by level: what a level's indexes list is the next level.
        while level := [digest for digest in self.wanted if digest not in done]:
            self.wanted = {}
            done.update(level)
            for reading in read_manifests(self.registry.store, self.inventory, level):
                if self._is_plain_image(reading.manifest):
                    self._add_image(reading.digest, reading.manifest, len(reading.data))
                elif reading.manifest is not None:
                    self._add_manifest(reading.digest, reading.manifest, len(reading.data))
                else:
                    self._add_broken(reading)
                self.progress.advance(1)
        self.progress.finish()
        self._freeze()
        self._complete_histories()

    def _complete_histories(self) -> None:
        """In doubt, what a tag has pointed to may be what it should point to."""
        before = len(self.inventory.findings)
        for name in self.graph.frozen:
            repository = self.inventory.repositories[name]
            complete_history(self.registry.store, self.inventory, repository)
        self._note_unseen(self.inventory.findings[before:])

    # -- repositories ---------------------------------------------------------

    def _note_blindness(self) -> None:
        self._note_unseen(self.inventory.findings)
        self._note_second_places()
        # A disk that is not mounted, or tags that live in a database, look the same.
        if self.inventory.blobs and not self.inventory.repositories:
            finding = Finding(Code.REPOSITORIES_MISSING, layout.REPOSITORIES)
            self.graph.findings.append(finding)
            self.graph.blind.append(finding)

    def _note_unseen(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if not finding.path.startswith(layout.REPOSITORIES):
                continue
            incomplete = finding.code in INCOMPLETE
            if incomplete:
                self.graph.blind.append(finding)
            # A link by an algorithm that is unknown here may name anything the repository holds.
            if incomplete or finding.code is Code.ALGORITHM_UNSUPPORTED:
                name = finding.path[len(layout.REPOSITORIES) + 1 :].partition("/_")[0]
                if name in self.inventory.repositories:
                    self.graph.frozen.setdefault(name, []).append(finding)

    def _note_second_places(self) -> None:
        """Freeze what a link within the tree gives a second place.

        What nothing needs at one place may be needed at the other, and taking it away
        from one takes it away from both. It is not followed which places these are:
        such links are made by hand, and rarely.
        """
        for finding in self.inventory.findings:
            if finding.code is not Code.SYMLINK_INSIDE:
                continue
            if finding.path.startswith(layout.BLOBS + "/"):
                self.graph.blind.append(finding)
            elif finding.path.startswith(layout.REPOSITORIES + "/"):
                for name in self.inventory.repositories:
                    self.graph.frozen.setdefault(name, []).append(finding)

    def _add_repository(self, repository: RepositoryInventory) -> None:
        graph = self.graph
        home = Node(NodeKind.REPOSITORY, repository.name)
        graph.add_node(home, NodeKind.REPOSITORY)
        self._read_aliases(repository)
        for digest in repository.revisions:
            node = Node(NodeKind.REVISION, repository.name, digest)
            graph.add_node(node, NodeKind.REVISION)
            graph.add_edge(home, node, EdgeKind.REVISION)
            for target in self._revision_targets(repository, digest):
                self._point(node, target, EdgeKind.CONTENT)
        for tag, info in repository.tags.items():
            node = Node(NodeKind.TAG, repository.name, tag)
            graph.add_node(node, NodeKind.TAG)
            graph.add_edge(home, node, EdgeKind.TAG)
            if info.current is not None:
                self._point(node, info.current, EdgeKind.CURRENT)
                continue
            for entry in info.history:
                if entry.digest in self.inventory.blobs:
                    self._point(node, entry.digest, EdgeKind.HISTORY)
            if info.problem is not Code.TAG_WITHOUT_CURRENT:
                path = layout.path_of(layout.TagCurrent(repository.name, tag))
                code = info.problem or Code.LINK_INVALID
                finding = Finding(code, path, repository=repository.name, tag=tag)
                self.graph.frozen.setdefault(repository.name, []).append(finding)

    def _point(self, node: Node | Digest, target: Digest, kind: EdgeKind) -> None:
        if target not in self.graph.digraph:
            self.graph.add_node(target, NodeKind.MANIFEST)
        # The first reason to point stays: an index that lists its own subject keeps it as a child.
        self.graph.add_edge(node, target, kind)
        # A subject may come after its referrer, so its absence is nothing to look into.
        if kind is not EdgeKind.SUBJECT or target in self.inventory.blobs:
            self.wanted[target] = None

    def _read_aliases(self, repository: RepositoryInventory) -> None:
        """Read the links that may name a blob by another algorithm than it is stored under."""
        for digest in repository.layers:
            if digest.algorithm == CANONICAL:
                continue
            name, path = repository.name, layout.path_of(layout.LayerLink(repository.name, digest))
            link = self.registry.link(path)
            if link.digest is None:
                # Which blob an image needs by this digest was written nowhere else.
                code = link.problem or Code.LINK_INVALID
                finding = Finding(code, path, digest, name, expected=digest, actual=link.text)
                self.graph.findings.append(finding)
                self.graph.frozen.setdefault(name, []).append(finding)
            elif link.digest != digest:
                self.graph.aliases.setdefault(digest, set()).add(link.digest)

    def _revision_targets(self, repository: RepositoryInventory, digest: Digest) -> list[Digest]:
        """Return what a revision link names: by its path, and by its content where that differs."""
        link = repository.links.get(digest)
        if link is None:
            return [digest]
        path = layout.path_of(layout.RevisionLink(repository.name, digest))
        if link.problem is not None:
            finding = Finding(
                link.problem,
                path,
                digest=digest,
                repository=repository.name,
                expected=digest,
                actual=link.text,
            )
            if link.problem is not Code.PATH_UNREADABLE:  # that has been found while listing
                self.graph.findings.append(finding)
            if link.digest is None:
                self.graph.frozen.setdefault(repository.name, []).append(finding)
        if link.digest is None or link.digest == digest:
            return [digest]
        if link.digest.algorithm != digest.algorithm and digest not in self.inventory.blobs:
            self.graph.aliases.setdefault(digest, set()).add(link.digest)
            return [link.digest]
        self.graph.findings.append(
            Finding(
                Code.LINK_MISMATCH,
                path,
                digest=digest,
                repository=repository.name,
                expected=digest,
                actual=link.digest,
            )
        )
        return [digest, link.digest]

    # -- manifests ------------------------------------------------------------

    def _is_plain_image(self, manifest: manifests.Manifest | Skimmed | None) -> TypeGuard[Skimmed]:
        return (
            isinstance(manifest, Skimmed)
            and manifest.kind is manifests.Kind.IMAGE
            and self.revisions.isdisjoint(manifest.digests)
            and self.graph.aliases.keys().isdisjoint(manifest.digests)
        )

    def _add_image(self, digest: Digest, image: Skimmed, size: int) -> None:
        """Add a plain image, none of whose blobs is a manifest elsewhere: the usual case."""
        kind, media_type, artifact_type, digests, sizes, *_ = image
        info = ManifestInfo(kind, media_type, artifact_type, size, None, 0, 0)
        self.graph.add_image(digest, info, digests, sizes)

    def _add_manifest(
        self, digest: Digest, manifest: manifests.Manifest | Skimmed, size: int
    ) -> None:
        if manifest.kind is manifests.Kind.UNKNOWN:
            path = layout.path_of(layout.BlobData(digest))
            kind = manifest.media_type or "none given"
            finding = Finding(Code.MANIFEST_UNKNOWN_TYPE, path, digest, actual=kind)
            self.graph.findings.append(finding)
        leaves: list[Leaf] = []
        for reference in manifest.references():
            role, named, length = reference[:3]
            if role is Role.SUBJECT:
                continue
            is_child = self._is_child(reference)
            if is_child:
                self._point(digest, named, EdgeKind.CHILD)
            # What is a layer here can be a manifest elsewhere; it counts as both.
            if not is_child or role is not Role.MANIFEST:
                leaves.append(Leaf(named, role, length))
                if named in self.graph.aliases:
                    leaves.extend(Leaf(other, role, length) for other in self.graph.aliases[named])
        subject = manifest.subject.digest if manifest.subject is not None else None
        if subject is not None:
            self._point(digest, subject, EdgeKind.SUBJECT)
        kind, artifact_type = manifest.kind, manifest.artifact_type
        info = ManifestInfo(kind, manifest.media_type, artifact_type, size, subject, 0, 0)
        self.graph.add_manifest(digest, info, leaves)

    def _is_child(self, reference: manifests.Reference) -> bool:
        """Return whether a reference leads to a manifest.

        Media types decide where they can. Where they cannot (none given, unknown to
        us, or a manifest of unknown type named it), whatever is a revision somewhere
        is a manifest, and what is small enough to be one is looked at.
        """
        digest = reference.digest
        if digest in self.revisions:
            return True
        if reference.role in (Role.CONFIG, Role.LAYER):
            return False
        if reference.media_type in manifests.MANIFEST_TYPES:
            return True
        stored = self.inventory.blobs.get(digest)
        if stored is None:
            return reference.role is Role.MANIFEST
        if stored.size > LIMIT or (reference.role is not Role.MANIFEST and reference.media_type):
            return False
        reading = read_manifest(self.registry.store, digest)
        if reading.manifest is None:
            # What does not even look like a manifest is a blob; of the rest nobody can tell.
            problem = reading.problem
            return problem is not None and problem.code is not Code.MANIFEST_UNREADABLE
        return reading.manifest.kind is not manifests.Kind.UNKNOWN or bool(reference.media_type)

    def _add_broken(self, reading: Reading) -> None:
        """Take note of a manifest that cannot be known, and keep every digest written in it."""
        graph, digest = self.graph, reading.digest
        assert reading.problem is not None
        graph.problems[digest] = reading.problem
        leaves: list[Leaf] = []
        for named in digests_in(reading.data):
            reference = manifests.Reference(Role.MANIFEST, named)
            known = named in self.revisions or named in self.inventory.blobs
            if known and self._is_child(reference):
                self._point(digest, named, EdgeKind.CHILD)
            else:
                leaves.append(Leaf(named, Role.BLOB, -1))
        if reading.data:
            size = len(reading.data)
            info = ManifestInfo(manifests.Kind.UNKNOWN, "", None, size, None, 0, 0)
            graph.add_manifest(digest, info, leaves)

    # -- doubt ----------------------------------------------------------------

    def _freeze(self) -> None:
        """Freeze every repository that names, through anything, a manifest that is not known.

        A child of an index that is nowhere a revision and nowhere a blob is no
        doubt: partial mirrors are legal, and what it would need was never pushed.
        """
        graph = self.graph
        doubtful: dict[Digest, Finding] = {}
        for digest, problem in graph.problems.items():
            befores = graph.digraph.pred[digest]
            named = [node for node in befores if isinstance(node, Node)]
            if problem.code is Code.BLOB_MISSING and not named:
                graph.problems[digest] = self._missing_child(digest, problem)
                continue
            # A missing manifest is told once for each link that names it, with the right words.
            if problem.code is not Code.BLOB_MISSING:
                graph.findings.append(problem)
            for node in named if problem.code is Code.BLOB_MISSING else ():
                graph.findings.append(_dangling(node, digest))
            doubtful[digest] = problem
        for name, reached in self._naming(doubtful):
            reasons = [problem for digest, problem in doubtful.items() if digest in reached]
            graph.frozen.setdefault(name, []).extend(reasons)
        for subject, referrers in graph.subjects():
            if subject not in graph.manifests and subject not in graph.problems:
                for referrer in referrers:
                    path = layout.path_of(layout.BlobData(referrer))
                    finding = Finding(Code.SUBJECT_MISSING, path, referrer, expected=subject)
                    graph.findings.append(finding)

    def _missing_child(self, digest: Digest, problem: Finding) -> Finding:
        for index, edge in self.graph.digraph.pred[digest].items():
            if edge["kind"] is EdgeKind.CHILD:
                path = layout.path_of(layout.BlobData(index))
                finding = Finding(Code.INDEX_CHILD_MISSING, path, index, expected=digest)
                self.graph.findings.append(finding)
                problem = finding
        return problem

    def _naming(self, doubtful: Collection[Digest]) -> Iterator[tuple[str, set[Node | Digest]]]:
        """Yield each repository that names any of `doubtful`, and what of them it reaches."""
        pred, succ = self.graph.digraph.pred, self.graph.digraph.succ
        above = _closure(doubtful, pred.__getitem__)
        for node in above:
            if isinstance(node, Node) and node.kind is NodeKind.REPOSITORY:
                # Upwards once for all, downwards only where it leads to some of them.
                ahead = _closure([node], lambda node: [n for n in succ[node] if n in above])
                yield node.repository, ahead


def _closure(
    start: Iterable[Node | Digest], step: Callable[[Node | Digest], Iterable[Node | Digest]]
) -> set[Node | Digest]:
    found = set(start)
    pending = list(found)
    while pending:
        fresh = [node for node in step(pending.pop()) if node not in found]
        found.update(fresh)
        pending.extend(fresh)
    return found


def _dangling(node: Node, digest: Digest) -> Finding:
    if node.kind is NodeKind.TAG:
        path = layout.path_of(layout.TagCurrent(node.repository, node.name))
        return Finding(Code.TAG_DANGLING, path, digest, node.repository, node.name)
    path = layout.path_of(layout.RevisionLink(node.repository, Digest(node.name)))
    return Finding(Code.LINK_DANGLING, path, digest, node.repository, override=Severity.ERROR)
