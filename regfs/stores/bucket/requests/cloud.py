"""What `Transport` asks of a cloud: where a bucket is there, and how a request to it is signed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit, urlunsplit

from regfs.errors import StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.calls import Call
from regfs.stores.bucket.requests.client import Client


class Cloud(Protocol):
    """One bucket, and the keys of one user. Its text holds no secret."""

    name: str
    """What the cloud is called."""
    scheme: str
    base: str
    """The URL of the bucket."""
    clock: Call
    """What is asked only because its answer has the time."""

    def sign(self, request: Any, now: float, seconds: int | None) -> Any:
        """Sign a request of `requests`, for so many seconds from `now` on by the server's clock.

        Without `seconds`, it is good for as long as is usual there.
        """


def address(bucket: Bucket) -> tuple[str, SplitResult]:
    """Return the URL of a bucket as obstore has found it, and one that it has signed.

    Raises:
        StoreError: what is set does not suffice.
    """
    parts = urlsplit(Client(bucket).signed("x", timedelta(seconds=1)))
    if not parts.path.endswith("/x"):
        raise StoreError(f"{printable(bucket.url)}: its address is not known")
    path = parts.path[: -len("/x")]
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), parts
