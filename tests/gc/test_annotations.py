"""Blobs that only an annotation names, as nydus and other tools have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regfs.digest import Digest, digests_noted
from regfs.findings import Code
from regfs.graph import EdgeKind
from regfs.graph.paths import why
from regfs.reports.removal import removal
from tests.support.builder import Content, TreeBuilder, blob_of, image, index, raw
from tests.support.registries import collect, going, plan_of, registry_of, scan_and_build
from tests.support.verification import check

DATA = blob_of("what nydus reads on demand").digest
HEX = DATA.partition(":")[2]
WAYS = {
    "a digest": DATA,
    "in words": f"see {DATA}.",
    "bare": HEX,
    "a list": json.dumps([HEX, "0" * 64]),
}


def noting(value: str, place: str) -> Content:
    """Return an image that names a blob in an annotation only."""
    base = image(["bootstrap"])
    document: dict[str, Any] = json.loads(base.data)
    where = document if place == "manifest" else document[place]
    (where[0] if isinstance(where, list) else where)["annotations"] = {"nydus": value}
    return Content(json.dumps(document).encode(), base.media_type, base.blobs)


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("place", ["manifest", "config", "layers"])
@pytest.mark.parametrize("way", WAYS)
def test_a_linked_blob_that_an_annotation_names_stays(
    tree: TreeBuilder, way: str, place: str, lean: bool
) -> None:
    tree.push("app", "v1", noting(WAYS[way], place))
    tree.add_blob("app", "what nydus reads on demand")
    unused = tree.add_blob("app", "never used")
    planned = plan_of(tree, delete_untagged=True, lean=lean)
    assert going(planned, "blob") == going(planned, "layer-link") == {unused}
    (finding,) = [one for one in planned.findings if one.code is Code.BLOB_ANNOTATED]
    assert (finding.digest, finding.repository) == (DATA, "app")
    collect(tree, delete_untagged=True)
    assert tree.blob_path(DATA).exists()
    assert tree.layer_path("app", DATA).exists()


def test_an_annotation_of_an_index_counts_too(tree: TreeBuilder) -> None:
    document = index(image(["app"])).document
    document["manifests"][0]["annotations"] = {"data": DATA}
    tree.push("app", None, image(["app"]))
    tree.push("app", "v1", raw(document))
    tree.add_blob("app", "what nydus reads on demand")
    assert plan_of(tree, delete_untagged=True).actions == []


def test_it_goes_with_the_image_that_names_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", noting(DATA, "manifest"))
    tree.add_blob("app", "what nydus reads on demand")
    tree.push("app", "v1", image(["new"]))
    assert DATA in going(plan_of(tree, delete_untagged=True), "blob")


def test_only_what_the_repository_links_is_kept(tree: TreeBuilder) -> None:
    """Annotations are full of digests: of base images and sources that are nobody's business."""
    base = tree.push("base", "v1", image(["base"]))
    tree.push("base", "v1", image(["newer base"]))
    tree.push("app", "v1", noting(base, "manifest"))
    tree.push("other", "v1", noting(DATA, "manifest"))
    tree.push("links", "v1", image(["links"]))
    tree.add_blob("links", "what nydus reads on demand")
    planned = plan_of(tree, delete_untagged=True)
    assert {base, DATA} <= going(planned, "blob")
    assert not any(one.code is Code.BLOB_ANNOTATED for one in planned.findings)


def test_what_a_manifest_names_anyhow_is_not_told_of(tree: TreeBuilder) -> None:
    layer = blob_of("bootstrap").digest
    tree.push("app", "v1", noting(layer, "manifest"))
    planned = plan_of(tree)
    assert planned.actions == []
    assert planned.findings == []


def test_verify_calls_it_kept_and_not_unused(tree: TreeBuilder) -> None:
    tree.push("app", "v1", noting(DATA, "layers"))
    tree.add_blob("app", "what nydus reads on demand")
    assert {row.finding.code for row in check(tree).findings} == {Code.BLOB_ANNOTATED}


def test_every_other_question_counts_it(tree: TreeBuilder) -> None:
    manifest = tree.push("app", "v1", noting(DATA, "config"))
    tree.add_blob("app", "what nydus reads on demand")
    _, graph = scan_and_build(tree, lean=False)
    assert graph.manifests_naming(Digest(DATA)) == [manifest]
    edges = {step.edge for path in why(graph, Digest(DATA)) for step in path}
    assert EdgeKind.ANNOTATION in edges
    freed = removal(graph, [registry_of(tree).find("app:v1")]).freed
    assert freed.blobs == len(tree.blobs())


def test_digests_are_found_in_any_note() -> None:
    long = "sha512:" + "c" * 128
    text = f"{DATA} {HEX} x{HEX} {HEX}0 {long} sha1:{'d' * 40}"
    assert digests_noted([text, "e" * 64]) == [DATA, long, f"sha256:{'e' * 64}"]
