"""Deleting for good what runs have moved away.

Why it is safe. What is in use by now was put back just before, by `regfs.gc.collect`, which
is asked by `choose`. Here, under the same lock, everything that lies in the quarantine of
a run is accounted for, thing by thing:

    a line names it         else the run is damaged, and nothing of it is deleted
    its place is looked at  by size, then by digest (`regfs.runs.places`)
        a good copy         this one goes
        bad bytes           this one goes back if it is good, else it stays; and so does a
                            tag, of which nobody knows what it was set to
        nothing             what a collection has moved is in use nowhere, and goes. What was
                            moved for being bad stays until a good one has come: it may be
                            all that is left of it. (`discard` says that nobody wants it.)
        cannot be known     it stays

`purging` is durable before the first byte goes, and with it what `stays`: that can still be
restored, as if the rest had never been. Files are deleted that were listed and looked at, and
folders that are empty then: what somebody puts there meanwhile stays.
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
from regfs.runs.journal import Returned, Skipped, continued, require_run
from regfs.runs.lines import Line
from regfs.runs.lock import exclusive
from regfs.runs.paths import RUNS, quarantine_of
from regfs.runs.places import Place, is_good, place_of, present
from regfs.runs.records import Change, Item, RunKind, now
from regfs.runs.space import spending, unclaim_unbegun, unreserve
from regfs.runs.status import Run, Survey, survey, surveys
from regfs.runs.sync import sync_all, sync_cut_off
from regfs.runs.totals import ActionKind, Totals, sum_up
from regfs.runs.undo import put_back
from regfs.stores import Store, stat_or_none

_SLACK: Final = 2.0
"""Seconds by which a clock may stand before what a file system and a journal have noted down."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What was deleted for good."""

    runs: list[str]
    files: int
    bytes: int
    deleted: Totals = field(default_factory=Totals)
    """The same by kind, as the journals tell."""
    returned: list[Returned] = field(default_factory=list)
    """What was in use again and was put back instead."""
    waiting: list[str] = field(default_factory=list)
    """Runs that are too young: a push that began before them may still be under way."""
    findings: list[Finding] = field(default_factory=list)
    """What was said to be in use and is not on this disk."""
    stays: list[Skipped] = field(default_factory=list)
    """What stays in quarantine, by its place, and why."""
    damaged: list[Skipped] = field(default_factory=list)
    """Runs that are damaged; nothing of them was deleted."""
    future: list[Skipped] = field(default_factory=list)
    """Runs that have moved things later than now, by the clock; they stay."""

    def plus(self, other: Purged) -> Purged:
        """Return what two runs came to."""
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
    store: Store,
    run: str | None = None,
    *,
    older_than: float = 0.0,
    discard: bool = False,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
    choose: Callable[[Sequence[Run]], Iterable[Run]] = iter,
) -> Purged:
    """Delete for good what a run moved away, or all runs did `older_than` seconds ago or before.

    Nothing is asked here about what is in use: `regfs.gc.collect.purge` does, by `choose`,
    which is given the runs while the lock is held, and says which of them go. Those that
    are damaged are among them, to be looked at, and never go.

    Raises:
        RunUnknown: there is no such run.
        Refused: `run` is damaged, or has moved things later than now.
        LockHeld: another run is under way.
    """
    if run is not None:
        require_run(store, run)
    with exclusive(store):
        unclaim_unbegun(store)
        found = [one.run for one in _all(store, run) if not _is_over(one)]
        done = Purged([], 0, 0)
        done.damaged.extend(Skipped(one.run, one.damage) for one in found if one.damage)
        old = [one for one in found if one.damage or _is_old(one, older_than, clock(), done)]
        if run is not None and (done.damaged or done.future):
            raise Refused(_refusal([*done.damaged, *done.future][0], bool(done.damaged)))
        going = [one.run for one in choose(old) if one.damage is None]
        if going:
            sync_cut_off(store)
        for one in going:
            # What was put back, or synced, is written down by now, and lies elsewhere.
            done = done.plus(_purge(store, survey(store, one), discard, progress))
        return done


def _is_old(run: Run, older_than: float, now: float, done: Purged) -> bool:
    """Return whether a run has moved its last thing so long ago; say so if nobody can tell."""
    if older_than <= 0:
        return True
    why = in_the_future(run, now)
    if why is not None:
        done.future.append(Skipped(run.run, why))
    return why is None and now - run.moved_at.timestamp() >= older_than


def in_the_future(run: Run, now: float) -> str | None:
    """Return why nobody can say how long ago a run was, when the clock stands before it."""
    moved = run.moved_at.timestamp()
    if moved <= now + _SLACK:
        return None
    stands = datetime.fromtimestamp(now, UTC)
    return (
        f"it has moved things at {run.moved_at:%Y-%m-%dT%H:%M:%SZ}, and the clock stands at "
        f"{stands:%Y-%m-%dT%H:%M:%SZ}; nobody can say how long ago that was"
    )


def _all(store: Store, run: str | None) -> Iterable[Survey]:
    return surveys(store) if run is None else [survey(store, run)]


def _is_over(found: Survey) -> bool:
    """Return whether nothing is left to do: of what lies nowhere nothing can be deleted."""
    lying = found.contents
    lies = bool(lying.items or lying.strays or lying.outside)
    return not lies and found.run.state in ("purged", "restored", "damaged")


def _refusal(run: Skipped, damaged: bool) -> str:
    if not damaged:
        return f"run {run.path}: {run.reason}: set the clock right"
    return (
        f"run {run.path} is damaged ({run.reason}): nothing of it is deleted; put back what lies "
        f"in its quarantine with: regfs gc restore {run.path}"
    )


def _purge(store: Store, found: Survey, discard: bool, progress: Progress) -> Purged:
    """Delete what one run moved away, as far as each thing may go."""
    run = found.run.run
    if found.run.damage is not None:  # since it was chosen
        return Purged([], 0, 0, damaged=[Skipped(run, found.run.damage)])
    back, stays = _last_look(store, found, discard, progress)
    returned = put_back(store, back, make_room=True) if back else []
    places = {one.path for one in returned}
    for item in back:
        if item.path not in places:
            stays[item.lies] = Skipped(item.path, "it is good, and could not be put back")
    kept = {item.lies for item in back} | stays.keys()
    going = [one for one in found.contents.items if one.lies not in kept]
    # What made room for something good lies there now: nobody has seen it go yet.
    purged = _delete(store, found, going, bool(kept), progress)
    return replace(purged, returned=returned, stays=list(stays.values()))


def _last_look(
    store: Store, found: Survey, discard: bool, progress: Progress
) -> tuple[list[Item], dict[str, Skipped]]:
    """Return what has to go back; and by where it lies what stays, with the reason."""
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
        elif not discard:
            stays[item.lies] = Skipped(item.path, _STAYS[place])
    progress.finish()
    return back, stays


_STAYS: Final = {
    Place.FREE: "nothing lies at its place: good bytes have not come yet",
    Place.BAD: "what lies at its place is bad as well: good bytes have not come yet",
    Place.UNKNOWN: "what lies at its place cannot be judged",
}
"""Why a thing stays in quarantine."""


def _may_go_back(item: Item, place: Place) -> bool:
    """Return whether a thing is what has to lie at its place: a tag may have been set anew."""
    return place is not Place.UNKNOWN and item.kind != ActionKind.TAG


def _is_worthless(item: Item) -> bool:
    """Return whether a thing is a link that a run of heal wrote: what it says is in an image."""
    return item.change is Change.CREATE and item.kind != ActionKind.BLOB


def _may_be_the_last(kind: RunKind, item: Item) -> bool:
    """Return whether a thing can be needed although nothing is at its place.

    What a collection has moved was put back before if it was in use.
    """
    by_collection = kind is RunKind.GC and item.change is Change.MOVE
    return item.kind == ActionKind.BLOB and not by_collection


def _told_by(found: Survey, partly: bool) -> Line:
    """Return what has to be known of a purge when nothing lies there any more."""
    if partly:
        return {"partly": True}
    return {"lying": asdict(found.run.done)} if found.run.state == "interrupted" else {}


def _delete(
    store: Store, found: Survey, going: list[Item], partly: bool, progress: Progress
) -> Purged:
    """Delete things for good: the files that were listed, and folders that are empty then."""
    run, quarantine = found.run.run, quarantine_of(found.run.run)
    if partly and not going:
        return Purged([], 0, 0)
    size, deleted = sum(one.size for one in going), sum_up((one.kind, one.size) for one in going)
    if not partly:
        # The space that was kept for it: the first line has to be written before anything goes.
        unreserve(store, run)
    with spending(store, run), continued(store, run) as journal:
        going_now = {one.lies for one in going}
        stays = [one.path for one in found.contents.items if one.lies not in going_now]
        journal.write_all({"stays": path} for path in stays)
        # From here on a restore would be partial: said before the first byte goes.
        journal.write(purging=now(), **_told_by(found, partly))
        journal.flush()
        progress.start("Deleting from quarantine", len(going))
        files = 0
        for item in going:
            files += store.delete(item.files)
            progress.advance(1)
        store.delete(sorted(found.contents.folders, reverse=True))
        progress.finish()
        # A power cut could bring it back, and nobody purges again what is said to be purged.
        if not partly and stat_or_none(store, quarantine) is None:
            store.sync(f"{RUNS}/{run}")
            journal.write(purged=now(), files=files, bytes=size)
        else:
            sync_all(store, reversed(found.contents.folders))
            journal.write(synced=now())
        journal.flush()
    return Purged([run], files, size, deleted)
