"""Layout and links: what lies in the tree, and whether every link says what its place says.

One walk through all folders, in which each path is part of the layout, a leftover
of an unfinished write, or foreign; every link met on the way is read. No blob is
opened. A blob may be named by another algorithm than it is stored under, so a
link below `sha512` that holds a sha256 digest is as it should be.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import ALGORITHMS, CANONICAL, Digest
from regfs.errors import StoreError
from regfs.findings import Code, Finding, Severity
from regfs.stores import UNFINISHED, FileKind, Listing
from regfs.tree.inventory import LinkContent, RepositoryInventory, TagInfo, UploadInfo
from regfs.tree.junk import is_junk_file, is_junk_folder, is_rsync_folder, rsync_target
from regfs.tree.links import LINK_LIMIT, parse_link_content
from regfs.verify.context import Context, FileState

STALE_AFTER: Final = 7 * 86400.0
"""Seconds without a change after which an upload counts as given up."""
SETTLED_AFTER: Final = 3600.0
"""Seconds after which a registry that lives has left no step of an upload half done."""
BEHIND_AFTER: Final = 60.0
"""Seconds between two times above which they are not of one push, nor of one copy of the tree."""

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
    context.progress.start("Checking links")
    if context.inventory.lacks_blobs and not context.inventory.hides(layout.BLOBS):
        context.add(Finding(Code.BLOBS_MISSING, layout.BLOBS))
    walk = _Walk(context)
    for folder in context.scope.folders():
        walk.through(folder)
    hidden = context.inventory.hides(layout.REPOSITORIES)
    if context.inventory.blobs and not context.inventory.repositories and not hidden:
        context.add(Finding(Code.REPOSITORIES_MISSING, layout.REPOSITORIES))
    for repository in context.inventory.repositories.values():
        if context.scope.has_repository(repository.name):
            _check_repository(context, repository)
    context.progress.finish()
    return walk.links


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
_PLACE = re.compile(
    rf"{layout.REPOSITORIES}(?:/[^/_][^/]*)+/"
    rf"(?:_layers|_manifests/revisions|_manifests/tags/[^/]+/index)/{_ALGORITHM}",
    re.DOTALL,
)
"""Folders whose children are digests with a link each."""
_EMPTY_IS_USUAL = re.compile(rf"{layout.BLOBS}|{layout.REPOSITORIES}|.*/_uploads", re.DOTALL)


class _Walk:
    """Sorts what lies in each folder, and checks the links."""

    def __init__(self, context: Context) -> None:
        self.links = 0
        self._context = context
        self._known = context.inventory.blobs.numbers if context.scope.everything else {}
        self._skipped = "\0"
        self._above, self._is_place = "", False

    def through(self, top: str) -> None:
        """Walk `top`; report what is not as it should be."""
        advance = self._context.progress.advance
        store = self._context.registry.store
        for listing in store.tree(top, self._report, leaf="link", limit=LINK_LIMIT):
            if self._is_right(listing):
                if listing.content is not None:
                    self.links += 1
                    advance(1)
            elif not listing.path.startswith(self._skipped):
                self._sort(listing)

    def _is_right(self, listing: Listing) -> bool:
        """Return whether a folder holds one blob, or one link to its own digest, and nothing else.

        Nearly all do. A digest that was listed as a blob is well formed and there,
        so all that is left to see is that the folder lies where it should.
        """
        path, folders, files, others, content, whole = listing
        if folders or others or not whole or len(files) != 1:
            return False
        above, _, name = path.rpartition("/")
        start, _, algorithm = above.rpartition("/")
        if content is None:
            algorithm = layout.name_of(start)
            digest = f"{algorithm}:{name}"
            place = f"{layout.BLOBS}/{algorithm}/{name[:2]}"
            return digest in self._known and above == place and files == ["data"]
        digest = f"{algorithm}:{name}"
        if digest not in self._known or content != digest.encode():
            return False
        if above != self._above:
            self._above, self._is_place = above, bool(_PLACE.fullmatch(above))
        return self._is_place

    def _sort(self, listing: Listing) -> None:
        """Take apart what lies in a folder."""
        path, folders, files, others, content, whole = listing
        for name in (*folders, *files, *others):
            if not name.isascii():
                self._check_name(f"{path}/{name}")
        if is_junk_folder(path) and not self._is_tag(path):
            self._junk(listing)
            return
        lost_and_found = layout.is_lost_and_found(path)
        if lost_and_found:
            self._lost_and_found(listing)
        if path != layout.PREFIX and not _FOLDERS.fullmatch(path):
            self._skipped = path + "/"
            # A folder in the place of a file is told of already, in these words.
            if not (lost_and_found or self._context.collector.has(Code.PATH_UNREADABLE, path)):
                self._context.add(Finding(_foreign_code(path), path))
            return
        if lost_and_found:
            return
        for name in files:
            self._file(f"{path}/{name}", content if name == "link" else None)
        if whole and not (folders or files or others) and not _EMPTY_IS_USUAL.fullmatch(path):
            self._context.add(Finding(Code.DIRECTORY_EMPTY, path))

    def _file(self, path: str, content: bytes | StoreError | None) -> None:
        key = layout.key_of(path)
        if isinstance(key, LinkKey):
            if self._context.scope.has_key(key):
                self.links += 1
                self._context.progress.advance(1)
                _check_link(self._context, _Link(key, path), _said(content))
        elif isinstance(key, layout.Foreign):
            if self._context.collector.has(Code.FOLDER_REPLACED, path):
                return  # told already, in better words
            self._context.add(Finding(_stray_code(path), path))

    def _is_tag(self, path: str) -> bool:
        """Return whether a folder holds a tag, whatever it is called."""
        name, _, tag = path[len(layout.REPOSITORIES) + 1 :].partition("/_manifests/tags/")
        repository = self._context.inventory.repositories.get(name)
        return repository is not None and tag in repository.tags

    def _junk(self, listing: Listing) -> None:
        """Tell of a folder of others as one thing, but of each half of a copy that is in it."""
        path = listing.path
        self._skipped = path + "/"
        files = [f"{path}/{name}" for name in listing.files]
        halves = [file for file in files if rsync_target(file)]
        for file in halves:
            self._context.add(Finding(Code.TEMPORARY_FILE, file))
        if is_rsync_folder(path) and listing.whole and not (files or listing.folders):
            self._context.add(Finding(Code.DIRECTORY_EMPTY, path))
        elif len(halves) < len(files) or not halves:
            self._context.add(Finding(Code.JUNK, path))

    def _lost_and_found(self, listing: Listing) -> None:
        path, code = listing.path, Code.LOST_AND_FOUND
        held = len(listing.folders) + len(listing.files) + len(listing.others)
        weight, actual = (Severity.WARNING, f"{held} inside") if held else (None, None)
        self._context.add(Finding(code, path, actual=actual, override=weight))

    def _report(self, finding: Finding) -> None:
        if finding.code is Code.SYMLINK_LOOP and self._is_second_name(finding.path):
            # The scan follows it; what it leads to is met, and checked, by its own name.
            finding = replace(finding, override=Severity.WARNING)
        self._context.add(finding)

    def _is_second_name(self, path: str) -> bool:
        try:
            return self._context.registry.store.stat(path).kind is FileKind.FOLDER
        except StoreError:
            return False

    def _check_name(self, path: str) -> None:
        name = layout.name_of(path)
        if any("\udc80" <= character <= "\udcff" for character in name):
            self._context.add(Finding(Code.NAME_NOT_UTF8, path))


def _said(content: bytes | StoreError | None) -> LinkContent:
    if isinstance(content, StoreError):
        return LinkContent(None, Code.PATH_UNREADABLE, str(content))
    return parse_link_content(content)


def _stray_code(path: str) -> Code:
    if layout.is_temporary(path) or path.endswith(UNFINISHED) or rsync_target(path):
        return Code.TEMPORARY_FILE
    if is_junk_file(path):
        return Code.JUNK
    return Code.NFS_LEFTOVER if layout.is_nfs_leftover(path) else Code.FOREIGN_PATH


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
        gone = content.problem is Code.PATH_UNREADABLE and context.file(path) is FileState.ABSENT
        if not gone:  # else it was deleted meanwhile
            context.add(replace(finding, code=content.problem, actual=content.text))
    elif target is None or expected is None:
        return  # a tag is looked at with its repository
    elif target != expected and not _is_alias(context, expected, target):
        context.add(finding)
    elif context.blob(target) is FileState.ABSENT and not _is_current(context, key):
        revision = isinstance(key, layout.RevisionLink)
        weight = Severity.INFO if side else Severity.ERROR if revision else None
        code = Code.LINK_DANGLING
        context.add(replace(finding, code=code, expected=None, actual=None, override=weight))


def _is_alias(context: Context, expected: Digest, target: Digest) -> bool:
    """Return whether a link rightly names a blob by another algorithm than its path."""
    return (
        expected.algorithm != CANONICAL
        and target.algorithm != expected.algorithm
        and expected not in context.inventory.blobs
    )


def _is_current(context: Context, key: LinkKey) -> bool:
    """Return whether the history entry is what the tag points to: then that is said of the tag."""
    if not isinstance(key, layout.TagIndex):
        return False
    content = context.inventory.repositories.get(key.name)
    info = content.tags.get(key.tag) if content is not None else None
    return info is not None and info.current == key.digest


# -- repositories -----------------------------------------------------------------------


def _check_repository(context: Context, content: RepositoryInventory) -> None:
    name = content.name
    folder = layout.repository_folder(name)
    # What cannot be seen is told of already, and may be all that seems to be lacking.
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
    """Tell what an upload was left behind by; a registry may be at work on a young one."""
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
    """Tell of a tag that a later push has entered in its history, and then did not set.

    The reference registry writes the entry first, and writes it again when a tag is
    put back by a push; a copy of a tree gives all links of one tag the same time.
    """
    latest = info.history[-1] if info.history else None
    if latest and latest.digest != info.current and latest.mtime > info.mtime + BEHIND_AFTER:
        path = layout.path_of(layout.TagCurrent(name, tag))
        words = latest.digest, info.current
        context.add(Finding(Code.TAG_BEHIND, path, info.current, name, tag, *words))
