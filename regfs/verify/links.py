"""Links, tags and uploads: whether every link says what its place says, and leads somewhere.

A blob may be named by another algorithm than it is stored under, so a link below `sha512`
that holds a sha256 digest is as it should be. No blob is opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from regfs import layout
from regfs.digest import CANONICAL, Digest
from regfs.errors import StoreError
from regfs.findings import Code, Finding, Severity
from regfs.tree.inventory import LinkContent, RepositoryInventory, TagInfo, UploadInfo
from regfs.tree.links import parse_link_content
from regfs.verify.context import Context, FileState

STALE_AFTER: Final = 7 * 86400.0
"""Seconds without a change after which an upload counts as abandoned."""
SETTLED_AFTER: Final = 3600.0
"""Seconds after which a running registry has finished each step of an upload it began."""
BEHIND_AFTER: Final = 60.0
"""Times further apart than this, in seconds, are not of one push or of one copy of the tree."""

LinkKey = (
    layout.LayerLink
    | layout.RevisionLink
    | layout.SignatureLink
    | layout.ReferrerLink
    | layout.TagCurrent
    | layout.TagIndex
)


def check_link(context: Context, key: LinkKey, path: str, found: bytes | StoreError | None) -> None:
    """Check what a link says; `found` is its content, or why it cannot be read."""
    content = _said(found)
    expected = None if isinstance(key, layout.TagCurrent) else key.digest
    # Nothing is lost if only history or an annotation depends on it.
    side = isinstance(key, layout.TagIndex | layout.SignatureLink | layout.ReferrerLink)
    finding = Finding(
        code=Code.LINK_MISMATCH,
        path=path,
        digest=expected or content.digest,
        repository=key.name,
        tag=key.tag if isinstance(key, layout.TagCurrent | layout.TagIndex) else None,
        expected=expected or "a digest",
        actual=content.digest,
        override=Severity.WARNING if side else None,
    )
    target = content.digest
    if content.problem is not None:
        gone = content.problem is Code.PATH_UNREADABLE and context.file(path) is FileState.ABSENT
        if not gone:  # otherwise it was deleted meanwhile
            context.add(replace(finding, code=content.problem, actual=content.text))
    elif target is None or expected is None:
        return  # tags are checked with their repository
    elif target != expected and not _is_alias(context, expected, target):
        context.add(finding)
    elif context.blob(target) is FileState.ABSENT and not _is_current(context, key):
        revision = isinstance(key, layout.RevisionLink)
        weight = Severity.INFO if side else Severity.ERROR if revision else None
        code = Code.LINK_DANGLING
        context.add(replace(finding, code=code, expected=None, actual=None, override=weight))


def _said(content: bytes | StoreError | None) -> LinkContent:
    if isinstance(content, StoreError):
        return LinkContent(None, Code.PATH_UNREADABLE, str(content))
    return parse_link_content(content)


def _is_alias(context: Context, expected: Digest, target: Digest) -> bool:
    """Return whether a link may name a blob by another algorithm than its path."""
    return (
        expected.algorithm != CANONICAL
        and target.algorithm != expected.algorithm
        and expected not in context.inventory.blobs
    )


def _is_current(context: Context, key: LinkKey) -> bool:
    """Return whether a history entry is what the tag points to; the tag reports it then."""
    if not isinstance(key, layout.TagIndex):
        return False
    content = context.inventory.repositories.get(key.name)
    info = content.tags.get(key.tag) if content is not None else None
    return info is not None and info.current == key.digest


# -- repositories -----------------------------------------------------------------------


def check_repository(context: Context, content: RepositoryInventory) -> None:
    """Check the tags and uploads of a repository as they were listed."""
    name = content.name
    folder = layout.repository_folder(name)
    # What cannot be seen is reported already, and may be exactly what seems to be missing.
    hidden = not content.tags and context.inventory.hides(f"{folder}/_manifests")
    if not content.revisions and not content.tags and not hidden:
        context.add(Finding(Code.REPOSITORY_EMPTY, folder, repository=name))
    elif not content.tags and not hidden:
        context.add(Finding(Code.REPOSITORY_TAGLESS, folder, repository=name))
    for tag, info in content.tags.items():
        if info.current is not None:
            _check_tag(context, content, tag, info.current)
            _check_history(context, name, tag, info)
    for upload, begun in content.uploads.items():
        _check_upload(context, name, upload, begun)


def _check_upload(context: Context, name: str, upload: str, begun: UploadInfo) -> None:
    """Report how an upload was left behind; a registry may still be working on a young one."""
    path = layout.upload_folder(name, upload)
    age = context.inventory.taken_at - max(begun.mtime, begun.started_at or 0.0)
    if age > SETTLED_AFTER and begun.files:
        if not begun.has_data:
            context.add(Finding(Code.UPLOAD_WITHOUT_DATA, path, repository=name))
            return
        if not begun.has_start:
            context.add(Finding(Code.UPLOAD_WITHOUT_STARTEDAT, path, repository=name))
    if age > STALE_AFTER:
        context.add(Finding(Code.UPLOAD_STALE, path, repository=name))


def _check_tag(context: Context, content: RepositoryInventory, tag: str, current: Digest) -> None:
    """Check that a tag leads to a manifest that its own repository serves."""
    name = content.name
    if context.blob(current) is FileState.ABSENT:
        actual = None
    elif current in content.revisions:
        return
    elif context.file(layout.path_of(layout.RevisionLink(name, current))) is FileState.ABSENT:
        actual = "no revision link in this repository"
    else:
        return
    path = layout.path_of(layout.TagCurrent(name, tag))
    context.add(Finding(Code.TAG_DANGLING, path, current, name, tag, actual=actual))


def _check_history(context: Context, name: str, tag: str, info: TagInfo) -> None:
    """Report a tag that a later push entered in its history but did not set.

    The reference registry writes the entry first, and writes it again when a push moves a tag
    back; a copy of a tree gives all links of one tag the same time.
    """
    latest = info.history[-1] if info.history else None
    if latest and latest.digest != info.current and latest.mtime > info.mtime + BEHIND_AFTER:
        path = layout.path_of(layout.TagCurrent(name, tag))
        words = latest.digest, info.current
        context.add(Finding(Code.TAG_BEHIND, path, info.current, name, tag, *words))
