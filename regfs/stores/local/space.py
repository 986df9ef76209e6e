"""The free space of a directory store, and how far a rename reaches.

A rename goes no further than one file system, nor than one mount of it: the kernel answers
EXDEV between two mounts of the same disk too, where the device number is the same. So the
device number of a folder is asked, and the table of mounts where the kernel has one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Final

from regfs.stores import Room
from regfs.stores.local.root import V2, LocalRoot, adopt

_MOUNTS: Final = "/proc/self/mountinfo"
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_CANNOT: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_CLAIM: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_EFFECTIVE: Final = os.access in os.supports_effective_ids
_ALGORITHM_DEPTH: Final = 4
"""Slashes in `docker/registry/v2/blobs/<algorithm>`. Links are looked for down to there."""


def require_writable(root: LocalRoot, folders: Iterable[str]) -> None:
    """Ask the kernel for the permission; nothing is written to find out."""
    for folder in folders:
        folder = _existing(root, folder)
        full = root.full(folder)
        if not os.access(full, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
            read_only = os.statvfs(full).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise root.fault(folder, OSError(number, os.strerror(number)))


def room(root: LocalRoot, folder: str) -> Room:
    """Return the space that is free for this user, and what a new folder takes."""
    folder = _existing(root, folder)
    try:
        status = os.statvfs(root.full(folder))
        taken = os.stat(root.full(folder)).st_blocks and status.f_frsize
    except OSError as error:
        raise root.fault(folder, error) from error
    files = status.f_favail if status.f_files else -1
    free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    return Room(free, files, taken, total)


def claim(root: LocalRoot, path: str, size: int) -> None:
    """Make a file of `size` bytes whose space is allocated, or resize one."""

    def make(folder: int, name: str, made: list[str]) -> None:
        try:
            descriptor = os.open(name, _CLAIM, 0o666, dir_fd=folder)
            try:
                adopt(folder, descriptor=descriptor)
                _allocate(descriptor, size)
                os.ftruncate(descriptor, size)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                raise
            finally:
                os.close(descriptor)
        except OSError:
            for one in reversed(made):
                with contextlib.suppress(OSError):  # it is in use by now
                    os.rmdir(root.full(one))
            raise

    try:
        root.in_parent(path, make)
    except OSError as error:
        raise root.fault(path, error) from error


def _allocate(descriptor: int, size: int) -> None:
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
            return
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    # Not every system can allocate space; there the number of free bytes must do.
    status = os.fstatvfs(descriptor)
    if status.f_bavail * status.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def apart(root: LocalRoot, home: str, folders: Iterable[str]) -> list[str]:
    """Return the folders and mounts from which no rename reaches `home`."""
    mounts = _mounts()
    mount_of = cache(partial(_mount_of, mounts))
    place = _place(root, _existing(root, home), mount_of)
    found = {folder for folder in folders if _place(root, folder, mount_of) not in (place, None)}
    for mount in mounts:
        if mount.startswith(root.v2_prefix):
            found.add(f"{V2}/{mount.removeprefix(root.v2_prefix)}")
    return sorted(found)


def _existing(root: LocalRoot, folder: str) -> str:
    """Return a folder, or the nearest one above it that is there."""
    while folder and not os.path.isdir(root.full(folder)):
        folder = folder.rpartition("/")[0]
    return folder


def _place(root: LocalRoot, folder: str, mount_of: Callable[[str], str]) -> tuple[int, str] | None:
    """Return the device of a folder and its mount; None of one that is not there."""
    full = root.full(folder)
    try:
        device = os.stat(full).st_dev
    except OSError:
        return None
    if folder.count("/") > _ALGORITHM_DEPTH:
        full = root.v2
    return device, mount_of(full)


def _mount_of(mounts: frozenset[str], full: str) -> str:
    """Return the mount that a folder lies on; it may be a link."""
    true = os.path.realpath(full)
    while true != "/" and true not in mounts:
        true = os.path.dirname(true)
    return true


def _mounts() -> frozenset[str]:
    """Return all mount points; none on a system that does not list them."""
    try:
        with open(_MOUNTS, "rb") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return frozenset()
    places = (line.split(b" ")[4] for line in lines if line.count(b" ") > 4)
    return frozenset(os.fsdecode(_ESCAPED.sub(_unescaped, place)) for place in places)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
