"""Deleting over HTTP: opencontainers/distribution-spec, spec.md, "Content Management"."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from regfs.push.manifests import Publisher
from regfs.runs import lock
from regfs.server import app
from regfs.stores import open_store
from tests.support.builder import OCI_MANIFEST, TreeBuilder, artifact, image, index
from tests.support.client import Client, code
from tests.support.pusher import pusher
from tests.support.server import hosted
from tests.support.verification import check, codes

V1, V2 = image(["base", "one"]), image(["base", "two"])
MANIFESTS, BLOBS = "/v2/team/app/manifests/", "/v2/team/app/blobs/"
CONFIG = V1.blobs[0].digest


@pytest.fixture
def client(tree: TreeBuilder) -> Iterator[Client]:
    """Return a client of a server that holds two images and an index of them."""
    one = pusher(tree)
    one.push("team/app", "v1", V1)
    one.push("team/app", "latest", V1)
    one.push("team/app", "v2", V2)
    one.push("team/app", "multi", index(V1, V2))
    one.push("other", "v1", V1)
    with hosted(tree.root, writable=True, delete=True) as url:
        yield Client(url)


def kept(tree: TreeBuilder) -> dict[str, str]:
    """Return every file that is no link of the repository: the bytes, and what others have."""
    mine = tree.relative(tree.repository_path("team/app"))
    return {path: data for path, data in tree.files().items() if not path.startswith(mine)}


def test_deleting_a_tag_removes_it_and_nothing_else(client: Client, tree: TreeBuilder) -> None:
    before = kept(tree)
    client("DELETE", MANIFESTS + "v1", status=202)
    assert code(client("GET", MANIFESTS + "v1", status=404)) == "MANIFEST_UNKNOWN"
    assert code(client("DELETE", MANIFESTS + "v1", status=404)) == "MANIFEST_UNKNOWN"
    client("GET", MANIFESTS + "latest", status=200)
    client("GET", MANIFESTS + V1.digest, status=200)
    assert client("GET", "/v2/team/app/tags/list").json()["tags"] == ["latest", "multi", "v2"]
    assert kept(tree) == before


def test_deleting_a_manifest_deletes_its_tags(client: Client, tree: TreeBuilder) -> None:
    before = kept(tree)
    client("DELETE", MANIFESTS + V1.digest, status=202)
    for reference in (V1.digest, "v1", "latest"):
        assert code(client("GET", MANIFESTS + reference, status=404)) == "MANIFEST_UNKNOWN"
    assert code(client("DELETE", MANIFESTS + V1.digest, status=404)) == "MANIFEST_UNKNOWN"
    client("GET", MANIFESTS + "v2", status=200)
    client("GET", MANIFESTS + "multi", status=200)
    client("GET", f"/v2/other/manifests/{V1.digest}", status=200)
    assert kept(tree) == before


def test_deleting_a_blob_removes_its_link(client: Client, tree: TreeBuilder) -> None:
    before = kept(tree)
    client("DELETE", BLOBS + CONFIG, status=202)
    assert code(client("GET", BLOBS + CONFIG, status=404)) == "BLOB_UNKNOWN"
    assert code(client("DELETE", BLOBS + CONFIG, status=404)) == "BLOB_UNKNOWN"
    client("GET", f"/v2/other/blobs/{CONFIG}", status=200)
    assert kept(tree) == before


def test_a_deleted_image_can_be_pushed_again(client: Client, tree: TreeBuilder) -> None:
    client("DELETE", MANIFESTS + V1.digest, status=202)
    for blob in V1.blobs:
        client("DELETE", BLOBS + blob.digest, status=202)
    client("PUT", MANIFESTS + "v1", V1.data, 404, Content_Type=OCI_MANIFEST)
    for blob in V1.blobs:
        client("POST", f"{BLOBS}uploads/?mount={blob.digest}&from=other", status=201)
    client("PUT", MANIFESTS + "v1", V1.data, 201, Content_Type=OCI_MANIFEST)
    assert codes(check(tree)) == []


def test_a_referrer_is_no_longer_listed(client: Client, tree: TreeBuilder) -> None:
    about = artifact(subject=V1)
    pusher(tree).push("team/app", None, about)
    listed = client("GET", f"/v2/team/app/referrers/{V1.digest}", status=200).json()["manifests"]
    assert [entry["digest"] for entry in listed] == [about.digest]
    client("DELETE", MANIFESTS + about.digest, status=202)
    assert (
        client("GET", f"/v2/team/app/referrers/{V1.digest}", status=200).json()["manifests"] == []
    )


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        (MANIFESTS + "v3", 404, "MANIFEST_UNKNOWN"),
        (MANIFESTS + CONFIG, 404, "MANIFEST_UNKNOWN"),  # it is there, as a blob
        (BLOBS + V1.digest, 404, "BLOB_UNKNOWN"),  # it is there, as a manifest
        ("/v2/team/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/missing/manifests/{V1.digest}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/missing/blobs/{CONFIG}", 404, "BLOB_UNKNOWN"),
        (MANIFESTS + "sha256:x", 400, "DIGEST_INVALID"),
        (BLOBS + "x", 400, "DIGEST_INVALID"),
        (MANIFESTS + ".hidden", 400, "MANIFEST_INVALID"),
        ("/v2/team/app/tags/list", 405, "UNSUPPORTED"),
        ("/v2/_catalog", 405, "UNSUPPORTED"),
    ],
)
def test_deleting_something_absent_is_404(
    client: Client, tree: TreeBuilder, path: str, status: int, told: str
) -> None:
    before = tree.files()
    assert code(client("DELETE", path, status=status)) == told
    assert tree.files() == before


@pytest.mark.parametrize("settings", [{}, {"writable": True}, {"delete": True}])
def test_deleting_needs_the_option(tree: TreeBuilder, settings: dict[str, Any]) -> None:
    pusher(tree).push("team/app", "v1", V1)
    before = tree.files()
    with hosted(tree.root, **settings) as url:
        for path in (MANIFESTS + "v1", MANIFESTS + V1.digest, BLOBS + CONFIG):
            assert code(Client(url)("DELETE", path, status=405)) == "UNSUPPORTED"
    assert tree.files() == before


def test_nothing_is_deleted_while_a_run_is_under_way(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher(tree).push("team/app", "v1", V1)
    before = tree.files()
    monkeypatch.setattr(app, "Publisher", functools.partial(Publisher, timeout=0))
    with hosted(tree.root, writable=True, delete=True) as url:
        with lock.exclusive(open_store(str(tree.root))):
            for path in (MANIFESTS + "v1", MANIFESTS + V1.digest, BLOBS + CONFIG):
                answer = Client(url)("DELETE", path, status=503)
                assert code(answer) == "TOOMANYREQUESTS"
                assert "Retry-After" in answer.headers
        assert tree.files() == before
        Client(url)("DELETE", MANIFESTS + "v1", status=202)
