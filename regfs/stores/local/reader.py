"""One path of a directory store: what it is, and what it contains.

What a symbolic link counts as is settled here, as the table in `listing` has it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final, cast

from regfs.errors import PathUnsafe, StoreError, printable
from regfs.findings import Code, Finding
from regfs.stores import Entry, FileKind, Report, ignore
from regfs.stores.local.files import ReadFile, Section
from regfs.stores.local.root import FOLDER_FLAGS, LocalRoot, failure, reason, unsafe

READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
NOWHERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
PIECE: Final = 1 << 20
_WHITEOUT: Final = (
    "a whiteout: this is one layer of an overlay, which is read through the folder it is mounted at"
)


def unreadable(path: str, error: OSError) -> Finding:
    """Return the finding that `path` cannot be read."""
    return Finding(Code.PATH_UNREADABLE, path, actual=reason(error))


class LocalReader:
    """Reads one path at a time."""

    def __init__(self, root: LocalRoot) -> None:
        self.root = root

    def stat(self, path: str) -> Entry:
        """Return what is at `path`; a link that is not followed is a `LINK`, no error."""
        try:
            if not path:
                return self.entry("", os.stat(self.root.path), ignore)
            descriptor, name = self.root.open_parent(path)
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            finally:
                os.close(descriptor)
            return self.entry(path, status, ignore)
        except OSError as error:
            raise self.root.fault(path, error) from error

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
            # One byte more than expected usually shows the end without another call.
            data = os.read(descriptor, min(limit, size + 1, PIECE))
            if len(data) == limit:
                return data
            pieces = [data]
            left = limit - len(data)
            while data and left > 0:
                data = os.read(descriptor, min(left, PIECE))
                pieces.append(data)
                left -= len(data)
            return b"".join(pieces)
        except OSError as error:
            raise failure(path, error) from error
        finally:
            os.close(descriptor)

    def read_or_error(self, path: str, limit: int) -> bytes | StoreError:
        """Return what `read` returns, or the error it raises."""
        try:
            return self.read(path, limit)
        except StoreError as error:
            return error

    def _open_file(self, path: str) -> tuple[int, int]:
        """Open a regular file that is truly inside; return its descriptor and size."""
        full = self.root.full(path)
        try:
            # Checked before opening, because opening a device has effects.
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
                if not self.root.inside(self.root.true_path(descriptor, full)):
                    raise unsafe(path, "a symbolic link leaves the tree")
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise self.root.fault(path, error) from error
        return descriptor, status.st_size

    def open_listed(self, folder: str, report: Report) -> int | None:
        """Open a folder to list it; report why it cannot be, None then and when it is missing."""
        try:
            return self.root.open_folder(folder, FOLDER_FLAGS, listing=True)
        except PathUnsafe:
            self.root.full(
                folder
            )  # a path that cannot be meant is the caller's mistake, no finding
            report(Finding(Code.SYMLINK_OUTSIDE, folder))
        except FileNotFoundError:
            if (link := self.root.broken_link(folder)) is not None:
                report(Finding(Code.SYMLINK_LOOP, link))
        except OSError as error:
            if error.errno == errno.ELOOP:
                report(Finding(Code.SYMLINK_LOOP, folder))
            else:
                report(unreadable(folder, error))
        return None

    def entry(self, path: str, status: os.stat_result, report: Report) -> Entry:
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
            target = os.path.realpath(self.root.full(path), strict=True)
            led = os.lstat(target)
        except OSError as error:
            if error.errno in NOWHERE:
                report(Finding(Code.SYMLINK_LOOP, path))
            else:
                report(unreadable(path, error))
            return FileKind.LINK, status
        folder = stat.S_ISDIR(led.st_mode)
        if not (self.root.inside(target) or (folder and target in self.root.gates)):
            report(Finding(Code.SYMLINK_OUTSIDE, path, actual=printable(target)))
            return FileKind.LINK, status
        if folder:
            if self._comes_back(path, target):
                report(Finding(Code.SYMLINK_LOOP, path, actual=printable(target)))
                return FileKind.LINK, status
            if target != self.root.v2 and target not in self.root.gates:
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
        here = os.path.realpath(self.root.full(parent))
        if here == target or here.startswith(target.rstrip("/") + "/"):
            return True
        return here not in self.root.gates and here != self.root.unlinked(parent)
