"""A scan of a tree, and short words for what it found."""

from __future__ import annotations

from typing import Any

from regfs import layout
from regfs.findings import Code
from regfs.stores import open_store
from regfs.tree.inventory import Inventory
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder


def scanned(tree: TreeBuilder, **options: Any) -> Inventory:
    return scan(open_store(str(tree.root)), **options)


def found(inventory: Inventory) -> set[tuple[Code, str]]:
    return {(finding.code, finding.path) for finding in inventory.findings}


def paths_of(inventory: Inventory) -> set[str]:
    """Return the path of every file that the inventory says is there, by the path dictionary."""
    keys: list[layout.Key] = [layout.BlobData(digest) for digest in inventory.blobs]
    for name, repository in inventory.repositories.items():
        keys.extend(layout.LayerLink(name, digest) for digest in repository.layers)
        keys.extend(layout.RevisionLink(name, digest) for digest in repository.revisions)
        for tag, info in repository.tags.items():
            keys.extend(layout.TagIndex(name, tag, entry.digest) for entry in info.history)
            if info.size:
                keys.append(layout.TagCurrent(name, tag))
    return {layout.path_of(key) for key in keys}
