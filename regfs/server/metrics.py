"""The metrics of a server, for Prometheus.

    regfs_http_requests_total{action="manifest",method="GET",status="200"} 12.0
    regfs_http_request_seconds_bucket{action="manifest",method="GET",le="0.01"} 12.0
    regfs_http_received_bytes_total{action="upload"} 4096.0

Labels have no value that a client can make up: names of repositories are in the log.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from itertools import accumulate
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from regfs import __version__
from regfs.server.access_log import Exchange
from regfs.server.keys import ROUTE

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
_BOUNDS: Final = (*map(str, map(float, _SECONDS)), "+Inf")
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Metrics(Collector):
    """The metrics of one server.

    Counted in plain numbers, by the one thread that also reads them: the counters of the
    library lock, and cost more than the answer to a small request.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], list[int]] = {}
        """Action and method -> for each bound, how many requests fall below it and no lower one."""
        self._sum: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Action and method -> seconds of all requests together."""
        self._received: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._connections: Callable[[], int] = int

    def observe(self, exchange: Exchange) -> None:
        """Count a request that was answered."""
        action = exchange.action
        method = exchange.method if exchange.method in METHODS else "other"
        self._requests[action, method, exchange.status] += 1
        key = action, method
        took = self._seconds.get(key)
        if took is None:
            took = self._seconds[key] = [0] * len(_BOUNDS)
        took[bisect_left(_SECONDS, exchange.seconds)] += 1
        self._sum[key] += exchange.seconds
        if exchange.received:
            self._received[action] += exchange.received
        if exchange.sent:
            self._sent[action] += exchange.sent

    def count_connections(self, count: Callable[[], int]) -> None:
        """Set the function that returns the number of open connections."""
        self._connections = count

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        requests = CounterMetricFamily(
            "regfs_http_requests",
            "Requests that were answered.",
            labels=["action", "method", "status"],
        )
        for (action, method, status), count in self._requests.items():
            requests.add_metric([action, method, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "regfs_http_request_seconds",
            "From the request to the last byte of its answer.",
            labels=["action", "method"],
        )
        for key, took in self._seconds.items():
            buckets = list(zip(_BOUNDS, accumulate(took), strict=True))
            seconds.add_metric(list(key), buckets, self._sum[key])
        yield seconds
        yield _bytes("received", "Bytes of the bodies of requests.", self._received)
        yield _bytes("sent", "Bytes of the bodies of answers.", self._sent)
        under_way = GaugeMetricFamily(
            "regfs_http_requests_in_flight",
            "Requests that are being answered; of the action upload: data that is coming in.",
            labels=["action"],
        )
        for action, count in self._under_way.items():
            under_way.add_metric([action], count)
        yield under_way
        open_ = self._connections()
        yield GaugeMetricFamily("regfs_http_connections", "Open connections.", value=open_)
        yield InfoMetricFamily("regfs_build", "What is running.", value={"version": __version__})

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        """Count a request while it is being answered."""
        route = request.get(ROUTE)
        action = "page" if route is None else route.action.value
        self._under_way[action] += 1
        try:
            return await handler(request)
        finally:
            self._under_way[action] -= 1

    async def page(self, request: web.Request) -> web.Response:
        """Answer `/metrics`."""
        body = generate_latest(self.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def _bytes(which: str, meaning: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(f"regfs_http_{which}_bytes", meaning, labels=["action"])
    for action, count in counts.items():
        family.add_metric([action], count)
    return family


METRICS: Final = web.AppKey("metrics", Metrics)
