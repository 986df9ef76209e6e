"""Long chains, wide indexes, slow disks, and trees that change while manifests are read."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import regfs.graph.read
from regfs.digest import Digest
from regfs.findings import Code
from regfs.graph import NodeKind, build_graph
from regfs.graph.paths import owners, why
from regfs.tree.inventory import DigestTable
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.graphs import edges, graph_of, of, unlinked_index
from tests.support.registries import registry_of, scan_and_build

V1 = of(NodeKind.TAG, "app", "v1")


def test_a_chain_of_ten_thousand_indexes(tree: TreeBuilder) -> None:
    content = image()
    tree.push("lib", None, content)
    top = content.digest
    for _ in range(10_000):
        top = unlinked_index(tree, top)
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
        bad.append(unlinked_index(tree, top, f"sha256:{number:064x}"))
        tree.blob_path(bad[-1]).write_bytes(b"damaged")
        top = unlinked_index(tree, top, bad[-1])
    for name in ("app", "app/other"):
        tree.revision(name, top)
    graph = graph_of(tree)
    assert sorted(graph.frozen) == ["app", "app/other"]
    assert {finding.digest for finding in graph.frozen["app"]} == set(bad)
    assert len(graph.findings) == len(bad)


def test_an_index_as_wide_as_a_manifest_can_be(tree: TreeBuilder) -> None:
    digests = [f"sha256:{number:064x}" for number in range(20_000)]
    top = unlinked_index(tree, *digests)
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
