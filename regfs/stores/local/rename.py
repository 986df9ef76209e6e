"""Renaming to a free name, so that nothing is ever overwritten.

Linux can refuse during the rename if the name is taken (`renameat2` with
`RENAME_NOREPLACE`; ext4, xfs, btrfs, tmpfs and overlayfs can, NFS cannot). Elsewhere the
name is looked up before, which is safe only under a lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache
from typing import Final

_NOREPLACE: Final = 1
_CANNOT: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP})

Rename = Callable[[int, bytes, int, bytes], int]


def rename_new(name: str, new_name: str, here: int, there: int) -> None:
    """Rename what is at `name` in an open folder to `new_name` in another one.

    Raises:
        FileExistsError: something is there already.
        OSError: as the operating system answers.
    """
    rename = renameat2()
    if rename is not None:
        old = os.fsencode(name)
        error = rename(here, old, there, old if new_name == name else os.fsencode(new_name))
        if error == 0:
            return
        if error not in _CANNOT:
            raise OSError(error, os.strerror(error), new_name)
    if exists(new_name, there):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)
    os.rename(name, new_name, src_dir_fd=here, dst_dir_fd=there)


def exists(name: str, folder: int) -> bool:
    """Return whether anything is at `name` in an open folder."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@cache
def renameat2() -> Rename | None:
    """Return a function that calls renameat2 and returns its errno or 0; None if there is none.

    Python does not offer it, and a C library older than the kernel may lack it.
    """
    import ctypes  # only moves need it

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    number, text = ctypes.c_int, ctypes.c_char_p
    call.argtypes = (number, text, number, text, ctypes.c_uint)

    def rename(here: int, name: bytes, there: int, new_name: bytes) -> int:
        return ctypes.get_errno() if call(here, name, there, new_name, _NOREPLACE) else 0

    return rename
