"""The way through the tree for links and layout: every folder once, in the order of their names.

    the whole tree at once      small trees, and parts of a tree
    folder by folder of blobs,  large trees: two processes walk what is listed here as parts,
      repository by repository  and follow no link

Only a walk through the whole tree can tell where a symbolic link leads to a second time. So a
part that holds one, or anything that cannot be listed, makes the tree walked at once after all.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final, NoReturn

from regfs import layout
from regfs.digest import ALGORITHMS
from regfs.findings import Code, Finding
from regfs.parallel import map_in_two_processes
from regfs.progress import SILENT
from regfs.stores import Listing, Store, folders_above
from regfs.tree.inventory import Inventory
from regfs.tree.links import LINK_LIMIT
from regfs.verify.context import Context
from regfs.verify.folders import FolderCheck
from regfs.verify.links import check_repository
from regfs.verify.report import Recorder

MANY: Final = 4096
"""Blobs from which on a second process is worth its start."""


def check_links(context: Context) -> int:
    """Walk the tree and check every link in it; return how many were read."""
    inventory = context.inventory
    context.progress.start("Checking links")
    if inventory.lacks_blobs and not inventory.hides(layout.BLOBS):
        context.add(Finding(Code.BLOBS_MISSING, layout.BLOBS))
    links = None
    if context.scope.everything and len(inventory.blobs) >= MANY:
        links = _walk_parts(context)
    if links is None:
        links = _walk_whole(context)
    hidden = inventory.hides(layout.REPOSITORIES)
    if inventory.blobs and not inventory.repositories and not hidden:
        context.add(Finding(Code.REPOSITORIES_MISSING, layout.REPOSITORIES))
    for repository in inventory.repositories.values():
        if context.scope.has_repository(repository.name):
            check_repository(context, repository)
    context.progress.finish()
    return links


def _walk_whole(context: Context) -> int:
    """Walk all that is asked for in this process; return how many links were read."""
    check = FolderCheck(context)
    store = context.registry.store
    for folder in context.scope.folders():
        for listing in store.tree(folder, check.report, leaf="link", limit=LINK_LIMIT):
            check.take(listing)
    return check.links


# -- in parts -----------------------------------------------------------------------------

_Answer = tuple[int, bytes]
"""How many links were read in a part, and what was found, pickled."""


_TreePart = str | Listing
"""A folder with all it holds, by its path, or only what is directly in one that is divided."""


class _NeedsWholeWalk(Exception):
    """A folder holds something other than files and folders, or cannot be listed."""


def _walk_parts(context: Context) -> int | None:
    """Walk the tree in two processes; return how many links were read.

    None if there is a symbolic link or something that cannot be listed: then what was found
    is right, and not all there is to find.
    """
    links = 0
    try:
        parts = list(
            _divided(context.registry.store, layout.PREFIX, _namespaces(context.inventory))
        )
    except _NeedsWholeWalk:
        return None

    def work(items: Iterator[int]) -> Iterator[_Answer | None]:
        return (_answer(context, parts[item]) for item in items)

    with closing(map_in_two_processes(work, len(parts))) as answers:
        for answer in answers:
            if answer is None:
                return None
            count, found = answer
            links += count
            context.progress.advance(count)
            for finding in pickle.loads(found) if found else ():
                context.collector.add(finding)
    return links


def _namespaces(inventory: Inventory) -> set[str]:
    """Return the folders that hold repositories and are none."""
    names = {above for name in inventory.repositories for above in folders_above(name)}
    return {layout.repository_folder(name) for name in names - inventory.repositories.keys()}


def _divided(store: Store, folder: str, namespaces: set[str]) -> Iterator[_TreePart]:
    """Yield parts that together are `folder`, in the order of a walk.

    Raises:
        _NeedsWholeWalk: something other than files and folders is in one that is divided.
    """
    listing = next(_unlinked(store, folder), None)
    if listing is None:
        return
    yield listing
    for name in listing.folders:
        path = f"{folder}/{name}"
        if path in _DIVIDED or path in namespaces:
            yield from _divided(store, path, namespaces)
        else:
            yield path


_DIVIDED: Final = {
    layout.BLOBS,
    layout.REPOSITORIES,
    *(f"{layout.BLOBS}/{algorithm}" for algorithm in ALGORITHMS),
}


def _answer(context: Context, part: _TreePart) -> _Answer | None:
    """Check a part; None when only a walk through the whole tree can tell what is there."""
    recorder = Recorder(context.collector)
    check = FolderCheck(replace(context, collector=recorder, progress=SILENT))
    store = context.registry.store
    try:
        for listing in (part,) if isinstance(part, Listing) else _unlinked(store, part):
            check.take(listing)
    except _NeedsWholeWalk:
        return None
    return check.links, pickle.dumps(recorder.findings) if recorder.findings else b""


def _unlinked(store: Store, folder: str) -> Iterator[Listing]:
    """Walk a folder and follow no link.

    Raises:
        _NeedsWholeWalk: there is something other than files and folders, or cannot be listed.
    """
    for listing in store.tree(folder, _refuse, leaf="link", limit=LINK_LIMIT, links=False):
        if listing.others:
            raise _NeedsWholeWalk
        yield listing


def _refuse(finding: Finding) -> NoReturn:
    raise _NeedsWholeWalk
