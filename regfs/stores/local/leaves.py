"""The many small files of a directory store, found a folder at a time.

    subfolders   <folder>/*          blobs/sha256/ab/*
    leaves       <folder>/*/<leaf>   blobs/sha256/ab/*/data

What is unusual (a link, a FIFO) is left to `reader`, which checks more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from regfs.findings import Code, Finding
from regfs.stores import Entry, FileKind, Leaves, Report, folders_above
from regfs.stores.local.contents import beginning
from regfs.stores.local.reader import NOWHERE, LocalReader, unreadable
from regfs.stores.local.root import joined

_CHUNK: Final = 64
"""Children taken together; if one is unusual, all of its chunk are checked one by one."""
_FEW: Final = 16
_PER_NAME: Final = 200
"""Bytes of a folder for each name that is asked for, up to which it is listed. A digest takes
ext4 72 bytes, xfs and btrfs more, and a stat as long as listing 2.5 names."""
_TYPE: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
_FOLDER: Final = stat.S_IFDIR


def subfolders(reader: LocalReader, folder: str, report: Report) -> Sequence[str] | None:
    """Return the names in `folder` when all are folders and no links, else None."""
    descriptor = reader.open_listed(folder, report)
    if descriptor is None:
        return ()
    try:
        names = []
        with os.scandir(descriptor) as children:
            for child in children:
                if not child.is_dir(follow_symlinks=False):
                    return None
                names.append(child.name)
        return names
    except OSError as error:
        report(unreadable(folder, error))
        return ()
    finally:
        os.close(descriptor)


def leaves(
    reader: LocalReader,
    folder: str,
    leaf: str,
    report: Report,
    *,
    limit: int = 0,
    only: Collection[str] | None = None,
) -> Leaves:
    """Return the files `<folder>/*/<leaf>`, in the order the folder gives them."""
    reader.root.full(leaf)
    scan = _LeafScan(reader, folder, leaf, report)
    descriptor = reader.open_listed(folder, report)
    if descriptor is None:
        return scan.found
    try:
        try:
            scan.take(descriptor, only)
        except OSError as error:
            report(unreadable(folder, error))
        if not limit:
            return scan.found
        # Also for a folder that could be read only in part: columns have one length.
        contents = [
            _begin(reader, descriptor, folder, f"{name}/{leaf}", limit, report)
            for name in scan.found.names
        ]
        return scan.found._replace(contents=contents)
    finally:
        os.close(descriptor)


def _begin(
    reader: LocalReader, parent: int, folder: str, path: str, limit: int, report: Report
) -> bytes | None:
    """Return the first bytes of a leaf, or report why it cannot be read."""
    content = beginning(reader, parent, folder, path, limit)
    if isinstance(content, bytes):
        return content
    reason = str(content).removeprefix(f"{joined(folder, path)}: ")
    report(Finding(Code.PATH_UNREADABLE, joined(folder, path), actual=reason))
    return None


class _LeafScan:
    """One search for the leaves of a folder."""

    def __init__(self, reader: LocalReader, folder: str, leaf: str, report: Report) -> None:
        self.folder = folder
        self.found = Leaves([], [], [], [], [], [])
        self._reader = reader
        self._root = reader.root
        self._leaf = leaf
        self._report = report
        self._between = list(folders_above(f"/{leaf}"))[:-1] if "/" in leaf else []
        """The folders between a child and its leaf: "/current" of current/link."""

    def take(self, descriptor: int, only: Collection[str] | None) -> None:
        """Add the leaves of the folder, which is open, to the columns.

        Raises:
            OSError: the folder cannot be read to its end.
        """
        if only is not None and not self._between and not _is_listed_sooner(descriptor, only):
            only = _take_known(descriptor, only, self._leaf, self.found)
            if not only:
                return
        with os.scandir(descriptor) as listed:
            while chunk := list(islice(listed, _CHUNK)):
                if only is not None:
                    chunk = [child for child in chunk if child.name in only]
                if self._between or not _take_plain(descriptor, chunk, self._leaf, self.found):
                    self._take_each(descriptor, chunk)

    def _take_each(self, descriptor: int, chunk: Iterable[os.DirEntry[str]]) -> None:
        """Add the leaves of some children to the columns, checking each child."""
        odd = False
        for child in chunk:
            name = child.name
            try:
                if child.is_symlink() and not self._leads_to_folder(joined(self.folder, name)):
                    continue
                status = os.stat(f"{name}/{self._leaf}", dir_fd=descriptor, follow_symlinks=False)
                if self._between:
                    odd = _has_link(descriptor, name, self._between)
            except OSError as error:
                self._no_leaf(child, joined(self.folder, name), error)
                continue
            if odd or status.st_mode & _TYPE != _REGULAR:
                self._odd_leaf(name, status)
                continue
            _add_rows(self.found, [name], [status])

    def _odd_leaf(self, name: str, status: os.stat_result) -> None:
        """Take a leaf that is not a regular file, or that lies behind a link."""
        path = joined(self.folder, name)
        entry = self._barred(path) or self._entry(f"{path}/{self._leaf}", status)
        if entry.kind is not FileKind.FILE:
            self.found.others.append(entry)
            return
        self.found.names.append(name)
        self.found.sizes.append(entry.size)
        self.found.mtimes.append(entry.mtime)
        self.found.allocated.append(entry.allocated)

    def _leads_to_folder(self, path: str) -> bool:
        """Return whether the link at `path` leads to a folder to search; if not, record it."""
        entry = self._entry(path, os.lstat(self._root.full(path)))
        if entry.kind is FileKind.FOLDER:
            return True
        self.found.others.append(entry)
        return False

    def _barred(self, child: str) -> Entry | None:
        """Return what blocks the way from child to leaf: a link not followed, or no folder."""
        path = child
        for part in self._leaf.split("/")[:-1]:
            path = f"{path}/{part}"
            try:
                status = os.lstat(self._root.full(path))
            except OSError:
                return None
            if stat.S_ISLNK(status.st_mode):
                entry = self._entry(path, status)
                if entry.kind is not FileKind.FOLDER:
                    return entry
            elif not stat.S_ISDIR(status.st_mode):
                return self._entry(path, status)
        return None

    def _no_leaf(self, child: os.DirEntry[str], path: str, error: OSError) -> None:
        """Record why a child shows no leaf: it has none, is no folder, or cannot be read."""
        if error.errno not in NOWHERE:
            self._report(unreadable(path, error))
            return
        if (barred := self._barred(path)) is not None:
            self.found.others.append(barred)
            return
        try:
            status = child.stat(follow_symlinks=True)
        except FileNotFoundError:
            return  # gone since the folder was read
        except OSError as trouble:
            self._report(unreadable(path, trouble))
            return
        if stat.S_ISDIR(status.st_mode):
            self.found.absent.append(child.name)
        else:
            self.found.others.append(self._entry(path, status))

    def _entry(self, path: str, status: os.stat_result) -> Entry:
        return self._reader.entry(path, status, self._report)


def _take_plain(folder: int, chunk: Sequence[os.DirEntry[str]], leaf: str, found: Leaves) -> bool:
    """Add the leaves of children if all are folders with a regular leaf; else add nothing.

    The hot path: 10^6 children are usual. One stat of the leaf for each, and the type
    that scandir gives for nothing tells that the child itself is no link. Counting
    folders by st_nlink instead would gain 2 %, and is wrong on btrfs, overlayfs and
    whatever a virtual machine shares from macOS.
    """
    names = [child.name for child in chunk if not child.is_symlink()]
    if len(names) < len(chunk):
        return False
    stat_of = os.stat
    try:
        found_there = [
            stat_of(f"{name}/{leaf}", dir_fd=folder, follow_symlinks=False) for name in names
        ]
    except OSError:
        return False
    if any([status.st_mode & _TYPE != _REGULAR for status in found_there]):
        return False
    _add_rows(found, names, found_there)
    return True


def _is_listed_sooner(folder: int, names: Collection[str]) -> bool:
    """Return whether listing a folder is cheaper than looking up names: it holds few others.

    A listing says of each child that it is no link, and so saves a stat.
    """
    return len(names) > _FEW and os.fstat(folder).st_size < _PER_NAME * len(names)


def _take_known(folder: int, names: Iterable[str], leaf: str, found: Leaves) -> list[str]:
    """Add the plain leaves of children whose names are known; return the other names.

    To look each up is cheaper than to list the folder, as long as many are not asked for.
    """
    left: list[str] = []
    plain: list[str] = []
    rows: list[os.stat_result] = []
    stat_of = os.stat
    for name in names:
        try:
            child = stat_of(name, dir_fd=folder, follow_symlinks=False)
            row = stat_of(f"{name}/{leaf}", dir_fd=folder, follow_symlinks=False)
        except OSError:
            left.append(name)
            continue
        if child.st_mode & _TYPE == _FOLDER and row.st_mode & _TYPE == _REGULAR:
            plain.append(name)
            rows.append(row)
        else:
            left.append(name)
    _add_rows(found, plain, rows)
    return left


def _add_rows(found: Leaves, names: list[str], rows: list[os.stat_result]) -> None:
    found.names.extend(names)
    found.sizes.extend([status.st_size for status in rows])
    found.mtimes.extend([status.st_mtime for status in rows])
    found.allocated.extend([status.st_blocks * 512 for status in rows])


def _has_link(folder: int, name: str, between: Iterable[str]) -> bool:
    """Return whether a part of the way from a child to its leaf is a link."""
    return any(
        stat.S_ISLNK(os.stat(name + part, dir_fd=folder, follow_symlinks=False).st_mode)
        for part in between
    )
