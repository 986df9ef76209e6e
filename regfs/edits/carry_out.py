"""Carrying out an edit: decided and done under the lock, and looked at once more afterwards.

    exclusive lock
      decide        from the tree as it is now
      create links  what is referred to first, each durable before the next
      move links    into quarantine, references first; what was written to since then stays
      settle        read the repositories again; put back what they need by now

A crash leaves links to what is there, never a link to what is gone; `gc restore` takes back what
was done, and the same edit given again does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from regfs import layout
from regfs.edits.edit import Created, Edit, Edited, Retained
from regfs.errors import StoreError
from regfs.gc.actions import Action
from regfs.gc.looks import Look, how_changed, in_batches, item_of, why_left
from regfs.gc.policy import HOUR
from regfs.gc.quarantine import InUse, quarantined_items
from regfs.gc.sweep import check_owners
from regfs.graph import Graph, build_graph
from regfs.progress import SILENT, Progress
from regfs.runs import (
    Changes,
    Item,
    PlannedLink,
    Returned,
    Skipped,
    changing,
    clear_unfinished,
    new_run,
    put_back,
)
from regfs.runs.lock import exclusive
from regfs.runs.totals import FOLDER_KINDS
from regfs.stores import (
    FileKind,
    Store,
    WritableStore,
    folders_above,
    ignore,
    writable,
)
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from regfs.tree.scan import scan, scan_owners


def graph_of(registry: Registry, want: Callable[[str], bool], progress: Progress = SILENT) -> Graph:
    """Return the graph of some repositories, as they are now.

    Raises:
        Doubt: another program manages the tree.
    """
    inventory = scan(registry.store, progress=progress, want=want, lean=True)
    check_owners(inventory)
    return build_graph(inventory, registry, progress=progress)


def check_unmanaged(store: Store) -> None:
    """See that no other program manages the tree.

    Raises:
        Doubt: one does.
    """
    inventory = Inventory(url=store.url, taken_at=0.0)
    scan_owners(store, inventory)
    check_owners(inventory)


def carry_out(
    registry: Registry,
    decide: Callable[[], Edit],
    *,
    offline: bool = False,
    progress: Progress = SILENT,
) -> Edited:
    """Decide an edit under the lock, and carry it out.

    `offline` says that nobody else writes, so that a purge need not wait.

    Raises:
        LockHeld: a run is under way.
        StoreFull: there is no space for a journal; nothing was changed.
        StoreError: the storage failed; what was done is in the journal.
        Whatever `decide` raises: nothing was changed.
    """
    store = writable(registry.store)
    with exclusive(store):
        clear_unfinished(store)
        edit = decide()
        if not (edit.goes or edit.links or edit.emptied):
            return report(edit, store.url)
        run, wait = new_run(), 0.0 if offline else HOUR
        with changing(store, run, edit.kind, wait=wait) as changes:
            work = _EditRun(store, changes)
            work.do(edit, progress)
            changes.finish(len(work.moved) + len(edit.links))
        returned = _settle(registry, run, edit, progress) if work.moved else []
    return replace(
        report(edit, store.url),
        run=run,
        removed=work.moved,
        skipped=work.skipped,
        returned=returned,
    )


def report(edit: Edit, root: str) -> Edited:
    """Return what an edit would do."""
    created = [Created(one.kind, one.path, one.digest, one.repository) for one in edit.links]
    return Edited(None, root, edit.kind, edit.goes, created, edit.keeps, edit.renamed)


def _settle(registry: Registry, run: str, edit: Edit, progress: Progress) -> list[Returned]:
    """Put back what the repositories need by now of what was moved away."""
    store, returned = writable(registry.store), []
    while items := [one for one in quarantined_items(store) if one.run == run]:
        graph = graph_of(registry, edit.repositories.__contains__, progress)
        digests = {one.digest for one in items if one.digest is not None}
        use = InUse(graph.inventory, graph, digests)
        back = put_back(store, [one for one in items if use.needs(one)])
        returned += back
        if not back:
            break
    return returned


class _EditRun:
    """The changes of one edit."""

    def __init__(self, store: WritableStore, changes: Changes) -> None:
        self.moved: list[Action] = []
        self.skipped: list[Skipped] = []
        self._store = store
        self._changes = changes

    def do(self, edit: Edit, progress: Progress) -> None:
        """Create links, then move what is removed.

        Raises:
            StoreError: the storage failed; the message says how to undo what was done.
        """
        try:
            self.create(edit, progress)
            self.move(edit.goes, progress)
            self.tidy(edit.emptied, edit.keeps)
        except StoreError as error:
            undo = f"regfs gc restore {self._changes.run}"
            error.args = (f"{error}; to undo what was done: {undo}",)
            raise

    def create(self, edit: Edit, progress: Progress) -> None:
        """Write the new links."""
        progress.start("Writing links", len(edit.links))
        self._changes.announce(link.path for link in edit.links)
        for _, group in groupby(edit.links, key=lambda link: link.kind):
            links = [PlannedLink(one.path, one.kind, one.digest, one.mtime) for one in group]
            self._changes.write_links(links)
            progress.advance(len(links))
        progress.finish()

    def move(self, actions: Iterable[Action], progress: Progress) -> None:
        """Move away what is still as it was when that was decided."""
        actions = list(actions)
        progress.start("Moving into quarantine", len(actions))
        for _, batches in groupby(in_batches(actions), key=lambda batch: batch[0].kind):
            for batch in batches:
                self._move(batch)
                progress.advance(len(batch))
            # What refers to the next kind is durably gone before that is touched.
            self._changes.sync()
        progress.finish()

    def _move(self, batch: list[Action]) -> None:
        looks = self._store.examine(action.path for action in batch)
        moves: list[tuple[Action, Item]] = []
        for action, seen in zip(batch, looks, strict=True):
            reason = _changed(self._store, action, seen)
            if reason is None:
                moves.append((action, item_of(self._changes.run, action, seen)))
            else:
                self.skipped.append(Skipped(action.path, reason))
        self._changes.intend(item for _, item in moves)
        results = self._changes.move_many(item.source for _, item in moves)
        for (action, _), failure in zip(moves, results, strict=True):
            if failure is None:
                self.moved.append(action)
            elif (reason := why_left(failure)) is not None:
                self._changes.leave(action.path)
                self.skipped.append(Skipped(action.path, reason))
            else:
                raise failure

    def tidy(self, names: Iterable[str], keeps: Iterable[Retained]) -> None:
        """Remove the folders of repositories that are empty; `keeps` need no other reason."""
        kept = tuple(f"{one.what}/" for one in keeps)
        for name in names:
            folder = layout.repository_folder(name)
            inside: list[str] = []
            for part in layout.PARTS:
                inside += [one.path for one in self._store.tree(f"{folder}/{part}", ignore)]
            around = [folder, *folders_above(folder)]
            top = f"{layout.REPOSITORIES}/"
            self._changes.remove_empty([*inside, *(one for one in around if one.startswith(top))])
            for path in _files_below(self._store, folder):
                if not path.startswith(kept):
                    why = "it is not of the layout, or was written since"
                    self.skipped.append(Skipped(path, why))


def _files_below(store: Store, folder: str) -> Iterator[str]:
    """Yield what a repository still holds that is no folder, without those nested in it."""
    for part in layout.PARTS:
        for entry in store.walk(f"{folder}/{part}", ignore):
            if entry.kind is not FileKind.FOLDER:
                yield entry.path


def _changed(store: Store, action: Action, seen: Look) -> str | None:
    """Return how an item differs from what it was when the edit was decided; None if it does not.

    Raises:
        StoreError: it cannot be looked at.
    """
    folder = ", or holds what is not of the layout" if action.kind in FOLDER_KINDS else ""
    return how_changed(store, action, seen, f"it has changed meanwhile{folder}")
