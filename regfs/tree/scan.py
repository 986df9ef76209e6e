"""One listing pass over a registry tree: what is there, how big, how old.

No content is read but links of tags and revisions, in the same breath as they
are listed. Digests of layer links are taken from their paths; whether the content
agrees is the business of verify, and of gc for whatever it is about to delete.
Stray files beside a `data` or `link` are not seen here: that takes a full
listing (`Store.walk`).
"""

from __future__ import annotations

import gc
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, repeat
from operator import attrgetter
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import ALGORITHMS, Digest
from regfs.errors import DigestInvalid, PathMissing, StoreError
from regfs.findings import Code, Finding
from regfs.forks import map_in_two_processes
from regfs.parallel import adaptive_map
from regfs.progress import SILENT, Progress
from regfs.stores import Entry, FileKind, Leaves, Report, Store
from regfs.tree.inventory import (
    Ask,
    DigestTable,
    Inventory,
    LinkContent,
    RepositoryInventory,
    TagEntry,
    TagInfo,
    UploadInfo,
    rows_of,
)
from regfs.tree.junk import is_junk_file, is_junk_folder, is_rsync_folder
from regfs.tree.serialise import Packed, pack, unpack

LINK_LIMIT: Final = 1024
"""Bytes of a link that are read; a right one has 71 (sha256) to 135 (sha512)."""

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
    lean: bool = False,
) -> Inventory:
    """List the tree once.

    Without `history`, what tags have pointed to before is left out where a tag
    tells what it points to now: it takes a third of the time where there are
    many tags, and only matters when untagged manifests are asked for.

    A `lean` listing takes the names of blobs and layer links and asks about a
    file when it matters. Garbage collection asks about what may go, and that is
    a tenth; everything else wants to know of them all.

    `want` limits the repositories to those whose name it accepts (blobs are
    always listed whole); by default all are.

    Raises:
        StoreError: the root itself cannot be listed.
    """
    inventory = Inventory(url=store.url, taken_at=clock(), whole=want is None)
    if lean:
        inventory.blobs.ask = _asker(store, inventory, layout.blob_folder, "data", _ALGORITHM + 3)
    with _without_collector():
        _scan_owners(store, inventory)
        progress.start("Listing blobs")
        folders = _blob_folders(store, inventory)
        first = folders[:_SAMPLE]
        for folder, leaves in zip(first, _list_blobs(store, inventory, first), strict=True):
            _take_blobs(inventory, folder, leaves, progress)
        many = len(inventory.blobs) * len(folders) >= MANY * max(len(first), 1)
        repositories = list(walk_repositories(store, inventory, want))
        for repository in repositories:
            repository.has_history = history
            if lean:
                repository.layers.ask = _layer_asker(store, inventory, repository.name)
        _Rest(store, inventory, folders[_SAMPLE:], repositories).scan(progress, fork=many)
    _read_again(store, inventory)
    # Threads and a second process have seen a part of them, each at its own pace.
    inventory.findings.sort(key=attrgetter("place"))
    inventory.foreign.sort()
    inventory.vacant.sort()
    return inventory


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
                _scan_repository(self._store, self._inventory, repository)
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
                _scan_repository(self._store, seen, repository)
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
            folder = place(together[0]).rpartition("/")[0]
            names = {digest[_ALGORITHM + 1 :]: digest for digest in together}
            # What cannot be told of is left out, and said to be unseen unless there is nothing.
            found = store.leaves(folder, leaf, report, only=names.keys())
            for entry in found.others:
                _other(inventory, entry)
            known = map(names.__getitem__, found.names)
            yield from zip(known, found.sizes, found.mtimes, found.allocated, strict=True)

    return ask


def _layer_asker(store: Store, inventory: Inventory, name: str) -> Ask:
    def place(digest: Digest) -> str:
        return layout.layer_folder(name, digest)

    return _asker(store, inventory, place, "link", _ALGORITHM)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause Python's cycle collector: it would walk millions of new, acyclic objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _scan_owners(store: Store, inventory: Inventory) -> None:
    report = inventory.findings.append
    with suppress(PathMissing):
        # Not by listing the root: what else lies there is none of our business.
        store.stat(layout.SCHEDULER_STATE)
        inventory.proxy_cache = True
    inventory.lockfiles = [entry.path for entry in store.list(layout.LOCKFILES, report)]
    known = {layout.BLOBS, layout.REPOSITORIES}
    for entry in store.list(layout.PREFIX, report):
        if entry.path not in known:
            _foreign(inventory, entry.path)


def _foreign(inventory: Inventory, path: str, code: Code = Code.FOREIGN_PATH) -> None:
    inventory.foreign.append(path)
    if layout.is_lost_and_found(path) or is_rsync_folder(path):
        return  # no damage; what it holds is for the full walk of verify to tell
    if code is Code.FOREIGN_PATH and layout.is_nfs_leftover(path):
        code = Code.NFS_LEFTOVER
    elif code is Code.FOREIGN_PATH and (is_junk_folder(path) or is_junk_file(path)):
        code = Code.JUNK
    inventory.findings.append(Finding(code, path))


def _name(entry: Entry) -> str:
    return entry.path.rpartition("/")[2]


def _algorithms(store: Store, inventory: Inventory, folder: str) -> list[str]:
    """Return the digest algorithms that have a folder in `folder`; name what else is there."""
    names = store.subfolders(folder, inventory.findings.append)
    # Asked of every tag: as a rule there is `sha256` and nothing to look at more closely.
    if names is not None and all(name in ALGORITHMS for name in names):
        return sorted(names)
    found = []
    for entry in store.list(folder, inventory.findings.append):
        if entry.kind is FileKind.FOLDER and _name(entry) in ALGORITHMS:
            found.append(_name(entry))
        elif entry.kind is FileKind.FOLDER:
            unknown = not is_junk_folder(entry.path)
            code = Code.ALGORITHM_UNSUPPORTED if unknown else Code.FOREIGN_PATH
            _foreign(inventory, entry.path, code)
        elif entry.kind is FileKind.FILE:
            _file(inventory, entry.path, _ALGORITHM_NAME.fullmatch(_name(entry)))
    return found


_ALGORITHM_NAME: Final = re.compile("[a-z0-9]+(?:[+._-][a-z0-9]+)*")


def _file(inventory: Inventory, path: str, in_the_way: object) -> None:
    """Report a file where only folders lie: in the place of one, by its name, or just foreign."""
    if in_the_way and not is_junk_file(path):
        name = layout.repository_of(path)
        inventory.findings.append(Finding(Code.FOLDER_REPLACED, path, repository=name))
    else:
        _foreign(inventory, path)


def _blob_folders(store: Store, inventory: Inventory) -> list[_BlobFolder]:
    folders = []
    for algorithm in _algorithms(store, inventory, layout.BLOBS):
        for entry in store.list(layout.blobs_folder(algorithm), inventory.findings.append):
            is_prefix = re.fullmatch("[0-9a-f]{2}", _name(entry))
            if entry.kind is FileKind.FOLDER and is_prefix:
                folders.append(_BlobFolder(algorithm, _name(entry), entry.path))
            elif entry.kind is FileKind.FOLDER:
                _foreign(inventory, entry.path)
            elif entry.kind is FileKind.FILE:
                _file(inventory, entry.path, is_prefix)
    return folders


def _list_blobs(
    store: Store, inventory: Inventory, folders: Iterable[_BlobFolder]
) -> Iterator[Leaves]:
    lean, report = inventory.blobs.ask is not None, inventory.findings.append
    return adaptive_map(
        lambda folder: _children(store, folder.path, "data", report, lean=lean),
        folders,
        lambda seconds, leaves: seconds > _COLD * max(len(leaves.names), 32),
    )


def _take_blobs(
    inventory: Inventory, folder: _BlobFolder, leaves: Leaves, progress: Progress
) -> None:
    _take(inventory, inventory.blobs, folder.path, folder.algorithm, leaves, folder.prefix)
    progress.advance(len(leaves.names))


def _children(store: Store, folder: str, leaf: str, report: Report, *, lean: bool) -> Leaves:
    """Return the leaves of a folder; in a lean listing only names, while all are plain folders."""
    names = store.subfolders(folder, report) if lean else None
    if names is None:
        return store.leaves(folder, leaf, report)
    return Leaves(list(names), [], [], [], [], [])


def _take(
    inventory: Inventory,
    table: DigestTable,
    folder: str,
    algorithm: str,
    leaves: Leaves,
    prefix: str = "",
) -> Leaves:
    """Put one folder's leaves into `table`; name, and leave out, every child that is no digest."""
    leaves = _checked(inventory, folder, algorithm, leaves, prefix)
    start = algorithm + ":"
    texts = [start + name for name in leaves.names]
    # Blobs come first, so there is none among them yet that could be had from there.
    digests = list(map(Digest, texts)) if prefix else inventory.blobs.own(texts)
    if len(leaves.sizes) == len(digests):
        table.extend(digests, leaves)
    else:
        table.add_unasked(digests)
    return leaves


def _checked(
    inventory: Inventory, folder: str, algorithm: str, leaves: Leaves, prefix: str = ""
) -> Leaves:
    """Return the leaves whose names are digests of this folder; report all the rest."""
    width = ALGORITHMS[algorithm]
    names = [*leaves.names, *leaves.absent] if leaves.absent else leaves.names
    if not _are_digests(names, width, prefix):
        leaves = _sort_out(inventory, folder, leaves, prefix, width - len(prefix))
    if leaves.absent:
        inventory.vacant.extend(f"{folder}/{name}" for name in leaves.absent)
    for entry in leaves.others:
        is_digest = re.fullmatch(f"[0-9a-f]{{{width}}}", _name(entry))
        if entry.kind is FileKind.FILE and entry.path.rpartition("/")[0] == folder:
            _file(inventory, entry.path, is_digest)
        else:
            _other(inventory, entry)
    return leaves


def _are_digests(names: list[str], width: int, prefix: str) -> bool:
    """Return whether all names are digests of `width` digits that begin with `prefix`.

    Of all at once: to look at each would cost as much as the listing.
    """
    text = "".join(names)
    if not names or set(map(len, names)) != {width} or not text.isascii():
        return not names
    begin_right = (text[at::width] == digit * len(names) for at, digit in enumerate(prefix))
    return not text.encode().translate(None, _HEXADECIMAL) and all(begin_right)


_HEXADECIMAL: Final = b"0123456789abcdef"


def _other(inventory: Inventory, entry: Entry) -> None:
    """Report what is neither a leaf nor a child without one, unless the store has already."""
    if entry.kind is FileKind.FILE:
        _foreign(inventory, entry.path)
    elif entry.kind is FileKind.FOLDER:
        # It stands where the leaf belongs: what the file said is not known.
        words = "a folder in the place of a file"
        inventory.findings.append(Finding(Code.PATH_UNREADABLE, entry.path, actual=words))


def _sort_out(
    inventory: Inventory, folder: str, leaves: Leaves, prefix: str, digits: int
) -> Leaves:
    """Return `leaves` without the names that are no digest of this folder."""
    right = re.compile(f"{prefix}[0-9a-f]{{{digits}}}")
    some = re.compile(f"[0-9a-f]{{{digits + len(prefix)}}}")
    keep = [bool(right.fullmatch(name)) for name in leaves.names]
    for name, good in zip(leaves.names, keep, strict=True):
        if not good:
            elsewhere = prefix and some.fullmatch(name)
            code = Code.BLOB_MISPLACED if elsewhere else Code.FOREIGN_PATH
            _foreign(inventory, f"{folder}/{name}", code)
    absent = []
    for name in leaves.absent:
        if right.fullmatch(name):
            absent.append(name)
        else:
            _foreign(inventory, f"{folder}/{name}")
    return rows_of(leaves, (row for row, good in enumerate(keep) if good))._replace(absent=absent)


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
            name = _name(entry)
            if name in layout.PARTS and entry.kind is FileKind.FOLDER:
                parts.add(name)
            elif entry.kind is FileKind.FOLDER and _may_lead_on(entry.path):
                nested.append(entry.path)
            elif entry.kind is FileKind.FILE and _is_in_the_way(folder, name):
                _file(inventory, entry.path, in_the_way=True)
            elif entry.kind in (FileKind.FOLDER, FileKind.FILE):
                strays.append(entry.path)
        pending.extend(reversed(nested))
        if parts and folder != layout.REPOSITORIES:
            name = folder[len(layout.REPOSITORIES) + 1 :]
            if want is None or want(name):
                yield RepositoryInventory(name, parts=frozenset(parts))
        elif parts:
            strays.extend(f"{folder}/{part}" for part in parts)
        elif not (nested or strays or folder == layout.REPOSITORIES):
            inventory.vacant.append(folder)
        for path in strays:
            _foreign(inventory, path)


def _is_in_the_way(folder: str, name: str) -> bool:
    """Return whether a file has the name of a folder that a repository may lie in or consist of."""
    is_first = folder == layout.REPOSITORIES
    return name in layout.PARTS or layout.could_be_component(name, first=is_first)


def _may_lead_on(folder: str) -> bool:
    """Return whether repositories can lie in a folder: not in those of others, read or not."""
    others = is_junk_folder(folder) or layout.is_lost_and_found(folder)
    return not (others or folder.rpartition("/")[2].startswith("_"))


def _scan_repository(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    name = repository.name
    problem = layout.name_problem(name)
    if problem is not None:
        path = layout.repository_folder(name)
        code = Code.REPOSITORY_INVALID_NAME
        inventory.findings.append(Finding(code, path, repository=name, actual=problem))
    if "_layers" in repository.parts:
        _scan_links(store, inventory, repository.layers, layout.layers_folder(name))
    if "_manifests" in repository.parts:
        _scan_manifests(store, inventory, repository)
    if "_uploads" in repository.parts:
        _scan_uploads(store, inventory, repository)


def _scan_links(store: Store, inventory: Inventory, table: DigestTable, folder: str) -> None:
    for algorithm in _algorithms(store, inventory, folder):
        path = f"{folder}/{algorithm}"
        report = inventory.findings.append
        leaves = _children(store, path, "link", report, lean=table.ask is not None)
        _take(inventory, table, path, algorithm, leaves)


def _scan_manifests(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    revisions = layout.revisions_folder(repository.name)
    tags = layout.tags_folder(repository.name)
    for entry in store.list(tags.rpartition("/")[0], inventory.findings.append):
        if entry.kind not in (FileKind.FOLDER, FileKind.FILE):
            continue  # the store has said why it cannot be listed
        if entry.kind is FileKind.FILE:
            _file(inventory, entry.path, entry.path in (revisions, tags))
        elif entry.path == revisions:
            _scan_revisions(store, inventory, repository)
        elif entry.path == tags:
            repository.has_tags_folder = True
            _scan_tags(store, inventory, repository)
        else:
            _foreign(inventory, entry.path)


def _scan_revisions(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    folder = layout.revisions_folder(repository.name)
    for algorithm in _algorithms(store, inventory, folder):
        path = f"{folder}/{algorithm}"
        leaves = store.leaves(path, "link", inventory.findings.append, limit=LINK_LIMIT)
        leaves = _take(inventory, repository.revisions, path, algorithm, leaves)
        for name, content in zip(leaves.names, leaves.contents, strict=True):
            digest = Digest(f"{algorithm}:{name}")
            if content != digest.encode():
                repository.links[digest] = parse_link_content(content)


def _scan_tags(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    folder = layout.tags_folder(repository.name)
    report = inventory.findings.append
    leaves = store.leaves(folder, "current/link", report, limit=LINK_LIMIT)
    unseen = {
        entry.path[len(folder) + 1 :].partition("/")[0]
        for entry in leaves.others
        if not _is_no_folder(entry, folder)
    }
    histories: Iterator[dict[str, Leaves] | None] = repeat({}, len(leaves.names))
    if repository.has_history:
        histories = store.branches(folder, leaves.names, "index", "link", report)
    columns = (leaves.names, leaves.sizes, leaves.mtimes, leaves.contents)
    for (tag, size, mtime, content), branch in zip(
        zip(*columns, strict=True), histories, strict=True
    ):
        current, problem = _understand_tag(inventory, repository.name, tag, content)
        if current is None:
            branch = None
        history = _scan_history(store, inventory, repository, tag, branch)
        repository.tags[tag] = TagInfo(current, mtime, size, problem, history)
    strays = [tag for tag in leaves.absent if is_junk_folder(tag)]
    for tag in strays:
        _foreign(inventory, f"{folder}/{tag}")
    for tag in [*(tag for tag in leaves.absent if tag not in strays), *sorted(unseen)]:
        code = Code.PATH_UNREADABLE if tag in unseen else Code.TAG_WITHOUT_CURRENT
        path = layout.tag_folder(repository.name, tag)
        if code is Code.TAG_WITHOUT_CURRENT:
            report(Finding(code, path, repository=repository.name, tag=tag))
        history = _scan_history(store, inventory, repository, tag)
        repository.tags[tag] = TagInfo(None, 0.0, 0, code, history)
    for entry in leaves.others:
        above, _, last = entry.path.rpartition("/")
        if entry.kind is FileKind.FILE:  # for a tag, or for a folder within one
            _file(inventory, entry.path, above != folder or layout.tag_problem(last) is None)
        else:
            _other(inventory, entry)
    for tag in repository.tags:
        problem_text = layout.tag_problem(tag)
        if problem_text is not None:
            path = layout.tag_folder(repository.name, tag)
            report(Finding(Code.TAG_INVALID, path, repository=repository.name, tag=tag))


def _is_no_folder(entry: Entry, folder: str) -> bool:
    """Return whether a file or a device stands in the place of a tag: then it is none.

    A device of an overlay says that the tag was deleted. Either is reported: the repository
    cannot be seen whole, and loses nothing.
    """
    return (
        entry.kind in (FileKind.FILE, FileKind.SPECIAL) and entry.path.rpartition("/")[0] == folder
    )


_NOW: Final = 5.0
"""Seconds; a link that was written so short before the scan may be in the middle of it."""
_MOMENT: Final = 0.1
"""Seconds in which a registry that is writing a link has done so, once for a whole scan."""
_UNDONE: Final = frozenset({Code.LINK_EMPTY, Code.LINK_INVALID, Code.TAG_WITHOUT_CURRENT})
"""What a link looks like that is being written: it is made, or emptied, and then filled."""


def _read_again(store: Store, inventory: Inventory) -> None:
    """Read those links once more that say nothing and were being written when they were read.

    The reference registry truncates a link before it writes it; that is no damage.
    """
    since = inventory.taken_at - _NOW
    tags = [
        (repository, tag)
        for repository in inventory.repositories.values()
        for tag, info in repository.tags.items()
        if info.problem in _UNDONE
        and max([info.mtime, *(entry.mtime for entry in info.history)]) >= since
    ]
    revisions = [
        (repository, digest)
        for repository in inventory.repositories.values()
        for digest, link in repository.links.items()
        if link.problem in _UNDONE
        and (info := repository.revisions.get(digest)) is not None
        and info.mtime >= since
    ]
    if tags or revisions:
        time.sleep(_MOMENT)
    for repository, digest in revisions:
        link = read_link(store, layout.path_of(layout.RevisionLink(repository.name, digest)))
        if link.digest == digest and link.problem is None:
            del repository.links[digest]  # it simply says what its path says
    for repository, tag in tags:
        _read_tag_again(store, inventory, repository, tag)


def _read_tag_again(
    store: Store, inventory: Inventory, repository: RepositoryInventory, tag: str
) -> None:
    path = layout.path_of(layout.TagCurrent(repository.name, tag))
    link = read_link(store, path)
    if link.problem is not None:
        return
    with suppress(StoreError):
        entry = store.stat(path)
        history = repository.tags[tag].history
        repository.tags[tag] = TagInfo(link.digest, entry.mtime, entry.size, None, history)
        told = {path, layout.tag_folder(repository.name, tag)}
        # In place: who asks about files later adds to this very list.
        inventory.findings[:] = [
            one for one in inventory.findings if not (one.path in told and one.code in _UNDONE)
        ]


def read_link(store: Store, path: str) -> LinkContent:
    """Read one link file; never raises for what it holds or for not being readable."""
    try:
        return parse_link_content(store.read(path, LINK_LIMIT))
    except StoreError as error:
        return LinkContent(None, Code.PATH_UNREADABLE, str(error))


def parse_link_content(content: bytes | None) -> LinkContent:
    """Return what a link says by its content; None when it could not be read."""
    if content is None:
        return LinkContent(None, Code.PATH_UNREADABLE, "cannot be read")
    try:
        return LinkContent(layout.parse_link(content), None)
    except DigestInvalid:
        problem = Code.LINK_INVALID if content.strip(b"\0 \t\r\n") else Code.LINK_EMPTY
        text = repr(content[:80].decode("utf-8", "backslashreplace"))
        return LinkContent(layout.tolerant_link(content), problem, text)


def _understand_tag(
    inventory: Inventory, name: str, tag: str, content: bytes | None
) -> tuple[Digest | None, Code | None]:
    link = parse_link_content(content)
    # Of a link that could not be read the store has told already.
    if link.problem is not None and content is not None:
        path = layout.path_of(layout.TagCurrent(name, tag))
        words = "a digest"
        inventory.findings.append(
            Finding(link.problem, path, link.digest, name, tag, words, link.text)
        )
    return link.digest, link.problem


def complete_history(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    """Read the history of the tags of one repository that a scan has left out."""
    if not repository.has_history:
        repository.has_history = True
        for tag, info in repository.tags.items():
            if info.current is not None:
                history = _scan_history(store, inventory, repository, tag)
                repository.tags[tag] = info._replace(history=history)


def _scan_history(
    store: Store,
    inventory: Inventory,
    repository: RepositoryInventory,
    tag: str,
    branch: dict[str, Leaves] | None = None,
) -> tuple[TagEntry, ...]:
    """Return what a tag has pointed to; `branch` is its index, if it was listed already."""
    folder = layout.tag_index_folder(repository.name, tag)
    if branch is None or not branch.keys() <= ALGORITHMS.keys():
        report = inventory.findings.append
        algorithms = _algorithms(store, inventory, folder)
        branch = {name: store.leaves(f"{folder}/{name}", "link", report) for name in algorithms}
    entries = []
    for algorithm, leaves in branch.items():
        leaves = _checked(inventory, f"{folder}/{algorithm}", algorithm, leaves)
        repository.history_bytes += sum(leaves.sizes)
        for name, mtime, size in zip(leaves.names, leaves.mtimes, leaves.sizes, strict=True):
            entries.append(TagEntry(Digest(f"{algorithm}:{name}"), mtime, size))
    if len(entries) > 1:
        entries.sort(key=lambda entry: (entry.mtime, entry.digest))
    return tuple(entries)


def _scan_uploads(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    report = inventory.findings.append
    for folder in store.list(layout.uploads_folder(repository.name), report):
        if folder.kind is not FileKind.FOLDER or is_junk_folder(folder.path):
            if folder.kind in (FileKind.FILE, FileKind.FOLDER):
                _foreign(inventory, folder.path)
            continue
        began = upload_started(store, repository.name, _name(folder))
        files = [entry for entry in store.walk(folder.path, report) if entry.kind is FileKind.FILE]
        repository.uploads[_name(folder)] = UploadInfo(
            size=sum(entry.size for entry in files),
            allocated=sum(entry.allocated for entry in files),
            files=len(files),
            mtime=max(entry.mtime for entry in [folder, *files]),
            started_at=layout.upload_time(_name(folder)) if began is None else began,
            has_data=any(_name(entry) == "data" for entry in files),
            has_start=began is not None,
        )


def upload_started(store: Store, name: str, upload: str) -> float | None:
    """Return when an upload began, by its startedat file; None when that says no time."""
    path = layout.path_of(layout.UploadStartedAt(name, upload))
    try:
        text = store.read(path, 64).decode("ascii").strip()
        began = datetime.fromisoformat(text)
        return (began if began.tzinfo else began.replace(tzinfo=UTC)).timestamp()
    except (StoreError, ValueError):
        return None
