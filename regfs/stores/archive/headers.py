"""The entries of a tar, by their headers alone: ustar, pax and GNU.

    stream -> entries(stream) -> TarMember, TarMember, ...

Whoever takes a member may read its content from the stream before the next is asked for; what
was not read is skipped. No size that a header claims is believed before its bytes came: memory
holds one header, of at most 1 MiB.

It tells what a registry needs: names, sizes, times, links. `tarfile` takes eight times as long.
Layers have a walk of their own; `stores.archive.fields` says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from regfs.stores import FileKind
from regfs.stores.archive.fields import BLOCK, EXTENDED_LIMIT, NO_DATA, ZEROS, HeaderFields

_NOTHING: Final[Mapping[bytes, bytes]] = MappingProxyType({})
_KINDS: Final = {
    0x30: FileKind.FILE,  # 0
    0x00: FileKind.FILE,
    0x37: FileKind.FILE,  # 7, contiguous
    0x53: FileKind.FILE,  # S, sparse
    0x31: FileKind.FILE,  # 1, hard link
    0x32: FileKind.LINK,
    0x33: FileKind.SPECIAL,
    0x34: FileKind.SPECIAL,
    0x35: FileKind.FOLDER,
    0x36: FileKind.SPECIAL,
    0x44: FileKind.FOLDER,  # D, a folder with its names
}
_HARD, _SPARSE = b"1S"
_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL = b"LKxg"
_EXTENDED: Final = frozenset(b"LKxg")
_NO_ENTRIES: Final = frozenset(b"VMN")
"""A volume label, the rest of a file from another volume, and names of an old kind."""


class ArchiveDamaged(Exception):
    """The tar cannot be read on; the message says where and why."""


class TarStream(Protocol):
    """A tar as bytes that come one after the other."""

    position: int
    """Bytes that have come, or were skipped."""

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""

    def skip_to(self, position: int) -> bool:
        """Skip to a position that has not come yet; return whether the stream reaches it."""


class TarMember(NamedTuple):
    """One entry of a tar."""

    name: bytes
    kind: FileKind
    size: int
    """Bytes of its content, as it unpacks."""
    mtime: float
    target: bytes | None
    """What a link leads to; of a FILE, the name of the file that it is a second name of."""
    position: int
    """Where its content begins."""
    sparse: bool
    """Whether the content is stored in parts, without its holes."""


def entries(stream: TarStream) -> Iterator[TarMember]:
    """Yield every entry.

    Raises:
        ArchiveDamaged: it is no tar, damaged, or ends before its end marker.
    """
    return _HeaderWalk(stream).run()


class _HeaderWalk(HeaderFields):
    def __init__(self, stream: TarStream) -> None:
        self._stream = stream
        self._count = 0
        self._extra: Mapping[bytes, bytes] = _NOTHING
        """What extended headers say of the next entry."""

    def run(self) -> Iterator[TarMember]:
        stream = self._stream
        zeros = 0
        while zeros < 2:
            block = stream.take(BLOCK)
            if block == ZEROS:
                zeros += 1
                continue
            if len(block) < BLOCK:
                raise self.error("it is cut off" if self._count or block else "it is empty")
            if zeros:
                raise self.error("an entry follows a single block of zeros")
            member, end = self._header(block)
            if member is not None:
                self._count += 1
                yield member
            if not stream.skip_to(end):
                raise self.error("it is cut off")

    def _header(self, block: bytes) -> tuple[TarMember | None, int]:
        """Return the entry of a header, if it has one, and where the next header begins."""
        self.check_sum(block)
        kind = block[156]
        stored = self.number(block[124:136], "size")
        if kind in _EXTENDED:
            self._take_extended(kind, stored)
            return None, _padded(self._stream.position)
        extra, self._extra = self._extra, _NOTHING
        if extra and b"size" in extra:
            stored = self.natural(extra[b"size"], "size")
        if kind in NO_DATA:
            stored = 0
        size, sparse = stored, kind == _SPARSE
        if sparse:
            size = self.number(block[483:495], "size")
            self._skip_map(block)
        if extra:
            for key in (b"GNU.sparse.realsize", b"GNU.sparse.size"):
                if key in extra:
                    size, sparse = self.natural(extra[key], "size"), True
        position = self._stream.position
        end = _padded(position + stored)
        if kind in _NO_ENTRIES:
            return None, end
        name = extra.get(b"GNU.sparse.name") or extra.get(b"path") or _name(block)
        found = _KINDS.get(kind, FileKind.FILE)
        if found is FileKind.FILE and name.endswith(b"/") and kind != _HARD:
            found = FileKind.FOLDER  # as tars older than POSIX write one
        target = None
        if kind == _HARD or found is FileKind.LINK:
            target = extra.get(b"linkpath") or _text(block[157:257])
        mtime = self._time(block, extra)
        return TarMember(name, found, size, mtime, target, position, sparse), end

    def _take_extended(self, kind: int, size: int) -> None:
        if size > EXTENDED_LIMIT:
            raise self.error(f"a header of {size} bytes")
        content = self._stream.take(size)
        if len(content) < size:
            raise self.error("it is cut off")
        if kind == _LONG_NAME:
            self._extra = {**self._extra, b"path": content.rstrip(b"\0")}
        elif kind == _LONG_TARGET:
            self._extra = {**self._extra, b"linkpath": content.rstrip(b"\0")}
        elif kind == _PAX:
            self._extra = {**self._extra, **dict(self.records(content))}

    def _skip_map(self, block: bytes) -> None:
        """Skip the further headers of a sparse file."""
        more = block[482]
        while more:
            block = self._stream.take(BLOCK)
            if len(block) < BLOCK:
                raise self.error("it is cut off")
            more = block[504]

    def _time(self, block: bytes, extra: Mapping[bytes, bytes]) -> float:
        """Return when an entry was changed; the epoch if that is not to be understood."""
        try:
            if b"mtime" in extra:
                time = float(extra[b"mtime"][:40])
                return time if abs(time) < 1e12 else 0.0
            field = block[136:148]
            if field[0] & 0x80:
                value = int.from_bytes(field[1:]) if not field[0] & 0x40 else 0
                return float(value) if value < 10**12 else 0.0
            return float(int(field.strip(b" \0") or b"0", 8))
        except ValueError:
            return 0.0

    def error(self, what: str) -> ArchiveDamaged:
        """Return the error that says where and what is wrong."""
        place = f"after {self._count} entries, at byte {self._stream.position}"
        return ArchiveDamaged(f"{what} ({place})")


def _padded(position: int) -> int:
    return position + -position % BLOCK


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _name(block: bytes) -> bytes:
    name = _text(block[:100])
    if block[257:265] == b"ustar\x0000" and (prefix := _text(block[345:500])):
        return prefix + b"/" + name
    return name
