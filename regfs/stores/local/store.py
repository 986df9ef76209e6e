"""A registry in a directory of this machine: the store, and how its folder is found.

root       what counts as inside the tree, and how it is opened without leaving it
reader     one path: what it is, what it holds
listing    one folder, or all below it      leaves     many small files
walk       every folder, by names           contents   what they begin with
examine    what is about to be changed
write      files, moves, deletions          files, rename, lock, space
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Final

from regfs.errors import NotARegistry, Refused, StoreError, printable
from regfs.findings import Finding
from regfs.stores import (
    ALLOW_EMPTY,
    NO_URLS,
    NOT_MOUNTED,
    Capability,
    Entry,
    FileId,
    Leaves,
    Listing,
    PathState,
    Report,
    Room,
    Spec,
    Store,
    Unlisted,
)
from regfs.stores.local import contents, leaves, listing, space, walk, write
from regfs.stores.local.examine import examine
from regfs.stores.local.files import LocalWriter
from regfs.stores.local.lock import lock
from regfs.stores.local.near import guess, is_minio
from regfs.stores.local.reader import LocalReader
from regfs.stores.local.root import V2, LocalRoot, failure, unsafe

_OWN_NAMES: Final = frozenset({".regfs", "scheduler-state.json", "lost+found"})
# Named here because `list` is a method inside the class.
_Entries = list[Entry]


class LocalStore:
    """The WritableStore of a directory. May be used from several threads."""

    def __init__(self, root: str) -> None:
        self.root = LocalRoot(root)
        self._reader = LocalReader(self.root)

    @property
    def url(self) -> str:
        """The absolute path of the root."""
        return self.root.path

    @property
    def spec(self) -> Spec:
        """The same: another machine has to have it mounted there."""
        return self.url

    @property
    def capabilities(self) -> Capability:
        """Everything that a folder on a disk can do."""
        return Capability.CHANGE | Capability.FOLDERS | Capability.REOPEN

    @property
    def refusal(self) -> str:
        """Nothing: a folder can be changed, as far as its permissions go."""
        return ""

    @property
    def freed_later(self) -> str:
        """Nothing: what is deleted is gone."""
        return ""

    @property
    def taken_at(self) -> None:
        """None: a folder is looked at."""

    @property
    def requests(self) -> Mapping[str, int]:
        """None."""
        return {}

    @property
    def problems(self) -> Sequence[Finding]:
        """Nothing: what is wrong in a folder is found when it is listed."""
        return ()

    # -- reading -----------------------------------------------------------------------

    def snapshot(self) -> Store:
        """Return itself: it is asked as fast as a listing of it would be."""
        return self

    def list(self, folder: str, report: Report) -> _Entries:
        """Return what is directly in `folder`, sorted by the bytes of the name."""
        return listing.list_folder(self._reader, folder, report)

    def walk(self, folder: str, report: Report) -> Iterator[Entry]:
        """Yield everything below `folder`, folders before what they hold, each once."""
        return listing.walk(self._reader, folder, report)

    def tree(
        self, folder: str, report: Report, *, leaf: str = "", limit: int = 0, links: bool = True
    ) -> Iterator[Listing]:
        """Yield `folder` and every folder below it, in the order of the bytes of their names."""
        return walk.tree(self._reader, folder, report, leaf=leaf, limit=limit, links=links)

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        """Return the names in `folder` when all are folders and no links, else None."""
        return leaves.subfolders(self._reader, folder, report)

    def leaves(
        self,
        folder: str,
        leaf: str,
        report: Report,
        *,
        limit: int = 0,
        only: Collection[str] | None = None,
    ) -> Leaves:
        """Return the files `<folder>/*/<leaf>`, in the order the folder gives them."""
        return leaves.leaves(self._reader, folder, leaf, report, limit=limit, only=only)

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int, *, seen: bool = False
    ) -> Iterator[bytes | StoreError]:
        """Yield the first bytes of each leaf; the folder is opened once."""
        return contents.contents(self._reader, folder, names, leaf, limit, seen=seen)

    def stat(self, path: str) -> Entry:
        """Return what is at `path`; a link that is not followed is a `LINK`, no error."""
        return self._reader.stat(path)

    def examine(
        self, paths: Iterable[str | PathState], *, limit: int = 0
    ) -> Iterator[PathState | StoreError]:
        """Yield what is at each path, and whether its folder holds nothing else."""
        return examine(self._reader, paths, limit=limit)

    def identify(self, folder: str, names: Iterable[str], leaf: str) -> Iterator[FileId | None]:
        """Yield which file each leaf is; the folder is opened once."""
        return contents.identify(self._reader, folder, names, leaf)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open a file for reading `length` bytes from `offset`, unbuffered."""
        return self._reader.open(path, offset, length)

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file: all of it when it is shorter."""
        return self._reader.read(path, limit)

    def digest(self, path: str, algorithm: str) -> str | None:
        """Return None: a file on a disk is read."""
        return None

    def signed_url(self, path: str, seconds: float) -> str:
        """Refuse: a folder is read by this machine alone."""
        raise Refused(f"{printable(self.url)}: {NO_URLS}")

    def room(self, folder: str = "") -> Room:
        """Return the space that is free for this user, and what a new folder takes."""
        return space.room(self.root, folder)

    def unlisted(self) -> Unlisted:
        """Return nothing: all is in folders."""
        return Unlisted(0, 0)

    def apart(self, home: str, folders: Iterable[str]) -> Sequence[str]:
        """Return the folders and mounts from which no rename reaches `home`."""
        return space.apart(self.root, home, folders)

    # -- changing ----------------------------------------------------------------------

    def create(self, path: str, *, mtime: float | None = None) -> LocalWriter:
        """Begin a file at `path`; folders above it are made when needed."""
        return write.create(self.root, path, mtime)

    def share(self, path: str, source: BinaryIO) -> bool:
        """Clone or hard-link an open file to `path`; return whether either is possible."""
        return write.share(self.root, path, source)

    def append(self, path: str) -> BinaryIO:
        """Open a file for appending; `flush` makes it durable, and so does `close`."""
        return write.append(self.root, path)

    def move(self, source: str, target: str) -> None:
        """Rename a file, a link (as itself) or a folder with all it holds."""
        write.move(self.root, source, target)

    def replace(self, source: str, target: str) -> None:
        """Rename a file onto whatever file, or link as itself, is at `target`."""
        write.replace(self.root, source, target)

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        """Move one after the other; yield for each None, or why it was not moved."""
        return write.move_many(self.root, moves)

    def delete(self, paths: Iterable[str]) -> int:
        """Delete files, links as themselves, and folders that are empty; return how many."""
        return write.delete(self.root, paths)

    def delete_tree(self, folder: str) -> int:
        """Delete a folder with all it holds, following no link; return the number of files."""
        return write.delete_tree(self.root, folder)

    def require_writable(self, folders: Iterable[str]) -> None:
        """Ask the kernel for the permission; nothing is written to find out."""
        space.require_writable(self.root, folders)

    def claim(self, path: str, size: int) -> None:
        """Make a file of `size` bytes whose space is allocated, or resize one."""
        space.claim(self.root, path, size)

    def sync(self, folder: str) -> None:
        """Make the names in `folder` durable, and those of folders newly made above it."""
        write.sync(self.root, folder)

    def lock(self, path: str, owner: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Hold the lock at `path` while the block runs; the kernel frees it if we die."""
        return lock(self.root, path, owner, shared=shared)


def open_local(root: str, *, empty: bool = False) -> LocalStore:
    """Open the directory that holds the registry tree at `root`.

    An empty folder is a fresh registry only with `empty`: it looks like the mount point of a
    volume that is not mounted, and a report that nothing is wrong there would be false.

    Raises:
        NotARegistry: there is no such tree; the message says what was looked for.
        PathDenied: the root cannot be read.
    """
    given = os.path.abspath(root) if ".." not in root.split("/") else os.path.realpath(root)
    try:
        for place in dict.fromkeys((given, os.path.realpath(given))):
            found = _holder(place)
            if found is not None:
                return _opened(found)
        # An empty folder inside a registry is a part of it, not a registry.
        fresh = set(os.listdir(given)) <= _OWN_NAMES
        if fresh and empty and f"/{V2}/" not in os.path.realpath(given) + "/":
            return LocalStore(given)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        why = "no such folder" if isinstance(error, FileNotFoundError) else "not a folder"
        if os.path.isfile(given):
            why += ", not a tar archive, and no config.yml of a registry"
        raise NotARegistry(
            f"{printable(given)}: {why}; looked for a folder holding {V2}"
        ) from error
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename is not None else given
        raise failure(where, error) from error
    raise NotARegistry(
        f"{printable(given)}: not a registry: holds no {V2}{guess(given)}; {NOT_MOUNTED}"
        + (f" ({ALLOW_EMPTY})" if fresh else "")
    )


def _opened(holder: str) -> LocalStore:
    """Open the folder that holds `docker/registry/v2`, unless only MinIO can read it."""
    v2 = os.path.join(holder, V2)
    os.scandir(v2).close()
    if is_minio(v2):
        raise NotARegistry(
            f"{printable(holder)}: this is the disk of a MinIO server, which keeps every file of "
            f"{V2} as a folder in a format of its own; mount or copy the bucket through MinIO, "
            "and give that folder"
        )
    return LocalStore(holder)


def locate_local(file: str, tree: Store) -> tuple[LocalStore, str]:
    """Return the folder that holds a file as a store, and the file's name in it.

    Raises:
        As `regfs.stores.locate`.
    """
    try:
        folder, name = os.path.split(os.path.realpath(file))
        os.scandir(folder).close()
    except ValueError as error:
        raise unsafe(file, "not a path the file system can hold") from error
    except OSError as error:
        raise failure(folder, error) from error
    if isinstance(tree, LocalStore) and tree.root.is_registry(folder):
        raise unsafe(file, f"lies in {V2}, which belongs to the registry")
    return LocalStore(folder), name


def _holder(place: str) -> str | None:
    """Return the folder that holds `docker`, when `place` is it or lies between it and v2."""
    parts = V2.split("/")
    for depth in range(len(parts) + 1):
        above, rest = parts[:depth], parts[depth:]
        folder = place
        for name in reversed(above):
            if os.path.basename(folder) != name:
                break
            folder = os.path.dirname(folder)
        else:
            try:
                if stat.S_ISDIR(os.stat(os.path.join(place, *rest)).st_mode):
                    return folder
            except (FileNotFoundError, NotADirectoryError):
                continue
    return None
