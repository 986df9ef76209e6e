"""One tree, two registries: each serves and collects what the other has written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.digest import Digest
from tests.support.builder import (
    OCI_MANIFEST,
    Blob,
    Content,
    TreeBuilder,
    artifact,
    buildkit,
    image,
    index,
    layer,
)
from tests.support.client import UPLOADS, Client
from tests.support.pusher import pusher
from tests.support.reference import (
    ReferenceRegistry,
    collect,
    copy,
    make_oci_layout,
    needs_reference,
    pull_all,
)
from tests.support.server import hosted
from tests.support.verification import check, codes

DATA = b"0123456789" * 30
SHA256 = Digest.of(DATA)
BASE = layer({"base": b"base" * 1000})
V1, V2 = image([BASE, "one"]), image([BASE, "two"])
IMAGES: dict[str, Content] = {
    "image": V1,
    "multi": index(V1, image([BASE, "arm"], platform="linux/arm64")),
    "buildkit": buildkit(V2),
    "artifact": artifact(),
}
DOCKER = image([BASE, "one"], docker=True)
"""Of which an OCI layout holds none."""


def at(url: str, reference: str) -> str:
    """Return how skopeo names an image of a registry of regfs."""
    return f"docker://{url.removeprefix('http://')}/{reference}"


def skopeo_push(layout: Path, tag: str, target: str) -> None:
    copy(f"oci:{layout}:{tag}", target, "--all", "--preserve-digests")


def skopeo_convert(layout: Path, tag: str, target: str) -> None:
    """Push an image as Docker's schema 2, with a config made for it."""
    copy(f"oci:{layout}:{tag}", target, "--format", "v2s2")


@needs_reference
@pytest.mark.parametrize("tag", IMAGES)
def test_skopeo_pushes_the_same_files_to_both(tmp_path: Path, tag: str) -> None:
    layout = tmp_path / "layout"
    make_oci_layout(layout, {tag: IMAGES[tag], "again": V2})
    ours, theirs = TreeBuilder(tmp_path / "ours"), TreeBuilder(tmp_path / "theirs")
    with hosted(ours.root, writable=True) as url:
        for name in (tag, "again", tag):
            skopeo_push(layout, name, at(url, "team/app:v1"))
        skopeo_push(layout, tag, at(url, "other:v1"))
        skopeo_convert(layout, "again", at(url, "other:docker"))
    with ReferenceRegistry(theirs.root) as registry:
        for name in (tag, "again", tag):
            skopeo_push(layout, name, registry.image("team/app:v1"))
        skopeo_push(layout, tag, registry.image("other:v1"))
        skopeo_convert(layout, "again", registry.image("other:docker"))
    assert ours.files() == theirs.files()
    assert ours.folders() == theirs.folders()
    for path in ours.files():
        if path.endswith("/link"):
            assert (ours.root / path).read_bytes() == (theirs.root / path).read_bytes()


@needs_reference
def test_the_reference_serves_and_collects_what_was_pushed_here(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    make_oci_layout(tmp_path / "layout", IMAGES)
    with hosted(tree.root, writable=True, delete=True) as url:
        for tag in IMAGES:
            skopeo_push(tmp_path / "layout", tag, at(url, f"app:{tag}"))
        skopeo_push(tmp_path / "layout", "image", at(url, "app:gone"))
        pusher(tree).push("app", "docker", DOCKER)
        client = Client(url)
        client("DELETE", "/v2/app/manifests/gone", status=202)
        client("DELETE", f"/v2/app/manifests/{DOCKER.digest}", status=202)
    assert codes(check(tree)) == []
    gone = collect(tree.root, dry_run=False)
    assert gone.returncode == 0, gone.output
    shared = {blob.digest for blob in V1.blobs}
    only = {blob.digest for blob in DOCKER.blobs} - shared
    assert gone.blobs == {DOCKER.digest, *only}
    with ReferenceRegistry(tree.root) as registry:
        for tag in IMAGES:
            pull_all(registry.image(f"app:{tag}"), tmp_path / tag)
        for missing in ("gone", "docker"):
            assert pull_all(
                registry.image(f"app:{missing}"), tmp_path / missing, check=False
            ).returncode
        registry.push("app", "after", V2)


@needs_reference
def test_here_is_served_and_deleted_what_was_pushed_there(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    with ReferenceRegistry(tree.root) as registry:
        for tag, content in {**IMAGES, "docker": DOCKER}.items():
            registry.push("app", tag, content)
    with hosted(tree.root, writable=True, delete=True) as url:
        for tag in (*IMAGES, "docker"):
            pull_all(at(url, f"app:{tag}"), tmp_path / tag)
        client = Client(url)
        client("DELETE", f"/v2/app/manifests/{IMAGES['artifact'].digest}", status=202)
        client("DELETE", "/v2/app/manifests/docker", status=202)
    with ReferenceRegistry(tree.root) as registry:
        assert registry.request("GET", "/v2/app/manifests/docker").status == 404
        pull_all(registry.image("app:multi"), tmp_path / "again")
    gone = collect(tree.root, dry_run=False)
    assert gone.returncode == 0
    assert IMAGES["artifact"].digest in gone.blobs
    assert set(codes(check(tree))) == {"link-dangling"}  # it leaves the links of layers


@needs_reference
def test_an_upload_begun_there_goes_on_here(tree: TreeBuilder) -> None:
    with ReferenceRegistry(tree.root) as registry:
        place = registry.send(registry.begin_upload("team/app"), DATA[:100])
    upload = place.partition("?")[0].rpartition("/")[2]
    with hosted(tree.root, writable=True) as url:
        client = Client(url)
        assert client("GET", UPLOADS + upload, status=204).headers["Range"] == "0-99"
        client.complete(UPLOADS + upload, SHA256, DATA[100:])
    assert set(tree.files()) == {
        tree.relative(tree.blob_path(SHA256)),
        tree.relative(tree.layer_path("team/app", SHA256)),
    }
    with ReferenceRegistry(tree.root) as registry:
        assert registry.request("GET", f"/v2/team/app/blobs/{SHA256}").body == DATA


@needs_reference
def test_an_upload_begun_here_is_not_harmed_there(tree: TreeBuilder) -> None:
    """The reference wants a state that only it can sign, and says that there is no such upload."""
    with hosted(tree.root, writable=True) as url:
        place = Client(url).begin()
        Client(url).patch(place, 0, DATA[:100])
    before = tree.files()
    with ReferenceRegistry(tree.root) as registry:
        assert registry.request("PATCH", place, DATA[100:]).status == 404
    assert tree.files() == before
    with hosted(tree.root, writable=True) as url:
        Client(url).complete(place, SHA256, DATA[100:])
    assert tree.blob_path(SHA256).read_bytes() == DATA


@needs_reference
def test_what_the_reference_can_do_with_sha512(tree: TreeBuilder) -> None:
    """It serves real blobs and manifests of sha512, and keeps them when it collects."""
    content = image([Blob(BASE, algorithm="sha512")])
    digest = Digest.of(content.data, "sha512")
    with hosted(tree.root, writable=True) as url:
        client = Client(url)
        for blob in content.blobs:
            client("POST", f"/v2/app/blobs/uploads/?digest={blob.digest}", blob.data, 201)
        client("PUT", "/v2/app/manifests/v1", content.data, 201, Content_Type=OCI_MANIFEST)
        where = f"/v2/app/manifests/{digest}?tag=v2"
        client("PUT", where, content.data, 201, Content_Type=OCI_MANIFEST)
    accept = {"Accept": OCI_MANIFEST}
    with ReferenceRegistry(tree.root) as registry:
        found = registry.request("GET", f"/v2/app/blobs/{content.blobs[1].digest}")
        assert (found.status, found.body) == (200, BASE)
        for reference in ("v1", "v2", content.digest, digest):
            found = registry.request("GET", f"/v2/app/manifests/{reference}", headers=accept)
            assert (found.status, found.body) == (200, content.data), reference
    before = tree.files()
    gone = collect(tree.root, dry_run=False)
    assert gone.returncode == 0, gone.output
    assert tree.files() == before, gone.output


@needs_reference
def test_a_push_there_after_a_push_here(
    tree: TreeBuilder, registry_server: Callable[[Path], ReferenceRegistry], tmp_path: Path
) -> None:
    """Both at one tree at the same time, as while one takes over from the other."""
    registry = registry_server(tree.root)
    make_oci_layout(tmp_path / "layout", IMAGES)
    with hosted(tree.root, writable=True) as url:
        skopeo_push(tmp_path / "layout", "multi", at(url, "app:one"))
        skopeo_push(tmp_path / "layout", "multi", registry.image("app:two"))
        skopeo_push(tmp_path / "layout", "image", registry.image("app:three"))
        skopeo_push(tmp_path / "layout", "image", at(url, "app:three"))
        pull_all(at(url, "app:two"), tmp_path / "two")
        pull_all(registry.image("app:one"), tmp_path / "one")
    assert codes(check(tree)) == []
