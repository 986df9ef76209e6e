"""What a bucket holds at one moment, as the source of a flat store.

    bucket/prefix/docker/registry/v2/blobs/sha256/0a/...      a listing for each of 256 folders
                                     repositories/team/...    a listing for each name in it

The listings run in parallel. A folder is listed level by level where a key in it is no path,
which fails the whole of a listing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final

from regfs.errors import StoreError, printable
from regfs.findings import Code, Finding
from regfs.progress import SILENT, Progress
from regfs.stores import Capability
from regfs.stores.bucket.listing.aside import parse_aside
from regfs.stores.bucket.listing.listed import ListedObjects
from regfs.stores.bucket.listing.uploads import UploadsUnderWay, not_known, upload_of
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.client import Client, KeyOdd, Object
from regfs.stores.flat.rows import Rows, key_of

ADVICE: Final = "regfs changes buckets of S3 and Azure only; copy this one to a folder"
V2: Final = "docker/registry/v2"
_BLOBS: Final = f"{V2}/blobs"
_REPOSITORIES: Final = f"{V2}/repositories"
_STATE: Final = "scheduler-state.json"
_LOCKFILES: Final = "docker/registry/lockfiles"
_OWN: Final = ".regfs"
_UPLOADS: Final = "/_uploads/"
_LISTINGS: Final = 16
"""Listings at once."""


class BucketSource(ListedObjects):
    """What a bucket holds now: the whole tree, or all below one folder."""

    capabilities = Capability.REQUESTS | Capability.IDENTITIES

    def __init__(
        self,
        client: Client,
        uploads: UploadsUnderWay,
        folder: str | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """Nothing is requested yet; without a `folder`, the whole tree is meant."""
        super().__init__(client, client.bucket.url, f"{printable(client.bucket.url)}: a bucket")
        self.refusal = refusal_of(client.bucket)
        self._uploads = uploads
        self._folder = folder
        self._progress = progress
        self._base = client.bucket.base
        self._adding = threading.Lock()
        self._begun: set[str] = set()
        """Names of the objects of uploads."""

    # -- listing -----------------------------------------------------------------------

    def rows(self) -> Rows:
        """List it."""
        if self._folder is not None:
            self._list(self._folder)
        else:
            self._progress.start("Listing the bucket")
            self._list_tree()
            self._progress.finish()
        unknown = self._add_uploads()
        rows = self._finish(anchored=True)
        for finding in unknown:
            rows.odd.setdefault(key_of(finding.path), finding)
        return rows

    def _add_uploads(self) -> list[Finding]:
        """Take what is uploaded in parts; return the uploads of which that cannot be said."""
        try:
            self._add(self._uploads.below(self._folder or "", self._begun))
            return []
        except StoreError as error:
            inside = (name for name in self._begun if name.startswith(_REPOSITORIES))
            found = set(map(upload_of, inside))
            unknown = [not_known(one, error) for one in sorted(found)]
            if self._folder in found:  # which nobody lists as part of another
                self._gathering.problems += unknown
            return unknown

    def _list_tree(self) -> None:
        """Take the whole tree; what else lies in a bucket is none of our business."""
        with ThreadPoolExecutor(_LISTINGS) as pool:
            try:
                begun = [pool.submit(self._list, folder) for folder in (_LOCKFILES, _OWN)]
                begun.append(pool.submit(self._take_state))
                pool.submit(self._uploads.prepare)
                begun += self._list_parts(pool)
                for one in begun:
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _list_parts(self, pool: ThreadPoolExecutor) -> Iterator[Future[None]]:
        """Yield the listings of parts of the tree, each begun as soon as its folder is known."""
        levels = {pool.submit(self._level, V2): V2}
        while levels:
            for done in wait(levels, return_when=FIRST_COMPLETED).done:
                above = levels.pop(done)
                for folder in done.result():
                    if folder != above and _is_divided(folder):
                        levels[pool.submit(self._level, folder)] = folder
                    else:
                        yield pool.submit(self._list, folder)

    def _take_state(self) -> None:
        state = self._client.find(self._key(_STATE))
        self._add([] if state is None else [state])

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
        words = "keys in it are no paths (a//b, a control character, no UTF-8)"
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
        start, base = len(self._base), self._base
        here = [one for one in objects if one.key.startswith(base) and len(one.key) > start]
        keys, sizes, mtimes, etags = zip(*here, strict=True) if here else ((), (), (), ())
        if here and keys[0].startswith(f"{base}{_OWN}/"):
            sizes = tuple(map(_taken, (key[start:] for key in keys), sizes))
        names = [key[start:].encode() for key in keys]
        with self._adding:
            self._take_all(names, sizes, mtimes, etags)
            self._begun.update(key[start:] for key in keys if _UPLOADS in key)
            self._progress.advance(len(objects))

    def _key(self, name: str) -> str:
        return f"{self._base}{name}".rstrip("/")

    def _name(self, key: str) -> str:
        return key.removeprefix(self._base) if key.startswith(self._base) else ""

    def _key_of(self, row: int) -> str:
        return self._key(self._gathering.name_of(self._rows.keys[row]).decode())


def _is_divided(folder: str) -> bool:
    """Return whether the folders in a folder are listed by themselves."""
    return folder in (_BLOBS, _REPOSITORIES) or folder.rpartition("/")[0] == _BLOBS


def _taken(name: str, size: int) -> int:
    """Return the bytes that an object of regfs's own stands for: of a stub, those it hides."""
    found = parse_aside(name)
    return size if found is None else found[1].size


def refusal_of(bucket: Bucket) -> str:
    """Return why nothing is changed in a bucket, and what to do instead."""
    return f"{printable(bucket.url)}: {ADVICE}"
