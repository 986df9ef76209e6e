"""Walking the tree to check layout and links: every folder once, in the order of their names.

A small tree is walked as a whole. A large one is divided into folders of blobs and repositories,
which two processes walk without following symbolic links. Only a walk of the whole tree can say
whether a symbolic link leads to a folder for the second time. So when a part holds one, or
anything that cannot be listed, the whole tree is walked after all.
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
"""Number of blobs from which a second process pays off."""


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
    """Walk everything in scope in this process; return how many links were read."""
    check = FolderCheck(context)
    store = context.registry.store
    for folder in context.scope.folders():
        for listing in store.tree(folder, check.report, leaf="link", limit=LINK_LIMIT):
            check.take(listing)
    return check.links


# -- in parts -----------------------------------------------------------------------------

_Answer = tuple[int, bytes]
"""Number of links read in a part, and its findings, pickled."""


_TreePart = str | Listing
"""The path of a folder, for all that is below it; or only the listing of a divided folder."""


class _NeedsWholeWalk(Exception):
    """A part holds something other than files and folders, or cannot be listed."""


def _walk_parts(context: Context) -> int | None:
    """Walk the tree in two processes; return how many links were read.

    None if the whole tree has to be walked; what was found until then is right but not complete.
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
    """Return the folders that hold repositories and are not repositories themselves."""
    names = {above for name in inventory.repositories for above in folders_above(name)}
    return {layout.repository_folder(name) for name in names - inventory.repositories.keys()}


def _divided(store: Store, folder: str, namespaces: set[str]) -> Iterator[_TreePart]:
    """Yield the parts of `folder`, in the order of a walk.

    Raises:
        _NeedsWholeWalk: a divided folder holds something other than files and folders.
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
    """Check a part; return None if the whole tree has to be walked instead."""
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
    """Walk a folder without following links.

    Raises:
        _NeedsWholeWalk: something is neither file nor folder, or cannot be listed.
    """
    for listing in store.tree(folder, _refuse, leaf="link", limit=LINK_LIMIT, links=False):
        if listing.others:
            raise _NeedsWholeWalk
        yield listing


def _refuse(finding: Finding) -> NoReturn:
    raise _NeedsWholeWalk
