"""Which tags and untagged manifests of one tree a retention policy drops. Pure.

    inventory -> TagFacts -> retention.decide -> what is dropped

Doubt overrides the policy: no tag is dropped from a frozen repository, none that is younger than
`min_age`, and none that a list of roots names. The rules are in `retention`; `mark` decides what
is live without the dropped tags.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.findings import Code, Finding
from regfs.gc.decisions import Decision
from regfs.gc.policy import Policy
from regfs.graph import Graph
from regfs.graph.attached import attached_to
from regfs.manifests.media_types import Kind, Role
from regfs.tree.inventory import RepositoryInventory

if TYPE_CHECKING:
    from regfs.gc.retention import Block, Labels, Patterns
    from regfs.manifests.image_config import ImageConfig

Read = Callable[[Digest], bytes]
"""Returns the bytes of a small blob, verified; raises a RegfsError."""
_NO_PLATFORM: Final = "unknown/unknown"


def unread(digest: Digest) -> bytes:
    """Read nothing, for a plan whose policy needs no config."""
    raise RegfsError(f"no way to read {digest}")


class TagChoice:
    """The decisions of a policy about every tag of one tree."""

    def __init__(self, graph: Graph, policy: Policy, now: float, read: Read) -> None:
        self.decisions: list[Decision] = []
        """About every tag and manifest, in order."""
        self.findings: list[Finding] = []
        """One for each pattern of the policy that took too long."""
        self.dropped: dict[str, dict[str, str]] = {}
        """Repository -> tags that are dropped -> why."""
        self._places: dict[tuple[str, str], int] = {}
        """Repository and tag -> index in `decisions`."""
        self._ruled: set[tuple[str, str]] = set()
        self._blocks: dict[str, Block | None] = {}
        self._graph = graph
        self._policy = policy
        self._now = now
        self._read = read
        self._patterns: Patterns | None = None

    def block(self, repository: str) -> Block | None:
        """Return the block of the policy for a repository; None if there is none."""
        retention = self._policy.retention
        if retention is None:
            return None
        if repository not in self._blocks:
            found = retention.block_for(repository)
            self._blocks[repository] = None if found is None else found[1]
        return self._blocks[repository]

    def choose(self, repository: RepositoryInventory, outside: Collection[Digest]) -> None:
        """Decide about the tags of a repository; a list of roots names the manifests `outside`."""
        retention, name = self._policy.retention, repository.name
        self.dropped[name] = {}
        if retention is None or self.block(name) is None:
            return
        from regfs.gc.retention import (  # without a policy its models are not loaded
            TagFacts,
            decide,
        )

        facts = [
            TagFacts(
                tag,
                info.current,
                info.mtime or None,
                partial(self._created, info.current),
                partial(self._labels, info.current),
                self._attached_to(tag, info.current),
            )
            for tag, info in repository.tags.items()
        ]
        decided = decide(retention, facts, name, self._now, self._patterns_of_run())
        self._report_slow(name)
        for one in decided:
            spared = self._spared(repository, one, outside)
            if spared.tag is not None:
                self._places[name, spared.tag] = len(self.decisions)
                if not spared.keep:
                    self.dropped[name][spared.tag] = spared.reason
                if spared.keep and spared.attached_to is None:
                    self._ruled.add((name, spared.tag))
            self.decisions.append(spared)

    def drop(self, repository: str, tags: Iterable[str], reason: str) -> None:
        """Drop some tags that were kept until now."""
        for tag in tags:
            place = self._places.get((repository, tag))
            if place is not None:  # without a policy there is no decision
                self.decisions[place] = replace(self.decisions[place], keep=False, reason=reason)
            self.dropped[repository][tag] = reason

    def is_ruled(self, repository: str, tag: str) -> bool:
        """Return whether a rule of the policy keeps a tag, whatever it is attached to."""
        return (repository, tag) in self._ruled

    def _patterns_of_run(self) -> Patterns:
        from regfs.gc.retention import Patterns

        self._patterns = self._patterns or Patterns()
        return self._patterns

    def _report_slow(self, repository: str) -> None:
        """Report the patterns that first took too long in this repository."""
        slow = {} if self._patterns is None else self._patterns.slow
        path, known = layout.repository_folder(repository), len(self.findings)
        self.findings += [
            Finding(Code.PATTERN_SLOW, path, repository=repository, expected=pattern, actual=text)
            for pattern, text in list(slow.items())[known:]
        ]

    def _attached_to(self, tag: str, current: Digest | None) -> str | None:
        found = attached_to(self._graph, tag, current)
        return None if found is None else found.subject

    def _spared(
        self, repository: RepositoryInventory, decision: Decision, outside: Collection[Digest]
    ) -> Decision:
        """Return a decision, changed to keep if doubt, age or a list of roots requires it."""
        if decision.keep:
            return decision
        reason = ""
        if repository.name in self._graph.frozen:
            reason = "its repository is in doubt, so nothing of it is deleted"
        elif decision.pushed is None or self._now - decision.pushed < self._policy.min_age:
            reason = "too young (--min-age)"
        elif decision.digest in outside:
            reason = "in use by the list of roots (--roots)"
        return replace(decision, keep=True, reason=reason) if reason else decision

    def untagged(
        self, repository: RepositoryInventory, manifests: Iterable[Digest]
    ) -> Iterator[Digest]:
        """Yield those of the untagged manifests that the policy keeps."""
        retention, block = self._policy.retention, self.block(repository.name)
        if retention is None or block is None or block.keep_untagged is None:
            return
        from regfs.gc.retention import TagFacts, decide_untagged

        table = repository.revisions
        facts = [
            TagFacts(
                None,
                digest,
                table[digest].mtime,
                partial(self._created, digest),
                partial(self._labels, digest),
            )
            for digest in manifests
        ]
        name = repository.name
        decided = decide_untagged(retention, facts, name, self._now, self._patterns_of_run())
        self._report_slow(name)
        self.decisions.extend(decided)
        yield from (Digest(one.digest) for one in decided if one.keep and one.digest is not None)

    # -- configs ------------------------------------------------------------------

    def _created(self, manifest: Digest | None) -> float | None:
        from regfs.gc.retention import created_of

        return created_of(self._configs(manifest))

    def _labels(self, manifest: Digest | None) -> Labels | None:
        from regfs.gc.retention import labels_of

        return labels_of(self._configs(manifest))

    def _configs(self, manifest: Digest | None) -> list[ImageConfig | None]:
        """Return the configs of every image that a manifest leads to; None for an unreadable one.

        An attestation of BuildKit looks like an image of platform `unknown`. Its config has no
        time, so the age of an image with attestations would never be known.
        """
        if manifest is None:
            return [None]
        found: list[ImageConfig | None] = []
        for one in sorted(self._graph.reachable([manifest])):
            info = self._graph.manifests.get(one)
            if info is None:
                found.append(None)
            elif info.kind is Kind.IMAGE and info.artifact_type is None:
                roles = (leaf for leaf in self._graph.leaves(one) if leaf.role is Role.CONFIG)
                found.extend(self._config(leaf.digest) for leaf in roles)
            elif info.kind is not Kind.INDEX and info.artifact_type is None:
                found.append(None)
        images = [one for one in found if one is None or one.platform != _NO_PLATFORM]
        return images or found

    def _config(self, digest: Digest) -> ImageConfig | None:
        from regfs.manifests.image_config import parse_config

        try:
            return parse_config(self._read(digest))
        except RegfsError:
            return None
