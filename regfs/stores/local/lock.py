"""Locks on files of a directory store, which the kernel frees when their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import Final

from regfs.errors import LockHeld, printable
from regfs.stores.local.rename import exists
from regfs.stores.local.root import LocalRoot, adopt, failure, unsafe
from regfs.stores.local.write import is_regular

_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_OWNER_LIMIT: Final = 400


@contextlib.contextmanager
def lock(root: LocalRoot, path: str, owner: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock at `path` while the block runs; the kernel frees it if this process dies.

    The file stays: removing it would let two processes lock two files of one name.
    It contains the owner's line while the lock is exclusive, if there is space for
    it. The empty path locks the root folder itself, which takes none.
    """
    descriptor = _lock_file(root, path)
    try:
        _take(descriptor, path, owner, shared)
        try:
            yield
        finally:
            if not shared:
                _write_owner(descriptor, path, "")
    finally:
        os.close(descriptor)


def _lock_file(root: LocalRoot, path: str) -> int:
    def begin(folder: int, name: str, _: list[str]) -> int:
        new = not exists(name, folder)
        if not new and not is_regular(name, folder):
            raise unsafe(path, "not a regular file")
        descriptor = os.open(name, _LOCK, 0o666, dir_fd=folder)
        if new:
            adopt(folder, descriptor=descriptor)
        return descriptor

    try:
        return root.in_parent(path, begin) if path else os.open(root.path, _LIST)
    except OSError as error:
        raise root.fault(path, error) from error


def _take(descriptor: int, path: str, owner: str, shared: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 4 * _OWNER_LIMIT, 0).decode(errors="replace") if path else ""
        line = printable(text.partition("\n")[0])
        others = not line and _is_shared(descriptor)
        who = line or ("others who share it" if others else "another process")
        raise LockHeld(f"{printable(path) or '/'}: locked by {who}", shared=others) from None
    except OSError as error:
        raise failure(path, error) from error
    # The line of a holder that was killed is void.
    line = "" if shared else " ".join(owner.split())[:_OWNER_LIMIT] + "\n"
    _write_owner(descriptor, path, line)


def _is_shared(descriptor: int) -> bool:
    """Return whether a lock is shared by its holders, or not held at all."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write_owner(descriptor: int, path: str, line: str) -> None:
    """Write who holds a lock. The lock does not depend on it, so a full disk may leave it out."""
    if path:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, line.encode(errors="backslashreplace"), 0)
