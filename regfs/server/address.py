"""Where a server listens: `HOST:PORT`, `[::1]:5000`, `:5000` (everywhere), `unix:/run/x.sock`."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

BACKLOG: Final = 1024
_FORM: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^:\[\]\s/]*)):([0-9]{1,5})")


class Address(NamedTuple):
    """An address to listen on."""

    host: str = ""
    """Empty: every interface."""
    port: int = 0
    """0: any that is free."""
    path: str = ""
    """Of a Unix socket, instead of host and port."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """Parse an address.

    Raises:
        ValueError: the text is not an address.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError("say unix:/PATH, from the root on")
        return Address(path=path)
    found = _FORM.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise ValueError("say HOST:PORT, e.g. 127.0.0.1:5000 or [::1]:5000, or unix:/PATH")
    host = found[1] or found[2]
    return Address("" if host == "*" else host, int(found[3]))


def is_local(address: Address) -> bool:
    """Return whether only this machine can reach an address.

    Raises:
        OSError: its host has no address.
    """
    if address.path:
        return True
    hosts = [info[4][0] for info in _infos(address)]
    return all(ipaddress.ip_address(str(host).partition("%")[0]).is_loopback for host in hosts)


def sockets_at(address: Address) -> list[socket.socket]:
    """Return sockets bound to every address of the host.

    Raises:
        OSError: one of them is not available, or is in use.
    """
    if address.path:
        return [_unix_socket(address.path)]
    made: list[socket.socket] = []
    port = address.port
    absent: OSError | None = None
    with ExitStack() as opened:
        for family, kind, _, _, where in _infos(address):
            try:
                one = opened.enter_context(socket.socket(family, kind))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((where[0], port, *where[2:]))
                one.listen(BACKLOG)  # so that a second server on the same port fails here
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error  # such as ::1 where IPv6 is turned off
                continue
            port = port or int(one.getsockname()[1])
            made.append(one)
        if absent is not None and not made:
            raise absent
        opened.pop_all()
    return made


_ABSENT: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def _infos(address: Address) -> list[tuple[int, int, int, str, tuple[str | int, ...]]]:
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys(found))  # type: ignore[arg-type]


def _unix_socket(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        made.bind(path)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _clear(path: str) -> None:
    """Remove the socket of a server that has ended."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def shown(bound: socket.socket, scheme: str) -> str:
    """Return the URL of a socket."""
    if bound.family == socket.AF_UNIX:
        return f"{scheme}+unix:{bound.getsockname()}"
    host, port = bound.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
