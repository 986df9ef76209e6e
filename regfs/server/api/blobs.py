"""`/v2/<name>/blobs/<digest>`: a blob that the repository has a link to."""

from __future__ import annotations

import asyncio

from aiohttp import web

from regfs.server import sending
from regfs.server.keys import REGISTRY, SETTINGS
from regfs.server.routes import Route


async def get(request: web.Request, route: Route) -> web.StreamResponse:
    """Send a blob, or a part of it. Its link as a layer is what counts.

    A manifest has none: if it were found here, a client that pushes it as a layer would
    leave that out, and the manifest that needs it would be refused.
    """
    blob = await asyncio.to_thread(
        sending.prepare,
        request.app[REGISTRY],
        route.name,
        route.digest,
        request.method,
        request.headers,
        redirect=request.app[SETTINGS].redirect,
    )
    return await sending.send(request, blob)
