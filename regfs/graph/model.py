"""The graph itself: its nodes and edges, and the questions it answers."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Finding
from regfs.graph.manifests import Leaf, ManifestInfo, ManifestTable
from regfs.manifests.media_types import Role
from regfs.stores import folders_above
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import INCOMPLETE, Inventory, RepositoryInventory


class NodeKind(StrEnum):
    """What a node stands for."""

    REPOSITORY = "repository"
    TAG = "tag"
    REVISION = "revision"
    MANIFEST = "manifest"
    BLOB = "blob"


class EdgeKind(StrEnum):
    """Why one node points to another."""

    TAG = "tag"
    """A repository has a tag."""
    REVISION = "revision"
    """A repository has a manifest, by its revision link."""
    CURRENT = "current"
    """A tag points to a manifest."""
    HISTORY = "history"
    """A tag that does not tell what it points to has once pointed to a manifest."""
    CONTENT = "content"
    """A revision is a manifest."""
    CHILD = "child"
    """An index lists a manifest."""
    SUBJECT = "subject"
    """A referrer is about a manifest. Weak: see `Graph.reachable`."""
    CONFIG = "config"
    LAYER = "layer"
    BLOB = "blob"
    ANNOTATION = "annotation"
    """A manifest names a blob in an annotation, and its repository links that blob."""


class Node(NamedTuple):
    """A repository, tag or revision. A manifest's node is its bare Digest, a blob's likewise."""

    kind: NodeKind
    repository: str
    name: str = ""
    """The tag, or the digest of the revision."""

    def __str__(self) -> str:
        if self.kind is NodeKind.REPOSITORY:
            return self.repository
        return f"{self.repository}{':' if self.kind is NodeKind.TAG else '@'}{self.name}"


ROLE_EDGES: Final = {
    Role.CONFIG: EdgeKind.CONFIG,
    Role.LAYER: EdgeKind.LAYER,
    Role.BLOB: EdgeKind.BLOB,
}
"""Role of a blob in a manifest -> the edge that leads to it; a blob in any other role is BLOB."""


class Graph:
    """Repositories, tags, revisions, manifests and what they need."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.manifests = ManifestTable(inventory.known)
        """Every manifest that was read and is what its digest says."""
        self.problems: dict[Digest, Finding] = {}
        """Every manifest that is named and cannot be known."""
        self.findings: list[Finding] = []
        self.frozen: dict[str, list[Finding]] = {}
        """Repository -> why nothing that it names may be deleted."""
        self.incomplete: list[Finding] = []
        """Why no blob at all may be deleted: places where unseen links may lie."""
        self.aliases: dict[Digest, set[Digest]] = {}
        """Digest in another algorithm -> the digest its link holds."""
        self.successors: dict[Digest, dict[Digest, EdgeKind]] = {}
        """Manifest -> the manifests it points to, and why; only of those that point to any."""
        self.noted: dict[Digest, list[Digest]] = {}
        """Manifest -> blobs that are here and that it names in an annotation, where a repository
        that has the manifest links them. Some tools name blobs nowhere else."""
        self.redirected: dict[str, dict[Digest, list[Digest]]] = {}
        """Repository -> its revision links that do not simply lead to their own digest."""
        self._known = inventory.known
        self._referrers: dict[Digest, list[Digest]] = {}

    def among(self, inventory: Inventory) -> Graph:
        """Return this graph with only those repositories, tags and revisions of an inventory.

        It has to be the inventory of this graph without some of them.
        """
        found = copy(self)
        for name in ("revised", "_predecessors", "_unseen"):
            vars(found).pop(name, None)
        found.inventory = inventory
        repositories = inventory.repositories
        found.redirected = {
            name: {link: to for link, to in links.items() if link in repositories[name].revisions}
            for name, links in self.redirected.items()
            if name in repositories
        }
        return found

    @cached_property
    def revised(self) -> DigestSet:
        """Every digest that is a revision in any repository."""
        found = DigestSet(self._known)
        for repository in self.inventory.repositories.values():
            found.update(repository.revisions.numbers)
        return found

    @cached_property
    def _unseen(self) -> frozenset[str]:
        """Places of blobs, and folders of them, that could not be seen."""
        found = self.inventory.findings
        return frozenset(one.path for one in found if one.code in INCOMPLETE)

    def is_unseen(self, digest: Digest) -> bool:
        """Return whether a blob that was not listed may be there: its place was not seen."""
        path = layout.blob_path(digest) if self._unseen else ""
        return bool(path) and not self._unseen.isdisjoint((path, *folders_above(path)))

    # -- one manifest ---------------------------------------------------------

    def leaves(self, manifest: Digest) -> Iterator[Leaf]:
        """Yield the blobs a manifest names itself, in its order; none when it is unknown."""
        return self.manifests.leaves(manifest)

    def numbers_named(self, manifest: Digest) -> array[int]:
        """Return the numbers of a manifest and of the blobs it names, as often as it does."""
        number = self._known.add(manifest)
        return array("I", [number]) + self.manifests.leaf_numbers(number)

    def children(self, manifest: Digest) -> list[Digest]:
        """Return the manifests an index lists, in its order."""
        targets = self.successors.get(manifest, {}).items()
        return [target for target, kind in targets if kind is EdgeKind.CHILD]

    def named_as(self, digest: Digest) -> list[Digest]:
        """Return a digest, and those that it stands for in the algorithm of the store."""
        return [digest, *self.aliases.get(digest, ())]

    def revision_targets(self, repository: str, digest: Digest) -> list[Digest]:
        """Return what a revision link leads to: its own digest, and what its content names."""
        return self.redirected.get(repository, {}).get(digest) or [digest]

    def named(self, repository: RepositoryInventory) -> set[Digest]:
        """Return every manifest that a repository names by a revision or a tag."""
        name = repository.name
        odd = {link: self.revision_targets(name, link) for link in self.redirected.get(name, ())}
        found = set(repository.revisions).difference(odd).union(*odd.values())
        for info in repository.tags.values():
            found.update(info.targets)
        return found

    def mentioned(self, repository: RepositoryInventory) -> set[Digest]:
        """Return every digest in the links of a repository, and what it stands for.

        If a manifest of the repository cannot be known, it may need any of them.
        """
        found = {*repository.layers, *repository.revisions}
        for info in repository.tags.values():
            found.update(entry.digest for entry in info.history)
        return found.union(*(self.aliases.get(digest, ()) for digest in found))

    def links(self, repository: RepositoryInventory) -> Iterator[tuple[Node, EdgeKind, Digest]]:
        """Yield every tag and revision of a repository with the manifests it leads to, and why."""
        name = repository.name
        for digest in repository.revisions:
            node = Node(NodeKind.REVISION, name, digest)
            for target in self.revision_targets(name, digest):
                yield node, EdgeKind.CONTENT, target
        for tag, info in repository.tags.items():
            node = Node(NodeKind.TAG, name, tag)
            if info.current is not None:
                yield node, EdgeKind.CURRENT, info.current
                continue
            for entry in info.history:
                if entry.digest in self.inventory.blobs:
                    yield node, EdgeKind.HISTORY, entry.digest

    def referrers_by_field(self, subject: Digest) -> Sequence[Digest]:
        """Return the manifests whose subject field names `subject`, in this algorithm or another.

        `regfs.graph.attached.referrers` adds those that fallback tags list.
        """
        return self._referrers.get(subject, ())

    # -- reaching -------------------------------------------------------------

    def reachable(
        self,
        start: Iterable[Digest],
        *,
        subjects: bool = False,
        referrers: Collection[Digest] = (),
    ) -> set[Digest]:
        """Return every manifest that `start` leads to, itself included.

        An index leads to its children. `subjects` makes a referrer lead to its
        subject as well; `referrers` are manifests that live while their subject
        does: a subject leads to those of them that are about it.
        """
        found = set(start)
        # Most manifests lead nowhere: those that do are picked out before any is looked at.
        pending = found & self.successors.keys()
        if referrers:
            pending |= found & self._referrers.keys()
        while pending:
            manifest = pending.pop()
            ahead: list[Digest] = []
            for target, kind in self.successors.get(manifest, _NOTHING).items():
                if subjects or kind is not EdgeKind.SUBJECT:
                    ahead.append(target)
            if referrers and manifest in self._referrers:
                ahead.extend(r for r in self._referrers[manifest] if r in referrers)
            for target in ahead:
                if target not in found:
                    found.add(target)
                    pending.add(target)
        return found

    def live(
        self,
        repository: RepositoryInventory,
        also: Iterable[Digest] = (),
        *,
        subjects_of: Iterable[Digest] | None = None,
    ) -> set[Digest]:
        """Return every manifest that a repository reaches while nothing in it may go.

        `also` are manifests that it has to keep by the word of somebody else. Subjects are
        followed from everything, or only from what `subjects_of` reach.
        """
        named = self.named(repository).union(also)
        if subjects_of is None:
            return self.reachable(named, subjects=True)
        return self.reachable(named) | self.reachable(subjects_of, subjects=True)

    def needs(self, found: Iterable[Digest]) -> set[Digest]:
        """Return every blob that these manifests need: the manifests, configs and layers.

        For a few; an object for each of a million blobs would take 200 MB.
        """
        return set(map(self._known.__getitem__, set(self.needed_numbers(found))))

    def needed_numbers(self, found: Iterable[Digest]) -> array[int]:
        """Return what `needs` does as numbers of `Inventory.known`, some of them repeatedly."""
        needed = array("I")
        for manifest in found:
            number = self._known.add(manifest)
            needed.append(number)
            needed += self.manifests.leaf_numbers(number)
            if self.noted:
                needed.extend(map(self._known.add, self.noted.get(manifest, ())))
        return needed

    # -- asking back ----------------------------------------------------------

    def manifests_naming(self, blob: Digest) -> list[Digest]:
        """Return the manifests that name a blob themselves, be it in an annotation."""
        return list(dict.fromkeys([*self.manifests.naming(blob), *self._noting.get(blob, ())]))

    @cached_property
    def _noting(self) -> dict[Digest, list[Digest]]:
        """Blob -> the manifests that name it in an annotation."""
        found: dict[Digest, list[Digest]] = {}
        for manifest, blobs in self.noted.items():
            for blob in blobs:
                found.setdefault(blob, []).append(manifest)
        return found

    def predecessors(self, manifest: Digest) -> Mapping[Node | Digest, EdgeKind]:
        """Return the tags, revisions and manifests that lead to a manifest, and why.

        Empty for what nothing names as a manifest.
        """
        return self._predecessors.get(manifest, _NOTHING)

    @cached_property
    def _predecessors(self) -> dict[Digest, dict[Node | Digest, EdgeKind]]:
        index: dict[Digest, dict[Node | Digest, EdgeKind]] = {}
        for repository in self.inventory.repositories.values():
            for node, kind, target in self.links(repository):
                index.setdefault(target, {}).setdefault(node, kind)
        for manifest, targets in self.successors.items():
            for target, kind in targets.items():
                index.setdefault(target, {})[manifest] = kind
        return index

    # -- used while building --------------------------------------------------

    def point(self, manifest: Digest, target: Digest, kind: EdgeKind) -> None:
        """Let a manifest point to another, unless it does already: the first reason stays."""
        self.successors.setdefault(manifest, {}).setdefault(target, kind)

    def add_manifest(self, digest: Digest, info: ManifestInfo, leaves: Iterable[Leaf]) -> None:
        """Add what is known of a manifest, and the blobs it names."""
        self.manifests.add(digest, info, leaves)
        if info.subject is not None:
            for subject in self.named_as(info.subject):
                self._referrers.setdefault(subject, []).append(digest)

    def subjects(self) -> Iterable[tuple[Digest, list[Digest]]]:
        """Return every subject that is named, with the manifests that name it."""
        return self._referrers.items()


_NOTHING: Final[Mapping[Any, EdgeKind]] = {}
