"""What a graph says of what it cannot know, word by word, and that only this is in doubt."""

from __future__ import annotations

import os
from typing import Any

import pytest

from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.graph import EdgeKind, Graph, manifest_bytes, read
from regfs.graph.export import digraph
from regfs.graph.read import Reader, Reading
from regfs.manifests import Role
from regfs.progress import SILENT
from regfs.tree.digests import DigestSet
from tests.support.builder import (
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    TreeBuilder,
    artifact,
    blob_of,
    digest_of,
    image,
    index,
    raw,
)
from tests.support.graphs import digraph_with_blobs
from tests.support.images import Content
from tests.support.registries import registry_of, scan_and_build

ONE, TWO = image(["one"]), image(["two"])
LONG = Blob(blob_of("long").data, algorithm="sha512")


def graph_of(tree: TreeBuilder, *, history: bool = True) -> Graph:
    return scan_and_build(tree, history=history)[1]


def told(graph: Graph, code: Code) -> Finding:
    """Return the one finding of a code, among those told and those that freeze."""
    every = [
        *graph.findings,
        *graph.incomplete,
        *(one for some in graph.frozen.values() for one in some),
    ]
    (found,) = {one for one in every if one.code is code}
    return found


def row_of(content: Content) -> dict[str, Any]:
    return {"mediaType": OCI_MANIFEST, "digest": content.digest, "size": len(content.data)}


# -- in words -----------------------------------------------------------------------


def test_a_revision_link_of_no_digest_is_told_with_what_it_says(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", ONE)
    path = tree.write(tree.revision_path("app", digest), "nonsense")
    graph = graph_of(tree)
    found = told(graph, Code.LINK_INVALID)
    assert found == Finding(
        Code.LINK_INVALID, tree.relative(path), digest, "app", expected=digest, actual="'nonsense'"
    )
    assert found in graph.findings
    assert found in graph.frozen["app"]


def test_a_revision_link_of_another_digest_is_told_with_both(tree: TreeBuilder) -> None:
    one, two = tree.push("app", "v1", ONE), tree.push("app", "v2", TWO)
    path = tree.write(tree.revision_path("app", one), two)
    assert told(graph_of(tree), Code.LINK_MISMATCH) == Finding(
        Code.LINK_MISMATCH, tree.relative(path), one, "app", expected=one, actual=two
    )


def test_a_tag_link_of_no_digest_is_told_with_its_tag(tree: TreeBuilder) -> None:
    tree.push("app", "v1", ONE)
    path = tree.write(tree.tag_path("app", "v1"), "nonsense")
    (found,) = graph_of(tree).frozen["app"]
    assert found == Finding(Code.LINK_INVALID, tree.relative(path), repository="app", tag="v1")


def test_a_tag_link_that_cannot_be_read_is_told_as_such(tree: TreeBuilder) -> None:
    tree.push("app", "v1", ONE)
    path = tree.tag_path("app", "v1")
    path.unlink()
    path.mkdir()
    codes = {found.code for found in graph_of(tree).frozen["app"]}
    assert Code.LINK_INVALID not in codes
    assert codes


@pytest.mark.parametrize("text", ["nonsense", "md5:" + "0" * 32])
def test_a_layer_link_by_another_name_is_told_with_what_it_says(
    tree: TreeBuilder, text: str
) -> None:
    tree.push("app", "v1", image([LONG]))
    name = digest_of(LONG.data, "sha512")
    path = tree.write(tree.layer_path("app", name), text)
    (found,) = graph_of(tree).frozen["app"]
    assert (found.path, found.digest, found.repository) == (tree.relative(path), name, "app")
    assert (found.expected, found.actual) == (name, repr(text))


def test_a_manifest_that_is_another_is_told_with_both_digests(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", ONE)
    tree.write(tree.blob_path(digest), TWO.data)
    found = told(graph_of(tree), Code.BLOB_CORRUPT)
    assert (found.digest, found.expected, found.actual) == (digest, digest, TWO.digest)


@pytest.mark.parametrize(
    ("media_type", "shown"), [("application/x", "application/x"), (None, "none given")]
)
def test_a_manifest_of_unknown_type_is_told_with_its_type(
    tree: TreeBuilder, media_type: str | None, shown: str
) -> None:
    kind = {} if media_type is None else {"mediaType": media_type}
    content = raw({"schemaVersion": 2, "things": [], **kind})
    tree.push("app", "v1", content)
    assert told(graph_of(tree), Code.MANIFEST_UNKNOWN_TYPE).actual == shown


def test_what_a_broken_manifest_names_has_no_known_size(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", ONE)
    tree.write(tree.blob_path(digest), ONE.data + b" ")
    graph = graph_of(tree)
    leaves = list(graph.leaves(Digest(digest)))
    assert {leaf.digest for leaf in leaves} == {blob.digest for blob in ONE.blobs}
    assert {(leaf.role, leaf.size) for leaf in leaves} == {(Role.BLOB, -1)}


# -- sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [True, False])
def test_a_manifest_of_just_the_largest_size_is_read(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """Where its blob was listed, and where it is only found while reading."""
    inventory, _ = scan_and_build(tree)
    digest = Digest(tree.push("app", "v1", ONE))
    if listed:
        inventory, _ = scan_and_build(tree)
    for limit, problem in ((len(ONE.data), None), (len(ONE.data) - 1, Code.MANIFEST_TOO_LARGE)):
        monkeypatch.setattr(read, "LIMIT", limit)
        monkeypatch.setattr(manifest_bytes, "LIMIT", limit)
        known = inventory.known
        reader = Reader(registry_of(tree), inventory, DigestSet(known), SILENT)
        (found,) = reader.read([known.add(digest)])
        broken = found.problem if isinstance(found, Reading) else None
        assert (None if broken is None else broken.code) is problem


# -- what doubt reaches ---------------------------------------------------------------------


def test_what_cannot_be_seen_among_blobs_hides_no_links(tree: TreeBuilder) -> None:
    tree.push("app", "v1", ONE)
    (tree.v2 / "blobs/sha256/zz").symlink_to("/nowhere")
    graph = graph_of(tree)
    assert (graph.incomplete, graph.frozen) == ([], {})


def test_what_cannot_be_seen_among_links_counts_beside_other_trouble(tree: TreeBuilder) -> None:
    tree.push("app", "v1", ONE)
    (tree.v2 / "blobs/sha256/zz").symlink_to("/nowhere")
    (tree.v2 / "repositories/team").symlink_to("/nowhere")
    assert [one.path for one in graph_of(tree).incomplete] == [
        "docker/registry/v2/repositories/team"
    ]


def test_a_second_place_counts_beside_other_trouble(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", ONE)
    tree.push("lib", "v1", TWO)
    (tree.v2 / "blobs/sha256/00").symlink_to("/nowhere")
    folder = tree.blob_path(digest).parent
    folder.rename(tree.v2 / "blobs/elsewhere")
    folder.symlink_to(tree.v2 / "blobs/elsewhere")
    assert Code.SYMLINK_INSIDE in {one.code for one in graph_of(tree).incomplete}


@pytest.mark.parametrize("history", [True, False])
def test_in_doubt_what_tags_have_pointed_to_is_known_and_its_trouble_counts(
    tree: TreeBuilder, history: bool
) -> None:
    tree.push("app", "v1", ONE)
    tree.push("app", "v1", TWO)
    folder = tree.tag_index_path("app", "v1", ONE.digest).parent
    tree.write(tree.blob_path(TWO.digest), b"broken")
    inventory, graph = scan_and_build(tree, history=history)
    assert {one.digest for one in inventory.repositories["app"].tags["v1"].history} == {
        ONE.digest,
        TWO.digest,
    }
    assert graph.incomplete == []
    (folder.parent / "strange").symlink_to("/nowhere")
    assert graph_of(tree, history=history).incomplete != []


def test_a_child_that_was_never_pushed_hides_no_other_that_is_broken(tree: TreeBuilder) -> None:
    """It is met first: what is broken lies one index deeper."""
    inner = index(TWO)
    rows = [row_of(child) for child in (image(["never pushed"]), inner)]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}
    tree.push("app", "v1", raw(document, OCI_INDEX))
    tree.blob(inner.data)
    assert graph_of(tree).frozen == {}
    tree.write(tree.blob_path(TWO.digest), b"broken")
    assert "app" in graph_of(tree).frozen


@pytest.mark.parametrize("data", [b"no manifest", b"{" + b" " * 5_000_000])
def test_what_an_index_calls_a_manifest_and_is_none_is_doubt(
    tree: TreeBuilder, data: bytes
) -> None:
    tree.blob(data)
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [row_of(raw(data))]}
    tree.push("app", "v1", raw(document, OCI_INDEX))
    assert "app" in graph_of(tree).frozen


def test_a_child_that_no_repository_links_to_keeps_its_layers(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", index(ONE))
    tree.revision_path("app", ONE.digest).unlink()
    graph = graph_of(tree)
    reached = graph.reachable([Digest(digest)])
    assert ONE.digest in reached
    assert {blob.digest for blob in ONE.blobs} <= graph.needs(reached)


def test_a_child_that_nothing_calls_a_manifest_keeps_its_layers(tree: TreeBuilder) -> None:
    tree.blob(ONE.data)
    thing = {"digest": ONE.digest, "size": len(ONE.data)}
    digest = tree.push("app", "v1", raw({"schemaVersion": 2, "things": [thing]}))
    graph = graph_of(tree)
    assert ONE.blobs[0].digest in graph.needs(graph.reachable([Digest(digest)]))


# -- and what it does not reach ---------------------------------------------------------------


def test_a_referrer_of_what_is_there_is_no_finding(tree: TreeBuilder) -> None:
    tree.push("app", "v1", ONE)
    tree.push("app", None, artifact(["sbom"], subject=ONE))
    graph = graph_of(tree)
    assert (graph.findings, graph.frozen) == ([], {})


def test_a_manifest_that_is_missing_is_not_known(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", ONE)
    tree.delete_blob(digest)
    graph = graph_of(tree)
    assert digest not in graph.manifests
    assert graph.problems[Digest(digest)].code is Code.BLOB_MISSING


# -- links of two names -------------------------------------------------------------------------


def test_a_link_to_another_manifest_in_place_of_a_missing_one_is_a_mismatch(
    tree: TreeBuilder,
) -> None:
    """Of the same algorithm it is no other name: what was meant is missing, and in doubt."""
    one, two = tree.push("app", "v1", ONE), tree.push("app", "v2", TWO)
    tree.write(tree.revision_path("app", one), two)
    tree.delete_blob(one)
    graph = graph_of(tree)
    assert set(graph.revision_targets("app", Digest(one))) == {one, two}
    assert told(graph, Code.LINK_MISMATCH).actual == two
    assert "app" in graph.frozen


def test_a_link_by_another_algorithm_to_something_else_keeps_both(tree: TreeBuilder) -> None:
    tree.push("app", "v1", TWO)
    long = digest_of(ONE.data, "sha512")
    tree.write(tree.blob_path(long), ONE.data)
    tree.write(tree.revision_path("app", long), TWO.digest)
    assert set(graph_of(tree).revision_targets("app", Digest(long))) == {long, TWO.digest}


# -- children, subjects and layers at once ---------------------------------------------------


def about_itself(tree: TreeBuilder, *, listed: bool) -> tuple[Graph, Digest]:
    """Return an index about an image that it lists, or lists not."""
    tree.push("app", "one", ONE)
    tree.push("app", "two", TWO)
    children = [ONE, TWO] if listed else [TWO]
    rows = [row_of(child) for child in children]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}
    digest = tree.push("app", "all", raw(document | {"subject": row_of(ONE)}, OCI_INDEX))
    return graph_of(tree), Digest(digest)


def test_a_subject_is_no_child(tree: TreeBuilder) -> None:
    graph, digest = about_itself(tree, listed=False)
    assert graph.children(digest) == [TWO.digest]
    assert graph.reachable([digest]) == {digest, TWO.digest}


def test_a_subject_that_is_listed_is_a_child(tree: TreeBuilder) -> None:
    graph, digest = about_itself(tree, listed=True)
    assert graph.children(digest) == [ONE.digest, TWO.digest]
    assert digraph(graph).edges[digest, ONE.digest]["kind"] is EdgeKind.CHILD


def test_a_layer_that_is_a_manifest_stays_a_child_in_the_complete_graph(tree: TreeBuilder) -> None:
    tree.push("lib", "v1", ONE)
    digest = tree.push("app", "v1", image([Blob(ONE.data)]))
    whole = digraph_with_blobs(graph_of(tree))
    assert whole.edges[digest, ONE.digest]["kind"] is EdgeKind.CHILD
    assert whole.nodes[ONE.digest]["kind"] == "manifest"


def test_a_tree_whose_blobs_lie_elsewhere_in_it_is_in_no_doubt(tree: TreeBuilder) -> None:
    tree.push("app", "v1", ONE)
    (tree.v2 / "blobs").rename(tree.root / "blobs")
    os.symlink(tree.root / "blobs", tree.v2 / "blobs")
    assert graph_of(tree).frozen == {}


def test_a_manifest_names_its_own_blobs_and_no_others(tree: TreeBuilder) -> None:
    made = [ONE, artifact(["first"]), TWO, artifact(["second"]), artifact(["third"], subject=ONE)]
    for content in made:
        tree.push("app", None, content)
    graph = graph_of(tree)
    for content in made:
        named = [leaf.digest for leaf in graph.leaves(Digest(content.digest))]
        assert named == [blob.digest for blob in content.blobs]
