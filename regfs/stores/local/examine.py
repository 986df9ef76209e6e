"""Checking what is about to be changed: what it is, and whether it is alone in its folder."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Final

from regfs.errors import StoreError
from regfs.stores import FileKind, PathState, ignore
from regfs.stores.local.reader import PIECE, READ_FLAGS, LocalReader
from regfs.stores.local.root import LastFolder, failure, is_name

_SHOWS: Final = 2.0
"""Seconds after which a change of a folder surely gives it another time: FAT counts in twos."""
_PLAIN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def examine(
    reader: LocalReader, paths: Iterable[str | PathState], *, limit: int = 0
) -> Iterator[PathState | StoreError]:
    """Yield what is at each path, and whether its folder holds nothing else.

    If the folder has not changed since an earlier answer, its contents are known: two calls
    of stat replace opening, listing and closing it.
    """
    with LastFolder(reader.root) as last_folder:
        for path in paths:
            if isinstance(path, PathState):
                before, path = path, path.entry.path
                if (seen := _seen_again(reader, last_folder, before)) is not None:
                    yield seen
                    continue
            yield _examine(reader, last_folder, path, limit)


def _seen_again(
    reader: LocalReader, last_folder: LastFolder, before: PathState
) -> PathState | None:
    """Return what is there if its folder has not changed; else None."""
    if not before.folder:
        return None
    entry = before.entry
    folder, _, name = entry.path.rpartition("/")
    above, _, last = folder.rpartition("/")
    try:
        parent = last_folder.open(above)
        if _state(os.stat(last, dir_fd=parent, follow_symlinks=False)) != before.folder:
            return None
        status = os.stat(f"{last}/{name}", dir_fd=parent, follow_symlinks=False)
    except (OSError, StoreError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return None
    if (status.st_size, status.st_mtime, status.st_ctime) == (
        entry.size,
        entry.mtime,
        entry.changed,
    ) and stat.S_ISREG(status.st_mode):
        return before
    return PathState(reader.entry(entry.path, status, ignore), before.alone, before.folder)


def _examine(
    reader: LocalReader, last_folder: LastFolder, path: str, limit: int
) -> PathState | StoreError:
    try:
        return _examined(reader, last_folder, path, limit) or _examined_with_care(
            reader, path, limit
        )
    except StoreError as error:
        return error


def _examined(
    reader: LocalReader, last_folder: LastFolder, path: str, limit: int
) -> PathState | None:
    """Return what is at a path if neither it nor its folder is a link; else None."""
    folder, _, name = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    if not above:
        return None
    if not (is_name(last) and is_name(name)):
        return None
    try:
        inside = os.open(last, _PLAIN_FOLDER, dir_fd=last_folder.open(above))
        try:
            # Before it is listed, so that a later change shows in its time.
            listed = os.fstat(inside)
            alone = _holds_only(inside, name)
            status = os.stat(name, dir_fd=inside, follow_symlinks=False)
            plain = limit and stat.S_ISREG(status.st_mode)
            content = _beginning(inside, path, name, limit) if plain else None
        finally:
            os.close(inside)
    except (OSError, UnicodeEncodeError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return None
    known = _state(listed) if time.time() - listed.st_mtime > _SHOWS else ()
    return PathState(reader.entry(path, status, ignore), alone, known, content)


def _examined_with_care(reader: LocalReader, path: str, limit: int) -> PathState:
    entry = reader.stat(path)
    content = reader.read_or_error(path, limit) if limit and entry.kind is FileKind.FILE else None
    inside = reader.open_listed(path.rpartition("/")[0], ignore)
    if inside is None:
        return PathState(entry, alone=False, content=content)
    try:
        alone = _holds_only(inside, path.rpartition("/")[2])
    except OSError as error:
        raise reader.root.fault(path, error) from error
    finally:
        os.close(inside)
    return PathState(entry, alone, content=content)


def _state(folder: os.stat_result) -> tuple[int, ...]:
    """Return what changes when anything comes into a folder or leaves it."""
    return folder.st_ino, folder.st_mtime_ns, folder.st_ctime_ns, folder.st_mode


def _beginning(folder: int, path: str, name: str, limit: int) -> bytes | StoreError:
    """Return what a regular file in an open folder begins with, up to `PIECE` bytes."""
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=folder)
        try:
            return os.read(descriptor, min(limit, PIECE))
        finally:
            os.close(descriptor)
    except OSError as error:
        return failure(path, error)


def _holds_only(folder: int, name: str) -> bool:
    """Return whether an open folder holds this and nothing else."""
    with os.scandir(folder) as children:
        first, second = next(children, None), next(children, None)
        return second is None and first is not None and first.name == name
