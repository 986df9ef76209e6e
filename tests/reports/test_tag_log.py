"""The log of tags: what they pointed to, newest first, what is whole, and what changed."""

from __future__ import annotations

import shutil

import pytest

import regfs
from regfs.errors import ManifestUnknown, NameUnknown, ReferenceInvalid
from regfs.reports.tag_log import LogEntry
from tests.support.builder import Blob, Content, TreeBuilder, image, index

ONE, TWO, THREE = image(["base", "one"]), image(["base", "two"]), image(["base", "two", "three"])


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    for age, content in ((300, ONE), (200, TWO), (100, THREE)):
        with tree.at_age(age):
            tree.push("app", "v1", content)
    return tree


def log(tree: TreeBuilder, reference: str = "app:v1") -> tuple[LogEntry, ...]:
    return regfs.open(str(tree.root)).log(reference).entries


def layer_of(content: Content, number: int) -> str:
    return content.blobs[number + 1].digest


def test_the_newest_comes_first_and_only_one_is_current(shop: TreeBuilder) -> None:
    assert [(one.digest, one.current) for one in log(shop)] == [
        (THREE.digest, True),
        (TWO.digest, False),
        (ONE.digest, False),
    ]


def test_a_tag_that_was_set_back_is_current_by_its_link(shop: TreeBuilder) -> None:
    shop.write(shop.tag_path("app", "v1"), ONE.digest)
    assert [one.digest for one in log(shop) if one.current] == [ONE.digest]
    assert [one.digest for one in log(shop)] == [THREE.digest, TWO.digest, ONE.digest]


def test_the_layers_that_came_and_went_since_the_one_before(shop: TreeBuilder) -> None:
    newest, middle, oldest = log(shop)
    assert [one.digest for one in newest.added] == [layer_of(THREE, 2)]
    assert newest.removed == ()
    assert [one.digest for one in middle.added] == [layer_of(TWO, 1)]
    assert [one.digest for one in middle.removed] == [layer_of(ONE, 1)]
    assert (oldest.before, oldest.added) == (None, ())


def test_the_size_counts_each_digest_once(tree: TreeBuilder) -> None:
    both = index(image(["base", "a"]), image(["base", "b"], platform="linux/arm64"))
    tree.push("app", "v1", both)
    (one,) = log(tree)
    blobs = {blob.digest: len(blob.data) for child in both.children for blob in child.blobs}
    manifests = sum(len(part.data) for part in (both, *both.children))
    assert one.size == sum(blobs.values()) + manifests
    assert one.kind == "index"


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        ("none", "whole"),
        ("revision", "gone"),
        ("layer", "incomplete"),
        ("layer-link", "incomplete"),
        ("manifest", "unreadable"),
    ],
)
def test_what_is_still_whole(shop: TreeBuilder, damage: str, state: str) -> None:
    layer = layer_of(THREE, 2)
    if damage == "revision":
        shop.delete_revision("app", THREE.digest)
    elif damage == "layer":
        shop.delete_blob(layer)
    elif damage == "layer-link":
        shop.delete_layer_link("app", layer)
    elif damage == "manifest":
        shop.write(shop.blob_path(THREE.digest), b"{}")
    newest, *others = log(shop)
    assert newest.state == state
    assert (newest.problem is None) == (state == "whole")
    assert {one.state for one in others} == {"whole"}


def test_an_index_without_one_of_its_platforms_is_partial(tree: TreeBuilder) -> None:
    arm = image(["arm"], platform="linux/arm64")
    tree.push("app", "v1", index(image(["amd"]), arm))
    tree.delete_revision("app", arm.digest)
    (one,) = log(tree)
    assert (one.state, one.problem) == ("partial", f"app does not have manifest {arm.digest}")


def test_a_tag_without_history_or_without_current_has_what_is_there(shop: TreeBuilder) -> None:
    shutil.rmtree(shop.tag_folder("app", "v1") / "index")
    assert [(one.digest, one.current) for one in log(shop)] == [(THREE.digest, True)]
    shop.tag_path("app", "v1").write_bytes(b"")
    assert log(shop) == ()


def test_all_tags_of_a_repository_are_in_one_order(shop: TreeBuilder) -> None:
    with shop.at_age(150):
        shop.push("app", "v2", ONE)
    assert [(one.tag, one.digest) for one in log(shop, "app")] == [
        ("v1", THREE.digest),
        ("v2", ONE.digest),
        ("v1", TWO.digest),
        ("v1", ONE.digest),
    ]


def test_a_chain_of_a_thousand_indexes_is_followed(tree: TreeBuilder) -> None:
    content = image(["deep"])
    tree.push("app", None, content)
    for _ in range(1100):
        content = index(content)
        tree.push("app", None, Content(content.data, content.media_type))
    tree.tag("app", "v1", content.digest)
    assert [one.state for one in log(tree)] == ["whole"]


def test_what_has_no_log(shop: TreeBuilder) -> None:
    with pytest.raises(ManifestUnknown, match="no such tag: app:v9"):
        log(shop, "app:v9")
    with pytest.raises(NameUnknown, match="no such repository: web"):
        log(shop, "web")
    for reference in (ONE.digest, f"app@{ONE.digest}"):
        with pytest.raises(ReferenceInvalid, match="a digest has no log"):
            log(shop, reference)


def test_foreign_layers_need_not_be_there(tree: TreeBuilder) -> None:
    away = Blob(b"away", extra={"urls": ["https://example.com/away"]}, stored=False)
    tree.push("app", "v1", image(["own", away]))
    assert [one.state for one in log(tree)] == ["whole"]
