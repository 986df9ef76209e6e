"""Conditions of a push: a tag that is only made, or only moved from where a client knows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from regfs.digest import Digest
from tests.support.builder import OCI_MANIFEST, TreeBuilder, image
from tests.support.client import Client, code
from tests.support.pusher import pusher
from tests.support.reference import needs_programs, run
from tests.support.server import hosted

V1, V2 = image(["base", "one"]), image(["base", "two"])
TAG = "/v2/team/app/manifests/v1"


@pytest.fixture
def client(tree: TreeBuilder) -> Iterator[Client]:
    """Somebody who asks a server that has all layers, and no manifest."""
    for content in (V1, V2):
        pusher(tree).before("team/app", content)
    with hosted(tree.root, writable=True) as url:
        yield Client(url)


def put(client: Client, data: bytes, status: int, path: str = TAG, **headers: str) -> str:
    """Put a manifest; return the code of the error, if it is one."""
    answer = client("PUT", path, data, status, Content_Type=OCI_MANIFEST, **headers)
    return "" if status == 201 else code(answer)


def test_if_none_match_creates_a_tag_once(client: Client, tree: TreeBuilder) -> None:
    put(client, V1.data, 201, If_None_Match="*")
    before = tree.files()
    for content in (V1, V2):
        assert put(client, content.data, 412, If_None_Match="*") == "DENIED"
    assert tree.files() == before
    put(client, V2.data, 201)
    assert tree.current("team/app", "v1") == V2.digest


def test_a_tag_that_was_deleted_can_be_made_again(client: Client, tree: TreeBuilder) -> None:
    put(client, V1.data, 201)
    pusher(tree).publisher.delete_tag("team/app", "v1")
    put(client, V2.data, 201, If_None_Match="*")


def test_a_broken_tag_which_nobody_can_pull_can_be_made(client: Client, tree: TreeBuilder) -> None:
    put(client, V1.data, 201)
    tree.tag_path("team/app", "v1").write_bytes(b"")
    client("GET", TAG, status=404)
    put(client, V2.data, 201, If_None_Match="*")
    client("GET", TAG, status=200)


def test_if_match_moves_a_tag_only_from_that_digest(client: Client, tree: TreeBuilder) -> None:
    etag = f'"{V1.digest}"'
    put(client, V2.data, 412, If_Match=etag)
    put(client, V2.data, 412, If_Match="*")
    put(client, V1.data, 201)
    put(client, V2.data, 412, If_Match=f'"{V2.digest}"')
    put(client, V2.data, 412, If_None_Match=etag)
    put(client, V2.data, 201, If_Match=etag)
    put(client, V1.data, 412, If_Match=etag)
    assert tree.current("team/app", "v1") == V2.digest


def test_a_condition_applies_to_each_tag(client: Client, tree: TreeBuilder) -> None:
    put(client, V1.data, 201)
    path = f"/v2/team/app/manifests/{V2.digest}?tag=new&tag=v1"
    put(client, V2.data, 412, path, If_None_Match="*")
    assert tree.tags("team/app") == ["v1"]
    put(client, V2.data, 201, path)


def test_a_manifest_by_digest_is_made_once(client: Client) -> None:
    path = f"/v2/team/app/manifests/{Digest.of(V1.data)}"
    put(client, V1.data, 201, path, If_None_Match="*")
    put(client, V1.data, 412, path, If_None_Match="*")


def test_of_concurrent_creations_of_a_tag_one_succeeds(client: Client, tree: TreeBuilder) -> None:
    """Two releases with one version: the second must learn that it is taken."""
    won: list[str] = []

    def work(content: bytes, digest: str) -> None:
        one = Client(client.url)
        answer = one("PUT", TAG, content, Content_Type=OCI_MANIFEST, If_None_Match="*")
        assert answer.status_code in (201, 412)
        if answer.status_code == 201:
            won.append(digest)

    contents = [V1, V2] * 12
    threads = [threading.Thread(target=work, args=(one.data, one.digest)) for one in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [tree.current("team/app", "v1")]


@needs_programs("curl")
def test_curl_that_makes_a_tag(client: Client, tree: TreeBuilder) -> None:
    header = ["-H", f"Content-Type: {OCI_MANIFEST}", "-H", "If-None-Match: *"]
    command = ["curl", "-sS", "-X", "PUT", "-w", "%{http_code}", *header]
    told = [
        run(*command, "--data-binary", one.data.decode(), client.url + TAG).stdout
        for one in (V1, V2)
    ]
    assert [text[-3:] for text in told] == ["201", "412"]
