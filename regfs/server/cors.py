"""Pages of other sites that may use the API, as their browsers ask for (CORS).

    --cors-origin https://ui.example.com    its pages may do what their user may
    --cors-origin '*'                       any page may read what needs no password

A browser asks first (OPTIONS) before it sends a request that could change something. It gives a
page no answer that does not name the page's origin, so without the option none can be read.

Source: WHATWG Fetch, "CORS protocol".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from regfs.server import routes
from regfs.server.keys import SETTINGS
from regfs.server.settings import Settings

ANY: Final = "*"
_ORIGIN: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[^/?#@:\[\]\s*]+)(?::[0-9]{1,5})?")
_READING: Final = ("GET", "HEAD")
_SENT: Final = (
    "Accept, Authorization, Content-Range, Content-Type, If-Match, If-None-Match, If-Range, Range"
)
"""Headers that a page may send."""
_SHOWN: Final = (
    "Accept-Ranges, Content-Length, Content-Range, Docker-Content-Digest, "
    "Docker-Distribution-API-Version, Docker-Upload-UUID, ETag, Link, Location, "
    "OCI-Filters-Applied, OCI-Subject, OCI-Tag, Range, Retry-After, WWW-Authenticate"
)
"""Headers of answers that a page may read."""
_REMEMBERED: Final = "600"
"""Seconds for which a browser need not ask again."""
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def origin_in(text: str) -> str | None:
    """Return an origin as browsers write it, or `*`; None if `text` is neither."""
    text = text.lower()
    return text if text == ANY or _ORIGIN.fullmatch(text) else None


def is_welcome(request: web.Request) -> bool:
    """Return whether a request comes from a page that may change things."""
    return _named(request, request.app[SETTINGS]) is not None


def _named(request: web.Request, settings: Settings) -> str | None:
    """Return the origin of a request if the option names it."""
    given = request.headers.getall("Origin", [])
    return given[0] if len(given) == 1 and given[0] in settings.cors_origins - {ANY} else None


@web.middleware
async def answered_to_browsers(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Answer the preflight request of a browser."""
    settings = request.app[SETTINGS]
    method = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or method is None or not _is_api(request):
        return await handler(request)
    named = _named(request, settings) is not None
    if not named and ANY not in settings.cors_origins:
        return await handler(request)
    methods = [*_READING, *(_changing(settings) if named else ())]
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": _SENT,
        "Access-Control-Max-Age": _REMEMBERED,
    }
    return web.Response(status=204, headers=headers)


def _changing(settings: Settings) -> list[str]:
    # DELETE cancels an upload too; whether it may delete more is decided when it is sent.
    return ["DELETE", "PATCH", "POST", "PUT"] if settings.writable else []


async def name_origins(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that say which pages may read an answer."""
    settings = request.app[SETTINGS]
    if not settings.cors_origins or not _is_api(request):
        return
    response.headers.add("Vary", "Origin")
    origin = _named(request, settings)
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
    elif ANY in settings.cors_origins:
        response.headers["Access-Control-Allow-Origin"] = ANY
    else:
        return
    response.headers["Access-Control-Expose-Headers"] = _SHOWN


def _is_api(request: web.Request) -> bool:
    return routes.is_api(routes.path_in(request.raw_path))
