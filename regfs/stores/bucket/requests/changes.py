"""What changing a bucket asks of it, whatever cloud it is in.

Signed        S3: versions, uploads in parts
SignedBlobs   Azure: neither, and an ETag that no two writes share
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from regfs.errors import Refused, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.answers import (
    Deletion,
    ObjectHead,
    ObjectVersion,
    OpenUpload,
    Versioning,
)


class ChangeRequests(Protocol):
    """Signed requests to one bucket. May be used from several threads.

    Raises:
        PathMissing: there is no such object, version or upload.
        ObjectChanged: a condition is not met; nothing was done.
        RightMissing: a permission is missing; the message names it.
        StoreError: it fails otherwise, or no answer comes.
    """

    content_in_etags: bool
    """Whether a copy has the ETag of what it is a copy of; if not, of two objects with different
    ETags only their bytes say whether they are the same."""

    def before_change(self, ask: Callable[[], float | None]) -> None:
        """Let `ask` say for how many seconds more changes may come; it raises if none may.

        It is asked when one is signed, and as it is sent; the server refuses what arrives later.
        """

    def now(self) -> float:
        """Return what the server's clock shows, in seconds since the epoch, to the second."""

    def versioning(self) -> Versioning:
        """Return which versions are kept that are told by `versions`."""

    def is_locked(self) -> bool:
        """Return whether objects cannot be deleted for a time that nobody can shorten."""

    def keeps_deleted(self, key: str) -> bool:
        """Return whether something is left of an object that was deleted, and takes space."""

    def head(self, key: str, version: str = "") -> ObjectHead:
        """Return what the server tells of an object, or of one version of it."""

    def put(self, key: str, data: bytes, *, absent: bool = False) -> str:
        """Write an object whole; return its version, if there are any.

        With `absent`, only where none is; whether a server honours that is to be found out before.
        """

    def copy(
        self, source: str, target: str, size: int, *, version: str = "", match: str = "",
        absent: bool = False,
    ) -> ObjectHead:  # fmt: skip
        """Copy an object of `size` bytes on the server, replacing what is at `target`.

        With `match`, only if its ETag is that; with `version`, that version; with `absent`, only
        where nothing is, if the cloud has that condition for copies.
        """

    def delete(self, key: str, *, version: str = "", match: str = "") -> Deletion:
        """Delete an object, or one version of it; with `match`, only if its ETag is that."""

    def versions(self, prefix: str) -> Iterator[list[ObjectVersion]]:
        """Yield the versions and markers of keys that begin with a prefix, by pages."""

    def uploads(self, prefix: str) -> Iterator[list[OpenUpload]]:
        """Yield the open uploads of keys that begin with a prefix, by pages."""

    def abort(self, key: str, upload: str) -> None:
        """End an open upload."""


def changes_of(bucket: Bucket) -> ChangeRequests:
    """Return what changes a bucket.

    Raises:
        Refused: regfs changes nothing in this cloud.
        Doubt: there are no keys that sign, or what signs is not installed.
        StoreError: what is set does not suffice to reach the bucket.
    """
    if bucket.scheme == "s3":
        from regfs.stores.bucket.requests.signed import Signed

        return Signed(bucket)
    if bucket.scheme == "az":
        from regfs.stores.bucket.requests.blobs import SignedBlobs

        return SignedBlobs(bucket)
    raise Refused(f"{printable(bucket.url)}: regfs changes buckets of S3 and Azure only")
