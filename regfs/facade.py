"""`regfs.open`: one object for a registry's disk, with every question and every change.

    regfs.open(root) -> Tree
        .store  .registry  .inventory  .graph        made when they are first asked for
        .summary .usage .reuse .waste .bases .show .why     reports; nothing is changed
        .files .layers                               what is inside images
        .referrers .sbom .buildkit                   likewise: what is about an image
        .removal .verify .plan .export               likewise
        .apply .restore .purge                       changes, journaled; .runs lists them

Each method is one call of the function that does the work, with the parts it needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from regfs import layout
from regfs.errors import NotARegistry
from regfs.progress import SILENT, Progress

if TYPE_CHECKING:
    from regfs.content.cache import Cache
    from regfs.digest import Digest
    from regfs.edits.editor import Editor
    from regfs.files.image import ImageFiles
    from regfs.files.layers import Layers
    from regfs.findings import Finding
    from regfs.gc.plan import Plan
    from regfs.gc.policy import Policy
    from regfs.gc.retention import RetentionPolicy
    from regfs.gc.roots import Roots
    from regfs.gc.scanning import LatestGraph
    from regfs.gc.sweep import Applied
    from regfs.graph import Graph
    from regfs.reports.attestations import ReadDocument
    from regfs.reports.buildkit import BuildKitReport
    from regfs.reports.diff import DiffReport
    from regfs.reports.found import FoundFiles
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
    from regfs.runs import Purged, Restored, Run
    from regfs.stores import Store, WritableStore
    from regfs.stores.archive.passing import Passing
    from regfs.tree.inventory import Inventory
    from regfs.tree.measure import Measured
    from regfs.tree.registry import Registry, Target
    from regfs.verify import Level, ReportedFinding, Result


def open(
    root: str,
    *,
    empty: bool = False,
    content: bool = False,
    variables: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Tree:
    """Open the registry tree at `root`: a folder that holds `docker/registry/v2`, or is in it.

    Also the `config.yml` of a registry; `variables` are those that replace parts of it. Or a tar
    (plain, gzip, zstd), `-` for one on standard input, `podman://CONTAINER[:PATH]`, `docker://`:
    these are listed now. With `content`, blobs of an archive that passes only once are hashed
    meanwhile, for `verify`.

    >>> tree = regfs.open("/var/lib/registry")
    >>> len(tree.inventory.blobs), len(tree.graph.manifests)
    (31, 13)

    With `empty`, an empty folder is a fresh registry.

    Raises:
        NotARegistry: there is no tree, or there is nothing in it and `empty` is not given.
        DocumentInvalid: the configuration is not valid.
        PathDenied: the root cannot be read.
    """
    from regfs.stores import ALLOW_EMPTY, NOT_MOUNTED, open_store
    from regfs.tree.roots import place_of

    place = place_of(root, variables or {})
    passing = None if os.path.isdir(place) else _passing(content, progress)
    store = open_store(place, empty=empty, passing=passing)
    if not empty and _is_hollow(store):
        raise NotARegistry(
            f"{store.url}: not a registry: docker/registry/v2 holds neither blobs nor "
            f"repositories; {NOT_MOUNTED} ({ALLOW_EMPTY})"
        )
    return Tree(store, progress)


def _passing(content: bool, progress: Progress) -> Passing:
    """Return what is wanted of an archive that passes."""
    from regfs.stores.archive.passing import Passing

    if not content:
        return Passing(progress=progress)
    from regfs.content.hashing import algorithm_of

    return Passing(algorithm_of, progress)


def _is_hollow(store: Store) -> bool:
    """Return whether a tree surely holds nothing of what the first push to it makes."""
    unread: list[Finding] = []
    found = {entry.path for entry in store.list(layout.PREFIX, unread.append)}
    return not unread and found.isdisjoint((layout.BLOBS, layout.REPOSITORIES))


class _MeasuredTree(NamedTuple):
    """A tree that was measured."""

    inventory: Inventory
    graph: Graph
    measured: Measured


class Tree:
    """A registry's disk.

    References are NAME, NAME:TAG, NAME@DIGEST or DIGEST, of which seven hexadecimal digits
    are enough, or NAME:TAG@-1. Where several are taken, `team/*` and `app:v*` are patterns. Reports
    answer for the tree as it was when it was listed; `refresh` lists it again. What an
    answer lacks because it could not be read stands in `unread`.
    """

    def __init__(self, store: WritableStore, progress: Progress = SILENT) -> None:
        self.store = store
        """Bytes at paths."""
        self.history = True
        """Whether the listing also has what tags pointed to before."""
        self.link_times = True
        """Whether the listing also has when layer links were written, and looks at each for it."""
        self.reported: list[Finding] = list(store.problems)
        """What point reads could not read, as it was met."""
        self.latest: LatestGraph | None = None
        """The graph by which the latest plan was made, to apply it by while nothing changes."""
        self.cache: Cache | None = None
        """Where the listings of layers are kept, if anywhere."""
        self._progress = progress

    @cached_property
    def registry(self) -> Registry:
        """Point reads: tags, manifests and blobs, without listing the tree.

        >>> list(tree.registry.tags("my-busybox-extended"))
        ['latest', 'rebuilt']
        """
        from regfs.tree.registry import Registry

        return Registry(self.store, self.reported.append)

    @cached_property
    def inventory(self) -> Inventory:
        """Everything that is there, listed once."""
        from regfs.tree.scan import scan

        return scan(
            self.store,
            progress=self._progress,
            history=self.history,
            link_times=self.link_times,
        )

    @cached_property
    def graph(self) -> Graph:
        """What points to what."""
        from regfs.graph import build_graph

        return build_graph(self.inventory, self.registry, progress=self._progress)

    def refresh(self) -> None:
        """Forget inventory and graph; they are made again when they are asked for."""
        self.latest = None
        for name in ("inventory", "graph", "_measured"):
            vars(self).pop(name, None)

    @cached_property
    def _measured(self) -> _MeasuredTree:
        """The tree in the one pass that also measures every file."""
        from regfs.graph import build_graph
        from regfs.tree.measure import scan_and_measure

        inventory, measured = scan_and_measure(self.store, self._progress)
        graph = build_graph(inventory, self.registry, progress=self._progress)
        return _MeasuredTree(inventory, graph, measured)

    @property
    def unread(self) -> list[Finding]:
        """What the answers so far lack because it could not be read, each path once."""
        from regfs.reports.causes import lacking

        found = list(self.reported)
        if "_measured" in vars(self):
            found += self._measured.inventory.findings
            found += self._measured.graph.problems.values()
        if "inventory" in vars(self):
            found += self.inventory.findings
        if "graph" in vars(self):
            found += self.graph.problems.values()
        return lacking(found)

    def _find(self, references: Iterable[str]) -> list[Target]:
        found = (target for text in references for target in self.registry.find_all(text))
        return list(dict.fromkeys(found))

    # -- reports -----------------------------------------------------------------------------

    def summary(self) -> Summary:
        """Count what is there, whose it is, and whether it looks well.

        >>> tree.summary().tags
        8
        """
        from regfs.reports.summary import summary

        return summary(self.graph, self.registry.skim)

    def overview(self, retention: RetentionPolicy | None = None) -> Overview:
        """Return the summary, what can be freed, also by a policy, and what is known of the disk.

        >>> tree.overview().reclaimable.untagged.totals.blobs
        0
        """
        from regfs.reports.overview import look_around, overview
        from regfs.verify.ledger_file import LEDGER

        around = look_around(self.store, self.store.room(), LEDGER, self.reported.append)
        read = self.registry.manifest_bytes
        return overview(self.summary(), self.graph, around, read, retention, self._progress)

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
        return usage(graph, self.registry.manifest, targets, options, disk)

    def reuse(self, *references: str, top: int | None = None) -> Reuse:
        """Return which layers images share, and how many bytes that saves.

        >>> report = tree.reuse()
        >>> report.saved, report.shared[0].used_by[:2]
        (6505124, ('my-busybox:latest', 'my-busybox-extended:latest'))

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.reports.reuse import reuse

        registry, targets = self.registry, self._find(references)
        return reuse(self.graph, registry.skim, registry.manifest_bytes, targets, top=top)

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
        return waste(self.graph, self.registry, self.layers, targets, options, self._progress)

    def bases(self, *references: str) -> Bases:
        """Return which image is built on which, by annotations and by layers.

        With references: these images, what they are built on, and what is built on them.

        >>> {image.image: image.bases for image in tree.bases().images}["my-busybox:latest"]
        ()
        """
        from regfs.reports.lineage import bases

        return bases(self.graph, self.registry.skim, self._find(references))

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

        parts = self.registry, self.inventory, self.graph
        targets = tuple(self._find(references))
        findings = partial(known_findings, *parts, self._progress, self.reported.append)
        unread = len(self.unread)
        what = Exported(self.graph, self.registry, targets, blobs, unread, findings)
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

        target, digest = self.registry.find_content(reference)
        return show(self.graph, self.registry, target, digest)

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

        target, digest = self.registry.find_content(reference)
        return referrer_tree(self.graph, self.registry, target, digest)

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

        target, digest = self.registry.find_content(reference)
        found = sbom_documents(self.graph, self.registry, target, digest)
        return read_document(self.registry, chosen_sbom(found, reference, form, platform), id)

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
        from regfs.reports.found import FoundBy, find_files

        content = (
            None if sha256 is None else Digest.parse(f"sha256:{sha256.removeprefix('sha256:')}")
        )
        pattern = None if glob is None else FilePattern(glob)
        wanted = FoundBy(pattern, content, tuple(self._find(references)))
        return find_files(self.graph, self.registry, self.layers, wanted, self._progress)

    def buildkit(self, reference: str) -> BuildKitReport:
        """Return whether the layers of an image are squashed, and what BuildKit has changed.

        >>> report = tree.buildkit("my-busybox-extended:latest")
        >>> report.images[0].squash, [one.value for one in report.differences]
        ('no', ['index', 'attestation', 'rebuild', 'layer', 'media-types'])

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`.
        """
        from regfs.reports.buildkit import buildkit_report

        target, digest = self.registry.find_content(reference)
        return buildkit_report(self.graph, self.registry, target, digest)

    def why(self, reference: str, *, limit: int = 20) -> Reasons:
        """Return what needs a blob or manifest, and up to `limit` paths from a repository to it.

        >>> [step.kind for step in tree.why("25b1600519c0").paths[0]]
        ['repository', 'tag', 'manifest', 'blob']

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_content`.
        """
        from regfs.reports.paths import needs, reasons

        target, digest = self.registry.find_content(reference)
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

        return orphans(self.graph, self.registry)

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

    def verify(
        self,
        *references: str,
        level: Level | str = "digests",
        jobs: int | None = None,
        on_finding: Callable[[ReportedFinding], None] | None = None,
    ) -> Result:
        """Check the tree, or what references reach in it; write nothing.

        >>> tree.verify().checked.blobs
        31

        `level` is links, sizes, digests or content; `jobs` is how many threads hash, by
        default one for each processor. `on_finding` hears of each finding at once.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.verify import Level, VerifyOptions, verify

        depth, targets = Level(level), self._find(references)
        return verify(
            self.registry,
            self.inventory,
            self.graph if depth.covers(Level.SIZES) else None,
            VerifyOptions(
                level=depth,
                targets=tuple(targets),
                jobs=jobs or os.cpu_count() or 1,
            ),
            progress=self._progress,
            on_finding=on_finding,
        )

    # -- changes -----------------------------------------------------------------------------

    @cached_property
    def edit(self) -> Editor:
        """Removing, tagging, moving and copying by name: `edit.rm`, `edit.untag`, ...

        >>> tree.edit.untag("my-busybox:latest", dry_run=True).kind.value
        'untag'
        """
        from regfs.edits.editor import Editor

        return Editor(self.registry, lambda: self.graph, self.refresh, self._progress)

    def plan(self, policy: Policy | None = None) -> Plan:
        """Return what a collection would delete and why; change nothing. The tree is listed anew.

        >>> plan = tree.plan(regfs.Policy(delete_untagged=True, min_age=0))
        >>> plan.totals.blobs, plan.doubtful
        (2, False)

        The default policy collects only what nothing refers to, and nothing younger than an hour.

        Raises:
            Doubt: what is in use is not certain; the message says why.
        """
        from regfs.gc.plan import plan
        from regfs.gc.policy import Policy
        from regfs.gc.scanning import LatestGraph, scan_for_plan
        from regfs.gc.sweep import check_owners

        policy = policy or Policy()
        self.store.require_writable(())
        inventory = scan_for_plan(self.store, policy, self._progress)
        check_owners(inventory)
        self.latest = LatestGraph(self.registry)
        graph = self.latest.of(inventory, self._progress)
        return plan(graph, policy, time.time(), self.registry.manifest_bytes)

    def apply(self, plan: Plan, *, wait: float | None = None) -> Applied:
        """Carry out a plan, as far as the tree still agrees with it: move things to quarantine.

        >>> applied = tree.apply(plan)
        >>> applied.done.blobs, applied.skipped
        (2, [])

        What is in use again is put back. A purge may follow `wait` seconds later, or `min_age`.

        Raises:
            PlanStale, Doubt, LockHeld, Refused: nothing was changed.
            StoreFull: there is no space for a quarantine; nothing was changed.
            StoreError: the storage failed; what was done stands in the journal.
        """
        from regfs.gc.collect import collect

        try:
            return collect(
                plan, self.registry, wait=wait, latest=self.latest, progress=self._progress
            )
        finally:
            self.refresh()

    def restore(self, run: str, digests: Collection[Digest] = ()) -> Restored:
        """Put back what a run has moved, or what it has moved of `digests`.

        A run is meant by its name, a unique beginning of it, or `latest`.

        >>> len(tree.restore(applied.run).skipped)
        0

        Raises:
            RunUnknown: there is no such run.
            LockHeld: another run is under way.
            Refused: the run is purged, or cannot be taken back.
        """
        from regfs.gc.restoring import restore
        from regfs.runs import find_run

        wanted, name = frozenset(digests), find_run(self.store, run)
        try:
            return restore(self.store, name, digests=wanted, progress=self._progress)
        finally:
            self.refresh()

    def purge(
        self,
        run: str | None = None,
        *,
        older_than: float = 0.0,
        offline: bool = False,
        discard: bool = False,
        roots: Roots | None = None,
        ignore_missing_roots: bool = False,
        keep_journals: float = 90 * 86400.0,
    ) -> Purged:
        """Delete for good what a run, or every run, has in quarantine; put back what is in use.

        A run stays that is younger than `older_than` seconds, or than its wait, unless nobody else
        writes (`offline`). Bad bytes without a good copy stay, unless `discard` is given. `roots`
        are in use elsewhere. Journals of runs purged `keep_journals` seconds ago are deleted.

        Raises:
            RunUnknown, LockHeld: there is no such run, or another one is under way.
            Refused: `run` is too young, or one of the roots is nowhere.
        """
        from regfs.gc.collect import purge
        from regfs.runs import find_run

        name = None if run is None else find_run(self.store, run)
        try:
            return purge(
                self.registry,
                name,
                older_than=older_than,
                offline=offline,
                discard=discard,
                roots=roots,
                ignore_missing_roots=ignore_missing_roots,
                keep_journals=keep_journals,
                progress=self._progress,
            )
        finally:
            self.refresh()

    def runs(self) -> list[Run]:
        """Return every run that has changed this tree, oldest first.

        >>> [one.state for one in tree.runs()]
        ['restored']
        """
        from regfs.runs import RUNS, runs

        self.store.list(RUNS, self.reported.append)  # an unreadable folder is not "no runs"
        return list(runs(self.store))
