"""Whether every image has all it needs: blobs, links in its own repository, the right sizes.

An index may list manifests that were never pushed (a partial mirror). If a repository has none
of them, nobody can pull the index, and that is an error. A layer with URLs is fetched from
there; it does not matter whether another repository has its bytes here. A manifest of unknown
type needs nothing that is checked here.

Findings come in the order of repositories, links and manifests, never in that of a set.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import PathMissing, RegfsError
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.manifests import Kind, Reference, Role
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import RepositoryInventory
from regfs.verify.context import Context, FileState

_NOBODY_CAN_PULL: Final[dict[str, Any]] = {
    "override": Severity.ERROR,
    "actual": "none of the manifests that it lists",
    "advice": "Nobody can pull it: push the image again, or `regfs heal --from SOURCE --relink`.",
}


class SizeMismatch(NamedTuple):
    """A manifest and the tree disagree on the size of a blob."""

    manifest: Digest
    blob: Digest
    promised: int
    """Bytes, according to the descriptor."""
    stored: int


class Closure:
    """Checks images against the tree."""

    def __init__(self, context: Context, graph: Graph) -> None:
        self._context = context
        self._graph = graph
        self._hollow: dict[Digest, set[str]] = {}
        """Index -> repositories that serve it but none of the manifests it lists."""
        self._solid: set[Digest] = set()
        """Indexes of which at least one repository serves a manifest."""

    def check(self) -> None:
        """Check everything but sizes."""
        context, graph = self._context, self._graph
        self._check_empty_blobs()  # "0 bytes" says more than the digest of nothing
        repositories = context.inventory.repositories.values()
        if not context.inventory.proxy_cache:  # where an index lists what nobody has pulled yet
            for content in repositories:
                self._weigh_indexes(content)
        for finding in graph.findings:
            hollow = finding.digest in self._hollow and finding.digest not in self._solid
            if finding.code is Code.INDEX_CHILD_MISSING and hollow:
                finding = replace(finding, **_NOBODY_CAN_PULL)
            context.add(finding)
        used = DigestSet(context.inventory.known)
        context.progress.start("Checking images", len(repositories))
        for content in repositories:
            if context.scope.has_repository(content.name):
                self._check_repository(content)
                used.update(self._check_usage(content))
            context.progress.advance(1)
        context.progress.finish()
        if context.scope.everything and not graph.incomplete:
            blobs = context.inventory.blobs
            for digest in map(blobs.digest, used.lacking(blobs.numbers)):
                path = layout.blob_path(digest)
                context.add(Finding(Code.BLOB_UNREFERENCED, path, digest))

    def may_be_absent(self, manifest: Digest, blob: Digest) -> bool:
        """Return whether a manifest names a blob that may be stored elsewhere."""
        return self._context.elsewhere.has(manifest, blob)

    def lost(self, blob: Digest) -> bool:
        """Return whether an image needs a blob that is gone."""
        known = (
            one for one in self._graph.manifests_naming(blob) if self._kind(one) is not Kind.UNKNOWN
        )
        return any(
            not self.may_be_absent(manifest, blob) and self._is_still_there(manifest)
            for manifest in known
        )

    def _is_still_there(self, manifest: Digest) -> bool:
        """Return whether a manifest was not collected since: its links would be deleted first."""
        repositories = self._context.inventory.repositories.values()
        names = [content.name for content in repositories if manifest in content.revisions]
        links: list[layout.Key] = [layout.RevisionLink(name, manifest) for name in names]
        return any(self._is_there(key) for key in links or [layout.BlobData(manifest)])

    def _is_there(self, key: layout.Key) -> bool:
        try:
            self._context.registry.store.stat(layout.path_of(key))
        except PathMissing:
            return False
        except RegfsError:
            return True  # it cannot be looked at
        return True

    def _kind(self, manifest: Digest) -> Kind:
        """Return the kind of a manifest; UNKNOWN also if it is missing or damaged."""
        info = self._graph.manifests.get(manifest)
        if info is None or manifest in self._graph.problems:
            return Kind.UNKNOWN
        return info.kind

    def _references(self, manifest: Digest) -> tuple[Reference, ...]:
        try:
            return self._context.registry.skim(manifest).references()
        except RegfsError:
            return ()  # it was readable a moment ago; other checks report what happened

    def _check_empty_blobs(self) -> None:
        blobs = self._context.inventory.blobs
        for row, size in enumerate(blobs.sizes):
            if size or (digest := blobs.digest(row)).is_of_nothing:
                continue
            path = layout.blob_path(digest)
            if self._size_now(path) == 0:
                code = Code.BLOB_CORRUPT
                self._context.add(Finding(code, path, digest, expected=digest, actual="0 bytes"))

    # -- one repository -----------------------------------------------------------

    def _check_repository(self, content: RepositoryInventory) -> None:
        seen: set[Digest] = set()
        for manifest, kind in self._served(content):
            if not self._has_all_blobs(content, manifest):
                self._check_blobs(content, manifest, seen)
            for child in self._listed(manifest, kind):
                self._check_child(content, manifest, child)

    def _has_all_blobs(self, content: RepositoryInventory, manifest: Digest) -> bool:
        """Return whether all blobs of a manifest are listed, with links in the repository."""
        inventory = self._context.inventory
        number = inventory.known.find(manifest)
        if number is None:
            return False
        numbers = self._graph.manifests.leaf_numbers(number)
        return inventory.blobs.has_all(numbers) and content.layers.has_all(numbers)

    def _check_blobs(
        self, content: RepositoryInventory, manifest: Digest, seen: set[Digest]
    ) -> None:
        """Check the blobs of a manifest that are not in `seen`; add those that are checked."""
        leaves = dict.fromkeys(leaf.digest for leaf in self._graph.leaves(manifest))
        # A blob named by another algorithm comes with its stored name, which needs no link.
        true_names = {name for leaf in leaves for name in self._graph.aliases.get(leaf, ())}
        for blob in leaves:
            if blob in true_names or blob in seen:
                continue
            if self._check_blob(content, manifest, blob):
                seen.add(blob)

    def _served(self, content: RepositoryInventory) -> Iterator[tuple[Digest, Kind]]:
        """Yield the manifests that a repository serves and whose kind is known."""
        for digest in content.revisions:
            targets = self._graph.revision_targets(content.name, digest)
            served = digest if digest in targets or len(targets) != 1 else targets[0]
            kind = self._kind(served)
            if kind is not Kind.UNKNOWN:
                yield served, kind

    def _listed(self, manifest: Digest, kind: Kind) -> list[Digest]:
        """Return the manifests that an index lists, without those that count as blobs."""
        if kind is not Kind.INDEX:
            return []
        leaves = {leaf.digest for leaf in self._graph.leaves(manifest)}
        return [child for child in self._graph.children(manifest) if child not in leaves]

    def _weigh_indexes(self, content: RepositoryInventory) -> None:
        """Note each index of a repository that serves none of its manifests."""
        for index, kind in self._served(content):
            children = self._listed(index, kind)
            if any(self._is_linked(content, child) for child in children):
                self._solid.add(index)
            elif children:
                self._hollow.setdefault(index, set()).add(content.name)

    def _is_linked(self, content: RepositoryInventory, manifest: Digest) -> bool:
        if manifest in content.revisions:
            return True
        link = layout.path_of(layout.RevisionLink(content.name, manifest))
        return self._context.file(link) is not FileState.ABSENT

    def _check_blob(self, content: RepositoryInventory, manifest: Digest, blob: Digest) -> bool:
        """Check that a repository can serve a blob of one of its images.

        Return False if it cannot and need not for this manifest.
        """
        context = self._context
        stored, linked = self._stored(blob), blob in content.layers
        if not (stored and linked) and self.may_be_absent(manifest, blob):
            return False
        if not stored:
            context.need_blob(blob)
        elif not linked:
            path = layout.path_of(layout.LayerLink(content.name, blob))
            if context.file(path) is FileState.ABSENT:
                context.add(Finding(Code.LAYER_LINK_MISSING, path, blob, content.name))
        return True

    def _stored(self, blob: Digest) -> bool:
        """Return whether a blob exists, under this digest or that of another algorithm."""
        others = self._graph.aliases.get(blob, ())
        return any(self._context.blob(one) is FileState.THERE for one in (blob, *others))

    def _check_child(self, content: RepositoryInventory, index: Digest, child: Digest) -> None:
        if self._is_linked(content, child):
            return
        hollow = content.name in self._hollow.get(index, ())
        problem = self._graph.problems.get(child)
        reported = problem is not None and problem.code in (
            Code.INDEX_CHILD_MISSING,
            Code.BLOB_MISSING,
        )
        if reported and (not hollow or index not in self._solid):
            return  # the graph reports it, with this severity
        path = layout.blob_path(index)
        actual = "no revision link in this repository"
        finding = Finding(
            Code.INDEX_CHILD_MISSING, path, index, content.name, expected=child, actual=actual
        )
        self._context.add(replace(finding, **_NOBODY_CAN_PULL) if hollow else finding)

    def _check_usage(self, content: RepositoryInventory) -> array[int]:
        """Report unused layer links; return the number of every blob that may be needed."""
        live = self._graph.live(content)
        needed = self._graph.needed_numbers(live)
        layers = content.layers
        if self._graph.incomplete or content.name in self._graph.frozen:
            return needed + layers.numbers  # an unknown manifest may need them all
        used = set(needed)
        for row, number in enumerate(layers.numbers):
            if number in used:
                continue
            digest = layers.digest(row)
            path = layout.path_of(layout.LayerLink(content.name, digest))
            self._context.add(Finding(Code.LAYER_LINK_UNUSED, path, digest, content.name))
        return needed

    # -- sizes --------------------------------------------------------------------

    def size_mismatches(self) -> Iterator[SizeMismatch]:
        """Yield every descriptor whose size differs from that of the stored blob."""
        scope = self._context.scope
        blobs = self._context.inventory.blobs
        sizes = blobs.sizes
        for manifest, info in self._graph.manifests.items():
            if self._kind(manifest) is Kind.UNKNOWN or not scope.has_blob(manifest):
                continue
            named: Iterable[tuple[int | None, int]]
            if info.kind is Kind.INDEX:  # the graph does not keep the sizes that an index gives
                parts = filter(_is_part, self._references(manifest))
                named = ((blobs.find(one.digest), one.size) for one in parts)
            else:
                named = (
                    (blobs.row_of(n), size) for n, size in self._graph.manifests.sizes(manifest)
                )
            wrong = dict.fromkeys(
                (row, size)
                for row, size in named
                if row is not None and size >= 0 and size != sizes[row]
            )
            for row, size in wrong:
                yield SizeMismatch(manifest, blobs.digest(row), size, sizes[row])

    def report_size(self, mismatch: SizeMismatch, *, right: bool) -> None:
        """Report a size mismatch; `right`: the blob matches its digest, the manifest is wrong."""
        manifest, blob, promised, stored = mismatch
        path = layout.blob_path(blob)
        bad = (Code.BLOB_CORRUPT, Code.BLOB_UNREADABLE, Code.BLOB_MISSING)
        reported = any(self._context.collector.has(code, path) for code in bad)
        if reported or blob in self._graph.problems or self._size_now(path) != stored:
            return  # reported already, or changed since it was listed
        expected_size, stored_size = f"{promised} bytes", f"{stored} bytes"
        if right or blob in self._graph.manifests:
            path = layout.blob_path(manifest)
            code = Code.DESCRIPTOR_SIZE_MISMATCH
            expected = f"{stored_size} of {blob}"
            self._context.add(
                Finding(code, path, manifest, expected=expected, actual=expected_size)
            )
        else:
            code = Code.BLOB_SIZE_MISMATCH
            self._context.add(Finding(code, path, blob, expected=expected_size, actual=stored_size))

    def _size_now(self, path: str) -> int | None:
        try:
            return self._context.registry.store.stat(path).size
        except RegfsError:
            return None


def _is_part(reference: Reference) -> bool:
    return reference.role is not Role.SUBJECT
