"""regfs: look into, check and clean the disk of a Docker/OCI registry.

    tree = regfs.open("/var/lib/registry")
    print(len(tree.inventory.blobs), "blobs,", len(tree.graph.manifests), "manifests")
    print(tree.usage().sum.stored, "bytes in images")

`regfs.open` gives one object for a tree: what is there, reports, verification, collection.
The parts it is made of are public too. Every name is imported when it is first asked for:
`import regfs` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.errors import (
        Doubt,
        Invalid,
        LockHeld,
        NotARegistry,
        PlanStale,
        Refused,
        RegfsError,
        StoreError,
        Unknown,
    )
    from regfs.facade import Tree, open
    from regfs.findings import Code, Finding, Severity
    from regfs.gc.collect import purge
    from regfs.gc.plan import Plan, plan
    from regfs.gc.policy import Policy
    from regfs.gc.restoring import restore
    from regfs.gc.sweep import apply
    from regfs.graph import Graph, build_graph
    from regfs.stores import Store, open_store
    from regfs.tree.inventory import Inventory
    from regfs.tree.registry import Registry
    from regfs.tree.scan import scan

__version__ = "0.1.0"

__all__ = [
    "open",
    "Tree",
    "open_store",
    "Store",
    "scan",
    "Inventory",
    "Registry",
    "Graph",
    "build_graph",
    "Digest",
    "Finding",
    "Severity",
    "Code",
    "Policy",
    "plan",
    "Plan",
    "apply",
    "restore",
    "purge",
    "RegfsError",
    "NotARegistry",
    "Invalid",
    "Unknown",
    "Refused",
    "Doubt",
    "LockHeld",
    "PlanStale",
    "StoreError",
]

_HOMES = {
    "open": "facade",
    "Tree": "facade",
    "open_store": "stores",
    "Store": "stores",
    "scan": "tree.scan",
    "Inventory": "tree.inventory",
    "Registry": "tree.registry",
    "Graph": "graph",
    "build_graph": "graph",
    "Digest": "digest",
    "Finding": "findings",
    "Severity": "findings",
    "Code": "findings",
    "Policy": "gc.policy",
    "plan": "gc.plan",
    "Plan": "gc.plan",
    "apply": "gc.sweep",
    "restore": "gc.restoring",
    "purge": "gc.collect",
    "RegfsError": "errors",
    "NotARegistry": "errors",
    "Invalid": "errors",
    "Unknown": "errors",
    "Refused": "errors",
    "Doubt": "errors",
    "LockHeld": "errors",
    "PlanStale": "errors",
    "StoreError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import and return a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'regfs' has no attribute {name!r}")
    found = getattr(import_module(f"regfs.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return what there is, imported or not."""
    return sorted({*globals(), *_HOMES})
