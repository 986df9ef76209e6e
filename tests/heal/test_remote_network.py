"""A registry as a source on a bad network: errors, breaks, slowness, no answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import SourceError, SourceLacks
from regfs.heal.remote import open_registry
from regfs.heal.source import RegistryAccess
from tests.support.web import LAYER, PATH, WANTED, Answer, Server, access, guarded, read


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_to_come_later_is_asked_for_again(server: Server, status: int) -> None:
    times = iter(range(10))

    def answer(_: Any) -> Answer:
        return (200, {}, LAYER.data) if next(times) == 2 else (status, {"Retry-After": "1"}, b"")

    server.routes[PATH] = answer
    assert read(server) == LAYER.data


def test_a_registry_may_not_make_us_wait_for_ever(server: Server) -> None:
    waited: list[float] = []
    server.gives(PATH, b"", 503, Retry_After="99999")
    options = RegistryAccess(pause=waited.append, timeout=5.0)
    with closing(open_registry(server.url, options)) as source, pytest.raises(SourceError):
        source.open(WANTED)
    assert sum(waited) <= 2 * 5 * 30


def broken_off(server: Server, data: bytes, *, ranges: bool, piece: int) -> None:
    """Serve no more than `piece` bytes before the connection breaks."""

    def answer(handler: Any) -> None:
        wanted = handler.headers.get("Range", "bytes=0-")
        start = int(wanted[6:].partition("-")[0]) if ranges else 0
        handler.send_response(206 if ranges and start else 200)
        if ranges and start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        end = piece if not ranges else start + piece
        if not ranges and len(server.asked(PATH)) > 2:
            end = len(data)
        handler.wfile.write(data[start:end])

    server.routes[PATH] = answer


@pytest.mark.parametrize("ranges", [True, False])
def test_what_breaks_off_is_carried_on(server: Server, ranges: bool) -> None:
    data = bytes(range(256)) * 400
    broken_off(server, data, ranges=ranges, piece=30_000)
    wanted = WANTED._replace(size=-1)
    assert read(server, wanted) == data
    if ranges:
        assert [h.get("Range") for h in server.asked(PATH)][1] == "bytes=30000-"


def test_what_breaks_off_again_and_again_is_given_up(server: Server) -> None:
    broken_off(server, b"x" * 1000, ranges=True, piece=0)
    with pytest.raises(SourceError, match="again and again"):
        read(server, WANTED._replace(size=-1))


def test_another_range_than_was_asked_for_is_refused(server: Server) -> None:
    def answer(handler: Any) -> Answer | None:
        if "Range" in handler.headers:
            return 206, {"Content-Range": "bytes 0-9/1000"}, b"x" * 10
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"y" * 10)
        return None

    server.routes[PATH] = answer
    with pytest.raises(SourceError, match="another range"):
        read(server, WANTED._replace(size=-1))


def test_one_that_hangs_is_left(server: Server) -> None:
    release = threading.Event()

    def answer(_: Any) -> Answer:
        release.wait(30)
        return 200, {}, b""

    server.routes[PATH] = answer
    with pytest.raises(SourceError, match="no response in time"):
        read(server, timeout=0.2)
    release.set()


def test_one_that_hangs_in_the_middle_is_left(server: Server) -> None:
    release = threading.Event()

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        release.wait(30)

    server.routes[PATH] = answer
    with pytest.raises(SourceError):
        read(server, WANTED._replace(size=-1), timeout=0.1)
    release.set()


def fast_clock() -> Callable[[], float]:
    """Return a clock by which 20 seconds go by between two looks at it."""
    seconds = count(0, 20)
    return lambda: float(next(seconds))


def test_one_that_drips_is_left(server: Server) -> None:
    """There is always a next byte in time, and the last would come in hours."""
    server.gives(PATH, LAYER.data)
    with pytest.raises(SourceError, match=r"per second \(--min-rate\)"):
        read(server, clock=fast_clock())
    assert read(server, clock=fast_clock(), min_rate=0) == LAYER.data


def test_what_has_come_is_looked_at_before_more_comes(server: Server) -> None:
    release = threading.Event()

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        release.wait(30)

    server.routes[PATH] = answer
    with (
        closing(open_registry(server.url, access())) as source,
        source.open(WANTED._replace(size=-1)) as stream,
    ):
        assert stream.read(1000) == b"x" * 10
    release.set()


def test_one_that_is_slow_at_first_may_gather_pace(server: Server) -> None:
    server.gives(PATH, LAYER.data)
    times = iter([0.0] * 4 + [29.0] * 100)
    assert read(server, clock=lambda: next(times), min_rate=10**9) == LAYER.data


@pytest.mark.parametrize("where", ["catalog", "token"])
def test_documents_that_drip_are_left_too(server: Server, where: str) -> None:
    if where == "catalog":
        server.gives("/v2/_catalog", json.dumps({"repositories": ["other"]}).encode())
        server.gives(f"/v2/other/blobs/{LAYER.digest}", LAYER.data)
        with pytest.raises(SourceLacks):
            read(server, clock=fast_clock())
    else:
        guarded(server, f'Bearer realm="{server.url}/token"', "Bearer x")
        server.gives("/token", b'{"token": "x"}')
        with pytest.raises(SourceError, match="--min-rate"):
            read(server, clock=fast_clock())


def test_a_head_that_drips_is_left(server: Server) -> None:
    release = threading.Event()

    def answer(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        try:
            while not release.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            pass

    server.routes[PATH] = answer
    with pytest.raises(SourceError, match="no response in time"):
        read(server, timeout=0.1)
    release.set()


def test_when_the_time_is_up_nothing_more_is_asked(server: Server) -> None:
    now = [0.0]

    def answer(_: Any) -> Answer:
        now[0] += 100.0
        return 404, {}, b""

    server.routes[PATH] = answer
    options = access(clock=lambda: now[0], max_duration=3600.0)
    with closing(open_registry(server.url, options)) as source:
        for _ in range(35):
            with pytest.raises(SourceLacks):
                source.open(WANTED)
        now[0] += 100.0
        asked = len(server.requests)
        with pytest.raises(SourceError, match=r"the time is up after 1h \(--max-duration\)"):
            source.open(WANTED)
    assert len(server.requests) == asked


def test_when_the_time_is_up_a_body_is_left(server: Server) -> None:
    server.gives(PATH, LAYER.data)
    now = [0.0]
    options = access(clock=lambda: now[0], max_duration=10.0)
    with closing(open_registry(server.url, options)) as source, source.open(WANTED) as stream:
        now[0] = 11.0
        with pytest.raises(SourceError, match="--max-duration"):
            stream.read()


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SourceError, match="connection refused"):
        open_registry(f"http://127.0.0.1:{port}", access())


def test_a_server_that_speaks_no_tls_is_used_only_when_that_is_allowed(server: Server) -> None:
    server.gives(PATH, LAYER.data)
    address = f"docker://127.0.0.1:{server.port}/app:v1"
    with pytest.raises(SourceError, match="TLS"):
        open_registry(address, access())
    with closing(open_registry(address, access(verify_tls=False))) as source:
        assert source.open(WANTED._replace(repositories=())).read() == LAYER.data
