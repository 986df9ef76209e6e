"""What removing images would free, and what keeps the rest. Nothing is removed here.

    removal(graph, [app:v1])
        freed              by `gc` with untagged pruning, after the removal
        freed_by_default   by plain `gc`: a revision link keeps its image there
        keepers            other images that need some of it, and how much

The answer is the difference between what gc would delete with these images and without them, so
it always agrees with gc. What is unreferenced or untagged already does not count. Ages are
ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

from regfs.digest import Digest
from regfs.errors import ManifestUnknown
from regfs.gc.candidates import Candidates
from regfs.gc.mark import Mark
from regfs.gc.policy import Policy
from regfs.gc.tags import unread
from regfs.graph import Graph
from regfs.graph.attached import is_own
from regfs.reports.contents import holdings
from regfs.runs.totals import ActionKind
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Target


@dataclass(frozen=True, slots=True)
class BlobAmount:
    """Some blobs."""

    blobs: int
    bytes: int
    allocated: int = 0
    """Bytes of disk blocks, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """An image that needs some of these blobs too."""

    name: str
    repository: str
    tag: str | None
    """None for untagged manifests that gc keeps."""
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """The report."""

    asked: tuple[str, ...]
    tags: tuple[str, ...]
    """Tags that would be removed, as `repository:tag`."""
    revisions: int
    """Number of revision links that would be removed."""
    holds: BlobAmount
    """What these images need."""
    freed: BlobAmount
    """By gc with untagged pruning (`-m`)."""
    freed_by_default: BlobAmount
    """By gc without."""
    kept: BlobAmount
    """holds - freed."""
    keepers: tuple[Keeper, ...]
    """The images that keep most, first."""
    keepers_omitted: int
    tagless: tuple[str, ...]
    """Repositories left with no tag; gc prunes them only when confirmed by name."""
    frozen: tuple[str, ...]
    """Repositories with damage that keep whatever they name."""
    incomplete: bool
    """Whether parts of the tree cannot be read, or no repository is left: gc then frees nothing."""


@dataclass(slots=True)
class _Gone:
    """What is removed."""

    repositories: set[str] = field(default_factory=set)
    tags: set[tuple[str, str]] = field(default_factory=set)
    revisions: set[tuple[str, Digest]] = field(default_factory=set)


def removal(graph: Graph, targets: Sequence[Target], *, top: int = 10) -> Removal:
    """Return what removing these tags, manifests or repositories would free.

    Raises:
        ManifestUnknown: a target is a digest that is a manifest nowhere.
    """
    gone = _gone(graph, targets)
    asked = set(_manifests(graph, gone))
    left, tagless = _without(graph, gone), tuple(sorted(_left_tagless(graph, gone)))
    prune = Policy(delete_untagged=True, allow_tagless=tagless, min_age=0.0)
    pruned = _deleted(left, prune) - (_deleted(graph, prune) - _asked_revisions(graph, gone))
    plain = _deleted(left, Policy(min_age=0.0)) - _deleted(graph, Policy(min_age=0.0))
    # In a tree without any repository gc deletes nothing.
    incomplete = bool(graph.incomplete) or gone.repositories >= set(graph.inventory.repositories)
    freed = set() if incomplete else pruned
    holds = _present(graph, graph.needs(asked) | freed)
    keepers = list(_keepers(graph, gone, holds - freed))
    return Removal(
        asked=tuple(map(str, targets)),
        tags=tuple(sorted(f"{name}:{tag}" for name, tag in gone.tags)),
        revisions=len(gone.revisions),
        holds=_amount(graph, holds),
        freed=_amount(graph, freed),
        freed_by_default=_amount(graph, set() if incomplete else plain),
        kept=_amount(graph, holds - freed),
        keepers=tuple(keepers[:top]),
        keepers_omitted=max(len(keepers) - top, 0),
        tagless=tagless,
        frozen=tuple(sorted(set(graph.frozen) - gone.repositories)),
        incomplete=incomplete,
    )


def _gone(graph: Graph, targets: Iterable[Target]) -> _Gone:
    gone = _Gone()
    every = graph.inventory.repositories
    for target in targets:
        if target.name is None:
            owners = [name for name in every if _has(every[name], target.digest)]
            if not owners:
                raise ManifestUnknown(
                    f"{target} is not a manifest of any repository; "
                    "layers are removed with their images"
                )
        else:
            owners = [target.name] if target.name in every else []
        for name in owners:
            _take(gone, every[name], target)
    return gone


def _has(repository: RepositoryInventory, digest: Digest | None) -> bool:
    return digest in repository.revisions or any(
        info.current == digest for info in repository.tags.values()
    )


def _take(gone: _Gone, repository: RepositoryInventory, target: Target) -> None:
    name = repository.name
    if target.tag is not None:
        gone.tags.add((name, target.tag))
        return
    if target.digest is None:
        gone.repositories.add(name)
    elif not _has(repository, target.digest):
        raise ManifestUnknown(f"{target} is not a manifest; layers are removed with their images")
    for digest in repository.revisions:
        if target.digest in (None, digest):
            gone.revisions.add((name, digest))
    for tag, info in repository.tags.items():
        if target.digest is None or info.current == target.digest:
            gone.tags.add((name, tag))


def _manifests(graph: Graph, gone: _Gone) -> set[Digest]:
    """Return every manifest that what is removed reaches."""
    found: set[Digest] = set()
    for name, tag in gone.tags:
        repository = graph.inventory.repositories[name]
        info = repository.tags.get(tag)
        if info is not None and info.current is not None:
            found |= graph.reachable([info.current], referrers=repository.revisions)
    starts = {
        digest for name, linked in gone.revisions for digest in graph.revision_targets(name, linked)
    }
    return found | graph.reachable(starts)


# -- what gc would delete -------------------------------------------------------


def _deleted(graph: Graph, policy: Policy) -> set[Digest]:
    """Return the blobs that gc would delete."""
    mark = Mark(graph, policy, graph.inventory.taken_at, unread)
    actions = Candidates(graph, policy, mark).actions()
    return {Digest(one.digest or "") for one in actions if one.kind is ActionKind.BLOB}


def _asked_revisions(graph: Graph, gone: _Gone) -> set[Digest]:
    """Return the blobs of manifests that are removed by name, in use or not."""
    linked = [
        digest for name, link in gone.revisions for digest in graph.revision_targets(name, link)
    ]
    return graph.needs(graph.reachable(linked))


def _without(graph: Graph, gone: _Gone) -> Graph:
    """Return the graph of the tree after a removal."""
    inventory = copy(graph.inventory)
    inventory.repositories = {
        name: _left_of(repository, gone)
        for name, repository in graph.inventory.repositories.items()
        if name not in gone.repositories
    }
    return graph.among(inventory)


def _left_of(repository: RepositoryInventory, gone: _Gone) -> RepositoryInventory:
    left, name = copy(repository), repository.name
    left.tags = {tag: info for tag, info in repository.tags.items() if (name, tag) not in gone.tags}
    left.revisions = repository.revisions.without(
        digest for other, digest in gone.revisions if other == name
    )
    return left


def _is_tagged(graph: Graph, repository: RepositoryInventory, gone: _Gone | None = None) -> bool:
    """Return whether any tag is not attached to another image."""
    return any(
        is_own(graph, repository, tag)
        for tag in repository.tags
        if gone is None or (repository.name, tag) not in gone.tags
    )


def _left_tagless(graph: Graph, gone: _Gone) -> Iterator[str]:
    for name in {name for name, _ in gone.tags} - gone.repositories:
        repository = graph.inventory.repositories[name]
        changes = _is_tagged(graph, repository) and not _is_tagged(graph, repository, gone)
        if changes and any((name, d) not in gone.revisions for d in repository.revisions):
            yield name


def _keepers(graph: Graph, gone: _Gone, kept: set[Digest]) -> list[Keeper]:
    """Return the images that need any of `kept` once `gone` is removed, largest share first."""
    found = []
    for held in holdings(graph):
        repository = graph.inventory.repositories[held.repository]
        prunes = held.repository not in graph.frozen and _is_tagged(graph, repository)
        is_gone = held.repository in gone.repositories or (
            prunes if held.tag is None else (held.repository, held.tag) in gone.tags
        )
        if not is_gone and (both := graph.needs(held.manifests) & kept):
            amount = _amount(graph, both)
            name, tag = held.repository, held.tag
            found.append(Keeper(str(held), name, tag, amount.blobs, amount.bytes))
    return sorted(found, key=lambda keeper: (-keeper.bytes, keeper.name))


def _present(graph: Graph, digests: set[Digest]) -> set[Digest]:
    return {digest for digest in digests if digest in graph.inventory.blobs}


def _amount(graph: Graph, digests: set[Digest]) -> BlobAmount:
    blobs = graph.inventory.blobs
    found = [info for info in map(blobs.get, digests) if info is not None]
    size = sum(info.size for info in found)
    return BlobAmount(len(found), size, sum(max(info.allocated, 0) for info in found))
