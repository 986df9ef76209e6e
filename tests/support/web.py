"""A web server that answers as a test says, and one blob read from it as from a registry."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from regfs.digest import Digest
from regfs.heal.remote import open_registry
from regfs.heal.source import BlobRequest, RegistryAccess
from tests.support.backups import ONE
from tests.support.loopback import LoopbackServer

LAYER = ONE.blobs[1]
WANTED = BlobRequest(Digest(LAYER.digest), len(LAYER.data), repositories=("app",))
PATH = f"/v2/app/blobs/{LAYER.digest}"
BASIC = "Basic " + base64.b64encode(b"me:secret-word").decode()
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """A web server that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[Any], Answer | None]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                path = urlsplit(self.path).path
                outer.requests.append((self.command, self.path, dict(self.headers)))
                route = outer.routes.get(path)
                answer = route(self) if route is not None else (404, {}, b"")
                if answer is None:  # the route has spoken for itself
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = _answer

        self._server = LoopbackServer(Handler)
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.routes["/v2/"] = lambda _: (200, {}, b"{}")
        self._server.start()

    def gives(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.routes[path] = lambda _: (status, named, body)

    def asked(self, path: str) -> list[dict[str, str]]:
        return [headers for _, asked, headers in self.requests if asked.partition("?")[0] == path]

    def stop(self) -> None:
        self._server.stop()


def access(**options: Any) -> RegistryAccess:
    return RegistryAccess(pause=lambda seconds: None, **{"timeout": 60.0, **options})


def read(server: Server, wanted: BlobRequest = WANTED, **options: Any) -> bytes:
    source = open_registry(server.url, access(**options))
    with closing(source), source.open(wanted) as stream:
        return stream.read()


def guarded(server: Server, challenge: str, good: str) -> None:
    def answer(handler: Any) -> Answer:
        if handler.headers.get("Authorization") != good:
            return 401, {"WWW-Authenticate": challenge}, b""
        return 200, {}, LAYER.data

    server.routes[PATH] = answer
