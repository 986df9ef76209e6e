"""Which items in quarantine a list of roots needs. Changes nothing.

A list of roots (`regfs.gc.roots`) names things in a tree. If one of them was moved into
quarantine with everything that refers to it, no link leads to it any more. So the list is
followed here, through manifests in place and in quarantine:

    a digest    the blob; the manifest in every repository where it was; all that it names.
                If it is not a manifest (some runtimes know an image by its config):
                every manifest in quarantine that names it.
    a tag       with what it points to

What is put back is a root in the next round, which finds the links that it needs.
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
    """Finds the items in quarantine that a list of roots needs."""

    def __init__(self, store: Store, roots: Roots, items: Iterable[Item]) -> None:
        self._store = store
        self._roots = {*roots.said, *roots.perhaps}
        self._blobs: dict[Digest, str] = {}
        """Blob -> its path in quarantine."""
        self._manifests: set[Digest] = set()
        """Manifests whose revision links lie in quarantine."""
        for item in items:
            if item.digest is None:
                continue
            if item.kind is ActionKind.BLOB:
                self._blobs[item.digest] = item.quarantine_path
            elif item.kind is ActionKind.REVISION:
                self._manifests.add(item.digest)
        said = {root.reference for root in self._roots if isinstance(root.reference, Digest)}
        self._digests = self._named(said | self._naming(said - self._manifests))
        """Everything that the roots reach through manifests."""
        self._links = said
        self._tags = {
            layout.tag_folder(root.name, root.reference)
            for root in self._roots
            if root.name is not None and not isinstance(root.reference, Digest)
        }

    def needs(self, item: Item) -> bool:
        """Return whether an item in quarantine is in use."""
        if item.kind is ActionKind.TAG:
            return item.path in self._tags
        if item.kind is ActionKind.LAYER_LINK:
            # Other links come back after the manifest that needs them. Only this one may name
            # its blob in another algorithm.
            return item.digest in self._links
        in_use = item.kind in (ActionKind.BLOB, ActionKind.REVISION)
        return in_use and item.digest in self._digests

    def _naming(self, digests: set[Digest]) -> set[Digest]:
        """Return the manifests in quarantine that name any of these."""
        if not digests:
            return set()
        return {one for one in self._manifests if not digests.isdisjoint(self._read(one))}

    def _named(self, digests: set[Digest]) -> set[Digest]:
        """Return digests with everything reached from them."""
        found, pending = set(digests), list(digests)
        while pending:
            fresh = set(self._read(pending.pop())) - found
            found |= fresh
            pending += fresh
        return found

    def _read(self, digest: Digest) -> list[Digest]:
        """Return the digests in a manifest; none for anything else.

        Raises:
            StoreError: it cannot be read, so what is in use is not known.
        """
        path = self._blobs.get(digest) or layout.blob_path(digest)
        try:
            # Not verified: what a corrupt manifest names is in use as well.
            data = self._store.read(path, LIMIT + 1)
        except PathMissing:
            return []
        return digests_in(data) if len(data) <= LIMIT else []


def repositories_in_quarantine(store: Store) -> set[str]:
    """Return the repositories of items in quarantine; some may exist only there."""
    return {item.repository for item in quarantined_items(store) if item.repository is not None}


def missing(registry: Registry, roots: Roots, progress: Progress = SILENT) -> list[Finding]:
    """Return a finding for every root that is not in the tree."""
    inventory = scan(registry.store, progress=progress, history=False, lean=True)
    graph = build_graph(inventory, registry, progress=progress)

    def is_there(finding: Finding) -> bool:
        """Return whether a root is there under its digest in another algorithm."""
        known = graph.aliases.get(Digest(finding.digest), ()) if finding.digest else ()
        return any(inventory.blobs.get(one) is not None for one in known)

    return [finding for finding in resolve(roots, inventory).findings if not is_there(finding)]
