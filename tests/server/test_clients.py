"""The clients people have, against `regfs serve` as a process: what they push and what they pull.

skopeo, podman, buildah, umoci and curl are real; what they leave in the tree is
verified by regfs, and pulled once more from a docker-registry that serves the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run as regfs
from tests.support.buildah import BUSYBOX, Builder, Podman
from tests.support.images import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    image,
    index,
    layer,
)
from tests.support.processes import RegfsServer, RegistryProcess
from tests.support.reference import (
    ReferenceRegistry,
    copy,
    inspect,
    make_oci_layout,
    needs_programs,
    needs_reference,
    pull_all,
    run,
)

Source = Callable[[str], str]

BASE = layer({"etc/hello": b"hello\n" * 100})
ONE = image([BASE, "top"])
DOCKER = image([BASE, "docker"], docker=True)
MULTI = index(image([BASE, "amd"]), image([BASE, "arm"], platform="linux/arm64"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with nothing in it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    return folder


@pytest.fixture
def server(root: Path) -> Iterator[RegfsServer]:
    """A server that takes everything."""
    with RegfsServer(root, "--writable", "--delete") as running:
        yield running


@pytest.fixture
def podman() -> Iterator[Podman]:
    """Podman with nothing in its storage."""
    with Podman() as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Return how skopeo names an image of each kind outside a registry: one, docker, multi."""
    make_oci_layout(tmp_path / "layout", {"one": ONE, "multi": MULTI})
    folder = tmp_path / "docker"  # an OCI layout holds none
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(DOCKER.data)
    for blob in DOCKER.blobs:
        (folder / blob.digest.partition(":")[2]).write_bytes(blob.data)
    return lambda kind: f"dir:{folder}" if kind == "docker" else f"oci:{tmp_path}/layout:{kind}"


def manifest(registry: RegistryProcess, name: str, tag: str) -> dict[str, Any]:
    """Return the manifest a registry gives of a tag, whatever kind it is."""
    kinds = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}"
    answer = registry.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": kinds})
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


def assert_whole(root: Path, *references: str, folder: Path) -> None:
    """Fail if anything in the tree is damaged, or docker-registry cannot serve these images."""
    assert regfs(["-r", str(root), "verify", "--level", "content", "-q"]) == 0
    with ReferenceRegistry(root) as reference:
        for number, image_name in enumerate(references):
            pull_all(reference.image(image_name), folder / str(number))


# skopeo


@needs_reference
@pytest.mark.parametrize(
    ("tag", "content"),
    [("one", ONE), ("docker", DOCKER), ("multi", MULTI)],
    ids=lambda v: str(v)[:6],
)
def test_skopeo_copies_in_and_out_byte_for_byte(
    server: RegfsServer, source: Source, tmp_path: Path, tag: str, content: Content
) -> None:
    copy(source(tag), server.image("team/app:v1"), "--all", "--preserve-digests")
    pull_all(server.image("team/app:v1"), tmp_path / "pulled")
    assert (tmp_path / "pulled/manifest.json").read_bytes() == content.data
    pull_all(server.image(f"team/app@{content.digest}"), tmp_path / "by digest")
    assert_whole(server.root, "team/app:v1", folder=tmp_path)


@needs_reference
def test_skopeo_copies_within_the_server_by_mounting(server: RegfsServer, source: Source) -> None:
    copy(source("one"), server.image("app:v1"))
    copy(server.image("app:v1"), server.image("other:v1"), "--preserve-digests")
    assert inspect(server.image("other:v1"))["Digest"] == ONE.digest
    assert list(server.root.glob("**/_uploads/*")) == []  # nothing was begun and left


@needs_reference
def test_skopeo_compresses_with_zstd_on_the_way_in(
    server: RegfsServer, source: Source, tmp_path: Path
) -> None:
    zstd = ("--dest-compress", "--dest-compress-format=zstd", "--format=oci")
    copy(source("one"), f"oci:{tmp_path / 'plain'}:one", "--dest-decompress")
    copy(f"oci:{tmp_path / 'plain'}:one", server.image("app:zstd"), *zstd)
    types = {each["mediaType"] for each in manifest(server, "app", "zstd")["layers"]}
    assert types == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert_whole(server.root, "app:zstd", folder=tmp_path)


@needs_reference
def test_skopeo_syncs_a_repository_out_and_another_registry_in(
    server: RegfsServer, source: Source, tmp_path: Path
) -> None:
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    sync = ("skopeo", "--insecure-policy", "sync", "--all", *plain)
    with ReferenceRegistry(tmp_path / "elsewhere") as other:
        for tag in ("one", "multi"):
            copy(source(tag), other.image(f"app:{tag}"), "--all", "--preserve-digests")
        from_there, to_here = f"{other.address}/app", f"{server.address}/mirror"
        run(*sync, "--src=docker", "--dest=docker", from_there, to_here)
    run(*sync, "--src=docker", "--dest=dir", f"{server.address}/mirror/app", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"app:multi", "app:one"}
    pulled = (tmp_path / "out/app:multi/manifest.json").read_bytes()
    assert pulled == MULTI.data
    listed = json.loads(run("skopeo", "list-tags", "--tls-verify=false",
                            server.image("mirror/app")).stdout)  # fmt: skip
    assert sorted(listed["Tags"]) == ["multi", "one"]
    assert_whole(server.root, "mirror/app:one", "mirror/app:multi", folder=tmp_path)


@needs_reference
def test_skopeo_deletes_an_image_and_what_is_shared_stays(
    server: RegfsServer, source: Source, tmp_path: Path
) -> None:
    copy(source("one"), server.image("app:v1"))
    copy(source("docker"), server.image("app:v2"))
    run("skopeo", "delete", "--tls-verify=false", server.image("app:v1"))
    gone = copy(server.image("app:v1"), f"dir:{tmp_path / 'gone'}", check=False)
    assert gone.returncode != 0
    assert "manifest unknown" in gone.stderr
    assert_whole(server.root, "app:v2", folder=tmp_path)


@needs_reference
def test_a_read_only_server_is_pulled_from_and_says_that_it_takes_no_push(
    root: Path, source: Source, tmp_path: Path
) -> None:
    with ReferenceRegistry(root) as reference:
        copy(source("multi"), reference.image("app:v1"), "--all", "--preserve-digests")
    with RegfsServer(root) as server:
        pull_all(server.image("app:v1"), tmp_path / "pulled")
        refused = copy(source("one"), server.image("app:v2"), check=False)
        deleted = run("skopeo", "delete", "--tls-verify=false", server.image("app:v1"), check=False)
    assert "read-only" in refused.stderr
    assert deleted.returncode != 0
    assert (tmp_path / "pulled/manifest.json").read_bytes() == MULTI.data


# podman and buildah


@needs_programs("podman", "docker-registry", "skopeo")
def test_podman_pushes_pulls_and_pushes_a_manifest_list(
    server: RegfsServer, podman: Podman, tmp_path: Path
) -> None:
    plain = ("--quiet", "--tls-verify=false")
    podman.build("scratch", {"/etc/motd": b"one\n"}, "localhost/app:v1")
    podman("push", *plain, "localhost/app:v1", server.image("app:v1"))
    podman("rmi", "--all", "--force")
    pulled = podman("pull", *plain, f"{server.address}/app:v1")
    assert podman("images", "--quiet", "--no-trunc") == f"sha256:{pulled}"

    podman("manifest", "create", "both")
    podman("manifest", "add", "--tls-verify=false", "both", server.image("app:v1"))
    podman("manifest", "push", *plain, "--all", "both", server.image("app:both"))
    (child,) = manifest(server, "app", "both")["manifests"]
    assert child["digest"] == inspect(server.image("app:v1"))["Digest"]
    assert_whole(server.root, "app:v1", "app:both", folder=tmp_path)


@needs_programs("buildah", "busybox", "docker-registry", "skopeo")
def test_buildah_pushes_pulls_and_pushes_a_manifest_list(
    server: RegfsServer, tmp_path: Path
) -> None:
    build = Builder(tmp_path / "storage")
    plain = ("--quiet", "--tls-verify=false")
    build.extend("scratch", {BUSYBOX: BUSYBOX}, "app")
    build("push", *plain, "--format=oci", "app", server.image("app:oci"))
    build("push", *plain, "--format=docker", "app", server.image("app:docker"))
    build("rmi", "--all", "--force")
    build("pull", *plain, server.image("app:oci"))
    build("manifest", "create", "both")
    for tag in ("oci", "docker"):
        build("manifest", "add", "--tls-verify=false", "both", server.image(f"app:{tag}"))
    build("manifest", "push", *plain, "--all", "both", server.image("app:both"))
    assert len(manifest(server, "app", "both")["manifests"]) == 2
    assert_whole(server.root, "app:oci", "app:docker", "app:both", folder=tmp_path)


# umoci


@needs_programs("umoci", "docker-registry", "skopeo")
def test_umoci_adds_a_layer_to_what_was_pulled_and_it_is_pushed_again(
    server: RegfsServer, source: Source, tmp_path: Path
) -> None:
    copy(source("one"), server.image("app:v1"))
    work = f"{tmp_path / 'work'}:v1"
    copy(server.image("app:v1"), f"oci:{work}")
    (tmp_path / "motd").write_text("added\n")
    run("umoci", "insert", "--rootless", "--image", work, tmp_path / "motd", "/etc/motd")
    copy(f"oci:{work}", server.image("app:v2"))
    base, extended = (inspect(server.image(f"app:{tag}"))["Layers"] for tag in ("v1", "v2"))
    assert extended[:-1] == base

    bundle = f"{tmp_path / 'again'}:v2"
    copy(server.image("app:v2"), f"oci:{bundle}")
    run("umoci", "unpack", "--rootless", "--image", bundle, tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/etc/motd").read_text() == "added\n"
    assert (tmp_path / "bundle/rootfs/etc/hello").read_bytes().startswith(b"hello\n")
    assert_whole(server.root, "app:v2", folder=tmp_path)


# the tutorial, as one types it


def _push_of_the_tutorial(server: RegfsServer, folder: Path) -> list[str]:
    """Build an image and one on top of it, and push both; return their names."""
    build = Builder(folder / "storage")
    (folder / "epoch.sh").write_text("#!/bin/busybox sh\ndate +%s\n")
    build.extend("scratch", {BUSYBOX: BUSYBOX}, "my-busybox")
    build.extend("my-busybox", {folder / "epoch.sh": "/epoch.sh"}, "my-busybox-extended")
    names = ["my-busybox", "my-busybox-extended"]
    for name in names:
        build("push", "-q", "--tls-verify=false", name, server.image(f"{name}:latest"))
    return names


@needs_programs("curl", "buildah", "busybox", "docker-registry", "skopeo")
def test_the_tutorial_with_nothing_but_regfs_and_curl(
    server: RegfsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def curl(path: str, *options: str) -> str:
        return run("curl", "-fsS", *options, f"http://{server.address}{path}").stdout

    head = curl("/v2/", "-i").replace("\r\n", "\n")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert "\nDocker-Distribution-Api-Version: registry/2.0\n".lower() in head.lower()
    assert json.loads(curl("/v2/_catalog")) == {"repositories": []}

    names = _push_of_the_tutorial(server, tmp_path)
    assert json.loads(curl("/v2/_catalog")) == {"repositories": names}
    tags = json.loads(curl("/v2/my-busybox/tags/list"))
    assert tags == {"name": "my-busybox", "tags": ["latest"]}
    # No Accept: curl says */*, and gets what was pushed.
    base, extended = (json.loads(curl(f"/v2/{name}/manifests/latest")) for name in names)
    assert base["config"]["mediaType"] == DOCKER_CONFIG
    assert extended["layers"][:-1] == base["layers"]

    top = extended["layers"][-1]
    blob = f"/v2/my-busybox-extended/blobs/{top['digest']}"
    assert f"content-length: {top['size']}" in curl(blob, "-I").lower()
    curl(blob, "-o", str(tmp_path / "layer"))
    listed = run("tar", "-tzf", tmp_path / "layer").stdout.split()
    assert listed == ["epoch.sh"]
    curl(blob, "-o", str(tmp_path / "part"), "-r", "0-9")
    assert (tmp_path / "part").read_bytes() == (tmp_path / "layer").read_bytes()[:10]
    missing = run(
        "curl", "-sS", f"http://{server.address}/v2/my-busybox/manifests/v9"
    ).stdout  # fmt: skip
    assert json.loads(missing)["errors"][0]["code"] == "MANIFEST_UNKNOWN"

    assert regfs(["-r", str(server.root), "ls"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "my-" in line] == names
    assert_whole(server.root, *(f"{name}:latest" for name in names), folder=tmp_path)
