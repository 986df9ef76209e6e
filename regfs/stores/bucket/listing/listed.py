"""Objects that were listed, by whom it may be, as rows; their bytes come by requests.

source.py       lists a bucket itself
inventory.py    has a report of S3 Inventory
"""

from __future__ import annotations

import hashlib
import re
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
_MANY: Final = 1 << 17
"""Small objects that are kept in memory: 30 MB of them."""
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
        self._small: dict[int, bytes] = {}
        """What was read of small objects, by row."""
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
        # Links are asked for by the scan, and by what checks them.
        if len(content) == whole <= _SMALL and len(self._small) < _MANY:
            self._small[row] = content
        return content

    def known(self, row: int) -> bytes | None:
        """Return what a link holds, if its ETag says so, or it was read before."""
        content = self._small.get(row)
        return self._links.content(row) if content is None else content

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return None: an ETag is no digest that a registry uses."""
        return None


def listed_etag(found: Object) -> str:
    """Return the etag that a snapshot tells of an object."""
    return flat_etag(array("q", _identity(found.etag))[0], found.size)


def _identities(etags: Sequence[str]) -> bytes:
    """Return what `_identity` does of each, one after the other."""
    text = "".join(etags)
    if set(map(len, etags)) == {34} and text.count('"') == 2 * len(etags):  # as they mostly are
        with suppress(ValueError):
            if len(found := bytes.fromhex(text.replace('"', ""))) == 16 * len(etags):
                return found
    return b"".join(map(_identity, etags))


def _identity(etag: str) -> bytes:
    """Return 16 bytes of an ETag, itself if it may be an MD5: as the place and mark of a row."""
    found = _ETAG.fullmatch(etag)
    if found:
        return bytes.fromhex(found[1])
    # Azure writes quotes around it in the answer to HEAD, and none in a listing.
    return hashlib.blake2b(etag_of(etag).encode(), digest_size=16).digest()
