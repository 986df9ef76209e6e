"""Requests that change a container of Azure.

Every write has an ETag of its own, and every write, delete and source of a copy may be made to
depend on it: so what was looked at is what is copied and deleted, or nothing is.

A copy is made by Copy Blob, the only one that takes blobs of every kind and size: a registry
appends to those it writes, and the others take block blobs only. The server begins it and may
answer before it is at its end, as it does between accounts; then it is asked until it is. Until
then the blob is there, and cannot be written or deleted.

Nothing here has versions or uploads in parts. An account may keep what is deleted for some days
(soft delete), or each former version: regfs sees neither, deletes what it sees, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from regfs.errors import StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.answers import (
    Deletion,
    ObjectHead,
    ObjectVersion,
    OpenUpload,
    Versioning,
    etag_of,
)
from regfs.stores.bucket.requests.azure import LIST, AzureCloud
from regfs.stores.bucket.requests.calls import Call
from regfs.stores.bucket.requests.transport import Transport

_READ: Final = "the right to read blobs"
_WRITE: Final = "the right to write blobs"
_DELETE: Final = "the right to delete blobs"
_TYPE: Final = {"x-ms-blob-type": "BlockBlob"}
_ABSENT: Final = {"If-None-Match": "*"}
_COPIED: Final = "success"
_COPYING: Final = "pending"
_POLL: Final = 1.0
"""Seconds between two questions whether a copy is at its end."""
_SOURCE: Final = 86_400.0
"""Seconds for which the server may read what it copies."""


class SignedBlobs:
    """Signed requests to one container. May be used from several threads."""

    content_in_etags = False

    def __init__(self, bucket: Bucket, pause: Callable[[float], None] = time.sleep) -> None:
        """Nothing is requested yet.

        Raises:
            As `AzureCloud`.
        """
        self._cloud = AzureCloud(bucket)
        self._pause = pause
        self.transport = Transport(bucket, self._cloud, pause)

    def before_change(self, ask: Callable[[], float | None]) -> None:
        """Let `ask` be asked before each change."""
        self.transport.before_change = ask

    def now(self) -> float:
        """Return what the server's clock shows. Raises as `Transport.now`."""
        return self.transport.now()

    # -- what is kept ------------------------------------------------------------------

    def versioning(self) -> Versioning:
        """Return that no versions are told."""
        return Versioning("", False)

    def versions(self, prefix: str) -> Iterator[list[ObjectVersion]]:
        """Yield nothing."""
        return iter(())

    def uploads(self, prefix: str) -> Iterator[list[OpenUpload]]:
        """Yield nothing: what is not committed, the server drops after a week."""
        return iter(())

    def abort(self, key: str, upload: str) -> None:
        """Do nothing: there is no such upload."""

    def is_locked(self) -> bool:
        """Return False: who may not delete is told so by the first delete."""
        return False

    def keeps_deleted(self, key: str) -> bool:
        """Return whether a deleted blob is kept: by soft delete, or as a former version.

        It may be where that cannot be asked.
        """
        include = "deleted,versions"
        query = {"restype": "container", "comp": "list", "prefix": key, "include": include}
        try:
            root, _ = self.transport.document(Call("GET", LIST, query=query))
        except StoreError:
            return True
        return root.find(".//{*}Blob") is not None

    # -- blobs -------------------------------------------------------------------------

    def head(self, key: str, version: str = "") -> ObjectHead:
        """Return what the server tells of a blob."""
        return self.transport.object_told(self._head(key))

    def _head(self, key: str) -> Mapping[str, str]:
        return self.transport.ask(Call("HEAD", _READ, key)).headers

    def put(self, key: str, data: bytes, *, absent: bool = False) -> str:
        """Write a blob whole."""
        headers = {**_TYPE, **(_ABSENT if absent else {})}
        self.transport.ask(Call("PUT", _WRITE, key, headers=headers, body=data))
        return ""

    def copy(
        self, source: str, target: str, size: int, *, version: str = "", match: str = "",
        absent: bool = False,
    ) -> ObjectHead:  # fmt: skip
        """Copy a blob on the server; return when the copy is at its end.

        Raises:
            StoreError: the server has given it up.
            As `Transport.ask`.
        """
        path = self.transport.path_of(source)
        url = self._cloud.readable(path, self.transport.now(), _SOURCE)
        headers = {"x-ms-copy-source": url, **(_ABSENT if absent else {})}
        if match:
            headers["x-ms-source-if-match"] = f'"{etag_of(match)}"'
        self.transport.ask(Call("PUT", _WRITE, target, headers=headers))
        while True:
            told = self._head(target)
            status = told.get("x-ms-copy-status", _COPIED)
            if status == _COPIED:
                return self.transport.object_told(told)
            if status != _COPYING:
                where = printable(f"{self.transport.url}: {source}")
                raise StoreError(f"{where}: the server has given up copying it")
            self._pause(_POLL)

    def delete(self, key: str, *, version: str = "", match: str = "") -> Deletion:
        """Delete a blob."""
        condition = {"If-Match": f'"{etag_of(match)}"'} if match else {}
        answer = self.transport.ask(Call("DELETE", _DELETE, key, headers=condition))
        return Deletion(False, "", answer.repeated)
