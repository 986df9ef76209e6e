"""Builds a graph: links from the inventory, and every manifest read once.

A manifest is read, hashed and parsed; its references are kept and the model
dropped. What cannot be read, parsed or trusted becomes a finding, and freezes
every repository that names it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from regfs import layout
from regfs.digest import Digest, digests_in
from regfs.findings import Code, Finding
from regfs.graph.freeze import freeze
from regfs.graph.manifests import Images, Leaf, ManifestInfo
from regfs.graph.model import EdgeKind, Graph
from regfs.graph.read import Reader, Reading
from regfs.manifests import media_types
from regfs.manifests.media_types import BASES, LIMIT, Role
from regfs.manifests.skim import Skimmed
from regfs.parallel import without_collector
from regfs.progress import SILENT, Progress
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import INCOMPLETE, Inventory, RepositoryInventory
from regfs.tree.registry import Registry
from regfs.tree.repositories import complete_history

if TYPE_CHECKING:
    from regfs.manifests import Manifest


@without_collector()
def build_graph(inventory: Inventory, registry: Registry, *, progress: Progress = SILENT) -> Graph:
    """Read every manifest that the inventory names, once, and link it all up.

    A tree with damage raises nothing: what cannot be read is a finding.
    """
    graph = Graph(inventory)
    _Builder(graph, registry, progress).run()
    return graph


class _Builder:
    """Fills a Graph; used once."""

    def __init__(self, graph: Graph, registry: Registry, progress: Progress) -> None:
        self.graph = graph
        self.registry = registry
        self.progress = progress
        self.inventory = graph.inventory
        self.known = self.inventory.known
        self.next = array("I")
        """Numbers of the manifests to be read next."""
        self.queued = DigestSet(self.known)
        """These, and those before them."""
        self.looked: dict[Digest, media_types.Kind | Code] = {}
        """What blobs are that only their bytes tell, or what is wrong with them."""
        self.noted: dict[Digest, list[Digest]] = {}
        """Manifest -> what its annotations name, wherever that is."""
        self.unseen = {
            finding.path
            for finding in self.inventory.findings
            if finding.code in INCOMPLETE and f"{finding.path}/".startswith(layout.BLOBS + "/")
        }
        """Places behind which blobs may lie that have not been seen."""

    def run(self) -> None:
        self._note_blindness()
        for repository in self.inventory.repositories.values():
            self._add_repository(repository)
        self.progress.start("Reading manifests", len(self.next))
        special = DigestSet(self.known)
        special.update(map(self.known.add, chain(self.graph.revised, self.graph.aliases)))
        self.reader = Reader(self.registry, self.inventory, special, self.progress)
        # Level by level: what a level's indexes list is the next level.
        while level := self.next:
            self.next = array("I")
            for found in self.reader.read(level):
                if isinstance(found, Images):
                    self.graph.manifests.add_images(found)
                elif found.manifest is not None:
                    self._add_manifest(found.digest, found.manifest, len(found.data))
                else:
                    self._add_broken(self._unseen_or_broken(found))
        self.progress.finish()
        self._link_noted()
        freeze(self.graph)
        self._complete_histories()

    def _complete_histories(self) -> None:
        """In doubt, what a tag has pointed to may be what it should point to."""
        before = len(self.inventory.findings)
        for name in self.graph.frozen:
            repository = self.inventory.repositories[name]
            complete_history(self.registry.store, self.inventory, repository)
        self._note_unseen(self.inventory.findings[before:])

    # -- repositories ---------------------------------------------------------

    def _note_blindness(self) -> None:
        self._note_unseen(self.inventory.findings)
        self._note_second_places()
        # A disk that is not mounted, or tags that live in a database, look the same.
        if self.inventory.lacks_blobs and not self.inventory.hides(layout.BLOBS):
            self.graph.findings.append(Finding(Code.BLOBS_MISSING, layout.BLOBS))
        hidden = self.inventory.hides(layout.REPOSITORIES)
        if self.inventory.blobs and not self.inventory.repositories and not hidden:
            finding = Finding(Code.REPOSITORIES_MISSING, layout.REPOSITORIES)
            self.graph.findings.append(finding)
            self.graph.incomplete.append(finding)

    def _note_unseen(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if not finding.path.startswith(layout.REPOSITORIES):
                continue
            incomplete = finding.code in INCOMPLETE
            if incomplete:
                self.graph.incomplete.append(finding)
            # A link by an algorithm that is unknown here may name anything the repository holds.
            if incomplete or finding.code is Code.ALGORITHM_UNSUPPORTED:
                name = finding.path[len(layout.REPOSITORIES) + 1 :].partition("/_")[0]
                if name in self.inventory.repositories:
                    self.graph.frozen.setdefault(name, []).append(finding)

    def _note_second_places(self) -> None:
        """Freeze what a link within the tree gives a second place.

        What nothing needs at one place may be needed at the other, and taking it away
        from one takes it away from both. It is not followed which places these are:
        such links are made by hand, and rarely.
        """
        for finding in self.inventory.findings:
            if finding.code is not Code.SYMLINK_INSIDE:
                continue
            if finding.path.startswith(layout.BLOBS + "/"):
                self.graph.incomplete.append(finding)
            elif finding.path.startswith(layout.REPOSITORIES + "/"):
                for name in self.inventory.repositories:
                    self.graph.frozen.setdefault(name, []).append(finding)

    def _add_repository(self, repository: RepositoryInventory) -> None:
        self._read_aliases(repository)
        # Nearly every link holds the digest of its path; only of the others `links` tells.
        odd = {digest: self._revision_targets(repository, digest) for digest in repository.links}
        if odd:
            self.graph.redirected[repository.name] = odd
        if odd:
            targets = (odd.get(one, [one]) for one in repository.revisions)
            self._read_soon(map(self.known.add, chain.from_iterable(targets)))
        else:
            self._read_soon(repository.revisions.numbers)
        for tag, info in repository.tags.items():
            if info.current is not None:
                self._read_soon([self.known.add(info.current)])
                continue
            entries = (self.inventory.blobs.number(entry.digest) for entry in info.history)
            self._read_soon(number for number in entries if number is not None)
            if info.problem is not Code.TAG_WITHOUT_CURRENT:
                path = layout.path_of(layout.TagCurrent(repository.name, tag))
                code = info.problem or Code.LINK_INVALID
                finding = Finding(code, path, repository=repository.name, tag=tag)
                self.graph.frozen.setdefault(repository.name, []).append(finding)

    def _read_soon(self, numbers: Iterable[int]) -> None:
        self.next.extend(self.queued.add_new(numbers))

    def _point(self, manifest: Digest, target: Digest, kind: EdgeKind) -> None:
        self.graph.point(manifest, target, kind)
        # A subject may come after its referrer, so its absence is nothing to look into.
        known = target in self.inventory.blobs or self._hides(target) is not None
        if kind is not EdgeKind.SUBJECT or known:
            self._read_soon([self.known.add(target)])

    def _read_aliases(self, repository: RepositoryInventory) -> None:
        """Read the links that may name a blob by another algorithm than it is stored under."""
        for digest in self.known.others(repository.layers.numbers):
            name, path = repository.name, layout.path_of(layout.LayerLink(repository.name, digest))
            link = self.registry.link(path)
            if link.digest is None:
                # Which blob an image needs by this digest was written nowhere else.
                code = link.problem or Code.LINK_INVALID
                finding = Finding(code, path, digest, name, expected=digest, actual=link.text)
                self.graph.findings.append(finding)
                self.graph.frozen.setdefault(name, []).append(finding)
            elif link.digest != digest:
                self.graph.aliases.setdefault(digest, set()).add(link.digest)

    def _revision_targets(self, repository: RepositoryInventory, digest: Digest) -> list[Digest]:
        """Return what a revision link names: by its path, and by its content where that differs."""
        link = repository.links.get(digest)
        if link is None:
            return [digest]
        path = layout.path_of(layout.RevisionLink(repository.name, digest))
        if link.problem is not None:
            finding = Finding(
                link.problem,
                path,
                digest=digest,
                repository=repository.name,
                expected=digest,
                actual=link.text,
            )
            if link.problem is not Code.PATH_UNREADABLE:  # that has been found while listing
                self.graph.findings.append(finding)
            if link.digest is None:
                self.graph.frozen.setdefault(repository.name, []).append(finding)
        if link.digest is None or link.digest == digest:
            return [digest]
        if link.digest.algorithm != digest.algorithm and digest not in self.inventory.blobs:
            self.graph.aliases.setdefault(digest, set()).add(link.digest)
            return [link.digest]
        self.graph.findings.append(
            Finding(
                Code.LINK_MISMATCH,
                path,
                digest=digest,
                repository=repository.name,
                expected=digest,
                actual=link.digest,
            )
        )
        return [digest, link.digest]

    # -- manifests ------------------------------------------------------------

    def _add_manifest(self, digest: Digest, manifest: Manifest | Skimmed, size: int) -> None:
        if manifest.kind is media_types.Kind.UNKNOWN:
            path = layout.blob_path(digest)
            kind = manifest.media_type or "none given"
            finding = Finding(Code.MANIFEST_UNKNOWN_TYPE, path, digest, actual=kind)
            self.graph.findings.append(finding)
        leaves: list[Leaf] = []
        for reference in manifest.references():
            role, named, length = reference[:3]
            if role is Role.SUBJECT:
                continue
            is_child = self._is_child(reference)
            if is_child:
                self._point(digest, named, EdgeKind.CHILD)
            # What is a layer here can be a manifest elsewhere; it counts as both.
            if not is_child or role is not Role.MANIFEST:
                leaves.append(Leaf(named, role, length))
                if named in self.graph.aliases:
                    leaves.extend(Leaf(other, role, length) for other in self.graph.aliases[named])
        subject = manifest.subject.digest if manifest.subject is not None else None
        if subject is not None:
            for one in self.graph.named_as(subject):
                self._point(digest, one, EdgeKind.SUBJECT)
        kind, artifact_type = manifest.kind, manifest.artifact_type
        based = not BASES.isdisjoint(manifest.annotations)
        info = ManifestInfo(kind, manifest.media_type, artifact_type, size, subject, based)
        self.graph.add_manifest(digest, info, leaves)
        noted = [one for one in manifest.noted if one in self.inventory.blobs]
        if noted:
            self.noted[digest] = noted

    def _link_noted(self) -> None:
        """Take note of blobs that annotations name, repository by repository.

        Only what the repository links counts: most digests in annotations are of manifests and
        sources elsewhere, and to keep all these would keep base images for ever.
        """
        graph = self.graph
        for repository in self.inventory.repositories.values() if self.noted else ():
            starts = [target for _, _, target in graph.links(repository)]
            reached = graph.reachable(starts, subjects=True)
            named = graph.needs(reached)
            told: dict[Digest, Digest] = {}
            for manifest in sorted(reached & self.noted.keys()):
                revision_targets = [one for one in self.noted[manifest] if one in repository.layers]
                known = graph.noted.setdefault(manifest, []) if revision_targets else []
                known += [one for one in revision_targets if one not in known]
                told.update((one, manifest) for one in revision_targets if one not in named)
            for blob, manifest in told.items():
                path = layout.path_of(layout.LayerLink(repository.name, blob))
                finding = Finding(
                    Code.BLOB_ANNOTATED, path, blob, repository.name, actual=f"in {manifest}"
                )
                graph.findings.append(finding)

    def _is_child(self, reference: media_types.Reference) -> bool:
        """Return whether a reference leads to a manifest.

        Media types decide where they can. Where they cannot (none given, unknown to
        us, or a manifest of unknown type named it), whatever is a revision somewhere
        is a manifest, and what is small enough to be one is looked at.
        """
        digest = reference.digest
        if digest in self.graph.revised:
            return True
        if reference.role in (Role.CONFIG, Role.LAYER):
            return False
        if reference.media_type in media_types.MANIFEST_TYPES:
            return True
        stored = self.inventory.blobs.get(digest)
        if stored is None:
            return reference.role is Role.MANIFEST
        if stored.size > LIMIT or (reference.role is not Role.MANIFEST and reference.media_type):
            return False
        found = self._look_at(digest)
        if isinstance(found, Code):
            # What does not even look like a manifest is a blob; of the rest nobody can tell.
            return found is not Code.MANIFEST_UNREADABLE
        return found is not media_types.Kind.UNKNOWN or bool(reference.media_type)

    def _look_at(self, digest: Digest) -> media_types.Kind | Code:
        """Return which kind of manifest a listed blob is, or what is wrong with it."""
        if digest not in self.looked:
            reading = self.reader.read_one(self.known.add(digest))
            if reading.manifest is not None:
                self.looked[digest] = reading.manifest.kind
            else:
                assert reading.problem is not None
                self.looked[digest] = reading.problem.code
        return self.looked[digest]

    def _hides(self, digest: Digest) -> str | None:
        """Return the place behind which a blob may lie unseen; None when there is none."""
        path = layout.blob_folder(digest) if self.unseen else ""
        while path:
            if path in self.unseen:
                return path
            path = layout.parent_of(path)
        return None

    def _unseen_or_broken(self, reading: Reading) -> Reading:
        """Return what is not there as what cannot be read, where nobody could look for it."""
        problem = reading.problem
        hidden = self._hides(reading.digest)
        if problem is None or problem.code is not Code.BLOB_MISSING or hidden is None:
            return reading
        path, actual = problem.path, f"it may lie behind {hidden}"
        finding = Finding(Code.BLOB_UNREADABLE, path, reading.digest, actual=actual)
        return reading._replace(problem=finding)

    def _add_broken(self, reading: Reading) -> None:
        """Take note of a manifest that cannot be known, and keep every digest written in it."""
        graph, digest = self.graph, reading.digest
        assert reading.problem is not None
        graph.problems[digest] = reading.problem
        leaves: list[Leaf] = []
        for named in digests_in(reading.data):
            reference = media_types.Reference(Role.MANIFEST, named)
            known = named in self.graph.revised or named in self.inventory.blobs
            if known and self._is_child(reference):
                self._point(digest, named, EdgeKind.CHILD)
            else:
                leaves.append(Leaf(named, Role.BLOB, -1))
        if reading.data:
            size = len(reading.data)
            info = ManifestInfo(media_types.Kind.UNKNOWN, "", None, size, None)
            graph.add_manifest(digest, info, leaves)
