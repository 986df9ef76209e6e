"""The oracle itself: hand-made trees are what docker-registry writes, and it can serve them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.builder import (
    OCI_MANIFEST,
    Blob,
    Content,
    TreeBuilder,
    artifact,
    attestation,
    buildkit,
    cache_index,
    digest_of,
    image,
    index,
    layer,
    raw,
    schema1,
    tar,
)
from tests.support.damage import DAMAGE
from tests.support.reference import (
    ReferenceRegistry,
    collect,
    copy,
    inspect,
    make_oci_layout,
    needs_programs,
    needs_reference,
    pull_all,
    run,
)

FIXTURES = Path(__file__).parent.parent / "fixtures/trees"
LAYER_INDEX = "my-busybox-extended-cached:buildcache-index"
TUTORIAL = {
    "my-busybox:latest",
    "my-busybox-extended:latest",
    "my-busybox-extended:rebuilt",
    "my-busybox-extended-attest:sbom",
    "my-busybox-extended-cached:inline",
    "my-busybox-extended-classic:latest",
    "my-busybox-extended-plain:default",
    LAYER_INDEX,
}
BASE = layer({"etc/": None, "etc/hello": b"x"})
MULTI = index(image([BASE]), image([BASE, "arm"], platform="linux/arm64/v8"))

CONTENTS: dict[str, Content] = {
    "image": image([BASE, "second"]),
    "docker": image([BASE, "second"], docker=True),
    "without media type": image([BASE], media_type=False),
    "annotated": image([BASE], annotations={"org.opencontainers.image.title": "x"}),
    "plain tar layer": image([tar({"a": b"b"})]),
    "empty layer": image([b""]),
    "same layer twice": image([BASE, BASE]),
    "sha512 layer": image([Blob(BASE, algorithm="sha512")]),
    "index": MULTI,
    "docker list": index(image([BASE], docker=True), docker=True),
    "nested index": index(MULTI, image(["third"])),
    "buildkit": buildkit(image([BASE])),
    "buildkit cache": cache_index([BASE]),
    "buildkit cache, docker": cache_index([BASE], docker=True),
    "artifact": artifact([b"an sbom"], subject=image([BASE])),
    "orphan artifact": artifact([b"a signature"], subject=digest_of(b"gone")),
    "index with a subject": index(image([BASE]), subject=image(["other"])),
}


@pytest.fixture(params=[pytest.param(content, id=name) for name, content in CONTENTS.items()])
def content(request: pytest.FixtureRequest) -> Content:
    found: Content = request.param
    return found


def contents(root: Path) -> tuple[dict[str, str], set[str]]:
    """Return the files and folders of any tree."""
    tree = TreeBuilder(root)
    return tree.files(), tree.folders()


@needs_reference
class TestAgainstDockerRegistry:
    def test_a_push_leaves_the_same_bytes(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        content: Content,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        registry = registry_server(tmp_path / "real")
        for target in (tree, registry):
            target.push("team/app", "v1", content)
        assert contents(tmp_path / "real") == (tree.files(), tree.folders())

    def test_a_history_leaves_the_same_bytes(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        registry = registry_server(tmp_path / "real")
        first, second = image([BASE]), image([BASE, "second"])
        for target in (tree, registry):
            target.push("app", "v1", first)
            target.push("app", "v1", second)  # the tag moves: its history keeps both
            target.push("app", "old", first)
            target.push("app", None, buildkit(first))
            target.push("gone", "v1", second)
            target.mount("app", "mounted", digest_of(BASE))
        tree.delete_manifest("gone", second.digest)
        registry.delete("gone", "manifests", second.digest)
        tree.delete_layer_link("app", digest_of(BASE))
        registry.delete("app", "blobs", digest_of(BASE))
        assert contents(tmp_path / "real") == (tree.files(), tree.folders())

    def test_an_unfinished_upload_has_the_same_form(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        registry = registry_server(tmp_path / "real")
        registry.send(registry.begin_upload("app"), b"half")
        [folder] = (tmp_path / "real/docker/registry/v2/repositories/app/_uploads").iterdir()
        started = (folder / "startedat").read_text()
        tree.upload("app", b"half", upload=folder.name, started_at=started, hash_state=True)
        states = "hashstates/sha256"  # one for each request; the first is of no bytes
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        mine = tree.upload_path("app", folder.name)
        assert names == {path.relative_to(mine).as_posix() for path in mine.rglob("*")} | {
            f"{states}/0"
        }
        for name in ("startedat", "data"):
            assert (mine / name).read_bytes() == (folder / name).read_bytes()
        sizes = [(path / states / "4").stat().st_size for path in (mine, folder)]
        assert sizes == [108, 108]

    def test_hand_made_trees_are_served_and_pulled(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        tree.push("app", "v1", image([BASE]))
        tree.push("app", "docker", image([BASE], docker=True))
        tree.push("team/app", "multi", MULTI)
        tree.push("team/app", "built", buildkit(image([BASE, "second"])))
        registry = registry_server(tree.root)
        for number, name in enumerate(["app:v1", "app:docker", "team/app:multi", "team/app:built"]):
            pull_all(registry.image(name), tmp_path / str(number))
        assert inspect(registry.image("app:v1"))["Layers"] == [digest_of(BASE)]

    def test_skopeo_pushes_what_the_builder_makes(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        images = {"v1": image([BASE]), "built": buildkit(image([BASE, "second"]))}
        make_oci_layout(tmp_path / "layout", images)
        registry = registry_server(tmp_path / "real")
        for tag, content in images.items():
            source = f"oci:{tmp_path / 'layout'}:{tag}"
            copy(source, registry.image(f"app:{tag}"), "--all", "--preserve-digests")
            tree.push("app", tag, content)
        assert contents(tmp_path / "real") == (tree.files(), tree.folders())

    @needs_programs("umoci", "busybox")
    @pytest.mark.parametrize("name", ["app", "deep/er/app"])
    def test_an_image_made_by_others_lies_as_the_builder_puts_it(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        name: str,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        layout = tmp_path / "layout"
        run("umoci", "init", "--layout", layout)
        run("umoci", "new", "--image", f"{layout}:v1")
        for path in ("bin/busybox", "bin/sh"):
            busybox = shutil.which("busybox") or ""
            run("umoci", "insert", "--rootless", "--image", f"{layout}:v1", busybox, path)
        registry = registry_server(tmp_path / "real")
        copy(f"oci:{layout}:v1", registry.image(f"{name}:v1"), "--preserve-digests")

        def read(entry: dict[str, str]) -> bytes:
            return (layout / "blobs" / entry["digest"].replace(":", "/")).read_bytes()

        [entry] = json.loads((layout / "index.json").read_text())["manifests"]
        document = json.loads(read(entry))
        blobs = [read(blob) for blob in (document["config"], *document["layers"])]
        assert len(blobs) == 3
        tree.push(name, "v1", raw(read(entry), OCI_MANIFEST, blobs))
        assert contents(tmp_path / "real") == (tree.files(), tree.folders())

    def test_a_broken_image_cannot_be_pulled(
        self,
        tree: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        broken = {"blob-flipped", "blob-missing", "layer-link-missing", "link-empty"}
        for kind in sorted(broken):
            tree.push(kind, "v1", image([f"layer of {kind}"]))
            tree.break_(kind, kind, "v1")
        registry = registry_server(tree.root)
        pulls = {
            kind: pull_all(registry.image(f"{kind}:v1"), tmp_path / kind, check=False).returncode
            for kind in broken
        }
        assert all(pulls.values()), pulls

    def test_the_collector_finds_what_a_moved_tag_left(self, tree: TreeBuilder) -> None:
        first, second = image([BASE, "first"]), image([BASE, "second"])
        tree.push("app", "v1", first)
        tree.push("app", "v1", second)
        stray = tree.blob(b"nobody's")
        assert collect(tree.root).blobs == {stray}
        before = tree.files()
        planned = collect(tree.root, delete_untagged=True)
        assert planned.manifests == {("app", first.digest)}
        assert len(planned.blobs) == 4  # the stray, and manifest, config and layer of the first
        assert tree.files() == before
        done = collect(tree.root, delete_untagged=True, dry_run=False)
        assert (done.returncode, done.blobs) == (0, planned.blobs)
        assert not planned.blobs & tree.blobs()

    def test_the_collector_reads_a_schema_1_manifest(self, tree: TreeBuilder) -> None:
        tree.push("old", "v1", schema1("old", "v1", [BASE]))
        found = collect(tree.root)
        assert (found.returncode, found.blobs) == (0, set()), found.output


class TestTreeBuilder:
    @pytest.mark.parametrize("kind", DAMAGE)
    def test_damage_changes_the_tree_and_not_its_age(self, tree: TreeBuilder, kind: str) -> None:
        tree.push("app", "v1", image([BASE]))
        tree.push("app", "built", buildkit(image(["second"])))
        before = tree.files(), tree.folders()
        path = tree.break_(kind, "app", "v1")
        assert path.startswith("docker/registry/v2/")
        assert (tree.files(), tree.folders()) != before
        everything = [tree.root / name for name in (*tree.files(), *tree.folders())]
        assert max(path.lstat().st_mtime for path in everything) < time.time() - 86_400

    def test_everything_has_the_age_asked_for(self, tree: TreeBuilder) -> None:
        tree.push("app", "v1", image([BASE]))
        with tree.at_age(-500):
            tree.push("app", "v2", image([BASE, "second"]))
        now = time.time()
        ages = {
            digest: now - tree.blob_path(digest).stat().st_mtime
            for digest in (digest_of(BASE), tree.current("app", "v2"))
        }
        assert ages[digest_of(BASE)] > 172_000
        assert ages[tree.current("app", "v2")] < -400
        tree.age(0)
        states = [(tree.root / path).stat() for path in tree.files()]
        assert all(abs(state.st_mtime - now) < 600 for state in states)

    def test_sizes_count_an_inode_once(self, tree: TreeBuilder) -> None:
        digest = tree.blob(b"x" * 10_000)
        (tree.root / "docker/again").hardlink_to(tree.blob_path(digest))
        os.mkfifo(tree.root / "docker/fifo")
        assert tree.size_on_disk() == 10_000
        assert tree.allocated() >= 10_000
        assert tree.files()["docker/fifo"] == "special"

    def test_layers_are_the_same_every_time(self) -> None:
        assert layer({"a": b"b"}) == layer({"a": b"b"})
        assert attestation(image([BASE])).digest == attestation(image([BASE])).digest


@pytest.fixture
def fixture_copy(request: pytest.FixtureRequest, tmp_path: Path) -> TreeBuilder:
    """A copy of one of the trees in fixtures/trees, in which nothing is younger than a day."""
    shutil.copytree(FIXTURES / request.param, tmp_path / "fixture")
    tree = TreeBuilder(tmp_path / "fixture")
    tree.age(172_800)
    return tree


@needs_reference
class TestFixtures:
    """What lies in fixtures/trees: written by docker-registry, and damaged as the names say."""

    @pytest.mark.parametrize("fixture_copy", ["tutorial"], indirect=True)
    def test_the_tutorial_is_whole(
        self,
        fixture_copy: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        names = sorted(path.name for path in (fixture_copy.v2 / "repositories").iterdir())
        images = {f"{name}:{tag}" for name in names for tag in fixture_copy.tags(name)}
        assert images == TUTORIAL
        registry = registry_server(fixture_copy.root)
        for number, name in enumerate(sorted(images - {LAYER_INDEX})):
            pull_all(registry.image(name), tmp_path / str(number))
        cache = pull_all(registry.image(LAYER_INDEX), tmp_path / "cache", check=False)
        assert cache.returncode != 0  # BuildKit's cache is no image; skopeo never could

    @pytest.mark.parametrize("fixture_copy", ["tutorial"], indirect=True)
    def test_the_tutorial_has_its_garbage(self, fixture_copy: TreeBuilder) -> None:
        found = collect(fixture_copy.root)
        assert (found.returncode, len(found.blobs)) == (0, 1), found.output
        history = fixture_copy.tag_folder("my-busybox-extended", "rebuilt") / "index/sha256"
        assert len(list(history.iterdir())) == 2
        uploads = fixture_copy.repository_path("my-busybox-extended") / "_uploads"
        assert len(list(uploads.glob("*/data"))) == 1

    @pytest.mark.parametrize(
        "fixture_copy",
        sorted(path.name for path in FIXTURES.glob("damaged-*")),
        indirect=True,
    )
    def test_exactly_one_image_is_damaged(
        self,
        fixture_copy: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        registry = registry_server(fixture_copy.root)
        pulls = {
            name: pull_all(registry.image(name), tmp_path / str(number), check=False).returncode
            for number, name in enumerate(["app:v1", "app:whole", "team/other:v1"])
        }
        assert {name for name, code in pulls.items() if code} == {"app:v1"}

    @pytest.mark.parametrize("fixture_copy", ["digest-only"], indirect=True)
    def test_digest_only_has_images_and_no_tag(
        self,
        fixture_copy: TreeBuilder,
        tmp_path: Path,
        registry_server: Callable[[Path], ReferenceRegistry],
    ) -> None:
        assert not (fixture_copy.repository_path("app") / "_manifests/tags").exists()
        revisions = fixture_copy.repository_path("app") / "_manifests/revisions/sha256"
        registry = registry_server(fixture_copy.root)
        digests = sorted(path.name for path in revisions.iterdir())
        assert len(digests) == 4  # an index, its image, its attestation; and a plain image
        for digest in digests:
            pull_all(registry.image(f"app@sha256:{digest}"), tmp_path / digest)
