"""Export and import, as methods of a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from regfs.facade.environment import storage_variables
from regfs.facade.reports import Reports
from regfs.progress import SILENT, Progress

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.exchange.report import ExportReport, ImportReport
    from regfs.facade import Tree


class ExportAndImport(Reports):
    """Export and import. What references are: see `Tree`."""

    def export_to(
        self,
        to: str,
        *references: str,
        format: str = "tree",
        since: Iterable[str] = (),
        list_file: str | None = None,
        replace: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> ExportReport:
        """Copy all images, or those that references name, to a folder, a tar or a bucket.

        >>> tree.export_to("backup").copied.blobs
        30

        `format` is `tree` or `oci`. Blobs of former exports, or of their lists, are left out by
        `since`; `list_file` gets the list of this one. `replace` moves tags that are there.
        `variables` are as for `open`; by default those that this tree was opened with.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
            Refused: something else is there; nothing was written.
            StoreError: the place cannot be written; what was written stays.
        """
        from regfs.exchange.export import ExportOptions, export
        from regfs.exchange.former import blobs_of, read_list
        from regfs.exchange.opening import open_medium
        from regfs.exchange.report import Format

        former: dict[Digest, int] = {}
        for one in since:
            listed = read_list(one)
            if listed is None:
                listed = blobs_of(self._other(one, variables, whole=False).store)
            former |= listed
        targets = self._find(references)
        options = ExportOptions(Format(format), former, list_file, replace)
        graph = self.graph  # a tree that cannot be read is told of before anything is made
        known = self.variables if variables is None else variables
        given = storage_variables() if known is None else known
        medium = open_medium(to, self.store, given, self.requests_per_second)
        return export(graph, self.view, targets, medium, options, self._progress)

    def import_from(
        self,
        source: str,
        *references: str,
        former: Iterable[str] = (),
        replace: bool = False,
        offline: bool = False,
        dry_run: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> ImportReport:
        """Take all images of any root, or those that references name there, into this tree.

        >>> tree.import_from("backup").edit.created
        []

        Content comes first, then links, under the lock and journaled; `restore` takes the links
        back. `former` are the exports that one `since` them left content out for. `replace`
        moves tags that point elsewhere. `offline` says that nobody else writes to the tree.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`, of the source.
            NotARegistry: the source is no root.
            Refused, Doubt, LockHeld: nothing was linked; the message says why.
            StoreError: the storage failed; what was done stands in the journal.
        """
        from regfs.exchange.importing import ImportOptions, Origin, import_images

        origin = self._other(source, variables, self._progress)
        targets = origin._find(references)
        stores = [self._other(one, variables).store for one in former]
        options = ImportOptions(stores, replace, offline, dry_run)
        try:
            trees = Origin(origin.graph, origin.registry), targets, self.registry
            return import_images(*trees, options, self._progress)
        finally:
            self.refresh()

    def _other(
        self,
        root: str,
        variables: Mapping[str, str] | None,
        progress: Progress = SILENT,
        *,
        whole: bool = True,
    ) -> Tree:
        """Open another root; `whole` if all of it will be read."""
        from regfs import facade  # which has this class among its own

        return facade.open(
            root,
            whole=whole,
            variables=self.variables if variables is None else variables,
            requests_per_second=self.requests_per_second,
            progress=progress,
        )
