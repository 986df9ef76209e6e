"""What goes, what stays, and why: a pure function of graph, inventory, policy and time.

    mark       for each repository, from its roots, through its manifests
    keep       whatever is marked, young, or in doubt
    actions    all the rest, references before what they refer to

Links live per repository and blobs live globally: a layer link is needed when
its own repository's roots reach it, a blob when any repository's do. No step
looks at what an earlier repository has decided, so the order never matters.

Doubt keeps. A repository in `Graph.frozen` loses nothing, and neither does any
blob that it names; while `Graph.blind` holds anything, no blob goes at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import DocumentInvalid, Doubt
from regfs.findings import Code, Finding
from regfs.gc.policy import Policy
from regfs.graph import Graph
from regfs.inventory import INCOMPLETE, DigestTable, Inventory, RepositoryInventory
from regfs.totals import ActionKind, Totals, sum_up

SCHEMA: Final = "regfs.plan/1"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to move away, and what the decision relied on."""

    kind: ActionKind
    path: str
    """A file; of an upload its folder."""
    digest: str | None
    repository: str | None
    size: int
    """Bytes of the file, or of all files of an upload."""
    mtime: float
    """As it was when planned: another time means somebody has used it since."""
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do."""

    schema: str
    id: str
    root: str
    created_at: datetime
    policy: Policy
    fingerprint: str
    """Of every tag and revision the plan was made from."""
    totals: Totals
    actions: list[Action]
    kept: dict[str, int]
    """Why things stay that would go otherwise -> how many.

    `young`: blobs, links and uploads; `frozen_repositories`, and `frozen` blobs named by
    them; `blind`: blobs, while parts of the tree cannot be seen; `tagless`: manifests.
    """
    findings: list[Finding] = field(default_factory=list)

    @property
    def doubtful(self) -> bool:
        """Whether anything was kept because it could not be known."""
        return bool(self.kept.get("frozen_repositories") or self.kept.get("blind"))


def plan(graph: Graph, inventory: Inventory, policy: Policy, now: float) -> Plan:
    """Decide what goes. `now` is in seconds since the epoch, UTC.

    Raises:
        Doubt: the inventory is of some repositories only, and the others need blobs too;
            or the histories of tags were not read, and tell what has just lost its tag.
    """
    if not inventory.whole:
        raise Doubt("only some of the repositories were listed; what the others need is not known")
    repositories = inventory.repositories.values()
    if policy.delete_untagged and not all(known.has_history for known in repositories):
        raise Doubt("the histories of tags were not read; what has just lost its tag is not known")
    marking = _Marking(graph, inventory, policy, now)
    marking.run()
    actions = sorted(marking.actions(), key=_order)
    created_at = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
    return Plan(
        schema=SCHEMA,
        id=f"{created_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        root=inventory.url,
        created_at=created_at,
        policy=policy,
        fingerprint=fingerprint(inventory),
        totals=total(actions),
        actions=actions,
        kept=dict(sorted(marking.kept.items())),
        findings=[*inventory.findings, *graph.findings, *marking.findings],
    )


_RANK: Final = {kind: rank for rank, kind in enumerate(ActionKind)}


def _order(action: Action) -> tuple[int, str]:
    return _RANK[action.kind], action.path


def total(actions: Iterable[Action]) -> Totals:
    """Add actions up."""
    return sum_up((action.kind, action.size) for action in actions)


def fingerprint(inventory: Inventory) -> str:
    """Return a digest over every name, tag and revision: what all decisions rest on."""
    state = hashlib.sha256()
    for name in sorted(inventory.repositories):
        repository = inventory.repositories[name]
        tags = sorted((tag, str(info.current)) for tag, info in repository.tags.items())
        state.update(json.dumps([name, tags, sorted(repository.revisions)]).encode())
    return f"sha256:{state.hexdigest()}"


def _tells_of_another(tag: str) -> bool:
    """Return whether a tag only stands beside an image: with no other, nobody has tagged any."""
    return layout.fallback_subject(tag) is not None or layout.cosign_subject(tag) is not None


class _Marking:
    """One decision over one tree."""

    def __init__(self, graph: Graph, inventory: Inventory, policy: Policy, now: float) -> None:
        self.graph = graph
        self.inventory = inventory
        self.policy = policy
        self.now = now
        self.kept: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.live: dict[str, set[Digest]] = {}
        """Repository -> the manifests its roots reach."""
        self.needed: set[Digest] = set()
        """Blobs that the manifests of any repository need."""
        self.frozen: set[Digest] = set()
        """Blobs that something doubtful could name."""
        self.young: set[Digest] = set()
        """Blobs that a young layer link names: a push may be under way."""

    def run(self) -> None:
        for name, repository in self.inventory.repositories.items():
            self.live[name] = self._mark(repository)
        self._follow_subjects()

    # -- marking --------------------------------------------------------------

    def _young(self, mtime: float) -> bool:
        return self.now - mtime < self.policy.min_age

    def _prunes(self, repository: RepositoryInventory) -> bool:
        """Return whether untagged manifests of this repository may go."""
        if not self.policy.delete_untagged or repository.name in self.graph.frozen:
            return False
        if any(
            info.current is not None and not _tells_of_another(tag)
            for tag, info in repository.tags.items()
        ):
            return True
        return not repository.revisions or repository.name in self.policy.allow_tagless

    def _mark(self, repository: RepositoryInventory) -> set[Digest]:
        tagged = self._tagged(repository)
        if not self._prunes(repository):
            if self.policy.delete_untagged and repository.name not in self.graph.frozen:
                self._refuse_tagless(repository)
            start = {*tagged, *self._named(repository)}
            return self.graph.reachable(start, subjects=True)
        revisions = repository.revisions
        roots = {*tagged, *self._young_revisions(repository)}
        if self.policy.keep_referrers_of_dangling:
            roots.update(digest for digest in revisions if self._subject_is_missing(digest))
        live = self.graph.reachable(roots, subjects=True, referrers=revisions)
        # A fallback tag is a list of referrers. It keeps them, but a signature must not keep
        # its image: on registries without a referrers API every signed image has such a tag.
        lists = {
            info.current
            for tag, info in repository.tags.items()
            if info.current is not None and layout.fallback_subject(tag) is not None
        }
        return live | self.graph.reachable(lists, referrers=revisions)

    def _refuse_tagless(self, repository: RepositoryInventory) -> None:
        self.kept["tagless"] += len(repository.revisions)
        path = layout.repository_folder(repository.name)
        code = Code.REPOSITORY_TAGLESS
        self.findings.append(Finding(code, path, repository=repository.name))

    def _tagged(self, repository: RepositoryInventory) -> set[Digest]:
        """Return what tags point to; of a tag that cannot be read all it ever pointed to."""
        found: set[Digest] = set()
        for tag, info in repository.tags.items():
            if info.current is None:
                found.update(entry.digest for entry in info.history)
            elif layout.fallback_subject(tag) is None:
                found.add(info.current)
        return found

    def _named(self, repository: RepositoryInventory) -> set[Digest]:
        """Return every manifest a repository names, with what a link's content names."""
        found = set(repository.revisions)
        for info in repository.tags.values():
            if info.current is not None:
                found.add(info.current)
        for digest in list(found):
            found.update(self.graph.linked(repository.name, digest))
        return found

    def _young_revisions(self, repository: RepositoryInventory) -> Iterator[Digest]:
        """Yield manifests pushed, or untagged by moving a tag away, less than min_age ago."""
        table = repository.revisions
        for digest, number in table.numbers.items():
            if self._young(table.mtimes[number]):
                yield digest
        for info in repository.tags.values():
            if self._young(info.mtime):
                yield from (entry.digest for entry in info.history)

    def _subject_is_missing(self, digest: Digest) -> bool:
        info = self.graph.manifests.get(digest)
        return (
            info is not None
            and info.subject is not None
            and info.subject not in self.graph.manifests
        )

    def _follow_subjects(self) -> None:
        """Keep untagged referrers whose subject lives in another repository."""
        pruned = [
            repository
            for repository in self.inventory.repositories.values()
            if self._prunes(repository)
        ]
        everywhere = set().union(*self.live.values())
        grown = True
        while grown:
            grown = False
            for repository in pruned:
                live = self.live[repository.name]
                more = [
                    digest
                    for digest in repository.revisions
                    if digest not in live
                    and (info := self.graph.manifests.get(digest)) is not None
                    and info.subject in everywhere
                ]
                if more:
                    live |= self.graph.reachable(more, referrers=repository.revisions)
                    everywhere |= live
                    grown = True

    def _protect(self, repository: RepositoryInventory, needed: set[Digest]) -> None:
        """Keep every blob that a frozen repository names in any way."""
        named = {*repository.layers, *repository.revisions, *needed}
        for info in repository.tags.values():
            named.update(entry.digest for entry in info.history)
        self.frozen |= named
        self.frozen.update(*(self.graph.aliases.get(digest, ()) for digest in named))

    # -- what goes ------------------------------------------------------------

    def actions(self) -> Iterator[Action]:
        """Yield what goes: repository by repository, then the blobs, which need all of them."""
        for name, repository in self.inventory.repositories.items():
            needed = self.graph.needs(self.live[name])
            self.needed |= needed
            if name in self.graph.frozen:
                self.kept["frozen_repositories"] += 1
                self._protect(repository, needed)
                continue
            yield from self._revisions(repository)
            yield from self._layer_links(repository, needed)
            yield from self._uploads(repository)
        yield from self._blobs()

    def _revisions(self, repository: RepositoryInventory) -> Iterator[Action]:
        name = repository.name
        if not self._prunes(repository):
            return
        live = self.live[name]
        gone: set[Digest] = set()
        for digest, info in repository.revisions.items():
            if live.isdisjoint(self.graph.linked(name, digest)):
                path = layout.path_of(layout.RevisionLink(name, digest))
                reason = "no tag reaches this manifest"
                yield Action(ActionKind.REVISION, path, digest, name, info.size, info.mtime, reason)
                gone.add(digest)
        yield from self._history(repository, gone)

    def _history(self, repository: RepositoryInventory, gone: set[Digest]) -> Iterator[Action]:
        for tag, info in repository.tags.items():
            for entry in info.history:
                if entry.digest in gone:
                    path = layout.path_of(layout.TagIndex(repository.name, tag, entry.digest))
                    yield Action(
                        ActionKind.TAG_INDEX,
                        path,
                        entry.digest,
                        repository.name,
                        entry.size,
                        entry.mtime,
                        f"history of tag {tag}, of a manifest that goes",
                    )

    def _layer_links(
        self, repository: RepositoryInventory, needed: set[Digest]
    ) -> Iterator[Action]:
        name, aliases = repository.name, self.graph.aliases
        unneeded = repository.layers.numbers.keys() - needed
        repository.layers.fetch(unneeded)
        for digest in unneeded:
            if not needed.isdisjoint(aliases.get(digest, ())):
                continue
            info = repository.layers.get(digest)
            if info is None:
                continue
            if self._young(info.mtime):
                self.kept["young"] += 1
                self.young |= {digest, *aliases.get(digest, ())}
                continue
            path = f"{layout.layer_folder(name, digest)}/link"
            reason = "no manifest of the repository needs this blob"
            yield Action(ActionKind.LAYER_LINK, path, digest, name, info.size, info.mtime, reason)

    def _uploads(self, repository: RepositoryInventory) -> Iterator[Action]:
        limit = max(self.policy.uploads_older_than, self.policy.min_age)
        for upload, info in repository.uploads.items():
            if self.now - max(info.mtime, info.started_at or 0.0) < limit:
                self.kept["young"] += 1
                continue
            path = layout.upload_folder(repository.name, upload)
            reason = "upload was begun and never finished"
            yield Action(
                ActionKind.UPLOAD, path, None, repository.name, info.size, info.mtime, reason
            )

    def _blind(self) -> bool:
        """Return whether links may lie unseen; of a lean listing that shows while planning."""
        return bool(self.graph.blind) or any(
            finding.code in INCOMPLETE and finding.path.startswith(layout.REPOSITORIES)
            for finding in self.inventory.findings
        )

    def _blobs(self) -> Iterator[Action]:
        blobs: DigestTable = self.inventory.blobs
        unneeded = blobs.numbers.keys() - self.needed
        blind = self._blind()
        blobs.fetch(unneeded)
        for digest in unneeded:
            info = blobs.get(digest)
            if info is None:
                continue
            if blind:
                self.kept["blind"] += 1
            elif digest in self.frozen:
                self.kept["frozen"] += 1
            elif digest in self.young or self._young(info.mtime):
                self.kept["young"] += 1
            else:
                path = f"{layout.blob_folder(digest)}/data"
                reason = "no manifest in any repository needs it"
                yield Action(ActionKind.BLOB, path, digest, None, info.size, info.mtime, reason)


def load(data: bytes) -> Plan:
    """Read a plan that was written as JSON.

    Raises:
        DocumentInvalid: it is no plan of this schema; the message names the field.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        raw: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentInvalid(f"not a plan: not JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise DocumentInvalid(f"not a plan: expected a document of schema {SCHEMA}")
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_-]*", str(raw.get("id"))):
        raise DocumentInvalid("not a plan: id: is no name for a run")
    # Findings are for readers; nothing is decided by them.
    raw["findings"] = []
    try:
        return TypeAdapter(Plan).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DocumentInvalid(f"not a plan: {where}: {first['msg']}") from None
