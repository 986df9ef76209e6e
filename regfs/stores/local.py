"""A registry in a directory of this machine: finding it, listing it, reading it.

Writing is in `_local_write`, open files are in `_local_files`, and what counts as
inside the tree in `_local_base`.

Listing never opens anything but folders. Symbolic links count as what they
lead to, within limits that keep every listing finite:

    leads outside the tree                 LINK, symlink-outside
    leads nowhere, or round in a circle    LINK, symlink-loop
    to a folder above itself               LINK, symlink-loop
    to a folder, below another such link   LINK, symlink-loop   two a level would be 2^n paths
    to a folder `walk` meets anyway        LINK, symlink-loop   nothing comes twice
    to any other folder or file inside     FOLDER, FILE
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import BinaryIO, Final, cast

from regfs.errors import NotARegistry, PathMissing, PathUnsafe, StoreError
from regfs.findings import Code, Finding
from regfs.stores import Capability, Entry, Kind, Leaves, Report
from regfs.stores._local_base import (
    FOLDER_FLAGS,
    V2,
    failure,
    joined,
    reason,
    shown,
    unsafe,
)
from regfs.stores._local_files import ReadFile, Section
from regfs.stores._local_write import LocalWriting

_READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_OWN_NAMES: Final = frozenset({".regfs", "scheduler-state.json", "lost+found"})
_PLAIN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE: Final = 1 << 20
_SHORT: Final = 1 << 16
"""Bytes that are read in one go: longer than any link and nearly any manifest."""
_TYPE: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
_NOWHERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

# Named here because inside the class `list` is the method.
_Entries = list[Entry]
_Listed = list[tuple[bytes, Entry, bool]]


class LocalStore(LocalWriting):
    """The Store of a directory."""

    @property
    def url(self) -> str:
        """The absolute path of the root."""
        return self.root

    @property
    def capabilities(self) -> Capability:
        """All that a file system can do."""
        return (
            Capability.WRITE
            | Capability.APPEND
            | Capability.CHEAP_MOVE
            | Capability.RANDOM_ACCESS
            | Capability.FOLDERS
        )

    def list(self, folder: str, report: Report) -> list[Entry]:
        """Return what is directly in `folder`, sorted by the bytes of the name."""
        return [entry for _, entry, _ in self._listed(folder, report)]

    def walk(self, folder: str, report: Report) -> Iterator[Entry]:
        """Yield everything below `folder`, folders before what they hold, each once.

        Names are in the order of their bytes. A folder whose path is longer
        than the operating system takes is reported, and not entered.
        """
        walked = _Walked(os.path.realpath(self.full(folder)))
        pending = self._below(folder, report, walked)
        while pending:
            entry = pending.pop()
            yield entry
            if entry.kind is Kind.FOLDER:
                pending.extend(self._below(entry.path, report, walked))

    def _below(self, folder: str, report: Report, walked: _Walked) -> _Entries:
        """Return what is in `folder`, last first; no link in it leads to what is walked anyway."""
        entries = []
        for _, entry, linked in self._listed(folder, report):
            if linked and entry.kind is Kind.FOLDER:
                target = os.path.realpath(self.full(entry.path))
                if not walked.add(target):
                    report(Finding(Code.SYMLINK_LOOP, entry.path, actual=shown(target)))
                    entry = entry._replace(kind=Kind.LINK)
            entries.append(entry)
        entries.reverse()
        return entries

    def _listed(self, folder: str, report: Report) -> _Listed:
        """Return what is in `folder`, sorted: name in bytes, entry, whether it is a link."""
        descriptor = self._open_listed(folder, report)
        if descriptor is None:
            return []
        found: _Listed = []
        try:
            with os.scandir(descriptor) as children:
                for child in children:
                    path = joined(folder, child.name)
                    try:
                        status = child.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # gone since the folder was read
                    except OSError as error:
                        report(_unreadable(path, error))
                        continue
                    entry = self._entry(path, status, report)
                    found.append((os.fsencode(child.name), entry, child.is_symlink()))
        except OSError as error:
            report(_unreadable(folder, error))
        finally:
            os.close(descriptor)
        found.sort()
        return found

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
            report(_unreadable(folder, error))
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
            self._scan_leaves(descriptor, folder, leaf, report, found, only)
            if limit:
                contents = [
                    self._begin(descriptor, folder, f"{name}/{leaf}", limit, report)
                    for name in found.names
                ]
                found = found._replace(contents=contents)
        except OSError as error:
            report(_unreadable(folder, error))
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

    def branches(
        self, folder: str, names: Iterable[str], inner: str, leaf: str, report: Report
    ) -> Iterator[dict[str, Leaves] | None]:
        """Yield for each name the leaves of the folders in `<folder>/<name>/<inner>`."""
        self.full(f"{inner}/{leaf}")
        parent = self._open_listed(folder, report)
        if parent is None:
            return
        try:
            for name in names:
                yield self._branch(parent, folder, f"{name}/{inner}", leaf, report)
        finally:
            os.close(parent)

    def _branch(
        self, parent: int, folder: str, inner: str, leaf: str, report: Report
    ) -> dict[str, Leaves] | None:
        """Return the leaves of the folders in `inner`; None when anything is unusual."""
        found = {}
        try:
            # No link is passed: the child was seen to be none, or to lead inside.
            middle = os.open(inner, _PLAIN_FOLDER, dir_fd=parent)
            try:
                with os.scandir(middle) as kinds:
                    for kind in kinds:
                        leaves = Leaves([], [], [], [], [], [])
                        inside = os.open(kind.name, _PLAIN_FOLDER, dir_fd=middle)
                        try:
                            path = f"{folder}/{inner}/{kind.name}"
                            self._scan_leaves(inside, path, leaf, report, leaves, None)
                        finally:
                            os.close(inside)
                        found[kind.name] = leaves
            finally:
                os.close(middle)
        except OSError:
            return None
        return found

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int
    ) -> Iterator[bytes | StoreError]:
        """Yield what each leaf begins with; the folder is looked up once."""
        self.full(leaf)
        descriptor = self._open_listed(folder, _ignore)
        if descriptor is None:
            for name in names:
                yield PathMissing(f"{joined(folder, name)}/{leaf}: not found")
            return
        try:
            for name in names:
                yield self._plain_content(descriptor, folder, f"{name}/{leaf}", limit)
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
            descriptor = os.open(path, _READ_FLAGS, dir_fd=parent)
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

    def _scan_leaves(
        self,
        descriptor: int,
        folder: str,
        leaf: str,
        report: Report,
        found: Leaves,
        only: Collection[str] | None,
    ) -> None:
        # The hot path: 10^6 children are usual. One stat of the leaf for each child, and the
        # type scandir gives for nothing tells that the child itself is no link. Counting
        # folders by st_nlink instead would gain 2 %, and is wrong on btrfs, overlayfs and
        # whatever a virtual machine shares from macOS.
        names, sizes, mtimes, allocated, _, others, _ = found
        # "/current" of current/link
        between = list(_folders_above(f"/{leaf}"))[:-1] if "/" in leaf else ()
        odd = False
        with os.scandir(descriptor) as children:
            for child in children:
                name = child.name
                if only is not None and name not in only:
                    continue
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
                    path = joined(folder, name)
                    entry = self._barred(path, leaf, report)
                    entry = entry or self._entry(f"{path}/{leaf}", status, report)
                    if entry.kind is not Kind.FILE:
                        others.append(entry)
                        continue
                    names.append(name)
                    sizes.append(entry.size)
                    mtimes.append(entry.mtime)
                    allocated.append(entry.allocated)
                    continue
                names.append(name)
                sizes.append(status.st_size)
                mtimes.append(status.st_mtime)
                allocated.append(status.st_blocks * 512)

    def _leads_to_folder(self, path: str, report: Report, found: Leaves) -> bool:
        """Tell whether the child at `path`, a link, is to be searched; if not, keep it."""
        entry = self._entry(path, os.lstat(self.full(path)), report)
        if entry.kind is Kind.FOLDER:
            return True
        found.others.append(entry)
        return False

    def _barred(self, child: str, leaf: str, report: Report) -> Entry | None:
        """Return the link between child and leaf that is not followed, if there is one."""
        path = child
        for part in leaf.split("/")[:-1]:
            path = f"{path}/{part}"
            try:
                status = os.lstat(self.full(path))
            except OSError:
                return None
            if stat.S_ISLNK(status.st_mode):
                entry = self._entry(path, status, report)
                if entry.kind is not Kind.FOLDER:
                    return entry
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
        if error.errno not in _NOWHERE:
            report(_unreadable(path, error))
            return
        if (barred := self._barred(path, leaf, report)) is not None:
            found.others.append(barred)
            return
        try:
            status = child.stat(follow_symlinks=True)
        except FileNotFoundError:
            return  # gone since the folder was read
        except OSError as trouble:
            report(_unreadable(path, trouble))
            return
        if stat.S_ISDIR(status.st_mode):
            found.absent.append(child.name)
        else:
            found.others.append(self._entry(path, status, report))

    def stat(self, path: str) -> Entry:
        """Return what is at `path`; a link that is not followed is a `LINK`, no error."""
        try:
            if not path:
                return self._entry("", os.stat(self.root), _ignore)
            descriptor, name = self.open_parent(path)
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            finally:
                os.close(descriptor)
            return self._entry(path, status, _ignore)
        except OSError as error:
            raise self.fault(path, error) from error

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open a file for reading `length` bytes from `offset`, unbuffered."""
        descriptor, _ = self._open_file(path)
        try:
            if offset:
                os.lseek(descriptor, offset, os.SEEK_SET)
        except OSError as error:
            os.close(descriptor)
            raise failure(path, error) from error
        whole = ReadFile(descriptor, path)
        return whole if length is None else cast(BinaryIO, Section(whole, length))

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file: all of it when it is shorter."""
        descriptor, size = self._open_file(path)
        try:
            # One byte more than expected, so that the end usually shows without another call.
            data = os.read(descriptor, min(limit, size + 1, _PIECE))
            if len(data) == limit:
                return data
            pieces = [data]
            left = limit - len(data)
            while data and left > 0:
                data = os.read(descriptor, min(left, _PIECE))
                pieces.append(data)
                left -= len(data)
            return b"".join(pieces)
        except OSError as error:
            raise failure(path, error) from error
        finally:
            os.close(descriptor)

    def _open_file(self, path: str) -> tuple[int, int]:
        """Open a regular file that is truly inside; return its descriptor and size."""
        full = self.full(path)
        try:
            # Asked before opening, because opening a device can already do something.
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                full = os.path.realpath(full, strict=True)
                status = os.lstat(full)
            if not stat.S_ISREG(status.st_mode):
                raise unsafe(path, "not a regular file")
            descriptor = os.open(full, _READ_FLAGS)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise unsafe(path, "not a regular file")
                if not self.inside(self.true_path(descriptor, full)):
                    raise unsafe(path, "a symbolic link leaves the tree")
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise self.fault(path, error) from error
        return descriptor, status.st_size

    def _open_listed(self, folder: str, report: Report) -> int | None:
        """Open a folder to list it; report why it cannot be, None then and when it is missing."""
        try:
            return self.open_folder(folder, FOLDER_FLAGS, listing=True)
        except PathUnsafe:
            self.full(folder)  # a path that cannot be meant is the caller's mistake, no finding
            report(Finding(Code.SYMLINK_OUTSIDE, folder))
        except FileNotFoundError:
            if (link := self.broken_link(folder)) is not None:
                report(Finding(Code.SYMLINK_LOOP, link))
        except OSError as error:
            if error.errno == errno.ELOOP:
                report(Finding(Code.SYMLINK_LOOP, folder))
            else:
                report(_unreadable(folder, error))
        return None

    def _entry(self, path: str, status: os.stat_result, report: Report) -> Entry:
        """Return the entry for what lstat said of `path`; follow a link that may be followed."""
        kind = Kind.FILE
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            kind, status = self._resolve(path, status, report)
        elif stat.S_ISDIR(mode):
            kind = Kind.FOLDER
        elif not stat.S_ISREG(mode):
            kind = Kind.SPECIAL
            report(Finding(Code.SPECIAL_FILE, path))
        etag = ""
        if kind is Kind.FILE:
            etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
        blocks = status.st_blocks * 512
        return Entry(path, status.st_size, status.st_mtime, etag, kind, blocks)

    def _resolve(
        self, path: str, status: os.stat_result, report: Report
    ) -> tuple[Kind, os.stat_result]:
        """Return what the link at `path` counts as, and the status that goes with it."""
        try:
            target = os.path.realpath(self.full(path), strict=True)
            led = os.lstat(target)
        except OSError as error:
            if error.errno in _NOWHERE:
                report(Finding(Code.SYMLINK_LOOP, path))
            else:
                report(_unreadable(path, error))
            return Kind.LINK, status
        folder = stat.S_ISDIR(led.st_mode)
        if not (self.inside(target) or (folder and target in self._gates)):
            report(Finding(Code.SYMLINK_OUTSIDE, path, actual=shown(target)))
            return Kind.LINK, status
        if folder:
            if self._comes_back(path, target):
                report(Finding(Code.SYMLINK_LOOP, path, actual=shown(target)))
                return Kind.LINK, status
            return Kind.FOLDER, led
        if not stat.S_ISREG(led.st_mode):
            report(Finding(Code.SPECIAL_FILE, path, actual=shown(target)))
            return Kind.SPECIAL, led
        return Kind.FILE, led

    def _comes_back(self, path: str, target: str) -> bool:
        """Tell whether following the link at `path` to the folder `target` could go on for ever."""
        parent = path.rpartition("/")[0]
        here = os.path.realpath(self.full(parent))
        if here == target or here.startswith(target.rstrip("/") + "/"):
            return True
        return here not in self._gates and here != self.unlinked(parent)


def _has_link(folder: int, name: str, between: Iterable[str]) -> bool:
    """Tell whether a part of the way from a child to its leaf is a link."""
    return any(
        stat.S_ISLNK(os.stat(name + part, dir_fd=folder, follow_symlinks=False).st_mode)
        for part in between
    )


def _ignore(finding: Finding) -> None:
    """Drop what the returned entry says already."""


def _unreadable(path: str, error: OSError) -> Finding:
    return Finding(Code.PATH_UNREADABLE, path, actual=reason(error))


class _Walked:
    """The true folders a walk started from or followed a link to; none holds another."""

    def __init__(self, start: str) -> None:
        self._folders: set[str] = set()
        self._above: set[str] = set()
        self.add(start)

    def add(self, folder: str) -> bool:
        """Take in a folder; return False when it overlaps with one that is walked."""
        above = set(_folders_above(folder))
        if folder in self._above or folder in self._folders or above & self._folders:
            return False
        self._folders.add(folder)
        self._above |= above
        return True


def _folders_above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


def open_local(root: str) -> LocalStore:
    """Open the directory that holds the registry tree at `root`.

    Raises:
        NotARegistry: there is no such tree; the message says what was looked for.
        PathDenied: the root cannot be read.
    """
    given = os.path.abspath(root) if ".." not in root.split("/") else os.path.realpath(root)
    try:
        for place in dict.fromkeys((given, os.path.realpath(given))):
            found = _holder(place)
            if found is not None:
                os.scandir(os.path.join(found, V2)).close()
                return LocalStore(found)
        # An empty folder is a fresh registry, unless it is a part of one.
        if set(os.listdir(given)) <= _OWN_NAMES and f"/{V2}/" not in os.path.realpath(given) + "/":
            return LocalStore(given)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        why = "no such folder" if isinstance(error, FileNotFoundError) else "not a folder"
        raise NotARegistry(f"{shown(given)}: {why}; looked for a folder holding {V2}") from error
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename is not None else given
        raise failure(where, error) from error
    raise NotARegistry(
        f"{shown(given)}: not a registry: looked for a folder holding {V2}, "
        "one between the two, or an empty folder"
    )


def _holder(place: str) -> str | None:
    """Return the folder that holds `docker`, when `place` is it or lies between it and v2."""
    parts = V2.split("/")
    for depth in range(len(parts) + 1):
        above, rest = parts[:depth], parts[depth:]
        folder = place
        for name in reversed(above):
            if os.path.basename(folder) != name:
                break
            folder = os.path.dirname(folder)
        else:
            try:
                if stat.S_ISDIR(os.stat(os.path.join(place, *rest)).st_mode):
                    return folder
            except (FileNotFoundError, NotADirectoryError):
                continue
    return None
