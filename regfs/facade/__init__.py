"""`regfs.open`: one object for a registry's disk, with every question and every change.

    regfs.open(root) -> Tree
        .store  .registry  .view  .inventory  .graph    made when they are first asked for
        .summary .usage .reuse .waste .bases .show .why     reports; nothing is changed
        .files .layers                               what is inside images
        .referrers .sbom .buildkit                   likewise: what is about an image
        .removal .verify .plan .export               likewise
        .export_to .import_from                      copies, out of the tree and into it
        .apply .restore .purge                       changes, journaled; .runs lists them

Each method is one call of the function that does the work, with the parts it needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from regfs import layout
from regfs.errors import NotARegistry
from regfs.facade.copies import ExportAndImport
from regfs.facade.environment import storage_variables
from regfs.progress import SILENT, Progress

if TYPE_CHECKING:
    from regfs.content.kept_manifests import KeptManifests
    from regfs.digest import Digest
    from regfs.edits.editor import Editor
    from regfs.findings import Finding
    from regfs.gc.plan import Plan
    from regfs.gc.policy import Policy
    from regfs.gc.roots import Roots
    from regfs.gc.sweep import Applied
    from regfs.graph.share import ShareRead
    from regfs.runs import Purged, Restored, Run
    from regfs.stores import Spec, Store, WritableStore
    from regfs.stores.archive.streamed import StreamOptions
    from regfs.stores.bucket.listing.inventory import InventoryPlace
    from regfs.verify import Level, ReportedFinding, Result


def open(
    root: str,
    *,
    empty: bool = False,
    content: bool = False,
    whole: bool = False,
    variables: Mapping[str, str] | None = None,
    requests_per_second: float | None = None,
    progress: Progress = SILENT,
) -> Tree:
    """Open the registry tree at `root`: a folder that holds `docker/registry/v2`, or is in it.

    Also an OCI image layout, or the `config.yml` of a registry, of which `REGISTRY_STORAGE_...`
    replace parts. Or a tar (plain, gzip, zstd), `-` for one on standard input,
    `podman://CONTAINER[:PATH]`, `docker://`: these are listed now. Or a bucket:
    `s3://BUCKET/PREFIX`, `gs://`, `az://`, with the keys and profiles that `AWS_...` and the like
    say. All these are taken from the environment; `variables` stand for it, here and in what
    this tree opens (`export_to`, `import_from`), but what they leave out, obstore still finds
    there. With `content`, blobs of an archive that passes only once are hashed meanwhile, for
    `verify`; with `whole`, all of it is kept in a temporary file, for a copy.

    >>> tree = regfs.open("/var/lib/registry")
    >>> len(tree.inventory.blobs), len(tree.graph.manifests)
    (31, 13)

    With `empty`, an empty folder is a fresh registry. A bucket is asked at most
    `requests_per_second`.

    Raises:
        NotARegistry: there is no tree, or there is nothing in it and `empty` is not given.
        DocumentInvalid: the configuration is not valid.
        PathDenied: the root cannot be read.
    """
    from regfs.tree.roots import place_of, slowed

    given = variables
    if given is None and not os.path.isdir(root):
        given = storage_variables()
    place = slowed(place_of(root, given or {}), requests_per_second)
    folder = isinstance(place, str) and os.path.isdir(place)
    options = None if folder else _stream_options(content, whole, progress)
    tree = Tree(_store_at(place, empty, options), progress)
    tree.variables = variables
    return tree


def _store_at(
    place: Spec | InventoryPlace, empty: bool, options: StreamOptions | None
) -> WritableStore:
    """Open the tree or the layout at a place."""
    from regfs.stores import ALLOW_EMPTY, NOT_MOUNTED
    from regfs.tree.copied import is_empty_copy

    folder = options is None
    if isinstance(place, str) and folder and _holds_layout(place):
        return _open_layout(place)
    store = _opened(place, empty, options)
    hollow = _is_hollow(store)
    if hollow and not folder and (found := _layout_in(store)) is not None:
        return found
    if hollow and not empty and (folder or not is_empty_copy(store)):
        raise NotARegistry(
            f"{store.url}: not a registry: docker/registry/v2 holds neither blobs nor "
            f"repositories; {NOT_MOUNTED} ({ALLOW_EMPTY})"
        )
    return store


def _opened(
    place: Spec | InventoryPlace, empty: bool, options: StreamOptions | None
) -> WritableStore:
    """Open a store; in a bucket, a copy of nothing will do."""
    from regfs.stores import open_store
    from regfs.tree.copied import is_empty_copy

    try:
        return open_store(place, empty=empty, options=options)
    except NotARegistry:
        if empty or isinstance(place, str):
            raise
        store = open_store(place, empty=True, options=options)
        if not is_empty_copy(store):
            raise
        return store


def _stream_options(content: bool, whole: bool, progress: Progress) -> StreamOptions:
    """Return what is wanted of an archive that passes."""
    from regfs.stores.archive.streamed import StreamOptions

    if not content:
        return StreamOptions(progress=progress, whole=whole, layouts=True)
    from regfs.content.hashing import algorithm_of

    return StreamOptions(algorithm_of, progress, whole, layouts=True)


def _holds_layout(folder: str) -> bool:
    """Return whether a folder is an OCI layout, and holds no tree."""
    names = (os.path.join(folder, name) for name in ("oci-layout", "index.json"))
    return all(map(os.path.isfile, names)) and not os.path.lexists(f"{folder}/docker")


def _open_layout(folder: str) -> WritableStore:
    from regfs.stores.local.store import LocalStore
    from regfs.tree.oci.source import open_layout

    return open_layout(LocalStore(os.path.realpath(folder)))


def _layout_in(store: Store) -> WritableStore | None:
    """Return the tree of the OCI layout that an archive holds; None if it holds none."""
    from regfs.tree.oci.source import is_layout, open_layout

    return open_layout(store) if is_layout(store) else None


def _is_hollow(store: Store) -> bool:
    """Return whether a tree surely holds nothing of what the first push to it makes."""
    unread: list[Finding] = []
    found = {entry.path for entry in store.list(layout.PREFIX, unread.append)}
    return not unread and found.isdisjoint((layout.BLOBS, layout.REPOSITORIES))


class Tree(ExportAndImport):
    """A registry's disk.

    References are NAME, NAME:TAG, NAME@DIGEST or DIGEST, of which seven hexadecimal digits
    are enough, or NAME:TAG@-1. Where several are taken, `team/*` and `app:v*` are patterns. Reports
    answer for the tree as it was when it was listed; `refresh` lists it again. What an
    answer lacks because it could not be read stands in `unread`.
    """

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
        default as many as suit the store. `on_finding` hears of each finding at once.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        from regfs.verify import Level, VerifyOptions, verify

        depth, targets = Level(level), self._find(references)
        # A graph of kept manifests says nothing of those that are in the store now.
        built = depth.covers(Level.SIZES) and self.registry.kept is None
        return verify(
            self.view,
            self.inventory,
            self.graph if built else None,
            VerifyOptions(
                level=depth,
                targets=tuple(targets),
                jobs=jobs,
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

    def plan(self, policy: Policy | None = None, kept: KeptManifests | None = None) -> Plan:
        """Return what a collection would delete and why; change nothing. The tree is listed anew.

        >>> plan = tree.plan(regfs.Policy(delete_untagged=True, min_age=0))
        >>> plan.totals.blobs, plan.doubtful
        (2, False)

        The default policy collects only what nothing refers to, and nothing younger than an hour.
        Manifests that are `kept`, as by `read_share`, are not read again.

        Raises:
            Doubt: what is in use is not certain; the message says why.
        """
        from regfs.gc.plan import plan
        from regfs.gc.policy import Policy
        from regfs.gc.scanning import LatestGraph, scan_for_plan
        from regfs.gc.sweep import check_owners
        from regfs.tree.registry import Registry

        policy = policy or Policy()
        self.store.require_writable(())
        inventory = scan_for_plan(self.store, policy, self._progress)
        check_owners(inventory)
        kept = self.registry.kept if kept is None else kept
        registry = Registry(self.store, self.registry.report, kept, self.registry.fetch)
        self.latest = LatestGraph(registry)
        graph = self.latest.of(inventory, self._progress)
        return plan(graph, policy, time.time(), self.registry.manifest_bytes)

    def read_share(self, number: int, total: int, output: str) -> ShareRead:
        """Read one of `total` shares of the manifests, and write them to a file for `plan`.

        Raises:
            StoreError: the file cannot be written.
        """
        from regfs.graph.share import read_share
        from regfs.tree.scan import scan
        from regfs.verify.schedule import Shard

        inventory = scan(self.store, progress=self._progress, history=False, lean=True)
        share, subset = Shard(number, total), f"{number}/{total}"
        return read_share(inventory, self.registry, share.has, subset, output, self._progress)

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
