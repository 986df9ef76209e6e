"""Fetching what is missing or corrupt, and putting it in place when it is proven right.

    read from the source into a file beside its place, counting and hashing
    -> a line in the journal -> the bad bytes into quarantine -> the new file renamed to its place

Nothing is in its place before it is whole and has its digest. Killed at any point
the tree has what it had, or less of what was bad, or one right blob more.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from regfs import layout
from regfs.digest import BUFFER_SIZE, Digest, Hasher, Readable, hash_stream
from regfs.errors import (
    ContentMismatch,
    PathDenied,
    PathMissing,
    PathUnsafe,
    SourceError,
    SourceLacks,
    StoreError,
)
from regfs.heal.report import Healed, HealPlan, Item, Outcome, State
from regfs.heal.source import Source, Wanted
from regfs.manifests import LIMIT
from regfs.progress import SILENT, Progress
from regfs.registry import Registry
from regfs.runs import Changes, RunKind, changing, clear_unfinished, new_run
from regfs.stores import Kind, Store, Writer
from regfs.totals import ActionKind
from regfs.turns import locked

UNKNOWN_LIMIT: Final = 64 << 30
"""Bytes after which content is given up whose size nobody knows."""


def heal(
    planned: HealPlan, registry: Registry, source: Source, *, progress: Progress = SILENT
) -> Healed:
    """Carry out a plan: what the source has is fetched, verified and put in place.

    A storage that fails (a full disk), and Ctrl-C, end it early; what was done stands
    in the journal, and the next run does the rest.

    Raises:
        LockHeld: another run is under way.
        StoreError: nothing can be written.
    """
    todo = [item for item in planned.items if item.problem is None]
    lacking = [
        Outcome(item.digest, item.path, State.LACKING, 0, item.problem)
        for item in planned.items
        if item.problem is not None
    ]
    if not todo:
        return _told(planned, None, lacking, [], None)
    store = registry.store
    repair = _Repair(store, source, progress)
    with locked(store):
        clear_unfinished(store)
        run = new_run()
        with changing(store, run, RunKind.HEAL, source=planned.source) as changes:
            progress.start("Fetching", planned.bytes, "bytes")
            stopped = repair.run(changes, todo)
            progress.finish()
    return _told(planned, run, [*repair.outcomes, *lacking], todo, stopped)


def _told(
    planned: HealPlan,
    run: str | None,
    outcomes: list[Outcome],
    todo: list[Item],
    stopped: str | None,
) -> Healed:
    right = [one for one in outcomes if one.state in (State.HEALED, State.WAS_RIGHT)]
    healed = [one for one in right if one.state is State.HEALED]
    return Healed(
        run=run,
        root=planned.root,
        source=planned.source,
        outcomes=outcomes,
        healed=len(healed),
        bytes=sum(one.size for one in healed),
        broken=len(planned.items) - len(right),
        stopped=stopped,
    )


class _Repair:
    """One run."""

    def __init__(self, store: Store, source: Source, progress: Progress) -> None:
        self.store = store
        self.source = source
        self.progress = progress
        self.outcomes: list[Outcome] = []

    def run(self, changes: Changes, todo: list[Item]) -> str | None:
        """Do what can be done; return why it ended early."""
        try:
            changes.announce(item.path for item in todo)
            for item in todo:
                self.outcomes.append(self._repair(changes, item))
            changes.finish(len(self.outcomes))
        except KeyboardInterrupt:
            return "interrupted"
        except StoreError as error:
            return str(error)
        return None

    def _repair(self, changes: Changes, item: Item) -> Outcome:
        if is_right(self.store, item.digest):
            return Outcome(item.digest, item.path, State.WAS_RIGHT, 0)
        before = _etag(self.store, item.path)
        try:
            begun = changes.begin(item.path)
        except (PathMissing, PathUnsafe, PathDenied) as error:
            return Outcome(item.digest, item.path, State.FAILED, 0, str(error))
        try:
            size = self._fetch(item, begun)
            if _etag(self.store, item.path) != before and is_right(self.store, item.digest):
                return Outcome(item.digest, item.path, State.WAS_RIGHT, 0)
            changes.create(
                item.path,
                begun,
                kind=ActionKind.BLOB,
                digest=item.digest,
                size=size,
                content=item.digest,
            )
        except SourceError as error:
            state = State.LACKING if isinstance(error, SourceLacks) else State.FAILED
            return Outcome(item.digest, item.path, state, 0, str(error))
        except ContentMismatch as error:
            return Outcome(item.digest, item.path, State.WRONG, 0, str(error))
        finally:
            begun.discard()
        return Outcome(item.digest, item.path, State.HEALED, size)

    def _fetch(self, item: Item, begun: Writer) -> int:
        wanted = Wanted(item.digest, item.size, item.manifest, item.repositories)
        with self.source.open(wanted) as stream:
            return self._copy(stream, begun, item)

    def _copy(self, stream: Readable, begun: Writer, item: Item) -> int:
        """Write what a source gives; return its size.

        Raises:
            ContentMismatch: it is not what was wanted.
        """
        hasher = Hasher(item.digest.algorithm)
        limit = item.size if item.size >= 0 else LIMIT if item.manifest else UNKNOWN_LIMIT
        while piece := stream.read(BUFFER_SIZE):
            hasher.update(piece)
            if hasher.size > limit:
                raise ContentMismatch(f"the source gave more than {limit} bytes")
            begun.write(piece)
            self.progress.advance(len(piece))
        if hasher.digest() != item.digest:
            raise ContentMismatch(
                f"the source gave {hasher.size} bytes with another digest: {hasher.digest()}"
            )
        return hasher.size


def is_right(store: Store, digest: Digest) -> bool:
    """Tell whether a blob is there with the bytes of its digest."""
    path = layout.path_of(layout.BlobData(digest))
    with suppress(StoreError):
        if store.stat(path).kind is Kind.FILE:
            with store.open(path) as stream:
                (found,), _ = hash_stream(stream, (digest.algorithm,))
            return found == digest
    return False


def _etag(store: Store, path: str) -> str | None:
    with suppress(StoreError):
        return store.stat(path).etag
    return None
