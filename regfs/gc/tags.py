"""Which tags, and which untagged manifests, a retention policy lets go in one tree. Pure.

    inventory -> TagFacts -> retention.decide -> what is dropped

What is in doubt is never asked about: no tag goes of a repository that is frozen, none
that is younger than the grace, none that somebody outside the tree says is in use.
Not here: the rules themselves (`retention`), and what lives without the tag (`mark`).
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
    """Read nothing: for a plan whose policy asks for no config."""
    raise RegfsError(f"no way to read {digest}")


class TagChoice:
    """What a policy says of every tag of one tree."""

    def __init__(self, graph: Graph, policy: Policy, now: float, read: Read) -> None:
        self.decisions: list[Decision] = []
        """Of everything that was asked about, in order."""
        self.findings: list[Finding] = []
        """Patterns of the policy that took too long, each once."""
        self.dropped: dict[str, dict[str, str]] = {}
        """Repository -> tags that go -> why."""
        self._places: dict[tuple[str, str], int] = {}
        """Repository and tag -> where in `decisions` they are."""
        self._ruled: set[tuple[str, str]] = set()
        self._blocks: dict[str, Block | None] = {}
        self._graph = graph
        self._policy = policy
        self._now = now
        self._read = read
        self._patterns: Patterns | None = None

    def block(self, repository: str) -> Block | None:
        """Return what the policy says of a repository; None when it says nothing."""
        retention = self._policy.retention
        if retention is None:
            return None
        if repository not in self._blocks:
            found = retention.block_for(repository)
            self._blocks[repository] = None if found is None else found[1]
        return self._blocks[repository]

    def choose(self, repository: RepositoryInventory, outside: Collection[Digest]) -> None:
        """Decide about the tags of a repository; manifests `outside` are in use."""
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
                self._beside(tag, info.current),
            )
            for tag, info in repository.tags.items()
        ]
        decided = decide(retention, facts, name, self._now, self._patterns_of_run())
        self._tell_slow(name)
        for one in decided:
            spared = self._spared(repository, one, outside)
            if spared.tag is not None:
                self._places[name, spared.tag] = len(self.decisions)
                if not spared.keep:
                    self.dropped[name][spared.tag] = spared.reason
                if spared.keep and spared.beside is None:
                    self._ruled.add((name, spared.tag))
            self.decisions.append(spared)

    def drop(self, repository: str, tags: Iterable[str], reason: str) -> None:
        """Let some more tags go, of which it was decided before that they stay."""
        for tag in tags:
            place = self._places.get((repository, tag))
            if place is not None:  # without a policy nobody has decided anything
                self.decisions[place] = replace(self.decisions[place], keep=False, reason=reason)
            self.dropped[repository][tag] = reason

    def is_ruled(self, repository: str, tag: str) -> bool:
        """Return whether a rule of the policy keeps a tag, whatever it stands beside."""
        return (repository, tag) in self._ruled

    def _patterns_of_run(self) -> Patterns:
        from regfs.gc.retention import Patterns

        self._patterns = self._patterns or Patterns()
        return self._patterns

    def _tell_slow(self, repository: str) -> None:
        """Tell of the patterns that a repository was the first to be too much for."""
        slow = {} if self._patterns is None else self._patterns.slow
        path, known = layout.repository_folder(repository), len(self.findings)
        self.findings += [
            Finding(Code.PATTERN_SLOW, path, repository=repository, expected=pattern, actual=text)
            for pattern, text in list(slow.items())[known:]
        ]

    def _beside(self, tag: str, current: Digest | None) -> str | None:
        found = attached_to(self._graph, tag, current)
        return None if found is None else found.subject

    def _spared(
        self, repository: RepositoryInventory, decision: Decision, outside: Collection[Digest]
    ) -> Decision:
        """Return a decision as it is when doubt, youth and the word of others have been heard."""
        if decision.keep:
            return decision
        reason = ""
        if repository.name in self._graph.frozen:
            reason = "its repository is in doubt, and loses nothing"
        elif decision.pushed is None or self._now - decision.pushed < self._policy.min_age:
            reason = "too young (--min-age)"
        elif decision.digest in outside:
            reason = "somebody outside says it is in use (--roots)"
        return replace(decision, keep=True, reason=reason) if reason else decision

    def untagged(
        self, repository: RepositoryInventory, manifests: Iterable[Digest]
    ) -> Iterator[Digest]:
        """Yield those of some untagged manifests that the policy keeps."""
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
        self._tell_slow(name)
        self.decisions.extend(decided)
        yield from (Digest(one.digest) for one in decided if one.keep and one.digest is not None)

    # -- what only a config tells -------------------------------------------------

    def _created(self, manifest: Digest | None) -> float | None:
        from regfs.gc.retention import created_of

        return created_of(self._configs(manifest))

    def _labels(self, manifest: Digest | None) -> Labels | None:
        from regfs.gc.retention import labels_of

        return labels_of(self._configs(manifest))

    def _configs(self, manifest: Digest | None) -> list[ImageConfig | None]:
        """Return the configs of every image that a manifest leads to; None of one unreadable.

        What BuildKit attests of an image has the shape of one, for a platform `unknown`. Its
        config tells no time, and by it no image with attestations would ever be of known age.
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
