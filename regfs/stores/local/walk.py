"""Every folder of a directory store, one after the other, by nothing but names.

A walk that asks about each file takes most of its time asking. Here a folder is
opened once, relative to the folder it lies in, and the kernel's listing says what
is a file and what a folder; only what is neither is looked at, in `_local_look`.

No descriptor stays open between two answers and nothing calls itself, so that a
chain of folders costs neither descriptors nor stack. On a cold disk the children
of a folder are opened several at once. Not here: listing with sizes (`local`).
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
from regfs.stores import FileKind, Listing, Report, folders_above
from regfs.stores.local.base import joined
from regfs.stores.local.leaves import LocalLeaves
from regfs.stores.local.look import unreadable

_PLAIN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CHUNK: Final = 32
"""Folders opened together: what a thread is given, and what is listed ahead."""
_COLD: Final = 40e-6
"""Seconds waited for one folder above which the disk is taken for cold."""
_LONGEST: Final = 4095
"""Bytes of the longest path the operating system takes: nothing beyond could be read."""
_LONGEST_NAME: Final = 255


class Walked:
    """The true folders a walk started from or followed a link to; none holds another."""

    def __init__(self, start: str) -> None:
        self._folders: set[str] = set()
        self._above: set[str] = set()
        self.add(start)

    def add(self, folder: str) -> bool:
        """Take in a folder; return False when it overlaps with one that is walked."""
        folder = folder.rstrip("/")  # also `/` itself, which is above all
        above = set(folders_above(folder))
        if folder in self._above or folder in self._folders or above & self._folders:
            return False
        self._folders.add(folder)
        self._above |= above
        return True


class _LeafFile(NamedTuple):
    """The file that is to be read in every folder that has it."""

    name: str
    limit: int


class _FolderNames(NamedTuple):
    """What a folder showed, before anything in it was looked at."""

    folders: list[str]
    files: list[str]
    odd: list[str]
    """Links, special files, and what the file system does not tell the kind of."""
    content: bytes | StoreError | None
    error: OSError | None


class LocalWalk(LocalLeaves):
    """What goes through all folders of a directory store."""

    def tree(
        self, folder: str, report: Report, *, leaf: str = "", limit: int = 0, links: bool = True
    ) -> Iterator[Listing]:
        """Yield `folder` and every folder below it, in the order of the bytes of their names.

        A folder whose path is longer than the operating system takes is reported,
        and not entered.
        """
        # Without links nothing is met twice.
        walked = Walked(os.path.realpath(self.full(folder))) if links else None
        wanted = _LeafFile(leaf, limit)
        look = self._look_anyhow if links else self._look_unlinked
        top = look(folder, wanted, report)
        first = () if top is None else (self._settled(folder, top, wanted, report, walked),)
        pending: list[Iterator[Listing]] = [iter(first)]
        while pending:
            listing = next(pending[-1], None)
            if listing is None:
                pending.pop()
                continue
            yield listing
            if listing.folders:
                pending.append(self._folders_in(listing, wanted, report, walked))

    def _folders_in(
        self, above: Listing, leaf: _LeafFile, report: Report, walked: Walked | None
    ) -> Iterator[Listing]:
        """Yield the folders directly in one that was listed."""

        def look(chunk: list[str]) -> list[_FolderNames | None]:
            return self._look_plain(above.path, chunk, leaf)

        names = self._reachable(above, report)
        chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
        answers: Iterator[list[_FolderNames | None]] = map(look, chunks)
        if len(chunks) > 1:  # a pool that is not used costs as much as listing a folder
            answers = adaptive_map(look, chunks, _is_slow)
        for chunk, answer in zip(chunks, answers, strict=True):
            for name, seen in zip(chunk, answer, strict=True):
                path = joined(above.path, name)
                if seen is None:
                    anyhow = self._look_anyhow if walked is not None else self._look_unlinked
                    seen = anyhow(path, leaf, report)
                if seen is not None:
                    yield self._settled(path, seen, leaf, report, walked)

    def _reachable(self, above: Listing, report: Report) -> list[str]:
        """Return the folders in a folder, without those whose path is too long; report these."""
        room = _LONGEST - len(os.fsencode(self.full(above.path))) - 1
        if room >= _LONGEST_NAME:
            return above.folders
        names = []
        for name in above.folders:
            if len(os.fsencode(name)) <= room:
                names.append(name)
            else:
                report(unreadable(joined(above.path, name), OSError(errno.ENAMETOOLONG, "")))
        return names

    def _look_plain(
        self, folder: str, names: list[str], leaf: _LeafFile
    ) -> list[_FolderNames | None]:
        """Return what some folders in `folder` show; None of one that takes a closer look."""
        try:
            parent = self.open_folder(folder, listing=True)
        except (OSError, StoreError):
            return [None] * len(names)
        found: list[_FolderNames | None] = []
        try:
            for name in names:
                try:
                    # No link is passed, so what is in a folder inside is inside.
                    descriptor = os.open(name, _PLAIN, dir_fd=parent)
                except OSError:
                    found.append(None)
                    continue
                found.append(self._look(descriptor, joined(folder, name), leaf))
        finally:
            os.close(parent)
        return found

    def _look_anyhow(self, folder: str, leaf: _LeafFile, report: Report) -> _FolderNames | None:
        """Return what a folder shows that may be a link; report why it cannot be listed."""
        descriptor = self._open_listed(folder, report)
        return None if descriptor is None else self._look(descriptor, folder, leaf)

    def _look_unlinked(self, folder: str, leaf: _LeafFile, report: Report) -> _FolderNames | None:
        """Return what a folder shows that is no link; report why it cannot be listed."""
        try:
            parent, name = self.open_parent(folder)
            try:
                descriptor = os.open(name, _PLAIN, dir_fd=parent)
            finally:
                os.close(parent)
        except FileNotFoundError:
            return None
        except OSError as error:
            report(unreadable(folder, error))
            return None
        return self._look(descriptor, folder, leaf)

    def _look(self, descriptor: int, folder: str, leaf: _LeafFile) -> _FolderNames:
        """Return what an open folder shows, and close it."""
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
            if leaf.name in files:
                content = self._content(descriptor, folder, leaf.name, leaf.limit)
        finally:
            os.close(descriptor)
        return _FolderNames(folders, files, odd, content, trouble)

    def _settled(
        self, path: str, seen: _FolderNames, leaf: _LeafFile, report: Report, walked: Walked | None
    ) -> Listing:
        """Return the listing of a folder, in order; report what is neither file nor folder."""
        folders, files, odd, content, error = seen
        if error is not None:
            report(unreadable(path, error))
        others = []
        for name in _ordered(odd):
            if walked is None:
                others.append(name)
                continue
            kind = self._kind(joined(path, name), report, walked)
            if kind is FileKind.FOLDER:
                folders.append(name)
            elif kind is FileKind.FILE:
                files.append(name)
                if name == leaf.name:
                    content = self._read_leaf(joined(path, name), leaf.limit)
            elif kind is not None:
                others.append(name)
        return Listing(
            path, _ordered(folders), _ordered(files), others, content, whole=error is None
        )

    def _kind(self, path: str, report: Report, walked: Walked) -> FileKind | None:
        """Return what counts as what is at `path`; None when it is gone."""
        try:
            status = os.lstat(self.full(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            report(unreadable(path, error))
            return FileKind.LINK
        kind = self._entry(path, status, report).kind
        if kind is FileKind.FOLDER and stat.S_ISLNK(status.st_mode):
            target = os.path.realpath(self.full(path))
            if not walked.add(target):
                report(Finding(Code.SYMLINK_LOOP, path, actual=printable(target)))
                return FileKind.LINK
        return kind

    def _read_leaf(self, path: str, limit: int) -> bytes | StoreError:
        try:
            return self.read(path, limit)
        except StoreError as error:
            return error


def _is_slow(waited: float, answer: list[_FolderNames | None]) -> bool:
    return waited > _COLD * max(len(answer), _CHUNK)


def _ordered(names: list[str]) -> list[str]:
    """Return names sorted by their bytes, as every listing is."""
    if len(names) > 1:
        names.sort(key=None if "".join(names).isascii() else os.fsencode)
    return names
