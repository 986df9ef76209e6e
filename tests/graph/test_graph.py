"""The graph: what points to what, what is reached, and what damage puts in doubt."""

from __future__ import annotations

import gc
import os
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regfs.graph.read
from regfs.digest import Digest
from regfs.findings import Code, Finding, Severity
from regfs.graph import EdgeKind, Graph, Leaf, Node, NodeKind, build_graph
from regfs.graph.attached import referrers
from regfs.graph.export import digraph, digraph_with_blobs
from regfs.graph.paths import Step, owners, why
from regfs.manifests import Kind, Role
from regfs.tree.inventory import DigestTable
from regfs.tree.links import parse_link_content
from regfs.tree.scan import scan
from tests.support.builder import (
    OCI_INDEX,
    OCI_LAYER,
    Blob,
    TreeBuilder,
    artifact,
    cache_index,
    digest_of,
    dumps,
    image,
    index,
    oci_artifact,
    raw,
    schema1,
)
from tests.support.damage import DAMAGE, OTHER
from tests.support.registries import build, new_tree, plan_of, recipes, registry_of, scan_and_build


def graph_of(tree: TreeBuilder) -> Graph:
    return scan_and_build(tree)[1]


def found(findings: list[Finding]) -> list[tuple[Code, str]]:
    return [(finding.code, finding.path) for finding in findings]


def of(kind: NodeKind, repository: str, name: str = "") -> Node:
    return Node(kind, repository, name)


def edges(graph: Graph) -> dict[tuple[Any, Any], EdgeKind]:
    found: Any = digraph(graph).edges(data="kind")
    return {(a, b): kind for a, b, kind in found}


def path(*steps: tuple[Node | str, EdgeKind | None]) -> list[Step]:
    return [Step(node, edge) for node, edge in steps]  # type: ignore[arg-type]  # a Digest is a str


APP = of(NodeKind.REPOSITORY, "app")
V1 = of(NodeKind.TAG, "app", "v1")


# -- what points to what ------------------------------------------------------------------


def test_an_image_is_reached_by_its_tag_and_its_revision(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    graph = graph_of(tree)
    revision = of(NodeKind.REVISION, "app", digest)
    assert edges(graph) == {
        (APP, V1): EdgeKind.TAG,
        (APP, revision): EdgeKind.REVISION,
        (V1, digest): EdgeKind.CURRENT,
        (revision, digest): EdgeKind.CONTENT,
    }
    kinds = dict(digraph(graph).nodes(data="kind"))
    assert kinds == {
        APP: NodeKind.REPOSITORY,
        V1: NodeKind.TAG,
        revision: NodeKind.REVISION,
        digest: NodeKind.MANIFEST,
    }
    assert (graph.findings, graph.problems, graph.frozen, graph.incomplete) == ([], {}, {}, [])


def test_nodes_are_written_as_people_write_them() -> None:
    assert [str(APP), str(V1), str(of(NodeKind.REVISION, "app", OTHER))] == [
        "app",
        "app:v1",
        f"app@{OTHER}",
    ]


def test_an_index_leads_to_its_children_in_its_order(tree: TreeBuilder) -> None:
    arm, amd = image(["arm"], platform="linux/arm64"), image(["amd"])
    inner = index(amd)
    digest = Digest(tree.push("app", "v1", index(arm, inner, amd)))
    graph = graph_of(tree)
    assert graph.children(digest) == [arm.digest, inner.digest, amd.digest]
    assert graph.children(Digest(inner.digest)) == [amd.digest]
    assert graph.children(Digest(amd.digest)) == []
    assert graph.children(Digest(OTHER)) == []
    assert list(graph.leaves(digest)) == []
    assert edges(graph)[digest, Digest(arm.digest)] is EdgeKind.CHILD


def test_leaves_are_what_the_manifest_names_with_roles_and_sizes(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1", image(["one", "two", "one"])))
    document = tree.document(digest)
    expected = [(document["config"], Role.CONFIG)]
    expected += [(part, Role.LAYER) for part in document["layers"]]
    assert list(graph_of(tree).leaves(digest)) == [
        Leaf(Digest(part["digest"]), role, part["size"]) for part, role in expected
    ]


def test_a_manifest_that_is_not_there_has_no_leaves(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    assert list(graph_of(tree).leaves(Digest(OTHER))) == []


def test_what_is_kept_of_a_manifest(tree: TreeBuilder) -> None:
    subject = Digest(tree.push("app", "v1"))
    content = artifact(subject=subject)
    digest = Digest(tree.push("app", None, content))
    info = graph_of(tree).manifests[digest]
    assert (info.kind, info.media_type) == (Kind.IMAGE, content.media_type)
    assert (info.artifact_type, info.subject) == ("application/spdx+json", subject)
    assert info.size == len(content.data)


@pytest.mark.parametrize("content", [schema1("app", "v1"), oci_artifact(), cache_index(["a", "b"])])
def test_leaves_of_other_kinds(tree: TreeBuilder, content: Any) -> None:
    digest = Digest(tree.push("app", "v1", content))
    graph = graph_of(tree)
    named = {leaf.digest for leaf in graph.leaves(digest)}
    assert named == {blob.digest for blob in content.blobs}
    assert graph.children(digest) == []
    assert graph.needs([digest]) == {digest, *named}
    assert graph.findings == []


def test_a_manifest_of_unknown_type_leads_to_everything_it_names(tree: TreeBuilder) -> None:
    child = image(["child"])
    blob = tree.add_blob("app", "thing")
    document = {
        "mediaType": "application/vnd.example+json",
        "a": {"b": [child.digest]},
        "c": f"see {blob}!",
        "d": OTHER,
    }
    digest = Digest(tree.push("app", "v1", raw(document, children=[child])))
    graph = graph_of(tree)
    assert graph.children(digest) == [child.digest, OTHER]
    assert [leaf.digest for leaf in graph.leaves(digest)] == [blob]
    assert graph.frozen == {}
    needed = graph.needs(graph.reachable([digest]))
    assert {blob, child.digest, *(b.digest for b in child.blobs)} <= needed
    codes = {finding.code for finding in graph.findings}
    assert codes == {Code.MANIFEST_UNKNOWN_TYPE, Code.INDEX_CHILD_MISSING}


def test_a_child_that_is_no_revision_is_found_by_looking(tree: TreeBuilder) -> None:
    """An index names it without a media type, and nowhere is it linked as a manifest."""
    child = image(["child"])
    tree.push("app", None, child)
    tree.delete_revision("app", child.digest)
    size = len(child.data)
    data = dumps({"schemaVersion": 2, "manifests": [{"digest": child.digest, "size": size}]})
    digest = Digest(tree.push("app", "v1", raw(data)))
    graph = graph_of(tree)
    assert graph.children(digest) == [child.digest]
    assert {blob.digest for blob in child.blobs} <= graph.needs(graph.reachable([digest]))


def test_a_layer_in_an_index_is_not_taken_for_a_manifest(tree: TreeBuilder) -> None:
    """Even when its bytes read as one: its media type says what it is for."""
    inside = image(["inside"])
    digest = Digest(tree.push("app", "v1", index(Blob(inside.data, OCI_LAYER))))
    graph = graph_of(tree)
    assert graph.children(digest) == []
    assert [leaf.digest for leaf in graph.leaves(digest)] == [inside.digest]


def test_a_layer_that_is_a_manifest_elsewhere_is_both(tree: TreeBuilder) -> None:
    inside = image(["inside"])
    tree.push("lib", "v1", inside)
    digest = Digest(tree.push("app", "v1", image([Blob(inside.data)], b"{}")))
    graph = graph_of(tree)
    assert graph.children(digest) == [inside.digest]
    assert inside.digest in [leaf.digest for leaf in graph.leaves(digest)]
    assert graph.manifests_naming(Digest(inside.digest)) == [digest]
    assert {blob.digest for blob in inside.blobs} <= graph.needs(graph.reachable([digest]))


def test_the_same_manifest_in_two_repositories_is_one_node(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    tree.push("lib", "v1")
    graph = graph_of(tree)
    assert list(graph.manifests) == [digest]
    assert Counter(node.repository for node in digraph(graph).pred[digest]) == {"app": 2, "lib": 2}


def test_history_leads_on_only_where_current_does_not(tree: TreeBuilder) -> None:
    old, new = tree.push("app", "v1", image(["old"])), tree.push("app", "v1", image(["new"]))
    assert list(digraph(graph_of(tree)).succ[V1]) == [new]
    tree.break_("tag-current-garbage", "app", "v1")
    graph = graph_of(tree)
    assert set(digraph(graph).succ[V1]) == {old, new}
    assert edges(graph)[V1, Digest(old)] is EdgeKind.HISTORY


def test_a_tag_can_point_to_what_is_no_revision(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    tree.delete_revision("app", digest)
    graph = graph_of(tree)
    assert list(graph.manifests) == [digest]
    assert owners(graph, digest) == {V1}


# -- links that name something else ------------------------------------------------------------


def test_a_link_that_names_another_digest_leads_to_both(tree: TreeBuilder) -> None:
    one = Digest(tree.push("app", "one", image(["one"])))
    two = Digest(tree.push("app", "two", image(["two"])))
    link = tree.write(tree.revision_path("app", one), two)
    graph = graph_of(tree)
    assert graph.revision_targets("app", one) == [one, two]
    assert graph.revision_targets("app", two) == [two]
    assert found(graph.findings) == [(Code.LINK_MISMATCH, tree.relative(link))]
    assert graph.frozen == {}


def test_what_is_not_linked_leads_to_itself(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    assert graph_of(tree).revision_targets("app", Digest(OTHER)) == [OTHER]


def test_a_revision_in_another_algorithm_leads_to_where_it_is_stored(tree: TreeBuilder) -> None:
    content = image()
    digest = tree.push("app", None, content)
    alias = Digest(digest_of(content.data, "sha512"))
    tree.write(tree.revision_path("app", alias), digest)
    graph = graph_of(tree)
    assert graph.revision_targets("app", alias) == [digest]
    assert graph.aliases == {alias: {digest}}
    assert (graph.findings, graph.frozen) == ([], {})


def test_a_layer_in_another_algorithm_counts_by_both_digests(tree: TreeBuilder) -> None:
    layer = Blob(b"layer", algorithm="sha512")
    digest = Digest(tree.push("app", "v1", image([layer], b"{}")))
    stored = digest_of(b"layer")
    graph = graph_of(tree)
    assert {layer.digest, stored} <= graph.needs([digest])
    assert graph.manifests_naming(Digest(stored)) == [digest]
    assert owners(graph, Digest(stored)) >= {V1}


def test_a_layer_that_is_stored_in_another_algorithm_is_no_alias(tree: TreeBuilder) -> None:
    layer = Blob(b"layer", stored=False, algorithm="sha512")
    digest = Digest(tree.push("app", "v1", image([layer], b"{}")))
    tree.write(tree.blob_path(layer.digest), layer.data)
    tree.layer_link("app", layer.digest)
    graph = graph_of(tree)
    assert graph.aliases == {}
    assert layer.digest in graph.needs([digest])
    assert digest_of(b"layer") not in graph.needs([digest])


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


# -- reaching ---------------------------------------------------------------------------------


def test_reaching_follows_children_and_what_else_was_asked_for(tree: TreeBuilder) -> None:
    base = image(["base"])
    about = artifact(["about"], subject=base)
    more = artifact(["more"], subject=about)
    top = index(base)
    tree.push("app", "v1", top)
    tree.push("app", None, about)
    tree.push("app", None, more)
    graph = graph_of(tree)
    names = {"base": base, "about": about, "more": more, "top": top}
    digests = {name: Digest(content.digest) for name, content in names.items()}

    def reached(start: str, **options: Any) -> set[str]:
        got = graph.reachable([digests[start]], **options)
        return {name for name, digest in digests.items() if digest in got}

    assert reached("top") == {"top", "base"}
    assert reached("more") == {"more"}
    assert reached("more", subjects=True) == {"more", "about", "base"}
    assert reached("top", referrers=set(digests.values())) == {"top", "base", "about", "more"}
    assert reached("top", referrers={digests["about"]}) == {"top", "base", "about"}
    assert reached("about", subjects=True, referrers={digests["more"]}) == {
        "about",
        "base",
        "more",
    }


def test_an_unknown_digest_reaches_itself(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    assert graph_of(tree).reachable([Digest(OTHER)], subjects=True) == {OTHER}


def test_referrers_by_field_and_by_fallback_tag(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    tree.push("lib", "v1")
    by_field = tree.push("app", None, artifact(["field"], subject=digest))
    elsewhere = tree.push("lib", None, artifact(["elsewhere"], subject=digest))
    listed = artifact(["listed"])
    tree.fallback("app", digest, listed)
    graph = graph_of(tree)
    assert set(referrers(graph, digest)) == {by_field, elsewhere, listed.digest}
    assert referrers(graph, digest, "app") == [by_field, listed.digest]
    assert referrers(graph, digest, "lib") == [elsewhere]
    assert referrers(graph, digest, "other") == []
    assert referrers(graph, Digest(by_field)) == []


def test_a_referrer_that_is_listed_and_says_so_itself_counts_once(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    both = artifact(["both"], subject=digest)
    tree.fallback("app", digest, both)
    graph = graph_of(tree)
    assert referrers(graph, digest) == referrers(graph, digest, "app") == [both.digest]


def test_a_damaged_fallback_tag_lists_nothing(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    tree.fallback("app", digest, artifact())
    tree.break_("tag-current-empty", "app", digest.replace(":", "-"))
    assert referrers(graph_of(tree), digest) == []


# -- asking back ---------------------------------------------------------------------------------


def test_holders_and_owners(tree: TreeBuilder) -> None:
    shared, alone = image(["base", "one"]), image(["base", "two"])
    tree.push("app", "v1", index(shared))
    tree.push("lib", None, alone)
    unused = Digest(tree.blob(b"unused"))
    graph = graph_of(tree)
    base, one = (Digest(blob.digest) for blob in shared.blobs[1:])
    revision = of(NodeKind.REVISION, "lib", alone.digest)
    assert set(graph.manifests_naming(base)) == {shared.digest, alone.digest}
    assert graph.manifests_naming(one) == [shared.digest]
    assert graph.manifests_naming(unused) == graph.manifests_naming(Digest(OTHER)) == []
    assert owners(graph, one) >= {V1}
    assert owners(graph, base) == owners(graph, one) | {revision}
    assert owners(graph, Digest(alone.digest)) == {revision}
    assert owners(graph, unused) == owners(graph, Digest(OTHER)) == set()


def test_a_referrer_does_not_own_its_subject(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", None))
    tree.push("app", "about", artifact(subject=digest))
    graph = graph_of(tree)
    assert owners(graph, digest) == {of(NodeKind.REVISION, "app", digest)}


def test_why_tells_every_path(tree: TreeBuilder) -> None:
    child = image(["one"])
    top = tree.push("app", "v1", index(child))
    layer = Digest(child.blobs[1].digest)
    revisions = [of(NodeKind.REVISION, "app", digest) for digest in (child.digest, top)]
    end = [(child.digest, EdgeKind.CHILD), (layer, EdgeKind.LAYER)]
    direct = [(child.digest, EdgeKind.CONTENT), (layer, EdgeKind.LAYER)]
    start: tuple[Node, None] = (APP, None)
    expected = [
        path(start, (revisions[0], EdgeKind.REVISION), *direct),
        path(start, (revisions[1], EdgeKind.REVISION), (top, EdgeKind.CONTENT), *end),
        path(start, (V1, EdgeKind.TAG), (top, EdgeKind.CURRENT), *end),
    ]
    paths = list(why(graph_of(tree), layer))
    assert len(paths) == 3
    assert all(one in paths for one in expected)


def test_why_a_manifest_a_config_and_a_blob(tree: TreeBuilder) -> None:
    content = oci_artifact()
    digest = Digest(tree.push("app", None, content))
    config = Digest(tree.push("app", "v1", image()))
    graph = graph_of(tree)
    revision = of(NodeKind.REVISION, "app", digest)
    (only,) = why(graph, digest)
    assert only == path((APP, None), (revision, EdgeKind.REVISION), (digest, EdgeKind.CONTENT))
    (only,) = why(graph, Digest(content.blobs[0].digest))
    assert only[-1].edge is EdgeKind.BLOB
    document = tree.document(config)
    for found_path in why(graph, Digest(document["config"]["digest"])):
        assert found_path[-1].edge is EdgeKind.CONFIG


def test_why_leads_over_a_subject_to_what_is_about_it(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    about = Digest(tree.push("app", None, artifact(subject=digest)))
    paths = list(why(graph_of(tree), about))
    end = path((digest, EdgeKind.CURRENT), (about, EdgeKind.SUBJECT))
    assert [*path((APP, None), (V1, EdgeKind.TAG)), *end] in paths


def test_nothing_keeps_what_nothing_points_to(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    unused = Digest(tree.blob(b"unused"))
    graph = graph_of(tree)
    assert list(why(graph, unused)) == list(why(graph, Digest(OTHER))) == []


def _list(tree: TreeBuilder, *digests: str, subject: str | None = None) -> str:
    """Write an index of digests, without anything that links it."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    entries = [{"mediaType": OCI_INDEX, "digest": digest, "size": 1} for digest in digests]
    document["manifests"] = entries
    if subject is not None:
        document["subject"] = {"mediaType": OCI_INDEX, "digest": subject, "size": 1}
    data = dumps(document)
    target = tree.blob_path(digest_of(data))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return digest_of(data)


def _diamonds(tree: TreeBuilder, bottom: str, depth: int) -> str:
    """Write indexes that can be walked down to `bottom` in 2^depth ways; return the top."""
    for _ in range(depth):
        left = _list(tree, bottom)
        bottom = _list(tree, bottom, left)
    return bottom


def test_of_very_many_paths_some_can_be_taken(tree: TreeBuilder) -> None:
    content = image()
    tree.push("lib", None, content)
    top = _diamonds(tree, content.digest, 50)
    tree.revision("app", top)
    tree.tag("app", "v1", top)
    graph = graph_of(tree)
    layer = Digest(content.blobs[1].digest)
    paths = list(islice(why(graph, layer), 20))
    assert len({tuple(one) for one in paths}) == 20
    assert len(graph.reachable([Digest(top)])) == 101
    assert len(owners(graph, layer)) == 3


def test_ways_up_to_no_root_do_not_count(tree: TreeBuilder) -> None:
    """A subject that is nowhere a revision is read; what it lists is not kept by it."""
    content = image()
    tree.push("lib", None, content)
    top = _diamonds(tree, content.digest, 50)
    tree.push("app", None, artifact(subject=top))
    graph = graph_of(tree)
    assert Digest(top) in graph.manifests
    layer = Digest(content.blobs[1].digest)
    assert [one[0].node for one in why(graph, layer)] == [of(NodeKind.REPOSITORY, "lib")]


def test_ways_up_in_a_circle_end(tree: TreeBuilder) -> None:
    """An image, an index of it, and an index of both that is about the image."""
    base = image()
    tree.push("app", "v1", base)
    over = _list(tree, base.digest)
    about = _list(tree, over, base.digest, subject=base.digest)
    tree.revision("app", about)
    graph = graph_of(tree)
    for digest in (base.digest, over, about, base.blobs[1].digest):
        paths = list(why(graph, Digest(digest)))
        assert paths
        assert len({tuple(one) for one in paths}) == len(paths)
        assert all(len(set(one)) == len(one) for one in paths)


# -- the whole graph -------------------------------------------------------------------------


def test_the_complete_graph_has_blobs_as_nodes(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1", image(["base", "one", "base"])))
    tree.push("lib", "v1", image(["base", "two"]))
    document = tree.document(digest)
    missing = document["layers"][1]["digest"]
    tree.delete_blob(missing)
    graph = graph_of(tree)
    whole = digraph_with_blobs(graph)
    assert set(whole) >= set(map(Digest, tree.blobs()))
    config = Digest(document["config"]["digest"])
    expected = {"kind": NodeKind.BLOB, "size": document["config"]["size"]}
    assert whole.nodes[config] == expected
    assert whole.nodes[Digest(missing)] == {"kind": NodeKind.BLOB, "size": None}
    assert whole.edges[digest, config]["kind"] is EdgeKind.CONFIG
    assert whole.edges[digest, Digest(missing)]["kind"] is EdgeKind.LAYER
    assert set(digraph(graph)) < set(whole)


def test_the_complete_graph_of_some_repositories(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", image(["base", "one"]))
    other = tree.push("lib", "v1", image(["base", "two"]))
    graph = graph_of(tree)
    part = digraph_with_blobs(graph, ["app", "no such repository"])
    assert digest in part
    assert other not in part
    assert {node.repository for node in part if isinstance(node, Node)} == {"app"}
    assert len(digraph_with_blobs(graph, [])) == 0


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


def test_a_chain_of_ten_thousand_indexes(tree: TreeBuilder) -> None:
    content = image()
    tree.push("lib", None, content)
    top = content.digest
    for _ in range(10_000):
        top = _list(tree, top)
    tree.revision("app", top)
    tree.tag("app", "v1", top)
    graph = graph_of(tree)
    assert len(graph.manifests) == 10_001
    assert graph.findings == []
    layer = Digest(content.blobs[1].digest)
    assert layer in graph.needs(graph.reachable([Digest(top)]))
    assert V1 in owners(graph, layer)
    assert sorted(map(len, why(graph, layer))) == [4, 10_004, 10_004]


def test_damage_at_every_step_of_a_long_chain(tree: TreeBuilder) -> None:
    top = tree.push("lib", None)
    bad = []
    for number in range(1500):
        bad.append(_list(tree, top, f"sha256:{number:064x}"))
        tree.blob_path(bad[-1]).write_bytes(b"damaged")
        top = _list(tree, top, bad[-1])
    for name in ("app", "app/other"):
        tree.revision(name, top)
    graph = graph_of(tree)
    assert sorted(graph.frozen) == ["app", "app/other"]
    assert {finding.digest for finding in graph.frozen["app"]} == set(bad)
    assert len(graph.findings) == len(bad)


def test_an_index_as_wide_as_a_manifest_can_be(tree: TreeBuilder) -> None:
    digests = [f"sha256:{number:064x}" for number in range(20_000)]
    top = _list(tree, *digests)
    assert tree.blob_path(top).stat().st_size < 4 << 20
    tree.revision("app", top)
    graph = graph_of(tree)
    assert graph.children(Digest(top)) == digests
    assert len(graph.findings) == 20_000
    assert graph.frozen == {}


def test_garbage_of_python_is_collected_as_before(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1")
    assert gc.isenabled()
    inventory, _ = scan_and_build(tree)
    registry = registry_of(tree)

    class Bug(Exception):
        pass

    def fail(*_: Any) -> None:
        assert not gc.isenabled()
        raise Bug

    monkeypatch.setattr("regfs.graph.read.skim", fail)
    with pytest.raises(Bug):
        build_graph(inventory, registry)
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(Bug):
            build_graph(inventory, registry)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_slow_disk_makes_the_same_graph(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        tree.push("app", f"v{number}", index(image([f"{number}"])))
    tree.break_("manifest-flipped", "app", "v7")
    fast = graph_of(tree)
    monkeypatch.setattr(regfs.graph.read, "_COLD", -1.0)
    slow = graph_of(tree)
    assert edges(slow) == edges(fast)
    assert slow.manifests == fast.manifests
    assert slow.findings == fast.findings


def test_progress_counts_manifests(tree: TreeBuilder) -> None:
    class Counting:
        count = 0

        def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
            assert total == 2

        def advance(self, amount: int) -> None:
            self.count += amount

        def finish(self) -> None:
            assert self.count == 2

    tree.push("app", "v1", index(image()))
    registry = registry_of(tree)
    progress = Counting()
    build_graph(scan(registry.store), registry, progress=progress)
    assert progress.count == 2


def test_an_inventory_can_be_older_than_the_tree(tree: TreeBuilder) -> None:
    """Blobs go and come between listing and reading; neither is taken for what it is not."""
    digest = Digest(tree.push("app", "v1"))
    registry = registry_of(tree)
    inventory = scan(registry.store)
    tree.delete_blob(digest)
    graph = build_graph(inventory, registry)
    assert list(graph.frozen) == ["app"]
    tree.push("app", "v1")
    inventory.blobs = DigestTable(inventory.known)
    assert list(build_graph(inventory, registry).manifests) == [digest]


def test_a_child_that_goes_while_manifests_are_read(tree: TreeBuilder) -> None:
    """It was listed, so its referrer points to it; its index alone names it as a child."""
    child = image(["child"])
    tree.push("app", "v1", index(child, sparse=[]))
    tree.push("app", "about", artifact(subject=child))
    tree.delete_revision("app", child.digest)
    registry = registry_of(tree)
    inventory = scan(registry.store)
    tree.delete_blob(child.digest)
    graph = build_graph(inventory, registry)
    assert [finding.code for finding in graph.findings] == [Code.INDEX_CHILD_MISSING]
    assert graph.frozen == {}


def test_a_link_that_cannot_be_read_is_told_once_and_is_doubt(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("app", "v1"))
    registry = registry_of(tree)
    inventory = scan(registry.store)
    inventory.repositories["app"].links[digest] = parse_link_content(None)
    graph = build_graph(inventory, registry)
    assert graph.findings == []
    assert [reason.code for reason in graph.frozen["app"]] == [Code.PATH_UNREADABLE]
    assert list(graph.manifests) == [digest]


# -- laws --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(recipes(), st.data())
def test_forwards_and_backwards_agree(recipe: Any, data: st.DataObject) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        inventory, graph = scan_and_build(tree)
    needed: dict[Digest, set[Node]] = {}
    for node in digraph(graph):
        if isinstance(node, Node) and node.kind is not NodeKind.REPOSITORY:
            for blob in graph.needs(graph.reachable(digraph(graph).succ[node])):
                needed.setdefault(blob, set()).add(node)
    for blob in set(inventory.blobs) | set(needed):
        assert owners(graph, blob) == needed.get(blob, set())
    whole = digraph_with_blobs(graph)
    for blob in data.draw(st.lists(st.sampled_from(sorted(inventory.blobs)), max_size=3)):
        for steps in islice(why(graph, blob), 50):
            assert steps[0].edge is None
            assert steps[-1].node == blob
            for above, below in pairwise(steps):
                pair = (above.node, below.node)
                ends = pair[::-1] if below.edge is EdgeKind.SUBJECT else pair
                assert whole.edges[ends]["kind"] is below.edge
        if blob in needed:
            assert next(why(graph, blob), None) is not None
