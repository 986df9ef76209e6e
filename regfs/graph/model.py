"""The graph itself: its nodes and edges, and the questions it answers."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Finding
from regfs.manifests import media_types
from regfs.manifests.media_types import Role
from regfs.stores import folders_above
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


class Leaf(NamedTuple):
    """A blob as a manifest names it."""

    digest: Digest
    role: Role
    size: int
    """Bytes by the descriptor; -1 where it gives none."""


class ManifestInfo(NamedTuple):
    """What is kept of a manifest once it is read."""

    kind: media_types.Kind
    media_type: str
    artifact_type: str | None
    size: int
    subject: Digest | None
    first: int
    """Where its leaves begin in the leaf arrays."""
    last: int


class Images(NamedTuple):
    """Many images as columns: all of their blobs are listed, and none of these is a manifest."""

    digests: Sequence[Digest]
    media_types: Sequence[str]
    artifact_types: Sequence[str | None]
    sizes: Sequence[int]
    """Bytes of each manifest."""
    counts: Sequence[int]
    """How many blobs each names."""
    numbers: array[int]
    """Those blobs, one image after the other, by their number in the inventory."""
    lengths: array[int]
    """Bytes of each of these, by its descriptor."""


_ROLES: Final = tuple(Role)
_ROLE_NUMBERS: Final = {role: number for number, role in enumerate(_ROLES)}
_CONFIG: Final = bytes([_ROLE_NUMBERS[Role.CONFIG]])
_LAYER: Final = bytes([_ROLE_NUMBERS[Role.LAYER]])
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
        self.manifests: dict[Digest, ManifestInfo] = {}
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
        self._digests = inventory.blobs.digests.copy()
        """Number -> blob: as in the inventory, then the missing ones that a manifest names."""
        self._missing: dict[Digest, int] = {}
        self._leaves = array("I")
        self._roles = array("B")
        self._sizes = array("q")
        self._referrers: dict[Digest, list[Digest]] = {}

    @cached_property
    def revised(self) -> frozenset[Digest]:
        """Every digest that is a revision in any repository."""
        repositories = self.inventory.repositories.values()
        return frozenset().union(*(one.revisions.numbers for one in repositories))

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
        info = self.manifests.get(manifest)
        if info is None:
            return
        for position in range(info.first, info.last):
            number = self._leaves[position]
            role = _ROLES[self._roles[position]]
            yield Leaf(self._digests[number], role, self._sizes[position])

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

    def needs(self, found: Iterable[Digest]) -> set[Digest]:
        """Return every blob that these manifests need: the manifests, configs and layers."""
        found = set(found)
        needed = set(found)
        digests, leaves, manifests = self._digests, self._leaves, self.manifests
        numbers: set[int] = set()
        for manifest in needed:
            info = manifests.get(manifest)
            if info is not None:
                numbers.update(leaves[info.first : info.last])
        needed.update(map(digests.__getitem__, numbers))
        if self.noted:
            noted = (self.noted[one] for one in self.noted.keys() & found)
            needed.update(*noted)
        return needed

    # -- asking back ----------------------------------------------------------

    def manifests_naming(self, blob: Digest) -> list[Digest]:
        """Return the manifests that name a blob themselves, be it in an annotation."""
        number = self.inventory.blobs.numbers.get(blob, self._missing.get(blob))
        if number is None:
            return []
        if not hasattr(self, "_holders"):
            self._holders = self._index_holders()
        return self._holders.get(number, [])

    def _index_holders(self) -> dict[int, list[Digest]]:
        index: dict[int, list[Digest]] = {}
        for manifest, info in self.manifests.items():
            for number in dict.fromkeys(self._leaves[info.first : info.last]):
                index.setdefault(number, []).append(manifest)
        for manifest, blobs in self.noted.items():
            for blob in blobs:
                above = index.setdefault(self._number(blob), [])
                if manifest not in above:
                    above.append(manifest)
        return index

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

    def _number(self, blob: Digest) -> int:
        number = self.inventory.blobs.numbers.get(blob, self._missing.get(blob))
        if number is None:
            number = self._missing[blob] = len(self._digests)
            self._digests.append(blob)
        return number

    def add_images(self, images: Images) -> None:
        """Add images, the first blob of each its config and all others layers."""
        first = len(self._leaves)
        self._leaves.extend(images.numbers)
        self._sizes.extend(images.lengths)
        kind = media_types.Kind.IMAGE
        roles = []
        for digest, media_type, artifact_type, size, count in zip(*images[:5], strict=True):
            last = first + count
            self.manifests[digest] = ManifestInfo(
                kind, media_type, artifact_type, size, None, first, last
            )
            roles.append(_CONFIG + _LAYER * (count - 1))
            first = last
        self._roles.frombytes(b"".join(roles))

    def add_manifest(self, digest: Digest, parsed: ManifestInfo, leaves: Iterable[Leaf]) -> None:
        """Add what is known of a manifest, and the blobs it names."""
        first = len(self._leaves)
        for leaf in leaves:
            self._leaves.append(self._number(leaf.digest))
            self._roles.append(_ROLE_NUMBERS[leaf.role])
            self._sizes.append(leaf.size)
        self.manifests[digest] = parsed._replace(first=first, last=len(self._leaves))
        if parsed.subject is not None:
            for subject in self.named_as(parsed.subject):
                self._referrers.setdefault(subject, []).append(digest)

    def subjects(self) -> Iterable[tuple[Digest, list[Digest]]]:
        """Return every subject that is named, with the manifests that name it."""
        return self._referrers.items()


_NOTHING: Final[Mapping[Any, EdgeKind]] = {}
