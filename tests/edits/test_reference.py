"""docker-registry 2.8 serves what was edited, and edits run while it takes pushes."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import RegfsError
from regfs.gc.collect import collect
from tests.support.builder import Content, TreeBuilder, image, index
from tests.support.edits import editor, opened
from tests.support.live import Client
from tests.support.live import Refused as NotTaken
from tests.support.reference import ReferenceRegistry, needs_reference, pull_all
from tests.support.registries import plan_of, registry_of

pytestmark = pytest.mark.reference

ONE, TWO, THREE = image(["base", "one"]), image(["base", "two"]), image(["base", "three"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "multi", MULTI)
    with tree.at_age(300_000):
        tree.push("app", "v2", THREE)
    tree.push("app", "v2", TWO)
    return tree


def tags(registry: ReferenceRegistry, name: str) -> list[str]:
    answer = registry.request("GET", f"/v2/{name}/tags/list", b"", {})
    return sorted(json.loads(answer.body).get("tags") or []) if answer.status == 200 else []


def catalog(registry: ReferenceRegistry) -> list[str]:
    answer = registry.request("GET", "/v2/_catalog", b"", {})
    return list(json.loads(answer.body)["repositories"])


class Pulled:
    """Pulls images with skopeo, which checks every digest."""

    def __init__(self, registry: ReferenceRegistry, folder: Path) -> None:
        self._registry = registry
        self._folder = folder
        self._count = 0

    def __call__(self, reference: str, content: Content) -> None:
        self._count += 1
        folder = self._folder / str(self._count)
        pull_all(self._registry.image(reference), folder)
        assert (folder / "manifest.json").read_bytes() == content.data


@needs_reference
def test_everything_that_an_edit_sets_can_be_pulled(shop: TreeBuilder, tmp_path: Path) -> None:
    edit = editor(shop)
    edit.tag("app:multi", "stable")
    edit.cp("app:multi", "team/copy:v1")
    edit.rollback("app:v2")
    edit.mv("app", "shop/app")
    shop.push("lost", "v1", ARM)
    shutil.rmtree(shop.repository_path("lost"))
    shop.delete_revision("shop/app", MULTI.digest)
    shop.revision("shop/app", MULTI.digest)
    with ReferenceRegistry(shop.root) as registry:
        pull = Pulled(registry, tmp_path)
        pull("shop/app:stable", MULTI)
        pull("shop/app:multi", MULTI)
        pull("shop/app:v2", THREE)
        pull(f"shop/app@{TWO.digest}", TWO)
        pull("team/copy:v1", MULTI)
        assert catalog(registry) == ["shop/app", "team/copy"]


@needs_reference
def test_an_orphan_that_was_tagged_can_be_pulled(shop: TreeBuilder, tmp_path: Path) -> None:
    shop.push("other", "v1", image(["other"]))
    shutil.rmtree(shop.repository_path("app"))
    editor(shop).tag(MULTI.digest, "app:saved")
    with ReferenceRegistry(shop.root) as registry:
        Pulled(registry, tmp_path)("app:saved", MULTI)


@needs_reference
def test_an_image_in_another_tree_can_be_pulled_there(shop: TreeBuilder, tmp_path: Path) -> None:
    backup = TreeBuilder(tmp_path / "backup")
    editor(shop).cp("app:multi", to=registry_of(backup))
    with ReferenceRegistry(backup.root) as registry:
        Pulled(registry, tmp_path)("app:multi", MULTI)


@needs_reference
def test_what_was_removed_is_gone_and_comes_back_by_undo(shop: TreeBuilder, tmp_path: Path) -> None:
    with ReferenceRegistry(shop.root) as registry:
        pull = Pulled(registry, tmp_path)
        done = editor(shop).rm("app:multi")
        assert tags(registry, "app") == ["v2"]
        assert registry.request("GET", f"/v2/app/manifests/{ARM.digest}", b"", {}).status == 404
        pull("app:v2", TWO)
        collect(plan_of(shop, min_age=0.0), registry_of(shop))
        opened(shop).restore(done.run or "")
        pull("app:multi", MULTI)
        assert tags(registry, "app") == ["multi", "v2"]


@needs_reference
def test_undo_of_new_names_leaves_no_name_behind(shop: TreeBuilder) -> None:
    with ReferenceRegistry(shop.root) as registry:
        for done in (editor(shop).tag("app:v2", "v3"), editor(shop).cp("app:v2", "team/x:v1")):
            opened(shop).restore(done.run or "")
        assert tags(registry, "app") == ["multi", "v2"]
        assert catalog(registry) == ["app"]


@needs_reference
def test_whatever_the_registry_acknowledged_is_there_after_edits_beside_it(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    """A client pushes images that share all with those that are removed and moved meanwhile."""
    acknowledged: dict[str, Content] = {}
    errors: list[BaseException] = []
    stop = threading.Event()

    def work(client: Client) -> None:
        turn = 0
        try:
            while not stop.is_set():
                turn += 1
                content = (ONE, MULTI, TWO)[turn % 3]
                try:
                    client.push("app", f"kept-{turn % 9}", content, lambda: None)
                except NotTaken:
                    acknowledged.pop(f"kept-{turn % 9}", None)
                else:
                    acknowledged[f"kept-{turn % 9}"] = content
        except BaseException as error:
            errors.append(error)

    with ReferenceRegistry(shop.root) as registry:
        pusher = threading.Thread(target=work, args=(Client(registry),))
        pusher.start()
        runs = []
        for turn in range(12):
            shop.push("app", "away", (MULTI, TWO)[turn % 2])
            try:
                runs.append(editor(shop).rm("app:away"))
            except RegfsError as error:  # a link that is being written may be in doubt
                assert "app" in str(error)
        stop.set()
        pusher.join()
        assert errors == []
        assert runs
        collect(plan_of(shop), registry_of(shop))
        pull: Any = Pulled(registry, tmp_path)
        assert acknowledged
        for tag, content in acknowledged.items():
            pull(f"app:{tag}", content)
