"""What findings advise is true: a registry and a client do it, and the finding is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.findings import RULES, Code
from tests.support.builder import TreeBuilder, image
from tests.support.reference import ReferenceRegistry, copy, make_oci_layout, needs_reference
from tests.support.verification import BASE, check, codes, grave

Serve = Callable[[Path], ReferenceRegistry]

IMAGE = image([BASE, "only in v1"])
TOP = IMAGE.blobs[2].digest


@pytest.fixture
def tree(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", IMAGE)
    tree.push("team/other", "v1", image([BASE]))
    return tree


def push_again(tree: TreeBuilder, serve: Serve) -> None:
    layout = tree.root.parent / "layout"
    make_oci_layout(layout, {"v1": IMAGE})
    copy(f"oci:{layout}:v1", serve(tree.root).image("app:v1"), "--preserve-digests")


def broken(tree: TreeBuilder, kind: str) -> list[Code]:
    """Damage the image; return what is found."""
    tree.break_(kind, "app", "v1", TOP if kind.startswith(("blob", "layer")) else None)
    found = [row.finding.code for row in grave(check(tree))]
    assert found
    return found


PUSHED = [
    "blob-missing",
    "blob-folder-missing",
    "manifest-missing",
    "link-missing",
    "layer-link-missing",
    "tag-current-other-digest",
    "tag-without-current",
]


@needs_reference
@pytest.mark.parametrize("kind", PUSHED)
def test_a_push_puts_back_what_is_missing_and_writes_links_anew(
    tree: TreeBuilder, registry_server: Serve, kind: str
) -> None:
    for code in broken(tree, kind):
        assert RULES[code].remedy.startswith("Push the ")
    push_again(tree, registry_server)
    assert codes(check(tree)) == []


LINKS = [
    "link-empty",
    "link-newline",
    "layer-link-empty",
    "layer-link-newline",
    "tag-current-empty",
    "tag-current-newline",
]


@needs_reference
@pytest.mark.parametrize("kind", LINKS)
def test_a_push_writes_a_link_anew_that_was_removed(
    tree: TreeBuilder, registry_server: Serve, kind: str
) -> None:
    (code,) = broken(tree, kind)
    assert RULES[code].remedy.endswith("remove the link and push the image again.")
    (row,) = grave(check(tree))
    (tree.root / row.finding.path).unlink()
    push_again(tree, registry_server)
    assert codes(check(tree)) == []


@needs_reference
def test_a_push_fails_at_a_layer_link_that_cannot_be_read(
    tree: TreeBuilder, registry_server: Serve
) -> None:
    broken(tree, "layer-link-empty")
    layout = tree.root.parent / "layout"
    make_oci_layout(layout, {"v1": IMAGE})
    pushed = copy(f"oci:{layout}:v1", registry_server(tree.root).image("app:v1"), check=False)
    assert "500" in pushed.stderr
    assert codes(check(tree)) == ["link-empty"]


STICKY = ["blob-flipped", "blob-truncated", "blob-empty", "manifest-flipped", "manifest-empty"]


@needs_reference
@pytest.mark.parametrize("kind", STICKY)
def test_a_push_heals_what_is_corrupt_only_once_it_is_out_of_the_way(
    tree: TreeBuilder, registry_server: Serve, kind: str
) -> None:
    assert broken(tree, kind) == [Code.BLOB_CORRUPT]
    assert "--quarantine` and push" in RULES[Code.BLOB_CORRUPT].remedy
    layout = tree.root.parent / "layout"
    make_oci_layout(layout, {"v1": IMAGE})
    registry = registry_server(tree.root)
    options = (f"oci:{layout}:v1", registry.image("app:v1"), "--preserve-digests")
    copy(*options, check=False)
    assert codes(check(tree)) == ["blob-corrupt"]
    bad = tree.blob_path(TOP if kind.startswith("blob") else IMAGE.digest)
    shutil.move(bad, tree.root.parent / "aside")
    copy(*options)
    assert codes(check(tree)) == []
