"""What is inside a layer: how it is packed, its tar, and whether that is well formed.

    media type -> packing_of -> Packing.GZIP
    blob -> open_layer -> LayerReader -> pieces -> TarCheck        (and a digest: the diffID)

Only bytes are known here, no store and no manifest, so that verify, reports and workers in
processes of their own can use it. Everything is streamed. Memory holds one piece, the window of
the decompressor (zstd: at most 128 MiB) and one extended header, whatever sizes hostile headers
claim and however much a small blob unpacks to.

As for every client, the data says how it is packed; the media type says only whether to expect a
tar at all.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import BinaryIO, Final, cast

from regfs.digest import BUFFER_SIZE, Readable
from regfs.errors import LayerInvalid

BLOCK: Final = 512
EXTENDED_LIMIT: Final = 1 << 20
"""Maximum bytes of an extended header (pax, long names), as in clients written in Go."""
_PACKED: Final = 64 << 10
"""Bytes of a layer to read at a time; many layers are small."""
_LARGEST: Final = 2**63 - 1


class Packing(StrEnum):
    """The compression of a layer."""

    TAR = "tar"
    """Not packed."""
    GZIP = "gzip"
    ZSTD = "zstd"


_TAR_TYPE: Final = re.compile(
    r"application/vnd\.(?:"
    r"oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?P<oci>gzip|zstd))?"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(?P<docker>gzip|zstd))?"
    r")(?P<encrypted>\+encrypted)?"
)


def packing_of(media_type: str) -> Packing | None:
    """Return how a layer of a media type is packed; None if it has no readable tar."""
    found = _TAR_TYPE.fullmatch(media_type)
    if found is None or found["encrypted"]:
        return None
    return Packing(found["oci"] or found["docker"] or "tar")


def is_filesystem(media_type: str) -> bool:
    """Return whether a layer of a media type is part of a root filesystem, readable or not."""
    return _TAR_TYPE.fullmatch(media_type) is not None


# -- unpacking --------------------------------------------------------------------------


class LayerReader:
    """The tar of a layer, as a stream."""

    def __init__(self, source: Readable, packing: Packing, broken: tuple[type[Exception], ...]):
        self.packing = packing
        self._source = source
        self._broken = broken

    def read(self, size: int = BUFFER_SIZE, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            LayerInvalid: the packed data is damaged, truncated or continues after its end.
            StoreError: the blob cannot be read.
        """
        try:
            return self._source.read(size)
        except self._broken as error:
            raise LayerInvalid(f"{self.packing}: {error}") from None


_FOREIGN_MAGIC: Final = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


def open_layer(stream: BinaryIO) -> LayerReader:
    """Return the tar in a layer, unpacked while it is read; `stream` is a raw file.

    gzip with many members (eStargz, pigz) is one tar, and zeros may follow; so is zstd with many
    frames, including skippable ones (zstd:chunked).

    Raises:
        LayerInvalid: it is packed in a way that layers are not.
        StoreError: the blob cannot be read.
    """
    buffered = io.BufferedReader(cast(io.RawIOBase, stream), _PACKED)
    magic = buffered.peek(6)[:6]
    source = cast(BinaryIO, buffered)
    if magic.startswith(b"\x1f\x8b"):
        return _gzip(source)
    if magic.startswith(b"\x28\xb5\x2f\xfd") or magic[1:4] == b"\x2a\x4d\x18":
        return _zstd(source)
    for beginning, name in _FOREIGN_MAGIC.items():
        if magic.startswith(beginning):
            raise LayerInvalid(f"packed with {name}, which is not allowed for layers")
    return LayerReader(source, Packing.TAR, ())


def _gzip(source: BinaryIO) -> LayerReader:
    # Two to three times as fast as zlib; not available for every processor.
    opener: Callable[..., Readable]
    broken: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    try:
        from isal import igzip, isal_zlib

        opener, broken = igzip.IGzipFile, (*broken, cast(type[Exception], isal_zlib.error))
    except ImportError:
        opener = gzip.GzipFile
    return LayerReader(opener(fileobj=source, mode="rb"), Packing.GZIP, broken)


def _zstd(source: BinaryIO) -> LayerReader:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError, ZstdFile
    else:
        from backports.zstd import ZstdError, ZstdFile
    return LayerReader(ZstdFile(source), Packing.ZSTD, (OSError, EOFError, ZstdError))


# -- the tar ----------------------------------------------------------------------------

_NO_DATA: Final = frozenset(b"123456")
"""Types without data, whatever size they claim: links, devices, folders, FIFOs."""
_PAX, _PAX_GLOBAL, _SPARSE = b"xgS"
_EXTENDED: Final = frozenset(b"xgLK")
_ZEROS: Final = bytes(BLOCK)
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,6}) ")


class TarCheck:
    """Checks whether a tar is well formed, piece by piece.

    Like clients that unpack layers, it checks that sizes, checksums and pax records are right and
    that nothing is truncated. The end marker may be missing; what follows it is ignored.
    `tarfile` would find the same at a sixth of the speed, because it also reads names, times and
    owners.
    """

    def __init__(self) -> None:
        self.entries = 0
        """Number of files, folders, links and so on."""
        self._rest = b""
        self._skip = 0
        self._padding = 0
        self._kind = 0
        """Type of the extended header whose content comes next; 0 for none."""
        self._block = BLOCK
        """Bytes to take at once next."""
        self._pending: int | None = None
        """Bytes of data after the further headers of a sparse file; None outside of one."""
        self._size: int | None = None
        """The size of the next entry according to a pax header."""
        self._zeros = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            LayerInvalid: it is not a tar archive, or it is damaged.
        """
        if self._zeros == 2:
            return
        data = self._rest + piece if self._rest else piece
        end, position = len(data), self._skip
        while position + self._block <= end:
            block = data[position : position + self._block]
            position += self._block
            position += self._take(block)
            if self._zeros == 2:
                return
        self._rest = data[position:]
        self._skip = max(0, position - end)

    def finish(self) -> None:
        """End the archive after the last piece.

        Raises:
            LayerInvalid: it is truncated.
        """
        if self._zeros == 2:
            return
        # The padding of the last block is no data, and some writers omit it.
        if self._rest or self._kind or self._pending is not None or self._skip > self._padding:
            raise LayerInvalid(f"tar is truncated in or after entry {self.entries}")

    def _take(self, block: bytes) -> int:
        """Take a header, or the content of one; return the number of bytes to skip."""
        if self._kind:
            return self._take_extended(block)
        if self._pending is not None:
            if block[504]:
                return 0
            skip, self._pending = self._pending, None
            return skip
        if block == _ZEROS:
            self._zeros += 1
            return 0
        if self._zeros:
            raise self._error("it follows a single block of zeros")
        return self._take_header(block)

    def _take_header(self, block: bytes) -> int:
        self._check_sum(block)
        kind = block[156]
        size = self._number(block[124:136], "size")
        if kind in _EXTENDED:
            if size > EXTENDED_LIMIT:
                raise self._error(f"an extended header of {size} bytes")
            if size:
                self._kind, self._block, self._padding = kind, size, -size % BLOCK
            return 0
        self.entries += 1
        if self._size is not None:
            size, self._size = self._size, None
        if kind in _NO_DATA:
            return 0
        self._padding = -size % BLOCK
        if kind == _SPARSE and block[482]:
            self._pending = size + self._padding
            return 0
        return size + self._padding

    def _take_extended(self, content: bytes) -> int:
        if self._kind in (_PAX, _PAX_GLOBAL):
            for key, value in self._records(content):
                if key == b"size" and self._kind == _PAX:
                    if not value.isdigit() or len(value) > 19 or int(value) > _LARGEST:
                        raise self._error(f"a pax size of {_shown(value)}")
                    self._size = int(value)
        self._kind, self._block = 0, BLOCK
        return self._padding

    def _records(self, content: bytes) -> list[tuple[bytes, bytes]]:
        r"""Return the records `<length> <key>=<value>\n` of a pax header."""
        found, position = [], 0
        while position < len(content):
            length = _RECORD.match(content, position)
            end = position + int(length[1]) if length else 0
            record = content[length.end() : end] if length else b""
            key, equals, value = record.partition(b"=")
            if not equals or not key or end > len(content) or record[-1:] != b"\n":
                raise self._error("an invalid pax header")
            found.append((key, value[:-1]))
            position = end
        return found

    def _check_sum(self, block: bytes) -> None:
        """Check the sum of all bytes, with those of the checksum field counted as spaces."""
        field = block[148:156]
        stated = self._number(field, "checksum")
        expected = stated + sum(field) - 8 * 32
        # The low half of adler32 is the sum modulo 65521: twenty times as fast as sum(block).
        if zlib.adler32(block) & 0xFFFF == (expected + 1) % 65521:
            return
        # Some old writers summed signed bytes.
        signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])
        if stated != signed + 8 * 32:
            raise self._error("its checksum is wrong" if self.entries else "not a tar archive")

    def _number(self, field: bytes, name: str) -> int:
        if field[0] & 0x80:  # base 256, for numbers too large for octal digits
            value = int.from_bytes(field) - (0x80 << 8 * (len(field) - 1))
            if field[0] & 0x40 or value > _LARGEST:
                raise self._error(f"a {name} that is negative or too large")
            return value
        text = field.strip(b" \0").partition(b"\0")[0]
        if not text:
            return 0
        if not text.isdigit() or b"8" in text or b"9" in text:
            raise self._error(f"a {name} that is not a number")
        return int(text, 8)

    def _error(self, what: str) -> LayerInvalid:
        return LayerInvalid(f"tar header after {self.entries} entries: {what}")


def _shown(value: bytes) -> str:
    return repr(value[:40])[1:]
