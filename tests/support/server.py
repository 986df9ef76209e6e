"""A server of regfs in a thread of the test, on a free port.

with hosted(tree.root, writable=True) as url:
    requests.get(f"{url}/v2/")
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regfs.server.access_log import Exchange
from regfs.server.address import Address, sockets_at
from regfs.server.app import make_app
from regfs.server.auth import Gate
from regfs.server.connections import Observe
from regfs.server.keys import MAY, May
from regfs.server.running import run
from regfs.server.settings import Settings
from regfs.stores import open_store
from regfs.tree.registry import Registry

LOCK_TIMEOUT = 30
"""Seconds a server may take to begin or to end."""


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
    app = make_app(Registry(open_store(str(root))), Settings(**settings), gate=gate)
    if may is not None:
        app[MAY] = may
    heard: list[Exchange] = []
    began = threading.Event()
    found: dict[str, Any] = {}

    def ready(url: str) -> None:
        found["url"] = url
        began.set()

    async def serve() -> None:
        found["loop"], found["over"] = asyncio.get_running_loop(), asyncio.Event()
        await run(
            app,
            sockets_at(Address("127.0.0.1")),
            ready=ready,
            ended=found["over"],
            tls=tls,
            observe=observe or heard.append,
        )

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # told to the test, which waits
            found["error"] = error
            began.set()

    thread = threading.Thread(target=work, name="regfs-serve")
    thread.start()
    try:
        assert began.wait(LOCK_TIMEOUT), "the server did not begin"
        if "error" in found:
            raise found["error"]
        yield found["url"]
    finally:
        if "over" in found:
            found["loop"].call_soon_threadsafe(found["over"].set)
        thread.join(LOCK_TIMEOUT)
        assert not thread.is_alive(), "the server did not end"
    if "error" in found:
        raise found["error"]
