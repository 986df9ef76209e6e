"""Runs an application: its sockets, its signals and its end."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from aiohttp import web

from regfs.server.access_log import Exchange
from regfs.server.address import BACKLOG, shown
from regfs.server.connections import Connection, Connections, Observe, watch
from regfs.server.ending import abort_all, wind_down
from regfs.server.keys import SETTINGS
from regfs.server.metrics import METRICS
from regfs.server.settings import Limits

THREADS: Final = 32
"""Calls of the storage at the same time. They mostly wait, for a disk, or for a collection to
end; other requests must not wait for them."""
_GIVING_UP: Final = 5.0
"""Seconds in which handlers of lost connections can save what has arrived."""


def _ignore(exchange: Exchange) -> None:
    """Do nothing."""


async def run(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[str], None],
    ended: asyncio.Event | None = None,
    tls: ssl.SSLContext | None = None,
    observe: Observe = _ignore,
    reload: Callable[[], None] | None = None,
) -> signal.Signals | None:
    """Serve until a signal, which is returned, or `ended`.

    `ready` is called with the URL once connections are accepted, `observe` after every request,
    and `reload` at SIGHUP. A second signal aborts the requests that are still running.
    """
    limits = app[SETTINGS].limits
    over = asyncio.Event() if ended is None else ended
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="regfs-store"))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GIVING_UP)
    await runner.setup()
    open_connections = Connections()
    watching = loop.create_task(watch(open_connections, limits))
    received = _listen_to_signals(loop, over) if ended is None else []
    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, reload)
    connection = _connections(app, runner, observe, open_connections)
    listening = [await _accept(one, connection, tls, limits) for one in sockets]
    try:
        ready(shown(sockets[0], "https" if tls else "http"))
        await over.wait()
    finally:
        await _end(open_connections, listening, over, limits.grace_seconds)
        await runner.cleanup()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return received[0] if received else None


def _connections(
    app: web.Application, runner: web.AppRunner, observe: Observe, open_connections: Connections
) -> Callable[[], Connection]:
    """Return a factory of connections."""
    metrics, limits = app[METRICS], app[SETTINGS].limits
    metrics.count_connections(lambda: len(open_connections))
    loop, server = asyncio.get_running_loop(), runner.server
    assert server is not None

    def observe_all(exchange: Exchange) -> None:
        metrics.observe(exchange)
        observe(exchange)

    return lambda: Connection(
        server, loop=loop, limits=limits, observe=observe_all, open_connections=open_connections
    )


async def _accept(
    one: socket.socket,
    connection: Callable[[], Connection],
    tls: ssl.SSLContext | None,
    limits: Limits,
) -> asyncio.Server:
    """Accept connections at a socket."""
    loop = asyncio.get_running_loop()
    if tls is None:
        return await loop.create_server(connection, sock=one, backlog=BACKLOG)
    return await loop.create_server(
        connection,
        sock=one,
        ssl=tls,
        ssl_handshake_timeout=limits.header_seconds,
        ssl_shutdown_timeout=limits.linger_seconds,
        backlog=BACKLOG,
    )


def _listen_to_signals(
    loop: asyncio.AbstractEventLoop, over: asyncio.Event
) -> list[signal.Signals]:
    received: list[signal.Signals] = []

    def receive(number: signal.Signals) -> None:
        received.append(number)
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, receive, number)
    return received


async def _end(
    open_connections: Connections,
    listening: Sequence[asyncio.Server],
    over: asyncio.Event,
    grace_seconds: float,
) -> None:
    """Let requests end within the grace, or until a second signal, then abort them."""
    over.clear()
    loop = asyncio.get_running_loop()
    grace = loop.create_task(wind_down(open_connections, listening, grace_seconds))
    await _first(grace, loop.create_task(over.wait()))
    for one in listening:
        one.close()
    await abort_all(open_connections)  # before aiohttp, which would wait for them


async def _first(work: asyncio.Task[None], impatience: asyncio.Task[bool]) -> None:
    await asyncio.wait({work, impatience}, return_when=asyncio.FIRST_COMPLETED)
    impatience.cancel()
    if not work.done():
        work.cancel()
    with suppress(asyncio.CancelledError):
        await work
