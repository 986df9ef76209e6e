"""The questions to a tree: each method is one call of a report, with the parts it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from regfs.facade.parts import Parts

if TYPE_CHECKING:
    from regfs.documents.prices import Prices
    from regfs.files.image import ImageFiles
    from regfs.files.layers import Layers
    from regfs.gc.retention import RetentionPolicy
    from regfs.reports.attestations import ReadDocument
    from regfs.reports.buildkit import BuildKitReport
    from regfs.reports.diff import DiffReport
    from regfs.reports.file_search import FoundFiles
    from regfs.reports.image import Shown
    from regfs.reports.lineage import Bases
    from regfs.reports.orphans import Orphans
    from regfs.reports.overview import Overview
    from regfs.reports.paths import Reasons
    from regfs.reports.referrers import ReferrerTree
    from regfs.reports.removal import Removal
    from regfs.reports.reuse import Reuse
    from regfs.reports.summary import Summary
    from regfs.reports.tag_log import TagLog
    from regfs.reports.usage import By, Sort, Usage
    from regfs.reports.waste import Waste


class Reports(Parts):
    """The questions. What references are, and what an answer lacks: see `Tree`."""

    def summary(self) -> Summary:
        """Count what is there, whose it is, and whether it looks well.

        >>> tree.summary().tags
        8
        """
        from regfs.reports.summary import summary

        return summary(self.graph, self.view.skim)

    def overview(
        self, retention: RetentionPolicy | None = None, prices: Prices | None = None
    ) -> Overview:
        """Return the summary, what can be freed, also by a policy, and what is known of the disk.

        Of a bucket also what a plan and a verify take, by `prices` in money.

        >>> tree.overview().reclaimable.untagged.totals.blobs
        0
        """
        from regfs.reports.costs import costs
        from regfs.reports.overview import look_around, overview
        from regfs.verify.ledger_file import LEDGER

        before = self.store.requests.get("list", 0)
        found = self.summary()
        pages = self.store.requests.get("list", 0) - before
        expected = costs(self.graph, pages, prices) if pages else None
        around = look_around(self.store, self.store.room(), LEDGER, self.reported.append)
        read = self.view.manifest_bytes
        return overview(found, self.graph, around, read, retention, self._progress, expected)

    def usage(
        self,
        *references: str,
        by: By | str | None = None,
        sort: Sort | str = "stored",
        top: int | None = None,
    ) -> Usage:
        """Return what images use, in bytes: stored once, unique, shared, and without sharing.

        >>> tree.usage().sum.stored
        1109168
        >>> [(row.name, row.unique) for row in tree.usage(by="tag", sort="unique", top=1).rows]
        [('my-busybox-extended-cached:buildcache-index', 4203)]

        `by` says what a row is: by default a tag if references name any, else a repository.
        Without references the report also has what is on the disk.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.reports.disk import disk_of
        from regfs.reports.usage import By, Options, Sort, usage

        targets = self._find(references)
        default = By.TAG if any(target.digest for target in targets) else By.REPOSITORY
        graph = self.graph if targets else self._measured.graph
        disk = None if targets else disk_of(*self._measured[1:], report=self.reported.append)
        options = Options(default if by is None else By(by), Sort(sort), top)
        return usage(graph, self.view.manifest, targets, options, disk)

    def reuse(self, *references: str, top: int | None = None) -> Reuse:
        """Return which layers images share, and how many bytes that saves.

        >>> report = tree.reuse()
        >>> report.saved, report.shared[0].used_by[:2]
        (6505124, ('my-busybox:latest', 'my-busybox-extended:latest'))

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.reports.reuse import reuse

        view, targets = self.view, self._find(references)
        return reuse(self.graph, view.skim, view.manifest_bytes, targets, top=top)

    def waste(
        self,
        *references: str,
        top: int | None = None,
        at_least: float | None = None,
        sample: int | None = None,
    ) -> Waste:
        """Return which bytes in layers nobody sees, as later layers overwrite or remove the files.

        >>> tree.waste("my-busybox").rows[0].efficiency
        1.0

        All layers are read. Images with an efficiency below `at_least` are named. With `sample`,
        so many bytes of layers are compressed anew, to estimate what zstd would save.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.reports.waste import WasteOptions, waste

        options = WasteOptions(top, at_least, sample)
        targets = self._find(references)
        return waste(self.graph, self.view, self.layers, targets, options, self._progress)

    def bases(self, *references: str) -> Bases:
        """Return which image is built on which, by annotations and by layers.

        With references: these images, what they are built on, and what is built on them.

        >>> {image.image: image.bases for image in tree.bases().images}["my-busybox:latest"]
        ()
        """
        from regfs.reports.lineage import bases

        return bases(self.graph, self.view.skim, self._find(references))

    def export(self, format: str, *references: str, blobs: bool = True) -> Iterator[bytes]:
        """Yield everything, or what references name, in one of the formats of `graph`.

        >>> b"".join(tree.export("dot", "my-busybox")).decode().splitlines()[0]
        'digraph registry {'

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
            Invalid, Refused: there is no such format; it cannot take so much.
        """
        from regfs.render.pictures.export import Exported, export
        from regfs.verify.known import known_findings

        parts = self.view, self.inventory, self.graph
        targets = tuple(self._find(references))
        findings = partial(known_findings, *parts, self._progress, self.reported.append)
        unread = len(self.unread)
        what = Exported(self.graph, self.view, targets, blobs, unread, findings)
        return export(format, what)

    def show(self, reference: str) -> Shown:
        """Return one image in full; NAME alone means NAME:latest.

        >>> tree.show("my-busybox").media_type
        'application/vnd.oci.image.manifest.v1+json'

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`.
            ContentMismatch, ManifestInvalid: its manifest is damaged.
        """
        from regfs.reports.image import show

        target, digest = self.view.find_content(reference)
        return show(self.graph, self.view, target, digest)

    @cached_property
    def layers(self) -> Layers:
        """The layers by digest: what is in them, and the content of files."""
        from regfs.files.layers import Layers

        return Layers(self.registry, self._progress, self.cache)

    def files(self, reference: str, platform: str | None = None) -> ImageFiles:
        """Return what is inside an image; of several in an index that of a platform.

        >>> image = tree.files("my-busybox")
        >>> image.merged.get("bin/busybox").entry.size
        1982256

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`; or it has no files.
            ContentMismatch, ManifestInvalid: its manifest is damaged.
        """
        from regfs.files.image import image_files

        return image_files(self.registry, self.layers, reference, platform)

    def referrers(self, reference: str) -> ReferrerTree:
        """Return what is about an image: signatures, SBOMs, provenance, and what is about those.

        >>> [row.holds for row in tree.referrers("my-busybox-extended:latest").rows if row.holds]
        [('provenance',), ('provenance',), ('provenance',)]

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`.
        """
        from regfs.reports.referrers import referrer_tree

        target, digest = self.view.find_content(reference)
        return referrer_tree(self.graph, self.view, target, digest)

    def sbom(
        self, reference: str, *, form: str | None = None, platform: str | None = None
    ) -> ReadDocument:
        """Return what the SBOM of an image says; `form` is spdx, cyclonedx or syft.

        >>> tree.sbom("my-busybox-extended-attest:sbom").document.form
        'SPDX'

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`; or there is none, or several.
        """
        from regfs.reports.attestations import read_document
        from regfs.reports.sboms import chosen_sbom, sbom_documents

        target, digest = self.view.find_content(reference)
        found = sbom_documents(self.graph, self.view, target, digest)
        return read_document(self.view, chosen_sbom(found, reference, form, platform), id)

    def find_files(
        self, glob: str | None, *references: str, sha256: str | None = None
    ) -> FoundFiles:
        """Return which images hold files of a name or content: all, or those that are named.

        >>> [(one.path, len(one.images)) for one in tree.find_files("busybox").files]
        [('bin/busybox', 7)]

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`; or `glob` is no pattern.
            DigestInvalid: `sha256` is no digest.
        """
        from regfs.digest import Digest
        from regfs.files.search import FilePattern
        from regfs.reports.file_search import FileQuery, find_files

        content = (
            None if sha256 is None else Digest.parse(f"sha256:{sha256.removeprefix('sha256:')}")
        )
        pattern = None if glob is None else FilePattern(glob)
        wanted = FileQuery(pattern, content, tuple(self._find(references)))
        return find_files(self.graph, self.view, self.layers, wanted, self._progress)

    def buildkit(self, reference: str) -> BuildKitReport:
        """Return whether the layers of an image are squashed, and what BuildKit has changed.

        >>> report = tree.buildkit("my-busybox-extended:latest")
        >>> report.images[0].squash, [one.value for one in report.differences]
        ('no', ['index', 'attestation', 'rebuild', 'layer', 'media-types'])

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`.
        """
        from regfs.reports.buildkit import buildkit_report

        target, digest = self.view.find_content(reference)
        return buildkit_report(self.graph, self.view, target, digest)

    def why(self, reference: str, *, limit: int = 20) -> Reasons:
        """Return what needs a blob or manifest, and up to `limit` paths from a repository to it.

        >>> [step.kind for step in tree.why("25b1600519c0").paths[0]]
        ['repository', 'tag', 'manifest', 'blob']

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`.
        """
        from regfs.reports.paths import needs, reasons

        target, digest = self.view.find_content(reference)
        needed_by = needs(self.graph, digest)
        return replace(reasons(self.graph, target, digest, limit), needed_by=needed_by)

    def log(self, reference: str) -> TagLog:
        """Return what a tag, or every tag of a repository, pointed to and when, newest first.

        >>> [(entry.tag, entry.state) for entry in tree.log("my-busybox").entries]
        [('latest', 'whole')]

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find`; or `reference` is a digest.
        """
        from regfs.errors import ReferenceInvalid
        from regfs.reports.tag_log import tag_log
        from regfs.tree.tags import find_tagged

        target = find_tagged(self.registry, reference)
        if target.name is None or (target.tag is None and target.digest is not None):
            raise ReferenceInvalid(f"{reference}: a digest has no log; give NAME or NAME:TAG")
        return tag_log(self.registry, target.name, target.tag)

    def diff(
        self,
        before: str,
        after: str,
        *,
        platform: str | None = None,
        files: bool = True,
        times: bool = False,
    ) -> DiffReport:
        """Return what differs between two images, indexes or layers.

        >>> found = tree.diff("my-busybox", "my-busybox-extended-plain:default").images[0]
        >>> [(one.change.value, one.path) for one in found.files.changes]
        [('added', 'epoch.sh')]

        Without `files` no layer is read; with `times` files also differ by their times.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`; or they cannot be compared.
            ContentMismatch, ManifestInvalid: a manifest is damaged.
        """
        from regfs.reports.diff import DiffOptions, DiffTarget, diff

        asked = [DiffTarget(*self.registry.find_content(one)) for one in (before, after)]
        options = DiffOptions(platform, files, times)
        return diff(self.registry, self.layers, asked[0], asked[1], options)

    def orphans(self) -> Orphans:
        """Return the manifests that no repository has any more; `edit.tag` saves one.

        >>> tree.orphans().orphans
        ()
        """
        from regfs.reports.orphans import orphans

        return orphans(self.graph, self.view)

    def removal(self, *references: str, top: int = 10) -> Removal:
        """Return what removing these would free, in bytes, and who keeps the rest.

        >>> tree.removal("my-busybox-extended-plain").freed.bytes
        0

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.reports.removal import removal

        targets = self._find(references)
        return removal(self.graph, targets, top=top)
