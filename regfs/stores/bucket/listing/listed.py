"""Objects that were listed, by whom it may be, as rows; their bytes come by requests.

source.py       lists a bucket itself
inventory.py    has a report of S3 Inventory

What one command needs twice (links, manifests, configs) is asked for once. A blob is remembered
only if its bytes had the digest that its name says when they came, and only for as long as this
listing: whatever has become of the object since, no other bytes can be meant by that name. Bytes
that are wrong are asked for again, and who reads a blob as a stream always asks.
"""

from __future__ import annotations

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, Final

from regfs.stores import Capability
from regfs.stores.bucket.listing.links import Links
from regfs.stores.bucket.requests.answers import etag_of
from regfs.stores.bucket.requests.client import Client, Object
from regfs.stores.flat.gathering import Gathering
from regfs.stores.flat.rows import Rows, key_of
from regfs.stores.flat.store import flat_etag

AHEAD: Final = 32
"""Reads at once."""
_SMALL: Final = 135
"""Bytes of the longest link."""
_BLOBS: Final = b"docker\0registry\0v2\0blobs\0"
_DATA: Final = b"\0data"
_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512"})
_LARGE: Final = 256 << 10
"""Bytes from which a document is not remembered: nearly all manifests have a hundredth of it."""
_ROOM: Final = 32 << 20
"""Bytes of memory for what was read."""
_EACH: Final = 150
"""Bytes that it takes to remember anything, beside what that is."""
_ETAG: Final = re.compile(r'"?([0-9a-fA-F]{32})"?')


class ListedObjects(ABC):
    """A base of the sources over a listing of a bucket."""

    capabilities = Capability.REQUESTS
    ahead = AHEAD

    def __init__(self, client: Client, url: str, what: str) -> None:
        """`what` is the listing in words, for messages."""
        self.url = url
        self._client = client
        self._gathering = Gathering(what)
        self._empty: set[bytes] = set()
        """Names of empty objects: of a folder that programs show, if anything lies below it."""
        self._read: dict[int, bytes] = {}
        """What was read of links and of documents, by row."""
        self._room = _ROOM
        self._remembering = threading.Lock()
        self._rows = Rows([])
        self._links = Links(self._rows)

    def _take(self, name: bytes, size: int, mtime: float, etag: str) -> None:
        """Take one object."""
        self._take_all([name], [size], [mtime], [etag])

    def _take_all(
        self,
        names: Sequence[bytes],
        sizes: Sequence[int],
        mtimes: Sequence[float],
        etags: Sequence[str],
    ) -> None:
        """Take some objects."""
        if 0 in sizes:
            self._empty.update(name for name, size in zip(names, sizes, strict=True) if not size)
        numbers = array("q", _identities(etags))
        self._gathering.add_files(names, sizes, mtimes, numbers)

    def _finish(self, *, anchored: bool) -> Rows:
        """Return the rows of what was taken; `anchored` as in `Gathering.finish`."""
        self._rows = rows = self._gathering.finish(anchored=anchored)
        for name in self._empty:
            key = key_of(name.decode("utf-8", "surrogateescape"))
            if key in rows.odd and rows.find(key) < 0:
                del rows.odd[key]
        self._links = Links(rows)
        return rows

    @abstractmethod
    def _key_of(self, row: int) -> str:
        """Return the key of an object."""

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of an object."""
        whole = self._rows.sizes[row]
        left = max(whole - offset, 0)
        size = left if length is None else min(left, length)
        return self._client.open(self._key_of(row), offset, size, whole)

    def read(self, row: int, limit: int) -> bytes:
        """Return the first bytes of an object; of a link, from the listing where it says."""
        if (known := self.known(row)) is not None:
            return known[:limit]
        whole = self._rows.sizes[row]
        content = self._client.read(self._key_of(row), limit, whole)
        if len(content) == whole and _is_worth_it(self._rows.keys[row], content):
            self._remember(row, content)
        return content

    def _remember(self, row: int, content: bytes) -> None:
        with self._remembering:
            if row not in self._read and self._room >= len(content) + _EACH:
                self._read[row] = content
                self._room -= len(content) + _EACH

    def known(self, row: int) -> bytes | None:
        """Return what an object holds, if its ETag says so, or it was read before."""
        content = self._read.get(row)
        return self._links.content(row) if content is None else content

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return None: an ETag is no digest that a registry uses."""
        return None


def _is_worth_it(key: bytes, content: bytes) -> bool:
    """Return whether what was read is asked for again: a link, or a document that is intact."""
    if not (key.startswith(_BLOBS) and key.endswith(_DATA)):
        return len(content) <= _SMALL
    if content[:1] != b"{" or len(content) > _LARGE:
        return False
    *_, algorithm, _, name, _ = key.decode("ascii", "replace").split("\0")
    return algorithm in _ALGORITHMS and (
        hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() == name
    )


def listed_etag(found: Object) -> str:
    """Return the etag that a snapshot tells of an object."""
    return flat_etag(array("q", _identity(found.etag))[0], found.size)


def _identities(etags: Sequence[str]) -> bytes:
    """Return what `_identity` does of each, one after the other."""
    text = "".join(etags)
    quotes = {frozenset({34}): 2, frozenset({32}): 0}.get(frozenset(map(len, etags)), -1)
    if text.count('"') == quotes * len(etags):  # as they mostly are: with quotes, or in a report
        with suppress(ValueError):
            if len(found := bytes.fromhex(text.replace('"', ""))) == 16 * len(etags):
                return found
    return b"".join(map(_identity, etags))


def _identity(etag: str) -> bytes:
    """Return 16 bytes of an ETag, itself if it may be an MD5: as the place and mark of a row."""
    found = _ETAG.fullmatch(etag) if len(etag) in (32, 33, 34) else None
    if found:
        return bytes.fromhex(found[1])
    # Azure writes quotes around it in the answer to HEAD, and none in a listing.
    return hashlib.blake2b(etag_of(etag).encode(), digest_size=16).digest()
