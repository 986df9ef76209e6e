"""Every folder of a directory store, one after the other, by names alone.

A walk that calls stat for each file spends most of its time there. Here a folder is
opened once, relative to its parent, and the kernel's listing says what is a file and
what a folder; only what is neither is checked, by `reader`.

No descriptor stays open between two answers and there is no recursion, so a deep
chain of folders costs neither descriptors nor stack. On a cold disk several children
of a folder are opened at once. Listing with sizes is in `listing`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from regfs.errors import StoreError, printable
from regfs.findings import Code, Finding
from regfs.parallel import adaptive_map
from regfs.stores import FileKind, Listing, Report
from regfs.stores.local.contents import beginning
from regfs.stores.local.listing import Walked
from regfs.stores.local.reader import LocalReader, unreadable
from regfs.stores.local.root import joined

_PLAIN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CHUNK: Final = 32
"""Folders opened together: what a thread is given, and what is listed ahead."""
_COLD: Final = 40e-6
"""Seconds waited for one folder above which the disk is taken for cold."""
_LONGEST: Final = 4095
"""Bytes of the longest path the operating system takes: nothing beyond could be read."""
_LONGEST_NAME: Final = 255


class _FolderNames(NamedTuple):
    """The names in a folder, before any of them is checked."""

    folders: list[str]
    files: list[str]
    odd: list[str]
    """Links, special files, and names of unknown kind."""
    content: bytes | StoreError | None
    error: OSError | None


def tree(
    reader: LocalReader, folder: str, report: Report, *, leaf: str, limit: int, links: bool
) -> Iterator[Listing]:
    """Yield `folder` and every folder below it, in the order of the bytes of their names.

    A folder whose path is longer than the operating system takes is reported,
    and not entered.
    """
    # Without links nothing is met twice.
    walked = Walked(os.path.realpath(reader.root.full(folder))) if links else None
    return _TreeWalk(reader, report, leaf, limit, walked).run(folder)


class _TreeWalk:
    """One pass through all folders below one."""

    def __init__(
        self, reader: LocalReader, report: Report, leaf: str, limit: int, walked: Walked | None
    ) -> None:
        self._reader = reader
        self._root = reader.root
        self._report = report
        self._leaf = leaf
        """The file that is read in every folder that has it, up to `limit` bytes."""
        self._limit = limit
        self._walked = walked
        """None: no link is followed."""

    def run(self, folder: str) -> Iterator[Listing]:
        """Yield the listing of every folder."""
        top = self._look(folder)
        first = () if top is None else (self._settled(folder, top),)
        pending: list[Iterator[Listing]] = [iter(first)]
        while pending:
            listing = next(pending[-1], None)
            if listing is None:
                pending.pop()
                continue
            yield listing
            if listing.folders:
                pending.append(self._folders_in(listing))

    def _folders_in(self, above: Listing) -> Iterator[Listing]:
        """Yield the folders directly in one that was listed."""

        def look(chunk: list[str]) -> list[_FolderNames | None]:
            return self._look_plain(above.path, chunk)

        names = self._reachable(above)
        chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
        answers: Iterator[list[_FolderNames | None]] = map(look, chunks)
        if len(chunks) > 1:  # an unused pool costs as much as listing a folder
            answers = adaptive_map(look, chunks, _is_slow)
        for chunk, answer in zip(chunks, answers, strict=True):
            for name, seen in zip(chunk, answer, strict=True):
                path = joined(above.path, name)
                if seen is None:
                    seen = self._look(path)
                if seen is not None:
                    yield self._settled(path, seen)

    def _reachable(self, above: Listing) -> list[str]:
        """Return the folders in a folder, without those whose path is too long; report these."""
        room = _LONGEST - len(os.fsencode(self._root.full(above.path))) - 1
        if room >= _LONGEST_NAME:
            return above.folders
        names = []
        for name in above.folders:
            if len(os.fsencode(name)) <= room:
                names.append(name)
            else:
                self._report(unreadable(joined(above.path, name), OSError(errno.ENAMETOOLONG, "")))
        return names

    def _look_plain(self, folder: str, names: list[str]) -> list[_FolderNames | None]:
        """Return the names in some folders of `folder`; None for one that needs a closer look."""
        try:
            parent = self._root.open_folder(folder, listing=True)
        except (OSError, StoreError):
            return [None] * len(names)
        found: list[_FolderNames | None] = []
        try:
            for name in names:
                try:
                    # No link is followed, so a folder in a folder of the tree is in the tree.
                    descriptor = os.open(name, _PLAIN, dir_fd=parent)
                except OSError:
                    found.append(None)
                    continue
                found.append(self._list(descriptor, joined(folder, name)))
        finally:
            os.close(parent)
        return found

    def _look(self, folder: str) -> _FolderNames | None:
        """Return the names in a folder that may be a link; report why it cannot be listed."""
        if self._walked is None:
            return self._look_unlinked(folder)
        descriptor = self._reader.open_listed(folder, self._report)
        return None if descriptor is None else self._list(descriptor, folder)

    def _look_unlinked(self, folder: str) -> _FolderNames | None:
        """Return the names in a folder that is no link; report why it cannot be listed."""
        try:
            parent, name = self._root.open_parent(folder)
            try:
                descriptor = os.open(name, _PLAIN, dir_fd=parent)
            finally:
                os.close(parent)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(unreadable(folder, error))
            return None
        return self._list(descriptor, folder)

    def _list(self, descriptor: int, folder: str) -> _FolderNames:
        """Return the names in an open folder, and close it."""
        folders, files, odd = [], [], []
        content: bytes | StoreError | None = None
        trouble = None
        try:
            with os.scandir(descriptor) as children:
                for child in children:
                    if child.is_file(follow_symlinks=False):
                        files.append(child.name)
                    elif child.is_dir(follow_symlinks=False):
                        folders.append(child.name)
                    else:
                        odd.append(child.name)
        except OSError as error:
            trouble = error
        try:
            if self._leaf in files:
                content = beginning(self._reader, descriptor, folder, self._leaf, self._limit)
        finally:
            os.close(descriptor)
        return _FolderNames(folders, files, odd, content, trouble)

    def _settled(self, path: str, seen: _FolderNames) -> Listing:
        """Return the listing of a folder, in order; report what is neither file nor folder."""
        folders, files, odd, content, error = seen
        if len(folders) + len(files) == 1 and not odd and error is None:
            return Listing(path, folders, files, odd, content)  # the folder of a blob or a link
        if error is not None:
            self._report(unreadable(path, error))
        others = []
        for name in _ordered(odd):
            if self._walked is None:
                others.append(name)
                continue
            kind = self._kind(joined(path, name), self._walked)
            if kind is FileKind.FOLDER:
                folders.append(name)
            elif kind is FileKind.FILE:
                files.append(name)
                if name == self._leaf:
                    content = self._reader.read_or_error(joined(path, name), self._limit)
            elif kind is not None:
                others.append(name)
        return Listing(
            path, _ordered(folders), _ordered(files), others, content, complete=error is None
        )

    def _kind(self, path: str, walked: Walked) -> FileKind | None:
        """Return what counts as what is at `path`; None when it is gone."""
        try:
            status = os.lstat(self._root.full(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(unreadable(path, error))
            return FileKind.LINK
        kind = self._reader.entry(path, status, self._report).kind
        if kind is FileKind.FOLDER and stat.S_ISLNK(status.st_mode):
            target = os.path.realpath(self._root.full(path))
            if not walked.add(target):
                self._report(Finding(Code.SYMLINK_LOOP, path, actual=printable(target)))
                return FileKind.LINK
        return kind


def _is_slow(waited: float, answer: list[_FolderNames | None]) -> bool:
    return waited > _COLD * max(len(answer), _CHUNK)


def _ordered(names: list[str]) -> list[str]:
    """Return names sorted by their bytes, as every listing is."""
    if len(names) > 1:
        names.sort(key=None if "".join(names).isascii() else os.fsencode)
    return names
