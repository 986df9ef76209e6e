"""The actions of a plan: what is not marked, not young and not in doubt. Pure.

    tag          a tag with its history, dropped by a retention policy
    tag-index    an entry of a tag's history, whose manifest is deleted or which is too old
    revision     the link of a manifest that no root reaches
    layer-link   the link of a blob that no manifest of the repository needs
    upload       an upload that was never finished
    blob         a blob that no manifest of any repository needs
    temporary    a partial file, from a write or a copy that did not finish
    directory    an empty folder that was made for one thing
    repository   the folders of an empty repository

Nothing of a repository in `Graph.frozen` is deleted, nor any blob that it names. While
`Graph.incomplete` holds anything, no blob is deleted at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code
from regfs.gc.actions import Action
from regfs.gc.limit import Limit
from regfs.gc.mark import Mark
from regfs.gc.policy import Policy
from regfs.graph import Graph
from regfs.runs.totals import ActionKind
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import INCOMPLETE, RepositoryInventory, TagInfo

_BATCH: Final = 8192
"""Blobs that are looked at together."""
_COPYING: Final = 86400.0
"""Seconds that a copy of a tree may take. Until then rsync may continue a partial file."""


class Candidates:
    """What a collection deletes from one tree."""

    def __init__(self, graph: Graph, policy: Policy, mark: Mark) -> None:
        self.kept = mark.kept
        self._graph = graph
        self._inventory = graph.inventory
        self._policy = policy
        self._mark = mark
        self._needed = DigestSet(graph.inventory.known)
        """Blobs that the manifests of any repository need."""
        self._frozen: set[Digest] = set()
        """Blobs that something doubtful could name."""
        self._young: set[Digest] = set()
        """Blobs that a young layer link names: a push may be under way."""
        self._strange = self._with_strangers()

    def actions(self) -> Iterator[Action]:
        """Yield the actions: those of each repository, then blobs, then leftovers."""
        if self._policy.max_freed is not None:
            yield from self._limited(self._policy.max_freed)
        else:
            for repository, actions in self._all_links():
                yield from self._repository(repository, actions)
            yield from self._blobs()
        yield from self._leftovers()

    def _limited(self, size: int) -> Iterator[Action]:
        """Yield the actions on repositories and blobs that free about `size` bytes."""
        links, blobs = list(self._all_links()), list(self._blobs())
        tags = (one for _, actions in links for one in actions if one.kind is ActionKind.TAG)
        limit = Limit(self._graph, size, blobs, tags)
        for one in limit.left:
            self.kept.add("max_freed", one.path, one.size)
        for repository, actions in links:
            yield from self._repository(repository, list(filter(limit.takes, actions)))
        yield from limit.taken

    def _all_links(self) -> Iterator[tuple[RepositoryInventory, list[Action]]]:
        """Yield what may be deleted of each repository; only then `_blobs` knows what is needed."""
        for name, repository in self._inventory.repositories.items():
            needed = set(self._graph.needed_numbers(self._mark.live(name)))
            self._needed.update(needed)
            if name in self._graph.frozen:
                self.kept.add("frozen_repositories", layout.repository_folder(name))
                self._protect(repository, needed)
            else:
                yield repository, self._links(repository, needed)

    def _links(self, repository: RepositoryInventory, needed: set[int]) -> list[Action]:
        return [
            *self._tags(repository),
            *self._revisions(repository),
            *self._layer_links(repository, needed),
            *self._uploads(repository),
        ]

    def _repository(
        self, repository: RepositoryInventory, actions: list[Action]
    ) -> Iterator[Action]:
        yield from actions
        if self._policy.empty_repositories and self._is_emptied(repository, actions):
            path = layout.repository_folder(repository.name)
            reason = "the repository is empty"
            yield Action(ActionKind.REPOSITORY, path, None, repository.name, 0, 0.0, reason)

    def _protect(self, repository: RepositoryInventory, needed: set[int]) -> None:
        """Keep every blob that a frozen repository names in any way."""
        named = set(map(self._inventory.known.__getitem__, needed))
        self._frozen |= named | self._graph.mentioned(repository)
        self._frozen.update(*(self._graph.aliases.get(digest, ()) for digest in named))

    # -- tags and manifests -------------------------------------------------------

    def _tags(self, repository: RepositoryInventory) -> Iterator[Action]:
        name = repository.name
        for tag, reason in self._mark.dropped(name).items():
            info = repository.tags[tag]
            size = info.size + sum(entry.size for entry in info.history)
            mtime = max([info.mtime, *(entry.mtime for entry in info.history)])
            path = layout.tag_folder(name, tag)
            yield Action(ActionKind.TAG, path, info.current, name, size, mtime, reason)

    def _revisions(self, repository: RepositoryInventory) -> Iterator[Action]:
        name = repository.name
        gone: set[Digest] = set()
        if self._mark.loses_manifests(repository):
            live = self._mark.live(name)
            kind, reason = ActionKind.REVISION, "no tag reaches this manifest"
            for digest, *file in repository.revisions.files(range(len(repository.revisions))):
                if live.isdisjoint(self._graph.revision_targets(name, digest)):
                    path = f"{layout.revision_folder(name, digest)}/link"
                    yield _action(kind, path, digest, name, file, reason)
                    gone.add(digest)
        dropped = self._mark.dropped(name)
        for tag, tagged in repository.tags.items():
            if tag not in dropped:
                yield from self._history(name, tag, tagged, gone)

    def _history(self, name: str, tag: str, info: TagInfo, gone: set[Digest]) -> Iterator[Action]:
        """Yield the entries to delete from the history of a tag that is kept."""
        surplus = self._surplus(info)
        for entry in info.history:
            if entry.digest in gone:
                reason = f"history of tag {tag}: its manifest is deleted"
            elif entry.digest in surplus:
                reason = f"history of tag {tag}: older than the last {self._policy.tag_history}"
            else:
                continue
            path = f"{layout.tag_index_entry_folder(name, tag, entry.digest)}/link"
            kind = ActionKind.TAG_INDEX
            yield Action(kind, path, entry.digest, name, entry.size, entry.mtime, reason)

    def _surplus(self, info: TagInfo) -> set[Digest]:
        """Return what a tag pointed to before the entries to keep; nothing if it is damaged."""
        wanted = self._policy.tag_history
        if wanted is None or info.current is None or info.problem is not None:
            return set()
        former = [entry for entry in info.history if entry.digest != info.current]
        older = former[: max(len(former) - wanted, 0)]
        return {entry.digest for entry in older if not self._mark.young(entry.mtime)}

    # -- what is linked, and what is being pushed -----------------------------------

    def _layer_links(self, repository: RepositoryInventory, needed: set[int]) -> Iterator[Action]:
        name, aliases, layers = repository.name, self._graph.aliases, repository.layers
        known = self._inventory.known
        unneeded = [row for row, number in enumerate(layers.numbers) if number not in needed]
        rows = []
        for row in layers.files(unneeded):
            digest, size, mtime, _ = row
            stored = [known.find(one) for one in aliases.get(digest, ())]
            if digest in self._mark.outside or not needed.isdisjoint(stored):
                continue
            if self._mark.young(mtime):
                path = f"{layout.layer_folder(name, digest)}/link"
                self.kept.add(self._age(mtime), path, size, mtime)
                self._ripens(mtime)
                self._young |= {digest, *aliases.get(digest, ())}
                continue
            rows.append(row)
        folders = layout.layer_folders(name, [row[0] for row in rows])
        kind, reason = ActionKind.LAYER_LINK, "no manifest of the repository needs this blob"
        for folder, (digest, *file) in zip(folders, rows, strict=True):
            yield _action(kind, f"{folder}/link", digest, name, file, reason)

    def _uploads(self, repository: RepositoryInventory) -> Iterator[Action]:
        unknown = self._unknown_uploads()
        for upload, info in repository.uploads.items():
            limit = max(self._policy.uploads_older_than, self._policy.min_age)
            latest = max(info.mtime, info.started_at or 0.0)
            path = layout.upload_folder(repository.name, upload)
            if self._mark.now - latest < limit:
                self.kept.add(self._age(latest), path, info.size, latest)
                if self._mark.young(latest):
                    self._ripens(latest, limit)
                continue
            if path in unknown:
                self.kept.add("upload_unknown", path, info.size)
                continue
            reason = "the upload was never finished"
            file = (info.size, info.mtime, info.allocated)
            yield _action(ActionKind.UPLOAD, path, None, repository.name, file, reason)

    def _unknown_uploads(self) -> set[str]:
        """Return the uploads of which it is not known what they have, nor since when."""
        findings = self._inventory.findings
        return {one.path for one in findings if one.code is Code.UPLOAD_UNKNOWN}

    def _is_emptied(self, repository: RepositoryInventory, actions: Iterable[Action]) -> bool:
        """Return whether a repository is empty after these actions."""
        counts = Counter(action.kind for action in actions)
        if (
            repository.name in self._strange
            or counts[ActionKind.TAG] < sum(map(_has_content, repository.tags.values()))
            or counts[ActionKind.REVISION] < len(repository.revisions)
            or counts[ActionKind.UPLOAD] < len(repository.uploads)
        ):
            return False
        layers = repository.layers.files(range(len(repository.layers)))
        return counts[ActionKind.LAYER_LINK] == sum(1 for _ in layers)

    def _with_strangers(self) -> set[str]:
        """Return the repositories with a file in their folder that is not of the layout."""
        above = len(layout.REPOSITORIES) + 1
        beside = {layout.parent_of(path)[above:] for path in self._inventory.foreign}
        within = {layout.repository_of(path) for path in self._inventory.foreign}
        return beside | {name for name in within if name is not None}

    # -- blobs ----------------------------------------------------------------------

    def _is_incomplete(self) -> bool:
        """Return whether there may be links that could not be listed."""
        return bool(self._graph.incomplete) or any(
            finding.code in INCOMPLETE and finding.path.startswith(layout.REPOSITORIES)
            for finding in self._inventory.findings
        )

    def _blobs(self) -> Iterator[Action]:
        """Yield the blobs that nothing needs, some at a time: there may be millions."""
        blobs, incomplete = self._inventory.blobs, self._is_incomplete()
        kind, reason = ActionKind.BLOB, "no manifest in any repository needs it"
        unneeded = self._needed.lacking(blobs.numbers)
        while batch := list(islice(unneeded, _BATCH)):
            rows = [row for row in blobs.files(batch) if self._may_go(row, incomplete)]
            folders = layout.blob_folders([row[0] for row in rows])
            for folder, (digest, *file) in zip(folders, rows, strict=True):
                yield _action(kind, f"{folder}/data", digest, None, file, reason)

    def _may_go(self, row: tuple[Digest, int, float, int], incomplete: bool) -> bool:
        """Return whether a blob that nothing needs may be deleted; count why not."""
        digest, size, mtime, _ = row
        if incomplete:
            why = "incomplete"
        elif digest in self._frozen:
            why = "frozen"
        elif digest in self._young or self._mark.young(mtime):
            why = self._age(mtime)
            if self._mark.young(mtime):  # else the link that names it is, and was noted
                self._ripens(mtime)
        elif digest in self._mark.outside:
            why = "outside"
        else:
            return True
        self.kept.add(why, layout.blob_path(digest), size, mtime)
        return False

    # -- what crashes and deletions leave ---------------------------------------------

    def _leftovers(self) -> Iterator[Action]:
        if not self._policy.leftovers:
            return
        incomplete = self._is_incomplete()
        for path, info in self._inventory.temporary.items():
            if self._may_tidy(path, info.mtime, incomplete):
                reason = "temporary file of a write that did not finish"
                yield self._temporary(path, info.size, info.mtime, reason)
        for path, copy in self._inventory.copies.items():
            if self._may_be_only_copy(copy.wanted_as):
                self.kept.add("copies", path, copy.size)
            elif self._may_tidy(path, max(copy.mtime, copy.changed), incomplete, _COPYING):
                reason = "partial rsync copy of a file that is in place or not needed"
                yield self._temporary(path, copy.size, copy.mtime, reason)
        staying: set[str] = set()
        """Folders with something in them that is kept."""
        # A folder comes after its content.
        for path, mtime in sorted(self._inventory.empty.items(), reverse=True):
            if path in staying or not self._may_tidy(path, mtime, incomplete):
                staying.add(layout.parent_of(path))
            else:
                reason = "the folder is empty"
                name = layout.repository_of(path)
                yield Action(ActionKind.DIRECTORY, path, None, name, 0, mtime, reason)

    def _age(self, mtime: float) -> str:
        """Return the key of `Plan.kept` for something that is kept because of its time."""
        return "future" if mtime > self._mark.now else "young"

    def _ripens(self, mtime: float, limit: float | None = None) -> None:
        """Note when something will be old enough, unless its time is in the future."""
        if mtime <= self._mark.now:
            self.kept.ripens(mtime + (self._policy.min_age if limit is None else limit))

    def _temporary(self, path: str, size: int, mtime: float, reason: str) -> Action:
        name = layout.repository_of(path)
        return Action(ActionKind.TEMPORARY, path, None, name, size, mtime, reason)

    def _may_be_only_copy(self, target: str | None) -> bool:
        """Return whether a partial copy may be the only copy of something in use."""
        if target is None:
            return False
        digest = getattr(layout.key_of(target), "digest", None)
        used = (self._needed, self._frozen, self._young, self._mark.outside)
        # A link without a digest in its path may name anything.
        return digest is None or any(digest in some for some in used)

    def _may_tidy(self, path: str, mtime: float, incomplete: bool, least: float = 0.0) -> bool:
        """Return whether a leftover may be deleted; `least` is its least age in a live registry."""
        fresh = bool(self._policy.min_age) and self._mark.now - mtime < least
        if fresh or self._mark.young(mtime):
            self.kept.add(self._age(mtime), path, mtime=mtime)
            self._ripens(mtime, max(least, self._policy.min_age))
            return False
        name = layout.repository_of(path)
        return name not in self._graph.frozen and (name is not None or not incomplete)


def _action(
    kind: ActionKind,
    path: str,
    digest: str | None,
    repository: str | None,
    file: Sequence[Any],
    reason: str,
) -> Action:
    """Return the action on a file, of which size, mtime and blocks are given."""
    size, mtime, allocated = file
    return Action(kind, path, digest, repository, size, mtime, reason, max(allocated, 0))


def _has_content(tag: TagInfo) -> bool:
    """Return whether a tag is more than an empty folder, which an interrupted deletion leaves."""
    return bool(tag.history) or tag.problem is not Code.TAG_WITHOUT_CURRENT
