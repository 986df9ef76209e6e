"""A folder of answers that can be computed again: outside of any tree, bounded, never trusted.

    Cache(folder, limit).get("entries", digest) -> bytes, or None
                        .put("entries", digest, data)

An item is one file, compressed, with a checksum: what is damaged counts as absent. Files appear
whole (a temporary file that is renamed) and those not used for longest go first, so any number of
processes share one folder; only files with the names of items are ever deleted. A folder that
other users could write to is not used. Nothing here fails: a disk that is full or read-only makes
a cache that keeps nothing.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Final

from regfs.digest import Digest

LIMIT: Final = 2_000_000_000
"""Bytes that a cache keeps, if nothing else is said."""
_MAGIC: Final = b"regfs\x01"
_HEAD: Final = struct.Struct("<6sQI")
"""Magic, bytes of the item as it was put, checksum of what follows."""
_TEMPORARY: Final = "new-"
_NAME: Final = re.compile(r"new-\w+|[a-z]+-sha[0-9]+-[0-9a-f]{64,128}")
_ABANDONED: Final = 3600.0
"""Seconds after which a temporary file belongs to nobody."""
_FULL: Final = 0.9
"""Part of the limit that stays when old items are deleted."""
_LEVEL: Final = 1
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A pipe of that name is not waited for."""
LARGEST: Final = 1 << 31
"""Bytes of an item."""


class Cache:
    """Answers by key, in one folder."""

    def __init__(self, folder: str, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self.problem: str | None = None
        """Why it keeps nothing; None while it does."""
        self._size: int | None = None
        """Bytes in the folder, as far as this process knows."""

    def get(self, kind: str, digest: Digest) -> bytes | None:
        """Return what is kept of some kind about a blob; None if it is not there, or damaged."""
        path = self._path(kind, digest)
        if not self._is_ours():
            return None
        try:
            descriptor = os.open(path, _FLAGS)
            with open(descriptor, "rb") as stream:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_size > self.limit:
                    return None
                data = stream.read()
                os.utime(descriptor)
        except OSError:
            return None
        return unpack_item(data)

    def put(self, kind: str, digest: Digest, data: bytes) -> None:
        """Keep something about a blob, in place of an earlier item of that kind."""
        if not self._is_ours(make=True):
            return
        packed = pack_item(data)
        if len(packed) > self.limit:
            return
        try:
            self._write(self._path(kind, digest), packed)
        except OSError as error:
            self.problem = f"{self.folder}: {error.strerror or error}"
            return
        if self._size is None:
            self._size = sum(size for _, size, _ in self._items())
        else:
            self._size += len(packed)
        if self._size > self.limit:
            self._shrink()

    def _is_ours(self, *, make: bool = False) -> bool:
        """Return whether nobody else can put anything into the folder."""
        try:
            if make:
                os.makedirs(self.folder, mode=0o700, exist_ok=True)
            found = os.stat(self.folder)
        except OSError as error:
            if make:
                self.problem = f"{self.folder}: {error.strerror or error}"
            return False
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            self.problem = f"{self.folder}: other users can write there, or it is theirs"
            return False
        return True

    def _path(self, kind: str, digest: Digest) -> str:
        return os.path.join(self.folder, f"{kind}-{digest.algorithm}-{digest.encoded}")

    def _write(self, path: str, data: bytes) -> None:
        import tempfile

        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.folder)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(data)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _items(self) -> Iterator[tuple[float, int, str]]:
        """Yield when each file was last used, its size, and its path."""
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if not _NAME.fullmatch(entry.name):
                    continue
                with suppress(OSError):  # another process has deleted it
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        yield found.st_mtime, found.st_size, entry.path

    def _shrink(self) -> None:
        """Delete what was not used for longest."""
        items = sorted(self._items())
        size = sum(one for _, one, _ in items)
        for used, one, path in items:
            new = os.path.basename(path).startswith(_TEMPORARY)
            if new and used > time.time() - _ABANDONED:
                continue
            if not new and size <= self.limit * _FULL:
                continue
            with suppress(OSError):
                os.unlink(path)
                size -= one
        self._size = size


def pack_item(data: bytes) -> bytes:
    """Return data compressed, behind a checksum."""
    packed = _zstd().compress(data, _LEVEL)
    return _HEAD.pack(_MAGIC, len(data), zlib.crc32(packed)) + bytes(packed)


def unpack_item(data: bytes, limit: int = LARGEST) -> bytes | None:
    """Return what `pack_item` was given; None of what is damaged, or larger than `limit`."""
    if len(data) < _HEAD.size:
        return None
    magic, size, checksum = _HEAD.unpack_from(data)
    packed = memoryview(data)[_HEAD.size :]
    if magic != _MAGIC or size > limit or zlib.crc32(packed) != checksum:
        return None
    zstd = _zstd()
    try:
        found = zstd.ZstdDecompressor().decompress(packed, max_length=size + 1)
    except zstd.ZstdError:
        return None
    return found if len(found) == size else None


def _zstd() -> ModuleType:
    """Import the compressor: every command has a cache, and few look into it."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
