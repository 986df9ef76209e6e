"""Turns at expensive work: a queue for each client, served in rotation.

    lines = FairQueue(at_once=2)
    async with lines.turn("192.0.2.7", longest=128):    # raises LineFull if the queue is full
        ...                                             # at most two are here at a time

A client with many requests delays only itself: any other one has at most one request of
each client before it. For one event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class LineFull(Exception):
    """Too many requests of one client are waiting."""


class FairQueue:
    """Requests that wait for one kind of work; the clients take turns."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Client -> its requests that wait; the next turn is that of the first client."""
        self._present: Counter[str] = Counter()
        """Client -> its requests that wait or have their turn."""

    @asynccontextmanager
    async def turn(self, client: str, *, longest: int) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block.

        Raises:
            LineFull: the client has `longest` requests waiting or at work already.
        """
        if self._present[client] >= longest:
            raise LineFull
        self._present[client] += 1
        try:
            await self._wait(client)
            try:
                yield
            finally:
                self._pass_on()
        finally:
            self._present[client] -= 1
            if not self._present[client]:
                del self._present[client]

    async def _wait(self, client: str) -> None:
        if self._free:  # then none waits
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had come, and nobody takes it
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Pass a turn that is over to the first request of the next client."""
        while self._lines:
            client, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[client] = line  # which is the last one now
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def client_of(request: web.Request) -> str:
    """Return the client of a request: its address, or the first 64 bits of an IPv6 address.

    Everybody with one IPv6 address has many. Requests by a Unix socket, or through one proxy,
    are from one client.
    """
    try:
        address = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)
