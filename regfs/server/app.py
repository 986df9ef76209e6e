"""The application: its middlewares, and the table of handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion11, web

from regfs.errors import ManifestUnknown, RegfsError, TagInvalid
from regfs.push.manifests import Publisher
from regfs.push.uploads import Uploads
from regfs.server import changing, cors, routes
from regfs.server.api import base, blobs, catalog, changes, manifests, referrers, tags, uploads
from regfs.server.auth import GATE, Gate, guarded
from regfs.server.calls import ShortCalls
from regfs.server.connections import SERVER, close_when_ending
from regfs.server.errors import (
    VERSION_HEADER,
    ApiError,
    as_api_error,
    error_response,
    internal_error,
)
from regfs.server.health import Health
from regfs.server.keys import (
    MAY,
    PAGING,
    PUBLISHER,
    REFERRERS,
    REFERRERS_TURN,
    REGISTRY,
    ROUTE,
    SETTINGS,
    SHORT_CALLS,
    UPLOADS,
)
from regfs.server.metrics import METRICS, Metrics
from regfs.server.origins import meant
from regfs.server.routes import Route, RouteKind, Verb, verb_of
from regfs.server.settings import Settings
from regfs.server.ui.pages import add_pages, page_of_error
from regfs.server.upkeep import expiring
from regfs.tree.pages import Folders, Paging
from regfs.tree.referrers import Referrers
from regfs.tree.registry import Registry

Handler = Callable[[web.Request, Route], Awaitable[web.StreamResponse]]
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

HANDLERS: Final[dict[tuple[RouteKind, str], Handler]] = {
    (RouteKind.BASE, "GET"): base.get,
    (RouteKind.BASE, "HEAD"): base.get,
    (RouteKind.MANIFEST, "PUT"): changes.put_manifest,
    (RouteKind.MANIFEST, "DELETE"): changes.delete_manifest,
    (RouteKind.BLOB, "DELETE"): changes.delete_blob,
    (RouteKind.UPLOADS, "POST"): uploads.begin,
    (RouteKind.UPLOAD, "GET"): uploads.status,
    (RouteKind.UPLOAD, "HEAD"): uploads.status,
    (RouteKind.UPLOAD, "PATCH"): uploads.append,
    (RouteKind.UPLOAD, "PUT"): uploads.complete,
    (RouteKind.UPLOAD, "DELETE"): uploads.cancel,
    (RouteKind.CATALOG, "GET"): catalog.get,
    (RouteKind.CATALOG, "HEAD"): catalog.get,
    (RouteKind.TAGS, "GET"): tags.get,
    (RouteKind.TAGS, "HEAD"): tags.get,
    (RouteKind.MANIFEST, "GET"): manifests.get,
    (RouteKind.MANIFEST, "HEAD"): manifests.get,
    (RouteKind.BLOB, "GET"): blobs.get,
    (RouteKind.BLOB, "HEAD"): blobs.get,
    (RouteKind.REFERRERS, "GET"): referrers.get,
    (RouteKind.REFERRERS, "HEAD"): referrers.get,
}
"""Path -> method -> handler."""

_log = logging.getLogger(__name__)


def make_app(
    registry: Registry, settings: Settings, *, gate: Gate | None = None
) -> web.Application:
    """Return the application that serves a registry, to everybody or to those `gate` lets in."""
    metrics = Metrics()
    guards = () if gate is None else (guarded(gate),)
    app = web.Application(
        middlewares=(
            error_middleware,
            meant,
            cors.answered_to_browsers,
            routing_middleware,
            metrics.middleware,
            *guards,
            _allowed_by_mode,
        ),
        client_max_size=settings.max_manifest + 1,
    )
    app[METRICS] = metrics
    _add_services(app, registry, settings)
    app[MAY] = _everybody if gate is None else gate.may
    if gate is not None:
        app[GATE] = gate
        app.on_cleanup.append(lambda _: _ended(gate))
    app.router.add_get("/healthz", Health(registry).page)
    app.router.add_get("/metrics", metrics.page)
    app.on_response_prepare.append(_guarded_from_browsers)
    app.on_response_prepare.append(close_when_ending)
    app.on_response_prepare.append(cors.name_origins)
    app.router.add_route("*", "/v2", _dispatch, expect_handler=_expected)
    app.router.add_route("*", "/v2/{tail:.*}", _dispatch, expect_handler=_expected)
    add_pages(app)
    return app


def _add_services(app: web.Application, registry: Registry, settings: Settings) -> None:
    folders = Folders(registry.store)
    app[REGISTRY] = registry
    app[SHORT_CALLS] = ShortCalls()
    app[PAGING] = Paging(folders)
    app[REFERRERS] = Referrers(registry, folders)
    app[REFERRERS_TURN] = asyncio.Semaphore(referrers.AT_ONCE)
    app[SETTINGS] = settings
    changing.install(app)
    if not settings.writable:
        return  # perhaps of an archive, which cannot be changed
    app[UPLOADS] = Uploads(registry, largest=settings.max_blob, keep_free=settings.keep_free)
    app.cleanup_ctx.append(expiring)
    app[PUBLISHER] = Publisher(registry, limit=settings.max_manifest)


async def _expected(request: web.Request) -> None:
    """Do nothing yet: `_dispatch` asks for the body once it is needed."""


async def _guarded_from_browsers(request: web.Request, response: web.StreamResponse) -> None:
    """Keep browsers from running content of the registry, which anybody may have pushed."""
    response.headers["Server"] = SERVER
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.status >= 400 and _waits(request):
        response.force_close()  # whether its body follows now is unknown
        response.headers["Connection"] = "close"
    if ROUTE in request:
        response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"


async def _ended(gate: Gate) -> None:
    gate.close()


def _everybody(request: web.Request, verb: Verb, name: str) -> bool:
    return True


async def _dispatch(request: web.Request) -> web.StreamResponse:
    route = request.get(ROUTE)
    if route is None:  # such as /%76%32/: aiohttp decodes the path before it looks for a route
        raise ApiError("UNSUPPORTED", "no such path in the registry API", status=404)
    handler = HANDLERS.get((route.action, request.method))
    if handler is None:
        raise ApiError("UNSUPPORTED", f"method {request.method} not allowed")
    if _waits(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    return await handler(request, route)


def _waits(request: web.Request) -> bool:
    """Return whether a client waits for 100-continue before it sends its body."""
    asked = request.headers.get("Expect", "").lower() == "100-continue"
    return asked and request.version >= HttpVersion11


def methods(action: RouteKind, settings: Settings) -> list[str]:
    """Return the methods that this server allows for a path."""
    known = [method for other, method in HANDLERS if other is action]
    return sorted(one for one in known if _refusal(verb_of(action, one), settings) is None)


def _refusal(verb: Verb, settings: Settings) -> str | None:
    """Return why this server refuses a method; None if it does not."""
    if verb is not Verb.READ and not settings.writable:
        return "this server is read-only"
    if verb is Verb.DELETE and not settings.delete:
        return "deleting is disabled on this server"
    return None


@web.middleware
async def error_middleware(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Turn exceptions into OCI errors."""
    api = routes.is_api(routes.path_in(request.raw_path))
    try:
        response = await handler(request)
    except ConnectionError:
        raise  # the client has left
    except Exception as error:
        if request.writer.output_size > 0:
            # A second answer would look like part of the first one.
            if not isinstance(error, TimeoutError):  # the fault of the client
                _log.exception("%s %s: ended too early", request.method, _shown(request))
            raise ConnectionAbortedError("the answer has ended too early") from error
        response = _answer_to(error, request, api)
        if response.status == 405 and (route := request.get(ROUTE)) is not None:
            response.headers["Allow"] = ", ".join(methods(route.action, request.app[SETTINGS]))
    if api and not response.prepared:
        response.headers.update(VERSION_HEADER)
    return response


def _answer_to(error: Exception, request: web.Request, api: bool) -> web.Response:
    if not api and isinstance(error, (ApiError, web.HTTPException)):
        return page_of_error(request, error)
    if isinstance(error, ApiError):
        return error_response(error)
    if isinstance(error, RegfsError):
        return error_response(as_api_error(error))
    if isinstance(error, web.HTTPException):
        return error_response(ApiError("UNSUPPORTED", error.reason, status=error.status))
    _log.error("%s %s", request.method, _shown(request), exc_info=error)
    return error_response(internal_error())


def _shown(request: web.Request) -> str:
    """Return what a request asks for, for the error log; nothing that the client wrote."""
    route = request.get(ROUTE)
    if route is None:
        return "a page"
    return " ".join(filter(None, (route.action.value, route.name, route.reference)))


@web.middleware
async def routing_middleware(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Parse the path as it was sent."""
    path = routes.path_in(request.raw_path)
    if routes.is_api(path):
        try:
            request[ROUTE] = routes.parse(path)
        except routes.NoSuchPath as error:
            raise ApiError("UNSUPPORTED", str(error), status=404) from None
        except TagInvalid as error:
            if request.method not in ("GET", "HEAD"):
                raise
            # No tag can have that name, so it does not exist: 404.
            raise ManifestUnknown(str(error)) from None
    return await handler(request)


@web.middleware
async def _allowed_by_mode(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Refuse requests for other hosts."""
    route = request.get(ROUTE)
    if route is not None and (route.action, request.method) in HANDLERS:
        verb = verb_of(route.action, request.method)
        if problem := _refusal(verb, request.app[SETTINGS]):
            raise ApiError("UNSUPPORTED", problem)
    return await handler(request)
