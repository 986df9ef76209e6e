"""Which images a finding damages: from a blob or a link upwards to the tags.

Without a graph (level links), only what the links themselves say is known: a tag by its own
link, and the tags that point to a revision.
"""

from __future__ import annotations

from collections import defaultdict

from regfs import layout
from regfs.digest import Digest
from regfs.errors import LayoutInvalid
from regfs.findings import Finding
from regfs.graph import EdgeKind, Graph, NodeKind
from regfs.tree.inventory import Inventory
from regfs.verify.elsewhere import Elsewhere


def key_at(path: str) -> layout.Key:
    """Return the key of `path`; the root and anything that is not a path is foreign."""
    try:
        return layout.key_of(path)
    except LayoutInvalid:
        return layout.Foreign(path)


class Affected:
    """Finds the images of one tree that findings damage."""

    def __init__(
        self, inventory: Inventory, graph: Graph | None, elsewhere: Elsewhere | None = None
    ) -> None:
        """`elsewhere` excludes images that fetch a blob from URLs; without it none is excluded."""
        self._elsewhere = elsewhere
        self._inventory = inventory
        self._graph = graph
        self._tags: dict[tuple[str, Digest], list[str]] | None = None

    def images(self, finding: Finding) -> set[str]:
        """Return the images that a finding damages, as `ReportedFinding.images` names them."""
        key = key_at(finding.path)
        repository, digest = finding.repository, finding.digest
        match key:
            case layout.TagIndex() | layout.SignatureLink() | layout.ReferrerLink():
                return set()  # history and annotations: nothing is pulled through them
            case layout.TagCurrent(name, tag):
                return {f"{name}:{tag}"}
            case layout.RevisionLink(name, linked) | layout.LayerLink(name, linked):
                repository, digest = name, linked
            case layout.BlobData(linked):
                # If a layer and one of its manifests disagree, the digest says which manifest.
                digest = digest or linked
        if repository is not None and finding.tag is not None:
            return {f"{repository}:{finding.tag}"}
        return set() if digest is None else self.above(Digest(digest), repository)

    def above(self, digest: Digest, repository: str | None) -> set[str]:
        """Return the images that contain a blob or a manifest, in one repository or in all."""
        if self._graph is None:
            return self._tagged(digest, repository)
        return self._climb(self._graph, digest, repository)

    def _tagged(self, digest: str, repository: str | None) -> set[str]:
        if self._tags is None:
            self._tags = defaultdict(list)
            for name, content in self._inventory.repositories.items():
                for tag, info in content.tags.items():
                    if info.current is not None:
                        self._tags[name, info.current].append(f"{name}:{tag}")
        if repository is None:
            return set()
        return set(self._tags.get((repository, Digest(digest)), ()))

    def _is_spared(self, manifest: Digest, blob: Digest) -> bool:
        """Return whether a manifest gets a blob from URLs, and no repository has both."""
        if self._elsewhere is None or not self._elsewhere.has(manifest, blob):
            return False
        return blob not in self._inventory.blobs or not any(
            manifest in content.revisions and blob in content.layers
            for content in self._inventory.repositories.values()
        )

    def _climb(self, graph: Graph, digest: Digest, repository: str | None) -> set[str]:
        """Return every image above `digest`, in one repository or in all.

        A referrer is not part of its subject, nor the subject part of it.
        """
        found: set[Digest] = set()
        holders = (
            one for one in graph.manifests_naming(digest) if not self._is_spared(one, digest)
        )
        pending = [digest, *holders]
        repositories = self._inventory.repositories
        names: set[str] = set()
        while pending:
            manifest = pending.pop()
            if manifest in found:
                continue
            found.add(manifest)
            tagged, revisions, indexes = set(), set(), []
            for before, kind in graph.predecessors(manifest).items():
                if isinstance(before, Digest):
                    if kind is EdgeKind.CHILD:
                        indexes.append(before)
                elif repository is None or before.repository == repository:
                    if kind is EdgeKind.CURRENT:
                        tagged.add(before.repository)
                        names.add(str(before))
                    elif before.kind is NodeKind.REVISION:
                        revisions.add(before.repository)
            pending.extend(indexes)
            names.update(
                f"{name}@{manifest}"
                for name in revisions - tagged
                if not any(map(repositories[name].revisions.__contains__, indexes))
            )
        return names
