"""Deleting for good what runs have moved away.

Why it is safe. `regfs.gc.collect` puts back what is in use again just before (`choose` asks it
to). Then, under the same lock, a purge accounts for each item in the quarantine of a run:

    a line names it         else the run is damaged, and nothing of it is deleted
    its place is checked    by size, then by digest (`regfs.runs.places`)
        a good copy         the item is deleted
        bad bytes           the item goes back if it is good, and stays otherwise. A tag stays:
                            nobody knows what it was set to.
        nothing             an item of a collection is in use nowhere, and is deleted. An item
                            that was moved because it is bad stays until a good copy has come:
                            it may be all that is left. (`discard` says that nobody wants it.)
        cannot be read      the item stays; a good blob does even if it is to be discarded

`purging` and what `stays` are durable before the first byte is deleted; what stays can still be
restored. A purge deletes only files that it has listed and checked, and folders that are empty
then: what somebody adds meanwhile stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from regfs.errors import Refused
from regfs.findings import Finding
from regfs.progress import SILENT, Progress
from regfs.runs.journal import Returned, Skipped, continued, may_be_purged, require_run
from regfs.runs.lines import Line
from regfs.runs.lock import exclusive
from regfs.runs.paths import RUNS, quarantine_of
from regfs.runs.places import Place, is_good, place_of, present
from regfs.runs.records import Change, Item, RunKind, now
from regfs.runs.space import spending, unclaim_abandoned, unreserve
from regfs.runs.status import Run, Survey, survey, surveys
from regfs.runs.sync import sync_all, sync_interrupted
from regfs.runs.totals import ActionKind, Totals, sum_up
from regfs.runs.undo import put_back
from regfs.stores import Store, WritableStore, stat_or_none

_BATCH: Final = 1024
"""Items that are deleted together."""
_SLACK: Final = 2.0
"""Seconds by which a clock may stand before what a file system and a journal have noted down."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What was deleted for good."""

    runs: list[str]
    files: int
    bytes: int
    deleted: Totals = field(default_factory=Totals)
    """The same by kind, by the journals."""
    returned: list[Returned] = field(default_factory=list)
    """What is in use again, and was put back instead."""
    waiting: list[str] = field(default_factory=list)
    """Runs that have not waited long enough: a push from before may still be under way."""
    findings: list[Finding] = field(default_factory=list)
    """Roots from outside that are not on this disk."""
    stays: list[Skipped] = field(default_factory=list)
    """What stays in quarantine, by its path in the tree, and why."""
    damaged: list[Skipped] = field(default_factory=list)
    """Damaged runs; nothing of them was deleted."""
    future: list[Skipped] = field(default_factory=list)
    """Runs that moved items later than now, by the clock; they stay."""
    pruned: list[str] = field(default_factory=list)
    """Runs of which nothing was left but the journal, which was old enough to go."""

    def plus(self, other: Purged) -> Purged:
        """Return the sum of both."""
        return replace(
            self,
            runs=[*self.runs, *other.runs],
            files=self.files + other.files,
            bytes=self.bytes + other.bytes,
            deleted=self.deleted.plus(other.deleted),
            returned=[*self.returned, *other.returned],
            stays=[*self.stays, *other.stays],
            damaged=[*self.damaged, *other.damaged],
        )


def purge(
    store: WritableStore,
    run: str | None = None,
    *,
    older_than: float = 0.0,
    discard: bool = False,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
    choose: Callable[[Sequence[Run]], Iterable[Run]] = iter,
) -> Purged:
    """Delete for good what a run moved away, or every run that ended `older_than` seconds ago.

    This does not check what is in use: `regfs.gc.collect.purge` does, in `choose`, which gets
    the runs while the lock is held and returns those to purge. Damaged runs are among them, to
    be looked at, and are never purged.

    Raises:
        RunUnknown: there is no such run.
        Refused: `run` is damaged, or moved items later than now.
        LockHeld: another run is under way.
    """
    if run is not None:
        require_run(store, run)
    with exclusive(store):
        unclaim_abandoned(store)
        progress.start("Looking into quarantine")
        old, done = old_enough(store, run, older_than, clock())
        progress.finish()
        chosen = [one.run for one in choose(old) if one.damage is None]
        if chosen:
            sync_interrupted(store)
        for one in chosen:
            # What was put back, or synced, is in the journal by now: survey the run again.
            done = done.plus(_purge(store, survey(store, one), discard, progress))
        return done


def old_enough(
    store: Store, run: str | None, older_than: float, now: float
) -> tuple[list[Run], Purged]:
    """Return the runs that a purge may look at, damaged ones among them, and which it may not.

    Raises:
        RunUnknown: there is no such run.
        Refused: `run` is damaged, or moved items later than now.
    """
    found = [one.run for one in _all(store, run) if not _is_over(one)]
    done = Purged([], 0, 0)
    done.damaged.extend(Skipped(one.run, one.damage) for one in found if one.damage)
    old = [one for one in found if one.damage or _is_old(one, older_than, now, done)]
    if run is not None and (done.damaged or done.future):
        raise Refused(_refusal([*done.damaged, *done.future][0], bool(done.damaged)))
    return old, done


def _is_old(run: Run, older_than: float, now: float, done: Purged) -> bool:
    """Return whether a run moved its last item so long ago; note it if nobody can know."""
    if older_than <= 0:
        return True
    why = in_the_future(run, now)
    if why is not None:
        done.future.append(Skipped(run.run, why))
    return now - run.moved_at.timestamp() >= older_than


def in_the_future(run: Run, now: float) -> str | None:
    """Return why the age of a run is unknown, when the clock stands before it; else None."""
    moved = run.moved_at.timestamp()
    if moved <= now + _SLACK:
        return None
    stands = datetime.fromtimestamp(now, UTC)
    return (
        f"it moved items at {run.moved_at:%Y-%m-%dT%H:%M:%SZ}, and the clock stands at "
        f"{stands:%Y-%m-%dT%H:%M:%SZ}; nobody can say how long ago that was"
    )


def _all(store: Store, run: str | None) -> Iterable[Survey]:
    return surveys(store, only=may_be_purged) if run is None else [survey(store, run)]


def _is_over(found: Survey) -> bool:
    """Return whether a run is over and nothing lies in its quarantine."""
    inside = found.contents
    holds_any = bool(inside.items or inside.strays or inside.outside)
    return not holds_any and found.run.state in ("purged", "restored", "damaged")


def _refusal(run: Skipped, damaged: bool) -> str:
    if not damaged:
        return f"run {run.path}: {run.reason}: set the clock right"
    return (
        f"run {run.path} is damaged ({run.reason}): nothing of it is deleted; put back what lies "
        f"in its quarantine with: regfs gc restore {run.path}"
    )


def _purge(store: WritableStore, found: Survey, discard: bool, progress: Progress) -> Purged:
    """Delete those items of one run that may go."""
    run = found.run.run
    if found.run.damage is not None:  # since it was chosen
        return Purged([], 0, 0, damaged=[Skipped(run, found.run.damage)])
    back, stays = _last_look(store, found, discard, progress)
    returned = put_back(store, back, make_room=True) if back else []
    places = {one.path for one in returned}
    for item in back:
        if item.path not in places:
            why = "it is good, and could not be put back"
            stays[item.quarantine_path] = Skipped(item.path, why)
    kept = {item.quarantine_path for item in back} | stays.keys()
    items = [one for one in found.contents.items if one.quarantine_path not in kept]
    # `put_back` may have set bad bytes aside meanwhile; they stay until the next purge.
    purged = _delete(store, found, items, bool(kept), progress)
    return replace(purged, returned=returned, stays=list(stays.values()))


def _last_look(
    store: Store, found: Survey, discard: bool, progress: Progress
) -> tuple[list[Item], dict[str, Skipped]]:
    """Return what has to go back; and by its path in quarantine what stays, with the reason."""
    back: list[Item] = []
    stays: dict[str, Skipped] = {}
    items = found.contents.items
    there = present(store, [item.path for item in items])
    progress.start("Looking once more", len(items))
    for item in items:
        progress.advance(1)
        free = item.path not in there
        if _is_worthless(item) or (free and not _may_be_the_last(found.run.kind, item)):
            continue
        place = Place.FREE if free else place_of(store, item)
        if place is Place.GOOD:
            continue
        if _may_go_back(item, place) and is_good(store, item):
            back.append(item)
        elif not (discard and _may_be_discarded(store, item, place)):
            stays[item.quarantine_path] = Skipped(item.path, _STAYS[place])
    progress.finish()
    return back, stays


_STAYS: Final = {
    Place.FREE: "no good copy has come to its place yet",
    Place.BAD: "the copy at its place is bad as well",
    Place.UNKNOWN: "what lies at its place cannot be checked",
}
"""Why a thing stays in quarantine."""


def _may_go_back(item: Item, place: Place) -> bool:
    """Return whether an item belongs at its place: a tag may have been set again."""
    return place is not Place.UNKNOWN and item.kind != ActionKind.TAG


def _may_be_discarded(store: Store, item: Item, place: Place) -> bool:
    """Return whether an item is not a good blob whose place cannot be checked."""
    return place is not Place.UNKNOWN or item.kind != ActionKind.BLOB or not is_good(store, item)


def _is_worthless(item: Item) -> bool:
    """Return whether an item is a link that heal wrote: an image says the same."""
    return item.change is Change.CREATE and item.kind != ActionKind.BLOB


def _may_be_the_last(kind: RunKind, item: Item) -> bool:
    """Return whether an item may be needed although nothing lies at its place.

    What a collection moved and is in use was put back before.
    """
    by_collection = kind is RunKind.GC and item.change is Change.MOVE
    return item.kind == ActionKind.BLOB and not by_collection


def _purge_facts(found: Survey, partly: bool) -> Line:
    """Return what the journal has to keep of a purge, for when the quarantine is empty."""
    if partly:
        return {"partly": True}
    return {"lying": asdict(found.run.done)} if found.run.state == "interrupted" else {}


def _delete(
    store: WritableStore, found: Survey, items: list[Item], partly: bool, progress: Progress
) -> Purged:
    """Delete items for good: the files that were listed, and folders that are empty then."""
    run, quarantine = found.run.run, quarantine_of(found.run.run)
    if partly and not items:
        return Purged([], 0, 0)
    size, deleted = sum(one.size for one in items), sum_up((one.kind, one.size) for one in items)
    if not partly:
        # The first line has to be written before anything is deleted: this is its space.
        unreserve(store, run)
    with spending(store, run), continued(store, run) as journal:
        deleted_now = {one.quarantine_path for one in items}
        stays = [one.path for one in found.contents.items if one.quarantine_path not in deleted_now]
        journal.write_all({"stays": path} for path in stays)
        # From here on a restore would be partial, so this is durable before the first deletion.
        journal.write(purging=now(), **_purge_facts(found, partly))
        journal.flush()
        progress.start("Deleting from quarantine", len(items))
        files = 0
        for some in (items[at : at + _BATCH] for at in range(0, len(items), _BATCH)):
            files += store.delete([file for item in some for file in item.files])
            progress.advance(len(some))
        store.delete(sorted(found.contents.folders, reverse=True))
        progress.finish()
        # A power cut could bring items back, and nobody purges a purged run again.
        if not partly and stat_or_none(store, quarantine) is None:
            store.sync(f"{RUNS}/{run}")
            journal.write(purged=now(), files=files, bytes=size)
        else:
            sync_all(store, reversed(found.contents.folders))
            journal.write(synced=now())
        journal.flush()
    return Purged([run], files, size, deleted)
