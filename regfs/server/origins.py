"""Whether a request is meant for this server: by the host it names and the page it is from.

A browser lets any page send requests to any server, and only the headers show which:

    Origin    which page changes something. One of another host could use what the browser
              has of us: its passwords, or that it runs on this machine. Refused.
    Host      which name was looked up. Another site's name that is made to lead to 127.0.0.1
              (DNS rebinding) makes its pages pages of ours, for the browser. Where being on
              this machine is all that is asked of a client, only names that cannot be
              another site's are answered.

Clients of registries send no Origin, and the Host that their user gave them. Pages that are
to be let in from elsewhere are named by `--cors-origin` (see `cors`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from regfs.server.cors import is_welcome
from regfs.server.errors import ApiError
from regfs.server.keys import SETTINGS

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names that always mean this machine."""
_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN: Final = frozenset({"cross-site", "same-site"})
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/@\s]+))(?::([0-9]{0,5}))?")
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def host_of(text: str) -> tuple[str, str] | None:
    """Return name and port of a Host header, the port empty if it is the usual; None if wrong."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    name = (found[1] or found[2]).casefold().removesuffix(".")
    port = found[3] or ""
    return name, "" if port in ("80", "443") else port


@web.middleware
async def meant(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Refuse requests that name another host or come from a page of another host."""
    settings = request.app[SETTINGS]
    given = request.headers.getall("Host", [])
    if settings.only_named and given:  # a client that sends none is no browser
        host = host_of(given[0]) if len(given) == 1 else None
        if host is None or host[0] not in settings.host_names | LOOPBACK:
            raise ApiError(
                "DENIED",
                "this host name is not allowed; allow it with --host-name NAME",
            )
    changes = request.method not in _CHANGES_NOTHING
    welcome = is_welcome(request) or _from_here(request, settings.host_names)
    if changes and not welcome:
        raise ApiError("DENIED", "requests from pages of other sites are not allowed")
    return await handler(request)


def _from_here(request: web.Request, names: frozenset[str]) -> bool:
    """Return whether a request does not come from a page of another host."""
    if request.headers.get("Sec-Fetch-Site") in _FOREIGN:
        return False
    for origin in request.headers.getall("Origin", []):
        try:
            page = host_of(urlsplit(origin).netloc)
        except ValueError:
            return False
        # A proxy may change Host: then the public name is one of `names`.
        if page is None or (page != host_of(request.host) and page[0] not in names):
            return False
    return True
