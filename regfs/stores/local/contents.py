"""Contents and identities of the files of a listing, one folder at a time.

    contents   <folder>/<name>/<leaf>   their first bytes
    identify   <folder>/<name>/<leaf>   which files they are

A file that is no longer regular, or is long, is read by `reader`, which checks more.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from regfs.errors import PathMissing, StoreError
from regfs.stores import FileId, ignore
from regfs.stores.local.reader import READ_FLAGS, LocalReader
from regfs.stores.local.root import failure, joined

_SHORT: Final = 1 << 16
"""Bytes that are read in one go: longer than any link and nearly any manifest."""


def contents(
    reader: LocalReader,
    folder: str,
    names: Iterable[str],
    leaf: str,
    limit: int,
    *,
    seen: bool = False,
) -> Iterator[bytes | StoreError]:
    """Yield the first bytes of each leaf; the folder is opened once."""
    reader.root.full(leaf)
    descriptor = reader.open_listed(folder, ignore)
    if descriptor is None:
        for name in names:
            yield PathMissing(f"{joined(folder, name)}/{leaf}: not found")
        return
    read = beginning if seen else _plain
    try:
        for name in names:
            yield read(reader, descriptor, folder, f"{name}/{leaf}", limit)
    finally:
        os.close(descriptor)


def identify(
    reader: LocalReader, folder: str, names: Iterable[str], leaf: str
) -> Iterator[FileId | None]:
    """Yield which file each leaf is; the folder is opened once."""
    reader.root.full(leaf)
    descriptor = reader.open_listed(folder, ignore)
    if descriptor is None:
        yield from (None for _ in names)
        return
    try:
        for name in names:
            try:
                status = os.stat(f"{name}/{leaf}", dir_fd=descriptor)
            except OSError:
                yield None
            else:
                yield FileId(status.st_dev, status.st_ino, status.st_ctime_ns)
    finally:
        os.close(descriptor)


def _plain(
    reader: LocalReader, parent: int, folder: str, path: str, limit: int
) -> bytes | StoreError:
    """Return the first bytes of a file, after checking that it is one."""
    try:
        # A listing of names has not checked it, and opening a FIFO or a device has effects.
        mode = os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            return beginning(reader, parent, folder, path, limit)
        return reader.read_or_error(joined(folder, path), limit)
    except OSError as error:
        return reader.root.fault(joined(folder, path), error)


def beginning(
    reader: LocalReader, parent: int, folder: str, path: str, limit: int
) -> bytes | StoreError:
    """Return the first bytes of a file that was just listed as a regular file in the tree."""
    try:
        descriptor = os.open(path, READ_FLAGS, dir_fd=parent)
        try:
            data = os.read(descriptor, min(limit, _SHORT))
            if len(data) < _SHORT or limit == _SHORT:
                return data
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOENT):
            return failure(joined(folder, path), error)
    # A long or missing file, or a link to a file inside the tree.
    return reader.read_or_error(joined(folder, path), limit)
