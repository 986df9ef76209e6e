"""How a server ends: clients can finish what they have begun, within the grace period.

aiohttp would drop what clients still send, and so lose uploads. This is done before:

    an idle connection     is closed
    a running request      is answered, and the answer is the last one on its connection
    a running upload       is several requests, and podman and skopeo make a connection for
                           each. So the server listens until no upload is running, and
                           answers requests that continue one; others are refused and retry.

Whatever is not finished after the grace period loses its connection. The bytes of an upload
stay, so that its client can continue it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from regfs.server.connections import Connections

_LOOK: Final = 0.02
"""Seconds between two checks of what is still running."""


async def wind_down(
    open_connections: Connections, listening: Iterable[asyncio.Server], seconds: float
) -> None:
    """Let running requests and uploads finish, for so many seconds."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)  # what has come before is read
    open_connections.ending = True
    end = loop.time() + seconds
    open_ = list(listening)
    while loop.time() < end:
        if not open_connections.upload_under_way(loop.time()):
            while open_:
                await _stop_listening(open_.pop())
        for connection in list(open_connections):
            if connection.idle:
                connection.force_close()
        if not open_connections and not open_:
            break
        await asyncio.sleep(_LOOK)


async def _stop_listening(server: asyncio.Server) -> None:
    """Close the listening sockets; connections that were made before are served.

    asyncio loses a connection that it accepts in the turn in which its server closes, without
    closing it: that client would wait until the end of the grace.
    """
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)  # who waits is accepted
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)  # and has a connection
    server.close()


async def abort_all(open_connections: Connections) -> None:
    """Close all connections at once: TLS would wait for the closing handshake."""
    for connection in list(open_connections):
        connection.abort()
    for _ in range(10):  # each layer of a transport takes a turn of the loop
        await asyncio.sleep(0)
