"""The open files of a directory store: read, written whole, appended to.

A file is written beside its place and renamed over it, so that a crash leaves
the old file, or the new one, and at worst a `.<name>.<random>.regfs-tmp`:

    create  ->  .data.5f3c91.regfs-tmp  ->  fsync  ->  rename to data  ->  fsync of the folder
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from typing import Final

from regfs.errors import StoreError, printable
from regfs.stores.blocks import BlockWriter
from regfs.stores.local.root import LocalRoot, adopt, failure
from regfs.stores.unfinished import UNFINISHED, unfinished_name

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OLD: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_FICLONE: Final = 0x40049409
"""Linux: let a file share the blocks of another one, copied when either is written."""


class ReadFile(io.FileIO):
    """An open file whose read errors are those of the contract."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "rb")
        self._path = path

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the file goes; return the number of bytes."""
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            raise failure(self._path, error) from error

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, all that are left when it is negative."""
        try:
            return super().read(-1 if size is None else size) or b""
        except OSError as error:
            raise failure(self._path, error) from error


class Section(io.RawIOBase):
    """The next `length` bytes of a file, and its end after them."""

    def __init__(self, whole: ReadFile, length: int) -> None:
        super().__init__()
        self._whole = whole
        self._left = length

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the section goes; return the number of bytes."""
        with memoryview(buffer) as view:
            count = self._whole.readinto(view[: self._left])
        self._left -= count
        return count

    def fileno(self) -> int:
        """Return the descriptor of the whole file, which stands where the section goes on."""
        return self._whole.fileno()

    def close(self) -> None:
        """Close the file."""
        self._whole.close()
        super().close()


class LocalWriter(BlockWriter):
    """A file that appears at its path whole, on `commit`, or not at all."""

    def __init__(
        self,
        root: LocalRoot,
        folder: int,
        path: str,
        name: str,
        made: list[str],
        mtime: float | None,
        *,
        lasting: bool = True,
    ) -> None:
        """The folder is the caller's to close.

        Without `lasting`, `commit` leaves it to the caller to make the file durable.
        """
        self._temporary = unfinished_name(name)
        self._descriptor = os.open(self._temporary, _NEW, 0o666, dir_fd=folder)
        adopt(folder, descriptor=self._descriptor)
        self._root = root
        self._folder = os.dup(folder)
        self._path = path
        self._name = name
        self._made = made
        self._mtime = mtime
        self._lasting = lasting
        self._open = True

    def write(self, data: bytes, /) -> int:
        """Add bytes."""
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            raise failure(self._path, error) from error
        return len(data)

    def share(self, source: int) -> bool:
        """Take the content of an open file without copying it; return whether that is possible."""
        try:
            fcntl.ioctl(self._descriptor, _FICLONE, source)
        except OSError:
            return self._link(source)
        return True

    def _link(self, source: int) -> bool:
        """Become another name of an open file that has the owner which a new one would get."""
        there, folder = os.fstat(source), os.fstat(self._folder)
        if (there.st_uid, there.st_gid) != (folder.st_uid, folder.st_gid):
            return False
        name = f"{self._temporary}{UNFINISHED}"
        try:
            os.link(f"/proc/self/fd/{source}", name, dst_dir_fd=self._folder)
        except OSError:  # another file system, or one without links
            return False
        os.rename(name, self._temporary, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.close(self._descriptor)
        self._descriptor = os.open(self._temporary, _OLD, dir_fd=self._folder)
        return True

    def commit(self) -> None:
        """Make it durable and put it in place, replacing what was there."""
        if not self._open:
            raise StoreError(f"{printable(self._path)}: the file was committed or discarded before")
        try:
            if self._mtime is not None:
                os.utime(self._descriptor, (self._mtime, self._mtime))
            if self._lasting:
                os.fsync(self._descriptor)
            os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            self.discard()
            raise failure(self._path, error) from error
        self._close()
        if not self._lasting:
            return
        try:
            self._root.sync_names(self._path.rpartition("/")[0])
        except OSError as error:
            raise failure(self._path, error) from error

    def discard(self) -> None:
        """Forget it, with the folders made for it. Safe to call twice, and after commit."""
        if not self._open:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._folder)
        self._close()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # it is in use by now
                os.rmdir(self._root.full(folder))

    def _close(self) -> None:
        self._open = False
        os.close(self._descriptor)
        os.close(self._folder)

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.discard()


class AppendFile(io.FileIO):
    """A file that only grows; what was written is on the disk after `flush`."""

    def __init__(self, root: LocalRoot, descriptor: int, path: str, *, new: bool) -> None:
        super().__init__(descriptor, "ab")
        self._root = root
        self._path = path
        self._new = new

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Add all of `data`."""
        try:
            return _write_all(self.fileno(), data)
        except OSError as error:
            raise failure(self._path, error) from error

    def flush(self) -> None:
        """Wait until what was written is on the disk, and the name of a new file too."""
        if self.closed:
            return
        try:
            os.fsync(self.fileno())
            if self._new:
                self._root.sync_names(self._path.rpartition("/")[0])
                self._new = False
        except OSError as error:
            raise failure(self._path, error) from error


def _write_all(descriptor: int, data: bytes | bytearray | memoryview) -> int:
    """Write all of `data`, though the system may take it in pieces."""
    with memoryview(data) as view, view.cast("B") as octets:
        total = len(octets)
        done = 0
        while done < total:
            done += os.write(descriptor, octets[done:])
    return total
