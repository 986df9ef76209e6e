"""Running an application: its sockets, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiohttp import web

from regfs.server.access_log import Exchange
from regfs.server.address import shown
from regfs.server.connections import Connection, Observe, watch
from regfs.server.keys import SETTINGS
from regfs.server.metrics import METRICS


def _unheard(exchange: Exchange) -> None:
    """Tell nobody."""


async def run(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[str], None],
    ended: asyncio.Event | None = None,
    tls: ssl.SSLContext | None = None,
    observe: Observe = _unheard,
) -> signal.Signals | None:
    """Serve until a signal, which is returned, or `ended`.

    `ready` is told the URL when connections are taken; `observe` of every request.
    A second signal ends the grace that requests under way are given.
    """
    limits = app[SETTINGS].limits
    over = asyncio.Event() if ended is None else ended
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=limits.grace_seconds)
    await runner.setup()
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    metrics = app[METRICS]
    metrics.count_connections(lambda: len(server.connections))

    def told(exchange: Exchange) -> None:
        metrics.observe(exchange)
        observe(exchange)

    watching = loop.create_task(watch(server, limits))
    heard = _listen_to_signals(loop, over) if ended is None else []
    listening = [
        await loop.create_server(
            lambda: Connection(server, loop=loop, limits=limits, observe=told),
            sock=one,
            ssl=tls,
            backlog=1024,
        )
        for one in sockets
    ]
    try:
        ready(shown(sockets[0], "https" if tls else "http"))
        await over.wait()
    finally:
        for one in listening:
            one.close()
        over.clear()
        await _first(loop.create_task(runner.cleanup()), loop.create_task(over.wait()))
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return heard[0] if heard else None


def _listen_to_signals(
    loop: asyncio.AbstractEventLoop, over: asyncio.Event
) -> list[signal.Signals]:
    heard: list[signal.Signals] = []

    def hear(number: signal.Signals) -> None:
        heard.append(number)
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear, number)
    return heard


async def _first(work: asyncio.Task[None], impatience: asyncio.Task[bool]) -> None:
    await asyncio.wait({work, impatience}, return_when=asyncio.FIRST_COMPLETED)
    impatience.cancel()
    if not work.done():
        work.cancel()
    with suppress(asyncio.CancelledError):
        await work
