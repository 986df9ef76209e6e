"""The graph: what points to what, and what is reached."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.findings import Code
from regfs.graph import EdgeKind, Leaf, Node, NodeKind
from regfs.graph.attached import referrers
from regfs.graph.export import digraph
from regfs.graph.paths import owners, why
from regfs.manifests import Kind, Role
from tests.support.builder import (
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
from tests.support.damage import OTHER
from tests.support.graphs import digraph_with_blobs, edges, found, graph_of, of
from tests.support.registries import build, new_tree, recipes, scan_and_build

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
