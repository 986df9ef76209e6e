"""Clients that send too much, or too slowly, and many of them at once."""

from __future__ import annotations

import gzip
import hashlib
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from regfs.server.access_log import Exchange
from regfs.server.settings import Limits
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.server import hosted

LARGE = 48 << 20
"""More than the buffers of two sockets hold."""


@pytest.fixture
def url(tree: TreeBuilder) -> Iterator[str]:
    with hosted(tree.root) as url:
        yield url


# -- too much --------------------------------------------------------------------------


def test_a_long_request_line_is_refused(url: str) -> None:
    assert wire.get(url, b"/v2/" + b"a" * 20_000).status in (400, 414, 431)


def test_a_long_header_is_refused(url: str) -> None:
    assert wire.get(url, b"/v2/", b"X: " + b"a" * 20_000).status == 431


def test_many_headers_are_refused(url: str) -> None:
    assert wire.get(url, b"/v2/", *(b"X-%d: a" % n for n in range(200))).status == 400


def test_a_header_within_limits_is_not(url: str) -> None:
    assert wire.get(url, b"/v2/", b"X: " + b"a" * 15_000).status == 200


def test_an_unexpected_body_is_not_read_to_its_end(url: str) -> None:
    head = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
    with wire.connected(url) as one:
        one.sendall(head + b"x" * 1000)
        assert one.recv(12) == b"HTTP/1.1 200"


def uploads(tree: TreeBuilder) -> list[str]:
    """Return what there is of unfinished uploads."""
    return [path for path in tree.files() if "/_uploads/" in path]


POST = "POST /v2/app/blobs/uploads/?digest=sha256:%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(1000, 201), (1001, 413), (4_000_000, 413)])
def test_a_blob_above_the_limit_is_refused(
    tree: TreeBuilder, chunked: bool, size: int, status: int
) -> None:
    data = bytes(size)
    head = (POST % hashlib.sha256(data).hexdigest()).encode()
    if chunked:
        body = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (size, data)
    else:
        body = b"Content-Length: %d\r\n\r\n%s" % (size, data)
    with hosted(tree.root, writable=True, max_blob=1000) as url:
        assert wire.ask(url, head + body).status == status
    assert uploads(tree) == []


def test_chunks_count_together_towards_the_limit(tree: TreeBuilder) -> None:
    with hosted(tree.root, writable=True, max_blob=1000) as url:
        begun = requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60)
        where = url + begun.headers["Location"]
        assert requests.patch(where, data=bytes(600), timeout=60).status_code == 202
        assert requests.patch(where, data=bytes(600), timeout=60).status_code == 413
        assert requests.get(where, timeout=60).headers["Range"] == "0-599"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_manifest_above_the_limit_is_refused(tree: TreeBuilder, chunked: bool) -> None:
    head = b"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    if chunked:
        body = b"Transfer-Encoding: chunked\r\n\r\nfa0\r\n" + bytes(4000) + b"\r\n"
    else:
        body = b"Content-Length: 99999999999\r\n\r\n" + bytes(4000)
    limits = Limits(linger_seconds=0.1)
    with hosted(tree.root, writable=True, max_manifest=1000, limits=limits) as url:
        answer = wire.ask(url, head + body)
    assert (answer.status, answer.codes) == (413, ["MANIFEST_INVALID"])


def test_a_gzip_body_is_stored_as_sent(tree: TreeBuilder) -> None:
    """A bomb does not go off here, and a digest is that of the bytes that were sent."""
    data = gzip.compress(bytes(1000))
    head = POST % hashlib.sha256(data).hexdigest() + "Content-Encoding: gzip\r\n"
    with hosted(tree.root, writable=True) as url:
        body = b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
        assert wire.ask(url, head.encode() + body).status == 201


# -- too slowly ------------------------------------------------------------------------

SLOW = Limits(slow_seconds=0.4, linger_seconds=0.2)
"""So that a test need not wait long for an end; what comes before it may take its time."""


def ends(one: socket.socket) -> bytes:
    """Return what comes until the connection is closed; that it is, is what is tested."""
    one.settimeout(wire.LOCK_TIMEOUT)
    return wire.rest(one)


def test_a_connection_without_a_request_is_closed(tree: TreeBuilder) -> None:
    limits = Limits(header_seconds=0.2, idle_seconds=0.2)
    with hosted(tree.root, limits=limits) as url, wire.connected(url) as one:
        assert ends(one) == b""


def test_an_idle_connection_is_closed(tree: TreeBuilder) -> None:
    limits = Limits(idle_seconds=1.0)
    with hosted(tree.root, limits=limits) as url, wire.connected(url) as one:
        one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ends(one).startswith(b"HTTP/1.1 200")


def test_unfinished_headers_time_out(tree: TreeBuilder) -> None:
    limits = Limits(header_seconds=0.2, idle_seconds=600)
    with hosted(tree.root, limits=limits) as url, wire.connected(url) as one:
        one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: ")
        assert ends(one).startswith(b"HTTP/1.1 408")


def test_slow_headers_time_out(tree: TreeBuilder) -> None:
    limits = Limits(header_seconds=0.3, idle_seconds=600)
    with hosted(tree.root, limits=limits) as url, wire.connected(url) as one:
        over = threading.Event()

        def dribble() -> None:
            try:
                one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: ")
                while not over.wait(0.05):
                    one.sendall(b"a")
            except OSError:
                pass  # that is the point

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            assert wire.rest(one).startswith(b"HTTP/1.1 408")
        finally:
            over.set()
            thread.join()


def test_the_second_request_of_a_connection_times_out_too(tree: TreeBuilder) -> None:
    limits = Limits(header_seconds=0.2, idle_seconds=600)
    with hosted(tree.root, limits=limits) as url, wire.connected(url) as one:
        one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 200")
        one.sendall(b"GET /v2/ HTTP/1.1\r\n")
        assert b"HTTP/1.1 408" in ends(one)


@pytest.fixture
def blob(tree: TreeBuilder) -> str:
    """A blob larger than what is on its way between two sockets."""
    digest = tree.blob(bytes(LARGE))
    tree.layer_link("app", digest)
    return digest


def test_a_client_that_does_not_read_is_disconnected(tree: TreeBuilder, blob: str) -> None:
    heard: list[Exchange] = []
    with (
        hosted(tree.root, limits=SLOW, observe=heard.append) as url,
        wire.connected(url) as one,
    ):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /v2/app/blobs/%s HTTP/1.1\r\nHost: x\r\n\r\n" % blob.encode())
        wire.until(lambda: bool(heard))  # it is over for the server
        assert heard[0].status == 499
        assert len(ends(one)) < LARGE


def test_a_client_that_reads_in_pieces_is_served(tree: TreeBuilder, blob: str) -> None:
    with hosted(tree.root) as url, wire.connected(url) as one:
        one.sendall(
            b"GET /v2/app/blobs/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % blob.encode()
        )
        assert len(wire.rest(one).partition(b"\r\n\r\n")[2]) == LARGE


BEGUN = (POST % ("0" * 64)).encode() + b"Content-Length: 1000000\r\n\r\n"


def test_a_body_that_stops_times_out(tree: TreeBuilder) -> None:
    with hosted(tree.root, writable=True, limits=SLOW) as url, wire.connected(url) as one:
        one.sendall(BEGUN + bytes(1000))
        assert ends(one) == b""
        wire.until(lambda: uploads(tree) == [])


def test_a_body_that_trickles_times_out(tree: TreeBuilder) -> None:
    with hosted(tree.root, writable=True, limits=SLOW) as url, wire.connected(url) as one:
        one.sendall(BEGUN)
        over = threading.Event()

        def dribble() -> None:
            with suppress(OSError):
                while not over.wait(0.02):
                    one.sendall(b"a")

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            assert wire.rest(one) == b""
        finally:
            over.set()
            thread.join()


def test_a_steady_body_is_accepted(tree: TreeBuilder) -> None:
    """Longer than any wait, and never too slow."""
    limits = Limits(slow_seconds=2.0, slow_bytes=1, header_seconds=1.0, idle_seconds=1.0)
    data = bytes(25)
    head = (POST % hashlib.sha256(data).hexdigest()).encode() + b"Content-Length: 25\r\n\r\n"
    with hosted(tree.root, writable=True, limits=limits) as url, wire.connected(url) as one:
        one.sendall(head)
        for _ in range(25):
            one.sendall(b"\0")
            time.sleep(0.1)
        assert wire.rest(one).startswith(b"HTTP/1.1 201")


# -- many ------------------------------------------------------------------------------


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of every connection in this one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_and_two_hundred_active_connections_are_served(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    failed: list[Any] = []

    def work(url: str) -> None:
        with requests.Session() as session:
            for _ in range(3):
                answer = session.get(f"{url}/v2/app/manifests/v1", timeout=wire.LOCK_TIMEOUT)
                if answer.status_code != 200:
                    failed.append(answer)

    patient = Limits(header_seconds=600, idle_seconds=600, slow_seconds=600)
    with hosted(tree.root, limits=patient) as url, ExitStack() as open_:
        idle = [open_.enter_context(wire.connected(url)) for _ in range(1000)]
        threads = [threading.Thread(target=work, args=(url,)) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for one in idle[::100]:
            one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert wire.rest(one).startswith(b"HTTP/1.1 200")


def test_one_connection_too_many_is_refused_for_now(tree: TreeBuilder) -> None:
    ask = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    with hosted(tree.root, limits=Limits(connections=2)) as url:
        with wire.connected(url) as first, wire.connected(url) as second:
            for one in (first, second):
                one.sendall(ask)
                assert one.recv(65536).startswith(b"HTTP/1.1 200")
            refused = wire.ask(url, b"")
            assert refused.status == 503
            assert "Retry-After" in refused.head
            first.sendall(ask)
            assert first.recv(65536).startswith(b"HTTP/1.1 200")
        wire.until(lambda: wire.get(url, b"/v2/").status == 200)


def test_requests_one_after_another_on_a_connection(url: str, tmp_path: Path) -> None:
    ask = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert wire.ask(url, ask * 99 + last).statuses == [200] * 100


def test_a_running_request_is_answered_before_shutdown(tree: TreeBuilder, blob: str) -> None:
    with ExitStack() as later:
        with hosted(tree.root) as url:
            one = later.enter_context(wire.connected(url))
            one.sendall(b"GET /v2/app/blobs/%s HTTP/1.1\r\nHost: x\r\n\r\n" % blob.encode())
            head = one.recv(1)
            got: list[bytes] = []
            thread = threading.Thread(target=lambda: got.append(wire.rest(one)))
            thread.start()
        thread.join()
    assert len((head + got[0]).partition(b"\r\n\r\n")[2]) == LARGE


def test_a_client_that_never_ends_does_not_delay_shutdown(tree: TreeBuilder, blob: str) -> None:
    with ExitStack() as later, hosted(tree.root, limits=Limits(grace_seconds=0.3)) as url:
        one = later.enter_context(wire.connected(url))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /v2/app/blobs/%s HTTP/1.1\r\nHost: x\r\n\r\n" % blob.encode())
        assert one.recv(12) == b"HTTP/1.1 200"
        # The server has ended, or `hosted` would have failed.
