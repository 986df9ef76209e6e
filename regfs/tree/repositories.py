"""One repository as it is listed: its layer links, revisions, tags with their history, uploads."""

from __future__ import annotations

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding
from regfs.names import name_problem, tag_problem
from regfs.stores import Entry, FileKind, Store
from regfs.tree.folders import (
    algorithms_in,
    checked_leaves,
    leaves_in,
    report_file,
    report_foreign,
    report_other,
    take_leaves,
)
from regfs.tree.inventory import (
    DigestTable,
    Inventory,
    RepositoryInventory,
    TagEntry,
    TagInfo,
    UploadInfo,
)
from regfs.tree.junk import is_junk_folder
from regfs.tree.links import LINK_LIMIT, parse_link_content, upload_started


def scan_repository(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    """List those parts of a repository that exist."""
    name = repository.name
    problem = name_problem(name)
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
    for algorithm in algorithms_in(store, inventory, folder):
        path = f"{folder}/{algorithm}"
        report = inventory.findings.append
        leaves = leaves_in(store, path, "link", report, lean=table.ask is not None)
        take_leaves(inventory, table, path, algorithm, leaves)
    table.order()


def _scan_manifests(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    revisions = layout.revisions_folder(repository.name)
    tags = layout.tags_folder(repository.name)
    for entry in store.list(layout.parent_of(tags), inventory.findings.append):
        if entry.kind not in (FileKind.FOLDER, FileKind.FILE):
            continue  # the store has said why it cannot be listed
        if entry.kind is FileKind.FILE:
            report_file(inventory, entry.path, entry.path in (revisions, tags))
        elif entry.path == revisions:
            _scan_revisions(store, inventory, repository)
        elif entry.path == tags:
            repository.has_tags_folder = True
            _scan_tags(store, inventory, repository)
        else:
            report_foreign(inventory, entry.path)


def _scan_revisions(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    folder = layout.revisions_folder(repository.name)
    for algorithm in algorithms_in(store, inventory, folder):
        path = f"{folder}/{algorithm}"
        leaves = store.leaves(path, "link", inventory.findings.append, limit=LINK_LIMIT)
        leaves = take_leaves(inventory, repository.revisions, path, algorithm, leaves)
        for name, content in zip(leaves.names, leaves.contents, strict=True):
            digest = Digest(f"{algorithm}:{name}")
            if content != digest.encode():
                repository.links[digest] = parse_link_content(content)
    repository.revisions.order()


def _scan_tags(store: Store, inventory: Inventory, repository: RepositoryInventory) -> None:
    folder = layout.tags_folder(repository.name)
    report = inventory.findings.append
    leaves = store.leaves(folder, "current/link", report, limit=LINK_LIMIT)
    unseen = {
        entry.path[len(folder) + 1 :].partition("/")[0]
        for entry in leaves.others
        if not _is_no_folder(entry, folder)
    }
    columns = (leaves.names, leaves.sizes, leaves.mtimes, leaves.contents)
    for tag, size, mtime, content in zip(*columns, strict=True):
        current, problem = _tag_content(inventory, repository.name, tag, content)
        history: tuple[TagEntry, ...] = ()
        if repository.has_history or current is None:
            history = _scan_history(store, inventory, repository, tag)
        repository.tags[tag] = TagInfo(current, mtime, size, problem, history)
    _tags_without_current(store, inventory, repository, leaves.absent, unseen)
    for entry in leaves.others:
        above, _, last = entry.path.rpartition("/")
        if entry.kind is FileKind.FILE:  # for a tag, or for a folder within one
            report_file(inventory, entry.path, above != folder or tag_problem(last) is None)
        else:
            report_other(inventory, entry)
    for tag in repository.tags:
        if tag_problem(tag) is not None:
            path = layout.tag_folder(repository.name, tag)
            report(Finding(Code.TAG_INVALID, path, repository=repository.name, tag=tag))


def _tags_without_current(
    store: Store,
    inventory: Inventory,
    repository: RepositoryInventory,
    absent: list[str],
    unseen: set[str],
) -> None:
    """Take the tags whose `current/link` is absent, or could not be seen, with their history."""
    for tag in [*absent, *sorted(unseen)]:
        path = layout.tag_folder(repository.name, tag)
        if tag not in unseen and is_junk_folder(tag):
            report_foreign(inventory, path)
            continue
        code = Code.PATH_UNREADABLE if tag in unseen else Code.TAG_WITHOUT_CURRENT
        if code is Code.TAG_WITHOUT_CURRENT:
            inventory.findings.append(Finding(code, path, repository=repository.name, tag=tag))
        history = _scan_history(store, inventory, repository, tag)
        repository.tags[tag] = TagInfo(None, 0.0, 0, code, history)


def _is_no_folder(entry: Entry, folder: str) -> bool:
    """Return whether a file or a device stands in the place of a tag: then it is none.

    A device of an overlay says that the tag was deleted. Either is reported: the repository
    cannot be seen whole, and loses nothing.
    """
    return (
        entry.kind in (FileKind.FILE, FileKind.SPECIAL) and layout.parent_of(entry.path) == folder
    )


def _tag_content(
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
) -> tuple[TagEntry, ...]:
    """Return what a tag has pointed to."""
    folder = layout.tag_index_folder(repository.name, tag)
    entries = []
    for algorithm in algorithms_in(store, inventory, folder):
        path = f"{folder}/{algorithm}"
        leaves = store.leaves(path, "link", inventory.findings.append)
        leaves = checked_leaves(inventory, path, algorithm, leaves)
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
                report_foreign(inventory, folder.path)
            continue
        upload = layout.name_of(folder.path)
        began = upload_started(store, repository.name, upload)
        files = [entry for entry in store.walk(folder.path, report) if entry.kind is FileKind.FILE]
        repository.uploads[upload] = UploadInfo(
            size=sum(entry.size for entry in files),
            allocated=sum(entry.allocated for entry in files),
            files=len(files),
            mtime=max(entry.mtime for entry in [folder, *files]),
            started_at=layout.upload_time(upload) if began is None else began,
            has_data=any(
                # What is uploaded to a bucket may have several, each with a name of its own.
                layout.name_of(entry.path).partition(".")[0] == "data"
                for entry in files
            ),
            has_start=began is not None,
        )
