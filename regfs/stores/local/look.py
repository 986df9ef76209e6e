"""Looking at one path of a directory store: what it is, and what it holds.

What a symbolic link counts as is settled here, as the table in `local` has it.
Not here: many paths at once (`local`, `_local_leaves`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Final, cast

from regfs.errors import PathUnsafe, StoreError, printable
from regfs.findings import Code, Finding
from regfs.stores import Entry, FileKind, Report, Seen, ignore
from regfs.stores.local.base import FOLDER_FLAGS, LocalTree, Shelf, failure, reason, unsafe
from regfs.stores.local.files import ReadFile, Section

READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
NOWHERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_PIECE: Final = 1 << 20
_SHOWS: Final = 2.0
"""Seconds after which a change of a folder surely gives it another time: FAT counts in twos."""
_WHITEOUT: Final = (
    "a whiteout: this is one layer of an overlay, which is read through the folder it is mounted at"
)
_PLAIN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def unreadable(path: str, error: OSError) -> Finding:
    """Return the finding that `path` cannot be looked into."""
    return Finding(Code.PATH_UNREADABLE, path, actual=reason(error))


class LocalLook(LocalTree):
    """What looks at one path of a directory store."""

    def stat(self, path: str) -> Entry:
        """Return what is at `path`; a link that is not followed is a `LINK`, no error."""
        try:
            if not path:
                return self._entry("", os.stat(self.root), ignore)
            descriptor, name = self.open_parent(path)
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            finally:
                os.close(descriptor)
            return self._entry(path, status, ignore)
        except OSError as error:
            raise self.fault(path, error) from error

    def examine(
        self, paths: Iterable[str | Seen], *, limit: int = 0
    ) -> Iterator[Seen | StoreError]:
        """Yield what is at each path, and whether its folder holds nothing else.

        If the folder has not changed since an earlier answer, what it holds is known: two
        questions instead of opening it, listing it and closing it.
        """
        with Shelf(self) as shelf:
            for path in paths:
                if isinstance(path, Seen):
                    before, path = path, path.entry.path
                    if (seen := self._seen_again(shelf, before)) is not None:
                        yield seen
                        continue
                yield self._examine(shelf, path, limit)

    def _seen_again(self, shelf: Shelf, before: Seen) -> Seen | None:
        """Return what is there when its folder is as it was; else None."""
        if not before.folder:
            return None
        path = before.entry.path
        folder, _, name = path.rpartition("/")
        above, _, last = folder.rpartition("/")
        try:
            parent = shelf.turn_to(above)
            if _state(os.stat(last, dir_fd=parent, follow_symlinks=False)) != before.folder:
                return None
            status = os.stat(f"{last}/{name}", dir_fd=parent, follow_symlinks=False)
        except (OSError, StoreError):
            return None
        if stat.S_ISLNK(status.st_mode):
            return None
        return Seen(self._entry(path, status, ignore), before.alone, before.folder)

    def _examine(self, shelf: Shelf, path: str, limit: int) -> Seen | StoreError:
        try:
            return self._examined(shelf, path, limit) or self._examined_with_care(path, limit)
        except StoreError as error:
            return error

    def _examined(self, shelf: Shelf, path: str, limit: int) -> Seen | None:
        """Return what is at a path with no link on the last two steps to it; else None."""
        folder, _, name = path.rpartition("/")
        above, _, last = folder.rpartition("/")
        if not above:
            return None
        self.full(path)
        try:
            inside = os.open(last, _PLAIN_FOLDER, dir_fd=shelf.turn_to(above))
            try:
                # Before it is listed: what comes afterwards has another time.
                listed = os.fstat(inside)
                alone = _holds_only(inside, name)
                status = os.stat(name, dir_fd=inside, follow_symlinks=False)
                plain = limit and stat.S_ISREG(status.st_mode)
                content = _beginning(inside, path, name, limit) if plain else None
            finally:
                os.close(inside)
        except OSError:
            return None
        if stat.S_ISLNK(status.st_mode):
            return None
        known = _state(listed) if time.time() - listed.st_mtime > _SHOWS else ""
        return Seen(self._entry(path, status, ignore), alone, known, content)

    def _examined_with_care(self, path: str, limit: int) -> Seen:
        entry = self.stat(path)
        content = self._read_anyhow(path, limit) if limit and entry.kind is FileKind.FILE else None
        inside = self._open_listed(path.rpartition("/")[0], ignore)
        if inside is None:
            return Seen(entry, alone=False, content=content)
        try:
            alone = _holds_only(inside, path.rpartition("/")[2])
        except OSError as error:
            raise self.fault(path, error) from error
        finally:
            os.close(inside)
        return Seen(entry, alone, content=content)

    def _read_anyhow(self, path: str, limit: int) -> bytes | StoreError:
        try:
            return self.read(path, limit)
        except StoreError as error:
            return error

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
            descriptor = os.open(full, READ_FLAGS)
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
                report(unreadable(folder, error))
        return None

    def _entry(self, path: str, status: os.stat_result, report: Report) -> Entry:
        """Return the entry for what lstat said of `path`; follow a link that may be followed."""
        kind = FileKind.FILE
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            kind, status = self._resolve(path, status, report)
        elif stat.S_ISDIR(mode):
            kind = FileKind.FOLDER
        elif not stat.S_ISREG(mode):
            kind = FileKind.SPECIAL
            whiteout = stat.S_ISCHR(mode) and status.st_rdev == 0
            report(Finding(Code.SPECIAL_FILE, path, actual=_WHITEOUT if whiteout else None))
        etag = ""
        if kind is FileKind.FILE:
            etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
        blocks = status.st_blocks * 512
        return Entry(path, status.st_size, status.st_mtime, etag, kind, blocks, status.st_ctime)

    def _resolve(
        self, path: str, status: os.stat_result, report: Report
    ) -> tuple[FileKind, os.stat_result]:
        """Return what the link at `path` counts as, and the status that goes with it."""
        try:
            target = os.path.realpath(self.full(path), strict=True)
            led = os.lstat(target)
        except OSError as error:
            if error.errno in NOWHERE:
                report(Finding(Code.SYMLINK_LOOP, path))
            else:
                report(unreadable(path, error))
            return FileKind.LINK, status
        folder = stat.S_ISDIR(led.st_mode)
        if not (self.inside(target) or (folder and target in self._gates)):
            report(Finding(Code.SYMLINK_OUTSIDE, path, actual=printable(target)))
            return FileKind.LINK, status
        if folder:
            if self._comes_back(path, target):
                report(Finding(Code.SYMLINK_LOOP, path, actual=printable(target)))
                return FileKind.LINK, status
            if target != self._v2 and target not in self._gates:
                report(Finding(Code.SYMLINK_INSIDE, path, actual=printable(target)))
            return FileKind.FOLDER, led
        if not stat.S_ISREG(led.st_mode):
            report(Finding(Code.SPECIAL_FILE, path, actual=printable(target)))
            return FileKind.SPECIAL, led
        report(Finding(Code.SYMLINK_INSIDE, path, actual=printable(target)))
        return FileKind.FILE, led

    def _comes_back(self, path: str, target: str) -> bool:
        """Return whether following the link at `path` to the folder `target` may never end."""
        parent = path.rpartition("/")[0]
        here = os.path.realpath(self.full(parent))
        if here == target or here.startswith(target.rstrip("/") + "/"):
            return True
        return here not in self._gates and here != self.unlinked(parent)


def _state(folder: os.stat_result) -> str:
    """Return what changes when anything comes into a folder or leaves it."""
    return f"{folder.st_ino:x}-{folder.st_mtime_ns:x}-{folder.st_ctime_ns:x}-{folder.st_mode:o}"


def _beginning(folder: int, path: str, name: str, limit: int) -> bytes | StoreError:
    """Return what a regular file in an open folder begins with, up to `_PIECE` bytes."""
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=folder)
        try:
            return os.read(descriptor, min(limit, _PIECE))
        finally:
            os.close(descriptor)
    except OSError as error:
        return failure(path, error)


def _holds_only(folder: int, name: str) -> bool:
    """Return whether an open folder holds this and nothing else."""
    with os.scandir(folder) as children:
        return [child.name for child in islice(children, 2)] == [name]
