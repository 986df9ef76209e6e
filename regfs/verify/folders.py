"""Layout: whether what is in each folder belongs there.

Each path is part of the layout, a leftover of an unfinished write, or foreign. links.py checks
the links on the way; walk.py finds the folders.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from regfs import layout
from regfs.digest import ALGORITHMS
from regfs.errors import StoreError
from regfs.findings import Code, Finding, Severity
from regfs.stores import FileKind, Listing
from regfs.tree.junk import is_junk_file, is_junk_folder, is_rsync_folder, rsync_target
from regfs.tree.leftovers import is_unfinished
from regfs.verify.context import Context
from regfs.verify.links import LinkKey, check_link

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
"""Every folder that a registry creates."""

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
    rf"(?:_layers|_manifests/revisions|_manifests/tags/[^/]+/index)/({_ALGORITHM})",
    re.DOTALL,
)
"""Folders whose children are digests with a link each; the algorithm is a group."""
_BLOB = re.compile(
    "|".join(
        rf"{layout.BLOBS}/{name}/(?P<{name}>[0-9a-f]{{2}})/(?P={name})[0-9a-f]{{{size - 2}}}"
        for name, size in ALGORITHMS.items()
    )
)
"""The folder of a blob."""
_EMPTY_IS_USUAL = re.compile(rf"{layout.BLOBS}|{layout.REPOSITORIES}|.*/_uploads", re.DOTALL)


class FolderCheck:
    """Checks the folders of a tree, one after the other, and the links in them."""

    def __init__(self, context: Context) -> None:
        self.links = 0
        self._context = context
        self._known = context.inventory.blobs if context.scope.everything else {}
        self._skipped = "\0"
        self._above = self._algorithm = ""

    def take(self, listing: Listing) -> None:
        """Check a folder, unless it is in one that is foreign as a whole."""
        if self._is_right(listing):
            if listing.content is not None:
                self._count_link()
        elif not listing.path.startswith(self._skipped):
            self._sort(listing)

    def report(self, finding: Finding) -> None:
        """Take a finding of the store."""
        if finding.code is Code.SYMLINK_LOOP and self._is_second_name(finding.path):
            # The scan follows it; what it leads to is checked under its own name.
            finding = replace(finding, override=Severity.WARNING)
        self._context.add(finding)

    def _count_link(self) -> None:
        self.links += 1
        self._context.progress.advance(1)

    def _is_right(self, listing: Listing) -> bool:
        """Return whether a folder holds one blob, or one link to its own digest, and nothing else.

        Nearly all do. A link is right only if its digest was listed as a blob.
        """
        path, folders, files, others, content, whole = listing
        if folders or others or not whole or len(files) != 1:
            return False
        if content is None:
            return files == ["data"] and _BLOB.fullmatch(path) is not None
        above, _, name = path.rpartition("/")
        if above != self._above:  # siblings come one after the other
            found = _PLACE.fullmatch(above)
            self._above, self._algorithm = above, "" if found is None else found[1]
        digest = f"{self._algorithm}:{name}"
        return bool(self._algorithm) and content == digest.encode() and digest in self._known

    def _sort(self, listing: Listing) -> None:
        """Check everything in a folder."""
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
            # A folder in the place of a file is reported already, with this code.
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
                self._count_link()
                check_link(self._context, key, path, content)
        elif isinstance(key, layout.Foreign):
            if self._context.collector.has(Code.FOLDER_REPLACED, path):
                return  # reported already, with a better code
            self._context.add(Finding(_stray_code(path), path))

    def _is_tag(self, path: str) -> bool:
        """Return whether a folder is that of a tag, whatever its name."""
        name, _, tag = path[len(layout.REPOSITORIES) + 1 :].partition("/_manifests/tags/")
        repository = self._context.inventory.repositories.get(name)
        return repository is not None and tag in repository.tags

    def _junk(self, listing: Listing) -> None:
        """Report a junk folder once, but each unfinished copy in it separately."""
        path = listing.path
        self._skipped = path + "/"
        files = [f"{path}/{name}" for name in listing.files]
        halves = [file for file in files if rsync_target(file)]
        for file in halves:
            self._context.add(Finding(Code.TEMPORARY_FILE, file))
        if is_rsync_folder(path) and listing.complete and not (files or listing.folders):
            self._context.add(Finding(Code.DIRECTORY_EMPTY, path))
        elif len(halves) < len(files) or not halves:
            self._context.add(Finding(Code.JUNK, path))

    def _lost_and_found(self, listing: Listing) -> None:
        path, code = listing.path, Code.LOST_AND_FOUND
        count = len(listing.folders) + len(listing.files) + len(listing.others)
        weight, actual = (Severity.WARNING, f"{count} inside") if count else (None, None)
        self._context.add(Finding(code, path, actual=actual, override=weight))

    def _is_second_name(self, path: str) -> bool:
        try:
            return self._context.registry.store.stat(path).kind is FileKind.FOLDER
        except StoreError:
            return False

    def _check_name(self, path: str) -> None:
        name = layout.name_of(path)
        if any("\udc80" <= character <= "\udcff" for character in name):
            self._context.add(Finding(Code.NAME_NOT_UTF8, path))


def _stray_code(path: str) -> Code:
    if is_unfinished(path) or rsync_target(path):
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
