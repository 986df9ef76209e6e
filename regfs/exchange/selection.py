"""What goes along when a tree, or a few of its images, is copied: links, and the blobs they need.

    everything         each repository with all that it reaches: tags, revisions with and without
                       tags, the history of tags
    NAME               its tags; if it has none, its revisions
    NAME:TAG           the tag; NAME@DIGEST the revision
        with           what an index lists, configs and layers; what is about the image (referrers,
                       attestations, and the tags that name these); what a referrer is about

Rather too much than too little: of a repository that names a manifest nobody can read, every
link goes along. A link that does not hold what its path says is left out and told of, as is a
name that no client can ask for: what a hostile tree calls something never becomes a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from regfs import layout
from regfs.digest import Digest
from regfs.errors import ReferenceInvalid, RegfsError, StoreError
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.graph.attached import attached_to, attachments
from regfs.manifests.media_types import Kind, absent_by_right
from regfs.names import cosign_tags, fallback_tag, name_problem, tag_problem
from regfs.tree.inventory import INCOMPLETE, RepositoryInventory, TagInfo
from regfs.tree.links import LINK_LIMIT, parse_link_content
from regfs.tree.registry import Registry, Target


@dataclass(slots=True)
class LinkCopy:
    """What a link leads to, and when it was written."""

    stored: Digest
    """The blob; of an alias link another digest than that of its path."""
    mtime: float


@dataclass(slots=True)
class RepositoryPart:
    """What of one repository goes along."""

    name: str
    layers: dict[Digest, LinkCopy] = field(default_factory=dict)
    revisions: dict[Digest, LinkCopy] = field(default_factory=dict)
    tags: dict[str, TagInfo] = field(default_factory=dict)


@dataclass(slots=True)
class Wanted:
    """What goes along."""

    parts: list[RepositoryPart] = field(default_factory=list)
    """By name."""
    blobs: dict[Digest, int] = field(default_factory=dict)
    """Each blob that is there -> its bytes; manifests included."""
    manifests: set[Digest] = field(default_factory=set)
    """Those of the blobs that are manifests."""
    lost: dict[Digest, int] = field(default_factory=dict)
    """Blobs that images need and that are not there -> bytes by their descriptors, -1 if unsaid."""
    missing: list[Finding] = field(default_factory=list)
    """What is needed and not there."""
    findings: list[Finding] = field(default_factory=list)
    """What was left out, and why."""


def select(graph: Graph, registry: Registry, targets: Sequence[Target] = ()) -> Wanted:
    """Return what goes along of a tree; without targets, everything.

    Raises:
        ReferenceInvalid: a target is a digest alone.
    """
    work = _Choosing(graph, registry)
    by_name: dict[str, list[Target]] = {}
    for target in targets:
        if target.name is None:
            raise ReferenceInvalid(f"{target}: name the repository too: NAME@DIGEST")
        by_name.setdefault(target.name, []).append(target)
    for name in sorted(graph.inventory.repositories):
        if not targets or name in by_name:
            work.take(graph.inventory.repositories[name], by_name.get(name, ()))
    return work.finish()


class _Choosing:
    def __init__(self, graph: Graph, registry: Registry) -> None:
        self._graph = graph
        self._registry = registry
        self._found = Wanted()

    def take(self, repository: RepositoryInventory, targets: Sequence[Target]) -> None:
        """Take what is wanted of one repository."""
        graph, name = self._graph, repository.name
        if problem := name_problem(name):
            path = layout.repository_folder(name)
            self._leave(
                Finding(Code.REPOSITORY_INVALID_NAME, path, repository=name, actual=problem)
            )
            return
        tags = set(repository.tags)
        if targets:
            live, tags = self._reached(repository, targets)
            frozen = any(one in graph.problems for one in live)
        else:
            live = graph.live(repository)
            frozen = bool(graph.incomplete) or name in graph.frozen
        needed = graph.needs(live)
        if frozen:
            needed |= graph.mentioned(repository)
        part = RepositoryPart(name)
        part.revisions = dict(self._revisions(repository, live, everything=not targets))
        part.layers = dict(self._layers(repository, needed))
        part.tags = dict(self._tags(repository, part, sorted(tags)))
        self._found.parts.append(part)
        self._take_blobs(needed, live)

    def finish(self) -> Wanted:
        """Return all that was taken, each trouble told once."""
        found = self._found
        found.missing = list({(one.code, one.path): one for one in found.missing}.values())
        told = [one for one in self._graph.inventory.findings if one.code in INCOMPLETE]
        every = [*told, *found.findings]
        found.findings = list({(one.code, one.path): one for one in every}.values())
        return found

    def _leave(self, finding: Finding) -> None:
        """Note what does not go along: whatever it is in the tree, of a copy it is an error."""
        self._found.findings.append(replace(finding, override=Severity.ERROR))

    # -- what references reach -----------------------------------------------------------

    def _reached(
        self, repository: RepositoryInventory, targets: Iterable[Target]
    ) -> tuple[set[Digest], set[str]]:
        """Return the manifests that targets reach in a repository, and the tags that go along."""
        graph, name = self._graph, repository.name
        tags, start = set(), set()
        for target in targets:
            if target.tag is not None:
                tags.add(target.tag)
            elif target.digest is not None:
                start.add(target.digest)
            elif repository.tags:
                tags.update(repository.tags)
            else:
                start.update(repository.revisions)
        for link in list(start):
            start.update(graph.revision_targets(name, link))
        for tag in tags & repository.tags.keys():
            start.update(self._targets(repository, tag))
        live: set[Digest] = set()
        pending = graph.reachable(start, subjects=True)
        while pending:
            live |= pending
            about, named = self._attached(repository, pending)
            tags |= named
            pending = graph.reachable(about, subjects=True) - live
        return live, tags

    def _targets(self, repository: RepositoryInventory, tag: str) -> set[Digest]:
        """Return what a tag leads to, an alias also by what it stands for."""
        found: set[Digest] = set()
        for digest in repository.tags[tag].targets:
            found.add(digest)
            if digest in repository.revisions:
                found.update(self._graph.revision_targets(repository.name, digest))
        return found

    def _attached(
        self, repository: RepositoryInventory, manifests: Iterable[Digest]
    ) -> tuple[set[Digest], set[str]]:
        """Return what is about some manifests in a repository, and the tags that name it."""
        graph = self._graph
        about: set[Digest] = set()
        tags: set[str] = set()
        for subject in manifests:
            about.update(one.digest for one in attachments(graph, subject, repository.name))
            for tag in (fallback_tag(subject), *cosign_tags(subject)):
                info = repository.tags.get(tag)
                if info is not None and attached_to(graph, tag, info.current) is not None:
                    tags.add(tag)
                    about.update(self._targets(repository, tag))
        return about, tags

    # -- links ---------------------------------------------------------------------------

    def _revisions(
        self, repository: RepositoryInventory, live: set[Digest], *, everything: bool
    ) -> Iterator[tuple[Digest, LinkCopy]]:
        name = repository.name
        for digest, info in repository.revisions.items():
            if not everything and live.isdisjoint(self._graph.revision_targets(name, digest)):
                continue
            link = repository.links.get(digest)
            stored: Digest | None = digest
            if link is not None:
                stored = link.digest if link.problem is None else None
            path = layout.path_of(layout.RevisionLink(name, digest))
            if stored is None or _contradicts(digest, stored):
                code = (link and link.problem) or Code.LINK_MISMATCH
                self._leave(Finding(code, path, digest, name, actual=stored))
            else:
                if stored not in self._graph.inventory.blobs:
                    self._lack(Finding(Code.LINK_DANGLING, path, stored, name), stored)
                yield digest, LinkCopy(stored, info.mtime)

    def _layers(
        self, repository: RepositoryInventory, needed: set[Digest]
    ) -> Iterator[tuple[Digest, LinkCopy]]:
        """Yield the layer links that are needed, as they are written."""
        layers, name = repository.layers, repository.name
        times = {digest: mtime for digest, _, mtime, _ in layers.files(range(len(layers)))}
        for algorithm, group in groupby(sorted(times), key=lambda digest: digest.algorithm):
            digests = list(group)
            folder = layout.layers_folder(name, algorithm)
            contents = self._registry.store.contents(
                folder, [one.encoded for one in digests], "link", LINK_LIMIT
            )
            for digest, content in zip(digests, contents, strict=True):
                stored, problem, text = digest, None, ""
                if isinstance(content, StoreError):
                    problem, text = Code.PATH_UNREADABLE, str(content)
                else:
                    link = parse_link_content(content)
                    stored, problem, text = link.digest or digest, link.problem, link.text
                if needed.isdisjoint((digest, stored)):
                    continue
                if problem is None and not _contradicts(digest, stored):
                    yield digest, LinkCopy(stored, times[digest])
                    continue
                path = layout.path_of(layout.LayerLink(name, digest))
                code = problem or Code.LINK_MISMATCH
                self._leave(Finding(code, path, digest, name, actual=text or stored))

    def _tags(
        self, repository: RepositoryInventory, part: RepositoryPart, tags: Iterable[str]
    ) -> Iterator[tuple[str, TagInfo]]:
        name, blobs = repository.name, self._graph.inventory.blobs
        for tag in tags:
            info = repository.tags.get(tag)
            if info is None:
                continue
            path = layout.path_of(layout.TagCurrent(name, tag))
            if problem := tag_problem(tag):
                self._leave(Finding(Code.TAG_INVALID, path, None, name, tag, actual=problem))
            elif info.current is None or info.problem is not None:
                code = info.problem or Code.TAG_WITHOUT_CURRENT
                self._leave(Finding(code, path, None, name, tag))
            else:
                if info.current not in blobs and info.current not in part.revisions:
                    self._lack(Finding(Code.TAG_DANGLING, path, info.current, name, tag))
                history = tuple(
                    entry
                    for entry in info.history
                    if entry.digest in part.revisions or entry.digest == info.current
                )
                yield tag, info._replace(history=history)

    # -- blobs ---------------------------------------------------------------------------

    def _take_blobs(self, needed: set[Digest], live: set[Digest]) -> None:
        found, blobs = self._found, self._graph.inventory.blobs
        for digest in needed:
            info = blobs.get(digest)
            if info is not None:
                found.blobs[digest] = info.size
        found.manifests.update(one for one in live if one in found.blobs)
        for manifest in live:
            problem = self._graph.problems.get(manifest)
            if problem is not None and problem.code is not Code.BLOB_MISSING:
                self._lack(problem)
            elif manifest in self._graph.manifests:
                self._check_leaves(manifest)

    def _check_leaves(self, manifest: Digest) -> None:
        """Note the blobs that a manifest needs and that are not there."""
        graph = self._graph
        number, blobs = graph.inventory.known.find(manifest), graph.inventory.blobs
        if number is None or blobs.has_all(graph.manifests.leaf_numbers(number)):
            return
        info = graph.manifests[manifest]
        lacking = {
            leaf.digest: leaf.size
            for leaf in graph.leaves(manifest)
            if not any(one in blobs for one in graph.named_as(leaf.digest))
        }
        if info.kind is Kind.UNKNOWN or not lacking:
            return
        for digest in self._elsewhere(manifest):
            lacking.pop(digest, None)
        for digest, size in lacking.items():
            unseen = graph.is_unseen(digest)  # it may be there
            code = Code.BLOB_UNREADABLE if unseen else Code.BLOB_MISSING
            self._lack(Finding(code, layout.blob_path(digest), digest), digest, size)

    def _elsewhere(self, manifest: Digest) -> set[Digest]:
        try:
            return absent_by_right(self._registry.skim(manifest).references())
        except RegfsError:
            return set()

    def _lack(self, finding: Finding, digest: Digest | None = None, size: int = -1) -> None:
        self._found.missing.append(finding)
        if digest is not None:
            self._found.lost[digest] = max(size, self._found.lost.get(digest, -1))


def _contradicts(digest: Digest, stored: Digest) -> bool:
    """Return whether a link leads to other bytes than its path says: it is no alias."""
    return stored != digest and stored.algorithm == digest.algorithm
