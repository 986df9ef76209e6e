"""Azure: who asks, where the container is, and URLs that a server refuses after some seconds.

Every request carries a shared access signature of its own, which allows what this request does, on
this blob, until an instant by the server's clock. obstore signs such URLs as well, but as valid
from now on by the clock of this machine, which a server whose clock is a second late refuses; and
what brings a signer otherwise (azure-storage-blob) brings 14 MB of cryptography for it.

https://learn.microsoft.com/rest/api/storageservices/create-service-sas
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from regfs.errors import Doubt, StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.calls import Call
from regfs.stores.bucket.requests.cloud import address

if TYPE_CHECKING:
    from requests import PreparedRequest

LIST: Final = "the right to list blobs"
VERSION: Final = "2021-08-06"
"""Of signatures; a request without one of its own is of the same."""
_KEYS: Final = (
    "to change a container, the key of its account is needed: set AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING; with a SAS token or an "
    "identity it is only read: what they sign is good for longer than the lock is held"
)
_USUAL: Final = 3600
"""Seconds for which what only reads is signed: clocks differ."""
_RIGHTS: Final = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}


class AzureCloud:
    """One container of Azure. May be used from several threads."""

    name = "Azure"
    scheme = "az"
    clock = Call("GET", LIST, query={"restype": "container", "comp": "list", "maxresults": "1"})

    def __init__(self, bucket: Bucket) -> None:
        """Nothing is requested yet.

        Raises:
            Doubt: there is no key of the account, or obstore is not installed.
            StoreError: what is set does not suffice to reach the container.
        """
        account, key = _keys(bucket)
        try:
            self._key = base64.b64decode(key, validate=True)
        except ValueError:
            words = "the key of the account is not in base64"
            raise StoreError(f"{printable(bucket.url)}: {words}") from None
        self.base, _ = address(bucket)
        self._path = urlsplit(self.base).path
        self._resource = f"/blob/{account}/{bucket.name}"

    def sign(self, request: Any, now: float, seconds: int | None) -> PreparedRequest:
        """Sign a request in its query."""
        url = str(request.url)
        path = unquote(urlsplit(url).path[len(self._path) :])
        right = _RIGHTS[request.method] if path else "l"
        signed = urlencode(self._signed(path, right, now + (seconds or _USUAL)))
        request.url = f"{url}{'&' if '?' in url else '?'}{signed}"
        prepared: PreparedRequest = request
        return prepared

    def readable(self, encoded: str, now: float, seconds: float) -> str:
        """Return a URL by which the server itself reads a blob; its path begins with `/`."""
        query = self._signed(unquote(encoded), "r", now + seconds)
        return f"{self.base}{encoded}?{urlencode(query)}"

    def _signed(self, path: str, right: str, until: float) -> Mapping[str, str]:
        end = f"{datetime.fromtimestamp(int(until), UTC):%Y-%m-%dT%H:%M:%SZ}"
        kind = "b" if path else "c"
        fields = [right, "", end, self._resource + path, "", "", "", VERSION, kind, *[""] * 7]
        signature = hmac.digest(self._key, "\n".join(fields).encode(), "sha256")
        encoded = base64.b64encode(signature).decode()
        return {"sv": VERSION, "se": end, "sr": kind, "sp": right, "sig": encoded}


def _keys(bucket: Bucket) -> tuple[str, str]:
    """Return the name of the account, and its key."""
    if bucket.scheme != "az":
        raise Doubt(f"{printable(bucket.url)}: this is asked of Azure only")
    given = {**bucket.keys, **bucket.options}
    if given.get("account_name") and given.get("account_key"):
        return given["account_name"], given["account_key"]
    raise Doubt(f"{printable(bucket.url)}: {_KEYS}")
