"""Orphans: manifests that no repository has any more, and nothing else."""

from __future__ import annotations

import shutil

import pytest

import regfs
from regfs.manifests import LIMIT
from regfs.reports.orphans import Orphan
from tests.support.builder import TreeBuilder, image, index

ONE, TWO = image(["base", "one"]), image(["base", "two"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "multi", MULTI)
    tree.push("app", "v2", TWO)
    tree.push("web", "v1", image(["web"]))
    return tree


def orphans(tree: TreeBuilder) -> dict[str, Orphan]:
    return {one.digest: one for one in regfs.open(str(tree.root)).orphans().orphans}


def test_a_tree_whose_manifests_have_links_has_none(shop: TreeBuilder) -> None:
    shop.untag("app", "v2")
    assert orphans(shop) == {}


def test_what_a_removed_repository_leaves(shop: TreeBuilder) -> None:
    shutil.rmtree(shop.repository_path("app"))
    found = orphans(shop)
    assert set(found) == {MULTI.digest, TWO.digest}
    multi = found[MULTI.digest]
    assert (multi.kind, multi.state) == ("index", "whole")
    assert multi.platforms == ("linux/amd64", "linux/arm64")


def test_a_manifest_that_another_repository_has_is_none(shop: TreeBuilder) -> None:
    shop.push("web", None, TWO)
    shutil.rmtree(shop.repository_path("app"))
    assert set(orphans(shop)) == {MULTI.digest}


def test_an_orphan_that_has_lost_a_layer_is_incomplete(shop: TreeBuilder) -> None:
    shutil.rmtree(shop.repository_path("app"))
    shop.delete_blob(TWO.blobs[2].digest)
    assert orphans(shop)[TWO.digest].state == "incomplete"


def test_blobs_that_are_no_manifests_are_none(tree: TreeBuilder) -> None:
    tree.push("web", "v1", image(["web"]))
    for data in (b"", b"{", b"{}", b"[]", b'{"os": "linux"}', b"\0" * 100, b" " * (LIMIT + 1)):
        tree.blob(data)
    broken = tree.blob(ONE.data)
    tree.write(tree.blob_path(broken), ONE.data + b" ")
    assert orphans(tree) == {}


def test_a_blob_that_is_larger_than_a_manifest_is_not_read(tree: TreeBuilder) -> None:
    tree.push("web", "v1", image(["web"]))
    path = tree.blob_path(tree.blob(TWO.data))
    with path.open("r+b") as file:
        file.truncate(LIMIT + 1)
    opened = regfs.open(str(tree.root))
    opened.registry.manifest = lambda *_: pytest.fail("it was read")  # type: ignore[method-assign]
    assert opened.orphans().orphans == ()
