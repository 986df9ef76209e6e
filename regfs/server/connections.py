"""One connection: input that is not HTTP, and clients that are too slow.

aiohttp reads requests and sends answers. This module sets its limits and checks each connection
once a second, whichever handler is running: a client that does not finish its headers, or
neither sends nor reads the body that is due, loses its connection. While bytes go from a file
to the socket the kernel watches (TCP_USER_TIMEOUT).

How connections end with the server is in `ending`; this module has what that needs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_protocol import RequestHandler

from regfs.server import routes
from regfs.server.access_log import Exchange
from regfs.server.auth import USER
from regfs.server.errors import ApiError, error_response, internal_error
from regfs.server.keys import ROUTE
from regfs.server.routes import RouteKind
from regfs.server.settings import Limits

Observe = Callable[[Exchange], None]
SERVER: Final = "regfs"
"""The Server header."""
CLIENT_LEFT: Final = 499
"""The status that nginx logs when a client leaves before the end of its answer; never sent."""
SILENT: Final = web.RequestKey("silent", bool)
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_NEXT: Final = 3.0
"""Seconds from an answer to the next request of the same upload, while the server ends."""
_UPLOADING: Final = frozenset({RouteKind.UPLOADS, RouteKind.UPLOAD})

_log = logging.getLogger(__name__)


class Connections(set["Connection"]):
    """All connections that are open."""

    ending = False
    """Whether the server ends: each answer is the last one on its connection."""

    def __init__(self) -> None:
        super().__init__()
        self._uploads: dict[str, float] = {}
        """Upload that should continue -> until when to wait for it, the earliest first."""

    def note_upload(
        self, request: web.BaseRequest, response: web.StreamResponse, now: float
    ) -> None:
        """Note what an answer means for the upload that it is about."""
        if (route := request.get(ROUTE)) is None or route.action not in _UPLOADING:
            return
        upload = response.headers.get("Docker-Upload-UUID", route.reference)
        self._uploads.pop(upload, None)
        if response.status == 202:
            self._uploads[upload] = now + _NEXT
        while self._uploads and next(iter(self._uploads.values())) < now:
            del self._uploads[next(iter(self._uploads))]

    def upload_under_way(self, now: float) -> bool:
        """Return whether an upload is running or about to continue."""
        return any(now < until for until in self._uploads.values()) or any(
            connection.at_upload for connection in self
        )


class Connection(RequestHandler):
    """A connection of a client."""

    __slots__ = (
        "_body",
        "_headers_since",
        "_limits",
        "_observe",
        "_open",
        "_stuck_since",
        "_wire",
        "late",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        observe: Observe,
        open_connections: Connections,
    ) -> None:
        """`open_connections` are all open ones; this one adds and removes itself."""
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=limits.idle_seconds,
            lingering_time=limits.linger_seconds,
            max_line_size=limits.request_line,
            max_field_size=limits.header,
            max_headers=limits.headers,
            auto_decompress=False,  # a blob is what was sent
            read_bufsize=256 * 1024,  # a push is taken in pieces of that size
        )
        self._logging_enabled = True
        self._request_handler = partial(_answered, server.request_handler)
        self._limits = limits
        self._observe = observe
        self._open = open_connections
        self._wire: asyncio.Transport | None = None
        """The transport until it is closed; aiohttp drops its reference earlier."""
        self._headers_since: float | None = None
        """When the first byte of a request came whose headers are not all there."""
        self._stuck_since: float | None = None
        """When the client stopped reading."""
        self._body: tuple[int, float] = (0, 0.0)
        """How much of the body had arrived at the last check, and when that was."""
        self.late = False
        """Whether the client connected while the server was shutting down."""

    # -- the beginning -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection, or refuse it when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        if len(self._open) < self._limits.connections:
            self._wire = transport
            self._open.add(self)
            super().connection_made(transport)
            if self._open.ending:
                self.late, self._headers_since = True, self._loop.time()
            _let_the_kernel_watch(transport, self._limits.slow_seconds)
            return
        self._force_close = True
        transport.write(_FULL)
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remove it from the open connections."""
        self._wire = None
        self._open.discard(self)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has come since the last answer."""
        waits = self._waiter is not None and not self._waiter.done()
        return waits and self._headers_since is None

    @property
    def at_upload(self) -> bool:
        """Whether a request is running that is part of an upload."""
        request = self._current_request
        route = None if request is None else request.get(ROUTE)
        return route is not None and route.action in _UPLOADING

    @property
    def ending(self) -> bool:
        """Whether the next answer is the last one."""
        return self._open.ending

    def abort(self) -> None:
        """Close the connection at once, whatever is still to be sent."""
        if self._wire is not None:
            self._wire.abort()

    def data_received(self, data: bytes) -> None:
        """Receive bytes, and note when the first byte of a request came."""
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._headers_since = None  # a request is at work, or about to be
        elif self._headers_since is None and data:
            self._headers_since = self._loop.time()

    # -- too slow ------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Note when the client stopped reading."""
        super().pause_writing()
        self._stuck_since = self._loop.time()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._stuck_since = None

    def check(self, now: float) -> None:
        """Disconnect a client that is too slow."""
        if self._wire is None:
            return
        since = self._headers_since
        if since is not None and now - since > self._limits.header_seconds:
            self._headers_since = None
            self._wire.write(_LATE)
            self.force_close()
        elif self._takes_too_slowly(now) or self._sends_too_slowly(now):
            _log.info("closed the connection of a client that was too slow")
            self.abort()

    def _takes_too_slowly(self, now: float) -> bool:
        # The transport resumes writing when three quarters of its buffer are gone.
        since = self._stuck_since
        return since is not None and now - since > self._limits.slow_seconds

    def _sends_too_slowly(self, now: float) -> bool:
        request = self._current_request
        if request is None or getattr(request.content, "_waiter", None) is None:
            self._body = (0, 0.0)  # no handler waits for a body
            return False
        come = request.content.total_bytes
        had, at = self._body
        if not at or come - had >= self._limits.slow_bytes:
            self._body = (come, now)
            return False
        return now - at > self._limits.slow_seconds

    # -- errors and the access log -------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP, without quoting it.

        Raises:
            ConnectionError: the client has left, or has part of an answer already.
        """
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            self._tell(request, CLIENT_LEFT, 0.0)
            raise ConnectionError("nothing more can be sent")
        if isinstance(exc, BadHttpMethod) and "HTTPS" in str(exc):
            # Clients that can do without TLS try it first: that is no request to be logged.
            request[SILENT] = True
            answer = ApiError("UNSUPPORTED", "this port has no TLS; use http://", status=400)
        elif isinstance(exc, LineTooLong):
            answer = ApiError("UNSUPPORTED", "the request line or a header is too long", status=431)
        elif status == 400:
            answer = ApiError("UNSUPPORTED", "not an HTTP request", status=400)
        else:
            _log.error("a request failed: %s", type(exc).__name__, exc_info=exc)
            answer = internal_error()
        response = error_response(answer)
        response.headers["Server"] = SERVER
        response.force_close()
        return response

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """Log a request that was answered."""
        self._open.note_upload(request, response, self._loop.time())
        if self.ending:
            self._close = True  # its headers may have been sent before the end was known
        took = self._loop.time() - time if time is not None else 0.0
        if not request.get(SILENT):
            self._tell(request, response.status, took, _body_of(request, response))

    def _tell(self, request: web.BaseRequest, status: int, took: float, sent: int = 0) -> None:
        try:
            self._observe(exchange_of(request, status, took, sent))
        except Exception:  # a log that cannot be written is no reason to drop a client
            _log.debug("a request could not be logged", exc_info=True)


async def _answered(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
) -> web.StreamResponse:
    """Refuse unknown expectations; aiohttp would repeat them in its answer, and fail on some."""
    expected = request.headers.get("Expect")
    if expected is not None and expected.lower() != "100-continue":
        return _refusal(
            ApiError("UNSUPPORTED", "the only expectation supported is 100-continue", status=417)
        )
    connection = request.protocol
    if isinstance(connection, Connection) and connection.late and not _goes_on(request):
        headers = {"Retry-After": "5", "Connection": "close"}
        return _refusal(
            ApiError("TOOMANYREQUESTS", "this server is shutting down", status=503, headers=headers)
        )
    return await handler(request)


def _refusal(error: ApiError) -> web.Response:
    response = error_response(error)
    response.headers["Server"] = SERVER
    return response


def _goes_on(request: web.BaseRequest) -> bool:
    """Return whether a request is about an upload that has begun."""
    try:
        return routes.parse(routes.path_in(request.raw_path)).action is RouteKind.UPLOAD
    except (*routes.BAD_PATH, routes.NoSuchPath):
        return False


async def close_when_ending(request: web.Request, response: web.StreamResponse) -> None:
    """Mark an answer as the last on its connection while the server shuts down."""
    if isinstance(request.protocol, Connection) and request.protocol.ending:
        response.force_close()
        response.headers["Connection"] = "close"


def _body_of(request: web.BaseRequest, response: web.StreamResponse) -> int:
    if request.method == "HEAD" or response.status in (204, 304):
        return 0
    length = response.content_length
    return response.body_length if length is None else length


def exchange_of(request: web.BaseRequest, status: int, took: float, sent: int) -> Exchange:
    """Return what the logs and metrics show of a request."""
    route = request.get(ROUTE)
    version = request.version
    garbled = request.method == "UNKNOWN"
    return Exchange(
        at=time.time() - took,
        seconds=took,
        remote=str(request.remote or ""),
        user=request.get(USER, ""),
        method="-" if garbled else request.method,
        target="" if garbled else request.raw_path,
        protocol="" if garbled else f"HTTP/{version.major}.{version.minor}",
        status=status,
        sent=sent,
        received=request.content.total_bytes,
        referer=request.headers.get("Referer", ""),
        user_agent=request.headers.get("User-Agent", ""),
        action=_OTHERS.get(request.path, "page") if route is None else route.action.value,
        repository="" if route is None else route.name,
        reference="" if route is None else route.reference,
    )


_OTHERS: Final = {"/healthz": "healthz", "/metrics": "metrics"}


def _let_the_kernel_watch(transport: asyncio.BaseTransport, seconds: float) -> None:
    bound: Any = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
    if option is not None and bound is not None and bound.family != socket.AF_UNIX:
        bound.setsockopt(socket.IPPROTO_TCP, option, max(1, int(seconds * 1000)))


async def watch(open_connections: Connections, limits: Limits) -> None:
    """Check every connection in a loop, until cancelled."""
    loop = asyncio.get_running_loop()
    pause = min(1.0, limits.header_seconds / 4, limits.slow_seconds / 4)
    while True:
        await asyncio.sleep(pause)
        now = loop.time()
        for connection in list(open_connections):
            try:
                connection.check(now)
            except Exception:  # it concerns one connection; the others are still watched
                _log.exception("a connection could not be checked")
