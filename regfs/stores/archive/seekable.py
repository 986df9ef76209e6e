"""A tar file that is not compressed: its headers are read once, its content where it lies."""

from __future__ import annotations

import io
import os
import weakref
from typing import Any, BinaryIO, Final, cast

from regfs.errors import NotARegistry, StoreError, printable
from regfs.findings import Code, Finding
from regfs.stores import Capability
from regfs.stores.archive.headers import ArchiveDamaged, entries
from regfs.stores.flat.gathering import Gathering
from regfs.stores.flat.rows import V2, Rows, path_of

ADVICE: Final = "regfs reads an archive and never changes it; unpack it, and give the folder"
SPARSE: Final = "a sparse file in an archive, which is not read; unpack it, give the folder"
_BUFFER: Final = 64 << 10


def truncated(error: ArchiveDamaged) -> Finding:
    """Return the finding of a tar that cannot be read to its end."""
    return Finding(Code.ARCHIVE_TRUNCATED, path_of(V2), actual=str(error))


class SeekableTar:
    """The source of a flat store over an open file."""

    capabilities = Capability(0)
    ahead = 1

    def __init__(self, descriptor: int, url: str, *, layouts: bool = False) -> None:
        """It takes over the descriptor, of a regular file; `layouts` as in StreamOptions."""
        self.url = url
        self._layouts = layouts
        self.refusal = f"{printable(url)}: {ADVICE}"
        self._descriptor = descriptor
        self._rows = Rows([])
        weakref.finalize(self, os.close, descriptor)

    def rows(self) -> Rows:
        """Read the headers."""
        gathering = Gathering(f"{printable(self.url)}: an archive", layouts=self._layouts)
        stream = _HeaderFile(self._descriptor, self.url)
        count = 0
        try:
            for member in entries(stream):
                count += 1
                gathering.add(member, -1 if member.sparse else member.position)
        except ArchiveDamaged as error:
            if not count:
                raise NotARegistry(
                    f"{printable(self.url)}: neither a folder nor a tar archive: {error}"
                ) from None
            gathering.problems.append(truncated(error))
        self._rows = gathering.finish()
        return self._rows

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of a file by its position."""
        left = max(self._rows.sizes[row] - offset, 0)
        size = left if length is None else min(left, length)
        position = self._place(row) + offset
        return open_part(self._descriptor, position, size, path_of(self._rows.keys[row]))

    def read(self, row: int, limit: int) -> bytes:
        """Return the first bytes of a file."""
        size = min(self._rows.sizes[row], limit)
        return read_part(self._descriptor, self._place(row), size, self._rows.keys[row])

    def _place(self, row: int) -> int:
        place = self._rows.places[row]
        if place < 0:
            raise StoreError(f"{printable(path_of(self._rows.keys[row]))}: {SPARSE}")
        return place

    def known(self, row: int) -> bytes | None:
        """Return None: every file is read."""
        return None

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return None: a file is read where it lies."""
        return None


def read_part(descriptor: int, position: int, size: int, key: bytes) -> bytes:
    """Return a part of an open file.

    Raises:
        StoreError: it cannot be read, or the file ends within it.
    """
    try:
        data = os.pread(descriptor, size, position)
    except OSError as error:
        words = (error.strerror or type(error).__name__).lower()
        raise StoreError(f"{printable(path_of(key))}: {words}") from error
    if len(data) == size:
        return data
    with open_part(descriptor, position, size, path_of(key)) as part:
        return part.read()


def open_part(descriptor: int, position: int, size: int, path: str) -> BinaryIO:
    """Open a part of an open file, which is read by position: many can be read at once."""
    return cast(BinaryIO, _ArchivedFile(descriptor, position, size, path))


class _ArchivedFile(io.RawIOBase):
    def __init__(self, descriptor: int, position: int, left: int, path: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = position
        self._left = left
        self._path = path

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`; return the number of bytes."""
        if not self._left:
            return 0
        with memoryview(buffer) as view:
            try:
                wanted = view[: self._left]
                count = os.preadv(self._descriptor, [wanted], self._position)
            except OSError as error:
                words = error.strerror or type(error).__name__
                raise StoreError(f"{printable(self._path)}: {words.lower()}") from error
        if not count:
            raise StoreError(f"{printable(self._path)}: the archive ends within it")
        self._position += count
        self._left -= count
        return count


class _HeaderFile:
    """The stream of headers; content is skipped without reading it."""

    def __init__(self, descriptor: int, url: str) -> None:
        self.position = 0
        self._descriptor = descriptor
        self._url = url
        self._size = os.fstat(descriptor).st_size
        self._buffer, self._start = b"", 0

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        start = self.position - self._start
        if not 0 <= start <= len(self._buffer) - size:
            self._buffer, self._start = self._read(max(size, _BUFFER)), self.position
            start = 0
        found = self._buffer[start : start + size]
        self.position += len(found)
        return found

    def _read(self, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, self.position)
        except OSError as error:
            raise StoreError(f"{printable(self._url)}: {error.strerror}") from error

    def skip_to(self, position: int) -> bool:
        """Go to a position; return whether the file reaches it."""
        self.position = position
        return position <= self._size
