"""One listing pass over a registry tree: what is there, how big, how old.

No content is read but links of tags and revisions, in the same breath as they
are listed. Digests of layer links are taken from their paths; whether the content
agrees is the business of verify, and of gc for whatever it is about to delete.
Stray files beside a `data` or `link` are not seen here: that takes a full
listing (`Store.walk`).
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.names import could_be_component
from regfs.parallel import adaptive_map, map_in_two_processes, without_collector
from regfs.progress import SILENT, Progress
from regfs.stores import Capability, FileKind, Leaves, Store, stat_or_none
from regfs.tree.digests import Digests
from regfs.tree.folders import (
    algorithms_in,
    leaves_in,
    report_file,
    report_foreign,
    report_other,
    take_leaves,
)
from regfs.tree.inventory import (
    Ask,
    Inventory,
    RepositoryInventory,
)
from regfs.tree.junk import is_junk_folder
from regfs.tree.links import read_again
from regfs.tree.repositories import scan_repository
from regfs.tree.serialise import Packed, pack, unpack

_ALGORITHM: Final = 6
"""Letters in the name of every algorithm."""

MANY: Final = 4096
"""Blobs that a second process is worth its start for."""

_SAMPLE: Final = 16
"""Folders of blobs that are listed before it is known about how many blobs there are."""

_COLD: Final = 40e-6
"""Seconds per file above which a disk is taken for cold."""


def scan(
    store: Store,
    *,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.time,
    want: Callable[[str], bool] | None = None,
    history: bool = True,
    link_times: bool = True,
    lean: bool = False,
    known: Digests | None = None,
) -> Inventory:
    """List the tree once.

    Without `history`, what a tag pointed to before is left out if it says what it points to
    now: that saves two thirds of the time where there are many tags.
    Without `link_times` it takes only the names of layer links, and `lean` also those of blobs.
    It asks about a file when it matters: garbage collection asks about a tenth of them.

    `want` picks repositories by name, by default all; blobs are always listed whole.
    `known` are the digests of an earlier scan of the same tree: with the same numbers, two scans
    are compared at no cost.

    Raises:
        StoreError: the root itself cannot be listed.
    """
    store = store.snapshot()
    digests = Digests() if known is None else known
    taken_at = clock() if store.taken_at is None else store.taken_at
    inventory = Inventory(store.url, taken_at, digests, whole=want is None)
    if lean:
        inventory.blobs.ask = _asker(store, inventory, layout.blob_folder, "data", _ALGORITHM + 3)
    with without_collector():
        scan_owners(store, inventory)
        repositories = list(walk_repositories(store, inventory, want))
        for repository in repositories:
            repository.has_history = history
            if lean or not link_times:
                repository.layers.ask = _layer_asker(store, inventory, repository.name)
        _scan_folders(store, inventory, repositories, progress)
    read_again(store, inventory)
    _put_in_order(inventory)
    return inventory


def _put_in_order(inventory: Inventory) -> None:
    """Sort what threads and a second process have seen, each at its own pace."""
    inventory.blobs.order()
    inventory.findings.sort(key=attrgetter("place"))
    inventory.foreign.sort()
    inventory.vacant.sort()


def _scan_folders(
    store: Store, inventory: Inventory, repositories: list[RepositoryInventory], progress: Progress
) -> None:
    """List the blobs and these repositories: at first a few folders of blobs, to see how many."""
    progress.start("Listing blobs")
    folders = blob_folders(store, inventory)
    first = folders[:_SAMPLE]
    for folder, leaves in zip(first, _list_blobs(store, inventory, first), strict=True):
        _take_blobs(inventory, folder, leaves, progress)
    many = len(inventory.blobs) * len(folders) >= MANY * max(len(first), 1)
    _Rest(store, inventory, folders[_SAMPLE:], repositories).scan(progress, fork=many)


class _BlobFolder(NamedTuple):
    """Where blobs lie that begin alike."""

    algorithm: str
    prefix: str
    path: str


class _Rest:
    """What is still to be listed: folders of blobs, then repositories, as items of one row."""

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        folders: list[_BlobFolder],
        repositories: list[RepositoryInventory],
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._folders = folders
        self._repositories = repositories

    def scan(self, progress: Progress, *, fork: bool) -> None:
        """List it all, in this process or in two."""
        count = len(self._folders)
        row = map_in_two_processes(
            self._here, count + len(self._repositories), there=self._there, fork=fork
        )
        for folder, answer in zip(self._folders, row, strict=False):
            _take_blobs(self._inventory, folder, self._leaves(folder, answer), progress)
        progress.finish()
        progress.start("Listing repositories")
        for repository, answer in zip(self._repositories, row, strict=True):
            self._inventory.repositories[repository.name] = repository
            if answer is None:
                scan_repository(self._store, self._inventory, repository)
            else:
                unpack(answer, repository, self._inventory)
            progress.advance(1)
        progress.finish()

    def _here(self, items: Iterator[int]) -> Iterator[Leaves | None]:
        """Do items in this process; of a repository nothing is done until it is its turn."""
        repositories = []

        def folders() -> Iterator[_BlobFolder]:
            for item in items:
                if item >= len(self._folders):
                    repositories.append(item)
                    return
                yield self._folders[item]

        yield from _list_blobs(self._store, self._inventory, folders())
        yield from (None for _ in chain(repositories, items))

    def _there(self, items: Iterator[int]) -> Iterator[Packed | None]:
        """Do items in another process; None of what only this one can tell of."""
        seen = Inventory(self._inventory.url, self._inventory.taken_at)
        seen.blobs.ask = self._inventory.blobs.ask
        for item in items:
            seen.findings, seen.foreign, seen.vacant = [], [], []
            if item < len(self._folders):
                (leaves,) = _list_blobs(self._store, seen, [self._folders[item]])
                strange = seen.findings or leaves.absent or leaves.others
                yield None if strange else leaves[:4]
            else:
                repository = self._repositories[item - len(self._folders)]
                scan_repository(self._store, seen, repository)
                yield pack(repository, seen)

    def _leaves(self, folder: _BlobFolder, answer: Leaves | Packed | None) -> Leaves:
        if isinstance(answer, Leaves):
            return answer
        if answer is None:
            return next(_list_blobs(self._store, self._inventory, [folder]))
        names, sizes, mtimes, allocated = answer
        return Leaves(names, sizes, mtimes, allocated, [], [])


def _asker(
    store: Store, inventory: Inventory, place: Callable[[Digest], str], leaf: str, common: int
) -> Ask:
    """Return what asks the store about `<folder of the digest>/<leaf>`, folder by folder.

    Of digests that begin with the same `common` letters the folders lie in one.
    """
    report = inventory.findings.append

    def ask(digests: list[Digest]) -> Iterator[tuple[Digest, int, float, int]]:
        above: dict[str, list[Digest]] = defaultdict(list)
        for digest in digests:
            above[digest[:common]].append(digest)
        for together in above.values():
            folder = layout.parent_of(place(together[0]))
            names = {digest[_ALGORITHM + 1 :]: digest for digest in together}
            # What cannot be told of is left out, and said to be unseen unless there is nothing.
            found = store.leaves(folder, leaf, report, only=names.keys())
            for entry in found.others:
                report_other(inventory, entry)
            known = map(names.__getitem__, found.names)
            yield from zip(known, found.sizes, found.mtimes, found.allocated, strict=True)

    return ask


def _layer_asker(store: Store, inventory: Inventory, name: str) -> Ask:
    def place(digest: Digest) -> str:
        return layout.layer_folder(name, digest)

    return _asker(store, inventory, place, "link", _ALGORITHM)


def scan_owners(store: Store, inventory: Inventory) -> None:
    """Note who else manages the tree, and what lies beside its folders."""
    report = inventory.findings.append
    inventory.oci_layout = Capability.OCI_LAYOUT in store.capabilities
    # Not by listing the root: what else lies there is none of our business.
    inventory.proxy_cache = stat_or_none(store, layout.SCHEDULER_STATE) is not None
    inventory.lockfiles = [entry.path for entry in store.list(layout.LOCKFILES, report)]
    known = {layout.BLOBS, layout.REPOSITORIES}
    for entry in store.list(layout.PREFIX, report):
        if entry.path not in known:
            report_foreign(inventory, entry.path)


def blob_folders(store: Store, inventory: Inventory) -> list[_BlobFolder]:
    """Return the folders that blobs lie in; report what else is beside them."""
    folders = []
    for algorithm in algorithms_in(store, inventory, layout.BLOBS):
        for entry in store.list(layout.blobs_folder(algorithm), inventory.findings.append):
            name = layout.name_of(entry.path)
            is_prefix = re.fullmatch("[0-9a-f]{2}", name)
            if entry.kind is FileKind.FOLDER and is_prefix:
                folders.append(_BlobFolder(algorithm, name, entry.path))
            elif entry.kind is FileKind.FOLDER:
                report_foreign(inventory, entry.path)
            elif entry.kind is FileKind.FILE:
                report_file(inventory, entry.path, is_prefix)
    return folders


def _list_blobs(
    store: Store, inventory: Inventory, folders: Iterable[_BlobFolder]
) -> Iterator[Leaves]:
    lean, report = inventory.blobs.ask is not None, inventory.findings.append
    return adaptive_map(
        lambda folder: leaves_in(store, folder.path, "data", report, lean=lean),
        folders,
        lambda seconds, leaves: seconds > _COLD * max(len(leaves.names), 32),
    )


def _take_blobs(
    inventory: Inventory, folder: _BlobFolder, leaves: Leaves, progress: Progress
) -> None:
    take_leaves(inventory, inventory.blobs, folder.path, folder.algorithm, leaves, folder.prefix)
    progress.advance(len(leaves.names))


def walk_repositories(
    store: Store, inventory: Inventory, want: Callable[[str], bool] | None = None
) -> Iterator[RepositoryInventory]:
    """Yield every repository, empty of content, in depth-first order by name.

    A repository is a folder that holds any of `_manifests`, `_layers`, `_uploads`.
    Registry 2.8 asks for `_layers` and 3.x for `_manifests`, and each so misses
    repositories that the other one serves.
    """
    pending = [layout.REPOSITORIES]
    while pending:
        folder = pending.pop()
        nested, parts, strays = [], set(), []
        for entry in store.list(folder, inventory.findings.append):
            name = layout.name_of(entry.path)
            if name in layout.PARTS and entry.kind is FileKind.FOLDER:
                parts.add(name)
            elif entry.kind is FileKind.FOLDER and _may_lead_on(entry.path):
                nested.append(entry.path)
            elif entry.kind is FileKind.FILE and _is_in_the_way(folder, name):
                report_file(inventory, entry.path, in_the_way=True)
            elif entry.kind in (FileKind.FOLDER, FileKind.FILE):
                strays.append(entry.path)
        pending.extend(reversed(nested))
        if parts and folder != layout.REPOSITORIES:
            name = folder[len(layout.REPOSITORIES) + 1 :]
            if want is None or want(name):
                yield RepositoryInventory(name, inventory.known, parts=frozenset(parts))
        elif parts:
            strays.extend(f"{folder}/{part}" for part in parts)
        elif not (nested or strays or folder == layout.REPOSITORIES):
            inventory.vacant.append(folder)
        for path in strays:
            report_foreign(inventory, path)


def _is_in_the_way(folder: str, name: str) -> bool:
    """Return whether a file has the name of a folder that a repository may lie in or consist of."""
    is_first = folder == layout.REPOSITORIES
    return name in layout.PARTS or could_be_component(name, first=is_first)


def _may_lead_on(folder: str) -> bool:
    """Return whether repositories can lie in a folder: not in those of others, read or not."""
    others = is_junk_folder(folder) or layout.is_lost_and_found(folder)
    return not (others or layout.name_of(folder).startswith("_"))
