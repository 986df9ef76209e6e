"""Bodies of pages -> responses: with the headers that all of them have, and compressed."""

from __future__ import annotations

import gzip
import re
from typing import Final

from aiohttp import web

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Headers of every page: content from a tree can neither run nor load anything."""
_NONE: Final = re.compile(r"q=0(\.0*)?")
_LEVEL: Final = 5
_SMALL: Final = 1000
"""Bytes that are not worth compressing: they fit into one packet."""


def packed(request: web.Request, body: bytes, content_type: str, status: int = 200) -> web.Response:
    """Return a response, compressed if the client accepts that."""
    headers = {**HEADERS, "Vary": "Accept-Encoding"}
    if len(body) >= _SMALL and _takes_gzip(request.headers.get("Accept-Encoding", "")):
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=body, status=status, content_type=content_type, charset="utf-8", headers=headers
    )


def _takes_gzip(accepted: str) -> bool:
    for one in accepted.lower().split(","):
        coding, _, weight = one.partition(";")
        if coding.strip() == "gzip":
            return not _NONE.fullmatch(weight.strip())
    return False
