"""What damage the graph reports, and what it puts in doubt."""

from __future__ import annotations

import os

import pytest

from regfs.digest import Digest
from regfs.findings import Code, Severity
from regfs.graph import build_graph
from regfs.graph.export import digraph
from regfs.graph.paths import owners
from regfs.tree.links import parse_link_content
from regfs.tree.scan import scan
from tests.support.builder import Blob, TreeBuilder, artifact, dumps, image, index, raw
from tests.support.damage import DAMAGE, OTHER
from tests.support.graphs import digraph_with_blobs, found, graph_of
from tests.support.registries import plan_of, registry_of

# -- links that name something else ------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "garbage", "sha256:0"])
def test_a_link_that_hides_which_layer_is_meant_is_doubt(tree: TreeBuilder, content: str) -> None:
    layer = Blob(b"layer", algorithm="sha512")
    tree.push("lib", "v1")
    tree.push("app", "v1", image([layer], b"{}"))
    link = tree.write(tree.layer_path("app", layer.digest), content)
    graph = graph_of(tree)
    code = Code.LINK_INVALID if content else Code.LINK_EMPTY
    assert found(graph.findings) == [(code, tree.relative(link))]
    assert graph.frozen == {"app": graph.findings}
    assert plan_of(tree, delete_untagged=True, min_age=0).actions == []


# -- damage ------------------------------------------------------------------------------------


WHOLE: tuple[list[Code], bool, bool] = ([], False, False)
EXPECTED: dict[str, tuple[list[Code], bool, bool]] = {
    # kind: findings of the graph, is the repository frozen, is everything blind
    "link-empty": ([Code.LINK_EMPTY], True, False),
    "link-newline": ([Code.LINK_INVALID], False, False),
    "link-garbage": ([Code.LINK_INVALID], True, False),
    "link-bare-hex": ([Code.LINK_INVALID], False, False),
    "link-truncated": ([Code.LINK_INVALID], True, False),
    "link-other-digest": ([Code.LINK_MISMATCH, Code.LINK_DANGLING], True, False),
    "link-missing": WHOLE,
    "fifo-link": (*WHOLE[:1], True, True),
    "tag-current-empty": ([], True, False),
    "tag-current-newline": WHOLE,
    "tag-current-garbage": ([], True, False),
    "tag-current-bare-hex": WHOLE,
    "tag-current-truncated": ([], True, False),
    "tag-current-other-digest": ([Code.TAG_DANGLING], True, False),
    "tag-current-missing": WHOLE,
    "tag-without-current": WHOLE,
    "tag-index-missing": WHOLE,
    "manifest-missing": ([Code.LINK_DANGLING, Code.TAG_DANGLING], True, False),
    "manifest-empty": ([Code.BLOB_CORRUPT], True, False),
    "manifest-flipped": ([Code.BLOB_CORRUPT], True, False),
    "manifest-truncated": ([Code.BLOB_CORRUPT], True, False),
    "manifest-not-json": ([Code.BLOB_CORRUPT], True, False),
    "manifest-other-json": ([Code.BLOB_CORRUPT], True, False),
    "manifest-too-large": ([Code.MANIFEST_TOO_LARGE], True, False),
    "manifest-unknown-type": ([Code.MANIFEST_UNKNOWN_TYPE], False, False),
    "manifest-deep": ([Code.MANIFEST_UNREADABLE], True, False),
    "manifest-wrong-types": ([Code.MANIFEST_UNKNOWN_TYPE], False, False),
    "manifest-bogus-digest": ([Code.DESCRIPTOR_INVALID], True, False),
    "index-child-missing": ([Code.INDEX_CHILD_MISSING], False, False),
    "subject-missing": ([Code.SUBJECT_MISSING], False, False),
    "symlink-loop": ([], False, True),
}
"""Every other damage is none of the graph's: nothing in it says what points where."""


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_puts_in_doubt_what_it_must(tree: TreeBuilder, kind: str) -> None:
    tree.push("lib", "v1", image(["lib"]))
    tree.push("app", "v1", image(["one"]))
    tree.break_(kind, "app", "v1")
    graph = graph_of(tree)
    codes, frozen, incomplete = EXPECTED.get(kind, WHOLE)
    assert sorted(finding.code for finding in graph.findings) == sorted(codes)
    assert list(graph.frozen) == (["app"] if frozen else [])
    assert bool(graph.incomplete) == incomplete
    assert owners(graph, Digest(tree.current("lib", "v1")))


def test_no_expectation_is_left_behind() -> None:
    assert set(EXPECTED) <= set(DAMAGE)


@pytest.mark.parametrize("kind", ["manifest-flipped", "manifest-truncated"])
def test_what_is_written_in_a_damaged_manifest_is_kept(tree: TreeBuilder, kind: str) -> None:
    child = image(["child"], {"padding": "x" * 300})
    top = Digest(tree.push("app", "v1", index(child, annotations={"x": "y" * 3000})))
    tree.break_(kind, "app", "v1")
    graph = graph_of(tree)
    assert graph.problems[top].code is Code.BLOB_CORRUPT
    assert graph.children(top) == [child.digest]
    assert {blob.digest for blob in child.blobs} <= graph.needs(graph.reachable([top]))


def test_what_names_its_content_wrongly_may_still_be_a_manifest(tree: TreeBuilder) -> None:
    layer = Blob(b"in use, perhaps")
    bad = {**image([layer]).document}
    bad["layers"] = [*bad["layers"], {**bad["layers"][0], "digest": "sha256:cut off"}]
    named = tree.blob(dumps(bad))
    top = tree.push("app", "v1", raw(dumps({"things": [named]}), blobs=[layer]))
    graph = graph_of(tree)
    assert graph.problems[Digest(named)].code is Code.DESCRIPTOR_INVALID
    assert list(graph.frozen) == ["app"]
    assert layer.digest in graph.needs(graph.reachable([Digest(top)]))


def test_a_child_in_a_damaged_index_is_found_though_it_is_no_revision(tree: TreeBuilder) -> None:
    child, config = image(["child"]), Blob(b"{}")
    tree.push("app", None, child)
    tree.delete_revision("app", child.digest)
    tree.add_blob("app", config)
    data = dumps({"a": child.digest, "b": config.digest, "c": OTHER, "d": []})
    top = Digest(tree.push("app", "v1", raw(data)))
    target = tree.blob_path(top)
    tree.write(target, data.replace(b'"d"', b'"e"'))
    graph = graph_of(tree)
    assert graph.children(top) == [child.digest]
    assert {leaf.digest for leaf in graph.leaves(top)} == {config.digest, OTHER}
    assert {blob.digest for blob in child.blobs} <= graph.needs(graph.reachable([top]))


def test_damage_freezes_every_repository_that_names_it_through_anything(
    tree: TreeBuilder,
) -> None:
    child = image(["child"])
    tree.push("a", "v1", index(child))
    tree.push("b", None, index(index(child)))
    tree.push("c", "about", artifact(subject=child))
    tree.push("d", "v1", image(["other"]))
    target = tree.blob_path(child.digest)
    tree.write(target, child.data + b" ")
    graph = graph_of(tree)
    assert sorted(graph.frozen) == ["a", "b", "c"]
    (finding,) = graph.findings
    assert (finding.code, finding.path) == (Code.BLOB_CORRUPT, tree.relative(target))
    assert all(reasons == [finding] for reasons in graph.frozen.values())


def test_every_reason_is_told_to_everybody_it_concerns(tree: TreeBuilder) -> None:
    one, two = image(["one"]), image(["two"])
    tree.push("both", "v1", index(one, two))
    tree.push("first", "v1", one)
    for content in (one, two):
        tree.write(tree.blob_path(content.digest), b"")
    graph = graph_of(tree)
    reasons = {name: {r.digest for r in found} for name, found in graph.frozen.items()}
    assert reasons == {"both": {one.digest, two.digest}, "first": {one.digest}}


def test_a_child_that_was_never_pushed_is_no_doubt(tree: TreeBuilder) -> None:
    there, absent = image(["there"]), image(["absent"])
    top = tree.push("app", "v1", index(there, sparse=[absent]))
    graph = graph_of(tree)
    assert graph.frozen == {}
    (finding,) = graph.findings
    assert (finding.code, finding.expected) == (Code.INDEX_CHILD_MISSING, absent.digest)
    assert finding.path == tree.relative(tree.blob_path(top))
    assert graph.problems == {Digest(absent.digest): finding}


def test_a_child_that_was_pushed_and_is_gone_is_doubt(tree: TreeBuilder) -> None:
    child = image(["child"])
    tree.push("app", "v1", index(child))
    tree.delete_blob(child.digest)
    graph = graph_of(tree)
    assert list(graph.frozen) == ["app"]
    assert [finding.code for finding in graph.findings] == [Code.LINK_DANGLING]
    assert graph.findings[0].severity is Severity.ERROR


def test_a_subject_that_is_gone_is_told_and_no_doubt(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", artifact(subject=OTHER))
    graph = graph_of(tree)
    (finding,) = graph.findings
    assert (finding.code, finding.expected) == (Code.SUBJECT_MISSING, OTHER)
    assert finding.path == tree.relative(tree.blob_path(digest))
    assert graph.frozen == {}


def test_a_manifest_that_cannot_be_read_is_doubt(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    tree.blob_path(digest).unlink()
    os.mkfifo(tree.blob_path(digest))
    graph = graph_of(tree)
    assert graph.problems[digest].code is Code.BLOB_UNREADABLE
    assert list(graph.frozen) == ["app"]


@pytest.mark.parametrize("part", ["_layers", "_manifests/revisions", "_manifests/tags/v1/index"])
def test_what_an_unknown_algorithm_names_is_doubt(tree: TreeBuilder, part: str) -> None:
    tree.push("lib", "v1")
    tree.push("app", "v1")
    folder = tree.repository_path("app") / part / "blake3"
    tree.write(folder / ("ab" * 32) / "link", "blake3:" + "ab" * 32)
    graph = graph_of(tree)
    assert list(graph.frozen) == ["app"]
    assert graph.frozen["app"][0].path == tree.relative(folder)
    assert graph.incomplete == []


def test_a_folder_of_repositories_that_cannot_be_seen_blinds(tree: TreeBuilder) -> None:
    tree.push("team/app", "v1")
    (tree.repository_path("team") / "more").symlink_to("/etc")
    graph = graph_of(tree)
    assert [finding.code for finding in graph.incomplete] == [Code.SYMLINK_OUTSIDE]
    assert graph.frozen == {}


def test_blobs_without_any_repository_are_doubt(tree: TreeBuilder) -> None:
    tree.blob(b"x")
    graph = graph_of(tree)
    assert [finding.code for finding in graph.incomplete] == [Code.REPOSITORIES_MISSING]
    assert graph.incomplete == graph.findings


def test_an_empty_registry_has_an_empty_graph(tree: TreeBuilder) -> None:
    tree.folder(tree.v2 / "repositories")
    graph = graph_of(tree)
    assert len(digraph(graph)) == 0
    assert (graph.incomplete, graph.findings, list(digraph_with_blobs(graph))) == ([], [], [])


# -- size and shape -----------------------------------------------------------------------------


def test_a_link_that_cannot_be_read_is_told_once_and_is_doubt(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    registry = registry_of(tree)
    inventory = scan(registry.store)
    inventory.repositories["app"].links[digest] = parse_link_content(None)
    graph = build_graph(inventory, registry)
    assert graph.findings == []
    assert [reason.code for reason in graph.frozen["app"]] == [Code.PATH_UNREADABLE]
    assert list(graph.manifests) == [digest]
