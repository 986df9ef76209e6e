"""Every file of plain folders with its size, at about the cost of the barest walk.

A folder is opened relative to the one it lies in, and no link is followed. Whatever is not a
plain file or folder ends the walk: who asked has to look at the tree entry by entry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from typing import Final

from regfs.errors import StoreError
from regfs.stores import FolderFiles

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_PLAIN: Final = _FOLDER | os.O_NOFOLLOW
_BLOCK: Final = 512


def measure(
    open_folder: Callable[[str, int], int], top: str, skip: Collection[str]
) -> Iterator[FolderFiles]:
    """Yield `top` and the folders below it with their files, but for those in `skip`.

    Raises:
        OSError, StoreError: something cannot be read, or is neither a plain file nor a folder.
    """
    pending = [top]
    while pending:
        path = pending.pop()
        try:
            parent = open_folder(path, _FOLDER)
        except FileNotFoundError:
            continue
        try:
            below: list[str] = []
            yield FolderFiles(path, _BLOCK * os.fstat(parent).st_blocks, _files(parent, below))
            for name in below:
                inner = f"{path}/{name}" if path else name
                if inner in skip:
                    continue
                try:
                    descriptor = os.open(name, _PLAIN, dir_fd=parent)
                except FileNotFoundError:
                    continue
                try:
                    deeper: list[str] = []
                    files = _files(descriptor, deeper, first_only=True)
                    if deeper:
                        pending.append(inner)
                    else:
                        blocks = os.fstat(descriptor).st_blocks
                        yield FolderFiles(inner, _BLOCK * blocks, files)
                finally:
                    os.close(descriptor)
        finally:
            os.close(parent)


def _files(
    descriptor: int, folders: list[str], *, first_only: bool = False
) -> list[tuple[str, int, float, int]]:
    """Return the files of an open folder, and add its folders to `folders`.

    With `first_only`, nothing more than the first folder is looked at.
    """
    files = []
    with os.scandir(descriptor) as children:
        for child in children:
            if child.is_dir(follow_symlinks=False):
                folders.append(child.name)
                if first_only:
                    break
            elif child.is_file(follow_symlinks=False):
                try:
                    status = child.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                size, blocks = status.st_size, status.st_blocks
                files.append((child.name, size, status.st_mtime, _BLOCK * blocks))
            else:
                raise StoreError(f"{child.name}: neither a plain file nor a folder")
    return files
