"""Pushing blobs over HTTP, clause by clause: opencontainers/distribution-spec, spec.md, "Push"."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from regfs import layout
from regfs.digest import Digest
from regfs.server import app
from regfs.server.routes import Verb
from tests.support.builder import Blob, TreeBuilder
from tests.support.client import UPLOADS, Client, code, pieces
from tests.support.pusher import pusher
from tests.support.server import hosted

DATA = b"0123456789" * 30
SHA256, SHA512 = Digest.of(DATA), Digest.of(DATA, "sha512")


@pytest.fixture
def client(tree: TreeBuilder) -> Iterator[Client]:
    with hosted(tree.root, writable=True) as url:
        yield Client(url)


# -- a blob at once --------------------------------------------------------------------------


def test_post_begins_an_upload(client: Client) -> None:
    answer = client("POST", UPLOADS, status=202)
    upload = answer.headers["Docker-Upload-UUID"]
    assert answer.headers["Location"] == UPLOADS + upload
    assert answer.headers["Range"] == "0-0"
    assert answer.content == b""
    assert layout.upload_time(upload) is not None
    assert abs((layout.upload_time(upload) or 0) - time.time()) < 600
    assert client("POST", UPLOADS.rstrip("/"), status=202).headers["Location"]


@pytest.mark.parametrize("digest", [SHA256, Digest.of(DATA, "sha384"), SHA512])
def test_post_then_put(client: Client, digest: Digest) -> None:
    answer = client.complete(client.begin(), digest, DATA)
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{digest}"
    assert answer.headers["Docker-Content-Digest"] == digest
    assert client.pulled(answer) == DATA


@pytest.mark.parametrize("digest", [SHA256, SHA512])
def test_a_single_post(client: Client, tree: TreeBuilder, digest: Digest) -> None:
    answer = client("POST", f"{UPLOADS}?digest={digest}", DATA, 201)
    assert answer.headers["Docker-Content-Digest"] == digest
    assert client.pulled(answer) == DATA
    assert list((tree.repository_path("team/app") / "_uploads").iterdir()) == []


def test_a_single_post_without_a_body_begins_an_upload(client: Client) -> None:
    place = client("POST", f"{UPLOADS}?digest={SHA256}", status=202).headers["Location"]
    assert client.pulled(client.complete(place, SHA256, DATA)) == DATA


def test_the_empty_blob_can_be_pushed(client: Client) -> None:
    empty = Digest.of(b"")
    assert client.pulled(client("POST", f"{UPLOADS}?digest={empty}", status=201)) == b""
    assert client.pulled(client.complete(client.begin(), Digest.of(b"", "sha512"))) == b""


def test_a_wrong_digest_is_refused_and_leaves_nothing(client: Client, tree: TreeBuilder) -> None:
    other = Digest.of(b"other")
    place = client.begin()
    assert code(client.complete(place, other, DATA, 400)) == "DIGEST_INVALID"
    assert code(client("POST", f"{UPLOADS}?digest={other}", DATA, 400)) == "DIGEST_INVALID"
    assert tree.files() == {}
    assert code(client("GET", place, status=404)) == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize(
    "digest", ["", "x", "sha256:xyz", "sha256:", "md5:" + "0" * 32, SHA256.upper(), "sha256:0%20"]
)
def test_an_invalid_digest_is_refused_and_the_upload_stays(client: Client, digest: str) -> None:
    place = client.begin()
    answer = client("PUT", f"{place}?digest={digest}", DATA, 400)
    assert code(answer) == "DIGEST_INVALID"
    if digest:
        assert code(client("POST", f"{UPLOADS}?digest={digest}", DATA, 400)) == "DIGEST_INVALID"
    assert code(client("PUT", place, DATA, 400)) == "DIGEST_INVALID"
    client.complete(place, SHA256, DATA)


def test_a_blob_must_not_be_too_large(tree: TreeBuilder) -> None:
    with hosted(tree.root, writable=True, max_blob=len(DATA)) as url:
        client = Client(url)
        client.complete(client.begin(), SHA256, DATA)
        longer = DATA + b"x"
        place = client.begin()
        assert code(client.complete(place, Digest.of(longer), longer, 413)) == "SIZE_INVALID"
        client.patch(place, 0, DATA)
        client("PATCH", place, b"x", 413)
        client.complete(place, SHA256)
        client("POST", f"{UPLOADS}?digest={Digest.of(longer)}", longer, 413)
    assert len(tree.files()) == 2


# -- a blob in pieces ------------------------------------------------------------------------


@pytest.mark.parametrize("last_by_put", [True, False])
@pytest.mark.parametrize("digest", [SHA256, SHA512])
def test_chunks_in_order(client: Client, digest: Digest, last_by_put: bool) -> None:
    place = client.begin()
    for start in (0, 100) if last_by_put else (0, 100, 200):
        answer = client.patch(place, start, DATA[start : start + 100])
        assert answer.headers["Range"] == f"0-{start + 99}"
        assert answer.headers["Docker-Upload-UUID"] in answer.headers["Location"]
        place = answer.headers["Location"]
    if last_by_put:
        headers = {"Content_Range": "200-299"}
        answer = client("PUT", f"{place}?digest={digest}", DATA[200:], 201, **headers)
    else:
        answer = client.complete(place, digest)
    assert client.pulled(answer) == DATA


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("start", [0, 50, 101, 250])
def test_chunks_out_of_order(client: Client, method: str, start: int) -> None:
    place = client.begin()
    client.patch(place, 0, DATA[:100])
    query = f"?digest={SHA256}" if method == "PUT" else ""
    given = f"{start}-{start + 9}"
    answer = client(method, place + query, DATA[start : start + 10], 416, Content_Range=given)
    assert code(answer) == "BLOB_UPLOAD_INVALID"
    assert answer.headers["Location"] == place
    assert answer.headers["Range"] == "0-99"
    answer = client("GET", place, status=204)
    assert (answer.headers["Location"], answer.headers["Range"]) == (place, "0-99")
    client.patch(place, 100, DATA[100:])
    assert client.pulled(client.complete(place, SHA256)) == DATA


def test_the_first_chunk_begins_with_nought(client: Client) -> None:
    place = client.begin()
    assert client.patch(place, 100, DATA[100:], 416).headers["Range"] == "0-0"


@pytest.mark.parametrize(
    "given", ["", "x", "0", "0-", "-9", "a-b", "0-9-", "bytes", "0 - 9", "9-\xb2"]
)
def test_an_invalid_range_is_refused(client: Client, given: str) -> None:
    place = client.begin()
    coded = given.encode().decode("latin-1")
    answer = client("PATCH", place, DATA[:10], 400, Content_Range=coded)
    assert code(answer) == "BLOB_UPLOAD_INVALID"
    assert client("GET", place, status=204).headers["Range"] == "0-0"


@pytest.mark.parametrize("given", ["0-8", "0-10", "9-0", "0-9999999999999999999"])
def test_a_range_that_does_not_fit_the_body(client: Client, given: str) -> None:
    place = client.begin()
    answer = client("PATCH", place, DATA[:10], 400, Content_Range=given)
    assert code(answer) == "SIZE_INVALID"
    assert client("GET", place, status=204).headers["Range"] == "0-0"


def test_a_stream_of_unknown_length(client: Client) -> None:
    place = client.begin()
    answer = client("PATCH", place, pieces(DATA[:200]), 202)
    assert answer.headers["Range"] == "0-199"
    answer = client("PUT", f"{place}?digest={SHA256}", pieces(DATA[200:]), 201)
    assert client.pulled(answer) == DATA


@pytest.mark.parametrize("announced", [150, 250])
def test_a_stream_that_is_not_as_long_as_announced(client: Client, announced: int) -> None:
    place = client.begin()
    answer = client("PATCH", place, pieces(DATA[:200]), 400, Content_Range=f"0-{announced - 1}")
    assert code(answer) == "SIZE_INVALID"
    last = int(client("GET", place, status=204).headers["Range"].removeprefix("0-"))
    start = last + 1 if last else 0
    assert start <= announced
    client.patch(place, start, DATA[start:])
    assert client.pulled(client.complete(place, SHA256)) == DATA


def test_content_encoding_is_ignored(client: Client) -> None:
    place = client.begin()
    client("PATCH", place, DATA, 202, Content_Encoding="gzip", Content_Type="text/plain")
    assert client.pulled(client.complete(place, SHA256)) == DATA


def test_how_far_an_upload_has_come(client: Client) -> None:
    place = client.begin()
    for method in ("GET", "HEAD"):
        answer = client(method, place, status=204)
        assert answer.headers["Range"] == "0-0"
        assert answer.headers["Location"] == place
        assert answer.headers["Docker-Upload-UUID"] == place.rpartition("/")[2]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "place",
    [
        UPLOADS + "0190f3c0-0000-7000-8000-000000000000",
        UPLOADS + "x",
        UPLOADS + "..%20",
        "/v2/other/blobs/uploads/{id}",
    ],
)
def test_an_unknown_upload_is_404(
    client: Client, tree: TreeBuilder, method: str, place: str
) -> None:
    upload = client.begin().rpartition("/")[2]
    before = tree.files()
    query = f"?digest={SHA256}" if method == "PUT" else ""
    answer = client(method, place.format(id=upload) + query, status=404)
    if method != "HEAD":
        assert code(answer) == "BLOB_UPLOAD_UNKNOWN"
    assert tree.files() == before


def test_a_cancelled_upload_is_gone(client: Client, tree: TreeBuilder) -> None:
    place = client.begin()
    client.patch(place, 0, DATA)
    client("DELETE", place, status=204)
    assert tree.files() == {}
    client("DELETE", place, status=404)
    client.patch(place, 300, DATA, 404)


def test_an_upload_goes_on_after_a_restart(tree: TreeBuilder) -> None:
    with hosted(tree.root, writable=True) as url:
        place = Client(url).begin("?digest-algorithm=sha512")
        Client(url).patch(place, 0, DATA[:100])
    with hosted(tree.root, writable=True) as url:
        assert Client(url)("GET", place, status=204).headers["Range"] == "0-99"
        Client(url).patch(place, 100, DATA[100:200])
    with hosted(tree.root, writable=True) as url:
        assert Client(url).pulled(Client(url).complete(place, SHA512, DATA[200:])) == DATA


def test_the_algorithm_may_be_announced(client: Client, tree: TreeBuilder) -> None:
    place = client.begin("?digest-algorithm=sha512")
    client.patch(place, 0, DATA)
    client.complete(place, SHA512)
    before = tree.files()
    assert code(client("POST", f"{UPLOADS}?digest-algorithm=md5", status=400)) == "DIGEST_INVALID"
    assert tree.files() == before


# -- connections that break, requests that meet -----------------------------------------------


def half_sent(client: Client, head: str, data: bytes) -> socket.socket:
    """Send the beginning of a request, and leave the connection open."""
    parts = urlsplit(client.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    connection.sendall(head.encode() + b"\r\nHost: x\r\n\r\n" + data)
    return connection


def wait_until_it_has(client: Client, place: str, size: int) -> None:
    """Wait until so many bytes of an upload have arrived."""
    until = time.monotonic() + 120
    while client("GET", place, status=204).headers["Range"] != f"0-{size - 1}":
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["Content-Length: 300", "Transfer-Encoding: chunked"])
def test_what_came_before_a_connection_broke_counts(client: Client, how: str) -> None:
    place = client.begin()
    data = DATA[:120] if "Length" in how else b"78\r\n" + DATA[:120] + b"\r\n"
    connection = half_sent(client, f"PATCH {place} HTTP/1.1\r\n{how}", data)
    wait_until_it_has(client, place, 120)
    connection.close()
    until = time.monotonic() + 120
    while (
        answer := client("PATCH", place, DATA[120:], Content_Range="120-299")
    ).status_code != 202:
        assert answer.status_code == 416  # the server has not noticed yet
        assert time.monotonic() < until
        time.sleep(0.01)
    assert client.pulled(client.complete(place, SHA256)) == DATA


def test_a_single_post_that_broke_leaves_nothing(client: Client, tree: TreeBuilder) -> None:
    head = f"POST {UPLOADS}?digest={SHA256} HTTP/1.1\r\nContent-Length: 300"
    folder = tree.repository_path("team/app") / "_uploads"
    connection = half_sent(client, head, DATA[:120])
    until = time.monotonic() + 120
    while not [path for path in folder.glob("*/data") if path.stat().st_size]:
        assert time.monotonic() < until
    connection.close()
    while list(folder.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_invalid_chunked_body_releases_the_upload(client: Client) -> None:
    place = client.begin()
    head = f"PATCH {place} HTTP/1.1\r\nTransfer-Encoding: chunked"
    with half_sent(client, head, b"5\r\n" + DATA[:5] + b"\r\n") as connection:
        wait_until_it_has(client, place, 5)
        connection.sendall(b"nonsense\r\n\r\n")
    until = time.monotonic() + 120
    while client("PATCH", place, DATA[5:]).status_code != 202:
        assert time.monotonic() < until
    assert client.pulled(client.complete(place, SHA256)) == DATA


def test_two_requests_at_one_upload_never_mix(client: Client) -> None:
    place = client.begin()
    head = f"PATCH {place} HTTP/1.1\r\nContent-Length: 300"
    with half_sent(client, head, DATA[:120]) as connection:
        wait_until_it_has(client, place, 120)
        answer = client("PATCH", place, b"x" * 50, 416)
        assert answer.headers["Range"] == "0-119"
        answer = client("PUT", f"{place}?digest={SHA256}", b"", 416)
        connection.sendall(DATA[120:])
        assert connection.recv(12) == b"HTTP/1.1 202"
    assert client.pulled(client.complete(place, SHA256)) == DATA


def test_many_push_the_same_at_once(client: Client, tree: TreeBuilder) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        one = Client(client.url)
        try:
            for _ in range(5):
                one.pulled(one.complete(one.begin(), SHA256, DATA))
                one("POST", f"{UPLOADS}?digest={SHA256}", DATA, 201)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(tree.files()) == 2


# -- mounting --------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["&from=base", "", "&from="])
def test_a_blob_is_mounted(client: Client, tree: TreeBuilder, source: str) -> None:
    pusher(tree).add_blob("base", Blob(DATA))
    client("HEAD", f"/v2/team/app/blobs/{SHA256}", status=404)
    answer = client("POST", f"{UPLOADS}?mount={SHA256}{source}", status=201)
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{SHA256}"
    assert answer.headers["Docker-Content-Digest"] == SHA256
    assert client.pulled(answer) == DATA


@pytest.mark.parametrize("source", ["&from=missing", "&from=base", "", "&from=..%2Fbase"])
def test_a_failed_mount_begins_an_upload(client: Client, tree: TreeBuilder, source: str) -> None:
    pusher(tree).add_blob("base", Blob(b"other"))
    place = client("POST", f"{UPLOADS}?mount={SHA256}{source}", status=202).headers["Location"]
    assert client.pulled(client.complete(place, SHA256, DATA)) == DATA


def test_an_invalid_digest_is_not_mounted(client: Client) -> None:
    answer = client("POST", f"{UPLOADS}?mount=sha256:x&from=base", status=400)
    assert code(answer) == "DIGEST_INVALID"


@pytest.mark.parametrize("source", ["&from=secret", ""])
def test_only_readable_blobs_are_mounted(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    pusher(tree).add_blob("secret", Blob(DATA))
    asked: list[tuple[Verb, str]] = []

    def may(request: object, verb: Verb, name: str) -> bool:
        asked.append((verb, name))
        return name != "secret"

    monkeypatch.setattr(app, "_everybody", may)
    with hosted(tree.root, writable=True) as url:
        Client(url)("POST", f"{UPLOADS}?mount={SHA256}{source}", status=202)
    assert (Verb.READ, "secret") in asked
    assert not tree.layer_path("team/app", SHA256).exists()


# -- paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["..", "a/../../b", "%2e%2e/x", "a%2f..%2fb", "_uploads", "a/_layers/b", "a%00b", "//"]
)
def test_paths_cannot_leave_the_repositories(client: Client, tree: TreeBuilder, name: str) -> None:
    head = f"POST /v2/{name}/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0"
    with half_sent(client, head, b"") as connection:
        assert re.match(rb"HTTP/1.1 4(00|04) ", connection.recv(65536))
    assert tree.files("") == {}
