"""Connections that ask, just before bytes of a change are sent, whether it may still come.

A process may be stopped at any moment, for any time. When a request is made it is too early to
ask: until its bytes leave, other threads may run, and a connection may have to be made. Here, a few
instructions come between the answer and the system call that sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_READS = ("GET", "HEAD")


def guarded_pools(ask: Callable[[], object]) -> dict[str, Any]:
    """Return the classes of pools by scheme; `ask` raises where nothing may be changed."""

    class Guarded:
        """Asks before each piece of a request is sent."""

        sock: Any
        connect: Callable[[], None]
        _changes = False

        def putrequest(self, method: str, *args: Any, **named: Any) -> None:
            self._changes = method not in _READS
            super().putrequest(method, *args, **named)  # type: ignore[misc]

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()  # which takes time
            if self._changes:
                ask()
            super().send(data)  # type: ignore[misc]

    class Plain(Guarded, HTTPConnection):
        """Without TLS."""

    class Encrypted(Guarded, HTTPSConnection):
        """With TLS."""

    class PlainPool(HTTPConnectionPool):
        """Of connections without TLS."""

        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        """Of connections with TLS."""

        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
