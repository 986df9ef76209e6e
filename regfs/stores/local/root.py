"""The root of a directory store: how paths are resolved, and which lie inside the tree.

It turns a path of the store into one of the file system, opens folders without
leaving the tree, makes folders, and puts errors into words. Everything else in this
package works on a LocalRoot.

The kernel resolves symbolic links when it opens a file, so a check before that
proves nothing. A folder is opened first; then the kernel says where the open folder
really is, and everything else happens relative to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import Final, Self, TypeVar

from regfs.errors import PathDenied, PathMissing, PathUnsafe, StoreError, StoreFull, printable

V2: Final = "docker/registry/v2"
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_PASS_FLAGS: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
_Result = TypeVar("_Result")

# Each attempt that fails is a folder which somebody removed in that moment.
_ATTEMPTS: Final = 100
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS: Final = {
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EACCES: "permission denied",
    errno.ELOOP: "a symbolic link loops",
    errno.ENAMETOOLONG: "the path is too long for the operating system",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "input/output error: the disk or the network failed",
}

_NO_NAMES: Final = frozenset({"", ".", ".."})

_MARKING: Final = threading.Lock()
"""One for all trees: a store can be pickled, and a lock cannot."""


def reason(error: OSError) -> str:
    """Return what went wrong, in words."""
    number = error.errno or 0
    return _WORDS.get(number) or (error.strerror or type(error).__name__).lower()


def failure(path: str, error: OSError) -> StoreError:
    """Return the StoreError for an error of the operating system."""
    message = f"{printable(path) or '/'}: {reason(error)}"
    if error.errno in _MISSING:
        return PathMissing(message)
    if error.errno in _DENIED:
        return PathDenied(message)
    if error.errno == errno.ELOOP:
        return PathUnsafe(message)
    if error.errno in _FULL:
        return StoreFull(message)
    return StoreError(message)


def unsafe(path: str, why: str) -> PathUnsafe:
    """Return the refusal to touch `path`."""
    return PathUnsafe(f"{printable(path) or '/'}: {why}")


def joined(folder: str, name: str) -> str:
    """Return the path of `name` in `folder`."""
    return f"{folder}/{name}" if folder else name


def is_name(name: str) -> bool:
    """Return whether this can be the name of something in a folder; it contains no slash."""
    return name not in _NO_NAMES and "\0" not in name


def adopt(folder: int, *, name: str = "", descriptor: int = -1) -> None:
    """Give a new file (open) or folder (`name`) to the owner of the folder it is made in.

    Only root can, and must: a registry that runs as another user could not write
    below folders of root, so its next push would fail.
    """
    if os.geteuid() != 0:
        return
    status = os.fstat(folder)
    if status.st_uid == 0 and status.st_gid == 0:
        return
    # A file system without owners refuses, and does not need this.
    with contextlib.suppress(OSError):
        if name:
            os.chown(name, status.st_uid, status.st_gid, dir_fd=folder, follow_symlinks=False)
        else:
            os.fchown(descriptor, status.st_uid, status.st_gid)


class LocalRoot:
    """The root on disk, and what lies inside it.

    Inside is whatever truly lies below the root, or below `docker/registry/v2`
    when that itself is reached through a link (people link the big folder to a
    big disk). Nothing else is, wherever links lead.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self._prefix = self.path.rstrip("/") + "/"
        self.v2 = os.path.realpath(self._prefix + V2)
        self.v2_prefix = self.v2.rstrip("/") + "/"
        # Folders on the way to a linked v2 may be listed, but nothing else in them is read.
        on_the_way = (self._prefix + "docker", self._prefix + "docker/registry")
        self.gates = frozenset(os.path.realpath(path) for path in on_the_way)
        self._unsynced: dict[str, object] = {}
        """Folders in which folders were made since the last sync, each with a mark of that time."""

    def full(self, path: str) -> str:
        """Return `path` as the file system takes it.

        Raises:
            PathUnsafe: it is absolute, or has empty, `.` or `..` parts, or cannot be a name.
        """
        if not path:
            return self.path
        wrapped = f"/{path}/"
        if "//" in wrapped or "/../" in wrapped or "/./" in wrapped or "\0" in path:
            raise unsafe(path, "not a path inside the tree")
        if not path.isascii():
            try:
                os.fsencode(path)
            except UnicodeEncodeError:
                raise unsafe(path, "not a path the file system can hold") from None
        return self._prefix + path

    def inside(self, true: str) -> bool:
        """Return whether a path free of links is in the tree."""
        return (
            true.startswith((self._prefix, self.v2_prefix)) or true == self.path or true == self.v2
        )

    def is_registry(self, true: str) -> bool:
        """Return whether a folder free of links is `docker/registry/v2`, or below it."""
        return f"{true}/".startswith(self.v2_prefix)

    def unlinked(self, path: str) -> str:
        """Return where `path` is if no link is on the way to it."""
        if path == V2 or path.startswith(V2 + "/"):
            return self.v2 + path[len(V2) :]
        return self._prefix + path if path else self.path

    def true_path(self, descriptor: int, full: str) -> str:
        """Return where an open file really is."""
        try:
            true = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # no /proc, or a path that is too long for it
            true = ""
        return true if true.startswith("/") else os.path.realpath(full)

    def open_folder(self, folder: str, flags: int = _PASS_FLAGS, *, listing: bool = False) -> int:
        """Open a folder that really lies inside, and return its descriptor.

        Raises:
            OSError: as the operating system answers.
            PathUnsafe: it lies outside.
        """
        return self._open_inside(self.full(folder), folder, flags, listing=listing)

    def _open_inside(self, full: str, folder: str, flags: int, *, listing: bool) -> int:
        descriptor = os.open(full, flags)
        true = self.true_path(descriptor, full)
        if self.inside(true) or (listing and true in self.gates):
            return descriptor
        os.close(descriptor)
        raise unsafe(folder, "a symbolic link leaves the tree")

    def open_parent(self, path: str) -> tuple[int, str]:
        """Open the folder that holds `path`; return its descriptor and the last name.

        Raises:
            As `open_folder`.
        """
        if not path:
            raise unsafe(path, "the root itself is not to be changed")
        folder, _, name = path.rpartition("/")
        full = self.full(path)[: -len(name) - 1]
        return self._open_inside(full or "/", folder, _PASS_FLAGS, listing=False), name

    def broken_link(self, path: str) -> str | None:
        """Return the broken link that is why `path` is missing; None if there is none.

        A folder on a disk that is not mounted must not pass for an empty one.
        """
        while path:
            try:
                os.lstat(self.full(path))
            except OSError:
                path = path.rpartition("/")[0]
                continue
            return None if os.path.exists(self.full(path)) else path
        return None

    def fault(self, path: str, error: OSError) -> StoreError:
        """Return the error for `path`, which names a broken link if that is the cause."""
        if error.errno == errno.ENOENT and (link := self.broken_link(path)) is not None:
            return unsafe(path, f"the symbolic link {printable(link)} leads nowhere")
        return failure(path, error)

    def _make_folders(self, folder: str) -> tuple[int, list[str]]:
        """Make `folder` and what is missing above it; return its descriptor and the paths made."""
        missing: list[str] = []
        standing = folder
        while True:
            try:
                descriptor = self.open_folder(standing)
                break
            except FileNotFoundError:
                if not standing:
                    raise
                standing, _, name = standing.rpartition("/")
                missing.append(name)
        made: list[str] = []
        try:
            for name in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
                    adopt(descriptor, name=name)
                    made.append(joined(standing, name))
                    with _MARKING:
                        self._unsynced[standing] = object()
                standing = joined(standing, name)
                inner = os.open(name, _PASS_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
        except OSError:
            os.close(descriptor)
            raise
        return descriptor, made

    def in_parent(self, path: str, act: Callable[[int, str, list[str]], _Result]) -> _Result:
        """Call `act` with the open folder that holds `path`, the name in it and the folders made.

        The folders are made if needed. A sweep may remove them while they are empty: then
        all is done again, so FileNotFoundError from `act` has to mean that it did nothing.

        Raises:
            OSError: as the operating system or `act` answers.
            PathUnsafe: the folder would lie outside.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                folder, name, made = self._open_or_make_parent(path)
                try:
                    return act(folder, name, made)
                finally:
                    os.close(folder)
            except FileNotFoundError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _open_or_make_parent(self, path: str) -> tuple[int, str, list[str]]:
        try:
            return *self.open_parent(path), []
        except FileNotFoundError:
            folder, _, name = path.rpartition("/")
            descriptor, made = self._make_folders(folder)
            return descriptor, name, made

    def sync_names(self, folder: str) -> None:
        """Make the names in `folder` durable, and those of the new folders on the way to it.

        Raises:
            OSError: as the operating system answers.
        """
        self._fsync(folder)
        while folder:
            folder = folder.rpartition("/")[0]
            mark = self._unsynced.get(folder)
            if mark is not None:
                # The mark goes only after that: other threads rely on these names as well.
                self._fsync(folder)
                with _MARKING:
                    if self._unsynced.get(folder) is mark:
                        del self._unsynced[folder]

    def all_synced(self) -> None:
        """Note that the whole file system was synced, and nobody has made a folder since."""
        with _MARKING:
            self._unsynced.clear()

    def _fsync(self, folder: str) -> None:
        descriptor = self.open_folder(folder, FOLDER_FLAGS)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LastFolder:
    """Keeps the folder that was used last open, for the next path in it."""

    def __init__(self, root: LocalRoot) -> None:
        self.descriptor = -1
        self._root = root
        self._folder: str | None = None

    def open(self, folder: str) -> int:
        """Return the descriptor of a folder, valid until another one is opened.

        Raises:
            As `LocalRoot.open_folder`.
        """
        if folder != self._folder:
            self._close()
            self.descriptor = self._root.open_folder(folder)
            self._folder = folder
        return self.descriptor

    def _close(self) -> None:
        self._folder = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._close()
