"""What a bucket holds at one moment, as the source of a flat store.

    bucket/prefix/docker/registry/v2/blobs/sha256/0a/...      a listing for each of 256 folders
                                     repositories/team/...    a listing for each name in it

The listings run in parallel. A folder is listed level by level where a key in it is no path,
which fails the whole of a listing.
"""

from __future__ import annotations

import hashlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Final, NamedTuple

from regfs.errors import printable
from regfs.findings import Code, Finding
from regfs.progress import SILENT, Progress
from regfs.stores import Capability, FileKind
from regfs.stores.bucket.client import Client, KeyOdd, Object
from regfs.stores.bucket.links import MD5, Links
from regfs.stores.bucket.place import Bucket
from regfs.stores.flat.rows import Gathering, Rows, key_of
from regfs.stores.flat.store import flat_etag

ADVICE: Final = "regfs reads a bucket and never changes it; to clean it, copy it to a folder first"
V2: Final = "docker/registry/v2"
AHEAD: Final = 32
"""Reads at once."""
_BLOBS: Final = f"{V2}/blobs"
_REPOSITORIES: Final = f"{V2}/repositories"
_STATE: Final = "scheduler-state.json"
_LOCKFILES: Final = "docker/registry/lockfiles"
_OWN: Final = ".regfs"
_LISTINGS: Final = 16
"""Listings at once."""
_ETAG: Final = re.compile(r'"?([0-9a-fA-F]{32})"?')


class _ListedObject(NamedTuple):
    """An object as `Gathering` takes it."""

    name: bytes
    size: int
    mtime: float
    kind: FileKind = FileKind.FILE
    target: bytes | None = None


class BucketSource:
    """What a bucket holds now: the whole tree, or all below one folder."""

    capabilities = Capability.REQUESTS
    ahead = AHEAD

    def __init__(self, client: Client, folder: str | None = None, progress: Progress = SILENT):
        """Nothing is requested yet; without a `folder`, the whole tree is meant."""
        self.url = client.bucket.url
        self.refusal = refusal_of(client.bucket)
        self._client = client
        self._folder = folder
        self._progress = progress
        self._base = client.bucket.base
        self._gathering = Gathering(f"{printable(self.url)}: a bucket")
        self._adding = threading.Lock()
        self._etags = bytearray()
        self._empty: set[str] = set()
        """Names of empty objects: of a folder that programs show, if anything lies below it."""
        self._rows = Rows([])
        self._links = Links(self._rows, b"")

    # -- listing -----------------------------------------------------------------------

    def rows(self) -> Rows:
        """List it."""
        if self._folder is not None:
            self._list(self._folder)
        else:
            folders = self._folders()
            self._progress.start("Listing the bucket")
            with ThreadPoolExecutor(_LISTINGS) as pool:
                for _ in pool.map(self._list, folders):
                    pass
            self._progress.finish()
        self._rows = rows = self._gathering.finish(anchored=True)
        for name in self._empty:
            key = key_of(name)
            if key in rows.odd and rows.find(key) < 0:
                del rows.odd[key]
        etags = bytearray(MD5 * len(rows.keys))
        for row, place in enumerate(rows.places):
            etag = self._etags[MD5 * place : MD5 * place + MD5]
            etags[MD5 * row : MD5 * row + MD5] = etag
            rows.places[row] = _place(etag)
        self._etags = bytearray()
        self._links = Links(rows, bytes(etags))
        return rows

    def _folders(self) -> list[str]:
        """Return the folders to list in whole; what lies above them is taken."""
        top = self._level(V2)
        whole = [folder for folder in top if folder not in (_BLOBS, _REPOSITORIES)]
        # What else lies in a bucket is none of our business.
        state = self._client.find(self._key(_STATE))
        self._add([] if state is None else [state])
        whole += [_LOCKFILES, _OWN]
        whole += self._level(_REPOSITORIES) if _REPOSITORIES in top else []
        for algorithm in self._level(_BLOBS) if _BLOBS in top else []:
            whole += self._level(algorithm)
        return whole

    def _level(self, folder: str) -> list[str]:
        """Take the objects directly in a folder; return the folders in it.

        A folder that can only be listed in whole, or in part, is returned itself.
        """
        try:
            folders, objects = self._client.level(self._key(folder))
        except KeyOdd:
            return [folder]
        self._add(objects)
        return [self._name(one) for one in folders]

    def _list(self, folder: str) -> None:
        """Take everything below a folder."""
        try:
            for page in self._client.pages(self._key(folder)):
                self._add(page)
        except KeyOdd:
            self._list_around(folder)

    def _list_around(self, folder: str) -> None:
        """Take what can be listed of a folder that holds a key that is no path."""
        taken: set[str] = set()
        try:
            for page in self._client.pages(self._key(folder)):
                taken.update(one.key for one in page)
        except KeyOdd:
            pass
        pending = [folder]
        while pending:
            folder = pending.pop()
            try:
                folders, objects = self._client.level(self._key(folder))
                self._add([one for one in objects if one.key not in taken])
            except KeyOdd:
                self._list_after(folder, taken)
                continue
            for inner in map(self._name, folders):
                pages: list[list[Object]] = []
                try:
                    pages.extend(self._client.pages(self._key(inner)))
                except KeyOdd:
                    pending.append(inner)
                    continue
                for page in pages:
                    self._add([one for one in page if one.key not in taken])

    def _list_after(self, folder: str, taken: set[str]) -> None:
        """Take what follows, in a folder, the keys that begin with an empty part.

        `a//b` sorts before all that a registry writes: names begin with letters, digits or `_`.
        """
        words = "keys in it are no paths (an empty part, as in a//b)"
        pages: list[list[Object]] = []
        try:
            pages.extend(self._client.pages(self._key(folder), after=self._key(folder) + "/0"))
        except KeyOdd:
            words += ", so nothing below it is listed"
        for page in pages:
            self._add([one for one in page if one.key not in taken])
        with self._adding:
            self._gathering.problems.append(Finding(Code.PATH_UNREADABLE, folder, actual=words))

    def _add(self, objects: list[Object]) -> None:
        with self._adding:
            for one in objects:
                name = self._name(one.key)
                if not name:
                    continue
                if not one.size:
                    self._empty.add(name)
                place = len(self._etags) // MD5
                self._etags += _identity(one.etag)
                self._gathering.add(_ListedObject(name.encode(), one.size, one.mtime), place)
            self._progress.advance(len(objects))

    def _key(self, name: str) -> str:
        return f"{self._base}{name}".rstrip("/")

    def _name(self, key: str) -> str:
        return key.removeprefix(self._base) if key.startswith(self._base) else ""

    # -- reading -----------------------------------------------------------------------

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of an object."""
        whole = self._rows.sizes[row]
        left = max(whole - offset, 0)
        size = left if length is None else min(left, length)
        return self._client.open(self._key_of(row), offset, size, whole)

    def read(self, row: int, limit: int) -> bytes:
        """Return the first bytes of an object; of a link, from the listing where it says."""
        if (content := self._links.content(row)) is not None:
            return content[:limit]
        whole = self._rows.sizes[row]
        return self._client.read(self._key_of(row), limit, whole)

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return None: an ETag is no digest that a registry uses."""
        return None

    def _key_of(self, row: int) -> str:
        return self._key(self._gathering.name_of(self._rows.keys[row]).decode())


def refusal_of(bucket: Bucket) -> str:
    """Return why nothing is changed in a bucket, and what to do instead."""
    return f"{printable(bucket.url)}: {ADVICE}"


def etag_of(found: Object) -> str:
    """Return the etag that a snapshot tells of an object."""
    return flat_etag(_place(_identity(found.etag)), found.size)


def _place(identity: bytes | bytearray) -> int:
    return int.from_bytes(identity[:8], "big") >> 1


def _identity(etag: str) -> bytes:
    """Return 16 bytes of an ETag: itself if it may be an MD5."""
    found = _ETAG.fullmatch(etag)
    if found:
        return bytes.fromhex(found[1])
    return hashlib.blake2b(etag.encode(), digest_size=MD5).digest()
