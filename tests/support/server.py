"""A server of regfs in a thread of the test, on a free port.

with hosted(tree.root, writable=True) as url:
    requests.get(f"{url}/v2/")
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from regfs.server.access_log import Exchange
from regfs.server.address import Address, sockets_at
from regfs.server.app import make_app
from regfs.server.auth import Gate
from regfs.server.connections import Observe
from regfs.server.keys import MAY, May
from regfs.server.running import run
from regfs.server.settings import Limits, Settings
from regfs.stores import open_store
from regfs.tree.registry import Registry

LOCK_TIMEOUT = 120
"""Seconds a server may take to begin or to end."""


class _Server(threading.Thread):
    """Serves one app until it is ended."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(name="regfs-serve")
        self._app = app
        self._options = options
        self._began = threading.Event()
        self._url = ""
        self._end: Callable[[], object] | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # told to the test, which waits
            self.error = error
            self._began.set()

    async def _serve(self) -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._end = lambda: loop.call_soon_threadsafe(ended.set)
        sockets = sockets_at(Address("127.0.0.1"))
        await run(self._app, sockets, ready=self._ready, ended=ended, **self._options)

    def _ready(self, url: str) -> None:
        self._url = url
        self._began.set()

    def url(self) -> str:
        """Wait until the server is ready; return its URL."""
        assert self._began.wait(LOCK_TIMEOUT), "the server did not begin"
        if self.error is not None:
            raise self.error
        return self._url

    def end(self) -> None:
        if self._end is not None:
            self._end()
        self.join(LOCK_TIMEOUT)
        assert not self.is_alive(), "the server did not end"


@contextmanager
def hosted(
    root: Path,
    *,
    gate: Gate | None = None,
    may: May | None = None,
    tls: ssl.SSLContext | None = None,
    observe: Observe | None = None,
    **settings: Any,
) -> Iterator[str]:
    """Serve a tree while the block runs; the URL is what the block gets."""
    settings.setdefault("limits", Limits(page_seconds=60))  # no page waits on a busy machine
    app = make_app(Registry(open_store(str(root))), Settings(**settings), gate=gate)
    if may is not None:
        app[MAY] = may
    heard: list[Exchange] = []
    server = _Server(app, tls=tls, observe=observe or heard.append)
    server.start()
    try:
        yield server.url()
    finally:
        server.end()
    if server.error is not None:
        raise server.error
