"""What somebody outside says is in use, of what lies in quarantine. Changes nothing.

A list of roots (`regfs.gc.roots`) is about a tree. When what it names has been moved away
already, with all that refers to it, no link is left that leads there. So it is followed
here, by what is written in manifests, be they in place or in quarantine:

    a digest    the blob, the manifest in whichever repository it was, all that it names;
                of one that is no manifest (some runtimes know an image by its config)
                every manifest in quarantine that names it
    a tag       with what it points to

What is put back is a root for the next look, which finds the links that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable

from regfs import layout
from regfs.digest import Digest, digests_in
from regfs.errors import PathMissing
from regfs.findings import Finding
from regfs.gc.quarantine import quarantined_items
from regfs.gc.roots import Roots, resolve
from regfs.graph import build_graph
from regfs.manifests import LIMIT
from regfs.progress import SILENT, Progress
from regfs.runs import Item
from regfs.runs.totals import ActionKind
from regfs.stores import Store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan


class ExternalRoots:
    """What a list of roots names, of what some things in quarantine are."""

    def __init__(self, store: Store, roots: Roots, items: Iterable[Item]) -> None:
        self._store = store
        self._said = {*roots.said, *roots.perhaps}
        self._blobs: dict[Digest, str] = {}
        """Blob -> where it lies in quarantine."""
        self._manifests: set[Digest] = set()
        """Whose links lie in quarantine."""
        for item in items:
            if item.digest is None:
                continue
            if item.kind is ActionKind.BLOB:
                self._blobs[item.digest] = item.quarantine_path
            elif item.kind is ActionKind.REVISION:
                self._manifests.add(item.digest)
        said = {root.reference for root in self._said if isinstance(root.reference, Digest)}
        self._digests = self._named(said | self._holders(said - self._manifests))
        """Everything that is in use, as far as it is written in manifests."""
        self._links = said
        self._tags = {
            layout.tag_folder(root.name, root.reference)
            for root in self._said
            if root.name is not None and not isinstance(root.reference, Digest)
        }

    def needs(self, item: Item) -> bool:
        """Return whether an item in quarantine is in use."""
        if item.kind is ActionKind.TAG:
            return item.path in self._tags
        if item.kind is ActionKind.LAYER_LINK:
            # The others come back when the manifest that needs them has. This one may be all
            # that tells a digest in another algorithm.
            return item.digest in self._links
        in_use = item.kind in (ActionKind.BLOB, ActionKind.REVISION)
        return in_use and item.digest in self._digests

    def _holders(self, digests: set[Digest]) -> set[Digest]:
        """Return the manifests in quarantine that name any of these."""
        if not digests:
            return set()
        return {one for one in self._manifests if not digests.isdisjoint(self._read(one))}

    def _named(self, digests: set[Digest]) -> set[Digest]:
        """Return digests with all that they name, and what that names."""
        found, pending = set(digests), list(digests)
        while pending:
            fresh = set(self._read(pending.pop())) - found
            found |= fresh
            pending += fresh
        return found

    def _read(self, digest: Digest) -> list[Digest]:
        """Return what is written in a manifest; of anything else nothing.

        Raises:
            StoreError: it cannot be read, so that what is in use is not known.
        """
        path = self._blobs.get(digest) or layout.blob_path(digest)
        try:
            # Not verified: what a broken one names is in use as well.
            data = self._store.read(path, LIMIT + 1)
        except PathMissing:
            return []
        return digests_in(data) if len(data) <= LIMIT else []


def repositories_in_quarantine(store: Store) -> set[str]:
    """Return the repositories of which something lies in quarantine: a name may be there only."""
    return {item.repository for item in quarantined_items(store) if item.repository is not None}


def missing(registry: Registry, roots: Roots, progress: Progress = SILENT) -> list[Finding]:
    """Return a finding for every root that is not in the tree."""
    inventory = scan(registry.store, progress=progress, history=False, lean=True)
    graph = build_graph(inventory, registry, progress=progress)

    def is_there(finding: Finding) -> bool:
        """Return whether it is there by its digest in another algorithm."""
        known = graph.aliases.get(Digest(finding.digest), ()) if finding.digest else ()
        return any(inventory.blobs.get(one) is not None for one in known)

    return [finding for finding in resolve(roots, inventory).findings if not is_there(finding)]
