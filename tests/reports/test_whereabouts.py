"""Where the parts of an image lie: the paths are those of real files, and what is gone is said."""

from __future__ import annotations

from regfs.digest import Digest
from regfs.reports.whereabouts import ImagePath, image_paths
from tests.support.builder import TreeBuilder, blob_of, image, index
from tests.support.registries import registry_of, scan_and_build


def paths(tree: TreeBuilder, reference: str) -> list[ImagePath]:
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    target, digest = registry.find_content(reference)
    return image_paths(graph, registry.store, target, digest)


def test_every_path_of_an_index_is_a_file(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    tree.push("app", "v1", index(image([layer]), image([layer, blob_of("more")])))
    found = paths(tree, "app:v1")
    assert {one.state for one in found} == {"there"}
    assert all((tree.root / one.path).is_file() for one in found)
    assert len(found) == len({one.path for one in found})
    files = {path for path in tree.root.rglob("*") if path.is_file()}
    assert files == {tree.root / one.path for one in found}


def test_what_is_gone_is_said_to_be_missing(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    tree.push("app", "v1", image([layer]))
    tree.delete_blob(Digest(layer.digest))
    found = [one for one in paths(tree, "app:v1") if one.state != "there"]
    assert [(one.what, one.digest, one.state) for one in found] == [
        ("layer", layer.digest, "missing")
    ]


def test_a_digest_alone_has_no_links(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", image([blob_of("layer")]))
    assert [one.what for one in paths(tree, digest)] == ["manifest", "config", "layer"]
