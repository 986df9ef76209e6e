"""What is deleted, what is kept, and why: a pure function of graph, policy and time.

    mark       what is live in each repository, from its roots            mark.py, tags.py
    keep       whatever is marked, young, or in doubt
    actions    everything else, references before what they refer to      candidates.py

The result never depends on the order of repositories, and a dry run is a plan that
is not applied.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from operator import attrgetter
from sys import intern
from typing import Any, Final

from regfs.errors import DocumentInvalid, Doubt
from regfs.findings import Code, Finding, Severity
from regfs.gc.actions import Action
from regfs.gc.candidates import Candidates
from regfs.gc.decisions import Decision
from regfs.gc.kept import KeptItem
from regfs.gc.mark import Mark
from regfs.gc.policy import Policy
from regfs.gc.tags import Read, unread
from regfs.graph import Graph
from regfs.runs import new_run
from regfs.runs.totals import ActionKind, Totals, sum_up
from regfs.tree.inventory import INCOMPLETE, Inventory
from regfs.units import utc_time

__all__ = ["Action", "ActionKind", "Plan", "fingerprint", "load", "needs_history", "plan", "total"]

SCHEMA: Final = "regfs.plan/2"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a plan would free."""

    totals: Totals
    allocated: int
    """Bytes of disk blocks, as far as they are known."""
    young: int
    """Bytes of what stays because it is too young."""
    young_from: datetime | None = None
    """When the first of that is old enough; of uploads, only those younger than `min_age` count."""
    young_until: datetime | None = None
    """When all of that is."""


@dataclass(frozen=True, slots=True)
class Stays:
    """What a run leaves in a tree."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    """Counted in each repository."""
    blobs: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do."""

    schema: str
    id: str
    root: str
    created_at: datetime
    policy: Policy
    fingerprint: str
    """Digest of every tag and revision that the plan was made from."""
    totals: Totals
    actions: list[Action]
    kept: dict[str, int]
    """Why things are kept that nothing needs -> how many.

    `young`, `future` (by the clock): blobs, links and uploads; `frozen_repositories`, and
    `frozen` blobs named by them; `incomplete`: blobs, while parts of the tree cannot be read;
    `tagless`: manifests; `outside`: blobs that the list of roots names; `max_freed`: blobs
    beyond it; `copies`: partial copies whose file is not there; `upload_unknown`: uploads whose
    bytes are not known.
    """
    findings: list[Finding] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    """The decision about each tag and manifest that the retention policy covers."""
    allocated: int = 0
    """Bytes of the disk blocks of all actions, as far as they are known."""
    kept_bytes: dict[str, int] = field(default_factory=dict)
    """Reason, as in `kept` -> bytes."""
    kept_items: list[KeptItem] = field(default_factory=list)
    """Items that are kept and why; of each reason at most the first `regfs.gc.kept.NAMED`."""
    stays: Stays = field(default_factory=Stays)
    """What is left after all actions."""
    tags_left: dict[str, int] = field(default_factory=dict)
    """Repository with actions -> number of tags that are kept."""

    @property
    def doubtful(self) -> bool:
        """Whether anything could not be read, or was kept for that, or a root is missing."""
        kept = self.kept.get("frozen_repositories") or self.kept.get("incomplete")
        doubts = INCOMPLETE | {Code.PATTERN_SLOW, Code.UPLOAD_UNKNOWN}
        unsure = any(one.code in doubts for one in self.findings)
        return bool(kept) or unsure or bool(self.missing_roots)

    @property
    def missing_roots(self) -> list[Finding]:
        """The roots that are not in the tree, unless they are ignored."""
        findings = [one for one in self.findings if one.code is Code.ROOT_MISSING]
        return [one for one in findings if one.severity is Severity.ERROR]


def needs_history(policy: Policy) -> bool:
    """Return whether a plan has to know what tags pointed to before."""
    asked = policy.delete_untagged or policy.tag_history is not None
    return asked or policy.retention is not None


def plan(graph: Graph, policy: Policy, now: float, read: Read = unread) -> Plan:
    """Decide what is deleted. `now` is in seconds since the epoch, UTC; `read` reads configs.

    Raises:
        Doubt: only some repositories were listed, and the others need blobs too;
            or the histories of tags were not read, so what has just lost its tag is not known;
            or there is no manifest in the whole tree, and nobody has confirmed that.
    """
    inventory = graph.inventory
    if not inventory.whole:
        raise Doubt("only some of the repositories were listed; what the others need is not known")
    repositories = inventory.repositories.values()
    if needs_history(policy) and not all(known.has_history for known in repositories):
        raise Doubt("the histories of tags were not read; what has just lost its tag is not known")
    if not policy.allow_no_manifests:
        _expect_manifests(inventory)
    mark = Mark(graph, policy, now, read)
    candidates = Candidates(graph, policy, mark)
    actions = in_order(candidates.actions())
    moment = datetime.fromtimestamp(now, UTC)
    created_at = moment.replace(microsecond=0)
    kept, totals = candidates.kept, total(actions)
    return Plan(
        schema=SCHEMA,
        id=new_run(moment),
        root=inventory.url,
        created_at=created_at,
        policy=policy,
        fingerprint=fingerprint(inventory),
        totals=totals,
        actions=actions,
        kept=dict(sorted(kept.counts.items())),
        findings=[*inventory.findings, *graph.findings, *mark.findings],
        decisions=mark.decisions,
        allocated=sum(action.allocated for action in actions),
        kept_bytes=dict(sorted(kept.bytes.items())),
        kept_items=kept.items,
        stays=_stays(inventory, totals),
        tags_left=_tags_left(inventory, actions),
    )


def preview(graph: Graph, policy: Policy, now: float, read: Read = unread) -> Preview:
    """Return what a plan by another policy would free; nothing can be carried out by it.

    The histories of tags need not have been read. Without them it may count manifests that have
    just lost their tag.
    """
    if not policy.allow_no_manifests:
        _expect_manifests(graph.inventory)
    going = Candidates(graph, policy, Mark(graph, policy, now, read))
    blocks = 0

    def counted() -> Iterator[tuple[ActionKind, int]]:
        nonlocal blocks
        for action in going.actions():
            blocks += action.allocated
            yield action.kind, action.size

    totals, kept = sum_up(counted()), going.kept
    return Preview(totals, blocks, kept.bytes["young"], _time(kept.first), _time(kept.last))


def _time(seconds: float) -> datetime | None:
    return utc_time(seconds) if isfinite(seconds) else None


def _stays(inventory: Inventory, totals: Totals) -> Stays:
    repositories = inventory.repositories.values()
    return Stays(
        len(repositories) - totals.repositories,
        sum(len(one.tags) for one in repositories) - totals.tags,
        sum(len(one.revisions) for one in repositories) - totals.manifests,
        len(inventory.blobs) - totals.blobs,
    )


def _tags_left(inventory: Inventory, actions: Iterable[Action]) -> dict[str, int]:
    losing: Counter[str] = Counter()
    for one in actions:
        if one.repository is not None:
            losing[one.repository] += one.kind is ActionKind.TAG
    found = inventory.repositories
    return {name: len(found[name].tags) - gone for name, gone in losing.items() if name in found}


def _expect_manifests(inventory: Inventory) -> None:
    """Refuse a tree whose manifests are stored elsewhere, because any layer may be in use.

    A revision or a tag counts as a manifest even if its bytes are missing: that is damage,
    and freezes. Blobs without any repository need no check: their graph is incomplete, so
    none is deleted.
    """
    repositories = inventory.repositories.values()
    if any(one.revisions or one.tags for one in repositories):
        return
    blobs, links = len(inventory.blobs), sum(len(one.layers) for one in repositories)
    if repositories and (blobs or links):
        raise Doubt(
            f"blobs ({blobs}) and layer links ({links}), but no manifest in the whole tree: "
            "manifests may be stored elsewhere (OpenShift 3 keeps them in etcd), so what is in use "
            "is not known. If all images were deleted on purpose, give --allow-no-manifests"
        )


_RANK: Final = {kind: rank for rank, kind in enumerate(ActionKind)}


def in_order(actions: Iterable[Action]) -> list[Action]:
    """Return actions sorted by kind, references before what they refer to, and by path."""
    # Two passes: one key of both would take 100 bytes for each of a million actions.
    found = sorted(actions, key=attrgetter("path"))
    found.sort(key=lambda action: _RANK[action.kind])
    return found


def total(actions: Iterable[Action]) -> Totals:
    """Add actions up."""
    return sum_up((action.kind, action.size) for action in actions)


def fingerprint(inventory: Inventory) -> str:
    """Return a digest over every name, tag and revision, on which all decisions depend."""
    state = hashlib.sha256()
    for name in sorted(inventory.repositories):
        repository = inventory.repositories[name]
        tags = sorted((tag, str(info.current)) for tag, info in repository.tags.items())
        state.update(json.dumps([name, tags, sorted(repository.revisions)]).encode())
    return f"sha256:{state.hexdigest()}"


def load(data: bytes) -> Plan:
    """Read a plan that was written as JSON.

    Raises:
        DocumentInvalid: it is not a plan of this schema; the message names the field.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        raw: Any = json.loads(data, object_hook=_action)
    except (ValueError, RecursionError) as error:
        raise DocumentInvalid(f"not a plan: not JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise DocumentInvalid(f"not a plan: expected a document of schema {SCHEMA}")
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_-]*", str(raw.get("id"))):
        raise DocumentInvalid("not a plan: id: not a valid name of a run")
    # Only people read these; no decision depends on them.
    raw["findings"], raw["decisions"], raw["kept_items"] = [], [], []
    try:
        return TypeAdapter(Plan).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DocumentInvalid(f"not a plan: {where}: {first['msg']}") from None


_KINDS: Final = {kind.value: kind for kind in ActionKind}
_TEXT: Final = frozenset([str])
_TEXT_OR_NULL: Final = frozenset([str, type(None)])
_TYPES: Final = {
    "kind": _TEXT,
    "path": _TEXT,
    "digest": _TEXT_OR_NULL,
    "repository": _TEXT_OR_NULL,
    "size": frozenset([int]),
    "mtime": frozenset([float]),
    "reason": _TEXT,
    "allocated": frozenset([int]),
}
_REQUIRED: Final = _TYPES.keys() - {"allocated"}


def _action(found: dict[str, Any]) -> object:
    """Return the action that an object of a plan is; anything else as it is, to be validated.

    There can be millions, and as objects they take a third of the memory.
    """
    is_action = (
        _REQUIRED <= found.keys() <= _TYPES.keys()
        and all([type(value) in _TYPES[name] for name, value in found.items()])
        and found["kind"] in _KINDS
    )
    if not is_action:
        return found
    found["kind"], found["reason"] = _KINDS[found["kind"]], intern(found["reason"])
    return Action(**found)
