"""`/v2/_catalog`: the repositories, a repository before those in its folder.

The order is by component (`foo`, `foo/1x`, `foo-bar`), as in `regfs ls`. Only those that
the client may read are listed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from regfs.server.api.paged import asked_n, json_response, next_link
from regfs.server.keys import MAY, PAGING
from regfs.server.routes import Route, Verb

USUAL: Final = 100
"""Default page size; that of docker-registry."""
MOST: Final = 10_000
"""Largest page size; a client that asks for more gets so many, and a link to the next page."""


async def get(request: web.Request, route: Route) -> web.StreamResponse:
    """List the repositories that come after `last`, at most `n`."""
    n = asked_n(request)
    n = USUAL if n is None else min(n, MOST)
    may = request.app[MAY]
    page = await asyncio.to_thread(
        request.app[PAGING].repositories,
        n,
        request.query.get("last", ""),
        lambda name: may(request, Verb.READ, name),
    )
    headers = {}
    if page.more:
        headers = next_link("/v2/_catalog", [("last", page.names[-1]), ("n", n)])
    return json_response({"repositories": page.names}, headers)
