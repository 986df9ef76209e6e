"""One request to a server, byte for byte as it is given, and its answer.

answer = ask(url, "GET", "/v2/app/manifests/v1", Accept="*/*")
answer.status, answer["Docker-Content-Digest"], answer.body, answer.json(), answer.code
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 60
"""Seconds that one answer may take."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Message
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        value = self.headers[name]
        return None if value is None else str(value)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error; it is sure to have a message."""
        (one,) = self.json()["errors"]
        assert one["message"]
        return str(one["code"])

    @property
    def next(self) -> str:
        """The path of the next page; empty on the last one."""
        link = self["Link"]
        if link is None:
            return ""
        assert link.startswith("<") and link.endswith('>; rel="next"'), link
        return link[1:].partition(">")[0]


def ask(server: str, method: str, path: str, **headers: str) -> Answer:
    """Send one request; `If_Range` is how the header If-Range is written here."""
    with _asked(server, method, path, headers) as answer:
        return Answer(answer.status, answer.headers, answer.read())


def get(server: str, path: str, **headers: str) -> Answer:
    """Send a GET."""
    return ask(server, "GET", path, **headers)


def status(server: str, path: str, **headers: str) -> int:
    """Return what a GET begins with; what comes after it is not waited for."""
    with _asked(server, "GET", path, headers) as answer:
        return answer.status


@contextmanager
def _asked(
    server: str, method: str, path: str, headers: dict[str, str]
) -> Iterator[http.client.HTTPResponse]:
    host = urlsplit(server).netloc if "//" in server else server
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        yield connection.getresponse()
    finally:
        connection.close()
