"""Collecting beside a running registry: apply, settle, wait, settle, purge.

The reference registry takes no lock and announces nothing, so a collection cannot coordinate
with it. Quarantine, time and marking again make it safe:

    apply     what is older than min_age and not marked is moved away, links before blobs
    settle    the tree is marked again, and what is in use by now is put back, until nothing
              more comes back
    wait      as long as a request may take from its check of a thing to its own write
    settle    once more; now nothing more can come into use
    purge     the rest is deleted

Why nothing is lost that the registry acknowledges. A blob D leaves its place at a moment T.
The registry acknowledges a manifest that needs D only after it has checked D, and the layer
link to it, in that very request (C), and has then written the links to the manifest (L).
C after T: D is there again, pushed anew or put back. C before T: L comes before C + wait,
so the last settle, which begins after T + wait, finds the link and puts D back. Marking works
as in a plan, with all that is present as roots, so what D needs comes back as well: a manifest
that is put back is read in the next round. Request by request (the order within each is that
of distribution 2.8 to 3.1):

    HEAD blob, then PUT manifest    the answer to HEAD does not count: PUT checks again, and
        refuses the push with MANIFEST_BLOB_UNKNOWN if D is gone. The client pushes again.
    upload of a blob that exists    the registry checks for `data`, drops what was sent and
        writes the layer link. If D is moved in between, a layer link names it, and it comes
        back.
    mount                           checks the other repository, writes the layer link here:
        likewise.
    PUT of a manifest that exists   its layers are checked, its bytes are not written again,
        its links are: revision, then the tag's index, then current. Whichever of them are in
        place bring the rest back. The revision may lie in quarantine while the tag does not:
        a tag that points to it brings it back.
    PUT of an index                 checks the revisions and blobs of its children, not their
        layers: a child that is put back is a root again, with all that it needs.
    DELETE                          removes links, and nobody waits for what they named. A link
        that settle puts back at that moment is garbage, and goes with the next run.
    a file opened before T          2.8 opens a link at its place, truncates and writes it. If
        the folder is moved meanwhile, what is written and acknowledged lies in quarantine.
        It is newer than when it was checked, and whatever is newer comes back, a tag too.
    temporary file and rename       3.1 writes `link.<uuid>.tmp` and renames it to `link`, by
        path. If the folder is gone, the rename fails, and so does the request; if the rename
        came first, the link was moved with its folder and is newer, as above.
    an upload under way             is younger than min_age, or is written to and so newer.

Between apply and settle, for some seconds, an image that was pushed in that time may lack what
it shares with garbage; a pull fails then, and works when it is tried again.

The argument relies on this:

    no cache of blob descriptors    (`storage.cache.blobdescriptor`, which Debian's
        configuration turns on.) With one the registry does not check D but remembers it: it
        acknowledges a push of what lies in quarantine, at any time, not only during the wait.
        Settle brings that back; after a purge nobody can. Such a registry has to be restarted
        between apply and purge, so that it forgets.
    no request takes longer         than `wait` from its check of D to its write of a link.
        This is not the time of an upload: the check comes when all bytes have arrived.
    the clock                       is not set forward between apply and a purge by another
        process, by more than what is left of the wait. A run that waits by itself does not
        read the clock. That what is written later has a later mtime matters only for files
        that were open while their folder was moved.
    one file system                 shows every process the same: no NFS client that caches.
    no other collector              such as the registry's own garbage-collect.

With `wait` 0 (`--offline`) nobody else writes, and settle finds nothing.

A run that purges also purges what interrupted collections have left. That is `purge` of each of
them by name: it has waited by its own journal, is settled once more, and every item is accounted
for. What heal, `verify --quarantine` or an edit has left is not touched: that was no decision
of a collection.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from regfs.errors import Refused
from regfs.findings import Finding, Severity
from regfs.gc.external_roots import ExternalRoots, missing
from regfs.gc.plan import Plan
from regfs.gc.quarantine import MAY_HOLD_ITEMS, InUse, quarantined_items
from regfs.gc.roots import Roots
from regfs.gc.scanning import LatestGraph
from regfs.gc.space import check_room
from regfs.gc.sweep import Applied, apply, check_owners
from regfs.progress import SILENT, Progress
from regfs.runs import (
    KEEP,
    Purged,
    Returned,
    Run,
    RunKind,
    Skipped,
    in_the_future,
    old_enough,
    prune,
    put_back,
    require_one_filesystem,
    surveys,
)
from regfs.runs import purge as purge_runs
from regfs.runs.journal import has_quarantine, may_be_purged
from regfs.runs.lock import exclusive
from regfs.runs.totals import Totals
from regfs.stores import Store, writable
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.units import written


def collect(
    planned: Plan,
    registry: Registry,
    *,
    wait: float | None = None,
    purge: bool = False,
    latest: LatestGraph | None = None,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> Applied:
    """Carry out a plan and settle; to purge, wait and settle before.

    A purge also deletes what interrupted collections have left in quarantine; what they had not
    moved yet is in the plan. `latest` knows the graph of the plan, if that was made a moment
    ago. An exception from `pause`, which waits so many seconds, leaves everything in quarantine.

    Raises:
        As `regfs.gc.sweep.apply`.
    """
    wait = planned.policy.min_age if wait is None else wait
    if planned.actions:
        # Without a wait nothing can change between the settle of a run and that of its purge.
        at_once = purge and wait <= 0
        latest = LatestGraph(registry) if latest is None or at_once else latest
        applied = _move(planned, registry, wait, latest, progress, clock, at_once=at_once)
    else:
        applied = _nothing_done(planned, registry, settle(registry, progress=progress))
    if not purge:
        return applied
    if planned.actions and not applied.in_place:
        if wait > 0:
            pause(wait)
        applied = _purge_applied(applied, registry, progress)
    return _purge_interrupted(applied, registry, wait, progress, clock)


def _move(
    planned: Plan,
    registry: Registry,
    wait: float,
    latest: LatestGraph,
    progress: Progress,
    clock: Callable[[], float],
    *,
    at_once: bool,
) -> Applied:
    """Move what is planned into quarantine and settle, or delete it in place."""
    returned: list[Returned] = []
    if at_once and not check_room(writable(registry.store), planned, at_once=True):
        # What is deleted in place cannot be put back, so settle comes first.
        returned = settle(registry, progress=progress)
    applied = apply(
        planned, registry, wait=wait, at_once=at_once, latest=latest, progress=progress, clock=clock
    )
    if not at_once:
        returned = settle(registry, latest=latest, progress=progress)
    return replace(applied, returned=returned)


def _nothing_done(planned: Plan, registry: Registry, returned: list[Returned]) -> Applied:
    """Return what a plan without actions does: it begins no run."""
    root, findings = registry.store.url, planned.findings
    return Applied(planned.id, root, Totals(), [], findings, planned.doubtful, returned)


def _purge_applied(applied: Applied, registry: Registry, progress: Progress) -> Applied:
    """Settle, then delete for good what a run has just moved away."""
    returned = list(applied.returned)

    def choose(found: Sequence[Run]) -> Sequence[Run]:
        returned.extend(_settle(registry, progress, damaged=_damaged(found)))
        return found

    purged = purge_runs(writable(registry.store), applied.run, progress=progress, choose=choose)
    return replace(
        applied,
        purged=True,
        freed=purged.bytes,
        deleted=purged.deleted,
        returned=[*returned, *purged.returned],
        stays=purged.stays,
    )


def interrupted(found: Iterable[Run]) -> list[Run]:
    """Return the collections among runs that did not end, or whose purge did not."""
    return [
        one for one in found if one.kind is RunKind.GC and one.state in ("interrupted", "purging")
    ]


def _purge_interrupted(
    applied: Applied,
    registry: Registry,
    wait: float,
    progress: Progress,
    clock: Callable[[], float],
) -> Applied:
    """Delete for good what interrupted collections have left, as far as they have waited."""
    offline = wait <= 0
    found = purgeable(registry, offline=offline, clock=clock)
    begun = (survey.run for survey in surveys(registry.store, only=may_be_purged))
    names = {one.run for one in interrupted(begun)}
    for run in [one.run for one in found.runs if one.run in names]:
        done = purge(registry, run, offline=offline, progress=progress, clock=clock)
        applied = replace(
            applied,
            purged=True,
            freed=applied.freed + done.bytes,
            deleted=applied.deleted.plus(done.deleted),
            returned=[*applied.returned, *done.returned],
            stays=[*applied.stays, *done.stays],
        )
    return replace(applied, waiting=[one.run for one in found.waiting if one.run in names])


def settle(
    registry: Registry, *, latest: LatestGraph | None = None, progress: Progress = SILENT
) -> list[Returned]:
    """Put back what collections have moved away and is in use by now.

    `latest` knows the graph of the tree from a moment ago.

    Raises:
        LockHeld: another run is under way.
        Doubt: another program manages the tree by now.
    """
    with exclusive(writable(registry.store)):
        return _settle(registry, progress, latest=latest)


def _damaged(found: Iterable[Run]) -> set[str]:
    return {one.run for one in found if one.damage is not None}


def _settle(
    registry: Registry,
    progress: Progress,
    roots: Roots | None = None,
    damaged: Collection[str] = (),
    latest: LatestGraph | None = None,
) -> list[Returned]:
    store = writable(registry.store)
    returned: list[Returned] = []
    suspected: set[str] = set()
    moved = None if latest is None else latest.moved
    while items := list(quarantined_items(store, damaged, moved)):
        before = latest or LatestGraph(registry)
        inventory = scan(store, progress=progress, history=False, lean=True, known=before.known)
        check_owners(inventory)
        graph = before.without(items, inventory, progress)
        use = InUse(inventory, graph, {item.digest for item in items if item.digest is not None})
        doubts = use.doubts()
        external = ExternalRoots(store, roots, items) if roots is not None else None
        back = put_back(
            store,
            [
                one
                for one in items
                if use.needs(one) or (external is not None and external.needs(one))
            ],
        )
        # A doubt that may end by itself, or by what was just put back, does not count yet.
        if not back:
            back = put_back(store, list(use.doubtful(items, doubts & suspected)))
        returned += back
        if not back and doubts <= suspected:
            break
        suspected = doubts
    return returned


def purge(
    registry: Registry,
    run: str | None = None,
    *,
    older_than: float = 0.0,
    offline: bool = False,
    discard: bool = False,
    roots: Roots | None = None,
    ignore_missing_roots: bool = False,
    keep_journals: float = KEEP,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
) -> Purged:
    """Settle, then delete for good what a run, or every run old enough, has in quarantine.

    A collection that moved something less than its wait ago is left for later; `offline` says
    that nobody else writes, so that there is nothing to wait for. `roots` from outside are in
    use. A root that is neither in the tree nor in quarantine refuses the purge, since what it
    means may have another name here, unless `ignore_missing_roots`. The journals of runs that
    were purged `keep_journals` seconds ago are deleted.

    Raises:
        RunUnknown: there is no such run.
        Refused: `run` is too young, or one of the roots is nowhere.
        LockHeld: another run is under way.
    """
    choice = _Choice(registry, run, clock, progress, 0.0 if offline else math.inf)
    purged = purge_runs(
        writable(registry.store),
        run,
        older_than=older_than,
        discard=discard,
        progress=progress,
        clock=clock,
        choose=lambda found: choice.settled(found, roots, ignore_missing=ignore_missing_roots),
    )
    pruned = prune(writable(registry.store), keep_journals, clock())
    return replace(choice.report(purged), pruned=pruned)


@dataclass(frozen=True, slots=True)
class Purgeable:
    """What a purge would delete."""

    runs: list[Run]
    """What is in use again by then, or is the last good copy, goes back instead."""
    waiting: list[Run]
    """Runs that have not waited long enough."""
    damaged: list[Skipped]
    """Damaged runs; a purge deletes nothing of them."""
    future: list[Skipped]
    """Runs that moved items later than now, by the clock; they stay."""


def purgeable(
    registry: Registry,
    run: str | None = None,
    *,
    older_than: float = 0.0,
    offline: bool = False,
    clock: Callable[[], float] = time.time,
) -> Purgeable:
    """Return what `purge` would look at now; change nothing, and take no lock.

    Raises:
        As `purge`, but LockHeld.
    """
    choice = _Choice(registry, run, clock, SILENT, 0.0 if offline else math.inf)
    found, seen = old_enough(registry.store, run, older_than, clock())
    ripe = choice.ripe(one for one in found if one.damage is None)
    done = choice.report(seen)
    waiting = [one for one in found if one.run in done.waiting]
    return Purgeable(ripe, waiting, done.damaged, done.future)


class _Choice:
    """Which runs a purge may delete: those that have waited, when the tree is settled."""

    def __init__(
        self,
        registry: Registry,
        run: str | None,
        clock: Callable[[], float],
        progress: Progress,
        longest: float,
    ) -> None:
        self._registry = registry
        self._run = run
        self._clock = clock
        self._progress = progress
        self._longest = longest
        """Seconds that a run waits at most."""
        self._returned: list[Returned] = []
        self._findings: list[Finding] = []
        self._waiting: list[str] = []
        self._future: list[Skipped] = []

    def report(self, purged: Purged) -> Purged:
        """Return what was purged, with what was put back before and which runs have to wait."""
        return replace(
            purged,
            returned=[*self._returned, *purged.returned],
            waiting=self._waiting,
            findings=[replace(one, override=Severity.WARNING) for one in self._findings],
            future=[*purged.future, *self._future],
        )

    def ripe(self, found: Iterable[Run]) -> list[Run]:
        """Return the runs that have waited.

        Raises:
            Refused: the named run has not.
        """
        return [one for one in found if self._is_ripe(one)]

    def settled(
        self, found: Sequence[Run], roots: Roots | None, *, ignore_missing: bool
    ) -> list[Run]:
        """Return the runs that have waited, after putting back what is in use by now.

        Raises:
            Refused: the named run has not waited, or a root is nowhere.
            Doubt: a part of the tree lies on another file system.
        """
        ripe = self.ripe(found)
        collections = [one for one in ripe if not one.kind.moves_what_is_bad]
        if collections:
            self._returned += _settle(self._registry, self._progress, roots, _damaged(found))
        if any(one.state == "interrupted" for one in collections):
            # Another file system may have stopped it: its links would go, and its blobs stay.
            require_one_filesystem(self._registry.store)
        if roots is not None:
            self._findings = missing(self._registry, roots, self._progress)
        if self._findings and not ignore_missing:
            raise Refused(
                f"{self._findings[0].expected} is a root, and is nowhere on this disk "
                f"(one of {len(self._findings)}); nothing was deleted. Correct the list, or give "
                "--ignore-missing-roots"
            )
        return ripe

    def _is_ripe(self, run: Run) -> bool:
        """Return whether a run has waited; note one that has not.

        Raises:
            Refused: it has not, and is the named one.
        """
        wait = min(run.wait, self._longest)
        left = run.moved_at.timestamp() + wait - self._clock()
        if wait == 0 or left <= 0:
            return True
        why = in_the_future(run, self._clock())
        if self._run is not None:
            raise Refused(self._refusal(left, why))
        if why is None:
            self._waiting.append(run.run)
        else:
            self._future.append(Skipped(run.run, why))
        return False

    def _refusal(self, left: float, why: str | None) -> str:
        if why is not None:
            way = "set the clock right, or give --offline if nobody else writes"
            return f"run {self._run}: {why}: {way}"
        return (
            f"run {self._run} moved things a short while ago, and a push that was under way may "
            f"still need them: purge it in {written(math.ceil(left))}, or with --offline if "
            "nobody else writes"
        )


def quarantined(store: Store) -> int:
    """Return how many bytes lie in the quarantine of collections, and of damaged runs."""
    waiting = MAY_HOLD_ITEMS - {"restored"}
    held = (found.run for found in surveys(store, only=has_quarantine))
    return sum(
        one.done.bytes
        for one in held
        if one.damage is not None or (not one.kind.moves_what_is_bad and one.state in waiting)
    )
