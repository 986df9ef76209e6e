"""Paging of lists: how many entries are requested, and the link to the next page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from regfs.errors import quoted
from regfs.server.errors import ApiError

_DIGITS: Final = 18
"""Digits of a number; no list has so many entries."""


def asked_n(request: web.Request) -> int | None:
    """Return how many entries are requested; None if the request does not say.

    Raises:
        ApiError: 400, if it is not a number, or negative.
    """
    text = request.query.get("n")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ApiError(
            "UNSUPPORTED", f"n must be a whole number, not {quoted(text, 50)}", status=400
        )
    text = text.lstrip("0") or "0"
    return int(text) if len(text) <= _DIGITS else 10**_DIGITS


def next_link(
    path: str, query: Mapping[str, object] | Sequence[tuple[str, object]]
) -> dict[str, str]:
    """Return the header with the link to the next page."""
    return {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}


def json_response(
    document: Any, headers: Mapping[str, str] | None = None, status: int = 200
) -> web.Response:
    """Answer with a JSON document and a newline, as the reference does."""
    body = (json.dumps(document, separators=(",", ":")) + "\n").encode()
    return web.Response(body=body, headers=headers, status=status, content_type="application/json")
