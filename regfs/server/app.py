"""The application: what every request goes through, and which handler answers it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from regfs.errors import RegfsError
from regfs.paging import Folders, Paging
from regfs.referrers import Referrers
from regfs.registry import Registry
from regfs.server import routes
from regfs.server.api import base, blobs, catalog, manifests, referrers, tags
from regfs.server.errors import VERSION_HEADER, ApiError, as_api_error, error_response
from regfs.server.keys import MAY, PAGING, REFERRERS, REGISTRY, ROUTE, SETTINGS
from regfs.server.routes import Action, Route, Verb
from regfs.server.settings import Settings
from regfs.server.ui.pages import add_pages

Handler = Callable[[web.Request, Route], Awaitable[web.StreamResponse]]
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

HANDLERS: Final[dict[tuple[Action, str], Handler]] = {
    (Action.BASE, "GET"): base.get,
    (Action.BASE, "HEAD"): base.get,
    (Action.CATALOG, "GET"): catalog.get,
    (Action.CATALOG, "HEAD"): catalog.get,
    (Action.TAGS, "GET"): tags.get,
    (Action.TAGS, "HEAD"): tags.get,
    (Action.MANIFEST, "GET"): manifests.get,
    (Action.MANIFEST, "HEAD"): manifests.get,
    (Action.BLOB, "GET"): blobs.get,
    (Action.BLOB, "HEAD"): blobs.get,
    (Action.REFERRERS, "GET"): referrers.get,
    (Action.REFERRERS, "HEAD"): referrers.get,
}
"""What answers each method of each path."""

_log = logging.getLogger(__name__)


def make_app(registry: Registry, settings: Settings) -> web.Application:
    """Return the application that serves a registry."""
    app = web.Application(middlewares=[_told, _routed, _allowed_by_mode])
    folders = Folders(registry.store)
    app[REGISTRY] = registry
    app[PAGING] = Paging(folders)
    app[REFERRERS] = Referrers(registry, folders)
    app[SETTINGS] = settings
    app[MAY] = _everybody
    app.router.add_route("*", "/v2", _dispatch)
    app.router.add_route("*", "/v2/{tail:.*}", _dispatch)
    add_pages(app)
    return app


def _everybody(request: web.Request, verb: Verb, name: str) -> bool:
    return True


async def _dispatch(request: web.Request) -> web.StreamResponse:
    route = request[ROUTE]
    handler = HANDLERS.get((route.action, request.method))
    if handler is None:
        raise _wrong_method(route.action, request.method)
    return await handler(request, route)


def _wrong_method(action: Action, method: str) -> ApiError:
    known = sorted(one for other, one in HANDLERS if other is action)
    return ApiError(
        "UNSUPPORTED",
        f"{method} is nothing that can be asked of this path",
        headers={"Allow": ", ".join(known)},
    )


@web.middleware
async def _told(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Say what went wrong as OCI's JSON, once, here."""
    api = routes.is_api(routes.path_in(request.raw_path))
    try:
        response = await handler(request)
    except ApiError as error:
        response = error_response(error)
    except RegfsError as error:
        response = error_response(as_api_error(error))
    except web.HTTPException as error:
        if not api:
            raise
        response = error_response(ApiError("UNSUPPORTED", error.reason, status=error.status))
    except ConnectionError:
        raise  # the client has left
    except Exception:
        _log.exception("%s %s", request.method, request.raw_path)
        response = error_response(ApiError("UNKNOWN", "internal error; the log has more"))
    if api and not response.prepared:
        response.headers.update(VERSION_HEADER)
    return response


@web.middleware
async def _routed(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Find out what is asked for, from the path as it was sent."""
    path = routes.path_in(request.raw_path)
    if routes.is_api(path):
        try:
            request[ROUTE] = routes.parse(path)
        except routes.NoSuchPath as error:
            raise ApiError("UNSUPPORTED", str(error), status=404) from None
    return await handler(request)


@web.middleware
async def _allowed_by_mode(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Refuse what this server is not there for."""
    route = request.get(ROUTE)
    if route is not None and (route.action, request.method) in HANDLERS:
        settings = request.app[SETTINGS]
        verb = routes.verb_of(route.action, request.method)
        if verb is not Verb.READ and not settings.writable:
            raise ApiError(
                "UNSUPPORTED", "this server is read-only", headers={"Allow": "GET, HEAD"}
            )
        if verb is Verb.DELETE and not settings.delete:
            raise ApiError("UNSUPPORTED", "this server deletes nothing")
    return await handler(request)
