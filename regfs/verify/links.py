"""Layout and links: what lies in the tree, and whether every link says what its place says.

One full walk, in which each path is part of the layout, a leftover of an
unfinished write, or foreign; every link met on the way is read. No blob is
opened. A blob may be named by another algorithm than it is stored under, so a
link below `sha512` that holds a sha256 digest is as it should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import ALGORITHMS, CANONICAL, Digest
from regfs.errors import StoreError
from regfs.findings import Code, Finding, Severity
from regfs.inventory import LinkContent, RepositoryInventory
from regfs.parallel import adaptive_map
from regfs.stores import Kind
from regfs.verify.context import Context, State

STALE_AFTER: Final = 7 * 86400.0
"""Seconds without a change after which an upload counts as given up."""

_COLD: Final = 5e-4
"""Seconds for one link above which an answer counts as slow."""
_PATIENCE: Final = 16
"""Slow answers, beyond an eighth of all, after which the disk is taken for cold."""

LinkKey = (
    layout.LayerLink
    | layout.RevisionLink
    | layout.SignatureLink
    | layout.ReferrerLink
    | layout.TagCurrent
    | layout.TagIndex
)


class _Link(NamedTuple):
    key: LinkKey
    path: str


def check_links(context: Context) -> int:
    """Walk the tree and check every link in it; return how many were read."""

    def read(link: _Link) -> tuple[_Link, LinkContent]:
        return link, context.registry.link(link.path)

    count = 0
    context.progress.start("Checking links")
    for folder in context.scope.folders():
        links = _Walk(context).links(folder)
        for link, content in adaptive_map(read, links, _slow()):
            _check_link(context, link, content)
            context.progress.advance(1)
            count += 1
    if context.inventory.blobs and not context.inventory.repositories:
        context.add(Finding(Code.REPOSITORIES_MISSING, layout.REPOSITORIES))
    for repository in context.inventory.repositories.values():
        if context.scope.has_repository(repository.name):
            _check_repository(context, repository)
    context.progress.finish()
    return count


def _slow() -> Callable[[float, object], bool]:
    """Return what tells a cold disk from a machine that was busy for a moment."""
    excess = 0.0

    def is_slow(seconds: float, _: object) -> bool:
        nonlocal excess
        excess = max(0.0, excess + (0.875 if seconds > _COLD else -0.125))
        return excess > _PATIENCE

    return is_slow


# -- what lies where --------------------------------------------------------------------

_ALGORITHM: Final = f"(?:{'|'.join(ALGORITHMS)})"
_DIGEST: Final = "(?:" + "|".join(f"{a}/[0-9a-f]{{{n}}}" for a, n in ALGORITHMS.items()) + ")"
_LINKS: Final = f"(?:/{_DIGEST}|/{_ALGORITHM})?"
_BLOBS: Final = "|".join(
    rf"/{name}(?:/(?P<{name}>[0-9a-f]{{2}})(?:/(?P={name})[0-9a-f]{{{size - 2}}})?)?"
    for name, size in ALGORITHMS.items()
)
_FOLDERS = re.compile(
    rf"{layout.BLOBS}(?:{_BLOBS})?"
    rf"|{layout.REPOSITORIES}(?:/[^/_][^/]*)*"
    rf"|{layout.REPOSITORIES}(?:/[^/_][^/]*)+/(?:"
    rf"_layers{_LINKS}"
    rf"|_manifests(?:/revisions{_LINKS})?"
    rf"|_manifests/revisions/{_DIGEST}/(?:signatures{_LINKS}|_referrers(?:/_.+)?)"
    rf"|_manifests/tags(?:/[^/]+(?:/current|/index{_LINKS})?)?"
    rf"|_uploads(?:/[^/]+(?:/hashstates(?:/{_ALGORITHM})?)?)?)",
    re.DOTALL,
)
"""Every folder that a registry makes."""

_ELSEWHERE = re.compile(
    rf"{layout.BLOBS}/(?:"
    + "|".join(rf"{name}/[0-9a-f]{{2}}/[0-9a-f]{{{size}}}" for name, size in ALGORITHMS.items())
    + ")"
)
_OTHER_ALGORITHM = re.compile(
    rf"{layout.BLOBS}/[^/]+|.*/(?:_layers|_manifests/revisions|_manifests/tags/[^/]+/index)/[^/]+",
    re.DOTALL,
)
_EMPTY_IS_USUAL = re.compile(rf"{layout.BLOBS}|{layout.REPOSITORIES}|.*/_uploads", re.DOTALL)


class _Walk:
    """Sorts what a walk meets, and yields the links."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._troubled = False
        """Whether something could not be listed since the last folder was met."""

    def links(self, top: str) -> Iterator[_Link]:
        """Walk `top`; report what is no link and not as it should be."""
        last = ""
        skipped = "\0"
        # A walk goes down into a folder at once: if what follows is not in it, it is empty.
        for entry in self._context.registry.store.walk(top, self._report):
            path = entry.path
            if path.startswith(skipped):
                continue
            if last and not path.startswith(last + "/"):
                self._empty(last)
            last = ""
            if not path.isascii():
                self._check_name(path)
            if entry.kind is Kind.FOLDER:
                if _FOLDERS.fullmatch(path):
                    last, self._troubled = path, False
                else:
                    skipped = path + "/"
                    if not self._context.collector.has(Code.PATH_UNREADABLE, path):
                        self._context.add(Finding(_foreign_code(path), path))
            elif entry.kind is Kind.FILE:
                key = layout.key_of(path)
                if isinstance(key, LinkKey):
                    if self._context.scope.has_key(key):
                        yield _Link(key, path)
                elif isinstance(key, layout.Foreign):
                    self._stray(path)
        if last:
            self._empty(last)

    def _report(self, finding: Finding) -> None:
        self._troubled = True
        if finding.code is Code.SYMLINK_LOOP and self._is_second_name(finding.path):
            # The scan follows it; what it leads to is met, and checked, by its own name.
            finding = Finding(
                finding.code, finding.path, actual=finding.actual, override=Severity.WARNING
            )
        self._context.add(finding)

    def _is_second_name(self, path: str) -> bool:
        try:
            return self._context.registry.store.stat(path).kind is Kind.FOLDER
        except StoreError:
            return False

    def _empty(self, folder: str) -> None:
        if not self._troubled and not _EMPTY_IS_USUAL.fullmatch(folder):
            self._context.add(Finding(Code.DIRECTORY_EMPTY, folder))

    def _check_name(self, path: str) -> None:
        name = path.rpartition("/")[2]
        if any("\udc80" <= character <= "\udcff" for character in name):
            self._context.add(Finding(Code.NAME_NOT_UTF8, path))

    def _stray(self, path: str) -> None:
        code = Code.TEMPORARY_FILE if layout.is_temporary(path) else Code.FOREIGN_PATH
        self._context.add(Finding(code, path))


def _foreign_code(folder: str) -> Code:
    if _ELSEWHERE.fullmatch(folder):
        return Code.BLOB_MISPLACED
    if _OTHER_ALGORITHM.fullmatch(folder):
        return Code.ALGORITHM_UNSUPPORTED
    return Code.FOREIGN_PATH


# -- what links say ---------------------------------------------------------------------


def _check_link(context: Context, link: _Link, content: LinkContent) -> None:
    key, path = link
    expected = None if isinstance(key, layout.TagCurrent) else key.digest
    # What only history or a side note rests on is no loss.
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
        gone = content.problem is Code.PATH_UNREADABLE and context.file(path) is State.ABSENT
        if not gone:  # else it was deleted meanwhile
            context.add(replace(finding, code=content.problem, actual=content.text))
    elif target is None or expected is None:
        return  # a tag is looked at with its repository
    elif target != expected and not _is_alias(context, expected, target):
        context.add(finding)
    elif context.blob(target) is State.ABSENT and not _is_current(context, key):
        revision = isinstance(key, layout.RevisionLink)
        weight = Severity.INFO if side else Severity.ERROR if revision else None
        code = Code.LINK_DANGLING
        context.add(replace(finding, code=code, expected=None, actual=None, override=weight))


def _is_alias(context: Context, expected: Digest, target: Digest) -> bool:
    """Tell whether a link rightly names a blob by another algorithm than its path."""
    return (
        expected.algorithm != CANONICAL
        and target.algorithm != expected.algorithm
        and expected not in context.inventory.blobs
    )


def _is_current(context: Context, key: LinkKey) -> bool:
    """Tell whether the history entry is what the tag points to: then that is said of the tag."""
    if not isinstance(key, layout.TagIndex):
        return False
    content = context.inventory.repositories.get(key.name)
    info = content.tags.get(key.tag) if content is not None else None
    return info is not None and info.current == key.digest


# -- repositories -----------------------------------------------------------------------


def _check_repository(context: Context, content: RepositoryInventory) -> None:
    name = content.name
    folder = layout.repository_folder(name)
    if not content.revisions and not content.tags:
        context.add(Finding(Code.REPOSITORY_EMPTY, folder, repository=name))
    elif not content.tags:
        context.add(Finding(Code.REPOSITORY_TAGLESS, folder, repository=name))
    for tag, info in content.tags.items():
        if info.current is not None:
            _check_tag(context, content, tag, info.current)
    for upload, begun in content.uploads.items():
        latest = max(begun.mtime, begun.started_at or 0.0)
        if context.inventory.taken_at - latest > STALE_AFTER:
            path = layout.upload_folder(name, upload)
            context.add(Finding(Code.UPLOAD_STALE, path, repository=name))


def _check_tag(context: Context, content: RepositoryInventory, tag: str, current: Digest) -> None:
    """Check that a tag leads to a manifest that its own repository serves."""
    name = content.name
    if context.blob(current) is State.ABSENT:
        actual = None
    elif current in content.revisions:
        return
    elif context.file(layout.path_of(layout.RevisionLink(name, current))) is State.ABSENT:
        actual = "no revision link in this repository"
    else:
        return
    path = layout.path_of(layout.TagCurrent(name, tag))
    context.add(Finding(Code.TAG_DANGLING, path, current, name, tag, actual=actual))
