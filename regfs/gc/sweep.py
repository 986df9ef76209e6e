"""Carrying out a plan, and taking it back: apply, restore, purge.

    .regfs/lock                            held by whoever changes the tree
    .regfs/runs/<run>/journal.jsonl        what was meant, and what was done
    .regfs/runs/<run>/quarantine/<path>    what was moved, under its own path

`apply` looks at the tree afresh: it plans again with the same policy and only
does what both plans say, and each thing once more must be as it was seen just
before it is moved. What is moved is renamed within the file system: it costs
no space, and `restore` renames it back. Space comes back with `purge`.

The order makes every crash harmless. References are moved before what they
refer to, and come back after it. A journal line that says what will be moved
is durable before the first rename of its batch. Whether a thing was moved is
then seen from where it lies, so carrying on after a crash is doing it again.

This is the only module that removes many things at once.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO, Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import Doubt, PathMissing, PlanStale, Refused, RunUnknown
from regfs.findings import Finding
from regfs.gc.plan import Action, ActionKind, Plan, Totals, plan, sum_up, total
from regfs.graph import Graph
from regfs.inventory import Inventory
from regfs.listing import scan
from regfs.progress import SILENT, Progress
from regfs.registry import Registry
from regfs.stores import Entry, Kind, Store

RUNS: Final = f"{layout.STATE}/runs"
LOCK: Final = f"{layout.STATE}/lock"
BATCH: Final = 512
"""Actions made durable in the journal together, before the first of them is done."""

_LINKS: Final = frozenset({ActionKind.TAG_INDEX, ActionKind.REVISION, ActionKind.LAYER_LINK})


@dataclass(frozen=True, slots=True)
class Skipped:
    """One action that was planned and not done, and why."""

    path: str
    reason: str


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


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as its journal tells."""

    run: str
    created_at: datetime
    state: str
    """applied | interrupted | restored | purging | purged"""
    done: Totals
    """What was meant to be moved; of an interrupted run some may still be in place."""


Runs = list[Run]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    run: str
    restored: int
    bytes: int
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Purged:
    """What was deleted for good."""

    runs: list[str]
    files: int
    bytes: int


def owner() -> str:
    """Return one line that says who holds the lock."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"regfs, process {os.getpid()} on {socket.gethostname()} since {now}"


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
    with store.lock(LOCK, owner()):
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
            _purge(store, planned.id, progress)
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
        self.folder = f"{RUNS}/{planned.id}"
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
            lines = _journal(self.store, self.planned.id)
        except RunUnknown:
            return set()
        state = _run(self.planned.id, lines).state
        if state != "interrupted":
            raise PlanStale(f"plan {self.planned.id} is {state} already; make a new one")
        return {line["path"] for line in lines if "move" in line}

    def run(self, progress: Progress) -> None:
        remaining = iter(self.todo)
        with _continued(self.store, self.planned.id) as journal:
            header = {"run": self.planned.id, "at": _now(), "root": self.store.url}
            _write(journal, header | {"fingerprint": self.planned.fingerprint})
            journal.flush()
            while batch := list(islice(remaining, BATCH)):
                # Looked at in order: what stays of the references keeps what they refer to.
                moves = [(action, self._source(action)) for action in batch if self._may(action)]
                for action, source in moves:
                    _write(journal, _intent(action, source))
                journal.flush()
                for action, source in moves:
                    self._move(action, source)
                progress.advance(len(batch))
            _write(journal, {"applied": _now(), "done": len(self.done)})
            journal.flush()

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
        if action.kind is ActionKind.UPLOAD:
            return action.path
        folder = action.path.rpartition("/")[0]
        inside = self.store.list(folder, _ignore)
        return folder if [entry.path for entry in inside] == [action.path] else action.path

    def _move(self, action: Action, source: str) -> None:
        reason = self._changed(action)
        if reason is None and action.digest in self.kept:
            reason = "something that stayed may need it"
        if reason is None:
            try:
                self.store.move(source, f"{self.folder}/quarantine/{source}")
            except PathMissing:
                reason = "it is gone"
        if reason is None:
            self.done.append(action)
        else:
            self._keep(action, reason)


def _ignore(finding: Finding) -> None:
    """What else lies beside a link was reported by the scan."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _continued(store: Store, run: str) -> Iterator[BinaryIO]:
    """Open a journal to add to it, on a line of its own: a crash may have cut the last one off."""
    with store.append(f"{RUNS}/{run}/journal.jsonl") as journal:
        journal.write(b"\n")
        yield journal


def _write(journal: BinaryIO, line: dict[str, Any]) -> None:
    journal.write(json.dumps(line).encode() + b"\n")


def _intent(action: Action, source: str) -> dict[str, Any]:
    return {
        "move": source,
        "path": action.path,
        "kind": action.kind.value,
        "digest": action.digest,
        "size": action.size,
    }


# -- after a run --------------------------------------------------------------


def _journal(store: Store, run: str) -> list[dict[str, Any]]:
    """Return the lines of a run's journal; a last line that a crash cut off is left out."""
    if "/" in run or run in ("", ".", ".."):
        raise RunUnknown(f"no such run: {run}")
    try:
        with store.open(f"{RUNS}/{run}/journal.jsonl") as stream:
            data = stream.read()
    except PathMissing:
        raise RunUnknown(f"no such run: {run}") from None
    lines = []
    for text in data.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def runs(store: Store) -> list[Run]:
    """Return every run, oldest first."""
    found = []
    for entry in store.list(RUNS, _ignore):
        name = entry.path.rpartition("/")[2]
        try:
            lines = _journal(store, name)
        except RunUnknown:
            continue
        found.append(_run(name, lines))
    return found


def _run(name: str, lines: list[dict[str, Any]]) -> Run:
    state = "interrupted"
    for word in ("applied", "restored", "purging", "purged"):
        if any(word in line for line in lines):
            state = word
    # A run that was carried on after a crash may have said the same twice.
    moves = {line["path"]: line for line in lines if "move" in line}.values()
    try:
        created = datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        created = datetime.fromtimestamp(0, UTC)
    done = sum_up((line["kind"], line["size"]) for line in moves)
    return Run(name, created, state, done)


def restore(
    store: Store, run: str, *, digests: frozenset[str] = frozenset(), progress: Progress = SILENT
) -> Restored:
    """Put back what a run moved away, or only what has one of `digests`. Safe to repeat.

    What lies at its place again by now (pushed since) stays, and so does its
    copy in quarantine.

    Raises:
        RunUnknown: there is no such run.
        Refused: it is purged, or a purge has begun.
        LockHeld: another run is under way.
    """
    _journal(store, run)  # of a run that never was, not even a lock is left behind
    with store.lock(LOCK, owner()):
        lines = _journal(store, run)
        if _run(run, lines).state in ("purging", "purged"):
            raise Refused(f"run {run} is purged: what it moved is deleted")
        # Backwards: what is referred to comes before what refers to it.
        moves = [line for line in reversed(lines) if "move" in line]
        if digests:
            moves = [line for line in moves if line["digest"] in digests]
        skipped: list[Skipped] = []
        count = size = 0
        progress.start("Restoring", len(moves))
        for line in moves:
            if _put_back(store, run, line, skipped):
                count += 1
                size += line["size"]
            progress.advance(1)
        progress.finish()
        if not digests:
            with _continued(store, run) as journal:
                _write(journal, {"restored": _now(), "count": count})
                journal.flush()
        return Restored(run, count, size, skipped)


def _put_back(store: Store, run: str, line: dict[str, Any], skipped: list[Skipped]) -> bool:
    """Move one thing from quarantine to its place; return whether it was moved."""
    source, path = line["move"], line["path"]
    quarantine = f"{RUNS}/{run}/quarantine"
    if not _exists(store, f"{quarantine}/{source}"):
        return False
    if not _exists(store, source):
        store.move(f"{quarantine}/{source}", source)
        return True
    # The registry has made the folder again: what counts is whether the file is there.
    if source != path and not _exists(store, path):
        store.move(f"{quarantine}/{path}", path)
        return True
    skipped.append(Skipped(path, "it is there again"))
    return False


def _exists(store: Store, path: str) -> bool:
    try:
        store.stat(path)
    except PathMissing:
        return False
    return True


def purge(
    store: Store,
    run: str | None = None,
    *,
    older_than: float = 0.0,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
) -> Purged:
    """Delete for good what a run moved away, or what all runs older than `older_than` seconds did.

    Raises:
        RunUnknown: there is no such run.
        LockHeld: another run is under way.
    """
    if run is not None:
        _journal(store, run)
    with store.lock(LOCK, owner()):
        chosen = runs(store) if run is None else [_run(run, _journal(store, run))]
        names = [
            found.run
            for found in chosen
            if found.state != "purged" and clock() - found.created_at.timestamp() >= older_than
        ]
        files = size = 0
        for name in names:
            more_files, more_bytes = _purge(store, name, progress)
            files += more_files
            size += more_bytes
        return Purged(names, files, size)


def _purge(store: Store, run: str, progress: Progress) -> tuple[int, int]:
    quarantine = f"{RUNS}/{run}/quarantine"
    size = sum(entry.size for entry in _held(store, quarantine))
    with _continued(store, run) as journal:
        # From here on a restore would be partial, so it is refused: said before the first byte.
        _write(journal, {"purging": _now()})
        journal.flush()
        progress.start("Deleting from quarantine")
        files = store.delete_tree(quarantine)
        progress.advance(files)
        progress.finish()
        _write(journal, {"purged": _now(), "files": files, "bytes": size})
        journal.flush()
    return files, size


def _held(store: Store, quarantine: str) -> Iterator[Any]:
    return (entry for entry in store.walk(quarantine, _ignore) if entry.kind is Kind.FILE)
