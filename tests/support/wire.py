"""HTTP as bytes on a socket: what no client library would send.

answer = wire.ask(url, b"GET /v2/../x HTTP/1.1\r\nHost: x\r\n\r\n")
answer.status, answer.body
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

LOCK_TIMEOUT = 120
"""Seconds that a server may take for one answer on a busy machine."""


class Answer(NamedTuple):
    """What came back, until the server closed the connection."""

    raw: bytes

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        """The status of the first answer; 0 if the connection was closed without any."""
        return int(self.raw[9:12]) if self.raw.startswith(b"HTTP/1.") else 0

    @property
    def statuses(self) -> list[int]:
        """Those of all answers on the connection."""
        return [int(part[2:5]) for part in self.raw.split(b"HTTP/1.")[1:]]

    @property
    def codes(self) -> list[str]:
        document: Any = json.loads(self.body)
        return [error["code"] for error in document["errors"]]


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """Give a socket to a server."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), LOCK_TIMEOUT) as one:
        yield one


def rest(one: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    pieces = []
    while True:
        try:
            piece = one.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def ask(url: str, data: bytes) -> Answer:
    """Send bytes; return what comes back until the server closes the connection."""
    with connected(url) as one:
        with suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(data)
        return Answer(rest(one))


def get(url: str, target: bytes, *headers: bytes, method: bytes = b"GET") -> Answer:
    """Ask for a target, as it is."""
    lines = [
        method + b" " + target + b" HTTP/1.1",
        b"Host: localhost",
        b"Connection: close",
        *headers,
    ]
    return ask(url, b"\r\n".join(lines) + b"\r\n\r\n")


def until(condition: Callable[[], bool]) -> None:
    """Wait for what a server does after it has answered."""
    end = time.monotonic() + LOCK_TIMEOUT
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def asked(method: str, target: str, *, size: int | None = None) -> bytes:
    """Return the head of a request on a connection that may be used again."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    if size is not None:
        lines.append(f"Content-Length: {size}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(one: socket.socket) -> Answer:
    """Return the next answer on a connection: a head, and a body that is short."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = one.recv(65536)
        assert piece, f"the connection was closed after {data!r}"
        data += piece
    return Answer(data)
