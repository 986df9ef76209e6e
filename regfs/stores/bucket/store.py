"""A bucket as a store: every answer is asked of it at that moment.

    stat            HEAD; where there is no object, a page of a listing says whether it is a folder
    list            a listing of one level
    walk, leaves    a listing of all below the folder, as the rows of a flat store
    read, open      GET
    snapshot        a listing of the whole tree: what reads in bulk asks that, not the bucket

So a server needs no listing and sees every push. What cannot be requested is raised, never left
out with a finding: who takes a folder that was not listed for an empty one would lose what is in
it. A folder is what objects lie in; it is as old as the youngest of them, as far as that is seen.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import BinaryIO, Final

from regfs.errors import NotARegistry, PathMissing, StoreError, printable
from regfs.findings import Finding
from regfs.parallel import map_in_windows
from regfs.progress import SILENT, Progress
from regfs.stores import (
    Capability,
    Entry,
    FileId,
    FileKind,
    Leaves,
    Listing,
    PathState,
    Report,
    Room,
    Store,
    Unlisted,
)
from regfs.stores.bucket.listing.listed import AHEAD, listed_etag
from regfs.stores.bucket.listing.source import V2, BucketSource, refusal_of
from regfs.stores.bucket.listing.uploads import (
    UploadsUnderWay,
    is_in_upload,
    is_upload,
    is_uploads,
    not_known,
)
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.client import Client, KeyOdd, Object
from regfs.stores.flat.rows import checked, shadowed
from regfs.stores.flat.store import FlatStore
from regfs.stores.readonly import ReadOnly

_ABOVE: Final = frozenset({"", "docker", "docker/registry", V2})
"""Folders whose listing is that of the tree."""
# Named here because `list` is a method inside the class.
_Entries = list[Entry]
_Objects = list[Object]
_Level = tuple[list[str], list[Object]]


class BucketStore(ReadOnly):
    """The tree in one bucket. May be used from several threads."""

    capabilities = Capability.REQUESTS | Capability.IDENTITIES

    def __init__(self, bucket: Bucket, progress: Progress = SILENT) -> None:
        """Nothing is requested yet.

        Raises:
            As `Client`.
        """
        self.url = bucket.url
        self.spec = bucket
        self.refusal = refusal_of(bucket)
        self._base = bucket.base
        self.requests = bucket.meter.counts
        self._client = Client(bucket)
        self._uploads = UploadsUnderWay(bucket)
        self._progress = progress
        # Threads begin when something is read by them.
        self._pool = ThreadPoolExecutor(AHEAD)

    def snapshot(self) -> Store:
        """Return what is there now, by one listing."""
        source = BucketSource(self._client, self._uploads, progress=self._progress)
        return FlatStore(source, self.spec, requests=self.requests)

    def require_tree(self) -> None:
        """Check that there is a tree. Whether the bucket can be reached at all is said soon.

        Raises:
            NotARegistry: there is none.
            StoreError: the bucket cannot be reached or listed.
        """
        try:
            if any(self._client.level(self._key(V2), first=True)):
                return
        except KeyOdd:
            return
        raise NotARegistry(
            f"{printable(self.url)}: no registry in it: no objects below "
            f"{printable(self._key(V2))}/"
        )

    @property
    def problems(self) -> Sequence[Finding]:
        """Nothing: what is wrong is found when it is listed."""
        return ()

    # -- listing -----------------------------------------------------------------------

    def list(self, folder: str, report: Report) -> _Entries:
        """Return what is directly in `folder`, sorted by the bytes of the name.

        The time of a folder is not known, and said to be now.
        """
        found = self._level(folder, report)
        if found is None:
            return self._below(folder, report).list(folder, report)
        folders, objects = found
        now = time.time()
        entries = [Entry(one, 0, now, kind=FileKind.FOLDER) for one in folders]
        entries += map(self._entry, objects)
        return sorted(entries, key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        """Return the names in `folder` when all are folders, else None."""
        found = self._level(folder, report)
        if found is None:
            return self._below(folder, report).subfolders(folder, report)
        folders, objects = found
        return None if objects else [one.rpartition("/")[2] for one in folders]

    def _level(self, folder: str, report: Report) -> _Level | None:
        """Return the folders and objects in a folder; None if it holds keys that are no paths."""
        checked(folder)
        try:
            prefixes, objects = self._client.level(self._key(folder))
        except KeyOdd:
            return None
        folders = [self._name(one) for one in prefixes]
        names, seen = set(folders), []
        for one in objects:
            if (name := self._name(one.key)) not in names:
                seen.append(one)
            elif one.size:  # an empty one is how programs show a folder
                report(shadowed(name))
        try:
            if is_upload(folder):
                seen += self._uploads.below(folder, {self._name(one.key) for one in seen})
            elif is_uploads(folder):
                folders += sorted(self._uploads.folders(folder) - names)
        except StoreError as error:
            report(not_known(folder, error))
        return folders, seen

    def _under_way(self, folder: str) -> _Objects:
        """Return the open uploads in the folder of one upload."""
        data = f"{folder}/data"
        there = {data} if self._client.find(self._key(data)) else set()
        return self._uploads.below(folder, there)

    def walk(self, folder: str, report: Report) -> Iterator[Entry]:
        """Yield everything below `folder`, folders before what they hold, each once."""
        return self._below(folder, report).walk(folder, report)

    def tree(
        self, folder: str, report: Report, *, leaf: str = "", limit: int = 0, links: bool = True
    ) -> Iterator[Listing]:
        """Yield `folder` and every folder below it, in the order of the bytes of their names."""
        found = self._below(folder, report)
        return found.tree(folder, report, leaf=leaf, limit=limit, links=links)

    def leaves(
        self,
        folder: str,
        leaf: str,
        report: Report,
        *,
        limit: int = 0,
        only: Collection[str] | None = None,
    ) -> Leaves:
        """Return the files `<folder>/*/<leaf>`, sorted."""
        found = self._below(folder, report)
        return found.leaves(folder, leaf, report, limit=limit, only=only)

    def _below(self, folder: str, report: Report) -> Store:
        """Return what is below a folder now; report what of it cannot be listed."""
        checked(folder)
        if folder in _ABOVE:
            return self.snapshot()  # which reports that itself
        found = FlatStore(BucketSource(self._client, self._uploads, folder))
        for finding in found.problems:
            report(finding)
        return found

    # -- reading -----------------------------------------------------------------------

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int, *, seen: bool = False
    ) -> Iterator[bytes | StoreError]:
        """Yield the first bytes of each leaf."""

        def begin(name: str) -> bytes | StoreError:
            try:
                return self.read(f"{folder}/{name}/{leaf}", limit)
            except StoreError as error:
                return error

        return map_in_windows(self._pool, begin, names, AHEAD)

    def identify(self, folder: str, names: Iterable[str], leaf: str) -> Iterator[FileId | None]:
        """Yield None for each: what is not on a disk has no inode."""
        return (None for _ in names)

    def stat(self, path: str) -> Entry:
        """Return what is at `path`."""
        checked(path)
        found = self._client.find(self._key(path)) if path else None
        if found is not None:
            return self._entry(found)
        if is_in_upload(path):
            for one in self._under_way(path.rpartition("/")[0]):
                if one.key == self._key(path):
                    return self._entry(one)
        try:
            inside = next(self._client.pages(self._key(path)), [])
        except KeyOdd:
            return Entry(path, 0, time.time(), kind=FileKind.FOLDER)
        if is_upload(path):
            inside += self._under_way(path)
        if path and not inside:
            raise PathMissing(f"{printable(path)}: no such file or folder")
        youngest = max((one.mtime for one in inside), default=0.0)
        return Entry(path, 0, youngest, kind=FileKind.FOLDER)

    def examine(
        self, paths: Iterable[str | PathState], *, limit: int = 0
    ) -> Iterator[PathState | StoreError]:
        """Yield what is at each path; it is never said to be alone in its folder.

        A window of paths is looked at together.
        """

        def look(given: str | PathState) -> PathState | StoreError:
            try:
                return self._look(given, limit)
            except StoreError as error:
                return error

        return map_in_windows(self._pool, look, paths, AHEAD)

    def _look(self, given: str | PathState, limit: int) -> PathState:
        path = given if isinstance(given, str) else given.entry.path
        entry = self.stat(path)
        if not isinstance(given, str) and entry == given.entry:
            return given
        is_file = entry.kind is FileKind.FILE
        content = self.read(path, limit) if limit and is_file else None
        return PathState(entry, False, content=content)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open an object for reading `length` bytes from `offset`, unbuffered."""
        checked(path)
        return self._client.open(self._key(path), offset, length)

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of an object: all of it when it is shorter."""
        checked(path)
        return self._client.read(self._key(path), limit)

    def digest(self, path: str, algorithm: str) -> str | None:
        """Return None: an ETag is no digest that a registry uses."""
        return None

    def signed_url(self, path: str, seconds: float) -> str:
        """Return a URL that the keys of this process have signed."""
        checked(path)
        return self._client.signed(self._key(path), timedelta(seconds=seconds))

    def room(self, folder: str = "") -> Room:
        """Return that nothing more goes in."""
        return Room(0, -1, 0)

    def unlisted(self) -> Unlisted:
        """Return what open uploads take that no file stands for."""
        return self._uploads.unlisted()

    def apart(self, home: str, folders: Iterable[str]) -> Sequence[str]:
        """Return nothing: it is one bucket."""
        return ()

    # -- keys --------------------------------------------------------------------------

    def _key(self, path: str) -> str:
        """Return the key of a path.

        Raises:
            PathMissing: no key is written like this.
        """
        try:
            path.encode()
        except UnicodeEncodeError:
            raise PathMissing(f"{printable(path)}: no such file or folder") from None
        return f"{self._base}{path}".rstrip("/")

    def _name(self, key: str) -> str:
        return key.removeprefix(self._base)

    def _entry(self, found: Object) -> Entry:
        return Entry(self._name(found.key), found.size, found.mtime, listed_etag(found))
