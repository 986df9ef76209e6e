"""`/v2/<name>/tags/list`: the tags of a repository, sorted by bytes; all of them without `n`."""

from __future__ import annotations

import asyncio

from aiohttp import web

from regfs.server.api.paged import asked_n, json_response, next_link
from regfs.server.keys import PAGING
from regfs.server.routes import Route


async def get(request: web.Request, route: Route) -> web.StreamResponse:
    """List the tags that come after `last`, at most `n`."""
    n, last = asked_n(request), request.query.get("last", "")
    page = await asyncio.to_thread(request.app[PAGING].tags, route.name, n, last)
    headers = {}
    if page.more and n is not None:
        query = [("last", page.names[-1]), ("n", n)]
        headers = next_link(f"/v2/{route.name}/tags/list", query)
    return json_response({"name": route.name, "tags": page.names}, headers)
