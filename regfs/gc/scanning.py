"""Scanning as much of a tree as a plan needs."""

from __future__ import annotations

from collections.abc import Iterator

from regfs import layout
from regfs.gc.plan import needs_history
from regfs.gc.policy import Policy
from regfs.progress import SILENT, Progress
from regfs.runs import require_one_filesystem
from regfs.stores import Store, folders_above
from regfs.tree.inventory import Inventory
from regfs.tree.scan import scan


def scan_for_plan(store: Store, policy: Policy, progress: Progress = SILENT) -> Inventory:
    """Scan a tree as a plan by `policy` needs it.

    Raises:
        Doubt: a part of it lies on another file system, so a plan could not be applied.
    """
    inventory = scan(store, progress=progress, history=needs_history(policy), lean=True)
    require_one_filesystem(store, _folders(inventory))
    if policy.leftovers:
        from regfs.tree.leftovers import find_leftovers

        find_leftovers(store, inventory)
    return inventory


def _folders(inventory: Inventory) -> set[str]:
    """Return the folders where another file system may be mounted: not those of single files."""
    beginnings = {digest[: digest.index(":") + 3] for digest in inventory.blobs}
    found = {f"{layout.BLOBS}/{text.replace(':', '/')}" for text in beginnings}
    found |= {f"{layout.REPOSITORIES}/{name}" for name in inventory.repositories}
    return found.union(*map(_above, found))


def _above(folder: str) -> Iterator[str]:
    return (one for one in folders_above(folder) if one.startswith(layout.PREFIX))
