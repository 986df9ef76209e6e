"""Folders of the layout as they are listed: what belongs into a table, and what does not belong.

Whatever is not of the layout is reported: a stray file, a file in the place of a folder, a name
that is no digest of its folder. Nothing is dropped in silence.
"""

from __future__ import annotations

import re
from typing import Final

from regfs import layout
from regfs.digest import ALGORITHMS
from regfs.findings import Code, Finding
from regfs.stores import Entry, FileKind, Leaves, Report, Store
from regfs.tree.inventory import DigestTable, Inventory, rows_of
from regfs.tree.junk import is_junk_file, is_junk_folder, is_rsync_folder

_HEXADECIMAL: Final = b"0123456789abcdef"
_ALGORITHM_NAME: Final = re.compile("[a-z0-9]+(?:[+._-][a-z0-9]+)*")


def report_foreign(inventory: Inventory, path: str, code: Code = Code.FOREIGN_PATH) -> None:
    """Report what is not part of the layout; what everybody leaves behind has a code of its own."""
    inventory.foreign.append(path)
    if layout.is_lost_and_found(path) or is_rsync_folder(path):
        return  # no damage; what it holds is for the full walk of verify to tell
    if code is Code.FOREIGN_PATH and layout.is_nfs_leftover(path):
        code = Code.NFS_LEFTOVER
    elif code is Code.FOREIGN_PATH and (is_junk_folder(path) or is_junk_file(path)):
        code = Code.JUNK
    inventory.findings.append(Finding(code, path))


def report_file(inventory: Inventory, path: str, in_the_way: object) -> None:
    """Report a file where only folders lie: in the place of one, by its name, or just foreign."""
    if in_the_way and not is_junk_file(path):
        name = layout.repository_of(path)
        inventory.findings.append(Finding(Code.FOLDER_REPLACED, path, repository=name))
    else:
        report_foreign(inventory, path)


def report_other(inventory: Inventory, entry: Entry) -> None:
    """Report what is neither a leaf nor a child without one, unless the store has already."""
    if entry.kind is FileKind.FILE:
        report_foreign(inventory, entry.path)
    elif entry.kind is FileKind.FOLDER:
        # It stands where the leaf belongs: what the file said is not known.
        words = "a folder in the place of a file"
        inventory.findings.append(Finding(Code.PATH_UNREADABLE, entry.path, actual=words))


def algorithms_in(store: Store, inventory: Inventory, folder: str) -> list[str]:
    """Return the digest algorithms that have a folder in `folder`; name what else is there."""
    names = store.subfolders(folder, inventory.findings.append)
    # Asked of every tag: as a rule there is `sha256` and nothing to look at more closely.
    if names is not None and all(name in ALGORITHMS for name in names):
        return sorted(names)
    found = []
    for entry in store.list(folder, inventory.findings.append):
        name = layout.name_of(entry.path)
        if entry.kind is FileKind.FOLDER and name in ALGORITHMS:
            found.append(name)
        elif entry.kind is FileKind.FOLDER:
            unknown = not is_junk_folder(entry.path)
            code = Code.ALGORITHM_UNSUPPORTED if unknown else Code.FOREIGN_PATH
            report_foreign(inventory, entry.path, code)
        elif entry.kind is FileKind.FILE:
            report_file(inventory, entry.path, _ALGORITHM_NAME.fullmatch(name))
    return found


def leaves_in(store: Store, folder: str, leaf: str, report: Report, *, lean: bool) -> Leaves:
    """Return the leaves of a folder; in a lean listing only names, while all are plain folders."""
    names = store.subfolders(folder, report) if lean else None
    if names is None:
        return store.leaves(folder, leaf, report)
    return Leaves(list(names), [], [], [], [], [])


def take_leaves(
    inventory: Inventory,
    table: DigestTable,
    folder: str,
    algorithm: str,
    leaves: Leaves,
    prefix: str = "",
) -> Leaves:
    """Put one folder's leaves into `table`; name, and leave out, every child that is no digest.

    The table has to be ordered when all are in it.
    """
    leaves = checked_leaves(inventory, folder, algorithm, leaves, prefix)
    numbers = table.known.add_names(algorithm, leaves.names)
    if table.ask is None:
        table.append(numbers, leaves.sizes, leaves.mtimes, leaves.allocated)
    else:
        table.append(numbers)
    return leaves


def checked_leaves(
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
        is_digest = re.fullmatch(f"[0-9a-f]{{{width}}}", layout.name_of(entry.path))
        if entry.kind is FileKind.FILE and layout.parent_of(entry.path) == folder:
            report_file(inventory, entry.path, is_digest)
        else:
            report_other(inventory, entry)
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
            report_foreign(inventory, f"{folder}/{name}", code)
    absent = []
    for name in leaves.absent:
        if right.fullmatch(name):
            absent.append(name)
        else:
            report_foreign(inventory, f"{folder}/{name}")
    return rows_of(leaves, (row for row, good in enumerate(keep) if good))._replace(absent=absent)
