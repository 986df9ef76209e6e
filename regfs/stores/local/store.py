"""A registry in a directory of this machine: finding it, listing it.

Reading many small files at once is in `_local_leaves`, going through all folders by
name in `_local_walk`, looking at one path in `_local_look`, writing in `_local_write`,
open files in `_local_files`, and what counts as inside the tree in `_local_base`.

Listing never opens anything but folders. Symbolic links count as what they
lead to, within limits that keep every listing finite:

    leads outside the tree                 LINK, symlink-outside
    leads nowhere, or round in a circle    LINK, symlink-loop
    to a folder above itself               LINK, symlink-loop
    to a folder, below another such link   LINK, symlink-loop   two a level would be 2^n paths
    to a folder a walk meets anyway        LINK, symlink-loop   nothing comes twice
    to any other folder or file inside     FOLDER, FILE
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from regfs.errors import NotARegistry, printable
from regfs.findings import Code, Finding
from regfs.stores import ALLOW_EMPTY, NOT_MOUNTED, Entry, FileKind, Report, Store
from regfs.stores.local.base import V2, LocalTree, failure, joined, unsafe
from regfs.stores.local.look import unreadable
from regfs.stores.local.near import guess, is_minio
from regfs.stores.local.space import LocalSpace
from regfs.stores.local.walk import LocalWalk, Walked
from regfs.stores.local.write import LocalWriting

_OWN_NAMES: Final = frozenset({".regfs", "scheduler-state.json", "lost+found"})
# Named here because inside the class `list` is the method.
_Entries = list[Entry]
_Listed = list[tuple[bytes, Entry, bool]]


class LocalStore(LocalWalk, LocalWriting, LocalSpace):
    """The Store of a directory."""

    @property
    def url(self) -> str:
        """The absolute path of the root."""
        return self.root

    def list(self, folder: str, report: Report) -> list[Entry]:
        """Return what is directly in `folder`, sorted by the bytes of the name."""
        return [entry for _, entry, _ in self._listed(folder, report)]

    def walk(self, folder: str, report: Report) -> Iterator[Entry]:
        """Yield everything below `folder`, folders before what they hold, each once.

        Names are in the order of their bytes. A folder whose path is longer
        than the operating system takes is reported, and not entered.
        """
        walked = Walked(os.path.realpath(self.full(folder)))
        pending = self._below(folder, report, walked)
        while pending:
            entry = pending.pop()
            yield entry
            if entry.kind is FileKind.FOLDER:
                pending.extend(self._below(entry.path, report, walked))

    def _below(self, folder: str, report: Report, walked: Walked) -> _Entries:
        """Return what is in `folder`, last first; no link in it leads to what is walked anyway."""
        entries = []
        for _, entry, linked in self._listed(folder, report):
            if linked and entry.kind is FileKind.FOLDER:
                target = os.path.realpath(self.full(entry.path))
                if not walked.add(target):
                    report(Finding(Code.SYMLINK_LOOP, entry.path, actual=printable(target)))
                    entry = entry._replace(kind=FileKind.LINK)
            entries.append(entry)
        entries.reverse()
        return entries

    def _listed(self, folder: str, report: Report) -> _Listed:
        """Return what is in `folder`, sorted: name in bytes, entry, whether it is a link."""
        descriptor = self._open_listed(folder, report)
        if descriptor is None:
            return []
        found: _Listed = []
        try:
            with os.scandir(descriptor) as children:
                for child in children:
                    path = joined(folder, child.name)
                    try:
                        status = child.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # gone since the folder was read
                    except OSError as error:
                        report(unreadable(path, error))
                        continue
                    entry = self._entry(path, status, report)
                    found.append((os.fsencode(child.name), entry, child.is_symlink()))
        except OSError as error:
            report(unreadable(folder, error))
        finally:
            os.close(descriptor)
        found.sort()
        return found


def open_local(root: str, *, empty: bool = False) -> LocalStore:
    """Open the directory that holds the registry tree at `root`.

    An empty folder is a fresh registry only if `empty` says so: it looks just like the
    place of a volume that is not mounted, and "nothing is wrong there" would be false.

    Raises:
        NotARegistry: there is no such tree; the message says what was looked for.
        PathDenied: the root cannot be read.
    """
    given = os.path.abspath(root) if ".." not in root.split("/") else os.path.realpath(root)
    try:
        for place in dict.fromkeys((given, os.path.realpath(given))):
            found = _holder(place)
            if found is not None:
                return _opened(found)
        # What is empty and lies in a registry is a part of it, and never a registry.
        fresh = set(os.listdir(given)) <= _OWN_NAMES
        if fresh and empty and f"/{V2}/" not in os.path.realpath(given) + "/":
            return LocalStore(given)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        why = "no such folder" if isinstance(error, FileNotFoundError) else "not a folder"
        raise NotARegistry(
            f"{printable(given)}: {why}; looked for a folder holding {V2}"
        ) from error
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename is not None else given
        raise failure(where, error) from error
    raise NotARegistry(
        f"{printable(given)}: not a registry: holds no {V2}{guess(given)}; {NOT_MOUNTED}"
        + (f" ({ALLOW_EMPTY})" if fresh else "")
    )


def _opened(holder: str) -> LocalStore:
    """Open the folder that holds `docker/registry/v2`, unless only MinIO can read it."""
    v2 = os.path.join(holder, V2)
    os.scandir(v2).close()
    if is_minio(v2):
        raise NotARegistry(
            f"{printable(holder)}: this is the disk of a MinIO server, which keeps every file of "
            f"{V2} as a folder in a format of its own; mount or copy the bucket through MinIO, "
            "and give that folder"
        )
    return LocalStore(holder)


def locate_local(file: str, tree: Store) -> tuple[LocalStore, str]:
    """Return the folder that holds a file as a store, and the file's name in it.

    Raises:
        As `regfs.stores.locate`.
    """
    try:
        folder, name = os.path.split(os.path.realpath(file))
        os.scandir(folder).close()
    except ValueError as error:
        raise unsafe(file, "not a path the file system can hold") from error
    except OSError as error:
        raise failure(folder, error) from error
    if isinstance(tree, LocalTree) and tree.is_registry(folder):
        raise unsafe(file, f"lies in {V2}, which belongs to the registry")
    return LocalStore(folder), name


def _holder(place: str) -> str | None:
    """Return the folder that holds `docker`, when `place` is it or lies between it and v2."""
    parts = V2.split("/")
    for depth in range(len(parts) + 1):
        above, rest = parts[:depth], parts[depth:]
        folder = place
        for name in reversed(above):
            if os.path.basename(folder) != name:
                break
            folder = os.path.dirname(folder)
        else:
            try:
                if stat.S_ISDIR(os.stat(os.path.join(place, *rest)).st_mode):
                    return folder
            except (FileNotFoundError, NotADirectoryError):
                continue
    return None
