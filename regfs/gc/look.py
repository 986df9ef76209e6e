"""Looking at a tree as a plan needs it, and no more closely."""

from __future__ import annotations

from regfs.gc.plan import needs_history
from regfs.gc.policy import Policy
from regfs.inventory import Inventory
from regfs.listing import scan
from regfs.progress import SILENT, Progress
from regfs.stores import Store


def look(store: Store, policy: Policy, progress: Progress = SILENT) -> Inventory:
    """List a tree as a plan by `policy` needs it."""
    inventory = scan(store, progress=progress, history=needs_history(policy), lean=True)
    if policy.leftovers:
        from regfs.leftovers import find_leftovers

        find_leftovers(store, inventory)
    return inventory
