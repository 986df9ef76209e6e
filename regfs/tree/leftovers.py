"""What crashes, deletions and copies leave in a tree: halves of files, and empty folders.

    blobs/sha256/ab/ab12../                        empty: the registry deleted the blob
    blobs/sha256/ab/ab12../data.<uuid>.tmp         a write that did not finish
    blobs/sha256/ab/ab12../.data.Xy12Ab            a copy by rsync that did not finish
    blobs/sha256/ab/ab12../.~tmp~/data             one that was to be put in place at the end
    repositories/app/_layers/sha256/ab12../        empty: the registry deleted the link

A folder counts that was made for one thing; those that every repository has stay
when they are empty (without `_layers`, registry 2.8 does not see a repository).
What lies in an upload goes or stays with it and is not told here.

Why what rsync has left may go: no registry reads a file of such a name, so nobody
misses it, unless it is the only good copy of what belongs in its place. So what lies
in that place is read first: if it is wrong, the half stays; if nothing is there, it
goes only if nothing in the tree needs what was to come (`gc.going` decides). A copy
may still be under way, and rsync gives its files the times of what it copies, old ones.
So their age counts from `changed`, which no program can set, and is a day at least:
with --delay-updates a finished file waits until all others have come. Should a copy
lose its half all the same, rsync says so and copies it again.
"""

from __future__ import annotations

import re
from typing import Final

from regfs import layout
from regfs.digest import ALGORITHMS, BUFFER_SIZE, VerifiedReader
from regfs.errors import ContentMismatch, DigestInvalid, PathMissing, StoreError
from regfs.stores import Entry, FileKind, Listing, Store, ignore
from regfs.stores.unfinished import finished_name
from regfs.tree.inventory import FileInfo, HalfCopy, Inventory
from regfs.tree.junk import is_rsync_folder, rsync_target
from regfs.tree.links import LINK_LIMIT

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
    """Return whether a folder is worth nothing when it is empty."""
    if is_rsync_folder(folder):
        folder = layout.parent_of(folder)
    return _FOR_ONE.fullmatch(folder) is not None and "/_uploads/" not in folder


def is_unfinished(path: str) -> bool:
    """Return whether a file is half of one, left by a write of the registry or of regfs."""
    return layout.is_temporary(path) or finished_name(layout.name_of(path)) is not None


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
            elif (target := rsync_target(path)) is not None:
                _look_at_copy(store, inventory, path, target)
    while above:
        _leave(store, inventory, above)


class _Open:
    """A folder while what is below it is walked."""

    def __init__(self, listing: Listing) -> None:
        self.path = listing.path
        self.used = bool(listing.files or listing.others) or not listing.complete


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
    if entry.kind is FileKind.FILE:
        _note_half(inventory, entry)


def _look_at_copy(store: Store, inventory: Inventory, path: str, target: str) -> None:
    try:
        entry = store.stat(path)
        wanted_as = None if _is_right(store, target) else target
    except (StoreError, DigestInvalid):
        return  # gone meanwhile, or what lies in its place is wrong: then this may be better
    if entry.kind is FileKind.FILE:
        facts = entry.size, entry.mtime, entry.changed
        inventory.copies[path] = HalfCopy(*facts, wanted_as)


def _is_right(store: Store, path: str) -> bool:
    """Return whether a file of the layout is as it should be, or False if it is not there.

    Raises:
        StoreError, DigestInvalid: it cannot be read, or is wrong.
    """
    key = layout.key_of(path)
    try:
        if isinstance(key, layout.BlobData):
            with store.open(path) as raw:
                reader = VerifiedReader(raw, key.digest, path)
                while reader.read(BUFFER_SIZE):
                    pass
            return True
        found = layout.parse_link(store.read(path, LINK_LIMIT))
    except PathMissing:
        return False
    named = getattr(key, "digest", found)
    if found.algorithm == named.algorithm and found != named:
        raise ContentMismatch(f"{path}: names {found}")
    return True


def _note_half(inventory: Inventory, entry: Entry) -> None:
    inventory.temporary[entry.path] = FileInfo(entry.size, entry.mtime, entry.allocated)
