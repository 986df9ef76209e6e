"""Pulling: manifests and blobs, clause by clause of the distribution spec, and damaged trees."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from regfs.tree.referrers import Referrers
from regfs.tree.registry import Registry
from tests.support.builder import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    TreeBuilder,
    digest_of,
    image,
    index,
    raw,
    schema1,
)
from tests.support.exchange import TIMEOUT, Answer, ask, get
from tests.support.images import dumps
from tests.support.reference import ReferenceRegistry, needs_reference, pull_all
from tests.support.server import hosted

EVERY_TYPE = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))


def assert_is(answer: Answer, content: Content) -> None:
    """Be sure that a manifest was sent whole, under its own name."""
    assert answer.status == 200
    assert answer.body == content.data
    assert answer["Content-Type"] == content.media_type
    assert answer["Docker-Content-Digest"] == content.digest
    assert answer["Content-Length"] == str(len(content.data))


# -- manifests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        image(),
        image(media_type=False),
        image(docker=True),
        index(image()),
        index(image(docker=True), docker=True),
        schema1("app", "v1"),
    ],
    ids=["oci", "oci-untyped", "docker", "index", "list", "schema1"],
)
@pytest.mark.parametrize("accept", [None, "*/*", "application/json", EVERY_TYPE])
def test_a_manifest_is_sent_as_it_was_pushed(
    tree: TreeBuilder, content: Content, accept: str | None
) -> None:
    tree.push("app", "v1", content)
    headers = {} if accept is None else {"Accept": accept}
    with hosted(tree.root) as url:
        for reference in ("v1", content.digest):
            assert_is(get(url, f"/v2/app/manifests/{reference}", **headers), content)


def test_a_manifest_is_sent_though_accept_has_another_type(tree: TreeBuilder) -> None:
    """A list is not replaced by one of its images: the digest told is the one of the tag."""
    multi = index(image(docker=True), docker=True)
    tree.push("app", "multi", multi)
    with hosted(tree.root) as url:
        assert_is(get(url, "/v2/app/manifests/multi", Accept=DOCKER_MANIFEST), multi)


def test_head_has_the_headers_of_get(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    blob = content.blobs[0]
    with hosted(tree.root) as url:
        for path in (
            "manifests/v1",
            f"manifests/{content.digest}",
            f"blobs/{blob.digest}",
        ):
            head, whole = (ask(url, method, f"/v2/app/{path}") for method in ("HEAD", "GET"))
            assert head.status == whole.status == 200
            assert head.body == b""
            names = {"content-length", "content-type", "docker-content-digest", "etag"}
            for name in names:
                assert head[name] == whole[name] is not None, name


def test_absent_content_is_404(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    other = digest_of(b"other")
    unknown = [
        ("app/manifests/v2", "MANIFEST_UNKNOWN"),
        (f"app/manifests/{other}", "MANIFEST_UNKNOWN"),
        ("nobody/manifests/v1", "MANIFEST_UNKNOWN"),
        ("app/manifests/.not-a-tag", "MANIFEST_UNKNOWN"),
        (f"app/manifests/{'x' * 129}", "MANIFEST_UNKNOWN"),
        (f"app/blobs/{other}", "BLOB_UNKNOWN"),
        (f"nobody/blobs/{content.blobs[0].digest}", "BLOB_UNKNOWN"),
    ]
    with hosted(tree.root) as url:
        for path, code in unknown:
            answer = get(url, f"/v2/{path}")
            assert (answer.status, answer.code) == (404, code), path
            assert answer["Docker-Distribution-API-Version"] == "registry/2.0"
            head = ask(url, "HEAD", f"/v2/{path}")
            assert (head.status, head.body) == (404, b"")


@pytest.mark.parametrize("digest", ["sha256:ab", "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha256"])
def test_an_invalid_digest_is_refused(tree: TreeBuilder, digest: str) -> None:
    tree.push("app", "v1")
    with hosted(tree.root) as url:
        answer = get(url, f"/v2/app/blobs/{digest}")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_the_longest_tag_and_a_nested_name(tree: TreeBuilder) -> None:
    content = image()
    tag, name = "t" * 128, "a/b-c/d__e/tags/list"
    tree.push(name, tag, content)
    with hosted(tree.root) as url:
        assert_is(get(url, f"/v2/{name}/manifests/{tag}"), content)


@pytest.mark.parametrize("spelling", ["{}", '"{}"', 'W/"{}"', '"other", "{}"', "other,{}", "*"])
def test_if_none_match_gets_304(tree: TreeBuilder, spelling: str) -> None:
    content = image()
    tree.push("app", "v1", content)
    blob = content.blobs[0].digest
    with hosted(tree.root) as url:
        for path, digest in (("manifests/v1", content.digest), (f"blobs/{blob}", blob)):
            known = spelling.format(digest)
            answer = get(url, f"/v2/app/{path}", If_None_Match=known)
            assert (answer.status, answer.body) == (304, b"")
            assert answer["ETag"] == f'"{digest}"'
            other = spelling.replace("*", "x").format(digest_of(b"other"))
            assert get(url, f"/v2/app/{path}", If_None_Match=other).status == 200


def test_if_none_match_of_missing_content_gets_404(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    tree.delete_revision("app", content.digest)
    with hosted(tree.root) as url:
        answer = get(url, "/v2/app/manifests/v1", If_None_Match=content.digest)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


def test_if_match(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    blob = content.blobs[0].digest
    with hosted(tree.root) as url:
        for path, digest in (("manifests/v1", content.digest), (f"blobs/{blob}", blob)):
            for known, status in ((f'"{digest}"', 200), ("*", 200), ('"x"', 412)):
                answer = get(url, f"/v2/app/{path}", If_Match=known)
                assert answer.status == status, known
            assert get(url, f"/v2/app/{path}", If_Match=f'W/"{digest}"').status == 412


# -- links -----------------------------------------------------------------------------


def test_a_blob_without_a_link_is_404(tree: TreeBuilder) -> None:
    """A blob or manifest of another repository is not to be read through this one."""
    secret, plain = image(["secret"]), image(["plain"])
    tree.push("secret", "v1", secret)
    tree.push("app", "v1", plain)
    tree.tag("app", "stolen", secret.digest)
    with hosted(tree.root) as url:
        for reference in ("stolen", secret.digest):
            answer = get(url, f"/v2/app/manifests/{reference}")
            assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        for blob in secret.blobs:
            assert get(url, f"/v2/app/blobs/{blob.digest}").status == 404
            assert get(url, f"/v2/secret/blobs/{blob.digest}").body == blob.data


def test_a_manifest_is_no_blob_of_its_repository(tree: TreeBuilder) -> None:
    """Else who pushes it as a layer would leave that out, and be refused for it."""
    content = image()
    tree.push("app", "v1", content)
    with hosted(tree.root) as url:
        assert get(url, f"/v2/app/blobs/{content.digest}").status == 404
        tree.layer_link("app", content.digest)
        assert get(url, f"/v2/app/blobs/{content.digest}").body == content.data


def test_a_manifest_linked_as_registry_2_1_did(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    tree.revision_path("app", content.digest).unlink()
    tree.layer_link("app", content.digest)
    with hosted(tree.root) as url:
        assert_is(get(url, "/v2/app/manifests/v1"), content)
        config = content.blobs[0].digest
        answer = get(url, f"/v2/app/manifests/{config}")  # a layer link, and no manifest
        assert answer.status == 200 and answer["Content-Type"] == "application/octet-stream"


def test_content_stored_by_sha512(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    digest = digest_of(content.data, "sha512")
    tree.write(tree.blob_path(digest), content.data)
    tree.revision("app", digest)
    tree.layer_link("app", digest)
    tree.tag("app", "long", digest)
    with hosted(tree.root) as url:
        for path in ("manifests/long", f"manifests/{digest}", f"blobs/{digest}"):
            answer = get(url, f"/v2/app/{path}")
            assert (answer.status, answer.body) == (200, content.data)
            assert answer["Docker-Content-Digest"] == digest


def test_content_pushed_by_sha512_and_stored_by_sha256(tree: TreeBuilder) -> None:
    """docker-registry links the long digest to the short one."""
    content = image()
    tree.push("app", "v1", content)
    short = content.blobs[1].digest
    long = digest_of(content.blobs[1].data, "sha512")
    tree.layer_link("app", long, short)
    manifest = digest_of(content.data, "sha512")
    tree.write(tree.revision_path("app", manifest), content.digest)
    with hosted(tree.root) as url:
        blob = get(url, f"/v2/app/blobs/{long}")
        assert (blob.status, blob.body) == (200, content.blobs[1].data)
        assert blob["Docker-Content-Digest"] == long
        answer = get(url, f"/v2/app/manifests/{manifest}")
        assert (answer.status, answer.body) == (200, content.data)


def test_a_link_to_other_bytes_is_404(tree: TreeBuilder) -> None:
    content, other = image(), image(["other"])
    tree.push("app", "v1", content)
    tree.push("app", "v2", other)
    long = digest_of(content.data, "sha512")
    tree.write(tree.revision_path("app", content.digest), other.digest)
    tree.write(tree.revision_path("app", long), other.digest)
    layer = content.blobs[1].digest
    tree.layer_link("app", layer, other.blobs[1].digest)
    with hosted(tree.root) as url:
        for path in ("manifests/v1", f"manifests/{content.digest}", f"manifests/{long}"):
            assert get(url, f"/v2/app/{path}").code == "MANIFEST_UNKNOWN"
        for method in ("GET", "HEAD"):
            assert ask(url, method, f"/v2/app/blobs/{layer}").status == 404


# -- damage ----------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"x" * (4 * 1024 * 1024 + 1)])
def test_a_damaged_manifest_is_404(tree: TreeBuilder, data: bytes) -> None:
    content = image()
    tree.push("app", "v1", content)
    tree.write(tree.blob_path(content.digest), data)
    with hosted(tree.root) as url:
        for reference in ("v1", content.digest):
            answer = get(url, f"/v2/app/manifests/{reference}")
            assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
            assert "push it again" in answer.json()["errors"][0]["message"]
            assert ask(url, "HEAD", f"/v2/app/manifests/{reference}").status == 404
        tree.write(tree.blob_path(content.digest), content.data)
        assert_is(get(url, "/v2/app/manifests/v1"), content)


def test_a_manifest_whose_content_is_gone(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    tree.delete_blob(content.digest)
    with hosted(tree.root) as url:
        for method in ("GET", "HEAD"):
            assert ask(url, method, "/v2/app/manifests/v1").status == 404
        assert get(url, "/v2/app/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_a_manifest_with_one_flipped_bit_is_404(tree: TreeBuilder) -> None:
    content = image()
    tree.push("app", "v1", content)
    tree.write(tree.blob_path(content.digest), content.data.replace(b"linux", b"Linux") + b" ")
    with hosted(tree.root) as url:
        assert get(url, "/v2/app/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_bytes_that_are_no_manifest(tree: TreeBuilder) -> None:
    content = raw(b"hello")
    tree.push("app", "v1", content)
    with hosted(tree.root) as url:
        assert get(url, "/v2/app/manifests/v1").code == "MANIFEST_UNKNOWN"


@pytest.mark.parametrize(
    "media_type",
    ["text/html", "application/x\r\nSet-Cookie: a=b", "application/json; charset=x", "", 7, None],
)
def test_no_manifest_chooses_any_header_it_likes(tree: TreeBuilder, media_type: Any) -> None:
    content = raw(dumps({"schemaVersion": 2, "mediaType": media_type, "x": "<script>"}))
    tree.push("app", "v1", content)
    with hosted(tree.root) as url:
        answer = get(url, "/v2/app/manifests/v1")
        assert (answer.status, answer.body) == (200, content.data)
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Set-Cookie"] is None


def test_a_manifest_of_a_type_nobody_knows(tree: TreeBuilder) -> None:
    kind = "application/vnd.example.thing.v1+json"
    content = raw(dumps({"mediaType": kind, "x": 1}), kind)
    tree.push("app", "v1", content)
    with hosted(tree.root) as url:
        assert_is(get(url, "/v2/app/manifests/v1"), content)


@pytest.mark.parametrize("text", ["", "\n", "sha256:ab", "../../../etc/passwd"])
def test_links_that_name_no_digest(tree: TreeBuilder, text: str) -> None:
    content = image()
    tree.push("app", "v1", content)
    layer = content.blobs[1].digest
    tree.write(tree.layer_path("app", layer), text)
    tree.write(tree.tag_path("app", "v1"), text)
    with hosted(tree.root) as url:
        assert get(url, f"/v2/app/blobs/{layer}").code == "BLOB_UNKNOWN"
        assert get(url, "/v2/app/manifests/v1").code == "MANIFEST_UNKNOWN"
        tree.write(tree.revision_path("app", content.digest), text)
        answer = get(url, f"/v2/app/manifests/{content.digest}")
        assert answer.code == "MANIFEST_UNKNOWN"


def test_an_empty_data_file_is_404(tree: TreeBuilder) -> None:
    """A crash of docker-registry leaves such files; a client must push the blob again."""
    content = image()
    tree.push("app", "v1", content)
    layer = content.blobs[1].digest
    tree.write(tree.blob_path(layer), b"")
    with hosted(tree.root) as url:
        for method in ("GET", "HEAD"):
            assert ask(url, method, f"/v2/app/blobs/{layer}").status == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_empty_blob(tree: TreeBuilder, algorithm: str) -> None:
    digest = digest_of(b"", algorithm)
    tree.write(tree.blob_path(digest), b"")
    tree.layer_link("app", digest)
    with hosted(tree.root) as url:
        for method in ("GET", "HEAD"):
            answer = ask(url, method, f"/v2/app/blobs/{digest}")
            assert (answer.status, answer["Content-Length"]) == (200, "0")


def test_what_stands_in_the_place_of_a_blob(tree: TreeBuilder, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    content = image(["a", "b", "c"])
    tree.push("app", "v1", content)
    folder, fifo, link, ended = (tree.blob_path(blob.digest) for blob in content.blobs)
    for path in (folder, fifo, link):
        path.unlink()
    folder.mkdir()
    os.mkfifo(fifo)
    link.symlink_to(outside)
    ended.chmod(stat.S_IRUSR)
    with hosted(tree.root) as url:
        for blob in content.blobs[:3]:
            for method in ("GET", "HEAD"):
                answer = ask(url, method, f"/v2/app/blobs/{blob.digest}")
                assert answer.status == 404
                assert b"secret" not in answer.body
        assert get(url, f"/v2/app/blobs/{content.blobs[3].digest}").status == 200


# -- connections -----------------------------------------------------------------------


def test_a_large_blob_is_sent_whole_again_and_again(tree: TreeBuilder) -> None:
    data = os.urandom(5_000_001)
    content = image([data])
    tree.push("app", "v1", content)
    path = f"/v2/app/blobs/{content.blobs[1].digest}"
    with hosted(tree.root) as url:
        for _ in range(3):
            answer = get(url, path)
            assert answer.body == data
            assert answer["Docker-Distribution-API-Version"] == "registry/2.0"


def test_a_client_that_leaves_leaks_nothing(
    tree: TreeBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    content = image([os.urandom(20_000_000)])
    tree.push("app", "v1", content)
    path = f"/v2/app/blobs/{content.blobs[1].digest}"
    with hosted(tree.root) as url:
        where = urlsplit(url)
        for _ in range(3):
            with socket.create_connection((where.hostname, where.port or 0)) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert get(url, path).status == 200
    assert not caplog.records


def test_a_file_that_ends_too_early_ends_the_connection(tree: TreeBuilder) -> None:
    """A client must not wait for bytes that do not come, nor take what it has for all."""
    content = image([os.urandom(30_000_000)])
    tree.push("app", "v1", content)
    blob = content.blobs[1]
    with hosted(tree.root) as url:
        where = urlsplit(url)
        with socket.create_connection((where.hostname, where.port or 0), timeout=60) as client:
            request = f"GET /v2/app/blobs/{blob.digest} HTTP/1.1\r\nHost: x\r\n\r\n"
            client.sendall(request.encode())
            received = len(client.recv(1000))
            os.truncate(tree.blob_path(blob.digest), 1_000_000)
            while piece := client.recv(1 << 20):
                received += len(piece)
        assert received < len(blob.data)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What storage can be made to wait for, and is let go in any case."""
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.mark.parametrize(
    ("owner", "method", "what"), [(Registry, "layer", "blobs"), (Referrers, "of", "referrers")]
)
def test_requests_that_wait_for_storage_delay_no_others(
    tree: TreeBuilder,
    monkeypatch: pytest.MonkeyPatch,
    gate: threading.Event,
    owner: type,
    method: str,
    what: str,
) -> None:
    count = 12 if what == "blobs" else 60
    content = image()
    tree.push("app", "v1", content)
    whole = getattr(owner, method)
    began = threading.Semaphore(0)

    def slow(self: Any, *arguments: Any) -> Any:
        began.release()
        assert gate.wait(TIMEOUT)
        return whole(self, *arguments)

    monkeypatch.setattr(owner, method, slow)
    path = f"/v2/app/{what}/{content.blobs[0].digest}"
    with hosted(tree.root) as url, ThreadPoolExecutor(count) as clients:
        waiting = [clients.submit(get, url, path) for _ in range(count)]
        assert began.acquire(timeout=TIMEOUT)
        for _ in range(20):
            assert_is(get(url, "/v2/app/manifests/v1"), content)
        gate.set()
        assert {one.result().status for one in waiting} == {200}


# -- with the programs -------------------------------------------------------------------


@needs_reference
def test_skopeo_pulls_what_docker_registry_has_stored(tree: TreeBuilder, tmp_path: Path) -> None:
    multi = index(image(["a"]), image(["b"], platform="linux/arm64"))
    with ReferenceRegistry(tree.root) as registry:
        registry.push("team/app", "v1", image(["x", "y"]))
        registry.push("team/app", "docker", image(["x", "z"], docker=True))
        registry.push("team/app", "multi", multi)
    with hosted(tree.root) as url:
        address = urlsplit(url).netloc
        for tag in ("v1", "docker", "multi"):
            pull_all(f"docker://{address}/team/app:{tag}", tmp_path / tag)
        by_digest = tmp_path / "by-digest"
        pull_all(f"docker://{address}/team/app@{multi.digest}", by_digest)
        assert (by_digest / "manifest.json").read_bytes() == multi.data
