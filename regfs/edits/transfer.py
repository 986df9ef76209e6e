"""Copying an image into another tree: its content first, then its links as a push writes them.

    content    what the other tree lacks: cloned or hard-linked where one file system holds both
               trees, else copied and verified; each blob is whole and durable at its place
    links      under the lock of the other tree, when every blob was found there, as a run of
               that tree

No content is written over. Until the links are there the content is garbage, which a collection
may take: so what is missing under the lock is brought once more. `gc restore` in the other tree
takes back the links; the content goes with its next collection, unless something needs it.

A shared file has the time of its origin, but its links are new, and they keep it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from regfs import layout
from regfs.digest import Digest
from regfs.edits.carry_out import carry_out, check_unmanaged, report
from regfs.edits.edit import Edit, Edited, Transferred
from regfs.edits.tagging import content_links, require_whole, set_tag
from regfs.errors import BlobUnknown, Doubt, ReferenceInvalid
from regfs.progress import SILENT, Progress
from regfs.reports.image_parts import ImageParts
from regfs.runs import RunKind
from regfs.stores import FileKind, writable
from regfs.tree.registry import Registry, Target


def transfer(
    source: Registry,
    image: Target,
    target: Registry,
    name: str,
    tag: str,
    *,
    force: bool = False,
    offline: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Edited:
    """Copy an image of one tree to NAME:TAG of another.

    Raises:
        ReferenceInvalid: `image` names none, or both trees are the same.
        Refused: the tag points elsewhere, and there is no `force`.
        Doubt: the image is not whole, or the other tree has bad bytes in a place of its content.
        ContentMismatch: content of the image is damaged; nothing refers to what was copied.
        LockHeld, StoreError: as `carry_out`, of the other tree.
    """
    if image.name is None or image.digest is None:
        raise ReferenceInvalid(f"{image}: cp takes NAME:TAG or NAME@DIGEST")
    if source.store.url == target.store.url:
        raise ReferenceInvalid(f"{target.store.url} is the same tree; leave out --to")
    check_unmanaged(target.store)
    parts = require_whole(source, image.name, image.digest)
    work = _Transfer(source, target, parts, progress)
    links = partial(_linking, target, name, tag, image.digest, parts, force=force)
    planned = links()  # refused before any content is copied
    if dry_run:
        return replace(report(planned, target.store.url), transferred=work.preview())
    work.bring()

    def decide() -> Edit:
        work.bring()
        return links()

    done = carry_out(target, decide, offline=offline, progress=progress)
    return replace(done, transferred=work.done)


def _linking(
    target: Registry, name: str, tag: str, digest: Digest, parts: ImageParts, *, force: bool
) -> Edit:
    """Return the edit that links an image whose content is there."""
    edit = Edit(RunKind.CP)
    edit.links += content_links(target, name, parts)
    set_tag(target, edit, name, tag, digest, force=force)
    return edit


class _Transfer:
    """Bringing the content of one image."""

    def __init__(
        self, source: Registry, target: Registry, parts: ImageParts, progress: Progress
    ) -> None:
        self.done = Transferred(0, 0, 0)
        self._source = source
        self._target = target
        self._store = writable(target.store)
        # Manifests last: each is there only when all that it names is.
        self._blobs = list(dict.fromkeys([*parts.blobs.values(), *parts.manifests.values()]))
        self._progress = progress

    def preview(self) -> Transferred:
        """Return what would be copied."""
        missing = list(self.missing())
        return Transferred(len(missing), sum(self._source.blob(one).size for one in missing), 0)

    def missing(self) -> Iterator[Digest]:
        """Yield the blobs that the target lacks.

        Raises:
            Doubt: it has something else in the place of one.
        """
        for digest in self._blobs:
            try:
                there = self._target.blob(digest)
            except BlobUnknown:
                yield digest
                continue
            size = self._source.blob(digest).size
            if there.kind is not FileKind.FILE or there.size != size:
                raise Doubt(
                    f"{self._target.store.url}: {there.path}: has {there.size} bytes, and not "
                    f"{size}; repair that tree first: regfs heal --from {self._source.store.url}"
                )

    def bring(self) -> None:
        """Put what is missing in place."""
        missing = list(self.missing())
        sizes = [self._source.blob(digest).size for digest in missing]
        self._progress.start("Copying", sum(sizes), "bytes")
        for digest, size in zip(missing, sizes, strict=True):
            shared = self._bring(digest)
            self._progress.advance(size)
            blobs, total, links = self.done.blobs + 1, self.done.bytes + size, self.done.shared
            self.done = Transferred(blobs, total, links + shared)
        self._progress.finish()

    def _bring(self, digest: Digest) -> bool:
        """Put one blob in place; return whether its bytes are shared."""
        path = layout.blob_path(digest)
        with self._source.open_blob(digest) as stream:
            if self._store.share(path, stream):
                return True
        with self._store.create(path) as writer:
            for piece in self._source.stream(digest):  # its end comes only if the digest is right
                writer.write(piece)
        return False
