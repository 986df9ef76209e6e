"""What crashes and deletions leave in a tree: halves of files, and empty folders.

    blobs/sha256/ab/ab12../                        empty: the registry deleted the blob
    blobs/sha256/ab/ab12../data.<uuid>.tmp         a write that did not finish
    repositories/app/_layers/sha256/ab12../        empty: the registry deleted the link

A folder counts that was made for one thing; those that every repository has stay
when they are empty (without `_layers`, registry 2.8 does not see a repository).
What lies in an upload goes or stays with it and is not told here.
"""

from __future__ import annotations

import re
from typing import Final

from regfs import layout
from regfs.digest import ALGORITHMS
from regfs.errors import StoreError
from regfs.inventory import FileInfo, Inventory
from regfs.stores import UNFINISHED, Entry, Kind, Listing, Store, ignore

_ALGORITHM: Final = f"(?:{'|'.join(ALGORITHMS)})"
_DIGEST: Final = "(?:" + "|".join(f"{a}/[0-9a-f]{{{n}}}" for a, n in ALGORITHMS.items()) + ")"
_FOR_ONE: Final = re.compile(
    rf"{layout.BLOBS}/{_ALGORITHM}/[0-9a-f]{{2}}(?:/[0-9a-f]+)?"
    rf"|{layout.REPOSITORIES}/.+/(?:_layers|_manifests/revisions)/{_DIGEST}"
    rf"|{layout.REPOSITORIES}/.+/_manifests/tags/[^/]+"
    rf"(?:/current|/index(?:/{_ALGORITHM}|/{_DIGEST})?)?",
    re.DOTALL,
)
"""A folder that is made for one blob, link or tag, or that holds nothing but such."""


def is_for_one(folder: str) -> bool:
    """Tell whether a folder is worth nothing when it is empty."""
    return _FOR_ONE.fullmatch(folder) is not None and "/_uploads/" not in folder


def is_unfinished(path: str) -> bool:
    """Tell whether a file is half of one, left by a write of the registry or of regfs."""
    return layout.is_temporary(path) or path.endswith(UNFINISHED)


def find_leftovers(store: Store, inventory: Inventory) -> None:
    """Walk the whole tree for them."""
    above: list[_Open] = []
    for listing in store.tree(layout.PREFIX, ignore):
        while above and not listing.path.startswith(above[-1].path + "/"):
            _leave(store, inventory, above)
        above.append(_Open(listing))
        if "/_uploads/" in listing.path:
            above[-1].used = True
            continue
        for name in listing.files:
            path = f"{listing.path}/{name}"
            if is_unfinished(path):
                _look_at_half(store, inventory, path)
    while above:
        _leave(store, inventory, above)


class _Open:
    """A folder while what is below it is walked."""

    def __init__(self, listing: Listing) -> None:
        self.path = listing.path
        self.used = bool(listing.files or listing.others) or not listing.whole


def _leave(store: Store, inventory: Inventory, above: list[_Open]) -> None:
    folder = above.pop()
    if not folder.used and is_for_one(folder.path):
        _note_empty(store, inventory, folder.path)
    elif above:
        above[-1].used = True


def _note_empty(store: Store, inventory: Inventory, folder: str) -> None:
    try:
        inventory.empty[folder] = store.stat(folder).mtime
    except StoreError:
        return  # gone meanwhile, or not to be looked at: then it is not to be touched either


def _look_at_half(store: Store, inventory: Inventory, path: str) -> None:
    try:
        entry = store.stat(path)
    except StoreError:
        return
    if entry.kind is Kind.FILE:
        _note_half(inventory, entry)


def _note_half(inventory: Inventory, entry: Entry) -> None:
    inventory.temporary[entry.path] = FileInfo(entry.size, entry.mtime, entry.allocated)
