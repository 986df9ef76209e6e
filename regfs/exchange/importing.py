"""Taking images of any root into a tree that is in use.

    look          what goes along, what the tree lacks, which tags would move: refused before
                  anything is written
    bring         blobs that the tree lacks, each hashed as it passes, as new as they are; without
                  a lock, as pushes do. They are garbage until something refers to them.
    under the     looked at once more, and brought once more if a collection took some; then the
    lock          links, as a run: layers, manifests, the history of tags, tags. `gc restore` takes
                  these back, and the next collection takes the content

Nothing is linked unless all of it is there: content that is nowhere, a layer that the source does
not link, a manifest that cannot be read, each refuse the whole. What an index lists and was never
pushed may be absent, as it may in any tree.

A link is only made to bytes that came with it. Bytes that the tree has from somebody else, and
the source has not, are no reason for a link: else a list of digests would open the images of
others. What an export `--since` left out therefore comes from the former export, unless the same
repository has the link already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.edits.carry_out import carry_out, check_unmanaged, report
from regfs.edits.edit import Edit, NewLink, Retained, Transferred
from regfs.errors import Doubt, ReferenceInvalid, Refused
from regfs.exchange.copying import BlobCopier, CopyItem
from regfs.exchange.media import StoreMedium
from regfs.exchange.report import ImportReport
from regfs.exchange.selection import LinkCopy, RepositoryPart, Wanted, select
from regfs.findings import Code, Finding, Severity
from regfs.graph import Graph
from regfs.manifests.media_types import Kind
from regfs.progress import SILENT, Progress
from regfs.runs import RunKind
from regfs.runs.totals import ActionKind
from regfs.stores import Store, writable
from regfs.tree.inventory import Inventory, RepositoryInventory
from regfs.tree.registry import Registry, Target
from regfs.tree.scan import scan

_NAMED: Final = 3
"""Things that a refusal names."""


class Origin(NamedTuple):
    """A tree that images come from."""

    graph: Graph
    registry: Registry


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import."""

    former: Sequence[Store] = ()
    """Trees that have what the origin left out."""
    replace: bool = False
    """Whether to move tags that point elsewhere."""
    offline: bool = False
    """Nobody else writes to the tree."""
    dry_run: bool = False


def import_images(
    origin: Origin,
    targets: Sequence[Target],
    target: Registry,
    options: ImportOptions,
    progress: Progress = SILENT,
) -> ImportReport:
    """Take images of one tree into another; without targets, all.

    Raises:
        ReferenceInvalid: a target is a digest alone, or both trees are the same.
        Refused: tags point elsewhere; nothing was written.
        Doubt: something would be missing, or another program manages the tree; nothing refers to
            what was copied.
        LockHeld: a run is under way.
        StoreError: the storage failed; what was done is in the journal.
    """
    source = origin.registry.store.url
    if source == target.store.url:
        raise ReferenceInvalid(f"{source} is the tree itself")
    check_unmanaged(target.store)
    wanted = select(origin.graph, origin.registry, targets)
    work = _Import(origin, wanted, target, options, progress)
    planned = work.decide()
    if options.dry_run:
        done = replace(report(planned, target.store.url), transferred=work.preview())
        return ImportReport(source, done, work.findings())
    if not planned.links:
        return ImportReport(source, report(planned, target.store.url), work.findings())
    work.bring()

    def decide() -> Edit:
        edit = work.decide()
        work.bring()
        return edit

    done = carry_out(target, decide, offline=options.offline, progress=progress)
    return ImportReport(source, replace(done, transferred=work.done), work.findings())


class _Import:
    """One import; `here` is the target as it was looked at last."""

    def __init__(
        self,
        origin: Origin,
        wanted: Wanted,
        target: Registry,
        options: ImportOptions,
        progress: Progress,
    ) -> None:
        self.done = Transferred(0, 0, 0)
        self._origin = origin
        self._wanted = wanted
        self._target = target
        self._options = options
        self._progress = progress
        self._store = writable(target.store)
        self._former = [(store, scan(store, history=False)) for store in options.former]
        self._here = Inventory(target.store.url, 0.0)

    def decide(self) -> Edit:
        """Look at the tree, and return the links that it lacks.

        Raises:
            Refused, Doubt: as `import_images`.
        """
        names = {part.name for part in self._wanted.parts}
        self._here = scan(self._store, progress=self._progress, want=names.__contains__)
        edit = Edit(RunKind.IMPORT)
        for part in self._wanted.parts:
            edit.links += self._content_links(part)
        edit.links.sort(key=lambda link: link.kind is not ActionKind.LAYER_LINK)  # stable
        moved: list[str] = []
        for part in self._wanted.parts:
            self._set_tags(part, edit, moved)
        edit.links.sort(key=lambda link: link.kind is ActionKind.TAG)
        if moved and not self._options.replace:
            named = ", ".join(moved[:_NAMED])
            more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
            raise Refused(f"{named}{more} point elsewhere here; give --replace to move them")
        self._require_all(edit)
        return edit

    def findings(self) -> list[Finding]:
        """Return what was left out, and what may be absent."""
        light = [one for one in self._wanted.missing if one.severity is not Severity.ERROR]
        return [*light, *self._wanted.findings]

    # -- links ---------------------------------------------------------------------------

    def _content_links(self, part: RepositoryPart) -> Iterator[NewLink]:
        here = self._here.repositories.get(part.name) or RepositoryInventory(part.name)
        for digest, linked in part.layers.items():
            there = here.layers.get(digest)
            if there is None or there.size != len(linked.stored):
                path = layout.path_of(layout.LayerLink(part.name, digest))
                yield _new(ActionKind.LAYER_LINK, path, part, linked)
        for digest, linked in part.revisions.items():
            link = here.links.get(digest)
            says = digest if link is None else link.digest
            if digest not in here.revisions or says != linked.stored:
                path = layout.path_of(layout.RevisionLink(part.name, digest))
                yield _new(ActionKind.REVISION, path, part, linked)

    def _set_tags(self, part: RepositoryPart, edit: Edit, moved: list[str]) -> None:
        here = self._here.repositories.get(part.name) or RepositoryInventory(part.name)
        for tag, info in part.tags.items():
            there = here.tags.get(tag)
            known = {one.digest for one in there.history} if there is not None else set()
            for entry in info.history:
                if entry.digest not in known:
                    path = layout.path_of(layout.TagIndex(part.name, tag, entry.digest))
                    linked = LinkCopy(entry.digest, entry.mtime)
                    edit.links.append(_new(ActionKind.TAG_INDEX, path, part, linked))
            if info.current is None:
                continue
            if there is not None and (there.current, there.problem) == (info.current, None):
                edit.keeps.append(Retained(f"{part.name}:{tag}", "it points there already"))
                continue
            # A tag that has no current link points nowhere: an import that was cut off began it.
            if there is not None and there.problem is not Code.TAG_WITHOUT_CURRENT:
                moved.append(f"{part.name}:{tag}")
            path = layout.path_of(layout.TagCurrent(part.name, tag))
            linked = LinkCopy(info.current, info.mtime)
            edit.links.append(_new(ActionKind.TAG, path, part, linked))

    # -- what would be missing --------------------------------------------------------------

    def _require_all(self, edit: Edit) -> None:
        """See that nothing is missing once the links are there.

        Raises:
            Doubt: something is.
        """
        graph, wanted = self._origin.graph, self._wanted
        missing = [
            one
            for one in wanted.missing
            if one.severity is Severity.ERROR
            and not (one.digest is not None and self._has_lost(Digest(one.digest)))
        ]
        linked = {link.digest for link in edit.links}
        brought = {digest for digest in wanted.lost if self._source_of(digest) is not None}
        for digest in wanted.lost.keys() & linked - brought:
            path = layout.blob_path(digest)
            missing.append(Finding(Code.BLOB_MISSING, path, digest))
        for part in wanted.parts:
            missing += self._unlinked(part, graph)
        if missing:
            first = missing[0]
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise Doubt(
                f"{self._origin.registry.store.url}: {first.path}: {first.message}{more}; nothing "
                "was linked. Repair that tree, name images that are whole, or give --with FORMER "
                "if it is an export --since"
            )

    def _has_lost(self, digest: Digest) -> bool:
        """Return whether the tree, or a former export, has what the origin lacks."""
        return digest in self._here.blobs or self._source_of(digest) is not None

    def _source_of(self, digest: Digest) -> tuple[Store, int] | None:
        """Return a former export that has a blob, and the bytes of that blob."""
        size = self._wanted.lost.get(digest, -1)
        for store, inventory in self._former:
            info = inventory.blobs.get(digest)
            if info is not None and size in (-1, info.size):
                return store, info.size
        return None

    def _unlinked(self, part: RepositoryPart, graph: Graph) -> Iterator[Finding]:
        """Yield the blobs that images of a repository need and that it would not link."""
        here = self._here.repositories.get(part.name)
        layers = here.layers if here is not None else {}
        for linked in part.revisions.values():
            info = graph.manifests.get(linked.stored)
            if info is None or info.kind is Kind.UNKNOWN:
                continue
            for leaf in graph.leaves(linked.stored):
                names = graph.named_as(leaf.digest)
                there = any(one in self._wanted.blobs for one in names)
                if there and not any(one in part.layers or one in layers for one in names):
                    path = layout.path_of(layout.LayerLink(part.name, leaf.digest))
                    yield Finding(Code.LAYER_LINK_MISSING, path, leaf.digest, part.name)

    # -- content -----------------------------------------------------------------------------

    def preview(self) -> Transferred:
        """Return what would be brought."""
        items = [item for _, some in self._lacking() for item in some]
        return Transferred(len(items), sum(item.size for item in items), 0)

    def _lacking(self) -> list[tuple[Store, list[CopyItem]]]:
        """Return what the tree lacks, and where that is.

        Raises:
            Doubt: the tree has something else in the place of a blob.
        """
        found = [(self._origin.registry.store, list(self._items(self._wanted.blobs.items())))]
        for store, _ in self._former:
            some = []
            for digest in self._wanted.lost:
                source = self._source_of(digest)
                if source is not None and source[0] is store:
                    some.append((digest, source[1]))
            found.append((store, list(self._items(some))))
        return [(store, items) for store, items in found if items]

    def _items(self, blobs: Iterable[tuple[Digest, int]]) -> Iterator[CopyItem]:
        for digest, size in blobs:
            there, path = self._here.blobs.get(digest), layout.blob_path(digest)
            if there is None:
                yield CopyItem(digest, digest, size, path)
            elif there.size != size:
                raise Doubt(
                    f"{self._store.url}: {path}: has {there.size} bytes, and not {size}; repair "
                    f"that tree first: regfs heal --from {self._origin.registry.store.url}"
                )

    def bring(self) -> None:
        """Put in place what the tree lacked when it was looked at last.

        Raises:
            Doubt: some of it is damaged, or cannot be read; all else is there.
        """
        medium = StoreMedium(self._store)
        bad: list[Finding] = []
        for store, items in self._lacking():
            copier = BlobCopier(store, medium, lambda _: None, progress=self._progress)
            copier.copy(items)
            bad += copier.bad.values()
            done = self.done
            self.done = Transferred(
                done.blobs + copier.done.blobs, done.bytes + copier.done.bytes, 0
            )
        medium.barrier()
        if bad:
            more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise Doubt(
                f"{self._origin.registry.store.url}: {bad[0].path}: {bad[0].message}{more}; "
                "nothing was linked"
            )


def _new(kind: ActionKind, path: str, part: RepositoryPart, linked: LinkCopy) -> NewLink:
    return NewLink(kind, path, linked.stored, part.name, linked.mtime)
