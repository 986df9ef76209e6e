"""Pushing manifests over HTTP, on servers that refuse, during runs, and on a full disk."""

from __future__ import annotations

import errno
import functools
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from regfs.digest import Digest
from regfs.push.manifests import Publisher
from regfs.push.uploads import Uploads
from regfs.runs import lock
from regfs.server import app
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
from tests.support.client import UPLOADS, Client, code, pieces
from tests.support.pusher import pusher
from tests.support.server import hosted

DATA = b"0123456789" * 30
SHA256, SHA512 = Digest.of(DATA), Digest.of(DATA, "sha512")
V1 = image(["base", "one"])


@pytest.fixture
def client(tree: TreeBuilder) -> Iterator[Client]:
    with hosted(tree.root, writable=True) as url:
        yield Client(url)


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
