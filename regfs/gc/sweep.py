"""Carrying out a plan.

`apply` looks at the tree afresh: it plans again with the same policy and only
does what both plans say, and each thing once more must be as it was seen just
before it is moved. How it is moved, journaled and taken back is in `regfs.runs`.

The order makes every crash harmless. References are moved before what they
refer to, and come back after it. A journal line that says what will be moved
is durable before the first rename of its batch. Whether a thing was moved is
then seen from where it lies, so carrying on after a crash is doing it again.

This is the only module that has many things removed at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import Doubt, PathMissing, PlanStale, RunUnknown
from regfs.findings import Finding
from regfs.gc.plan import Action, Plan, plan, total
from regfs.graph import Graph
from regfs.inventory import Inventory
from regfs.listing import scan
from regfs.progress import SILENT, Progress
from regfs.registry import Registry
from regfs.runs import (
    Changes,
    RunKind,
    Skipped,
    changing,
    lines_of,
    locked,
    movable,
    purge_held,
    told,
)
from regfs.stores import Entry, Kind
from regfs.totals import ActionKind, Totals

BATCH: Final = 512
"""Actions made durable in the journal together, before the first of them is done."""

_LINKS: Final = frozenset({ActionKind.TAG_INDEX, ActionKind.REVISION, ActionKind.LAYER_LINK})


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did."""

    run: str
    root: str
    done: Totals
    purged: bool
    skipped: list[Skipped]
    findings: list[Finding]
    doubtful: bool


def check_owners(inventory: Inventory) -> None:
    """Refuse a tree that something else manages.

    Raises:
        Doubt: it belongs to a registry that keeps its own books.
    """
    if inventory.lockfiles:
        raise Doubt(
            f"{inventory.lockfiles[0]}: another program manages this tree (GitLab's registry "
            "keeps its references in a database or holds its own lock); collecting here would "
            "delete what only it knows of"
        )
    if inventory.proxy_cache:
        raise Doubt(
            f"{layout.SCHEDULER_STATE}: this is a pull-through cache; its registry expires what "
            "it fetched by itself"
        )


def apply(
    planned: Plan,
    registry: Registry,
    *,
    purge_after: bool = False,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
) -> Applied:
    """Carry out a plan, as far as the tree still agrees with it.

    Raises:
        PlanStale: the plan was made for another root.
        Doubt: the tree belongs to another owner.
        LockHeld: another run is under way.
        StoreError: the storage failed; what was done until then stands in the journal
            and can be restored, or the run can simply be started again.
    """
    store = registry.store
    if planned.root != store.url:
        raise PlanStale(f"the plan was made for {planned.root}, and this is {store.url}")
    with locked(store):
        inventory = scan(
            store, progress=progress, history=planned.policy.delete_untagged, lean=True
        )
        check_owners(inventory)
        graph = Graph.build(inventory, registry, progress=progress)
        fresh = plan(graph, inventory, planned.policy, clock())
        sweep = _Sweep(registry, graph, planned, fresh)
        progress.start("Moving into quarantine", len(sweep.todo))
        sweep.run(progress)
        progress.finish()
        if purge_after:
            purge_held(store, planned.id, progress)
        return Applied(
            run=planned.id,
            root=store.url,
            done=total(sweep.done),
            purged=purge_after,
            skipped=sweep.skipped,
            findings=fresh.findings,
            doubtful=fresh.doubtful,
        )


class _Sweep:
    """One run of moves."""

    def __init__(self, registry: Registry, graph: Graph, planned: Plan, fresh: Plan) -> None:
        self.registry = registry
        self.store = registry.store
        self.graph = graph
        self.planned = planned
        self.before = self._before()
        self.done: list[Action] = []
        self.skipped: list[Skipped] = []
        self.kept: set[str] = set()
        """Digests that something which stayed may need."""
        still = {(action.kind, action.path): action for action in fresh.actions}
        for key in still.keys() - {(action.kind, action.path) for action in planned.actions}:
            # It may go by now, but nobody has agreed to that: it stays, and is not left dangling.
            self._need(still[key].digest)
        self.todo: list[Action] = []
        for action in planned.actions:
            now = still.get((action.kind, action.path))
            if now is None:
                if action.path not in self.before:
                    self.skipped.append(Skipped(action.path, "it is gone, or in use again"))
            elif (now.size, now.mtime) != (action.size, action.mtime):
                self._keep(now, "it has changed since the plan")
            else:
                self.todo.append(now)

    def _before(self) -> set[str]:
        """Return what an interrupted run of the same plan has meant to move already."""
        try:
            lines = lines_of(self.store, self.planned.id)
        except RunUnknown:
            return set()
        state = told(self.planned.id, lines).state
        if state != "interrupted":
            raise PlanStale(f"plan {self.planned.id} is {state} already; make a new one")
        return {line["path"] for line in lines if "move" in line}

    def run(self, progress: Progress) -> None:
        remaining = iter(self.todo)
        run, fingerprint = self.planned.id, self.planned.fingerprint
        with changing(self.store, run, RunKind.GC, fingerprint=fingerprint) as changes:
            while batch := list(islice(remaining, BATCH)):
                # Looked at in order: what stays of the references keeps what they refer to.
                moves = [(action, self._source(action)) for action in batch if self._may(action)]
                for action, source in moves:
                    changes.intend_move(
                        action.path,
                        source,
                        kind=action.kind.value,
                        digest=action.digest,
                        size=action.size,
                    )
                changes.flush()
                for action, source in moves:
                    self._move(changes, action, source)
                progress.advance(len(batch))
            changes.finish(len(self.done))

    def _keep(self, action: Action, reason: str) -> None:
        """Leave a thing in place, with everything that it may need."""
        self.skipped.append(Skipped(action.path, reason))
        self._need(action.digest)

    def _need(self, digest: str | None) -> None:
        """Keep a thing that is named by something which stays, and everything that it needs."""
        if digest is not None:
            found = self.graph.reachable([Digest(digest)], subjects=True)
            needed = self.graph.needs(found)
            self.kept |= needed.union(*(self.graph.aliases.get(item, ()) for item in needed))

    def _may(self, action: Action) -> bool:
        """Return whether a thing still is what was planned, and says what its path says."""
        if action.digest in self.kept:
            self._keep(action, "something that stayed may need it")
            return False
        reason = self._changed(action)
        if reason is None and action.kind in _LINKS:
            link = self.registry.link(action.path)
            if link.digest is None:
                reason = f"its content names nothing that can be understood: {link.text}"
            elif link.digest != action.digest and not self._is_alias(action, link.digest):
                self._need(link.digest)
                reason = f"its content names another digest: {link.digest}"
        if reason is not None:
            self._keep(action, reason)
        return reason is None

    def _is_alias(self, action: Action, content: Digest) -> bool:
        """Return whether a link holds its blob's digest in another algorithm, as planned."""
        return content in self.graph.aliases.get(Digest(action.digest or ""), set())

    def _changed(self, action: Action) -> str | None:
        """Return how a thing differs from what was seen when it was planned, or None."""
        try:
            entry = self.store.stat(action.path)
        except PathMissing:
            return "it is gone"
        if action.kind is ActionKind.UPLOAD:
            return self._upload_changed(entry, action)
        same = entry.kind is Kind.FILE and (entry.size, entry.mtime) == (action.size, action.mtime)
        return None if same else "it has changed while this run was under way"

    def _upload_changed(self, folder: Entry, action: Action) -> str | None:
        if folder.kind is not Kind.FOLDER:
            return "it is no folder any more"
        files = [f for f in self.store.walk(folder.path, _ignore) if f.kind is Kind.FILE]
        size = sum(file.size for file in files)
        mtime = max(entry.mtime for entry in [folder, *files])
        same = (size, mtime) == (action.size, action.mtime)
        return None if same else "it has changed while this run was under way"

    def _source(self, action: Action) -> str:
        """Return what to rename: the folder made for the file, unless it holds more than that."""
        upload = action.kind is ActionKind.UPLOAD
        return action.path if upload else movable(self.store, action.path)

    def _move(self, changes: Changes, action: Action, source: str) -> None:
        reason = self._changed(action)
        if reason is None and action.digest in self.kept:
            reason = "something that stayed may need it"
        if reason is None:
            try:
                changes.move(source)
            except PathMissing:
                reason = "it is gone"
        if reason is None:
            self.done.append(action)
        else:
            self._keep(action, reason)


def _ignore(finding: Finding) -> None:
    """What else lies in an upload was reported by the scan."""
