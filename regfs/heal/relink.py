"""Links that can be proven: by an image that needs them, or by their own path.

    layer link      an intact manifest of the repository needs the blob, and the blob is intact
    revision link   a tag of the repository names an intact manifest; or an index it serves
                    does, and the repository has the links to all its parts       reach.py
    any of these    it is empty or garbled, and its path gives the digest of an intact blob
    tag current     the history of the tag has exactly one digest, and that manifest is intact

Nothing is guessed. If the history of a tag has several digests, it is unknown which one was
current: the newest may be of an unfinished push, and an older one would roll the image back. Such
a tag is reported as ambiguous. A link that names another digest than its path stays as it is, and
so does everything in a repository that cannot be read completely.

No link gives a repository what no push gave it. A registry accepts a manifest only if the
repository has its layers, so a manifest proves their links. It does not prove those of foreign
layers, which need not be pushed, or of what an index lists, which some registries do not check.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import Doubt, StoreError
from regfs.findings import Code, Finding
from regfs.graph import Graph
from regfs.heal.reach import Reach
from regfs.heal.repair import is_right
from regfs.heal.report import Ambiguous, LinkToWrite, Relinked, RelinkPlan
from regfs.layout import LayerLink, RevisionLink, TagCurrent, TagIndex, tolerant_link
from regfs.progress import SILENT, Progress
from regfs.runs import RunKind, Skipped, changing, clear_unfinished, new_run
from regfs.runs.lock import exclusive
from regfs.runs.totals import ActionKind
from regfs.stores import FileKind, Store, stat_or_none, writable
from regfs.tree.inventory import INCOMPLETE, Inventory, RepositoryInventory, TagInfo
from regfs.tree.registry import Registry
from regfs.verify import Result

_DOUBT: Final = INCOMPLETE | {Code.SYMLINK_INSIDE, Code.ALGORITHM_UNSUPPORTED}
_DAMAGED: Final = frozenset({Code.LINK_EMPTY, Code.LINK_INVALID})
_ORDER: Final = (
    ActionKind.LAYER_LINK,
    ActionKind.REVISION,
    ActionKind.TAG_INDEX,
    ActionKind.TAG,
)
_LONGEST: Final = 4096
"""Maximum bytes that are read of a damaged link."""


def plan_relink(
    registry: Registry, inventory: Inventory, graph: Graph, result: Result
) -> RelinkPlan:
    """Return the missing and damaged links that can be proven.

    `result` is that of a verification of the whole tree, at any level.

    Raises:
        Doubt: another program manages the links of this tree.
    """
    if inventory.lockfiles:
        raise Doubt(f"{inventory.lockfiles[0]}: another program manages the links of this tree")
    planning = _Planning(registry, inventory, graph)
    for row in result.findings:
        planning.note_doubt(row.finding)
    for content in inventory.repositories.values():
        if planning.may_write_in(content.name):
            planning.prove(content)
    for row in result.findings:
        planning.mend(row.finding)
    links = sorted(planning.links.values(), key=lambda link: _ORDER.index(link.kind))
    return RelinkPlan(registry.store.url, links, planning.ambiguous, planning.skipped)


class _Planning:
    """Finds the links, a repository at a time."""

    def __init__(self, registry: Registry, inventory: Inventory, graph: Graph) -> None:
        self.store = registry.store
        self.inventory = inventory
        self.graph = graph
        self.links: dict[str, LinkToWrite] = {}
        self.ambiguous: list[Ambiguous] = []
        self.skipped: list[Skipped] = []
        self._reach = Reach(registry, graph)
        self._doubtful: dict[str, Finding] = {}
        self._right: dict[Digest, bool] = {}

    # -- doubt --------------------------------------------------------------------

    def note_doubt(self, finding: Finding) -> None:
        """Note a repository in which something cannot be read, or has two paths."""
        start = layout.REPOSITORIES + "/"
        if finding.code in _DOUBT and f"{finding.path}/".startswith(start):
            name = finding.path[len(start) :].partition("/_")[0]
            self._doubtful.setdefault(name, finding)

    def may_write_in(self, name: str) -> bool:
        """Return whether a repository can be read completely; report it if not."""
        above = [name, *_above(name), ""]
        found = next((self._doubtful[one] for one in above if one in self._doubtful), None)
        if found is not None:
            folder = layout.repository_folder(name)
            self._skip(folder, f"cannot be read completely: {found.path}: {found.code}")
        return found is None

    def _skip(self, path: str, reason: str) -> None:
        skipped = Skipped(path, reason)
        if skipped not in self.skipped:
            self.skipped.append(skipped)

    # -- what images prove --------------------------------------------------------

    def prove(self, content: RepositoryInventory) -> None:
        """Take the links that the images of a repository need and that are missing."""
        for manifest, proof in self._reach.manifests(content):
            if manifest not in content.revisions:
                self._take(RevisionLink(content.name, manifest), proof)
            self._prove_layers(content, manifest)
        for tag, info in content.tags.items():
            if info.current is None or info.problem is not None:
                self._point(content, tag, info)

    def _prove_layers(self, content: RepositoryInventory, manifest: Digest) -> None:
        for blob in sorted(self._reach.parts(manifest)):
            if blob in content.layers or blob not in self.inventory.blobs:
                continue
            if not self._reach.is_foreign(manifest, blob):
                self._take(LayerLink(content.name, blob), f"manifest {manifest} needs it")

    def _take(self, key: LayerLink | RevisionLink, reason: str) -> None:
        path = layout.path_of(key)
        if stat_or_none(self.store, path) is not None:
            return  # its finding says whether it can be repaired
        if not self._is_right(key.digest):
            self._skip(path, "its blob is damaged or missing")
            return
        kind = ActionKind.LAYER_LINK if isinstance(key, LayerLink) else ActionKind.REVISION
        self.links[path] = LinkToWrite(kind, path, key.digest, key.name, None, reason)

    def _is_right(self, digest: Digest) -> bool:
        if digest not in self._right:
            self._right[digest] = is_right(self.store, digest)
        return self._right[digest]

    # -- tags ---------------------------------------------------------------------

    def _point(self, content: RepositoryInventory, tag: str, info: TagInfo) -> None:
        """Point a damaged tag to the only manifest that it can have named."""
        name, path = content.name, layout.path_of(TagCurrent(content.name, tag))
        candidates = [entry.digest for entry in reversed(info.history)]
        if info.problem is Code.PATH_UNREADABLE or not self._is_plain(path):
            self._skip(path, "cannot be read")
        elif info.current is not None:
            if info.current in candidates and self._is_served(content, info.current):
                self._set(path, name, tag, info.current, "its content can only mean this")
            else:
                self._skip(path, "what it seems to name is not in its history, or is damaged")
        elif len(candidates) == 1 and self._is_served(content, candidates[0]):
            self._set(path, name, tag, candidates[0], "its history has no other digest")
        else:
            intact = sum(self._is_served(content, one) for one in candidates)
            reason = f"its history has {len(candidates)} digests, {intact} of them intact"
            self.ambiguous.append(Ambiguous(name, tag, path, candidates, reason))

    def _is_served(self, content: RepositoryInventory, digest: Digest) -> bool:
        """Return whether a repository has an intact manifest and a link to it."""
        linked = digest in content.revisions
        return linked and self._reach.is_intact(digest) and self._is_right(digest)

    def _set(self, path: str, name: str, tag: str, digest: Digest, reason: str) -> None:
        etag = _etag(self.store, path)
        self.links[path] = LinkToWrite(ActionKind.TAG, path, digest, name, tag, reason, etag)

    def _is_plain(self, path: str) -> bool:
        """Return whether a path is that of a regular file of a plausible size, or free."""
        try:
            entry = stat_or_none(self.store, path)
            return entry is None or (entry.kind is FileKind.FILE and entry.size <= _LONGEST)
        except StoreError:
            return False

    # -- what paths prove ---------------------------------------------------------

    def mend(self, finding: Finding) -> None:
        """Take a damaged link whose path says what its content must be."""
        if finding.code not in _DAMAGED:
            return
        key = layout.key_of(finding.path)
        if not isinstance(key, LayerLink | RevisionLink | TagIndex):
            return
        path, digest = finding.path, key.digest
        if path in self.links or not self.may_write_in(key.name):
            return
        reason = self._why_not(path, digest)
        if reason is not None:
            self._skip(path, reason)
            return
        tag = key.tag if isinstance(key, TagIndex) else None
        kind = {
            LayerLink: ActionKind.LAYER_LINK,
            RevisionLink: ActionKind.REVISION,
            TagIndex: ActionKind.TAG_INDEX,
        }[type(key)]
        etag = _etag(self.store, path)
        why = "its path says what it names"
        self.links[path] = LinkToWrite(kind, path, digest, key.name, tag, why, etag)

    def _why_not(self, path: str, digest: Digest) -> str | None:
        try:
            content = self.store.read(path, _LONGEST)
        except StoreError as error:
            return str(error)
        if not self._is_plain(path):
            return "it is not a regular file, or too long for a link"
        meant = tolerant_link(content)
        if meant is not None and meant != digest:
            return f"its content names another digest: {meant}"
        return None if self._is_right(digest) else "its blob is damaged or missing"


def _above(name: str) -> Iterable[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _etag(store: Store, path: str) -> str | None:
    entry = stat_or_none(store, path)
    return None if entry is None else entry.etag


# -- writing ----------------------------------------------------------------------


def relink(planned: RelinkPlan, registry: Registry, *, progress: Progress = SILENT) -> Relinked:
    """Write the links of a plan, each only if nothing has changed since planning.

    Raises:
        LockHeld: another run is under way.
        StoreError: the storage failed; what was written is in the journal.
    """
    store = writable(registry.store)
    if not planned.links:
        return Relinked(None, store.url, [], planned.ambiguous, planned.skipped)
    written: list[LinkToWrite] = []
    skipped = list(planned.skipped)
    progress.start("Writing links", len(planned.links))
    with exclusive(store):
        clear_unfinished(store)
        run = new_run()
        with changing(store, run, RunKind.RELINK) as changes:
            changes.announce(link.path for link in planned.links)
            for link in planned.links:
                reason = _changed(registry, link)
                if reason is not None:
                    skipped.append(Skipped(link.path, reason))
                    continue
                changes.write_link(link.path, link.kind, link.digest)
                written.append(link)
                progress.advance(1)
            changes.finish(len(written))
    progress.finish()
    return Relinked(run, store.url, written, planned.ambiguous, skipped)


def _changed(registry: Registry, link: LinkToWrite) -> str | None:
    """Return why a link must not be written after all; None if it may be."""
    if _etag(registry.store, link.path) != link.etag:
        return "it has changed since planning"
    blob = layout.blob_path(link.digest)
    try:
        there = registry.store.stat(blob).kind is FileKind.FILE
    except StoreError:
        there = False
    return None if there else "its blob is gone"
