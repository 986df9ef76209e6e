"""Asking back: what holds, owns and keeps something, by every path there is."""

from __future__ import annotations

from itertools import islice

from regfs.digest import Digest
from regfs.graph import EdgeKind, Node, NodeKind
from regfs.graph.paths import Step, owners, why
from tests.support.builder import TreeBuilder, artifact, image, index, oci_artifact
from tests.support.damage import OTHER
from tests.support.graphs import graph_of, of, unlinked_index


def path(*steps: tuple[Node | str, EdgeKind | None]) -> list[Step]:
    return [Step(node, edge) for node, edge in steps]  # type: ignore[arg-type]  # a Digest is a str


APP = of(NodeKind.REPOSITORY, "app")
V1 = of(NodeKind.TAG, "app", "v1")


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


def _diamonds(tree: TreeBuilder, bottom: str, depth: int) -> str:
    """Write indexes that can be walked down to `bottom` in 2^depth ways; return the top."""
    for _ in range(depth):
        left = unlinked_index(tree, bottom)
        bottom = unlinked_index(tree, bottom, left)
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
    over = unlinked_index(tree, base.digest)
    about = unlinked_index(tree, over, base.digest, subject=base.digest)
    tree.revision("app", about)
    graph = graph_of(tree)
    for digest in (base.digest, over, about, base.blobs[1].digest):
        paths = list(why(graph, Digest(digest)))
        assert paths
        assert len({tuple(one) for one in paths}) == len(paths)
        assert all(len(set(one)) == len(one) for one in paths)
