"""Opens archives: a tar file, a compressed one, and one on standard input.

registry.tar       its content is read where it lies               seekable.py
registry.tar.gz    passes, and can be decompressed again           streamed.py
-                  passes once; a plain file on it is read as one
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from regfs.errors import NotARegistry, PathDenied, StoreError, printable
from regfs.stores.archive.decompressors import GZIP, Bytes, is_zstd
from regfs.stores.archive.fields import BLOCK
from regfs.stores.archive.seekable import SeekableTar
from regfs.stores.archive.streamed import Opened, StreamedTar, StreamOptions
from regfs.stores.archive.unpacking import PlainStream
from regfs.stores.flat.store import FlatStore

STANDARD_INPUT: Final = "-"
_PIPE: Final = 1 << 20
"""Bytes that a pipe may hold: by default 16 times fewer, and each wakes the reader."""
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def is_archive(begin: bytes) -> bool:
    """Return whether a file is one that is opened here, by its first 512 bytes."""
    return begin.startswith(GZIP) or is_zstd(begin) or is_tar(begin)


def is_tar(begin: bytes) -> bool:
    """Return whether the first 512 bytes of a file are the header of a tar, of any age."""
    if begin[257:262] == b"ustar":
        return True
    field = begin[148:156].strip(b" \0")
    right = len(begin) == BLOCK and begin[0] != 0 and field.isdigit()
    return right and int(field) == int(f"{sum(begin) - sum(begin[148:156]) + 8 * 32:o}")


def open_archive(path: str, options: StreamOptions) -> FlatStore:
    """Open a tar file.

    Raises:
        NotARegistry: there is no tree in it.
        PathDenied, StoreError: it cannot be read.
    """
    where = os.path.abspath(path)
    descriptor = _opened(where)
    if is_tar(os.pread(descriptor, BLOCK, 0)):
        return FlatStore(SeekableTar(descriptor, where, layouts=options.layouts), where)
    os.close(descriptor)
    return FlatStore(streamed_file(where, options))


def streamed_file(path: str, options: StreamOptions) -> StreamedTar:
    """Return the source over a file, compressed or not, that is read from its start on."""

    def again(position: int, name: bytes) -> Opened:
        return _skipped(_file(path), position)

    return StreamedTar(path, lambda: _file(path), options, again=again)


def open_standard_input(options: StreamOptions) -> FlatStore:
    """Open the archive on standard input.

    Raises:
        As `open_archive`; and NotARegistry if it is a terminal.
    """
    try:
        descriptor = os.dup(0)
    except OSError as error:
        raise NotARegistry("standard input is closed: no archive comes from it") from error
    if os.isatty(descriptor):
        os.close(descriptor)
        raise NotARegistry("standard input is a terminal: no archive comes from it")
    status = os.fstat(descriptor)
    # A file that was read in part begins where it was left.
    is_whole = stat.S_ISREG(status.st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    if is_whole and is_tar(_begin(descriptor)):
        return FlatStore(SeekableTar(descriptor, STANDARD_INPUT, layouts=options.layouts))
    if stat.S_ISFIFO(status.st_mode):
        with suppress(OSError, AttributeError):  # no such call, or more than this user gets
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE)
    source = StreamedTar(STANDARD_INPUT, lambda: _stream(descriptor), options)
    return FlatStore(source)


def _opened(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except PermissionError as error:
        raise PathDenied(f"{printable(path)}: permission denied") from error
    except OSError as error:
        raise StoreError(f"{printable(path)}: {error.strerror}") from error


def _begin(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, BLOCK, 0)
    except OSError as error:
        raise StoreError(f"standard input cannot be read: {error.strerror}") from error


class _Raw:
    """The bytes of an open file or pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, /) -> bytes:
        return os.read(self._descriptor, size)


@contextmanager
def _stream(descriptor: int) -> Iterator[Bytes]:
    try:
        yield _Raw(descriptor)
    finally:
        os.close(descriptor)


def _file(path: str) -> Opened:
    return _stream(_opened(path))


@contextmanager
def _skipped(opened: Opened, position: int) -> Iterator[Bytes]:
    """Yield what is in an archive from a position of the tar on."""
    with opened as raw:
        stream = PlainStream(raw, _ignore)
        stream.skip_to(position)
        yield stream


def _ignore(amount: int) -> None:
    """Report no progress."""
