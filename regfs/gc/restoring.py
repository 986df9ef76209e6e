"""Taking back one run of several, so that no image is left incomplete.

What one run moved may need what a later run moved: with `--max-freed` the links of an image may
be moved one night, and some of its blobs the next. So before a run is restored, what it needs is
looked for in the quarantine of other runs, and in the rest of its own:

    a revision, a tag    its manifest, and everything that names, in the same repository
    a layer link         its blob

Blobs come back first, then links to them, then the run itself, so no restored link ever dangles.
What is needed but was deleted for good is reported. Nothing else comes back: nothing that no
restored item needs, and no link in another repository.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from regfs import layout
from regfs.digest import Digest, digests_in
from regfs.errors import DigestInvalid, StoreError
from regfs.gc.created import needed_by_others
from regfs.manifests import LIMIT
from regfs.progress import SILENT, Progress
from regfs.runs import (
    Change,
    Item,
    Journal,
    Restored,
    Returned,
    RunKind,
    Skipped,
    Survey,
    is_good,
    journals,
    present,
    put_back,
    surveys,
)
from regfs.runs import restore as restore_run
from regfs.runs.journal import has_quarantine
from regfs.runs.places import UNREADABLE
from regfs.runs.totals import FOLDER_KINDS, ActionKind
from regfs.stores import Store, WritableStore

_ROOTS = frozenset({ActionKind.REVISION, ActionKind.TAG})
_LINKS = frozenset({ActionKind.REVISION, ActionKind.LAYER_LINK})


def restore(
    store: WritableStore,
    run: str,
    *,
    digests: frozenset[str] = frozenset(),
    progress: Progress = SILENT,
) -> Restored:
    """Undo a run, or what it did to `digests`; bring back what that needs from other runs.

    Raises:
        As `regfs.runs.restore`.
    """
    along: list[Returned] = []
    lost: list[Skipped] = []

    def before(found: Survey, items: Sequence[Item]) -> Mapping[str, str]:
        kind = found.run.kind
        if not kind.moves_what_is_bad:
            others = surveys(store, but=run, only=has_quarantine)
            needs = _Needs(store, chain([found], others), items)
            along.extend(needs.take_along())
            lost.extend(needs.lost())
        if kind.moves_what_is_bad or kind is RunKind.GC or found.run.damage is not None:
            return {}
        return needed_by_others(store, found)

    done = restore_run(store, run, digests=digests, progress=progress, before=before)
    return replace(done, along=along, lost=lost)


class _Needs:
    """What some items in quarantine need, in place or in any quarantine."""

    def __init__(self, store: WritableStore, runs: Iterable[Survey], items: Sequence[Item]) -> None:
        self._store = store
        self._others: list[Item] = []
        """Files in quarantine that are not being restored."""
        chosen = {item.quarantine_path for item in items}
        for one in runs:
            found = _files_in_quarantine(store, one)
            self._others += [item for item in found if item.quarantine_path not in chosen]
        self._blobs: dict[Digest, str] = {
            one.digest: one.quarantine_path
            for one in [*self._others, *items]
            if one.kind == ActionKind.BLOB and one.digest is not None
        }
        """Blob -> its path in quarantine."""
        self._by_repository: dict[str, set[Digest]] = defaultdict(set)
        for item in items:
            name, digest = layout.repository_of(item.path), self._named(item)
            if name is None or digest is None:
                continue
            if item.kind in _ROOTS:
                self._follow(digest, self._by_repository[name])
            elif item.kind == ActionKind.LAYER_LINK:
                self._by_repository[name].add(digest)
        self._digests: set[Digest] = set().union(*self._by_repository.values())

    def _named(self, item: Item) -> Digest | None:
        """Return the digest of an item; read a tag whose digest the journal lacks."""
        if item.kind != ActionKind.TAG or item.digest is not None:
            return item.digest
        try:
            return layout.parse_link(self._store.read(f"{item.quarantine_path}/current/link", 4096))
        except (StoreError, DigestInvalid):
            return None

    def _follow(self, digest: Digest, found: set[Digest]) -> None:
        """Add a manifest, and everything reached from it."""
        pending = [digest]
        while pending:
            one = pending.pop()
            if one not in found:
                found.add(one)
                pending.extend(self._read(one))

    def _read(self, digest: Digest) -> list[Digest]:
        """Return the digests in a manifest; none for anything else."""
        place = layout.blob_path(digest)
        for path in (self._blobs.get(digest), place):
            if path is None:
                continue
            try:
                data = self._store.read(path, LIMIT + 1)
            except StoreError:
                continue  # `lost` reports what is nowhere
            return digests_in(data) if len(data) <= LIMIT else []
        return []

    def take_along(self) -> list[Returned]:
        """Put back what is needed from other quarantines; blobs first."""
        blobs = [one for one in self._others if one.kind == ActionKind.BLOB]
        links = [one for one in self._others if one.kind in _LINKS]
        some = [one for one in blobs if one.digest in self._digests]
        back = put_back(self._store, some, make_room=True)
        some = [one for one in links if self._needs_link(one)]
        return back + put_back(self._store, some, make_room=True)

    def _needs_link(self, item: Item) -> bool:
        name = layout.repository_of(item.path) or ""
        return item.digest in self._by_repository.get(name, ())

    def lost(self) -> list[Skipped]:
        """Return the needed blobs that a run has deleted for good."""
        places = {layout.blob_path(one): one for one in self._digests - self._blobs.keys()}
        there = present(self._store, places)
        missing = {one for path, one in places.items() if there.get(path, UNREADABLE) == UNREADABLE}
        if not missing:
            return []  # and no journal of a purged run has to be read
        deleted: dict[Digest, str] = {}
        for journal in journals(self._store):
            deleted.update(_deleted_blobs(journal))
        return [
            Skipped(layout.blob_path(one), f"this blob was purged with run {deleted[one]}")
            for one in sorted(missing & deleted.keys())
        ]


def _files_in_quarantine(store: Store, found: Survey) -> list[Item]:
    """Return the files in the quarantine of a collection, and the good ones of a damaged run."""
    damaged = found.run.damage is not None
    if found.run.kind.moves_what_is_bad and not damaged:
        return []
    return [
        item
        for item in found.contents.items
        if (item.change is Change.MOVE and item.kind not in FOLDER_KINDS)
        # What an edit created, and a restore took out.
        or (item.change is Change.CREATE and item.kind in _LINKS and not damaged)
        # A damaged run may have moved items because they are bad.
        if not damaged or is_good(store, item)
    ]


def _deleted_blobs(journal: Journal) -> dict[Digest, str]:
    """Return the blobs that a run has deleted for good, with its name."""
    account = journal.account
    gone = [*account.gone.values()]
    gone += account.moved.values() if account.state in ("purging", "purged") else []
    return {
        item.digest: journal.run
        for item in gone
        if item.kind is ActionKind.BLOB and item.digest is not None
    }
