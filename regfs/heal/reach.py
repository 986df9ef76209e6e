"""Which manifests a repository has, or provably had although the link is lost.

    linked      it has a revision link
    tagged      a tag of the repository names it: a registry writes the tag after the manifest
    listed      an index of the repository names it, and the repository still has the links to
                all its parts: pushing the index alone does not create these

Being listed by an index is not enough. Some registries accept an index without checking what it
lists, and pushing one must not give anyone the image of another repository.
"""

from __future__ import annotations

from collections.abc import Iterator

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Kind
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Registry


class Reach:
    """Finds the manifests of the repositories of one tree."""

    def __init__(self, registry: Registry, graph: Graph) -> None:
        self._registry = registry
        self._graph = graph
        self._foreign: dict[Digest, set[Digest] | None] = {}

    def is_intact(self, manifest: Digest) -> bool:
        """Return whether a manifest was read, matches its digest and has a known type."""
        info = self._graph.manifests.get(manifest)
        known = info is not None and info.kind is not Kind.UNKNOWN
        return known and manifest not in self._graph.problems

    def manifests(self, content: RepositoryInventory) -> Iterator[tuple[Digest, str]]:
        """Yield the intact manifests of a repository, each with the proof that it has it."""
        tagged = {
            info.current: f"tag {tag} names it"
            for tag, info in content.tags.items()
            if info.current is not None and info.problem is None
        }
        pending = [*tagged, *content.revisions]
        seen: set[Digest] = set()
        while pending:
            manifest = pending.pop()
            if manifest in seen or not self.is_intact(manifest):
                continue
            seen.add(manifest)
            by_link = "its link names it" if manifest in content.revisions else ""
            yield manifest, by_link or tagged.get(manifest, "an index names it")
            if self._graph.manifests[manifest].kind is Kind.INDEX:
                children = self._graph.children(manifest)
                pending.extend(one for one in children if self._had(content, one))

    def parts(self, manifest: Digest) -> list[Digest]:
        """Return the blobs that a repository must link to serve a manifest, in its order."""
        leaves = dict.fromkeys(leaf.digest for leaf in self._graph.leaves(manifest))
        # A blob named by another algorithm comes with its stored name, which needs no link.
        true_names = {name for leaf in leaves for name in self._graph.aliases.get(leaf, ())}
        return [leaf for leaf in leaves if leaf not in true_names]

    def is_foreign(self, manifest: Digest, blob: Digest) -> bool:
        """Return whether a manifest names a blob that need not be pushed.

        A registry accepts such a manifest from clients that never had the blob.
        """
        if manifest not in self._foreign:
            self._foreign[manifest] = self._read_foreign(manifest)
        found = self._foreign[manifest]
        return found is None or blob in found

    def _read_foreign(self, manifest: Digest) -> set[Digest] | None:
        try:
            references = self._registry.skim(manifest).references()
        except RegfsError:
            return None  # it was readable a moment ago; now it is unknown
        own = {one.digest for one in references if not one.foreign}
        return {one.digest for one in references if one.foreign} - own

    def _had(self, content: RepositoryInventory, manifest: Digest) -> bool:
        """Return whether a repository has a manifest, or the links to all its parts."""
        if manifest in content.revisions:
            return True
        if not self.is_intact(manifest):
            return False
        children = self._graph.children(manifest)
        unlinked = [one for one in self.parts(manifest) if one not in content.layers]
        if any(not self.is_foreign(manifest, one) for one in unlinked):
            return False
        linked = len(self.parts(manifest)) - len(unlinked) + len(children)
        return linked > 0 and all(self._had(content, child) for child in children)
