"""Changing a directory store: new files, moves, deletions. May be called from several threads.

How a file gets to its place whole is in `files`. Nothing here decides what may be deleted.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final

from regfs.errors import PathMissing, StoreError, printable
from regfs.stores.local.files import AppendFile, LocalWriter
from regfs.stores.local.rename import exists, rename_new
from regfs.stores.local.root import (
    LastFolder,
    LocalRoot,
    adopt,
    failure,
    is_name,
    joined,
    unsafe,
)

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_NO_FILE: Final = frozenset({errno.EISDIR, errno.EPERM})


def create(root: LocalRoot, path: str, mtime: float | None, *, lasting: bool = True) -> LocalWriter:
    """Begin a file at `path`; folders above it are made when needed."""

    def begin(folder: int, name: str, made: list[str]) -> LocalWriter:
        return LocalWriter(root, folder, path, name, made, mtime, lasting=lasting)

    try:
        return root.in_parent(path, begin)
    except OSError as error:
        raise root.fault(path, error) from error


def share(root: LocalRoot, path: str, source: BinaryIO) -> bool:
    """Put a clone or a hard link of an open file at `path`; return whether either is possible."""
    try:
        descriptor = source.fileno()
    except io.UnsupportedOperation:  # it comes out of an archive, or from a server
        return False
    writer = create(root, path, None)
    try:
        shared = writer.share(descriptor)
        if shared:
            writer.commit()
        return shared
    finally:
        writer.discard()


def append(root: LocalRoot, path: str) -> BinaryIO:
    """Open a file for appending; `flush` makes it durable, and so does `close`."""

    def begin(folder: int, name: str, _: list[str]) -> AppendFile:
        new = False
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise unsafe(path, "not a regular file")
            descriptor = os.open(name, _APPEND, dir_fd=folder)
        except FileNotFoundError:
            descriptor = os.open(name, _APPEND | os.O_CREAT, 0o666, dir_fd=folder)
            adopt(folder, descriptor=descriptor)
            new = True
        return AppendFile(root, descriptor, path, new=new)

    try:
        return root.in_parent(path, begin)
    except OSError as error:
        raise root.fault(path, error) from error


def move(root: LocalRoot, source: str, target: str) -> None:
    """Rename a file, a link (as itself) or a folder with all it holds.

    Durable after `sync` of both folders.
    """
    try:
        here, name = root.open_parent(source)
    except OSError as error:
        raise root.fault(source, error) from error
    try:
        _put(root, here, name, target, rename_new)
    except OSError as error:
        raise _move_failure(root, here, name, source, target, error) from error
    finally:
        os.close(here)


def replace(root: LocalRoot, source: str, target: str) -> None:
    """Rename a file onto whatever file, or link as itself, is at `target`."""
    try:
        here, name = root.open_parent(source)
    except OSError as error:
        raise root.fault(source, error) from error
    try:
        if not is_regular(name, here):
            raise unsafe(source, "not a regular file")
        _put(root, here, name, target, _rename_onto)
    except OSError as error:
        raise _move_failure(root, here, name, source, target, error) from error
    finally:
        os.close(here)


def _put(
    root: LocalRoot, here: int, name: str, target: str, rename: Callable[[str, str, int, int], None]
) -> None:
    def put(there: int, new_name: str, _: list[str]) -> bool:
        try:
            rename(name, new_name, here, there)
        except FileNotFoundError:
            if exists(name, here):
                raise
            return False
        return True

    try:
        if not root.in_parent(target, put):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except FileExistsError:
        why = f"{printable(target)}: already there; nothing was moved onto it"
        raise StoreError(why) from None


def _rename_onto(name: str, new_name: str, here: int, there: int) -> None:
    os.rename(name, new_name, src_dir_fd=here, dst_dir_fd=there)
    adopt(there, name=new_name)  # it may come from a folder of another owner


def move_many(root: LocalRoot, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
    """Move one after the other; yield for each None, or why it was not moved."""
    with LastFolder(root) as here, LastFolder(root) as there:
        for source, target in moves:
            try:
                if not _moved(here, there, source, target):
                    move(root, source, target)
                yield None
            except StoreError as error:
                yield error


def _moved(here: LastFolder, there: LastFolder, source: str, target: str) -> bool:
    """Move when nothing is in the way and the folders are there; else leave it to `move`."""
    folder, _, name = source.rpartition("/")
    new_folder, _, new_name = target.rpartition("/")
    if not (is_name(name) and is_name(new_name)):
        return False
    try:
        rename_new(name, new_name, here.open(folder), there.open(new_folder))
    except (OSError, StoreError, UnicodeEncodeError):
        return False
    return True


def _move_failure(
    root: LocalRoot, here: int, name: str, source: str, target: str, error: OSError
) -> StoreError:
    if error.errno == errno.EXDEV:
        return StoreError(
            f"{printable(source)}: on another file system than {printable(target)}; "
            "quarantine must be on the same file system as what is moved into it"
        )
    if not exists(name, here):
        return PathMissing(f"{printable(source)}: no such file or folder")
    return root.fault(target, error)


def delete(root: LocalRoot, paths: Iterable[str]) -> int:
    """Delete files, links as themselves, and folders that are empty; return how many."""
    count = 0
    with LastFolder(root) as last_folder:
        for path in paths:
            folder, _, name = path.rpartition("/")
            if not path:
                raise unsafe(path, "the root itself is not to be changed")
            root.full(path)
            try:
                count += _remove(name, last_folder.open(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise failure(path, error) from error
    return count


def delete_tree(root: LocalRoot, folder: str) -> int:
    """Delete a folder with all it holds, following no link; return the number of files."""
    count = 0
    pending = [(folder, False)]
    while pending:
        path, emptied = pending.pop()
        try:
            parent, name = root.open_parent(path)
            try:
                if emptied:
                    os.rmdir(name, dir_fd=parent)
                    continue
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    os.unlink(name, dir_fd=parent)
                    count += 1
                    continue
                inner, removed = _remove_files(name, parent)
            finally:
                os.close(parent)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise failure(path, error) from error
        count += removed
        pending.append((path, True))
        pending.extend((joined(path, child), False) for child in inner)
    return count


def sync(root: LocalRoot, folder: str) -> None:
    """Make the names in `folder` durable, and those of folders newly made above it."""
    try:
        root.sync_names(folder)
    except OSError as error:
        raise root.fault(folder, error) from error


def is_regular(name: str, folder: int) -> bool:
    """Return whether a regular file, and no link to one, is at `name` in an open folder."""
    return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _remove(name: str, folder: int) -> int:
    """Delete a file, a link or an empty folder; return 0 when it is not empty."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        # Linux answers EISDIR for a folder, others EPERM, which can be a real refusal too.
        if error.errno not in _NO_FILE or not stat.S_ISDIR(
            os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        ):
            raise
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as refused:
            if refused.errno in _NOT_EMPTY:
                return 0
            raise
    return 1


def _remove_files(name: str, parent: int, *, deeper: bool = True) -> tuple[list[str], int]:
    """Delete the files in a folder, and the folders in it that hold only files.

    Return the folders that are left, and how many files were deleted. Nearly all folders
    are made for one file: gone through from the one above, they cost half as much.
    """
    descriptor = os.open(name, _LIST, dir_fd=parent)
    try:
        with os.scandir(descriptor) as children:
            found = [(child.name, child.is_dir(follow_symlinks=False)) for child in children]
        left, count = [], 0
        for child_name, folder in found:
            with contextlib.suppress(FileNotFoundError):
                if not folder:
                    os.unlink(child_name, dir_fd=descriptor)
                    count += 1
                elif deeper:
                    inner, removed = _remove_files(child_name, descriptor, deeper=False)
                    count += removed
                    if inner:
                        left.append(child_name)
                    else:
                        os.rmdir(child_name, dir_fd=descriptor)
                else:
                    left.append(child_name)
        return left, count
    finally:
        os.close(descriptor)
