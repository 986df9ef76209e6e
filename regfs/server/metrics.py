"""What Prometheus is told of a server.

    regfs_http_requests_total{action="manifest",method="GET",status="200"} 12.0
    regfs_http_request_seconds_bucket{action="manifest",method="GET",le="0.01"} 12.0
    regfs_http_received_bytes_total{action="upload"} 4096.0

No label holds anything that a client can make up: names of repositories are in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from regfs import __version__
from regfs.server.access_log import Exchange
from regfs.server.keys import ROUTE

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "regfs_http_requests",
            "Requests that were answered.",
            ["action", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "regfs_http_request_seconds",
            "From the request to the last byte of its answer.",
            ["action", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._received = self._counter("received_bytes", "Bytes of the bodies of requests.")
        self._sent = self._counter("sent_bytes", "Bytes of the bodies of answers.")
        self._under_way = Gauge(
            "regfs_http_requests_in_flight",
            "Requests that are being answered; of the action upload: data that is coming in.",
            ["action"],
            registry=self.registry,
        )
        self._connections = Gauge(
            "regfs_http_connections", "Open connections.", registry=self.registry
        )
        build = Gauge("regfs_build_info", "Always 1.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"regfs_http_{name}", meaning, ["action"], registry=self.registry)

    def observe(self, exchange: Exchange) -> None:
        """Count a request that was answered."""
        action = exchange.action
        method = exchange.method if exchange.method in METHODS else "other"
        self._requests.labels(action, method, str(exchange.status)).inc()
        self._seconds.labels(action, method).observe(exchange.seconds)
        if exchange.received:
            self._received.labels(action).inc(exchange.received)
        if exchange.sent:
            self._sent.labels(action).inc(exchange.sent)

    def count_connections(self, count: Callable[[], int]) -> None:
        """Ask `count` for the number of open connections from now on."""
        self._connections.set_function(count)

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        """Count a request as long as it is under way."""
        route = request.get(ROUTE)
        gauge = self._under_way.labels("page" if route is None else route.action.value)
        gauge.inc()
        try:
            return await handler(request)
        finally:
            gauge.dec()

    async def page(self, request: web.Request) -> web.Response:
        """Answer `/metrics`."""
        body = generate_latest(self.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


METRICS: Final = web.AppKey("metrics", Metrics)
