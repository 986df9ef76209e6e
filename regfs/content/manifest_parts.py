"""Files of manifests: what one of several machines has read, for the one that plans.

    write_part(path, folders)          a line, then an item for each folder of blobs, then the end
    ManifestPart.open(path).folder("sha256:0a") -> {hexadecimal digits: bytes}
    MergedParts([part, ..], then)      as `KeptManifests`, which `graph` asks for what it needs

A part is as little believed as what is kept of earlier runs (`content.kept_manifests`): each
manifest in it is hashed, and its blob has to be listed with the same size. So a part that is torn,
damaged, old, of another tree or made up costs time, and cannot say anything that is not so: what
is in none of the parts is read from the store. A part needs no checksum for that; it has one for
each item, and an end, so that damage is said.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, Final, NamedTuple, Self

from regfs.content.cache import pack_item, unpack_item
from regfs.content.kept_manifests import MOST, KeptManifests, pack, unpack
from regfs.errors import DocumentInvalid, StoreError, printable

_MAGIC: Final = b"regfs manifests 1\n"
_RECORD: Final = struct.Struct("<12sQ")
"""Name of a folder, bytes of its item; behind the last, the end and how many items there are."""
_END: Final = b"end"
_ROOM: Final = MOST + (MOST >> 2)
"""Bytes of an item, and of what is in it beside manifests."""
_MANY: Final = 1 << 16
"""Folders of a part: there are 256 for each algorithm."""


class _PartItem(NamedTuple):
    offset: int
    length: int


def write_part(path: str, folders: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write manifests, given by folder and the digits of their digests.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        with open(path, "wb") as stream:
            _write(stream, folders)
    except OSError as error:
        raise StoreError(f"{printable(path)}: {os.strerror(error.errno or 0)}") from None


def _write(stream: BinaryIO, folders: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    stream.write(_MAGIC)
    count = 0
    for name, manifests in folders:
        item = pack_item(pack(manifests))
        stream.write(_RECORD.pack(name.encode(), len(item)) + item)
        count += 1
    stream.write(_RECORD.pack(_END, count))


class ManifestPart:
    """One file of manifests. May be used from several threads."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.problem: str | None = None
        """What is wrong with it; None as far as it was read."""
        self._descriptor = descriptor
        self._items = self._index(os.fstat(descriptor).st_size)

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a part.

        Raises:
            StoreError: it cannot be read.
            DocumentInvalid: it is no such file.
        """
        try:
            # Not to wait for the writer of a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            head = os.pread(descriptor, len(_MAGIC), 0) if regular else b""
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            raise StoreError(f"{printable(path)}: {reason}") from None
        if head != _MAGIC:
            os.close(descriptor)
            raise DocumentInvalid(
                f"{printable(path)}: not a file that gc plan --subset has written"
            )
        return cls(path, descriptor)

    def _index(self, size: int) -> dict[str, list[_PartItem]]:
        """Return where the items of each folder are."""
        found: dict[str, list[_PartItem]] = {}
        offset = len(_MAGIC)
        for count in range(_MANY):
            record = os.pread(self._descriptor, _RECORD.size, offset)
            if len(record) < _RECORD.size:
                break
            name, length = _RECORD.unpack(record)
            name = name.rstrip(b"\0")
            if name == _END and length == count:
                return found
            offset += _RECORD.size
            if length > min(_ROOM, size - offset):
                break
            found.setdefault(name.decode("latin-1"), []).append(_PartItem(offset, length))
            offset += length
        self.problem = f"is cut off or damaged at byte {offset}"
        return found

    def folder(self, name: str) -> Mapping[str, bytes]:
        """Return what the part has of a folder of blobs: nothing is checked but its checksum."""
        found: dict[str, bytes] = {}
        for offset, length in self._items.get(name, ()):
            try:
                data = unpack_item(os.pread(self._descriptor, length, offset), _ROOM)
            except OSError as error:
                data, self.problem = None, os.strerror(error.errno or 0)
            if data is None:
                self.problem = self.problem or f"is damaged at byte {offset}"
            else:
                found |= unpack(data)
        return found

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class MergedParts:
    """Manifests of several parts, and of what is kept otherwise."""

    def __init__(self, parts: Sequence[ManifestPart], then: KeptManifests | None = None) -> None:
        self._parts = parts
        self._then = then
        self.lacking = 0
        """Number of manifests that were read from the store, because no part has them."""

    def folder(self, name: str) -> Mapping[str, bytes]:
        """Return what there is of a folder of blobs."""
        found = {} if self._then is None else dict(self._then.folder(name))
        for part in self._parts:
            found.update(part.folder(name))
        return found

    def keep(self, name: str, kept: Mapping[str, bytes], added: Mapping[str, bytes]) -> None:
        """Keep what was read now with the rest, where things are kept."""
        self.lacking += len(added)
        if self._then is not None:
            self._then.keep(name, kept, added)
