"""Writing a tar: to a file, which appears when it is whole, or to a pipe.

    with create_tar(path) as tar:
        with tar.begin("docker/registry/...", size, mtime) as entry: entry.write(data)

An entry that turns out wrong is taken back: in a file the archive continues where the entry began.
What has gone into a pipe cannot be taken back, so who writes to one looks at the bytes before
(`rewinds`). Headers are ustar, and pax where that cannot say a long name or a large size.
"""

from __future__ import annotations

import os
import stat
import tarfile
from contextlib import suppress
from typing import Final

from regfs.errors import Refused, StoreError, printable
from regfs.stores.archive.fields import BLOCK
from regfs.stores.blocks import BlockWriter
from regfs.stores.local.rename import rename_new
from regfs.stores.local.root import failure
from regfs.stores.unfinished import unfinished_name

_BUFFER: Final = 1 << 20
"""Bytes that are gathered before they are written."""
_RECORD: Final = 20 * BLOCK
"""What the length of an archive is a multiple of, as tar pads it."""


class TarWriter:
    """A tar that is written entry by entry, one at a time."""

    def __init__(self, descriptor: int, name: str, *, rewinds: bool) -> None:
        """It takes over the descriptor, which stands where the archive begins."""
        self.name = name
        """For messages."""
        self.rewinds = rewinds
        """Whether an entry can be taken back."""
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._written = 0
        """Bytes that left the buffer."""

    @property
    def position(self) -> int:
        """Bytes of the archive so far."""
        return self._written + len(self._buffer)

    def begin(self, path: str, size: int, mtime: float | None) -> ArchivedEntry:
        """Begin a regular file of `size` bytes; nothing else is written until it ends."""
        start = self.position
        self.write(_header(path, size, mtime))
        return ArchivedEntry(self, path, size, start)

    def folder(self, path: str) -> None:
        """Add a folder."""
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self.write(info.tobuf(tarfile.USTAR_FORMAT))

    def write(self, data: bytes) -> None:
        """Add bytes of an entry.

        Raises:
            StoreError: they cannot be written.
        """
        if len(data) >= _BUFFER:
            self._flush()
            self._put(data)
            return
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def rewind(self, position: int) -> None:
        """Forget what came after a position.

        Raises:
            StoreError: it has gone into a pipe.
        """
        if position >= self._written:
            del self._buffer[position - self._written :]
            return
        if not self.rewinds:
            raise StoreError(f"{self.name}: the archive is cut off: bytes changed as they passed")
        try:
            self._buffer.clear()
            os.ftruncate(self._descriptor, position)
            os.lseek(self._descriptor, position, os.SEEK_SET)
        except OSError as error:
            raise failure(self.name, error) from error
        self._written = position

    def finish(self) -> None:
        """End the archive.

        Raises:
            StoreError: it cannot be written.
        """
        self._buffer += bytes(2 * BLOCK)
        self._buffer += bytes(-self.position % _RECORD)
        self._flush()

    def _flush(self) -> None:
        if self._buffer:
            self._put(self._buffer)
            self._buffer.clear()

    def _put(self, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                try:
                    done += os.write(self._descriptor, view[done:])
                except BrokenPipeError:
                    raise StoreError(f"{self.name}: who reads the archive has gone") from None
                except OSError as error:
                    raise failure(self.name, error) from error
        self._written += len(data)


class ArchivedEntry(BlockWriter):
    """One file of a tar: there whole, or not at all."""

    def __init__(self, tar: TarWriter, path: str, size: int, start: int) -> None:
        self._tar = tar
        self._path = path
        self._size = self._left = size
        self._start = start
        self._open = True

    def write(self, data: bytes, /) -> int:
        """Add bytes.

        Raises:
            StoreError: these are more than were announced.
        """
        if len(data) > self._left:
            raise StoreError(f"{printable(self._path)}: more than {self._size} bytes")
        self._left -= len(data)
        self._tar.write(data)
        return len(data)

    def commit(self) -> None:
        """End the file.

        Raises:
            StoreError: there are fewer bytes than were announced.
        """
        if self._left:
            self.discard()
            raise StoreError(f"{printable(self._path)}: fewer than {self._size} bytes")
        self._open = False
        self._tar.write(bytes(-self._size % BLOCK))

    def discard(self) -> None:
        """Take it back. Safe to call twice, and after commit."""
        if self._open:
            self._open = False
            self._tar.rewind(self._start)


def _header(path: str, size: int, mtime: float | None) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size, int(mtime or 0), 0o644
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    except ValueError:  # too long a name, or too large a file
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class TarFile:
    """A tar on a disk; it appears under its name when it is whole."""

    def __init__(self, path: str) -> None:
        """Begin it.

        Raises:
            Refused: there is something of that name.
            StoreError: nothing can be written there.
        """
        self._path = os.path.abspath(path)
        folder, self._name = os.path.split(self._path)
        if os.path.lexists(self._path):
            raise Refused(f"{printable(self._path)}: there already; remove it, or name another")
        self._temporary = unfinished_name(self._name)
        try:
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(self._temporary, flags, 0o666, dir_fd=self._folder)
            except BaseException:
                os.close(self._folder)
                raise
        except OSError as error:
            raise failure(self._path, error) from error
        self._open = True
        self.tar = TarWriter(self._descriptor, printable(self._path), rewinds=True)

    def commit(self) -> None:
        """End it, make it durable and give it its name.

        Raises:
            Refused: something else has got that name meanwhile.
            StoreError: it cannot be written.
        """
        self.tar.finish()
        try:
            os.fsync(self._descriptor)
            rename_new(self._temporary, self._name, self._folder, self._folder)
            os.fsync(self._folder)
        except FileExistsError:
            self.discard()
            raise Refused(f"{printable(self._path)}: somebody else has made it") from None
        except OSError as error:
            self.discard()
            raise failure(self._path, error) from error
        self._close()

    def discard(self) -> None:
        """Remove what was written of it. Safe to call twice, and after commit."""
        if self._open:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)
            self._close()

    def _close(self) -> None:
        self._open = False
        os.close(self._descriptor)
        os.close(self._folder)


def tar_on(descriptor: int, name: str) -> TarWriter:
    """Return the writer of a tar on an open file or pipe, from where it stands.

    Raises:
        Refused: it is a terminal.
    """
    if os.isatty(descriptor):
        raise Refused(f"{name} is a terminal: an archive is not for people; send it to a file")
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    at_start = is_file and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    return TarWriter(descriptor, name, rewinds=at_start)
