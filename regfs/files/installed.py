"""What package managers have installed in two root file systems, where their databases differ.

    package_changes(layers, changed files) -> libc6 up 2.36-9 -> 2.36-10

A database that is the same in both is not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from regfs.content.entries import EntryKind, TarEntry
from regfs.content.packages import (
    LARGEST,
    Family,
    Package,
    PackageChange,
    changes,
    database_at,
    packages_in,
)
from regfs.digest import Digest
from regfs.errors import LayerInvalid, RegfsError
from regfs.files.layers import Layers


class FileAt(NamedTuple):
    """A file, and the layer that has its content."""

    layer: Digest
    entry: TarEntry


Pair: TypeAlias = tuple[FileAt | None, FileAt | None]
"""What lies at a path before and after."""

_LOG: Final = "-wal"
"""What SQLite appends to the name of a database for that of its log."""


def is_of_database(path: str) -> bool:
    """Return whether a path is a database, a part of one, or a log of one."""
    return database_at(path.removesuffix(_LOG)) is not None


def package_changes(
    layers: Layers, files: Mapping[str, Pair]
) -> tuple[list[PackageChange], list[str]]:
    """Return what differs between the packages in `files`, and what could not be read.

    `files` are those that differ of which `is_of_database` says so.
    """
    packages: dict[Family, tuple[list[Package], list[Package]]] = defaultdict(lambda: ([], []))
    problems: dict[str, None] = {}
    unread = set()
    for path, pair in files.items():
        family = database_at(path)
        if family is None:
            continue
        for number, file in enumerate(pair):
            log = files.get(f"{path}{_LOG}", (None, None))[number]
            try:
                packages[family][number].extend(_read(layers, path, file, log))
            except RegfsError as error:
                unread.add(family)
                problems[f"packages of {family}: {error}"] = None
    found = [
        change
        for family, (before, after) in packages.items()
        if family not in unread
        for change in changes(family, before, after)
    ]
    return found, list(problems)


def _read(layers: Layers, path: str, file: FileAt | None, log: FileAt | None) -> Iterable[Package]:
    if file is None or file.entry.kind is not EntryKind.FILE or not file.entry.size:
        return ()
    if file.entry.size > LARGEST:
        raise LayerInvalid(f"{path}: a database of {file.entry.size} bytes; {LARGEST} are read")
    if log is not None and log.entry.size:
        raise LayerInvalid(f"{path}: a part of it is still in the log beside it")
    with layers.open(file.layer, file.entry) as stream:
        return list(packages_in(path, stream.read()))
