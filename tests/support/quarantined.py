"""An image that a collection moved into quarantine."""

from __future__ import annotations

from typing import Any

from regfs.gc.collect import collect
from regfs.gc.sweep import Applied
from regfs.runs import Run, runs
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, image
from tests.support.registries import plan_of, registry_of

OLD = image(["base", "old"])


def never(seconds: float) -> None:
    raise AssertionError(f"nobody was to wait {seconds} s")


def move(tree: TreeBuilder, **policy: Any) -> Applied:
    """Collect into quarantine, untagged manifests too."""
    made = plan_of(tree, **{"delete_untagged": True, **policy})
    return collect(made, registry_of(tree), pause=never)


def move_old(tree: TreeBuilder) -> TreeBuilder:
    """Push OLD and another image in its place, and move OLD into quarantine; return the tree."""
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    assert move(tree).done.manifests == 1
    assert not tree.blob_path(OLD.digest).exists()
    return tree


def the_run(tree: TreeBuilder) -> Run:
    (run,) = runs(open_store(str(tree.root)))
    return run
