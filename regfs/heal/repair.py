"""Fetching what is missing or corrupt, and putting it in place once it is verified.

    without a lock    read from a source into `.regfs/heal`, counting and hashing
    with the lock     a line in the journal -> the bad bytes into quarantine -> the new file
                      renamed into place

Nothing gets into place before it is complete and matches its digest. If the process is killed at
any point, the tree has what it had, or less bad content, or one more intact blob.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from regfs import layout
from regfs.digest import Digest, hash_stream
from regfs.errors import (
    ContentMismatch,
    LockHeld,
    PathDenied,
    PathMissing,
    PathUnsafe,
    SourceError,
    SourceLacks,
    StoreError,
)
from regfs.heal.fetching import FETCHED, HEALING, Fetched, fetch
from regfs.heal.report import Healed, HealItem, HealOutcome, HealPlan, HealState
from regfs.heal.source import Source
from regfs.progress import SILENT, Progress
from regfs.runs import Changes, RunKind, changing, clear_unfinished, new_run, require_one_filesystem
from regfs.runs.lock import exclusive, owner
from regfs.runs.totals import ActionKind
from regfs.stores import FileKind, Store, WritableStore, writable
from regfs.tree.registry import Registry

LOCK_TIMEOUT: Final = 600.0
"""Seconds to wait for the end of another run after fetching."""
_PAUSE: Final = 0.5


def heal(
    planned: HealPlan, registry: Registry, *sources: Source, progress: Progress = SILENT
) -> Healed:
    """Carry out a plan: fetch each blob, verify it and put it in place.

    The sources are asked in their order; if one fails, the next is tried. A failing storage (a
    full disk) and Ctrl-C end the fetching early; what was fetched is put in place and journaled,
    and the next run does the rest.

    Raises:
        LockHeld: another run is under way, or began meanwhile and does not end.
        Doubt: parts of the tree are on another file system, where nothing can be renamed to.
        StoreError: nothing can be written.
    """
    todo = [item for item in planned.items if item.problem is None]
    lacking = [
        HealOutcome(item.digest, item.path, HealState.LACKING, 0, item.problem)
        for item in planned.items
        if item.problem is not None
    ]
    if not todo:
        return _report(planned, None, lacking, None)
    store = writable(registry.store)
    repair = _Repair(store, sources, progress)
    with store.lock(HEALING, owner()):
        with exclusive(store):  # fail before anything is fetched
            require_one_filesystem(store)
            clear_unfinished(store)
        progress.start("Fetching", planned.bytes, "bytes")
        stopped = repair.fetch(todo)
        progress.finish()
        run, failure = repair.place(planned.source)
        outcomes = [repair.outcomes[one.digest] for one in todo if one.digest in repair.outcomes]
        with suppress(StoreError):
            store.delete_tree(FETCHED)
    return _report(planned, run, [*outcomes, *lacking], stopped or failure)


def _report(
    planned: HealPlan,
    run: str | None,
    outcomes: list[HealOutcome],
    stopped: str | None,
) -> Healed:
    right = [one for one in outcomes if one.state in (HealState.HEALED, HealState.WAS_RIGHT)]
    healed = [one for one in right if one.state is HealState.HEALED]
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

    def __init__(self, store: WritableStore, sources: Sequence[Source], progress: Progress) -> None:
        self.store = store
        self.sources = sources
        self.progress = progress
        self.outcomes: dict[Digest, HealOutcome] = {}
        self._fetched: list[tuple[HealItem, Fetched, str | None]] = []
        """What to put in place, and the etag of the file that was there before."""

    def fetch(self, todo: list[HealItem]) -> str | None:
        """Fetch what the sources have, whatever happens in the tree; return why it ended early."""
        try:
            for item in todo:
                self._fetch(item)
        except KeyboardInterrupt:
            return "interrupted"
        except StoreError as error:
            return str(error)
        return None

    def _fetch(self, item: HealItem) -> None:
        if is_right(self.store, item.digest):
            self._settle(item, HealState.WAS_RIGHT)
            return
        before = _etag(self.store, item.path)
        try:
            fetched = fetch(self.store, self.sources, item, self.progress)
        except SourceLacks as error:
            self._settle(item, HealState.LACKING, str(error))
        except SourceError as error:
            self._settle(item, HealState.FAILED, str(error))
        except ContentMismatch as error:
            self._settle(item, HealState.WRONG, str(error))
        else:
            self._fetched.append((item, fetched, before))

    def place(self, source: str) -> tuple[str | None, str | None]:
        """Put in place what was fetched; return the run, and why it ended early."""
        if not self._fetched:
            return None, None
        run = new_run()
        self.progress.start("Putting in place", len(self._fetched))
        try:
            with _turn(self.store), changing(self.store, run, RunKind.HEAL, source=source) as made:
                for item, fetched, before in self._fetched:
                    self._place(made, item, fetched, before)
                    self.progress.advance(1)
                made.finish(len(self.outcomes))
        except KeyboardInterrupt:
            return run, "interrupted"
        except StoreError as error:
            return run, str(error)
        self.progress.finish()
        return run, None

    def _place(self, made: Changes, item: HealItem, fetched: Fetched, before: str | None) -> None:
        if _etag(self.store, item.path) != before and is_right(self.store, item.digest):
            self._settle(item, HealState.WAS_RIGHT)
            return
        try:
            made.create(
                item.path,
                fetched,
                kind=ActionKind.BLOB,
                digest=item.digest,
                size=fetched.size,
                content=item.digest,
            )
        except (PathMissing, PathUnsafe, PathDenied) as error:
            self._settle(item, HealState.FAILED, str(error))
        else:
            self._settle(item, HealState.HEALED, "; ".join(fetched.troubles), fetched.size)

    def _settle(self, item: HealItem, state: HealState, message: str = "", size: int = 0) -> None:
        self.outcomes[item.digest] = HealOutcome(item.digest, item.path, state, size, message)


@contextmanager
def _turn(store: WritableStore) -> Iterator[None]:
    """Lock the tree; wait for another run, because fetching may have taken hours."""
    last = time.monotonic() + LOCK_TIMEOUT
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive(store))
                break
            except LockHeld:
                if time.monotonic() >= last:
                    raise
            time.sleep(_PAUSE)
        yield


def is_right(store: Store, digest: Digest) -> bool:
    """Return whether a blob exists and matches its digest."""
    path = layout.blob_path(digest)
    with suppress(StoreError):
        if store.stat(path).kind is FileKind.FILE:
            with store.open(path) as stream:
                (found,), _ = hash_stream(stream, (digest.algorithm,))
            return found == digest
    return False


def _etag(store: Store, path: str) -> str | None:
    with suppress(StoreError):
        return store.stat(path).etag
    return None
