"""What of a registry can be freed, and how: the summary with what is about space and time. Pure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final

from regfs import layout
from regfs.documents.registry_config import RegistryConfig, find_config
from regfs.errors import Doubt, RunUnknown, StoreError
from regfs.findings import Code, Finding
from regfs.gc.plan import Preview, preview
from regfs.gc.policy import Policy
from regfs.gc.tags import Read as ReadBytes
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.reports.costs import Costs
from regfs.reports.summary import Owner, Summary
from regfs.runs import RUNS, Run, RunKind, occupied, survey, surveys
from regfs.runs.journal import has_quarantine
from regfs.runs.space import Occupied
from regfs.runs.totals import Totals
from regfs.stores import Report, Room, Store, stat_or_none
from regfs.units import utc_time

if TYPE_CHECKING:
    from regfs.gc.retention import RetentionPolicy


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Uploads that are old enough to be stale, and not old enough for the default."""

    count: int
    bytes: int
    allocated: int


@dataclass(frozen=True, slots=True)
class Reclaimable:
    """What a collection would free now, with the default ages."""

    now: Preview
    untagged: Preview
    """With --delete-untagged."""
    uploads: Unfinished
    """In addition, with --uploads-older-than as short as --min-age."""
    by_policy: Preview | None
    """With the retention policy that is configured; None if none is."""


@dataclass(frozen=True, slots=True)
class InQuarantine:
    """What lies in quarantine."""

    runs: int
    bytes: int
    allocated: int
    """Bytes of disk blocks, folders included."""
    purge_from: datetime | None
    """When the first of the runs may be purged; None if none may."""


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The disk under the tree, in bytes."""

    total: int
    free: int
    """For this user."""


@dataclass(frozen=True, slots=True)
class OtherUploads:
    """Open uploads in parts of a bucket that are not of blobs pushed to a repository."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """The latest collection."""

    run: str
    state: str
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class Around:
    """What lies around the content of a tree."""

    runs: list[Run]
    """Those with a quarantine."""
    last_gc: LastRun | None
    occupied: Occupied
    """By all quarantines."""
    space: DiskSpace
    unlisted: OtherUploads | None
    verified_at: datetime | None
    config: RegistryConfig | None
    listed_at: datetime | None
    """When somebody else listed it; None: it is of now."""


def look_around(store: Store, room: Room, ledger: str, report: Report) -> Around:
    """Return what lies around the content of a tree; `ledger` is the path of that of verify.

    Of the journals of runs, which a tree keeps for long, only those are read that matter.
    """
    names = [layout.name_of(entry.path) for entry in store.list(RUNS, report)]
    found = [one.run for one in surveys(store, only=has_quarantine)]
    entry = stat_or_none(store, ledger)
    return Around(
        found,
        _last_collection(store, names),
        occupied(store, *(one.run for one in found)),
        DiskSpace(room.total, room.bytes),
        _unlisted(store, report),
        None if entry is None else utc_time(entry.mtime),
        find_config(store.url),
        None if store.taken_at is None else utc_time(store.taken_at),
    )


def _unlisted(store: Store, report: Report) -> OtherUploads | None:
    try:
        return OtherUploads(*store.unlisted())
    except StoreError as error:
        report(Finding(Code.UPLOAD_UNKNOWN, layout.PREFIX, actual=str(error)))
        return None


def _last_collection(store: Store, names: list[str]) -> LastRun | None:
    """Return the collection with the latest plan."""
    for name in sorted(names, reverse=True):
        with suppress(RunUnknown):
            run = survey(store, name).run
            if run.kind is RunKind.GC:
                return LastRun(run.run, run.state, run.moved_at)
    return None


@dataclass(frozen=True, slots=True)
class Overview(Summary):
    """The report."""

    reclaimable: Reclaimable | None
    """None where regfs does not collect; `refusal` says why."""
    refusal: str | None
    quarantine: InQuarantine
    space: DiskSpace
    unlisted: OtherUploads | None
    """What other uploads in parts take that no listing shows; None if that is not known."""
    last_verify: datetime | None
    """When the ledger was last written; None if there is none."""
    last_gc: LastRun | None
    config: RegistryConfig | None
    """The configuration of the reference registry, if one is found that names this tree."""
    listed_at: datetime | None
    """When the report of S3 Inventory was begun that this is made of; None: it is of now."""
    costs: Costs | None = None
    """What a plan and a verify take; None where nothing is asked by requests."""


def overview(
    summary: Summary,
    graph: Graph,
    around: Around,
    read: ReadBytes,
    retention: RetentionPolicy | None = None,
    progress: Progress = SILENT,
    costs: Costs | None = None,
) -> Overview:
    """Put everything together."""
    reclaimable, refusal = None, None
    progress.start("Adding up what can be freed")
    try:
        reclaimable = _reclaimable(summary, graph, read, retention)
    except Doubt as error:
        refusal = str(error)
    progress.finish()
    if summary.owner not in _COLLECTED:
        reclaimable, refusal = None, summary.owner.meaning
    return Overview(
        **{field.name: getattr(summary, field.name) for field in fields(summary)},
        reclaimable=reclaimable,
        refusal=refusal,
        quarantine=_in_quarantine(around),
        space=around.space,
        unlisted=around.unlisted,
        last_verify=around.verified_at,
        last_gc=around.last_gc,
        config=around.config,
        listed_at=around.listed_at,
        costs=costs,
    )


_COLLECTED: Final = frozenset({Owner.PLAIN, Owner.TAGLESS})


def _reclaimable(
    summary: Summary, graph: Graph, read: ReadBytes, retention: RetentionPolicy | None
) -> Reclaimable:
    moment, plain = graph.inventory.taken_at, Policy()
    now = preview(graph, plain, moment, read)
    untagged = now
    if summary.untagged:
        untagged = preview(graph, Policy(delete_untagged=True), moment, read)
    policy = Policy(retention=retention)
    by_policy = None if retention is None else preview(graph, policy, moment, read)
    return Reclaimable(now, untagged, _unfinished(graph, plain), by_policy)


def _unfinished(graph: Graph, policy: Policy) -> Unfinished:
    inventory = graph.inventory
    found = [
        upload
        for repository in inventory.repositories.values()
        for upload in repository.uploads.values()
        if policy.min_age
        <= inventory.taken_at - max(upload.mtime, upload.started_at or 0.0)
        < policy.uploads_older_than
    ]
    blocks = sum(max(upload.allocated, 0) for upload in found)
    return Unfinished(len(found), sum(upload.size for upload in found), blocks)


def _in_quarantine(around: Around) -> InQuarantine:
    held = [one for one in around.runs if one.purge_from is not None or one.damage is not None]
    return InQuarantine(
        len([one for one in held if one.done != Totals()]),
        around.occupied.bytes,
        around.occupied.allocated,
        min((one.purge_from for one in held if one.purge_from is not None), default=None),
    )
