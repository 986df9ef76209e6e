"""A registry as a source: how it is asked, who may know the password, and that it may lie."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from regfs.digest import Digest
from regfs.errors import Invalid, SourceError, SourceLacks
from regfs.heal.opening import open_source
from regfs.heal.remote import open_registry
from regfs.heal.report import HealState
from regfs.heal.source import BlobRequest, Credentials, RegistryAccess
from tests.support.backups import ONE, heal_from, states, stocked
from tests.support.builder import TreeBuilder

LAYER = ONE.blobs[1]
WANTED = BlobRequest(Digest(LAYER.digest), len(LAYER.data), repositories=("app",))
PATH = f"/v2/app/blobs/{LAYER.digest}"
ME = Credentials("me", "secret-word")
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

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.routes["/v2/"] = lambda _: (200, {}, b"{}")
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def gives(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.routes[path] = lambda _: (status, named, body)

    def asked(self, path: str) -> list[dict[str, str]]:
        return [headers for _, asked, headers in self.requests if asked.partition("?")[0] == path]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def access(**options: Any) -> RegistryAccess:
    return RegistryAccess(pause=lambda seconds: None, **{"timeout": 5.0, **options})


def read(server: Server, wanted: BlobRequest = WANTED, **options: Any) -> bytes:
    source = open_registry(server.url, access(**options))
    with closing(source), source.open(wanted) as stream:
        return stream.read()


# -- where it is looked for ----------------------------------------------------


def test_a_blob_is_asked_for_in_the_repository_that_uses_it(server: Server) -> None:
    server.gives(PATH, LAYER.data)
    assert read(server) == LAYER.data
    assert [path for _, path, _ in server.requests] == ["/v2/", PATH]


def test_a_manifest_is_asked_for_with_every_type(server: Server) -> None:
    path = f"/v2/app/manifests/{ONE.digest}"
    server.gives(path, ONE.data)
    wanted = BlobRequest(Digest(ONE.digest), manifest=True, repositories=("app",))
    assert read(server, wanted) == ONE.data
    (headers,) = server.asked(path)
    for word in ("oci.image.index", "oci.image.manifest", "manifest.list", "manifest.v2"):
        assert word in headers["Accept"]


def test_a_name_that_a_person_gives_goes_first(server: Server) -> None:
    server.gives(f"/v2/mirror/app/blobs/{LAYER.digest}", LAYER.data)
    assert read(server, repositories=("mirror/app",)) == LAYER.data
    assert server.asked(PATH) == []


def test_the_catalog_is_the_last_resort_page_by_page(server: Server) -> None:
    def catalog(handler: Any) -> Answer:
        last = parse_qs(urlsplit(handler.path).query).get("last", [""])[0]
        page = {"": ["a"], "a": ["b"], "b": ["c/d"]}.get(last, [])
        link = f'<http://evil.invalid/v2/_catalog?last={page[-1]}&n=1>; rel="next"' if page else ""
        return 200, {"Link": link}, json.dumps({"repositories": page}).encode()

    server.routes["/v2/_catalog"] = catalog
    server.gives(f"/v2/c/d/blobs/{LAYER.digest}", LAYER.data)
    assert read(server) == LAYER.data
    assert len(server.asked("/v2/_catalog")) == 4


def test_a_catalog_without_end_ends(server: Server) -> None:
    numbers = iter(range(10**9))

    def catalog(_: Any) -> Answer:
        names = [f"r{next(numbers)}" for _ in range(5000)]
        link = f'</v2/_catalog?last={names[-1]}>; rel="next"'
        return 200, {"Link": link}, json.dumps({"repositories": names}).encode()

    server.routes["/v2/_catalog"] = catalog
    with closing(open_registry(server.url, access())) as source:
        assert len(source._listed()) == 10_000


def test_what_is_nowhere_is_lacking(server: Server) -> None:
    with pytest.raises(SourceLacks, match="looked in 1 repositories"):
        read(server)


def test_a_prefix_is_kept(server: Server) -> None:
    server.gives("/hub/v2/", b"{}")
    server.gives(f"/hub{PATH}", LAYER.data)
    with closing(open_registry(f"{server.url}/hub/", access())) as source:
        assert source.size(WANTED) == len(LAYER.data)


# -- who asks ------------------------------------------------------------------


def guarded(server: Server, challenge: str, good: str) -> None:
    def answer(handler: Any) -> Answer:
        if handler.headers.get("Authorization") != good:
            return 401, {"WWW-Authenticate": challenge}, b""
        return 200, {}, LAYER.data

    server.routes[PATH] = answer


def test_basic_credentials_are_given_when_they_are_asked_for(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    assert read(server, credentials=ME) == LAYER.data
    assert "Authorization" not in server.asked("/v2/")[0]


def test_without_credentials_the_refusal_is_told(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    with pytest.raises(SourceError, match="requires credentials"):
        read(server)


def test_wrong_credentials_are_told_and_not_printed(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    with pytest.raises(SourceError, match="refused the credentials") as caught:
        read(server, credentials=Credentials("me", "hush-hush"))
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(access(credentials=Credentials("me", "hush-hush")))


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_a_token_is_fetched_for_the_scope_and_kept(
    server: Server, other: Server, field: str
) -> None:
    scope = "repository:app:pull"
    challenge = f'Bearer realm="{other.url}/token",service="reg",scope="{scope}"'
    guarded(server, challenge, "Bearer abc.def")
    other.gives("/token", json.dumps({field: "abc.def"}).encode())
    with closing(open_registry(server.url, access(credentials=ME))) as source:
        for _ in range(3):
            assert source.open(WANTED).read() == LAYER.data
    (_, path, headers) = other.requests[0]
    assert parse_qs(urlsplit(path).query) == {"scope": [scope], "service": ["reg"]}
    assert headers["Authorization"] == BASIC
    assert len(other.requests) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\nb"}'])
def test_what_is_no_token_is_told(server: Server, other: Server, body: bytes) -> None:
    guarded(server, f'Bearer realm="{other.url}/token"', "Bearer x")
    other.gives("/token", body)
    with pytest.raises(SourceError, match="sent no token"):
        read(server)


def test_a_token_server_that_is_not_safe_is_not_asked(server: Server) -> None:
    guarded(server, 'Bearer realm="file:///etc/passwd"', "Bearer x")
    with pytest.raises(SourceError, match="not safe"):
        read(server, credentials=ME)


def test_the_file_of_docker_login_is_understood(server: Server, tmp_path: Path) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    auth = {f"127.0.0.1:{server.port}": {"auth": BASIC.partition(" ")[2]}}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": auth}))
    assert read(server, authfile=str(file)) == LAYER.data


@pytest.mark.parametrize("text", ["{}", '{"auths": []}', '{"auths": {"127.0.0.1": 7}}'])
def test_a_file_without_our_registry_gives_no_credentials(
    server: Server, tmp_path: Path, text: str
) -> None:
    server.gives(PATH, LAYER.data)
    (tmp_path / "config.json").write_text(text)
    assert read(server, authfile=str(tmp_path / "config.json")) == LAYER.data


def test_a_file_that_is_none_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("no JSON")
    with pytest.raises(Invalid):
        read(server, authfile=str(tmp_path / "config.json"))


def test_credentials_in_an_address_are_used_and_never_shown(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    url = server.url.replace("http://", "http://me:secret-word@")
    with closing(open_registry(url, access())) as source:
        assert source.open(WANTED).read() == LAYER.data
        assert source.url == server.url


# -- sent on -------------------------------------------------------------------


def test_a_redirect_to_another_host_is_followed_without_credentials(
    server: Server, other: Server
) -> None:
    def answer(handler: Any) -> Answer:
        if handler.headers.get("Authorization") != BASIC:
            return 401, {"WWW-Authenticate": "Basic"}, b""
        return 307, {"Location": f"{other.url}/storage?signature=hidden"}, b""

    server.routes[PATH] = answer
    other.gives("/storage", LAYER.data)
    assert read(server, credentials=ME) == LAYER.data
    assert "Authorization" not in other.asked("/storage")[0]


def test_a_redirect_on_the_same_host_keeps_them(server: Server) -> None:
    guarded(server, "Basic", BASIC)
    server.routes["/moved"] = server.routes[PATH]
    guard = server.routes[PATH]

    def answer(handler: Any) -> Answer | None:
        found = guard(handler)
        return found if found is None or found[0] == 401 else (302, {"Location": "/moved"}, b"")

    server.routes[PATH] = answer
    assert read(server, credentials=ME) == LAYER.data


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_what_is_no_web_is_refused(server: Server, location: str) -> None:
    server.gives(PATH, b"", 302, Location=location)
    with pytest.raises(SourceError, match="not safe"):
        read(server)


def test_a_redirect_in_a_circle_ends(server: Server) -> None:
    server.gives(PATH, b"", 302, Location=PATH)
    with pytest.raises(SourceError, match="too many redirects"):
        read(server)


def test_a_message_holds_no_signature(server: Server, other: Server) -> None:
    server.gives(PATH, b"", 307, Location=f"{other.url}/gone?signature=hidden")
    other.gives("/gone", b"", 503)
    with pytest.raises(SourceError, match="503") as caught:
        read(server)
    assert "hidden" not in str(caught.value)


# -- hiccups -------------------------------------------------------------------


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


# -- lies ----------------------------------------------------------------------


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    stocked(tree).delete_blob(LAYER.digest)
    return tree


def heal(shop: TreeBuilder, server: Server) -> tuple[HealState, str]:
    with closing(open_source(server.url, access())) as source:
        healed = heal_from(shop, source)
    (one,) = healed.outcomes
    assert (one.state is HealState.HEALED) == shop.blob_path(LAYER.digest).exists()
    return one.state, one.message


def test_a_registry_heals(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, LAYER.data)
    assert heal(shop, server) == (HealState.HEALED, "")
    assert states(heal_from(shop, server.url)) == {}


def test_a_web_page_is_not_taken_for_a_blob(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, b"<html>log in</html>", Content_Type="text/html; charset=utf-8")
    assert heal(shop, server) == (HealState.FAILED, f"{server.url}: answered with a web page")


def test_wrong_bytes_of_the_right_size_are_thrown_away(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, bytes(len(LAYER.data)))
    state, message = heal(shop, server)
    assert (state, "another digest" in message) == (HealState.WRONG, True)


def test_another_length_is_refused_before_a_byte_is_read(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, LAYER.data + b"more")
    state, message = heal(shop, server)
    assert (state, "bytes instead of" in message) == (HealState.FAILED, True)


def test_a_body_without_end_is_left(shop: TreeBuilder, server: Server) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        deadline = time.monotonic() + 20
        try:
            while time.monotonic() < deadline:
                handler.wfile.write(bytes(65536))
        except OSError:
            pass

    server.routes[PATH] = answer
    state, message = heal(shop, server)
    assert (state, "more than" in message) == (HealState.WRONG, True)


def test_secrets_reach_neither_journal_nor_output(shop: TreeBuilder, server: Server) -> None:
    guarded(server, "Basic", BASIC)
    url = server.url.replace("http://", "http://me:secret-word@")
    healed = heal_from(shop, url)
    assert healed.broken == 0
    for path in (shop.root / ".regfs").rglob("*.jsonl"):
        assert b"secret-word" not in path.read_bytes()
    assert "secret-word" not in repr(healed)
