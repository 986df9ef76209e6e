"""A collection of a small live registry, let through one operation at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from regfs.gc.collect import collect
from regfs.gc.plan import plan
from regfs.gc.policy import Policy
from regfs.gc.scanning import scan_for_plan
from regfs.gc.sweep import Applied
from regfs.graph import build_graph
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, image, index
from tests.support.gates import Collector

WAIT = 100.0
"""Seconds of age before anything is a candidate, and of the wait before a purge."""


ONE, TWO = image(["base", "one"]), image(["base", "two"], {"author": "two"})


ARM = image(["base"], {"author": "arm"}, platform="linux/arm64")
IMAGES = [ONE, TWO, index(ONE, ARM), index(TWO)]
"""Few, and with much in common: what one gives up is what another takes up."""


def start(
    root: Path,
    now: Callable[[], float],
    *,
    purge: bool,
    by: Callable[..., Applied] | None = None,
    number: int = 0,
    kind: type[Collector] = Collector,
) -> Collector:
    """Start a collection, as `gc run -m --min-age 100s` does, or one that does less."""

    def work(store: Any, pause: Callable[[float], None]) -> object:
        registry = Registry(store)
        policy = Policy(delete_untagged=True, min_age=WAIT, allow_no_manifests=True)
        inventory = scan_for_plan(store, policy)
        made = plan(build_graph(inventory, registry), policy, now())
        # By chance two of one second would come in any order, and no example twice the same.
        made = replace(made, id=f"{made.id[:-6]}{number:06x}")
        return (by or collect)(made, registry, purge=purge, clock=now, pause=pause)

    return kind(work, root)


def with_garbage(root: Path) -> None:
    """Make a registry in which every image once was, and few have a tag."""
    tree = TreeBuilder(root)
    tree.push("a", "v1", ONE)
    tree.push("a", "v1", TWO)
    tree.push("a/b", "v1", IMAGES[2])
    tree.push("a/b", "v1", image(["other"]))
    tree.push("a/b", "v2", ONE)
    tree.untag("a/b", "v2")
    tree.add_blob("a", "linked and unused")
    tree.blob(b"linked by nothing")
