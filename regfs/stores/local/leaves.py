"""The many small files of a directory store: found and read a folder at a time.

    leaves     <folder>/*/<leaf>        blobs/sha256/ab/*/data
    contents   <folder>/<name>/<leaf>   what they begin with
    identify   <folder>/<name>/<leaf>   which files they are

Whatever is not as it usually is (a link, a FIFO, a file that has grown long)
takes the careful way, in `_local_look`. Not here: listing all there is (`local`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from regfs.errors import PathMissing, StoreError
from regfs.findings import Code, Finding
from regfs.stores import Entry, FileId, FileKind, Leaves, Report, folders_above, ignore
from regfs.stores.local.base import failure, joined
from regfs.stores.local.look import NOWHERE, READ_FLAGS, LocalLook, unreadable

_SHORT: Final = 1 << 16
"""Bytes that are read in one go: longer than any link and nearly any manifest."""
_CHUNK: Final = 64
"""Children looked at together; one that is not plain has the others of its chunk asked again."""
_TYPE: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
_FOLDER: Final = stat.S_IFDIR


class LocalLeaves(LocalLook):
    """What reads a directory store in batches."""

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        """Return the names in `folder` when all are folders and no links, else None."""
        descriptor = self._open_listed(folder, report)
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
        self,
        folder: str,
        leaf: str,
        report: Report,
        *,
        limit: int = 0,
        only: Collection[str] | None = None,
    ) -> Leaves:
        """Return the files `<folder>/*/<leaf>`, in the order the folder gives them."""
        self.full(leaf)
        found = Leaves([], [], [], [], [], [])
        descriptor = self._open_listed(folder, report)
        if descriptor is None:
            return found
        try:
            try:
                self._scan_leaves(descriptor, folder, leaf, report, found, only)
            except OSError as error:
                report(unreadable(folder, error))
            if limit:  # also of a folder that could be read in part: columns are of one length
                contents = [
                    self._begin(descriptor, folder, f"{name}/{leaf}", limit, report)
                    for name in found.names
                ]
                found = found._replace(contents=contents)
        finally:
            os.close(descriptor)
        return found

    def _begin(
        self, parent: int, folder: str, path: str, limit: int, report: Report
    ) -> bytes | None:
        """Return what a leaf begins with, or report why it cannot be read."""
        content = self._content(parent, folder, path, limit)
        if isinstance(content, bytes):
            return content
        reason = str(content).removeprefix(f"{joined(folder, path)}: ")
        report(Finding(Code.PATH_UNREADABLE, joined(folder, path), actual=reason))
        return None

    def _scan_leaves(
        self,
        descriptor: int,
        folder: str,
        leaf: str,
        report: Report,
        found: Leaves,
        only: Collection[str] | None,
    ) -> None:
        # "/current" of current/link
        between = list(folders_above(f"/{leaf}"))[:-1] if "/" in leaf else []
        if only is not None and not between:
            only = _take_known(descriptor, only, leaf, found)
            if not only:
                return
        with os.scandir(descriptor) as listed:
            while chunk := list(islice(listed, _CHUNK)):
                if only is not None:
                    chunk = [child for child in chunk if child.name in only]
                if between or not _take_plain(descriptor, chunk, leaf, found):
                    self._take_each(descriptor, folder, chunk, leaf, between, report, found)

    def _take_each(
        self,
        descriptor: int,
        folder: str,
        chunk: Iterable[os.DirEntry[str]],
        leaf: str,
        between: Collection[str],
        report: Report,
        found: Leaves,
    ) -> None:
        """Add the leaves of some children to the columns, with a look at each."""
        odd = False
        for child in chunk:
            name = child.name
            try:
                if child.is_symlink() and not self._leads_to_folder(
                    joined(folder, name), report, found
                ):
                    continue
                status = os.stat(f"{name}/{leaf}", dir_fd=descriptor, follow_symlinks=False)
                if between:
                    odd = _has_link(descriptor, name, between)
            except OSError as error:
                self._no_leaf(child, joined(folder, name), leaf, error, report, found)
                continue
            if odd or status.st_mode & _TYPE != _REGULAR:
                self._odd_leaf(folder, name, leaf, status, report, found)
                continue
            _add_rows(found, [name], [status])

    def _odd_leaf(
        self,
        folder: str,
        name: str,
        leaf: str,
        status: os.stat_result,
        report: Report,
        found: Leaves,
    ) -> None:
        """Settle what is at a leaf that is no plain file, or that lies behind a link."""
        path = joined(folder, name)
        entry = self._barred(path, leaf, report)
        entry = entry or self._entry(f"{path}/{leaf}", status, report)
        if entry.kind is not FileKind.FILE:
            found.others.append(entry)
            return
        found.names.append(name)
        found.sizes.append(entry.size)
        found.mtimes.append(entry.mtime)
        found.allocated.append(entry.allocated)

    def _leads_to_folder(self, path: str, report: Report, found: Leaves) -> bool:
        """Return whether the child at `path`, a link, is to be searched; if not, keep it."""
        entry = self._entry(path, os.lstat(self.full(path)), report)
        if entry.kind is FileKind.FOLDER:
            return True
        found.others.append(entry)
        return False

    def _barred(self, child: str, leaf: str, report: Report) -> Entry | None:
        """Return what is between child and leaf and no way on: a link not followed, no folder."""
        path = child
        for part in leaf.split("/")[:-1]:
            path = f"{path}/{part}"
            try:
                status = os.lstat(self.full(path))
            except OSError:
                return None
            if stat.S_ISLNK(status.st_mode):
                entry = self._entry(path, status, report)
                if entry.kind is not FileKind.FOLDER:
                    return entry
            elif not stat.S_ISDIR(status.st_mode):
                return self._entry(path, status, report)
        return None

    def _no_leaf(
        self,
        child: os.DirEntry[str],
        path: str,
        leaf: str,
        error: OSError,
        report: Report,
        found: Leaves,
    ) -> None:
        """Settle why a child shows no leaf: it has none, is no folder, or cannot be looked into."""
        if error.errno not in NOWHERE:
            report(unreadable(path, error))
            return
        if (barred := self._barred(path, leaf, report)) is not None:
            found.others.append(barred)
            return
        try:
            status = child.stat(follow_symlinks=True)
        except FileNotFoundError:
            return  # gone since the folder was read
        except OSError as trouble:
            report(unreadable(path, trouble))
            return
        if stat.S_ISDIR(status.st_mode):
            found.absent.append(child.name)
        else:
            found.others.append(self._entry(path, status, report))

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int, *, seen: bool = False
    ) -> Iterator[bytes | StoreError]:
        """Yield what each leaf begins with; the folder is looked up once."""
        self.full(leaf)
        descriptor = self._open_listed(folder, ignore)
        if descriptor is None:
            for name in names:
                yield PathMissing(f"{joined(folder, name)}/{leaf}: not found")
            return
        read = self._content if seen else self._plain_content
        try:
            for name in names:
                yield read(descriptor, folder, f"{name}/{leaf}", limit)
        finally:
            os.close(descriptor)

    def identify(self, folder: str, names: Iterable[str], leaf: str) -> Iterator[FileId | None]:
        """Yield which file each leaf is; the folder is looked up once."""
        self.full(leaf)
        descriptor = self._open_listed(folder, ignore)
        if descriptor is None:
            yield from (None for _ in names)
            return
        try:
            for name in names:
                try:
                    status = os.stat(f"{name}/{leaf}", dir_fd=descriptor)
                except OSError:
                    yield None
                else:
                    yield FileId(status.st_dev, status.st_ino, status.st_ctime_ns)
        finally:
            os.close(descriptor)

    def _plain_content(self, parent: int, folder: str, path: str, limit: int) -> bytes | StoreError:
        """Return what a file begins with, after a look whether it is one."""
        try:
            # A listing of names has not asked; opening a FIFO or a device may do something.
            mode = os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                return self._content(parent, folder, path, limit)
            return self.read(joined(folder, path), limit)
        except StoreError as error:
            return error
        except OSError as error:
            return self.fault(joined(folder, path), error)

    def _content(self, parent: int, folder: str, path: str, limit: int) -> bytes | StoreError:
        """Return what a file begins with that was just listed as a regular file inside."""
        try:
            descriptor = os.open(path, READ_FLAGS, dir_fd=parent)
            try:
                data = os.read(descriptor, min(limit, _SHORT))
                if len(data) < _SHORT or limit == _SHORT:
                    return data
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOENT):
                return failure(joined(folder, path), error)
        # Long, gone, or a link to a file inside: the careful way.
        try:
            return self.read(joined(folder, path), limit)
        except StoreError as error:
            return error


def _take_plain(folder: int, chunk: Sequence[os.DirEntry[str]], leaf: str, found: Leaves) -> bool:
    """Add the leaves of children that all are folders with a plain leaf; else add nothing.

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
