"""A registry with one thing of every kind that a collection deletes; plan and apply on it."""

from __future__ import annotations

import time
from typing import Any

from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.sweep import Applied, apply
from regfs.graph import build_graph
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, image

UNTAGGED = Policy(delete_untagged=True, min_age=0)


def make_plan(tree: TreeBuilder, policy: Policy = UNTAGGED) -> Plan:
    registry = Registry(open_store(str(tree.root)))
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry)
    return plan(graph, policy, time.time())


def carry_out(tree: TreeBuilder, planned: Plan, store: Any = None, **options: Any) -> Applied:
    registry = Registry(store or open_store(str(tree.root)))
    return apply(planned, registry, **options)


def with_litter(tree: TreeBuilder) -> TreeBuilder:
    """Make two images that stay, and one of every thing that a collection deletes."""
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("app", "v1", image(["base", "two"]))
    tree.push("lib", "latest", image(["base", "three"]))
    tree.add_blob("lib", "never used")
    tree.blob(b"linked by nothing")
    tree.upload("lib", 100, started_at="2020-01-01T00:00:00Z")
    tree.age(30 * 86400)
    return tree


def needed(tree: TreeBuilder) -> dict[str, str]:
    """Return the files that the tags of `litter` need, by the builder's own knowledge."""
    keep = set()
    for name, tag in (("app", "v1"), ("lib", "latest")):
        digest = tree.current(name, tag)
        document = tree.document(digest)
        keep |= {tree.tag_path(name, tag), tree.revision_path(name, digest), tree.blob_path(digest)}
        for descriptor in [document["config"], *document["layers"]]:
            keep.add(tree.blob_path(descriptor["digest"]))
            keep.add(tree.layer_path(name, descriptor["digest"]))
    files = tree.files()
    return {tree.relative(path): files[tree.relative(path)] for path in keep}


def assert_whole(tree: TreeBuilder, wanted: dict[str, str]) -> None:
    files = tree.files()
    assert {path: files.get(path) for path in wanted} == wanted
