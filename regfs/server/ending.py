"""How a server ends: what clients have begun comes to its end, for as long as the grace lasts.

aiohttp would drop what clients still send, and so lose uploads under way. This comes before:

    an idle connection     is closed
    a request under way    is answered, and the answer says that it is the last one here
    an upload under way    is several requests, and podman and skopeo make a connection for
                           each. So the server listens until no upload is under way, and
                           answers what goes on with one; others are refused and retry.

What is not done when the grace is over loses its connection. The bytes of an upload stay, so
that its client can go on with it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from regfs.server.connections import Connections

_LOOK: Final = 0.02
"""Seconds between two looks at what is still under way."""


async def wind_down(
    open_connections: Connections, listening: Iterable[asyncio.Server], seconds: float
) -> None:
    """Let what is under way end, for as long as this."""
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
    """Close the sockets that listen; who has come before is served.

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
    """Let everybody go who is still there: TLS would wait for their good-bye."""
    for connection in list(open_connections):
        connection.abort()
    for _ in range(10):  # each layer of a transport takes a turn of the loop
        await asyncio.sleep(0)
