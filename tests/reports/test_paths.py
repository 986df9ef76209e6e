"""What needs a blob or manifest: every tag once, and the manifests that no tag reaches."""

from __future__ import annotations

from itertools import islice
from typing import Any

from hypothesis import given

from regfs.digest import Digest
from regfs.graph.paths import nearest, owners, why
from regfs.reports.paths import NeededBy, needs
from tests.support.builder import TreeBuilder, artifact, blob_of, image, index
from tests.support.graphs import graph_of
from tests.support.registries import build, new_tree, recipes, scan_and_build


def needed(tree: TreeBuilder, digest: str) -> list[NeededBy]:
    return list(needs(graph_of(tree), Digest(digest)))


def test_every_tag_is_told_once_with_its_shortest_way(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    inner = image([layer])
    outer = index(inner, index(inner))
    tree.push("app", "both", outer)
    tree.push("lib", "v1", inner)
    assert [(one.name, one.through, one.role) for one in needed(tree, layer.digest)] == [
        ("app:both", (outer.digest, inner.digest), "layer"),
        ("lib:v1", (inner.digest,), "layer"),
    ]


def test_a_manifest_that_no_tag_reaches_is_told_apart(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    old, new = image([layer], {"author": "old"}), image([layer], {"author": "new"})
    tree.push("app", "v1", old)
    tree.push("app", "v1", new)
    first, second = needed(tree, layer.digest)
    assert (first.name, first.tag) == ("app:v1", "v1")
    assert (second.name, second.tag) == (f"app@{old.digest}", None)
    assert second.through == ()


def test_a_referrer_is_needed_by_the_tag_of_its_subject(tree: TreeBuilder) -> None:
    subject = image(["app"])
    tree.push("app", "v1", subject)
    sbom = artifact([blob_of(b"{}")], subject=subject)
    tree.push("app", None, sbom)
    (one,) = needed(tree, sbom.digest)
    assert (one.name, one.through, one.role) == ("app:v1", (subject.digest,), "subject")


def test_what_a_tag_points_to_is_needed_by_it(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", image(["a"]))
    (one,) = needed(tree, digest)
    assert (one.name, one.through, one.role) == ("app:v1", (), "current")


def test_nothing_needs_an_unused_blob(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["a"]))
    assert needed(tree, tree.blob(b"unused")) == []


@given(recipes())
def test_the_nearest_are_on_the_paths_and_none_is_shorter(recipe: Any) -> None:
    with new_tree() as folder:
        inventory, graph = scan_and_build(build(folder, recipe))
    for digest in inventory.blobs:
        found = nearest(graph, digest)
        assert set(found) >= owners(graph, digest)
        shortest: dict[Any, int] = {}
        for path in islice(why(graph, digest), 2000):
            root = path[1].node
            shortest[root] = min(len(path) - 1, shortest.get(root, len(path)))
        for root, steps in found.items():
            assert len(steps) == shortest[root]
            assert (steps[0].node, steps[-1].node) == (root, digest)


def test_tags_stand_in_natural_order(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    for name, tag in (("app-2", "v1"), ("app", "v10"), ("app", "v9"), ("app", "v2")):
        tree.push(name, tag, image([layer]))
    found = [one.name for one in needed(tree, layer.digest)]
    assert found == ["app:v2", "app:v9", "app:v10", "app-2:v1"]
