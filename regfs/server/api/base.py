"""`/v2/`: that this is a registry."""

from __future__ import annotations

from aiohttp import web

from regfs.server.routes import Route


async def get(request: web.Request, route: Route) -> web.StreamResponse:
    """Answer that this is a registry."""
    return web.json_response({})
