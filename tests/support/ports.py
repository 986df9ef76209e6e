"""Ports for servers that are told theirs before they begin."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 20_000
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that this process has not been given before.

    Below those that the system hands out: until the server begins, no connection that is opened
    meanwhile, and no server that takes any port, can get it.
    """
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _candidate()))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def _candidate() -> int:
    """Return a port to try; 0 where the system hands out nearly all."""
    try:
        lowest = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError):
        return 0
    # Not from the seed that a test may have set: two workers would try the same.
    return random.SystemRandom().randrange(_FIRST, lowest) if lowest > _FIRST + 1000 else 0
