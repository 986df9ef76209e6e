"""Pushing over HTTP, clause by clause: opencontainers/distribution-spec, spec.md, "Push"."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from regfs import layout
from regfs.digest import Digest
from regfs.push.manifests import Publisher
from regfs.push.uploads import Uploads
from regfs.runs import lock
from regfs.server import app
from regfs.server.keys import MAY
from regfs.server.routes import Verb
from regfs.stores import open_store
from regfs.stores.local import files
from tests.support.builder import (
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    TreeBuilder,
    artifact,
    image,
    index,
    raw,
)
from tests.support.client import UPLOADS, Client, code
from tests.support.pusher import pusher
from tests.support.server import hosted

DATA = b"0123456789" * 30
SHA256, SHA512 = Digest.of(DATA), Digest.of(DATA, "sha512")
V1 = image(["base", "one"])


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


def pieces(data: bytes, size: int = 70) -> Iterator[bytes]:
    """Yield data piece by piece, so that its length is not told."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


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
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    connection.sendall(head.encode() + b"\r\nHost: x\r\n\r\n" + data)
    return connection


def wait_until_it_has(client: Client, place: str, size: int) -> None:
    """Wait until so many bytes of an upload have arrived."""
    until = time.monotonic() + 30
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
    until = time.monotonic() + 30
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
    until = time.monotonic() + 30
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
    until = time.monotonic() + 30
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
    assert MAY is not None


# -- manifests -------------------------------------------------------------------------------

MANIFESTS = "/v2/team/app/manifests/"


def put(
    client: Client, reference: str, data: bytes, status: int = 201, media_type: str = OCI_MANIFEST
) -> requests.Response:
    return client("PUT", MANIFESTS + reference, data, status, Content_Type=media_type)


@pytest.fixture
def filled(client: Client, tree: TreeBuilder) -> Client:
    """Return a client of a server that has all that V1 names."""
    pusher(tree).before("team/app", V1)
    return client


@pytest.mark.parametrize("by_tag", [True, False])
def test_a_manifest_is_kept_byte_for_byte(filled: Client, by_tag: bool) -> None:
    spaced = json.dumps(V1.document, indent=3).encode() + b"\n"
    digest = Digest.of(spaced)
    answer = put(filled, "v1" if by_tag else digest, spaced)
    assert answer.headers["Location"] == MANIFESTS + digest
    assert answer.headers["Docker-Content-Digest"] == digest
    assert "OCI-Subject" not in answer.headers
    assert "OCI-Tag" not in answer.headers
    assert filled.pulled(answer) == spaced
    found = filled("GET", MANIFESTS + ("v1" if by_tag else digest), status=200)
    assert (found.content, found.headers["Content-Type"]) == (spaced, OCI_MANIFEST)


def test_tags_of_a_digest_push(filled: Client, tree: TreeBuilder) -> None:
    tags = [f"1.{number}" for number in range(12)]
    query = "".join(f"&tag={tag}" for tag in tags)
    answer = put(filled, f"{V1.digest}?{query}", V1.data)
    told = [tag.strip() for tag in answer.headers["OCI-Tag"].split(",")]
    assert told == tags
    assert tree.tags("team/app") == sorted(tags)


def test_too_many_tags_or_bad_ones_write_nothing(filled: Client, tree: TreeBuilder) -> None:
    before = tree.files()
    query = "".join(f"&tag=a{number}" for number in range(101))
    put(filled, f"{V1.digest}?{query}", V1.data, 414)
    answer = put(filled, f"{V1.digest}?tag=ok&tag=not%20ok", V1.data, 400)
    assert code(answer) == "MANIFEST_INVALID"
    assert tree.files() == before


def test_a_tag_can_be_moved_to_a_manifest_by_sha512(filled: Client) -> None:
    put(filled, "v1", V1.data)
    digest = Digest.of(V1.data, "sha512")
    put(filled, f"{digest}?tag=v1", V1.data)
    found = filled("GET", MANIFESTS + "v1", status=200)
    assert (found.content, found.headers["Docker-Content-Digest"]) == (V1.data, digest)


def test_a_subject_is_acknowledged_and_need_not_be_there(client: Client, tree: TreeBuilder) -> None:
    about = artifact(subject=V1)
    pusher(tree).before("team/app", about)
    assert put(client, about.digest, about.data).headers["OCI-Subject"] == V1.digest


def test_missing_referents_are_named(client: Client, tree: TreeBuilder) -> None:
    answer = put(client, "v1", V1.data, 404)
    assert code(answer) == "MANIFEST_BLOB_UNKNOWN"
    assert set(answer.json()["errors"][0]["detail"]) == {blob.digest for blob in V1.blobs}
    answer = put(client, "multi", index(V1).data, 404, OCI_INDEX)
    assert code(answer) == "MANIFEST_BLOB_UNKNOWN"
    assert tree.files() == {}


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", OCI_MANIFEST),
        (b"not json", OCI_MANIFEST),
        (b"\xff\xfe", OCI_MANIFEST),
        (V1.data[:-1], OCI_MANIFEST),
        (V1.data, OCI_INDEX),
        (V1.data, "application/vnd.example"),
        (raw({**V1.document, "mediaType": "application/vnd.example"}).data, OCI_MANIFEST),
        (b"[" * 200_000, OCI_MANIFEST),
    ],
)
def test_an_invalid_manifest_is_refused(filled: Client, content: bytes, media_type: str) -> None:
    assert code(put(filled, "v1", content, 400, media_type)) == "MANIFEST_INVALID"


def test_another_digest_than_that_of_the_manifest(filled: Client, tree: TreeBuilder) -> None:
    before = tree.files()
    for digest in (SHA256, SHA512):
        assert code(put(filled, digest, V1.data, 400)) == "DIGEST_INVALID"
    assert code(put(filled, "sha256:x", V1.data, 400)) == "DIGEST_INVALID"
    assert tree.files() == before


@pytest.mark.parametrize("told", [True, False])
def test_a_manifest_must_not_be_too_large(tree: TreeBuilder, told: bool) -> None:
    pusher(tree).before("team/app", V1)
    with hosted(tree.root, writable=True, max_manifest=10_000) as url:
        padded = V1.data + b" " * (10_000 - len(V1.data))
        put(Client(url), "v1", padded)
        larger: Any = padded + b" "
        answer = put(Client(url), "v2", larger if told else pieces(larger), 413)  # type: ignore[arg-type]
        assert code(answer) == "MANIFEST_INVALID"
    assert tree.tags("team/app") == ["v1"]


def test_four_megabytes_are_not_too_large(filled: Client) -> None:
    padded = V1.data + b" " * (4 * 1024 * 1024 - len(V1.data))
    put(filled, "v1", padded)
    put(filled, "v2", padded + b" ", 413)


# -- modes and runs -----------------------------------------------------------------------------


def test_a_read_only_server_refuses_pushes(tree: TreeBuilder) -> None:
    before = tree.files("")
    with hosted(tree.root) as url:
        client = Client(url)
        for method, path in (
            ("POST", UPLOADS),
            ("POST", f"{UPLOADS}?digest={SHA256}"),
            ("POST", f"{UPLOADS}?mount={SHA256}&from=base"),
            ("PATCH", UPLOADS + "0190f3c0-0000-7000-8000-000000000000"),
            ("PUT", UPLOADS + f"0190f3c0-0000-7000-8000-000000000000?digest={SHA256}"),
            ("PUT", MANIFESTS + "v1"),
        ):
            assert code(client(method, path, DATA, 405)) == "UNSUPPORTED"
    assert tree.files("") == before


def test_pushes_during_a_run_get_503(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    pusher(tree).before("team/app", V1)
    pusher(tree).add_blob("base", Blob(DATA))
    monkeypatch.setattr(app, "Uploads", functools.partial(Uploads, timeout=0))
    monkeypatch.setattr(app, "Publisher", functools.partial(Publisher, timeout=0))
    with hosted(tree.root, writable=True) as url:
        client = Client(url)
        place = client.begin()
        with lock.exclusive(open_store(str(tree.root))):
            for answer in (
                client.complete(place, SHA256, DATA, 503),
                client("POST", f"{UPLOADS}?mount={SHA256}&from=base", status=503),
                client("POST", f"{UPLOADS}?digest={SHA256}", DATA, 503),
                put(client, "v1", V1.data, 503),
            ):
                assert code(answer) == "TOOMANYREQUESTS"
                assert int(answer.headers["Retry-After"]) > 0
            client("GET", "/v2/", status=200)
        client.complete(place, SHA256)
        put(client, "v1", V1.data)


def test_reads_do_not_wait_for_a_run(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    pusher(tree).before("team/app", V1)
    monkeypatch.setattr(app, "Publisher", functools.partial(Publisher, timeout=300))
    answers: list[int] = []
    with hosted(tree.root, writable=True) as url:

        def work(number: int) -> None:
            answers.append(put(Client(url), f"v{number}", V1.data).status_code)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        with lock.exclusive(open_store(str(tree.root))):
            for thread in threads:
                thread.start()
            for _ in range(5):
                Client(url)("GET", f"/v2/team/app/blobs/{V1.blobs[0].digest}", status=200)
            assert answers == []
        for thread in threads:
            thread.join()
    assert answers == [201] * 40


@pytest.mark.parametrize(
    "name", ["..", "a/../../b", "%2e%2e/x", "a%2f..%2fb", "_uploads", "a/_layers/b", "a%00b", "//"]
)
def test_paths_cannot_leave_the_repositories(client: Client, tree: TreeBuilder, name: str) -> None:
    head = f"POST /v2/{name}/blobs/uploads/ HTTP/1.1\r\nContent-Length: 0"
    with half_sent(client, head, b"") as connection:
        assert re.match(rb"HTTP/1.1 4(00|04) ", connection.recv(65536))
    assert tree.files("") == {}


# -- a disk that is full ------------------------------------------------------------------------


def test_a_full_disk_is_reported_and_leaves_no_partial_links(
    filled: Client, tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = filled.begin()
    before = tree.files()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files, "_write_all", full)
        for answer in (
            filled("POST", UPLOADS, status=507),
            filled("PATCH", place, DATA, 507),
            filled("POST", f"{UPLOADS}?digest={SHA256}", DATA, 507),
            put(filled, "v1", V1.data, 507),
        ):
            assert code(answer) == "DENIED"
            assert "no space left on the device" in answer.json()["errors"][0]["message"]
    gone = {path for path in before.keys() - tree.files().keys() if "/_uploads/" not in path}
    assert not gone
    new = tree.files().keys() - before.keys()
    assert all("/_uploads/" in path for path in new)
    filled.complete(place, SHA256, DATA)
    put(filled, "v1", V1.data)
