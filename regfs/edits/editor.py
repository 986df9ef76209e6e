"""Every edit as a method: what `regfs.open(root).edit` gives.

Each finds what references mean, decides under the lock, carries it out, and says what the next
collection frees because of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from regfs.edits.carry_out import carry_out, check_unmanaged, graph_of, report
from regfs.edits.copying import copying, moving
from regfs.edits.edit import Edit, Edited, Frees
from regfs.edits.removing import removing, untagging
from regfs.edits.tagging import rolling_back, split_tag, tagging
from regfs.edits.transfer import transfer
from regfs.errors import NameUnknown, RegfsError
from regfs.gc.sweep import check_owners
from regfs.graph import Graph
from regfs.progress import SILENT, Progress
from regfs.reports.removal import removal
from regfs.tree.references import is_pattern
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
        targets = self._find(references, recursive=recursive)
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

    def tag(
        self,
        reference: str,
        new: str,
        *,
        force: bool = False,
        offline: bool = False,
        dry_run: bool = False,
    ) -> Edited:
        """Set a tag: TAG in the repository of `reference`, or NAME:TAG.

        >>> len(tree.edit.tag("my-busybox-extended:latest", "stable").created)
        2

        A manifest that lost its repository is named by its digest alone and gets all its
        links. `force` moves a tag that points elsewhere.

        Raises:
            ReferenceInvalid, NameInvalid, TagInvalid, Unknown: nothing was changed.
            Refused, Doubt, LockHeld: likewise; the message says why.
            StoreError: the storage failed; what was done stands in the journal.
        """
        source = self._registry.find(reference)

        def decide() -> Edit:
            return tagging(self._registry, source, new, force=force)

        return self._do(decide, offline=offline, dry_run=dry_run)

    def rollback(
        self, reference: str, to: str = "-1", *, offline: bool = False, dry_run: bool = False
    ) -> Edited:
        """Set a tag back to a digest of its history, or to what it pointed to before.

        >>> done = tree.edit.rollback("my-busybox-extended-cached:rebuilt", dry_run=True)
        Traceback (most recent call last):
            ...
        regfs.errors.ManifestUnknown: no such tag: my-busybox-extended-cached:rebuilt

        `to` is a digest, of which seven hexadecimal digits are enough, or -1, -2, ...

        Raises:
            ReferenceInvalid, Unknown: there is no such tag, or it never pointed to that.
            Doubt, LockHeld: nothing was changed; the image is not whole any more.
            StoreError: the storage failed; what was done stands in the journal.
        """

        def decide() -> Edit:
            target = find_tagged(self._registry, reference)
            return rolling_back(self._registry, target, to)

        return self._do(decide, offline=offline, dry_run=dry_run)

    def cp(
        self,
        reference: str,
        new: str = "",
        *,
        to: Registry | None = None,
        force: bool = False,
        offline: bool = False,
        dry_run: bool = False,
    ) -> Edited:
        """Copy an image to NAME:TAG, in the same or another repository, or in another tree.

        >>> done = tree.edit.cp("my-busybox-extended:latest", "team/app:v1")
        >>> done.created[-1].path.partition("/repositories/")[2]
        'team/app/_manifests/tags/v1/current/link'

        Within the tree only links are created: content is stored once. `to` is another tree,
        where NAME:TAG is the same by default: content that it lacks is cloned or hard-linked
        if one file system holds both, else copied. `force` moves a tag that points elsewhere.

        Raises:
            As `tag`.
        """
        source = self._registry.find(reference)
        if to is not None:
            name, tag = split_tag(new or str(source), None)
            options = {"force": force, "offline": offline, "dry_run": dry_run}
            return transfer(
                self._registry, source, to, name, tag, **options, progress=self._progress
            )

        def decide() -> Edit:
            return copying(self._registry, source, new, force=force)

        return self._do(decide, offline=offline, dry_run=dry_run)

    def mv(
        self,
        name: str,
        new: str,
        *,
        recursive: bool = False,
        offline: bool = False,
        dry_run: bool = False,
    ) -> Edited:
        """Rename a repository, and with `recursive` those below it; links keep their times.

        >>> tree.edit.mv("team/app", "team/web").run is None
        False

        Raises:
            NameInvalid, NameUnknown: nothing was changed.
            Refused, Doubt, LockHeld: likewise; the message says why.
            StoreError: the storage failed; what was done stands in the journal.
        """
        above = (f"{name}/", f"{new}/")

        def decide() -> Edit:
            graph = graph_of(self._registry, lambda one: f"{one}/".startswith(above))
            return moving(graph, self._registry, name, new, recursive=recursive, offline=offline)

        return self._do(decide, offline=offline, dry_run=dry_run)

    def _do(self, decide: Callable[[], Edit], *, offline: bool, dry_run: bool) -> Edited:
        """Decide and carry out an edit that removes nothing."""
        check_unmanaged(self._registry.store)
        edit = decide()
        if dry_run or not (edit.goes or edit.links):
            return report(edit, self._registry.store.url)
        return self._carry_out(decide, offline)

    def _find(self, references: Iterable[str], *, recursive: bool = False) -> list[Target]:
        found: list[Target] = []
        for text in references:
            if is_pattern(text):
                found += self._registry.find_all(text)
                continue
            try:
                found.append(find_tagged(self._registry, text))
            except NameUnknown:
                below = self._below(text) if recursive else []
                if not below:
                    raise
                found += below
        return list(dict.fromkeys(found))

    def _below(self, name: str) -> list[Target]:
        """Return the repositories below a folder that is not a repository itself."""
        with suppress(RegfsError):
            return self._registry.find_all(f"{name}/")
        return []

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
        effect = removal(whole, edit.targets())
        freed = effect.freed_by_default
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
        if done.skipped or done.returned:
            return done  # something else than was looked at
        return replace(done, frees=Frees(freed.blobs, freed.bytes, not effect.incomplete))

    def _carry_out(self, decide: Callable[[], Edit], offline: bool) -> Edited:
        try:
            return carry_out(self._registry, decide, offline=offline, progress=self._progress)
        finally:
            self._changed()
