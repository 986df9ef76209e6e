"""What links hold, answered from the listing where that proves it.

The ETag of an object that was put at once is the MD5 of its content on S3 and on servers that
speak it. A link holds a digest, and where it lies says which ones it can be:

    _layers/sha256/<hex>/link       sha256:<hex>
    tags/v1/current/link            one of tags/v1/index, or of the repository's revisions

The answer is a candidate that has the size of the object and whose MD5 is its ETag. No wrong
one can come of it:

- An ETag that is the MD5 of the content proves the candidate: other content of the same size
  and MD5 would have to be made for a digest given beforehand, which nobody can do for MD5.
- An ETag that is something else (encryption by KMS, Azure, an upload in parts) equals the MD5
  of a candidate once in 2^128 times. It matches nothing, and the link is read.

So each match is a test of its own, and reading one link would add nothing: what is left is a
server under which content changes while it goes on to tell the ETag of what was put. That shows
in no listing, and in one link only if it is that one. Nothing is deleted by it: what a collection
moves is read by then, from the bucket.

It is as old as the listing, as the answer of every other question is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from struct import pack
from typing import Final

from regfs.stores.flat.rows import Rows

_LINK: Final = b"\0link"
_CURRENT: Final = b"\0current\0link"
_TAGS: Final = b"\0_manifests\0tags\0"
_REVISIONS: Final = b"\0_manifests\0revisions"
_SIZES: Final = {len(b"sha256:") + 64, len(b"sha512:") + 128}


class Links:
    """Answers what links hold, by the ETags of their rows."""

    def __init__(self, rows: Rows) -> None:
        """Places and marks of the rows are the 16 bytes of ETags."""
        self._rows = rows
        self._revisions: tuple[bytes, dict[bytes, bytes]] = (b"", {})
        """Those of one repository, by their MD5."""

    def content(self, row: int) -> bytes | None:
        """Return what a link holds; None if it is none, or is to be read."""
        key = self._rows.keys[row]
        if not key.endswith(_LINK) or self._rows.sizes[row] not in _SIZES:
            return None
        etag = pack("qq", self._rows.places[row], self._rows.marks[row])
        found = self._of_tag(key, etag) if key.endswith(_CURRENT) else _named(key)
        if found is None or len(found) != self._rows.sizes[row] or _md5(found) != etag:
            return None
        return found

    def _of_tag(self, key: bytes, etag: bytes) -> bytes | None:
        """Return which of those that a tag may point to has an ETag."""
        index = key[: -len(_CURRENT)] + b"\0index"
        for candidate in self._linked(index):
            if _md5(candidate) == etag:
                return candidate
        repository = key.rpartition(_TAGS)[0]
        known, digests = self._revisions
        if known != repository:
            digests = {_md5(one): one for one in self._linked(repository + _REVISIONS)}
            self._revisions = repository, digests
        return digests.get(etag)

    def _linked(self, folder: bytes) -> Iterator[bytes]:
        """Yield the digests of the links in a folder, by their paths."""
        for row in range(*self._rows.below(folder)):
            if self._rows.keys[row].endswith(_LINK):
                yield _named(self._rows.keys[row])


def _named(key: bytes) -> bytes:
    """Return the digest that the path of a link names."""
    above, _, encoded = key[: -len(_LINK)].rpartition(b"\0")
    return above.rpartition(b"\0")[2] + b":" + encoded


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()
