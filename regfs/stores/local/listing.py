"""Listing a directory store: one folder, or all that is below one.

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
from collections.abc import Iterator

from regfs.errors import printable
from regfs.findings import Code, Finding
from regfs.stores import Entry, FileKind, Report, folders_above
from regfs.stores.local.reader import LocalReader, unreadable
from regfs.stores.local.root import joined

_Listed = tuple[bytes, Entry, bool]
"""Name, entry, whether it is a link."""


class Walked:
    """The real folders that a walk started from or followed a link to; none contains another."""

    def __init__(self, start: str) -> None:
        self._folders: set[str] = set()
        self._above: set[str] = set()
        self.add(start)

    def add(self, folder: str) -> bool:
        """Add a folder; return False if it overlaps with one that is walked."""
        folder = folder.rstrip("/")  # `/` itself becomes empty: it is above everything
        above = set(folders_above(folder))
        if folder in self._above or folder in self._folders or above & self._folders:
            return False
        self._folders.add(folder)
        self._above |= above
        return True


def list_folder(reader: LocalReader, folder: str, report: Report) -> list[Entry]:
    """Return what is directly in `folder`, sorted by the bytes of the name."""
    return [entry for _, entry, _ in _listed(reader, folder, report)]


def walk(reader: LocalReader, folder: str, report: Report) -> Iterator[Entry]:
    """Yield everything below `folder`, folders before what they hold, each once.

    Names are in the order of their bytes. A folder whose path is longer
    than the operating system takes is reported, and not entered.
    """
    walked = Walked(os.path.realpath(reader.root.full(folder)))
    pending = _below(reader, folder, report, walked)
    while pending:
        entry = pending.pop()
        yield entry
        if entry.kind is FileKind.FOLDER:
            pending.extend(_below(reader, entry.path, report, walked))


def _below(reader: LocalReader, folder: str, report: Report, walked: Walked) -> list[Entry]:
    """Return what is in `folder`, last first; no link in it leads to what is walked anyway."""
    entries = []
    for _, entry, linked in _listed(reader, folder, report):
        if linked and entry.kind is FileKind.FOLDER:
            target = os.path.realpath(reader.root.full(entry.path))
            if not walked.add(target):
                report(Finding(Code.SYMLINK_LOOP, entry.path, actual=printable(target)))
                entry = entry._replace(kind=FileKind.LINK)
        entries.append(entry)
    entries.reverse()
    return entries


def _listed(reader: LocalReader, folder: str, report: Report) -> list[_Listed]:
    """Return what is in `folder`, sorted: name in bytes, entry, whether it is a link."""
    descriptor = reader.open_listed(folder, report)
    if descriptor is None:
        return []
    found: list[_Listed] = []
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
                entry = reader.entry(path, status, report)
                found.append((os.fsencode(child.name), entry, child.is_symlink()))
    except OSError as error:
        report(unreadable(folder, error))
    finally:
        os.close(descriptor)
    found.sort()
    return found
