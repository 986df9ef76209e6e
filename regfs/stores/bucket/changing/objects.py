"""The requests that change a bucket, each sent only while the lease is held.

No request is repeated by itself: before each attempt the lease is asked once more, and when its
bytes are sent (`guarded`); and the server refuses what arrives when the lease may have ended
(`Cloud.sign`). So a process that was stopped for longer than its lease lasts changes nothing when
it goes on, wherever it was stopped.

The one exception deletes nothing: `put_file` writes what is large by obstore, which asks for the
lease before the first attempt alone. What it writes has a name of its own (a blob's digest, a path
of regfs), so a late attempt writes the same bytes once more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import BinaryIO, Final

from regfs.errors import PathMissing, StoreError, printable
from regfs.stores.bucket.requests.answers import ObjectHead, ObjectVersion
from regfs.stores.bucket.requests.changes import changes_of
from regfs.stores.bucket.requests.client import Client, KeyOdd, Object
from regfs.stores.bucket.requests.transport import ObjectChanged

SMALL: Final = 1 << 20
"""Bytes of what is read and written, so that it is never written onto something."""


def objects_in(client: Client, folder: str, *, one_level: bool = False) -> list[Object]:
    """Return all objects below a folder, or only those that are directly in it.

    Raises:
        StoreError: they cannot be listed; a key that is no path may be among them.
    """
    try:
        if one_level:
            return client.level(folder)[1]
        return [one for page in client.pages(folder) for one in page]
    except KeyOdd:
        where = printable(f"{client.bucket.url}: {folder}")
        raise StoreError(f"{where}: keys in it are no paths (an empty part, as in a//b)") from None


def _no_lease() -> float | None:
    """Let everything pass, as long as there is no lease."""
    return None


class Objects:
    """Changes one bucket. May be used from several threads."""

    def __init__(self, client: Client) -> None:
        """Nothing is requested yet.

        Raises:
            As `changes_of`.
        """
        self.client = client
        self.signed = changes_of(client.bucket)
        self.base = client.bucket.base
        self.is_conditional = True
        """Whether the server writes nothing onto something if it is asked not to. Ceph 16 does in
        buckets with versions, where the first of several versions tells the same."""
        self._require: Callable[[], float | None] = _no_lease
        self.signed.before_change(self._before_change)
        self._free = threading.local()

    @contextmanager
    def guarded(self, require: Callable[[], float | None]) -> Iterator[None]:
        """Ask `require` before each change while the block runs; it raises if none may come."""
        before, self._require = self._require, require
        try:
            yield
        finally:
            self._require = before

    def _before_change(self) -> float | None:
        return self._require()

    # -- looking -----------------------------------------------------------------------

    def is_small(self, size: int) -> bool:
        """Return whether what has so many bytes is read and written, and not copied."""
        return size <= SMALL

    def find(self, key: str, version: str = "") -> ObjectHead | None:
        """Return an object, or one version of it; None if there is none."""
        try:
            return self.signed.head(key, version)
        except PathMissing:
            return None

    def below(self, folder: str) -> list[Object]:
        """Return all objects below a folder.

        Raises:
            StoreError: they cannot be listed; a key that is no path is among them.
        """
        return objects_in(self.client, folder)

    def versions(self, key: str) -> list[ObjectVersion]:
        """Return the versions and markers of one key, newest first."""
        found = []
        for page in self.signed.versions(key):
            found += [one for one in page if one.key == key]
            if page and page[-1].key > key:
                break  # other keys begin like this one
        return found

    def content(self, key: str, limit: int, version: str = "") -> bytes:
        """Return the first bytes of an object, or of a version of it."""
        with self.client.open(key, 0, None, version=version) as stream:
            data = bytearray()
            while len(data) < limit and (piece := stream.read(limit - len(data))):
                data += piece
        return bytes(data)

    def are_same(self, one: str, other: str) -> bool:
        """Return whether two objects have the same content, by reading both."""
        with self.client.open(one) as left, self.client.open(other) as right:
            while piece := _filled(left):
                if piece != _filled(right):
                    return False
            return not _filled(right)

    # -- changing ----------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> str:
        """Write an object whole, replacing what is there; return its version, if there are any."""
        return self.signed.put(key, data)

    def put_absent(self, key: str, data: bytes) -> bool:
        """Write an object where none is; return whether it is there now with this content.

        It may have been there with this content before: an answer may be lost, and the request
        repeated.
        """
        if not self.is_conditional:
            return self._put_first(key, data)
        try:
            self.signed.put(key, data, absent=True)
        except ObjectChanged:
            return self._holds(key, data)
        return True

    def _put_first(self, key: str, data: bytes) -> bool:
        """Write an object where none is, in a bucket with versions: of several the first stays."""
        if self.find(key) is not None:
            return self._holds(key, data)
        mine = self.put(key, data)
        first = [*takewhile(lambda one: not one.marker, self.versions(key))][-1:]
        if first and first[0].id == mine:
            return True
        self.delete_version(key, mine)
        return bool(first) and self.content(key, len(data) + 1, first[0].id) == data

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.content(key, len(data) + 1) == data
        except PathMissing:
            return False

    def put_file(self, key: str, file: BinaryIO, size: int) -> None:
        """Write a large object from a file, replacing what is there."""
        self._before_change()
        self.client.put(key, file)
        found = self.find(key)
        if found is None or found.size != size:
            raise StoreError(f"{printable(key)}: is not what was written to it")

    def copy(
        self, source: str, target: str, size: int, *, match: str = "", version: str = "",
        absent: bool = False,
    ) -> None:  # fmt: skip
        """Copy an object on the server, and see that the copy is whole."""
        self.signed.copy(source, target, size, version=version, match=match, absent=absent)
        found = self.find(target)
        if found is None or found.size != size:
            raise StoreError(f"{printable(target)}: the copy is not whole; nothing was deleted")

    def delete(self, key: str, *, match: str = "") -> str:
        """Delete an object; return the version of the marker, if the bucket has versions."""
        return self.signed.delete(key, match=match).version

    def delete_version(self, key: str, version: str) -> None:
        """Delete one version for good. It is no matter if that is done already."""
        with suppress(PathMissing):
            self.signed.delete(key, version=version)

    def forget(self, key: str, *, versioned: bool) -> None:
        """Delete an object of regfs's own for good, with all its versions."""
        if not versioned:
            with suppress(PathMissing):
                self.delete(key)
            return
        for one in self.versions(key):
            self.delete_version(key, one.id)


def _filled(stream: BinaryIO) -> bytes:
    """Return the next bytes of a stream: less than a piece only at its end."""
    data = bytearray()
    while len(data) < SMALL and (piece := stream.read(SMALL - len(data))):
        data += piece
    return bytes(data)
