"""What verify finds, where, and whose images it says are touched; that it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.findings import Code, Severity
from regfs.verify import Level
from tests.support.builder import (
    Blob,
    TreeBuilder,
    image,
)
from tests.support.damage import DAMAGE
from tests.support.needs import images_of
from tests.support.registries import build, new_tree, recipes
from tests.support.verification import (
    BASE,
    EXPECTED,
    check,
    codes,
    grave,
    only,
    stocked,
    touched,
    watched,
)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_damage_is_found_once_and_laid_to_the_right_image(
    shop: TreeBuilder, kind: str
) -> None:
    expected, hurt = EXPECTED[kind]
    shop.break_(kind, "app", "v1")
    result = check(shop)
    assert codes(result) == sorted(expected)
    assert touched(result) - {"app:-not-a-tag"} == ({"app:v1"} if hurt else set())


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("temporary-file", "temporary-file"),
        ("repository-empty", "repository-empty"),
        ("directory-empty", "directory-empty"),
    ],
)
def test_normal_leftovers_are_told_and_weigh_nothing(
    shop: TreeBuilder, kind: str, code: str
) -> None:
    damaged = shop.break_(kind, "app", "v1")
    result = check(shop)
    assert code in [row.finding.code for row in result.findings]
    assert any(damaged.startswith(row.finding.path) for row in result.findings)
    assert result.severity is Severity.INFO


LINK_LEVEL = {kind for kind in DAMAGE if "link" in kind or "tag" in kind} - {
    "layer-link-missing",  # only who reads the manifest knows that it is needed
    "layer-link-unused",  # or that it is not
    "tag-index-missing",
}


@pytest.mark.parametrize("kind", sorted(LINK_LEVEL))
def test_links_are_checked_without_opening_a_blob(shop: TreeBuilder, kind: str) -> None:
    shop.break_(kind, "app", "v1")
    store = watched(shop)
    result = check(shop, store=store, level=Level.LINKS)
    assert grave(result)
    assert result.checked.blobs == result.checked.bytes == result.checked.manifests == 0
    assert not [path for path in store.reads if "/blobs/" in path]


@pytest.mark.parametrize("kind", ["blob-truncated", "blob-grown"])
def test_sizes_are_compared_without_reading_layers(shop: TreeBuilder, kind: str) -> None:
    damaged = shop.break_(kind, "app", "v1")
    store = watched(shop)
    result = check(shop, store=store, level=Level.SIZES)
    row = only(result, Code.BLOB_SIZE_MISMATCH)
    assert (row.finding.path, row.images) == (damaged, ("app:v1",))
    assert damaged not in store.reads


def test_an_empty_blob_is_known_for_corrupt_without_reading_it(shop: TreeBuilder) -> None:
    damaged = shop.break_("blob-empty", "app", "v1")
    result = check(shop, level=Level.SIZES)
    assert [(row.finding.code, row.finding.path) for row in grave(result)] == [
        (Code.BLOB_CORRUPT, damaged)
    ]


def test_the_blob_of_no_bytes_may_be_empty(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(b""), BASE]))
    assert codes(check(tree)) == []


@given(recipes())
def test_a_registry_that_was_only_used_has_no_errors(recipe: Any) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        result = check(tree)
        partial = {Code.INDEX_CHILD_MISSING, Code.REPOSITORY_TAGLESS}
        assert {row.finding.code for row in grave(result)} <= partial
        assert result.checked.blobs == len(tree.blobs())
        assert result.checked.bytes == sum(tree.blob_path(d).stat().st_size for d in tree.blobs())
        assert result.checked.links == len(list(tree.v2.rglob("link")))


@given(recipes(), st.data())
def test_a_flipped_bit_hurts_exactly_the_images_that_use_the_blob(
    recipe: Any, data: st.DataObject
) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        digest = data.draw(st.sampled_from(sorted(tree.blobs())))
        expected = images_of(tree, digest)
        hollow = {str(row.finding) for row in grave(check(tree))}  # of which nothing is there
        path = tree.blob_path(digest)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        result = check(tree)
        errors = [row for row in grave(result) if row.finding.severity is Severity.ERROR]
        errors = [row for row in errors if str(row.finding) not in hollow]
        assert [row.finding.code for row in errors] == [Code.BLOB_CORRUPT]
        assert set(errors[0].images) == expected
        assert errors[0].affected == len(expected)


@given(recipes(kinds=["image", "index", "cache"]), st.data())
def test_a_lost_layer_hurts_exactly_the_images_that_use_it(
    recipe: Any, data: st.DataObject
) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        digest = data.draw(st.sampled_from(sorted(tree.blobs())))
        expected = images_of(tree, digest)
        # Deleted by digest, a child that an index lists has no link any more.
        manifest = b'"schemaVersion"' in tree.blob_path(digest).read_bytes()
        tree.blob_path(digest).unlink()
        result = check(tree)
        lost = [row for row in result.findings if row.finding.code is Code.BLOB_MISSING]
        if manifest or not expected:
            assert not lost  # a lost manifest is told by its links, or its index
        else:
            assert set(only(result, Code.BLOB_MISSING).images) == expected
