"""Bytes at paths: the one contract every place a registry can live in must keep.

Paths are relative to the root of the store, with `/`, never starting or ending
with one; the empty path is the root. Names that are not UTF-8 are carried as
surrogate escapes. A store knows nothing of digests, links or manifests, and a
path it was given is never resolved to something outside the root.

Trouble met while *listing* (an unreadable folder, a link that leaves the tree,
a FIFO) goes to the `report` callback as a Finding, and the listing goes on
without it. Trouble with *one path that was asked for* is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import BinaryIO, Final, NamedTuple, Protocol, cast, runtime_checkable

from regfs.errors import PathMissing, StoreError
from regfs.findings import Finding

Report = Callable[[Finding], None]

UNFINISHED: Final = ".regfs-tmp"
"""How the name of a hidden file ends that `create`, cut off by a crash, may leave beside its
place."""

NOT_MOUNTED: Final = "is its volume not mounted?"
"""What to ask whoever gives a folder in which there is nothing."""
ALLOW_EMPTY: Final = "--allow-empty takes it for a fresh registry"


class FileKind(Enum):
    """What is at a path. Symbolic links inside the tree count as what they lead to."""

    FILE = "file"
    FOLDER = "folder"
    SPECIAL = "special"
    """FIFO, socket or device; never opened."""
    LINK = "link"
    """A symbolic link that is not followed: it leaves the tree, loops or leads nowhere."""


class Entry(NamedTuple):
    """One thing a store lists."""

    path: str
    size: int
    """Bytes; of a folder what the file system says it takes."""
    mtime: float
    """Last modification, seconds since the epoch, UTC."""
    etag: str = ""
    """Changes when the content changes, as far as the store can tell."""
    kind: FileKind = FileKind.FILE
    allocated: int = -1
    """Bytes of disk blocks; -1 where the store has no such thing."""
    changed: float = -1.0
    """When it was last written to, renamed or given another time, by the clock of its disk: no
    program can set this. -1 where the store has no such thing."""


class FileId(NamedTuple):
    """Which file lies at a path, and in which state: a copy of it is another one."""

    device: int
    inode: int
    """Never 0."""
    changed: int
    """When content or attributes changed last (ctime), in nanoseconds since the epoch."""


class Leaves(NamedTuple):
    """The files `<folder>/<name>/<leaf>` of one folder, as columns of equal length.

    Columns because there are millions: an object for each would cost more than
    asking the disk for it.
    """

    names: list[str]
    sizes: list[int]
    mtimes: list[float]
    allocated: list[int]
    absent: list[str]
    """Children that are folders and hold no such leaf."""
    others: list[Entry]
    """Whatever else is there: stray files in the folder; at the path of the leaf, or on the way
    to it, folders, special files and links that are not followed."""
    contents: Sequence[bytes | None] = ()
    """What the files begin with, when that was asked for; None of one that cannot be read."""


class Listing(NamedTuple):
    """What is directly in one folder, by name, each column sorted by bytes."""

    path: str
    folders: list[str]
    files: list[str]
    others: list[str]
    """What is not followed or opened: special files, links; findings have told why."""
    content: bytes | StoreError | None = None
    """What the file that was asked for begins with; the error that `read` would raise;
    None when it is not there, or none was asked for."""
    whole: bool = True
    """Whether the folder could be read to its end; if not, a finding has told why."""


class Seen(NamedTuple):
    """One path as it is now."""

    entry: Entry
    alone: bool
    """Whether its folder surely holds nothing else."""
    folder: str = ""
    """Changes when anything comes into its folder or leaves it; empty where that may not show."""
    content: bytes | StoreError | None = None
    """What a file begins with, or the error that `read` raises, when that was asked for."""


class Room(NamedTuple):
    """What a store has space for."""

    bytes: int
    """So many are free."""
    files: int
    """So many files and folders can still be made; -1 where there is no such limit."""
    folder: int
    """Bytes that a new folder takes; 0 where it takes none, or very few."""


class Writer(Protocol):
    """A file that appears at its path whole, on `commit`, or not at all."""

    def write(self, data: bytes, /) -> int:
        """Add bytes."""

    def commit(self) -> None:
        """Make it durable and put it in place, replacing what was there."""

    def discard(self) -> None:
        """Forget it. Safe to call twice, and after commit."""

    def __enter__(self) -> Writer: ...

    def __exit__(self, *error: object) -> None:
        """Commit, or discard when the block raised."""


@runtime_checkable
class Store(Protocol):
    """Bytes at paths, to be read: whoever takes a Store changes nothing in it."""

    @property
    def url(self) -> str:
        """Where it is, for people and for plans; `open_store(url)` opens it again."""

    def list(self, folder: str, report: Report) -> list[Entry]:
        """Return what is directly in `folder`, sorted by path; nothing when it is not there."""

    def walk(self, folder: str, report: Report) -> Iterator[Entry]:
        """Yield everything below `folder`, folders before what they hold, each once.

        A link to a folder that is walked anyway is a `LINK`, with a finding.
        """

    def tree(
        self, folder: str, report: Report, *, leaf: str = "", limit: int = 0, links: bool = True
    ) -> Iterator[Listing]:
        """Yield `folder` and every folder below it, each before those in it, each once.

        As `walk`, without asking about any file: it tells names, at half the cost.
        With `leaf`, also what the file of that name in each folder begins with, up
        to `limit` bytes. A folder that cannot be listed is reported, and not yielded.
        Without `links` none is followed: whatever it leads to, it is among the `others`.
        """

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        """Return the names in `folder`, in no order, when all of them are folders and no links.

        None when there is anything else, and `list` has to tell what. A missing folder
        has no names. It asks about none of them: a scan for names alone, of 50,000 blobs,
        takes 0.67 s of CPU with it, and 0.91 s with `list`.
        """

    def leaves(
        self,
        folder: str,
        leaf: str,
        report: Report,
        *,
        limit: int = 0,
        only: Collection[str] | None = None,
    ) -> Leaves:
        """Return the files `<folder>/*/<leaf>`, without listing every child when it can.

        With `limit`, also what each begins with, up to so many bytes. With `only`,
        of the children of these names.

        `leaf` may hold a `/`. A missing folder has no leaves. Children are not
        searched for anything but the leaf, and come in no order. A child that
        could not be looked into is in no column: only a finding tells of it.
        """

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int, *, seen: bool = False
    ) -> Iterator[bytes | StoreError]:
        """Yield what each `<folder>/<name>/<leaf>` begins with, up to `limit` bytes.

        For files that `leaves` has just listed; one that cannot be read yields the
        error that `read` would raise. `seen`: the listing has looked at each, so that
        they need not be looked at again before they are opened. Per file this makes 4
        system calls, 3 of what was `seen`, where `read` makes 7, and takes half of the
        CPU or a third.
        """

    def stat(self, path: str) -> Entry:
        """Return what is at `path`; a link that is not followed is a `LINK`.

        Raises:
            PathMissing, PathDenied, StoreError: as the storage answers.
            PathUnsafe: the way to it leaves the tree, or is a link that leads nowhere.
        """

    def examine(
        self, paths: Iterable[str | Seen], *, limit: int = 0
    ) -> Iterator[Seen | StoreError]:
        """Yield what `stat` says of each path, or the error it raises, and whether it is alone.

        Each is looked at when it is asked for, not before. Paths that are sorted cost less.
        With `limit`, also what files begin with, up to so many bytes. An earlier answer can
        stand for its path: while nothing has come into the folder or left it, that costs
        less, and nothing is read.

        A path costs 12 system calls, and 2 the second time; `stat` and `list` make 16.
        """

    def identify(self, folder: str, names: Iterable[str], leaf: str) -> Iterator[FileId | None]:
        """Yield which file is at each `<folder>/<name>/<leaf>`; None where that is not known.

        It makes one system call for each, where `stat` makes 4, and takes a third of the CPU.
        """

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open a file for reading `length` bytes from `offset`, unbuffered.

        Raises:
            PathMissing, PathDenied, StoreError: as the storage answers.
            PathUnsafe: it is no regular file, leaves the tree, or is a link that leads nowhere.
        """

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file: all of it when it is shorter.

        Raises:
            As `open`.
        """

    def room(self, folder: str = "") -> Room:
        """Return what there is space for where a folder is, or would be."""

    def apart(self, home: str, folders: Iterable[str]) -> Sequence[str]:
        """Return those folders from which `move` does not lead to `home`, sorted.

        They are on another file system or another mount of it. So are all mounts in
        `docker/registry/v2`, which are returned as well.
        """


class WritableStore(Store, Protocol):
    """Bytes at paths that can be changed. Nothing here decides what may be."""

    def create(self, path: str) -> Writer:
        """Begin a file at `path`; folders above it are made when needed."""

    def append(self, path: str) -> BinaryIO:
        """Open a file for appending, made when it is not there.

        `flush` and `close` make it durable.
        """

    def move(self, source: str, target: str) -> None:
        """Move a file or a folder with all it holds; folders above `target` are made.

        It is durable after `sync` of both folders. Who moves holds a lock: not every
        storage can tell during the move whether the target is free, but only before.

        Raises:
            PathMissing: nothing is at `source`.
            StoreError: something is at `target` already, or it is on another file system;
                nothing was moved.
        """

    def replace(self, source: str, target: str) -> None:
        """Move a file to `target`, in place of the file or link that is there, if any.

        At every moment one of the two is there, whole. Folders above `target` are made.
        It is durable after `sync` of both folders.

        Raises:
            PathMissing: nothing is at `source`.
            PathUnsafe: `source` is no regular file.
            StoreError: a folder is at `target`, or it is on another file system; nothing
                was moved.
        """

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        """Yield for each source and target what `move` would raise, or None when it is moved.

        A pair is taken from `moves` when the one before it has been moved and its answer
        heard, so that each can be looked at just before. Paths that are sorted cost less.
        """

    def delete(self, paths: Iterable[str]) -> int:
        """Delete files, and folders that are empty; return how many were there.

        A folder that is not empty is left, silently: it is in use.
        """

    def delete_tree(self, folder: str) -> int:
        """Delete a folder with all it holds, following no link; return the number of files."""

    def require_writable(self, folders: Iterable[str]) -> None:
        """See that the names in folders may be changed; of one that is missing, those above it.

        Raises:
            PathDenied, StoreError: not; the message names the first.
        """

    def claim(self, path: str, size: int) -> None:
        """Make a file of `size` bytes whose space is set aside, or change the length of one.

        What it holds does not matter: it is deleted when the space is needed.

        Raises:
            StoreFull: there is not so much space; nothing was made.
        """

    def sync(self, folder: str) -> None:
        """Make the names in `folder` durable."""

    def lock(self, path: str, owner: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Hold the lock at `path` while the block runs; `owner` is one line saying who.

        It takes no bytes; the owner's line is left out when there is no space for it. The
        empty path locks the root folder itself, which needs no file.

        Raises:
            LockHeld: somebody alive holds it; the message says who, and `shared` whether
                it is held by those who share it.
        """


def ignore(finding: Finding) -> None:
    """Take a report and drop it: for whoever asks only what is there."""


def writable(store: Store) -> WritableStore:
    """Return a store as one that can be changed: for those who may, which a test names.

    Raises:
        StoreError: it can only be read.
    """
    if not hasattr(store, "create"):
        raise StoreError(f"{store.url}: can only be read")
    return cast(WritableStore, store)


def stat_or_none(store: Store, path: str) -> Entry | None:
    """Return what is at `path`; None when there is nothing.

    Raises:
        StoreError: the storage does not say what is there.
    """
    try:
        return store.stat(path)
    except PathMissing:
        return None


def folders_above(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first; of an absolute one at last `""`."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def open_store(root: str, *, empty: bool = False) -> WritableStore:
    """Open the store that holds the registry tree at `root`.

    `root` is a folder holding `docker/registry/v2`, that folder itself, or one
    between. With `empty`, an existing empty folder is a fresh registry; else it is
    none, for it may be the place of a volume that is not mounted.

    Raises:
        NotARegistry: there is no such tree; the message says what was looked for.
        PathDenied: the root cannot be read.
    """
    from regfs.stores.local.store import open_local  # one back end is loaded, not all

    return open_local(root, empty=empty)


def locate(file: str, tree: Store) -> tuple[WritableStore, str]:
    """Return the store that holds a file somebody names, and its path there.

    The file need not exist, the folder it is to lie in must.

    Raises:
        PathMissing, PathDenied: there is no such folder, or it cannot be read.
        PathUnsafe: it would lie among the registry's own files in `tree`.
    """
    from regfs.stores.local.store import locate_local

    return locate_local(file, tree)
