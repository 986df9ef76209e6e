"""Taking back one run of several, so that no image is left in parts.

What one run has moved may need what another one has moved later: with `--max-freed` the links of
an image go in one night, and some of its blobs in the next. So before anything of a run goes
back, what it needs is looked for in the quarantine of the others, and of the rest of its own:

    a revision, a tag    its manifest; what is written in that, in the same repository
    a layer link         its blob

Blobs come back first, then links to them, then the run itself: at no moment a link leads
nowhere that did not before. What is needed and was deleted for good is named.
Nothing is taken along that a restored thing does not need, and no link in another repository.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from regfs import layout
from regfs.digest import Digest, digests_in
from regfs.errors import DigestInvalid, StoreError
from regfs.manifests import LIMIT
from regfs.progress import SILENT, Progress
from regfs.runs import (
    FOLDERS,
    Account,
    Area,
    Line,
    Restored,
    Returned,
    RunKind,
    Skipped,
    Thing,
    is_good,
    journals,
    kind_of,
    put_back,
    read_journal,
    surveys,
)
from regfs.runs import restore as restore_run
from regfs.runs.totals import ActionKind
from regfs.stores import Store

_ROOTS = frozenset({ActionKind.REVISION.value, ActionKind.TAG.value})
_LINKS = frozenset({ActionKind.REVISION.value, ActionKind.LAYER_LINK.value})


def restore(
    store: Store, run: str, *, digests: frozenset[str] = frozenset(), progress: Progress = SILENT
) -> Restored:
    """Take back what a run did, or what it did to `digests`, with all that this needs.

    Raises:
        As `regfs.runs.restore`.
    """
    along: list[Returned] = []
    lost: list[Skipped] = []

    def before(things: Sequence[Thing]) -> None:
        if kind_of(read_journal(store, run)) is RunKind.GC:
            needs = _Needs(store, things)
            along.extend(needs.take_along())
            lost.extend(needs.lost())

    done = restore_run(store, run, digests=digests, progress=progress, before=before)
    return replace(done, along=along, lost=lost)


class _Needs:
    """What some things in quarantine need, wherever it lies."""

    def __init__(self, store: Store, things: Sequence[Thing]) -> None:
        self._store = store
        chosen = {thing.lies for thing in things}
        self._others = [one for one in _held(store) if one.lies not in chosen]
        self._blobs: dict[str, str] = {
            one.digest: one.lies
            for one in [*self._others, *things]
            if one.kind == ActionKind.BLOB and one.digest is not None
        }
        """Blob -> where it lies in quarantine."""
        self._by_repository: dict[str, set[str]] = defaultdict(set)
        for thing in things:
            name, digest = layout.repository_of(thing.path), self._named(thing)
            if name is None or digest is None:
                continue
            if thing.kind in _ROOTS:
                self._follow(digest, self._by_repository[name])
            elif thing.kind == ActionKind.LAYER_LINK:
                self._by_repository[name].add(digest)
        self._digests: set[str] = set().union(*self._by_repository.values())

    def _named(self, thing: Thing) -> str | None:
        """Return the digest of a thing; of a tag that is known by its path, what it says."""
        if thing.kind != ActionKind.TAG or thing.digest is not None:
            return thing.digest
        try:
            return layout.parse_link(self._store.read(f"{thing.lies}/current/link", 4096))
        except (StoreError, DigestInvalid):
            return None

    def _follow(self, digest: str, found: set[str]) -> None:
        """Add a manifest, and all that is written in it and in what it names."""
        pending = [digest]
        while pending:
            one = pending.pop()
            if one not in found:
                found.add(one)
                pending.extend(self._read(one))

    def _read(self, digest: str) -> list[Digest]:
        """Return what is written in a manifest; of anything else nothing."""
        place = layout.blob_path(Digest(digest))
        for path in (self._blobs.get(digest), place):
            if path is None:
                continue
            try:
                data = self._store.read(path, LIMIT + 1)
            except StoreError:
                continue  # elsewhere, or nowhere: `lost` says so
            return digests_in(data) if len(data) <= LIMIT else []
        return []

    def take_along(self) -> list[Returned]:
        """Put back what is needed and lies elsewhere; blobs first."""
        blobs = [one for one in self._others if one.kind == ActionKind.BLOB]
        links = [one for one in self._others if one.kind in _LINKS]
        back = _put_back(self._store, [one for one in blobs if one.digest in self._digests])
        return back + _put_back(self._store, [one for one in links if self._needs_link(one)])

    def _needs_link(self, thing: Thing) -> bool:
        name = layout.repository_of(thing.path) or ""
        return thing.digest in self._by_repository.get(name, ())

    def lost(self) -> list[Skipped]:
        """Return which blobs are needed, and were deleted for good by some run."""
        deleted = {
            line["digest"]: journal.run
            for journal in journals(self._store)
            for line in _deleted(journal.lines)
        }
        found = []
        for digest in sorted(self._digests & deleted.keys() - self._blobs.keys()):
            path = layout.blob_path(Digest(digest))
            try:
                self._store.stat(path)
            except StoreError:
                found.append(Skipped(path, f"run {deleted[digest]} is purged: it is deleted"))
        return found


def _held(store: Store) -> list[Thing]:
    """Return what lies whole in the quarantine of collections, and of damaged runs."""
    return [
        thing
        for one in surveys(store)
        if one.run.kind is RunKind.GC or one.run.damage is not None
        for thing in one.contents.things
        if thing.area is Area.MOVED
        and thing.kind not in FOLDERS
        # Of a damaged run it may not be known why it has moved things: for being bad, perhaps.
        and (one.run.damage is None or is_good(store, thing))
    ]


def _put_back(store: Store, things: Iterable[Thing]) -> list[Returned]:
    by_run: dict[str, list[Thing]] = defaultdict(list)
    for thing in things:
        by_run[thing.run].append(thing)
    # Where two runs have moved the same, the later one has it as it was last.
    back = [put_back(store, run, by_run[run], make_room=True) for run in sorted(by_run)[::-1]]
    return [one for some in back for one in some]


def _deleted(lines: Iterable[Line]) -> list[Line]:
    """Return the lines of blobs that a run has deleted for good."""
    account = Account.of(lines)
    gone = [*account.gone.values()]
    gone += account.moved.values() if account.state in ("purging", "purged") else []
    return [line for line in gone if line["kind"] == ActionKind.BLOB]
