"""The databases of package managers in a root file system: what is installed, in which version.

    var/lib/dpkg/status            stanzas      Package: tar  Version: 1.34  Status: ... installed
    var/lib/dpkg/status.d/tar      one stanza, as in distroless images
    lib/apk/db/installed           stanzas      P:musl  V:1.2.4-r2  A:x86_64
    var/lib/rpm/rpmdb.sqlite       SQLite, one header of RPM in each row

`database_at` says what a path holds and `packages_in` reads its bytes; nothing here opens a
file. Berkeley DB and ndb, which RPM used before SQLite and SUSE still does, are recognised, but
not read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from regfs.content.versions import Key, apk_key, dpkg_key, rpm_key
from regfs.errors import LayerInvalid

if TYPE_CHECKING:
    from sqlite3 import Connection

LARGEST: Final = 128 << 20
"""Bytes of a database; a larger one is not read."""


class Family(StrEnum):
    """A package manager."""

    DPKG = "dpkg"
    APK = "apk"
    RPM = "rpm"


class Package(NamedTuple):
    """An installed package."""

    name: str
    architecture: str
    version: str
    """With epoch and revision, as the package manager prints it."""


KEYS: Final[Mapping[Family, Callable[[str], Key]]] = {
    Family.DPKG: dpkg_key,
    Family.APK: apk_key,
    Family.RPM: rpm_key,
}
"""What orders the versions of each family."""

_STATUS_D: Final = re.compile(r"var/lib/dpkg/status\.d/(?!.*\.md5sums$)[^/]+")
_RPM_FOLDERS: Final = ("var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm")
PLACES: Final[Mapping[str, Family]] = {
    "var/lib/dpkg/status": Family.DPKG,
    "lib/apk/db/installed": Family.APK,
    "usr/lib/apk/db/installed": Family.APK,
    **{
        f"{folder}/{name}": Family.RPM
        for folder in _RPM_FOLDERS
        for name in ("rpmdb.sqlite", "Packages.db", "Packages")
    },
}
"""Where the databases lie that are one file; those of distroless images are several."""


def database_at(path: str) -> Family | None:
    """Return whose database, or part of one, a path of a root file system is."""
    return PLACES.get(path) or (Family.DPKG if _STATUS_D.fullmatch(path) else None)


def packages_in(path: str, data: bytes) -> Iterator[Package]:
    """Yield the packages in the database at a path.

    Raises:
        LayerInvalid: it cannot be read as what its path says.
    """
    family = database_at(path)
    if family is Family.DPKG:
        return _dpkg(data)
    if family is Family.APK:
        return _apk(data)
    if not data.startswith(_SQLITE):
        raise LayerInvalid(f"{path}: of the databases of RPM only SQLite is read")
    return _rpm(path, data)


# -- dpkg and apk: stanzas of text -------------------------------------------------------

_ABSENT: Final = frozenset({"not-installed", "config-files"})
"""States of packages of which no program is there."""


def _dpkg(data: bytes) -> Iterator[Package]:
    wanted = frozenset({"Package", "Version", "Architecture", "Status"})
    for fields in _stanzas(data, ": ", wanted):
        state = fields.get("Status", "").rpartition(" ")[2]
        if "Package" in fields and state not in _ABSENT:
            yield Package(
                fields["Package"], fields.get("Architecture", ""), fields.get("Version", "")
            )


def _apk(data: bytes) -> Iterator[Package]:
    for fields in _stanzas(data, ":", frozenset("PVA")):
        if "P" in fields:
            yield Package(fields["P"], fields.get("A", ""), fields.get("V", ""))


def _stanzas(data: bytes, colon: str, wanted: frozenset[str]) -> Iterator[dict[str, str]]:
    """Yield the wanted fields of each stanza; an empty line ends one."""
    fields: dict[str, str] = {}
    for line in data.split(b"\n"):
        if not line.strip():
            if fields:
                yield fields
            fields = {}
            continue
        name, found, value = line.decode(errors="surrogateescape").partition(colon)
        if found and name in wanted:
            fields.setdefault(name, value.strip())
    if fields:
        yield fields


# -- rpm: SQLite, with a header of RPM in each row ------------------------------------------

_SQLITE: Final = b"SQLite format 3\0"
_STEPS: Final = 2_000_000
"""Instructions of SQLite's machine that reading may take: a hostile schema could loop."""
_LARGEST_HEADER: Final = 32 << 20
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE = 1000, 1001, 1002, 1003, 1022
_TAGS: Final = frozenset({_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE})
_INT32, _STRING = 4, 6
_ENTRY: Final = struct.Struct(">IIII")


def _rpm(path: str, data: bytes) -> Iterator[Package]:
    try:
        import sqlite3
        from contextlib import closing
    except ImportError:  # Python can be built without it
        raise LayerInvalid(f"{path}: this Python has no sqlite3 to read it with") from None
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            yield from map(_package, _headers(connection, data))
    except (sqlite3.Error, OverflowError) as error:
        raise LayerInvalid(f"{path}: {error}") from None
    except (struct.error, ValueError) as error:
        raise LayerInvalid(f"{path}: not a header of RPM: {error}") from None


def _headers(connection: Connection, data: bytes) -> Iterator[bytes]:
    """Yield the header of each package. The database is copied into memory; nothing is written."""
    import sqlite3

    # RPM writes ahead, and what is in memory has no log: bytes 18 and 19 say which it is.
    connection.deserialize(data[:18] + b"\1\1" + data[20:])
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_HEADER)
    connection.set_progress_handler(lambda: 1, _STEPS)
    schema = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'Packages'"
    statement = connection.execute(schema).fetchone()
    if statement is None or not str(statement[0]).startswith("CREATE TABLE"):
        raise ValueError("no table of packages")  # a view or a virtual table could run code
    left = len(data)
    for (header,) in connection.execute("SELECT blob FROM Packages"):
        if not isinstance(header, bytes):
            raise ValueError("a row without bytes")
        left -= len(header)
        if left < 0:  # pages that are used many times
            raise ValueError("there are more bytes in it than in its file")
        yield header


def _package(header: bytes) -> Package:
    """Return the package of a header: counts, an index of tags, and their values."""
    entries, length = struct.unpack_from(">II", header)
    begin = 8 + entries * _ENTRY.size
    if begin + length > len(header):
        raise ValueError("it is truncated")
    index = _ENTRY.iter_unpack(header[8:begin])
    found = {
        tag: _value(header, begin + offset, kind) for tag, kind, offset, _ in index if tag in _TAGS
    }
    version = f"{found.get(_VERSION, '')}-{found.get(_RELEASE, '')}"
    epoch = found.get(_EPOCH, "0")
    return Package(
        found.get(_NAME, ""),
        found.get(_ARCHITECTURE, ""),
        version if epoch == "0" else f"{epoch}:{version}",
    )


def _value(header: bytes, offset: int, kind: int) -> str:
    if kind == _INT32:
        return str(struct.unpack_from(">I", header, offset)[0])
    if kind != _STRING:
        raise ValueError(f"a value of type {kind}")
    return header[offset : header.index(b"\0", offset)].decode(errors="surrogateescape")


# -- what has changed ---------------------------------------------------------------------


class PackageFate(StrEnum):
    """What happened to a package."""

    ADDED = "added"
    REMOVED = "removed"
    UP = "up"
    DOWN = "down"
    REBUILT = "rebuilt"
    """Another version that the package manager orders as the same one."""


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that is not the same in two root file systems."""

    change: PackageFate
    family: Family
    name: str
    architecture: str
    before: str | None
    """The version; of several all, separated by commas."""
    after: str | None


def changes(
    family: Family, before: Iterable[Package], after: Iterable[Package]
) -> Iterator[PackageChange]:
    """Yield what differs, by name and architecture. Several versions may be installed at once."""
    old, new = _versions(before), _versions(after)
    for name, architecture in sorted(old.keys() | new.keys()):
        gone = old.get((name, architecture), frozenset())
        come = new.get((name, architecture), frozenset())
        if gone == come:
            continue
        yield PackageChange(
            _change(family, gone, come),
            family,
            name,
            architecture,
            _joined(family, gone),
            _joined(family, come),
        )


def _versions(packages: Iterable[Package]) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for one in packages:
        found.setdefault((one.name, one.architecture), set()).add(one.version)
    return {name: frozenset(versions) for name, versions in found.items()}


def _change(family: Family, gone: frozenset[str], come: frozenset[str]) -> PackageFate:
    if not gone or not come:
        return PackageFate.ADDED if come else PackageFate.REMOVED
    key = KEYS[family]
    old, new = max(map(key, gone)), max(map(key, come))
    if old == new and len(gone) != len(come):
        return PackageFate.ADDED if len(come) > len(gone) else PackageFate.REMOVED
    return PackageFate.UP if old < new else PackageFate.DOWN if old > new else PackageFate.REBUILT


def _joined(family: Family, versions: frozenset[str]) -> str | None:
    return ", ".join(sorted(versions, key=KEYS[family])) or None
