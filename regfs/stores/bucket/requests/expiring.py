"""Requests that a server refuses after some seconds: Signature Version 4 in the query.

A header that is signed is good for a quarter of an hour, and a process may be stopped between
signing and sending. The kept signers sign no headers of one's own in a query, which a copy needs.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from requests import PreparedRequest

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Signer(NamedTuple):
    """The keys of one user in one region. Its text holds no secret."""

    key: str
    secret: str
    token: str
    region: str

    def __repr__(self) -> str:
        """Leave out the secret and the token."""
        return f"Signer({self.key!r}, region={self.region!r})"


def sign_until(request: PreparedRequest, signer: Signer, now: float, seconds: int) -> None:
    """Sign a request in its query, for so many seconds from `now` on by the server's clock.

    Its path and query have to be encoded as they are sent.
    """
    parts = urlsplit(str(request.url))
    at = datetime.fromtimestamp(int(now), UTC)
    scope = f"{at:%Y%m%d}/{signer.region}/s3/aws4_request"
    headers = {"host": parts.netloc}
    headers |= {
        name.lower(): " ".join(str(text).split())
        for name, text in request.headers.items()
        if name.lower().startswith("x-amz-")
    }
    names = ";".join(sorted(headers))
    asked = {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{signer.key}/{scope}",
        "X-Amz-Date": f"{at:%Y%m%dT%H%M%SZ}",
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": names,
    }
    if signer.token:
        asked["X-Amz-Security-Token"] = signer.token
    items = [item if "=" in item else f"{item}=" for item in parts.query.split("&") if item]
    items += [f"{name}={quote(text, safe='~')}" for name, text in asked.items()]
    query = "&".join(sorted(items))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    whole = "\n".join([str(request.method), parts.path, query, lines, names, "UNSIGNED-PAYLOAD"])
    digest = hashlib.sha256(whole.encode()).hexdigest()
    text = "\n".join([_ALGORITHM, asked["X-Amz-Date"], scope, digest])
    key = b"AWS4" + signer.secret.encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    request.url = urlunsplit((*parts[:3], f"{query}&X-Amz-Signature={signature}", ""))
