"""What every tag reaches, and what is untagged: the unit in which usage is counted.

    holdings(graph) -> Holding(app, v1, {index, image, image, attestation}), ...

A referrer belongs to the holding of its subject. Holdings are complete: what no tag
of a repository reaches is one more holding, whose tag is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.findings import Code
from regfs.graph import Graph
from regfs.manifests import absent_by_right
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Target

if TYPE_CHECKING:
    from regfs.manifests import Manifest
    from regfs.manifests.skim import Skimmed

Read = Callable[[Digest], "Manifest | Skimmed"]
"""Reads a manifest, as `Registry.manifest` and `Registry.skim` do."""


class Holding(NamedTuple):
    """What one tag reaches, or all that no tag of a repository reaches."""

    repository: str
    tag: str | None
    """None for what is untagged."""
    manifests: set[Digest]

    def __str__(self) -> str:
        return f"{self.repository} (untagged)" if self.tag is None else self.label

    @property
    def label(self) -> str:
        """The reference that names it."""
        return self.repository if self.tag is None else f"{self.repository}:{self.tag}"


class Missing(NamedTuple):
    """Content that is needed but missing."""

    digest: str
    size: int
    """Bytes, by a manifest; 0 if none says."""


def holdings(graph: Graph) -> Iterator[Holding]:
    """Yield the holdings of every repository."""
    for repository in graph.inventory.repositories.values():
        yield from holdings_of(graph, repository)


def holdings_of(graph: Graph, repository: RepositoryInventory) -> Iterator[Holding]:
    """Yield the holdings of one repository: its tags by name, then what is untagged."""
    tagged: set[Digest] = set()
    for tag, info in sorted(repository.tags.items()):
        if info.current is not None:
            found = graph.reachable([info.current], referrers=repository.revisions)
            tagged |= found
            yield Holding(repository.name, tag, found)
    rest = graph.live(repository) - tagged
    if rest:
        yield Holding(repository.name, None, graph.reachable(rest))


def is_meant(graph: Graph, held: Holding, target: Target) -> bool:
    """Return whether a reference means a holding: it names it, or content that it needs."""
    if target.name is not None and held.repository != target.name:
        return False
    if target.tag is not None:
        return held.tag == target.tag
    if target.digest is None:
        return True
    return target.digest in held.manifests or target.digest in graph.needs(held.manifests)


def doubtful(graph: Graph) -> set[Digest]:
    """Return the blobs that an unreadable image may need; gc keeps them.

    These are all blobs that a damaged repository links to, or every blob if parts of the tree
    cannot be read. Blobs that readable manifests need are among them.
    """
    if graph.incomplete:
        return set(graph.inventory.blobs)
    found: set[Digest] = set()
    for name in graph.frozen:
        repository = graph.inventory.repositories.get(name)
        if repository is not None:
            found |= graph.mentioned(repository)
    return {digest for digest in found if digest in graph.inventory.blobs}


def is_alias(graph: Graph, digest: Digest) -> bool:
    """Return whether a digest is another name of a blob stored under another algorithm."""
    return digest in graph.aliases and digest not in graph.inventory.blobs


def weight(graph: Graph, manifest: Digest) -> int:
    """Return the bytes of a manifest and of all it names, as often as it names them."""
    blobs = graph.inventory.blobs
    return sum(map(blobs.sizes.__getitem__, blobs.rows_of(graph.numbers_named(manifest))))


def missing(graph: Graph, manifest: Digest, read: Read) -> Iterator[Missing]:
    """Yield the manifest itself and what it names directly, if that is missing.

    Layers with urls and platforms left out of a partial mirror are not missing. Neither is
    anything whose place could not be read: it may be there.
    """
    blobs = graph.inventory.blobs
    numbers = graph.numbers_named(manifest)
    if len(blobs.rows_of(numbers)) == len(numbers):
        return  # nearly always
    problem = graph.problems.get(manifest)
    if manifest not in blobs and not is_alias(graph, manifest):
        partial = problem is not None and problem.code is Code.INDEX_CHILD_MISSING
        if not partial and not graph.is_unseen(manifest):
            yield Missing(manifest, 0)
        return
    absent = {
        leaf.digest: max(leaf.size, 0)
        for leaf in graph.leaves(manifest)
        if leaf.digest not in blobs and not is_alias(graph, leaf.digest)
    }
    elsewhere = _elsewhere(manifest, read) if absent else set()
    for digest, size in absent.items():
        if digest not in elsewhere and not graph.is_unseen(digest):
            yield Missing(digest, size)


def _elsewhere(manifest: Digest, read: Read) -> set[Digest]:
    try:
        return absent_by_right(read(manifest).references())
    except RegfsError:
        return set()
