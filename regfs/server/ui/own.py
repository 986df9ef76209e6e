"""What each repository itself has, by its own links and tags only.

A manifest may name anything: its subject, the children of an index and foreign layers need not
be in its repository, and whoever knows a digest can name it. So being named by a manifest
gives nobody a right to see something. A link does: it was written when the bytes were pushed
to the repository, or mounted from one that the client may read. The page shows what has a
link (a revision, a layer, the current link of a tag), and nothing else, as the API does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from regfs.digest import Digest
from regfs.graph import Graph
from regfs.reports.contents import holdings_of
from regfs.tree.inventory import RepositoryInventory


class OwnUsage(NamedTuple):
    """The bytes of what one repository has."""

    blobs: int
    stored: int
    apparent: int
    unique: None = None
    """Without unique bytes, which would reveal other repositories."""


class Own:
    """Answers for one snapshot of a tree; safe for several threads."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._further: dict[str, frozenset[Digest]] = {}
        self._usage: dict[str, OwnUsage] = {}

    def has(self, name: str, digest: Digest) -> bool:
        """Return whether a repository has a blob or manifest, whose bytes may be missing."""
        one = self._graph.inventory.repositories.get(name)
        if one is None:
            return False
        return digest in one.revisions or digest in one.layers or digest in self._others(one)

    def weight(self, name: str, manifests: Iterable[Digest]) -> int:
        """Return the bytes of manifests and of what they name, if the repository has it."""
        blobs = self._graph.inventory.blobs
        return sum(
            blobs.size(part)
            for manifest in manifests
            if self.has(name, manifest)
            for part in (manifest, *(leaf.digest for leaf in self._graph.leaves(manifest)))
            if self.has(name, part)
        )

    def usage(self, name: str) -> OwnUsage:
        """Return the bytes of what a repository has and its manifests need."""
        if name not in self._usage:
            self._usage[name] = self._counted(self._graph.inventory.repositories[name])
        return self._usage[name]

    def _counted(self, one: RepositoryInventory) -> OwnUsage:
        blobs, name = self._graph.inventory.blobs, one.name
        groups = [
            {manifest for manifest in holding.manifests if self.has(name, manifest)}
            for holding in holdings_of(self._graph, one)
        ]
        needed = self._graph.needs(set().union(*groups))
        sizes = [blobs[blob].size for blob in needed if blob in blobs and self.has(name, blob)]
        return OwnUsage(len(sizes), sum(sizes), sum(self.weight(name, some) for some in groups))

    def _others(self, one: RepositoryInventory) -> frozenset[Digest]:
        """Return what a repository has under a digest other than the one in the link's path."""
        found = self._further.get(one.name)
        if found is None:
            found = self._further[one.name] = frozenset(self._read_others(one))
        return found

    def _read_others(self, one: RepositoryInventory) -> Iterable[Digest]:
        for info in one.tags.values():
            if info.current is not None:
                yield info.current
        for digest in one.links:
            yield from self._graph.revision_targets(one.name, digest)
        for alias, stored in self._graph.aliases.items():
            if alias in one.layers or alias in one.revisions:
                yield from stored
