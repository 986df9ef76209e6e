"""regfs: look into, check and clean the disk of a Docker/OCI registry.

    store = regfs.open_store("/var/lib/registry")
    inventory = regfs.scan(store)
    graph = regfs.Graph.build(inventory, regfs.Registry(store))

Every name is imported when it is first asked for: `import regfs` costs nothing.
Verification is in a package of its own: `from regfs.verify import verify`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.errors import RegfsError
    from regfs.findings import Code, Finding, Severity
    from regfs.gc.collect import purge
    from regfs.gc.plan import Plan, plan
    from regfs.gc.policy import Policy
    from regfs.gc.restoring import restore
    from regfs.gc.sweep import apply
    from regfs.graph import Graph
    from regfs.stores import Store, open_store
    from regfs.tree.inventory import Inventory
    from regfs.tree.registry import Registry
    from regfs.tree.scan import scan

__version__ = "0.1.0"

__all__ = [
    "open_store",
    "Store",
    "scan",
    "Inventory",
    "Registry",
    "Graph",
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
]

_HOMES = {
    "open_store": "stores",
    "Store": "stores",
    "scan": "tree.scan",
    "Inventory": "tree.inventory",
    "Registry": "tree.registry",
    "Graph": "graph",
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
