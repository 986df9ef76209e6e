"""Blobs of other repositories are mounted, unless they are damaged, forbidden or about to go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from regfs.digest import Digest
from regfs.push import uploads
from regfs.stores import WritableStore
from tests.support.builder import TreeBuilder
from tests.support.uploads import DATA, SHA256, SHA512, layer_is, mount, push


def test_a_blob_of_another_repository_is_linked(tree: TreeBuilder) -> None:
    push(tree, DATA, "base/image")
    assert mount(tree, "base/image")
    assert layer_is(tree, "target", SHA256, DATA)
    assert len(tree.files()) == 3


def test_a_mount_without_a_source_searches_for_the_blob(tree: TreeBuilder) -> None:
    push(tree, b"other", "aaa")
    push(tree, DATA, "base/image")
    assert mount(tree, None)
    assert layer_is(tree, "target", SHA256, DATA)


def test_a_blob_of_a_forbidden_repository_is_not_mounted(tree: TreeBuilder) -> None:
    push(tree, DATA, "secret")
    assert not mount(tree, "secret", may=("other",))
    assert not mount(tree, None, may=("other",))
    assert not tree.layer_path("target", SHA256).exists()
    push(tree, DATA, "shared")
    assert mount(tree, None, may=("shared",))


@pytest.mark.parametrize("source", [None, "base"])
@pytest.mark.parametrize("damage", ["link", "blob", "hollow", "says-another", "empty-link"])
def test_a_damaged_blob_is_not_mounted(tree: TreeBuilder, source: str | None, damage: str) -> None:
    push(tree, DATA, "base")
    push(tree, b"other", "else")
    link, blob = tree.layer_path("base", SHA256), tree.blob_path(SHA256)
    if damage == "link":
        link.unlink()
    elif damage == "blob":
        blob.unlink()
    elif damage == "hollow":
        blob.write_bytes(b"")
    elif damage == "empty-link":
        link.write_bytes(b"")
    else:
        link.write_bytes(Digest.of(b"other").encode())
    assert not mount(tree, source)
    assert not tree.layer_path("target", SHA256).exists()


def test_what_goes_before_its_turn_has_come_is_not_mounted(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a run takes it away that is waited for."""
    push(tree, DATA, "base")

    @contextmanager
    def late(store: WritableStore, *, timeout: float) -> Iterator[None]:
        tree.layer_path("base", SHA256).unlink()
        yield

    monkeypatch.setattr(uploads, "shared", late)
    assert not mount(tree, "base")
    assert not tree.layer_path("target", SHA256).exists()


@pytest.mark.parametrize("source", ["missing", "", "..", "a//b", "../../x", "Not Legal"])
def test_an_invalid_source_counts_as_none(tree: TreeBuilder, source: str) -> None:
    push(tree, DATA, "base")
    assert not mount(tree, source)


def test_an_alias_is_mounted_with_its_target(tree: TreeBuilder) -> None:
    push(tree, DATA, "base")
    alias = tree.layer_path("base", SHA512)
    alias.parent.mkdir(parents=True)
    alias.write_bytes(SHA256.encode())
    assert mount(tree, "base", SHA512)
    assert tree.layer_path("target", SHA512).read_bytes() == SHA256.encode()
    assert layer_is(tree, "target", SHA256, DATA)


def test_the_search_for_a_blob_is_bounded(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SEARCHED", 2)
    push(tree, b"1", "a")
    push(tree, b"2", "b")
    push(tree, DATA, "c")
    assert not mount(tree, None)
    assert mount(tree, "c")
