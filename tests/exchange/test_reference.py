"""Other programs take what was exported, and what they write is imported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import regfs
from regfs.cli.app import run
from tests.support.bucket_registry import BucketRegistry
from tests.support.builder import TreeBuilder, artifact, image, index, layer
from tests.support.copies import exported
from tests.support.edits import assert_pullable
from tests.support.real_buckets import Server, bucket_on, kinds
from tests.support.reference import (
    REGISTRY,
    ReferenceRegistry,
    copy,
    have,
    needs_programs,
    needs_reference,
    pull_all,
)
from tests.support.reference import run as program
from tests.support.registries import Oracle

pytestmark = pytest.mark.reference

BASE = layer({"etc/base": b"base"})
ONE = image([BASE, layer({"etc/one": b"1" * 200_000})])
ARM = image([BASE, layer({"etc/arm": b"arm"})], platform="linux/arm64")
MULTI = index(ONE, ARM)
DOCKER = image([BASE], docker=True)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "multi", MULTI)
    tree.push("app", "v1", ONE)
    tree.push("team/app", "docker", DOCKER)
    tree.push("app", None, artifact(["signature"], subject=ONE))
    return tree


def pull_by_digest(registry: ReferenceRegistry | BucketRegistry, folder: Path) -> None:
    """Pull every image by its digest; skopeo checks each byte."""
    for name, content in (("app", MULTI), ("app", ONE), ("team/app", DOCKER)):
        place = folder / content.digest.replace(":", "-")
        pull_all(registry.image(f"{name}@{content.digest}"), place)
        assert (place / "manifest.json").read_bytes() == content.data


@needs_reference
@pytest.mark.parametrize("form", ["tree", "tar", "oci", "oci.tar"])
def test_a_restored_backup_serves_every_image(shop: TreeBuilder, tmp_path: Path, form: str) -> None:
    backup = tmp_path / ("backup.tar" if form.endswith("tar") else "backup")
    exported(shop, backup, format="oci" if form.startswith("oci") else "tree")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert run(["-r", str(fresh), "--allow-empty", "import", str(backup)]) == 0
    with ReferenceRegistry(fresh) as registry:
        pull_by_digest(registry, tmp_path)
        answer = registry.request("GET", "/v2/app/tags/list")
        assert sorted(json.loads(answer.body)["tags"]) == ["multi", "v1"]


@needs_reference
def test_a_folder_that_was_exported_serves_as_it_is(shop: TreeBuilder, tmp_path: Path) -> None:
    exported(shop, tmp_path / "copy")
    with ReferenceRegistry(tmp_path / "copy") as registry:
        pull_by_digest(registry, tmp_path)
        registry.push("app", "v2", image([BASE, "two"]))  # and takes pushes
    assert_pullable(TreeBuilder(tmp_path / "copy"), "app", "v2", image([BASE, "two"]))


@needs_programs("skopeo")
def test_skopeo_reads_layouts_and_archives(shop: TreeBuilder, tmp_path: Path) -> None:
    exported(shop, tmp_path / "layout", format="oci")
    exported(shop, tmp_path / "layout.tar", format="oci")
    for number, place in enumerate(("oci:{}/layout", "oci-archive:{}/layout.tar")):
        for name, content in (("app:multi", MULTI), ("app:v1", ONE)):
            folder = tmp_path / f"{number}-{content.digest[-8:]}"
            pull_all(f"{place.format(tmp_path)}:{name}", folder)
            assert (folder / "manifest.json").read_bytes() == content.data


@needs_reference
def test_skopeo_pushes_an_image_of_docker_that_is_alone_in_a_layout(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    """Under its digest, so nothing was converted. By its name only newer skopeo finds it."""
    exported(shop, tmp_path / "one", "team/app:docker", format="oci")
    fresh = TreeBuilder(tmp_path / "fresh")
    with ReferenceRegistry(fresh.root) as registry:
        copy(f"oci:{tmp_path}/one", registry.image("team/app:docker"), "--preserve-digests")
    assert_pullable(fresh, "team/app", "docker", DOCKER)


@needs_programs("umoci")
def test_umoci_unpacks_what_was_exported(shop: TreeBuilder, tmp_path: Path) -> None:
    exported(shop, tmp_path / "layout", format="oci")
    listed = program("umoci", "ls", "--layout", tmp_path / "layout").stdout.split()
    assert {"app:multi", "app:v1", "team/app:docker"} <= set(listed)
    exported(shop, tmp_path / "one", "app:v1", format="oci")
    stated = program("umoci", "stat", "--image", f"{tmp_path}/one:app:v1", "--json", check=False)
    assert stated.returncode == 0 or "app:v1" in stated.stderr


@needs_programs("skopeo")
@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_what_skopeo_wrote_is_imported(shop: TreeBuilder, tmp_path: Path, kind: str) -> None:
    exported(shop, tmp_path / "layout", format="oci")
    place = tmp_path / ("theirs.tar" if kind == "oci-archive" else "theirs")
    source = f"oci:{tmp_path}/layout:app:multi"
    copy(source, f"{kind}:{place}:shop/app:multi", "--all", "--preserve-digests")
    fresh = TreeBuilder(tmp_path / "fresh")
    regfs.open(str(fresh.root)).import_from(str(place))
    assert_pullable(fresh, "shop/app", "multi", MULTI)


@pytest.mark.parametrize("kind", kinds("seaweedfs", "azurite"))
def test_a_registry_moves_to_a_bucket_and_back(
    shop: TreeBuilder,
    tmp_path: Path,
    kind: str,
    object_store: Callable[[str], Server],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = ["-r", str(shop.root)]
    with bucket_on(object_store(kind)) as root:
        assert run([*source, "export", "--to", f"{root}/copy"]) == 0
        assert run(["-r", f"{root}/copy", "verify"]) == 0
        capsys.readouterr()
        assert run([*source, "export", "--to", f"{root}/copy", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["copied"]["blobs"] == 0
        fresh = TreeBuilder(tmp_path / "fresh")
        assert run(["-r", str(fresh.root), "import", f"{root}/copy"]) == 0
        assert_pullable(fresh, "app", "multi", MULTI)
        assert fresh.blobs() == Oracle(shop).blobs
        assert run([*source, "export", "--to", f"{root}/layout", "--format", "oci"]) == 0
        into = ["-r", f"{root}/import", "--allow-empty"]
        assert run([*into, "import", str(shop.root)]) == 0
        assert run([*into, "verify"]) == 0
        assert run([*into, "gc", "restore", "latest"]) == 0
        capsys.readouterr()
        assert run([*into, "ls"]) == 0
        assert "app" not in capsys.readouterr().out  # the links are gone again
        assert run([*into, "import", f"{root}/copy"]) == 0
        if have(REGISTRY) and kind != "azurite":  # that of Debian has no driver of Azure
            for place in ("copy", "import"):
                with BucketRegistry(object_store(kind), f"{root}/{place}") as registry:
                    (tmp_path / place).mkdir()
                    pull_by_digest(registry, tmp_path / place)
