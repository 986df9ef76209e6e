"""How a server ends: what clients have begun comes to its end, for as long as the grace lasts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from regfs.server.connections import Connections
from regfs.server.ending import wind_down
from regfs.server.settings import Limits
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.images import Blob, digest_of, image
from tests.support.reference import needs_programs
from tests.support.served import end, serving
from tests.support.server import hosted
from tests.support.wire import answer, asked

DATA = bytes(range(256)) * 1024
DIGEST = digest_of(DATA)
HALF = len(DATA) // 2


def field(one: wire.Answer, name: str) -> str | None:
    """Return a header of an answer."""
    for line in one.head.splitlines()[1:]:
        key, _, value = line.partition(": ")
        if key.lower() == name.lower():
            return value
    return None


def end_in_the_middle(process: subprocess.Popen[str], url: str) -> None:
    """Tell a server to end; return when it has begun to."""
    process.send_signal(signal.SIGTERM)
    wire.until(lambda: turns_away(url))


def turns_away(url: str) -> bool:
    """Return whether a server takes no more requests that begin something."""
    try:
        return wire.get(url, b"/v2/").status in (0, 503)
    except ConnectionRefusedError:
        return True


def uploads(tree: TreeBuilder) -> list[str]:
    """Return the files of unfinished uploads."""
    return [path for path in tree.files() if "/_uploads/" in path]


def arrived(tree: TreeBuilder) -> int:
    """Return how many bytes of unfinished uploads there are: they may end while they are seen."""
    sizes = [0]
    for path in tree.root.glob("docker/registry/v2/repositories/*/_uploads/*/data"):
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def is_there(tree: TreeBuilder) -> bool:
    path = tree.blob_path(DIGEST)
    return path.exists() and path.read_bytes() == DATA


def test_a_running_push_is_completed(tree: TreeBuilder) -> None:
    with serving(tree.root, "--writable") as (process, url), wire.connected(url) as one:
        one.sendall(asked("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", size=len(DATA)))
        one.sendall(DATA[:HALF])
        wire.until(lambda: bool(uploads(tree)))
        end_in_the_middle(process, url)
        one.sendall(DATA[HALF:])
        found = answer(one)
        assert (found.status, field(found, "Connection")) == (201, "close")
        assert one.recv(1) == b""
        code, told = process.wait(wire.LOCK_TIMEOUT), process.stderr
        assert (code, told is not None and "Traceback" in told.read()) == (0, False)
    assert is_there(tree)


def test_an_upload_in_two_requests_is_completed(tree: TreeBuilder) -> None:
    """Bytes by PATCH, then a PUT with the digest: so push docker, podman and skopeo."""
    with serving(tree.root, "--writable") as (process, url), wire.connected(url) as one:
        one.sendall(asked("POST", "/v2/app/blobs/uploads/", size=0))
        where = field(answer(one), "Location")
        assert where is not None
        one.sendall(asked("PATCH", where, size=len(DATA)) + DATA[:HALF])
        end_in_the_middle(process, url)
        one.sendall(DATA[HALF:])
        taken = answer(one)
        assert (taken.status, field(taken, "Connection")) == (202, "close")
        with wire.connected(url) as other:
            other.sendall(asked("PUT", f"{where}?digest={DIGEST}", size=0))
            made = answer(other)
        assert (made.status, field(made, "Connection")) == (201, "close")
        assert process.wait(wire.LOCK_TIMEOUT) == 0
    assert is_there(tree)


def test_only_uploads_continue_during_the_grace(tree: TreeBuilder) -> None:
    with serving(tree.root, "--writable") as (process, url), wire.connected(url) as one:
        one.sendall(asked("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", size=len(DATA)))
        one.sendall(DATA[:HALF])
        wire.until(lambda: bool(uploads(tree)))
        end_in_the_middle(process, url)
        for method, target in [
            (b"GET", b"/v2/app/tags/list"),
            (b"POST", b"/v2/app/blobs/uploads/"),
            (b"GET", b"/healthz"),
            (b"GET", b"/v2/%2f/"),
        ]:
            found = wire.get(url, target, b"Content-Length: 0", method=method)
            assert (found.status, found.codes) == (503, ["TOOMANYREQUESTS"]), target
            assert field(found, "Retry-After") == "5"
        one.sendall(DATA[HALF:])
        assert answer(one).status == 201
        assert process.wait(wire.LOCK_TIMEOUT) == 0


def test_an_idle_server_ends_at_once(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with serving(tree.root, "--grace", "1h") as (process, url), wire.connected(url) as one:
        one.sendall(asked("GET", "/v2/app/manifests/v1"))
        assert answer(one).status == 200
        assert end(process, signal.SIGTERM)[0] == 0
        assert wire.rest(one) == b""


def test_the_running_answer_is_the_last_on_its_connection(tree: TreeBuilder) -> None:
    """Its head has been sent before, and said that the connection stays."""
    large = tree.blob(bytes(48 << 20))
    tree.layer_link("app", large)
    with serving(tree.root, "--grace", "1h") as (process, url), wire.connected(url) as one:
        one.sendall(asked("GET", f"/v2/app/blobs/{large}"))
        assert one.recv(12) == b"HTTP/1.1 200"
        end_in_the_middle(process, url)
        assert len(wire.rest(one).partition(b"\r\n\r\n")[2]) == 48 << 20
        assert process.wait(wire.LOCK_TIMEOUT) == 0


def test_a_request_whose_head_has_begun_is_answered(tree: TreeBuilder) -> None:
    with serving(tree.root) as (process, url), wire.connected(url) as one:
        one.sendall(b"GET /v2/ HTTP/1.1\r\nHo")
        wire.until(lambda: requests.get(f"{url}/v2/", timeout=60).ok)
        end_in_the_middle(process, url)
        one.sendall(b"st: localhost\r\n\r\n")
        found = answer(one)
        assert (found.status, field(found, "Connection")) == (200, "close")
        assert process.wait(wire.LOCK_TIMEOUT) == 0


def test_connections_accepted_at_the_end_are_served() -> None:
    """asyncio loses who is accepted in the turn in which its server closes: the client hangs."""
    come: list[asyncio.BaseTransport] = []

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            come.append(transport)

    async def scene(clients: ExitStack) -> None:
        server = await asyncio.get_running_loop().create_server(Greeter, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(5):
            clients.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        await asyncio.sleep(0)  # they are about to be accepted
        await wind_down(Connections(), [server], 5)
        await asyncio.sleep(0)
        for transport in come:
            transport.close()

    with ExitStack() as clients:
        asyncio.run(scene(clients))
    assert len(come) == 5


def test_bytes_of_an_upload_survive_the_grace(tree: TreeBuilder) -> None:
    """The client is let go, and goes on where it was when there is a server again."""
    with ExitStack() as later:
        with hosted(tree.root, writable=True, limits=Limits(grace_seconds=0.3)) as url:
            begun = requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60)
            where = begun.headers["Location"]
            one = later.enter_context(wire.connected(url))
            one.sendall(asked("PATCH", where, size=len(DATA)) + DATA[:HALF])
            wire.until(lambda: arrived(tree) == HALF)
        assert wire.rest(one) == b""
    with hosted(tree.root, writable=True) as url:
        found = requests.get(url + where, timeout=60)
        assert found.headers["Range"] == f"0-{HALF - 1}"
        put = requests.put(f"{url}{where}?digest={DIGEST}", data=DATA[HALF:], timeout=60)
        assert put.status_code == 201
    assert is_there(tree)


def test_a_blob_in_one_request_that_does_not_end_leaves_nothing(tree: TreeBuilder) -> None:
    with ExitStack() as later:
        with hosted(tree.root, writable=True, limits=Limits(grace_seconds=0.3)) as url:
            one = later.enter_context(wire.connected(url))
            target = f"/v2/app/blobs/uploads/?digest={DIGEST}"
            one.sendall(asked("POST", target, size=len(DATA)) + DATA[:HALF])
            wire.until(lambda: bool(uploads(tree)))
        assert wire.rest(one) == b""
    assert uploads(tree) == []


@needs_programs("curl")
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_curl_that_sends_slowly(tree: TreeBuilder, tmp_path: Path, method: str) -> None:
    file = tmp_path / "layer"
    file.write_bytes(DATA)
    with serving(tree.root, "--writable", "--grace", "60s") as (process, url):
        target = f"{url}/v2/app/blobs/uploads/"
        if method == "PUT":
            target = url + requests.post(target, timeout=60).headers["Location"]
        command = ["curl", "-sS", "-X", method, "-H", "Expect:", "--limit-rate", "64k"]
        options = ["--data-binary", f"@{file}", "-w", "%{http_code}", f"{target}?digest={DIGEST}"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as curl:
            wire.until(lambda: arrived(tree) > 0)
            end_in_the_middle(process, url)
            said, _ = curl.communicate(timeout=wire.LOCK_TIMEOUT)
        assert said.endswith("201")
        assert process.wait(wire.LOCK_TIMEOUT) == 0
    assert is_there(tree)


@needs_programs("skopeo")
def test_skopeo_in_the_middle_of_a_layer(tree: TreeBuilder, tmp_path: Path) -> None:
    """The push cannot end, but its next attempt need not send the layer again."""
    source = TreeBuilder(tmp_path / "source")
    large = Blob(os.urandom(64 << 20))
    source.push("app", "v1", image([large]))
    with (
        hosted(source.root) as there,
        serving(tree.root, "--writable", "--grace", "60s") as (process, url),
    ):
        names = [f"docker://{one.partition('//')[2]}/app:v1" for one in (there, url)]
        plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", *plain, *names]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as skopeo:
            wire.until(lambda: arrived(tree) > 1 << 20)
            end_in_the_middle(process, url)
            skopeo.communicate(timeout=wire.LOCK_TIMEOUT)
        assert process.wait(60) == 0
    (digest,) = tree.blobs()  # skopeo has packed it, and so called it otherwise
    assert digest_of(tree.blob_path(digest).read_bytes()) == digest
    assert tree.layer_path("app", digest).exists()
