"""Running an application: its socket, and how it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

from aiohttp import web

GRACE: Final = 10.0
"""Seconds that requests under way get when the server is told to end."""
AHEAD: Final = 256 * 1024
"""Bytes of a request's body that are read before anybody asks for them."""


async def run(
    app: web.Application,
    host: str,
    port: int,
    *,
    ready: Callable[[str], None],
    ended: asyncio.Event | None = None,
) -> None:
    """Serve until a signal, or `ended`; `ready` is told the URL when connections are taken.

    Raises:
        OSError: the address cannot be listened at.
    """
    over = asyncio.Event() if ended is None else ended
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=GRACE,
        auto_decompress=False,  # a registry keeps bytes as they come
        read_bufsize=AHEAD,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        loop = asyncio.get_running_loop()
        if ended is None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, over.set)
        address = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        ready(f"http://{shown}:{address[1]}")
        await over.wait()
    finally:
        await runner.cleanup()
