"""Carrying out a plan.

`apply` scans the tree again, plans again with the same policy, and only does what both plans
say; just before an item is moved, it must still be as it was planned. How items are moved,
journaled and taken back is in `regfs.runs`.

"Just before" is a few items before, where a store takes some ahead (`move_many`): a bucket, 16 of
one kind. That loses nothing: the time between a check and a move is never zero, and nothing rests
on its being short. What is written in between

    to the thing itself     shows in its time or its version, which it has as it is moved: it stays,
                            or settle puts it back (`quarantine`, and `copies` and `versions` of a
                            bucket)
    and names the thing     was written before the next settle, which finds it (`collect`)

An item that stays after all keeps what it needs of later kinds; of its own kind, some may have
been moved already, in this window as in the batches before. Settle puts that back as well.

The order makes every crash harmless. References are moved before what they refer to, and come
back after it. The journal lines of a batch are durable before its first rename. Whether an item
was moved then shows in where it lies, so continuing after a crash is doing the same again.

No other module removes many things at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import Doubt, PlanStale, Refused, RunUnknown, StoreError
from regfs.findings import Finding
from regfs.gc.looks import (
    CHANGED,
    LINKS,
    Look,
    how_changed,
    in_batches,
    item_of,
    look_at,
    source_of,
    why_left,
)
from regfs.gc.plan import Action, Plan, in_order, plan
from regfs.gc.quarantine import JustMoved
from regfs.gc.scanning import LatestGraph, scan_for_plan
from regfs.gc.space import find_room
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.runs import Change, Changes, InPlace, Item, Returned, RunKind, Skipped, changing, survey
from regfs.runs.lock import exclusive
from regfs.runs.totals import EMPTY_KINDS, FOLDER_KINDS, ActionKind, Totals, sum_up
from regfs.stores import (
    Capability,
    FileKind,
    PathState,
    Store,
    folders_above,
    ignore,
    stat_or_none,
    writable,
)
from regfs.tree.inventory import Inventory, LinkContent
from regfs.tree.leftovers import is_for_one
from regfs.tree.links import parse_link_content
from regfs.tree.registry import Registry


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did."""

    run: str
    root: str
    done: Totals
    skipped: list[Skipped]
    findings: list[Finding]
    doubtful: bool
    returned: list[Returned] = field(default_factory=list)
    """What came back into use, of this run and earlier ones; it is in place again."""
    purged: bool = False
    in_place: bool = False
    """Whether items were deleted without a quarantine, for lack of space."""
    freed: int = 0
    """Bytes that were deleted for good."""
    deleted: Totals = field(default_factory=Totals)
    """What was deleted for good."""
    stays: list[Skipped] = field(default_factory=list)
    """What was not deleted, by its path in the tree, and why."""
    waiting: list[str] = field(default_factory=list)
    """Interrupted runs that were not purged: they have not waited long enough."""


def check_owners(inventory: Inventory) -> None:
    """Refuse a tree that something else manages.

    Raises:
        Doubt: another program keeps track of its content.
    """
    if inventory.lockfiles:
        raise Doubt(
            f"{inventory.lockfiles[0]}: another program manages this tree (GitLab's registry "
            "keeps its references in a database or holds its own lock); collecting here would "
            "delete what only it knows of"
        )
    if inventory.proxy_cache:
        raise Doubt(
            f"{layout.SCHEDULER_STATE}: this tree is a pull-through cache and not ours to collect: "
            "its registry expires what it fetched by itself"
        )


def check_roots(planned: Plan) -> None:
    """Refuse a plan whose list of roots names what is not in the tree.

    Such a line may mean something that has another name here, and that would go.

    Raises:
        Refused: some of the roots are missing, and that is not to be ignored.
    """
    missing = planned.missing_roots
    if missing:
        raise Refused(
            f"{len(missing)} of the roots {'is' if len(missing) == 1 else 'are'} not on this disk, "
            f"first {missing[0].expected}; correct the list, name this registry as the list does "
            "(--roots-host HOST[/PREFIX]), or give --ignore-missing-roots"
        )


def apply(
    planned: Plan,
    registry: Registry,
    *,
    wait: float | None = None,
    at_once: bool = False,
    latest: LatestGraph | None = None,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
) -> Applied:
    """Carry out a plan, as far as the tree still agrees with it.

    `wait` is written down: the seconds that have to pass before what was moved is purged; the
    default is the `min_age` of the plan. `at_once` says that nobody else writes and that a
    purge follows: where there is no space for a quarantine, items are deleted in place.
    `latest` knows the graph by which it was planned, if that was a moment ago.

    Raises:
        PlanStale: the plan was made for another root.
        Refused: a root from outside is not in the tree.
        Doubt: another program manages the tree, or it lies on more than one file system.
        LockHeld: another run is under way.
        StoreFull: there is no space for a quarantine; nothing was moved.
        StoreError: the storage failed; restore what was done, or apply the same plan again.
    """
    store = writable(registry.store)
    if planned.root != store.url:
        raise PlanStale(f"the plan was made for {planned.root}, not for {store.url}")
    with exclusive(store):
        before = latest or LatestGraph(registry)
        graph, fresh = _plan_again(planned, registry, before, clock, progress)
        sweep = _Sweep(registry, graph, planned, fresh, wait)
        in_place = not sweep.find_room(at_once=at_once)
        sweep.run(progress, in_place=in_place)
        # Of a run that was continued only its journal knows all.
        if not in_place and not sweep.before:
            before.moved = JustMoved.of(store, planned.id, sweep.moved)
        return sweep.report(in_place=in_place)


def _plan_again(
    planned: Plan,
    registry: Registry,
    before: LatestGraph,
    clock: Callable[[], float],
    progress: Progress,
) -> tuple[Graph, Plan]:
    """Return the graph of the tree as it is, and what goes of it by the policy of a plan."""
    inventory = scan_for_plan(registry.store, planned.policy, progress, before.known)
    check_owners(inventory)
    graph = before.of(inventory, progress)
    # With the limit, something else could go in place of what is in use again.
    policy = replace(planned.policy, max_freed=None)
    fresh = plan(graph, policy, clock(), registry.manifest_bytes)
    check_roots(fresh)
    return graph, fresh


class _Sweep:
    """One run of moves."""

    def __init__(
        self, registry: Registry, graph: Graph, planned: Plan, fresh: Plan, wait: float | None
    ) -> None:
        self.registry = registry
        self.store = writable(registry.store)
        self.graph = graph
        self.planned = planned
        self.fresh = fresh
        self.wait = planned.policy.min_age if wait is None else wait
        self.before = self._before()
        self.moved: list[Item] = []
        self.removed: list[Action] = []
        """Folders."""
        self.skipped: list[Skipped] = []
        self.kept: set[str] = set()
        """Digests that something may need which stays."""
        self.kept_blobs: set[str] = set()
        """The same of blobs, for what stays without a link."""
        self.todo: list[Action] = []
        """What is moved, references before what they refer to."""
        self.folders: list[Action] = []
        """What is only removed if it is empty: folders, and those of repositories."""
        still = {(action.kind, action.path): action for action in fresh.actions}
        for action in planned.actions:
            now = still.pop((action.kind, action.path), None)
            if now is None:
                if action.path not in self.before:
                    self.skipped.append(Skipped(action.path, "it is gone, or in use again"))
            elif (now.size, now.mtime) != (action.size, action.mtime):
                self._keep(now, "it has changed since the plan")
            else:
                (self.folders if action.kind in EMPTY_KINDS else self.todo).append(now)
        for extra in still.values():
            self._keep_unplanned(extra)
        self.todo = in_order(self.todo)  # a plan from a file may have any order

    def _keep_unplanned(self, extra: Action) -> None:
        """Keep what an item needs that may go by now, and stays since nobody has agreed."""
        if extra.kind is ActionKind.BLOB:
            # A blob without links needs no links: such is what a limit leaves.
            self.kept_blobs |= self._needed_by(extra.digest) - {str(extra.digest)}
        else:
            self._need(extra.digest)

    def _before(self) -> set[str]:
        """Return the paths that an interrupted run of the same plan was to move."""
        try:
            found = survey(self.store, self.planned.id)
        except RunUnknown:
            return set()
        state = found.run.state
        if state == "damaged":
            raise Doubt(
                f"run {self.planned.id} is damaged ({found.run.damage}): put back what lies in its "
                f"quarantine with: regfs gc restore {self.planned.id}"
            )
        if state != "interrupted":
            raise PlanStale(f"plan {self.planned.id} is {state} already; make a new one")
        return {item.path for item in found.journal.account.items if item.change is Change.MOVE}

    def find_room(self, *, at_once: bool) -> bool:
        """Return whether there is space for a quarantine."""
        actions = [*self.todo, *self.folders]
        # An interrupted run has a quarantine already: the rest goes there too.
        at_once = at_once and not self.before
        offline = self.planned.policy.min_age == 0
        run = self.planned.id
        return find_room(self.store, run, actions, offline=offline, at_once=at_once)

    def run(self, progress: Progress, *, in_place: bool) -> None:
        """Move away, or delete in place, what both plans say and is unchanged."""
        progress.start("Deleting" if in_place else "Moving into quarantine", len(self.todo))
        run, fingerprint = self.planned.id, self.planned.fingerprint
        facts = {"fingerprint": fingerprint, "wait": self.wait}
        with ExitStack() as stack:
            changes: Changes | InPlace = InPlace(self.store, run)
            if not in_place:
                changes = stack.enter_context(changing(self.store, run, RunKind.GC, **facts))
            batches = list(in_batches(self.todo))
            for number, looks in enumerate(look_at(self.store, batches)):
                batch = batches[number]
                if number and batch[0].kind is not batches[number - 1][0].kind:
                    # What refers to this kind is durably gone before it is touched.
                    changes.sync()
                self._carry_out(changes, batch, looks)
                progress.advance(len(batch))
            changes.sync()
            self._tidy(changes)
            changes.finish(len(self.moved) + len(self.removed))
        progress.finish()

    def report(self, *, in_place: bool) -> Applied:
        """Return what was done."""
        moved = ((item.kind, item.size) for item in self.moved)
        done = sum_up(chain(moved, ((action.kind, action.size) for action in self.removed)))
        return Applied(
            run=self.planned.id,
            root=self.store.url,
            done=done,
            skipped=self.skipped,
            findings=self.fresh.findings,
            doubtful=self.fresh.doubtful,
            purged=in_place,
            in_place=in_place,
            freed=done.bytes if in_place else 0,
            deleted=done if in_place else Totals(),
        )

    def _carry_out(
        self, changes: Changes | InPlace, batch: list[Action], looks: Iterable[Look]
    ) -> None:
        """Move those of a batch that may go, when their intents are durable."""
        # Checked in order: references that stay keep what they refer to.
        moves = [
            _Move(action, seen, item_of(self.planned.id, action, seen))
            for action, seen in zip(batch, looks, strict=True)
            if self._may(action, seen) and not isinstance(seen, StoreError)
        ]
        changes.intend([move.item for move in moves])
        self._move(changes, moves)

    def _tidy(self, changes: Changes | InPlace) -> None:
        """Remove folders that are empty, as the file system finds them at that moment."""
        # Folders before the repositories they are in, and the innermost first.
        inside_first = sorted(self.folders, key=lambda one: one.path, reverse=True)
        for action in sorted(inside_first, key=lambda one: one.kind is ActionKind.REPOSITORY):
            if not self._remove_empty(changes, action):
                self.skipped.append(Skipped(action.path, "it is not empty"))
                continue
            self.removed.append(action)
            if action.kind is ActionKind.REPOSITORY:
                # Its folder may hold others, and may lie in one that holds nothing else.
                around = [action.path, *folders_above(action.path)]
                changes.remove_empty(p for p in around if p.startswith(f"{layout.REPOSITORIES}/"))
        if self.planned.policy.min_age == 0:
            # Nobody else writes, so nobody is about to use these folders.
            left = {layout.parent_of(item.source) for item in self.moved}
            emptied = left.union(*map(folders_above, left))
            changes.remove_empty(folder for folder in emptied if is_for_one(folder))

    def _remove_empty(self, changes: Changes | InPlace, action: Action) -> bool:
        """Remove the empty folders of an action; return whether all are gone."""
        if Capability.FOLDERS not in self.store.capabilities:
            return stat_or_none(self.store, action.path) is None  # it went with what it held
        folders = [action.path]
        if action.kind is ActionKind.REPOSITORY:
            folders = _folders_of(self.store, action.path)
        return bool(folders) and changes.remove_empty(folders) == len(folders)

    def _keep(self, action: Action, reason: str) -> None:
        """Leave an item in place, with everything that it may need."""
        self.skipped.append(Skipped(action.path, reason))
        self._need(action.digest)

    def _need(self, digest: str | None) -> None:
        """Keep a digest that something names which stays, and everything that it needs."""
        self.kept |= self._needed_by(digest)

    def _needed_by(self, digest: str | None) -> set[Digest]:
        if digest is None:
            return set()
        needed = self.graph.needs(self.graph.reachable([Digest(digest)], subjects=True))
        return needed.union(*(self.graph.aliases.get(item, ()) for item in needed))

    def _is_kept(self, action: Action) -> bool:
        is_kept_blob = action.kind is ActionKind.BLOB and action.digest in self.kept_blobs
        return is_kept_blob or action.digest in self.kept

    def _may(self, action: Action, seen: Look) -> bool:
        """Return whether an item is as planned, and a link names the digest of its path."""
        if self._is_kept(action):
            self._keep(action, "something that stays may need it")
            return False
        reason = self._changed(action, seen)
        if reason is None and action.kind in LINKS:
            link = self._link(action, seen)
            if link.digest is None:
                reason = f"its content is no digest: {link.text}"
            elif link.digest != action.digest and not self._is_alias(action, link.digest):
                self._need(link.digest)
                reason = f"its content names another digest: {link.digest}"
        elif action.kind is ActionKind.TAG:
            # It was set again: what it points to now is in use.
            self._need(self.registry.link(f"{action.path}/current/link").digest)
        if reason is not None:
            self._keep(action, reason)
        return reason is None

    def _link(self, action: Action, seen: Look) -> LinkContent:
        """Return what a link says, as it was read when it was checked."""
        if action.kind is ActionKind.TAG:
            return self.registry.link(f"{action.path}/current/link")
        if isinstance(seen, PathState) and isinstance(seen.content, bytes):
            return parse_link_content(seen.content)
        return self.registry.link(action.path)

    def _is_alias(self, action: Action, content: Digest) -> bool:
        """Return whether a link holds its blob's digest in another algorithm, as planned."""
        return content in self.graph.aliases.get(Digest(action.digest or ""), set())

    def _changed(self, action: Action, seen: Look) -> str | None:
        """Return how an item differs from what was planned, or None."""
        return how_changed(self.store, action, seen, CHANGED)

    def _move(self, changes: Changes | InPlace, moves: list[_Move]) -> None:
        """Move items, each if it is unchanged when it is checked just before."""
        asked: deque[_Move] = deque()

        def unchanged() -> Iterator[str]:
            looks = self.store.examine(move.seen for move in moves)
            for move, seen in zip(moves, looks, strict=True):
                reason = self._changed_again(move, seen)
                if reason is None:
                    asked.append(move)
                    yield move.item.source
                else:
                    changes.leave(move.action.path)
                    self._keep(move.action, reason)

        for failure in changes.move_many(unchanged()):
            move = asked.popleft()  # a store may take some ahead
            if failure is None:
                self.moved.append(move.item)
            elif (reason := why_left(failure)) is not None:
                changes.leave(move.action.path)
                self._keep(move.action, reason)
            else:
                raise failure

    def _changed_again(self, move: _Move, seen: Look) -> str | None:
        """Return why an item stays after all, or None."""
        action = move.action
        # The same answer says that nothing has changed, but not what is in a folder.
        if seen is not move.seen or action.kind in FOLDER_KINDS:
            reason = self._changed(action, seen)
            if reason is not None:
                return reason
            if source_of(action, seen) != move.item.source:
                return "something else lies beside it by now"
        return "something that stays may need it" if self._is_kept(action) else None


class _Move(NamedTuple):
    """One item that may go, as it was seen when that was decided."""

    action: Action
    seen: PathState
    item: Item


def _folders_of(store: Store, repository: str) -> list[str]:
    """Return the folders of one repository; none if there is any file in them."""
    found = []
    for entry in store.list(repository, ignore):
        name = layout.name_of(entry.path)
        if entry.kind is not FileKind.FOLDER or (name.startswith("_") and name not in layout.PARTS):
            return []
    for part in sorted(layout.PARTS):
        for listing in store.tree(f"{repository}/{part}", ignore):
            if listing.files or listing.others or not listing.complete:
                return []
            found.append(listing.path)
    return found
