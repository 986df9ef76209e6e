"""What a run with a limit on the bytes to free (`max_freed`) collects. Pure.

    blobs       the largest first, until that many bytes are freed; with each blob every manifest
                that names it, directly or through an index
    links       only links to these: removing a link whose blob is kept frees nothing

So no manifest that is kept needs anything that is collected. What is attached to an image (a
signature under a tag of its name) is collected with it. The next run collects the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.gc.actions import Action
from regfs.graph import Graph
from regfs.names import subject_tag
from regfs.runs.totals import LINK_KINDS, ActionKind

_LINKS: Final = LINK_KINDS | {ActionKind.TAG}
_START: Final = 64
"""Hexadecimal digits of a digest in the name of an attached tag."""


class Limit:
    """Chooses what is collected."""

    def __init__(
        self, graph: Graph, limit: int, blobs: Iterable[Action], tags: Iterable[Action]
    ) -> None:
        self.taken: list[Action] = []
        """Blobs that are collected."""
        self._graph = graph
        self._left = {action.digest: action for action in blobs}
        self._named: set[Digest] = set()
        """Digests of what is collected, in every algorithm, and of everything that names it."""
        self._other_names = self._names()
        self._attached = _attached(tags)
        self._take(limit)

    @property
    def left(self) -> Collection[Action]:
        """The blobs that could be collected and are kept."""
        return self._left.values()

    def takes(self, action: Action) -> bool:
        """Return whether an action is collected; if no blob is kept, each is."""
        return not self._left or action.kind not in _LINKS or action.digest in self._named

    def _take(self, limit: int) -> None:
        freed = 0
        for action in sorted(self._left.values(), key=lambda one: (-one.size, one.path)):
            if freed >= limit:
                break
            pending = [Digest(action.digest or "")]
            while pending:
                digest = pending.pop()
                if digest in self._named:
                    continue
                self._named.add(digest)
                if (taken := self._left.pop(digest, None)) is not None:
                    freed += taken.size
                    self.taken.append(taken)
                pending += self._dependents(digest)

    def _dependents(self, digest: Digest) -> Iterator[Digest]:
        """Yield what is collected with a digest: what names it, and what is attached to it."""
        yield from self._other_names.get(digest, ())
        yield from self._graph.manifests_naming(digest)
        before = self._graph.predecessors(digest)
        yield from (one for one in before if isinstance(one, Digest))
        yield from self._attached.get(_start(digest), ())

    def _names(self) -> dict[Digest, list[Digest]]:
        """Return blob -> its digests in other algorithms."""
        found: dict[Digest, list[Digest]] = {}
        for alias, stored in self._graph.aliases.items():
            for digest in stored:
                found.setdefault(digest, []).append(alias)
        return found


def _attached(tags: Iterable[Action]) -> dict[str, list[Digest]]:
    """Return start of a digest -> manifests of dropped tags that are attached to it."""
    found: dict[str, list[Digest]] = {}
    for action in tags:
        subject = subject_tag(layout.name_of(action.path))
        if subject is not None and action.digest is not None:
            found.setdefault(_start(subject.subject), []).append(Digest(action.digest))
    return found


def _start(digest: str) -> str:
    return digest[: digest.find(":") + 1 + _START]
