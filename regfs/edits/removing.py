"""What is removed with a tag, a manifest or a repository. Pure.

    untag    the tags that are named
    rm       NAME:TAG    the tag, and what only it keeps of its repository
             NAME@DIGEST the manifest, all tags that point to it, and what only it keeps
             NAME        every tag, manifest and layer link, and what was uploaded long ago

What a manifest leads to goes with it, down to the manifests of an index, and so do the referrers
that are about it and the tags attached to it, such as signatures. It stays, with all that it
needs, if anything leads to it that was not named and does not go with it:

    another tag         directly, through an index, or as the subject of a tagged referrer
    an untagged index   it can be pulled by its digest
    in doubt            a tag that cannot be read counts for all that it ever pointed to

A manifest that cannot be read may be an index of what is to go: the removal is refused, unless
that manifest is itself what is to go. A repository of which a part cannot be listed likewise.

Layer links stay, and so does every blob: a plain collection takes those that no manifest of the
repository needs any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.edits.edit import Edit, Retained
from regfs.errors import Doubt, ManifestUnknown, NameUnknown, ReferenceInvalid, Refused
from regfs.findings import Code, Finding
from regfs.gc.actions import Action
from regfs.gc.policy import HOUR
from regfs.graph import Graph
from regfs.graph.attached import attached_to, lives
from regfs.names import natural
from regfs.runs import RunKind
from regfs.runs.totals import ActionKind
from regfs.tree.inventory import RepositoryInventory, TagInfo
from regfs.tree.registry import Target

_NAMED: Final = "it was named"


@dataclass(slots=True)
class _Asked:
    """What is named of one repository."""

    tags: set[str] = field(default_factory=set)
    digests: set[Digest] = field(default_factory=set)
    whole: bool = False


def untagging(graph: Graph, targets: Sequence[Target]) -> Edit:
    """Return the edit that removes tags and nothing else.

    Raises:
        ReferenceInvalid: a target is no tag.
        NameUnknown, ManifestUnknown: it is not there any more.
        Doubt: another program manages the tree.
    """
    edit = Edit(RunKind.UNTAG)
    for target in targets:
        if target.tag is None or target.name is None:
            raise ReferenceInvalid(f"{target}: untag takes NAME:TAG; regfs rm removes more")
    for name, asked in _by_repository(graph, targets).items():
        repository = _found(graph, name)
        require_listed(graph, name, [layout.tag_folder(name, tag) for tag in asked.tags])
        for tag in sorted(asked.tags, key=natural):
            edit.goes.append(_tag_action(name, tag, repository.tags[tag], _NAMED))
    return edit


def removing(
    graph: Graph, targets: Sequence[Target], *, recursive: bool = False, offline: bool = False
) -> Edit:
    """Return the edit that removes tags, manifests or repositories.

    `recursive` takes the repositories below those named as well. `offline` says that nobody
    uploads, so that unfinished uploads go too, however young.

    Raises:
        ReferenceInvalid: a target is a digest without a repository.
        NameUnknown, ManifestUnknown: a target is not there, or is no manifest.
        Refused: an index that stays lists a manifest that is named, or there are repositories
            below one that is named.
        Doubt: what is needed by what stays is not certain.
    """
    edit = Edit(RunKind.RM)
    every = graph.inventory.repositories
    for name, asked in _by_repository(graph, targets).items():
        if not asked.whole:
            removal = _Removing(graph, _found(graph, name), asked)
            edit.goes += removal.actions()
            edit.keeps += removal.keeps()
            continue
        below = [other for other in every if other.startswith(f"{name}/")]
        if below and not recursive:
            raise Refused(f"{name}: {nested(below)}; give --recursive to remove them too")
        for one in [*([name] if name in every else []), *below]:
            if one not in edit.emptied:
                take_all(graph, every[one], edit, offline=offline)
    edit.goes.sort(key=lambda action: _RANK[action.kind])
    return edit


def nested(below: Sequence[str]) -> str:
    """Say which repositories lie below one."""
    if len(below) == 1:
        return f"a repository lies below it, {below[0]}"
    return f"{len(below)} repositories lie below it, first {below[0]}"


_RANK: Final[dict[str, int]] = {kind: rank for rank, kind in enumerate(ActionKind)}


def _by_repository(graph: Graph, targets: Sequence[Target]) -> dict[str, _Asked]:
    found: dict[str, _Asked] = {}
    for target in targets:
        if target.name is None:
            raise ReferenceInvalid(f"{target}: give the repository too: NAME@DIGEST")
        asked = found.setdefault(target.name, _Asked())
        if target.tag is not None:
            if target.tag not in _found(graph, target.name).tags:
                raise ManifestUnknown(f"no such tag: {target}")
            asked.tags.add(target.tag)
        elif target.digest is not None:
            asked.digests.add(target.digest)
        else:
            asked.whole = True
    return found


def _found(graph: Graph, name: str) -> RepositoryInventory:
    found = graph.inventory.repositories.get(name)
    if found is None:
        raise NameUnknown(f"no such repository: {name}")
    return found


# -- doubt -----------------------------------------------------------------------------


def require_listed(graph: Graph, name: str, folders: Iterable[str]) -> None:
    """See that folders of a repository can be removed as they were listed.

    Raises:
        Doubt: something below them could not be seen, or links give something two places.
    """
    twice = [one for one in graph.frozen.get(name, ()) if one.code is Code.SYMLINK_INSIDE]
    places = [one.path for one in twice]
    places += [folder for folder in folders if graph.inventory.hides(folder)]
    if places:
        problem = "another place leads to the same files" if twice else "it cannot all be read"
        raise Doubt(f"{places[0]}: {problem}; regfs verify --level links tells more")


def _require_certain(name: str, reasons: Iterable[Finding]) -> None:
    first = next(iter(reasons), None)
    if first is not None:
        raise Doubt(
            f"{first.path}: {first.message}, so it is not certain what {name} needs; repair that, "
            f"or name it too (regfs verify {name} tells more); regfs untag removes tags alone"
        )


# -- one repository ----------------------------------------------------------------------


class _Removing:
    """What is removed with tags and manifests of one repository."""

    def __init__(self, graph: Graph, repository: RepositoryInventory, asked: _Asked) -> None:
        self._graph = graph
        self._repository = repository
        self._named_tags = frozenset(asked.tags)
        self._named = self._targets(asked.digests)
        self._tags = set(asked.tags) | {
            tag for tag, info in repository.tags.items() if info.current in self._named
        }
        self._former: set[Digest] = set()
        """Former digests of attached tags that are removed with their image."""
        self._stays: set[Digest] = set()
        """Manifests that something keeps."""
        self._gone = self._decide()
        self._require_certain()
        for digest in asked.digests:
            self._refuse_if_needed(digest)

    def _targets(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return the manifests of digests that are named.

        Raises:
            ManifestUnknown: one is no manifest of the repository.
        """
        graph, repository = self._graph, self._repository
        found: set[Digest] = set()
        for digest in digests:
            currents = {info.current for info in repository.tags.values()}
            if digest not in repository.revisions and digest not in currents:
                raise ManifestUnknown(
                    f"{repository.name}@{digest} is not a manifest; "
                    "layers are removed with their images"
                )
            found.update((digest, *graph.revision_targets(repository.name, digest)))
        return found

    def _decide(self) -> set[Digest]:
        """Return the manifests that are removed; add the tags attached to them."""
        graph, repository = self._graph, self._repository
        while True:
            infos = (repository.tags[tag] for tag in self._tags)
            start = self._named.union(info.current for info in infos if info.current is not None)
            start |= self._former
            held = graph.reachable(start, referrers=repository.revisions)
            self._stays = self._kept(held)
            gone = held - self._stays
            along = set(self._attached(gone))
            if not along:
                return gone
            self._tags |= along
            # Each referrer that is added leaves an earlier list of referrers without a tag.
            self._former.update(e.digest for tag in along for e in repository.tags[tag].history)

    def _attached(self, gone: set[Digest]) -> Iterator[str]:
        """Yield tags attached to what is removed, such as signatures, that are not taken yet."""
        for tag, info in self._repository.tags.items():
            if tag not in self._tags:
                beside = attached_to(self._graph, tag, info.current)
                if beside is not None and lives(self._graph, beside, gone):
                    yield tag

    def _kept(self, held: set[Digest]) -> set[Digest]:
        """Return what everything keeps that is not in `held`, and whose tags are not taken."""
        graph, repository = self._graph, self._repository
        own: set[Digest] = set()
        beside: set[Digest] = set()
        """Attached and untagged manifests: they keep what they name, but not their subject."""
        for tag, info in repository.tags.items():
            if tag not in self._tags:
                is_own = attached_to(graph, tag, info.current) is None
                (own if is_own else beside).update(info.targets)
        for digest in repository.revisions:
            targets = graph.revision_targets(repository.name, digest)
            if held.isdisjoint(targets):
                beside.update(targets)
        revisions = repository.revisions
        return graph.reachable(own, subjects=True, referrers=revisions) | graph.reachable(
            beside, referrers=revisions
        )

    def _require_certain(self) -> None:
        """See that nothing that is kept may need what is removed.

        Raises:
            Doubt: something may.
        """
        name = self._repository.name
        reasons = [one for one in self._graph.frozen.get(name, ()) if not self._is_taken(one)]
        _require_certain(name, reasons)
        require_listed(self._graph, name, [layout.tag_folder(name, tag) for tag in self._tags])

    def _is_taken(self, reason: Finding) -> bool:
        """Return whether a finding is about something that is removed."""
        if reason.tag is not None and reason.repository == self._repository.name:
            return reason.tag in self._tags
        return reason.digest in self._gone and reason.digest not in self._stays

    def _refuse_if_needed(self, digest: Digest) -> None:
        for target in self._targets([digest]) & self._stays:
            label = f"{self._repository.name}@{digest}"
            raise Refused(f"{label} stays: {self._why(target)}; remove that first")

    def actions(self) -> Iterator[Action]:
        """Yield the actions: tags, the history of other tags, manifests."""
        graph, repository, name = self._graph, self._repository, self._repository.name
        for tag in sorted(self._tags, key=natural):
            reason = _NAMED if tag in self._named_tags else "it is removed with what was named"
            yield _tag_action(name, tag, repository.tags[tag], reason)
        gone = {
            digest
            for digest in repository.revisions
            if self._gone.issuperset(graph.revision_targets(name, digest))
        }
        for tag, info in repository.tags.items():
            for entry in info.history if tag not in self._tags else ():
                if entry.digest in gone and entry.digest != info.current:
                    path = f"{layout.tag_index_entry_folder(name, tag, entry.digest)}/link"
                    reason = f"history of tag {tag}: its manifest is removed"
                    kind = ActionKind.TAG_INDEX
                    yield Action(kind, path, entry.digest, name, entry.size, entry.mtime, reason)
        for digest in repository.revisions:
            if digest in gone:
                reason = _NAMED if digest in self._named else "nothing keeps it any more"
                yield _revision_action(repository, digest, reason)

    def keeps(self) -> Iterator[Retained]:
        """Yield the manifests of named tags that are kept, and why."""
        for tag in sorted(self._named_tags, key=natural):
            current = self._repository.tags[tag].current
            if current is not None and current in self._stays:
                yield Retained(f"{self._repository.name}@{current}", self._why(current))

    def _why(self, manifest: Digest) -> str:
        """Return what keeps a manifest."""
        name, graph = self._repository.name, self._graph
        pointing = [t for t in self._currents(manifest) if t not in self._tags]
        if pointing:
            more = f" and {len(pointing) - 1} more tags" if len(pointing) > 1 else ""
            return f"{name}:{pointing[0]}{more} points to it"
        for other in sorted(self._stays):
            if manifest in graph.children(other):
                return f"the index {self._label(other)} lists it"
        for other in graph.referrers_by_field(manifest):
            if other in self._stays:
                return f"{self._label(other)}, which is about it, has a tag of its own"
        return "something that stays needs it"

    def _currents(self, manifest: Digest) -> list[str]:
        tags = self._repository.tags.items()
        return sorted(tag for tag, info in tags if manifest in info.targets)

    def _label(self, manifest: Digest) -> str:
        tags = [tag for tag in self._currents(manifest) if tag not in self._tags]
        name = self._repository.name
        return f"{name}:{tags[0]}" if tags else f"{name}@{manifest}"


def _tag_action(name: str, tag: str, info: TagInfo, reason: str) -> Action:
    size = info.size + sum(entry.size for entry in info.history)
    mtime = max([info.mtime, *(entry.mtime for entry in info.history)])
    path = layout.tag_folder(name, tag)
    return Action(ActionKind.TAG, path, info.current, name, size, mtime, reason)


def _revision_action(repository: RepositoryInventory, digest: Digest, reason: str) -> Action:
    name, info = repository.name, repository.revisions[digest]
    path = f"{layout.revision_folder(name, digest)}/link"
    return Action(ActionKind.REVISION, path, digest, name, info.size, info.mtime, reason)


# -- a whole repository --------------------------------------------------------------------


def take_all(
    graph: Graph, repository: RepositoryInventory, edit: Edit, *, offline: bool = False
) -> None:
    """Add everything that a repository holds, but for uploads that may be under way."""
    inventory, name = graph.inventory, repository.name
    require_listed(graph, name, [layout.repository_folder(name)])
    reason = "its repository is removed"
    edit.emptied.append(name)
    for tag in sorted(repository.tags, key=natural):
        edit.goes.append(_tag_action(name, tag, repository.tags[tag], reason))
    for digest in repository.revisions:
        edit.goes.append(_revision_action(repository, digest, reason))
    layers = repository.layers
    for digest, size, mtime, *_ in layers.files(range(len(layers))):
        path = f"{layout.layer_folder(name, digest)}/link"
        edit.goes.append(Action(ActionKind.LAYER_LINK, path, digest, name, size, mtime, reason))
    for upload, started in repository.uploads.items():
        path = layout.upload_folder(name, upload)
        latest = max(started.mtime, started.started_at or 0.0)
        if inventory.taken_at - latest < HOUR and not offline:
            edit.keeps.append(Retained(path, "a push may be under way; --offline takes it too"))
            continue
        kind = ActionKind.UPLOAD
        edit.goes.append(Action(kind, path, None, name, started.size, started.mtime, reason))
