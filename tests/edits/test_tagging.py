"""tag and rollback: what a tag is set to, what refuses it, and the way back."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from regfs.edits.edit import Edited
from regfs.errors import (
    Doubt,
    ManifestUnknown,
    NameInvalid,
    ReferenceInvalid,
    Refused,
    TagInvalid,
)
from regfs.gc.policy import Policy
from tests.support.builder import Blob, TreeBuilder, image, index
from tests.support.edits import assert_pullable, editor, is_served, opened

ONE, TWO, THREE = image(["base", "one"]), image(["base", "two"]), image(["base", "three"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    for age, content in ((300_000, ONE), (200_000, TWO), (100_000, THREE)):
        with tree.at_age(age):
            tree.push("app", "v1", content)
    return tree


def kinds(done: Edited) -> list[str]:
    return [one.kind.value for one in done.created]


def undo(tree: TreeBuilder, done: Edited) -> None:
    assert opened(tree).restore(done.run or "").skipped == []


# -- tag -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "new"),
    [
        ("app:v1", "stable"),
        ("app:v1", "app:stable"),
        (f"app@{THREE.digest}", "stable"),
        (THREE.digest, "app:stable"),
    ],
)
def test_a_tag_is_set_as_a_push_sets_it(shop: TreeBuilder, new: str, source: str) -> None:
    before, folders = shop.files(), shop.folders()
    done = editor(shop).tag(source, new)
    assert kinds(done) == ["tag-index", "tag"]
    assert_pullable(shop, "app", "stable", THREE)
    assert shop.tag_index_path("app", "stable", THREE.digest).read_text() == THREE.digest
    undo(shop, done)
    assert (shop.files(), shop.folders()) == (before, folders)


def test_a_tag_that_points_elsewhere_is_moved_by_force_only(shop: TreeBuilder) -> None:
    shop.push("app", "v2", TWO)
    before = shop.files()
    with pytest.raises(Refused, match=f"app:v2 points to {TWO.digest}; give --force"):
        editor(shop).tag("app:v1", "v2")
    assert shop.files() == before
    done = editor(shop).tag("app:v1", "v2", force=True)
    assert_pullable(shop, "app", "v2", THREE)
    undo(shop, done)
    assert shop.files() == before


def test_undo_brings_back_what_the_tag_pointed_to_though_a_collection_took_it(
    tree: TreeBuilder,
) -> None:
    tree.push("app", "v1", ONE)
    tree.push("app", "v2", TWO)
    done = editor(tree).tag("app:v1", "v2", force=True)
    opened(tree).apply(opened(tree).plan(Policy(delete_untagged=True, min_age=0.0)))
    assert not tree.blob_path(TWO.digest).exists()
    restored = opened(tree).restore(done.run or "")
    assert restored.along
    assert_pullable(tree, "app", "v2", TWO)


def test_a_tag_that_points_there_already_is_left_alone(shop: TreeBuilder) -> None:
    before = shop.files("")
    done = editor(shop).tag(f"app@{THREE.digest}", "v1")
    assert done.run is None
    assert [one.reason for one in done.kept] == ["it points there already"]
    assert shop.files("") == before


@pytest.mark.parametrize(
    ("source", "new", "error"),
    [
        ("app", "stable", ReferenceInvalid),
        ("app:v9", "stable", ManifestUnknown),
        ("app:v1", "web:stable", ReferenceInvalid),
        ("app:v1", "not a tag", TagInvalid),
        ("app:v1", "WEB:x", NameInvalid),
        (THREE.digest, "stable", ReferenceInvalid),
        (f"app@{THREE.blobs[0].digest}", "stable", ManifestUnknown),
    ],
)
def test_what_cannot_be_tagged(shop: TreeBuilder, source: str, new: str, error: Any) -> None:
    before = shop.files("")
    with pytest.raises(error):
        editor(shop).tag(source, new)
    assert shop.files("") == before


@pytest.mark.parametrize("damage", ["layer", "layer-link", "manifest"])
def test_an_image_that_is_not_whole_gets_no_tag(shop: TreeBuilder, damage: str) -> None:
    layer = THREE.blobs[1].digest
    if damage == "layer":
        shop.delete_blob(layer)
    elif damage == "layer-link":
        shop.delete_layer_link("app", layer)
    else:
        shop.write(shop.blob_path(THREE.digest), b"{}")
    with pytest.raises(Doubt, match=r"is not whole: .*regfs heal"):
        editor(shop).tag("app:v1", "stable")
    assert shop.tags("app") == ["v1"]


def test_a_manifest_of_another_repository_is_not_given_away(shop: TreeBuilder) -> None:
    with pytest.raises(Refused, match=f"belongs to app; to copy it: regfs cp app@{ONE.digest}"):
        editor(shop).tag(ONE.digest, "web:v1")
    assert not shop.repository_path("web").exists()


# -- orphans -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [ONE, MULTI], ids=["image", "index"])
def test_an_orphan_gets_its_links_and_a_tag(tree: TreeBuilder, content: Any) -> None:
    tree.push("app", "v1", content)
    tree.push("other", "v1", image(["other"]))
    shutil.rmtree(tree.repository_path("app"))
    before, folders = tree.files(), tree.folders()
    done = editor(tree).tag(content.digest, "app:saved")
    assert_pullable(tree, "app", "saved", content)
    order = kinds(done)
    assert order == sorted(order, key=["layer-link", "revision", "tag-index", "tag"].index)
    undo(tree, done)
    assert (tree.files(), tree.folders()) == (before, folders)


def test_an_orphan_that_is_not_whole_stays_one(tree: TreeBuilder) -> None:
    tree.push("other", "v1", TWO)
    digest = tree.blob(ONE.data)
    with pytest.raises(Doubt, match=r"is not whole: (layer|config)"):
        editor(tree).tag(digest, "app:v1")
    with pytest.raises(ManifestUnknown, match="is no manifest"):
        editor(tree).tag(tree.blob(b'{"a": "json document"}'), "app:v1")
    assert not tree.repository_path("app").exists()


def test_an_orphaned_index_without_one_of_its_platforms_can_be_tagged(tree: TreeBuilder) -> None:
    tree.push("app", "v1", MULTI)
    tree.push("other", "v1", TWO)
    shutil.rmtree(tree.repository_path("app"))
    tree.delete_blob(ARM.digest)
    editor(tree).tag(MULTI.digest, "app:v1")
    assert is_served(tree, "app", ONE)
    assert tree.current("app", "v1") == MULTI.digest


def test_layers_that_clients_fetch_elsewhere_need_no_link(tree: TreeBuilder) -> None:
    away = Blob(b"away", extra={"urls": ["https://example.com/away"]}, stored=False)
    content = image(["own", away])
    tree.push("app", "v1", content)
    editor(tree).tag("app:v1", "v2")
    assert tree.current("app", "v2") == content.digest


# -- rollback --------------------------------------------------------------------------------


def test_a_rollback_goes_one_step_back_and_twice_is_the_start(shop: TreeBuilder) -> None:
    editor(shop).rollback("app:v1")
    assert_pullable(shop, "app", "v1", TWO)
    editor(shop).rollback("app:v1")
    assert_pullable(shop, "app", "v1", THREE)


@pytest.mark.parametrize(
    ("to", "content"), [("-1", TWO), ("-2", ONE), (ONE.digest, ONE), (TWO.digest[7:20], TWO)]
)
def test_a_rollback_by_number_or_digest(shop: TreeBuilder, to: str, content: Any) -> None:
    before = shop.files()
    times = {path: os.stat(shop.root / path).st_mtime for path in before}
    done = editor(shop).rollback("app:v1", to)
    assert_pullable(shop, "app", "v1", content)
    assert opened(shop).log("app:v1").entries[0].digest == content.digest
    undo(shop, done)
    assert shop.files() == before
    assert {path: os.stat(shop.root / path).st_mtime for path in before} == times


@pytest.mark.parametrize(
    ("to", "error", "words"),
    [
        ("-3", ManifestUnknown, "has pointed to only 2 before that"),
        ("-0", ReferenceInvalid, "give -1"),
        ("-x", ReferenceInvalid, "give -1"),
        ("-99999999999999999999999", ManifestUnknown, "only 2 before that"),
        (ARM.digest, ManifestUnknown, "begins no digest of the history"),
        ("abc", ManifestUnknown, "begins no digest"),
    ],
)
def test_what_a_tag_never_pointed_to(shop: TreeBuilder, to: str, error: Any, words: str) -> None:
    before = shop.files("")
    with pytest.raises(error, match=words):
        editor(shop).rollback("app:v1", to)
    assert shop.files("") == before


def test_an_image_that_is_not_whole_is_not_rolled_back_to(shop: TreeBuilder) -> None:
    shop.delete_layer_link("app", TWO.blobs[2].digest)
    with pytest.raises(Doubt, match="is not whole: layer"):
        editor(shop).rollback("app:v1")
    editor(shop).rollback("app:v1", "-2")
    assert_pullable(shop, "app", "v1", ONE)


def test_a_manifest_that_was_removed_is_said_to_be_gone(shop: TreeBuilder) -> None:
    shop.delete_revision("app", TWO.digest)
    with pytest.raises(ManifestUnknown, match="app does not have manifest"):
        editor(shop).rollback("app:v1")


def test_a_tag_without_a_current_link_is_set_to_its_newest(shop: TreeBuilder) -> None:
    shop.tag_path("app", "v1").unlink()
    editor(shop).rollback("app:v1")
    assert_pullable(shop, "app", "v1", THREE)
    assert is_served(shop, "app", TWO)


def test_a_push_after_it_is_not_undone(shop: TreeBuilder) -> None:
    done = editor(shop).rollback("app:v1")
    shop.push("app", "v1", ARM)
    assert opened(shop).restore(done.run or "").skipped != []
    assert_pullable(shop, "app", "v1", ARM)
