"""The requests to one bucket, by obstore, and what their failures mean in a line.

obstore runs threads of its own, so a process that has used it is never forked:
`parallel.can_fork` sees them.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from regfs.errors import Doubt, PathMissing, StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.failures import DENIED, meaning

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

_CHUNK: Final = 256 << 10
"""Bytes of a piece of a stream: four times that is slower by a third."""
_PAGE: Final = 1000
"""Keys that an answer to a listing holds."""
_PART: Final = 5 << 20
"""Bytes of a part of a large object."""
_FIRST: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=3)}
"""The first request says within 10 seconds that nobody answers."""
_LATER: Final = {"max_retries": 10, "retry_timeout": timedelta(minutes=2)}
_WAIT: Final = ("5s", "60s")
"""How long the first and any later request waits for more of an answer."""
_RIGHTS: Final = {
    "s3": ("s3:ListBucket", "s3:GetObject"),
    "gs": ("storage.objects.list", "storage.objects.get"),
    "az": ("the right to list blobs", "the right to read blobs"),
}
_NO_PATH: Final = re.compile(r"empty path segment|invalid list response: .* UTF-8")
"""In the words of a failure: there is a key in the listing that is no path."""
_AFTER_THE_END: Final = re.compile(r"status code: 416 |error: Wanted range starting at \d")
"""In the words of a failure: the object ends before the range begins."""


class KeyOdd(Exception):
    """A key in a listing is no path, so that the whole listing fails."""


class Object(NamedTuple):
    """One object as a listing tells of it."""

    key: str
    size: int
    mtime: float
    etag: str


class Client:
    """Reads from a bucket. May be used from several threads."""

    def __init__(self, bucket: Bucket) -> None:
        """Nothing is requested yet.

        Raises:
            Doubt: obstore is not installed.
            StoreError: what is set does not suffice to reach a bucket.
        """
        self.bucket = bucket
        """Where it is."""
        self._send = bucket.meter.send
        self._first, self._later = (
            _opened(bucket, retry, wait)
            for retry, wait in zip((_FIRST, _LATER), _WAIT, strict=True)
        )

    def level(self, folder: str, *, first: bool = False) -> tuple[list[str], list[Object]]:
        """Return the folders and objects that are directly in a folder.

        Raises:
            KeyOdd, StoreError: there is a key that is no path; it cannot be listed.
        """
        import obstore

        store = self._first if first else self._later
        self._send("list")
        try:
            found = obstore.list_with_delimiter(store, folder or None)
        except Exception as error:
            raise self.failure(error) from None
        self._count_more(len(found["common_prefixes"]) + len(found["objects"]))
        return list(found["common_prefixes"]), list(map(_object, found["objects"]))

    def find(self, key: str) -> Object | None:
        """Return an object; None if there is none.

        Raises:
            StoreError: the bucket does not say.
        """
        import obstore

        self._send("head")
        try:
            return _object(obstore.head(self._later, key))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.failure(error, key) from None

    def pages(self, folder: str, *, after: str = "") -> Iterator[list[Object]]:
        """Yield all objects below a folder whose keys are greater than `after`, a request a page.

        Raises:
            As `level`.
        """
        import obstore

        self._send("list")
        try:
            stream = obstore.list(self._later, folder, offset=after or None, chunk_size=_PAGE)
            for number, page in enumerate(stream):
                if number:
                    self._send("list")
                yield list(map(_object, page))
        except Exception as error:
            raise self.failure(error) from None

    def read(self, key: str, limit: int, whole: int | None = None) -> bytes:
        """Return the first `limit` bytes of an object; of `whole` bytes, if that is known.

        Raises:
            PathMissing, StoreError: it is gone, has another size, or cannot be read.
        """
        # Nearly all that is read so is shorter than the limit: a range would gain nothing.
        size = None if whole is None else min(limit, whole)
        with self.open(key, 0, size, whole) as stream:
            pieces, left = [], limit
            while left and (piece := stream.read(min(left, _CHUNK))):
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)

    def open(
        self,
        key: str,
        offset: int = 0,
        size: int | None = None,
        whole: int | None = None,
        *,
        version: str = "",
    ) -> BinaryIO:
        """Open `size` bytes of an object from `offset` on, or all that follow.

        With `whole`, the object has to have that many bytes; with `version`, it is that one.

        Raises:
            As `read`; reading too.
        """
        import obstore

        if size is not None and size <= 0:
            return io.BytesIO()
        options: Any = {"version": version} if version else {}
        if size is not None and size != whole:
            options["range"] = (offset, offset + size)
        elif offset:
            options["range"] = {"offset": offset}
        self._send("get")
        try:
            found = obstore.get(self._later, key, options=options)
            if whole is not None and found.meta["size"] != whole:
                raise StoreError(f"{printable(key)}: has changed since it was listed")
            stream = iter(found.stream(min_chunk_size=_CHUNK))
        except StoreError:
            raise
        except Exception as error:
            if "range" in options and _AFTER_THE_END.search(str(error)):
                return io.BytesIO()
            raise self.failure(error, key) from None
        start, end = found.range
        return cast(BinaryIO, _Answer(self, key, stream, end - start))

    def signed(self, key: str, valid: timedelta) -> str:
        """Return a URL by which anybody may read an object while it is valid.

        Raises:
            StoreError: there are no keys to sign with.
        """
        import obstore

        try:
            return obstore.sign(self._first, "GET", key, valid)
        except Exception as error:
            raise self.failure(error, key) from None

    def _count_more(self, rows: int) -> None:
        """Count the pages that a listing took after its first."""
        if rows > _PAGE:
            self._send("list", (rows - 1) // _PAGE)

    def _right(self, key: str) -> str:
        """Return what the right is called to list the bucket, or to read an object in it."""
        return _RIGHTS[self.bucket.scheme][bool(key)]

    def put(self, key: str, file: BinaryIO) -> None:
        """Write an object from a file, in parts if it is large; it appears whole or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        import obstore

        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        parts = -(-size // _PART)
        self._send("put", parts + 2 if parts > 1 else 1)  # with the beginning and the end
        try:
            obstore.put(self._later, key, cast(Any, file), chunk_size=_PART)
        except Exception as error:
            raise self.failure(error, key) from None

    def failure(self, error: Exception, key: str = "") -> Exception:
        """Return what a failed request means; of the words of the server only those known here.

        Its own may quote the request, and with it an access key.
        """
        text = str(error)
        if type(error).__name__ == "InvalidPathError" or _NO_PATH.search(text):
            # Of one object, the server is not even asked whether it is there.
            words = f"{printable(key)}: such a key cannot be asked for"
            return StoreError(words) if key else KeyOdd()
        where = printable(f"{self.bucket.url}: {key}" if key else self.bucket.url)
        if isinstance(error, FileNotFoundError) and key:
            return PathMissing(f"{where}: no such object")
        words = meaning(text, self.bucket.scheme)
        if words == DENIED:
            words = f"permission denied: these credentials lack {self._right(key)}"
        return StoreError(f"{where}: {words}")


def _object(meta: Any) -> Object:
    modified: datetime = meta["last_modified"]
    # Whole seconds, as a HEAD tells them: a listing of some servers has parts of them.
    return Object(meta["path"], meta["size"], modified.timestamp() // 1, meta["e_tag"] or "")


def _opened(bucket: Bucket, retry: Any, wait: str) -> S3Store | GCSStore | AzureStore:
    try:
        from obstore.store import AzureStore, GCSStore, S3Store
    except ModuleNotFoundError:
        raise Doubt("obstore is missing: pip install 'regfs[bucket]'") from None
    made: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[bucket.scheme]
    client = {
        # Only who names a server without TLS is connected to one.
        "allow_http": True,
        "allow_invalid_certificates": bucket.insecure,
        "connect_timeout": "3s",
        "read_timeout": wait,
        # That of a whole answer, which may be a large blob.
        "timeout": "1h" if wait != _WAIT[0] else wait,
    }
    try:
        return cast(
            "S3Store | GCSStore | AzureStore",
            made(bucket.name, **_options(bucket), client_options=client, retry_config=retry),
        )
    except Exception as error:
        words = meaning(str(error), bucket.scheme)
        raise StoreError(f"{printable(bucket.url)}: {words}") from None


def _options(bucket: Bucket) -> dict[str, Any]:
    """Return the options of a bucket; keys that come without a token are used without one.

    Given as options, they would be sent with the token in AWS_SESSION_TOKEN, of other keys.
    """
    options = dict(bucket.options)
    if not {"access_key_id", "secret_access_key"} <= options.keys() or "session_token" in options:
        return options
    keys = {name: options.pop(name) for name in ("access_key_id", "secret_access_key")}
    options["credential_provider"] = lambda: {**keys, "token": None, "expires_at": None}
    return options


class _Answer(io.RawIOBase):
    """The bytes of an answer, as they come."""

    def __init__(self, client: Client, key: str, pieces: Iterator[Any], left: int) -> None:
        super().__init__()
        self._client = client
        self._key = key
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._left = left

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`; return the number of bytes."""
        if not self._left:
            return 0
        if not self._piece:
            self._piece = self._next()
        with memoryview(buffer) as view:
            count = min(len(view), len(self._piece), self._left)
            view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        self._left -= count
        return count

    def _next(self) -> memoryview:
        try:
            while True:
                piece = next(self._pieces, None)
                if piece is None:
                    raise StoreError(f"{printable(self._key)}: the answer ends within it")
                if len(piece):
                    return memoryview(piece)
        except StoreError:
            raise
        except Exception as error:
            raise self._client.failure(error, self._key) from None
