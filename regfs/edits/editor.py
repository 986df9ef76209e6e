"""Every edit as a method: what `regfs.open(root).edit` gives.

Each finds what references mean, decides under the lock, carries it out, and says what the next
collection frees because of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from regfs.edits.carry_out import carry_out, graph_of, report
from regfs.edits.edit import Edit, Edited, Frees
from regfs.edits.removing import removing, untagging
from regfs.gc.sweep import check_owners
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.reports.removal import removal
from regfs.tree.registry import Registry, Target
from regfs.tree.tags import find_tagged


class Editor:
    """The edits of one tree. References are as `regfs.open` has them.

    A dry run changes nothing and returns what would be done. `offline` says that nobody else
    writes to the tree, so that a purge of what was moved need not wait.
    """

    def __init__(
        self,
        registry: Registry,
        graph: Callable[[], Graph],
        changed: Callable[[], None],
        progress: Progress = SILENT,
    ) -> None:
        """`graph` returns that of the whole tree; `changed` hears that the tree was changed."""
        self._registry = registry
        self._graph = graph
        self._changed = changed
        self._progress = progress

    def rm(
        self,
        *references: str,
        recursive: bool = False,
        offline: bool = False,
        dry_run: bool = False,
    ) -> Edited:
        """Remove tags with what only they keep, manifests (NAME@DIGEST), or repositories (NAME).

        >>> done = tree.edit.rm("my-busybox-extended:rebuilt")
        >>> [action.kind.value for action in done.removed], done.frees.blobs
        (['tag', 'revision'], 1)

        Links are moved into quarantine; blobs stay for the next collection, which frees what
        `frees` says. `recursive` takes the repositories below those named as well.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find`; or DIGEST without a repository.
            Refused, Doubt, LockHeld: nothing was changed; the message says why.
            StoreError: the storage failed; what was done stands in the journal.
        """
        targets = self._find(references)
        decide = partial(removing, targets=targets, recursive=recursive, offline=offline)
        return self._remove(decide, targets, offline=offline, dry_run=dry_run)

    def untag(self, *references: str, offline: bool = False, dry_run: bool = False) -> Edited:
        """Remove tags, and leave the manifests that they point to.

        >>> done = tree.edit.untag("my-busybox:latest")
        >>> [action.kind.value for action in done.removed], done.frees.bytes
        (['tag'], 0)

        Raises:
            As `rm`.
        """
        targets = self._find(references)
        decide = partial(untagging, targets=targets)
        return self._remove(decide, targets, offline=offline, dry_run=dry_run)

    def _find(self, references: Iterable[str]) -> list[Target]:
        return [find_tagged(self._registry, text) for text in references]

    def _remove(
        self,
        decide: Callable[[Graph], Edit],
        targets: Sequence[Target],
        *,
        offline: bool,
        dry_run: bool,
    ) -> Edited:
        whole = self._graph()
        check_owners(whole.inventory)
        edit = decide(whole)
        frees = removal(whole, edit.targets()).freed_by_default
        if dry_run:
            done = report(edit, self._registry.store.url)
        else:
            above = tuple(f"{target.name}/" for target in targets)
            done = self._carry_out(
                lambda: decide(
                    graph_of(
                        self._registry, lambda name: f"{name}/".startswith(above), self._progress
                    )
                ),
                offline,
            )
        return replace(done, frees=Frees(frees.blobs, frees.bytes))

    def _carry_out(self, decide: Callable[[], Edit], offline: bool) -> Edited:
        try:
            return carry_out(self._registry, decide, offline=offline, progress=self._progress)
        finally:
            self._changed()
