"""What the headers of a tar say: names, kinds, owners, times, links, and the data of a file.

    LayerReader -> read_entries -> TarEntry, TarEntry, ...
    LayerReader at an entry     -> FileReader                  the content of that file

A header is read as clients in Go read it (containerd, Docker, podman): a pax header goes before
the header it belongs to, a GNU long name before both; global pax headers mean nothing.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from regfs.content.tar import TarCheck
from regfs.digest import BUFFER_SIZE, Readable
from regfs.stores.archive.fields import shown


class EntryKind(StrEnum):
    """What an entry of a tar is."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


_TYPES: Final = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.HARDLINK: stat.S_IFREG,
    EntryKind.FOLDER: stat.S_IFDIR,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.CHARACTER: stat.S_IFCHR,
    EntryKind.BLOCK: stat.S_IFBLK,
    EntryKind.FIFO: stat.S_IFIFO,
}


def mode_text(kind: EntryKind, mode: int) -> str:
    """Return kind and permission bits as `ls -l` writes them: `-rwxr-xr-x`."""
    return stat.filemode(_TYPES[kind] | mode)


class TarEntry(NamedTuple):
    """One entry of a tar."""

    path: str
    """Without `/` or `./` before it and `/` behind; empty for the root.

    Bytes that are not UTF-8 are surrogate escapes. `..` has been resolved and never leads out.
    """
    kind: EntryKind
    mode: int
    """Permission bits, with setuid, setgid and sticky."""
    uid: int
    gid: int
    owner: str
    group: str
    size: int
    """Bytes of the file as it unpacks, holes included; 0 for what has no data."""
    mtime: float
    """Seconds since the epoch."""
    target: str
    """Of a symlink as it is written; of a hard link the path of the entry meant; else empty."""
    device: tuple[int, int] | None
    """Major and minor number of a device."""
    xattrs: Mapping[str, bytes]
    position: int
    """Where its first header begins in the tar."""


NO_XATTRS: Final[Mapping[str, bytes]] = MappingProxyType({})

_KINDS: Final = {
    **dict.fromkeys((0, *b"07S"), EntryKind.FILE),
    ord("1"): EntryKind.HARDLINK,
    ord("2"): EntryKind.SYMLINK,
    ord("3"): EntryKind.CHARACTER,
    ord("4"): EntryKind.BLOCK,
    ord("5"): EntryKind.FOLDER,
    ord("6"): EntryKind.FIFO,
}
_HEADER: Final = struct.Struct("100s8s8s8s12s12s8sB100s8s32s32s8s8s155s12s")
_XATTR: Final = b"SCHILY.xattr."
_LONGEST_PATH: Final = 4095
_LONGEST_NAME: Final = 255
"""Bytes of a path and of a name in it: no file system takes more."""


class EntryWalk(TarCheck):
    """The walk through a tar that also reads what its headers say."""

    def __init__(self) -> None:
        super().__init__()
        self.odd: dict[str, tuple[int, str]] = {}
        """What is odd with entries -> how many there are, and the path of the first."""
        self._found: list[TarEntry] = []
        self._start = -1
        self._pax: list[tuple[bytes, bytes]] = []
        self._long: dict[int, bytes] = {}

    def read(self, piece: bytes) -> Iterator[TarEntry]:
        """Take the next piece; yield the entries whose headers end in it.

        Raises:
            LayerInvalid: after the last sound entry: it is damaged there.
        """
        try:
            self.feed(piece)
        finally:
            found, self._found = self._found, []
            yield from found

    def _take_header(self, block: bytes) -> int:
        if self._start < 0:
            self._start = self.position
        before = self.entries
        skip = super()._take_header(block)
        if self.entries != before:
            self._found.append(self._made(block))
            self._start, self._pax, self._long = -1, [], {}
        return skip

    def _take_pax(self, records: list[tuple[bytes, bytes]]) -> None:
        super()._take_pax(records)
        self._pax = records

    def _take_long(self, kind: int, content: bytes) -> None:
        self._long[kind] = content.partition(b"\0")[0]

    def _made(self, block: bytes) -> TarEntry:
        """Return the entry of a header, and of the extended headers before it."""
        fields = _HEADER.unpack_from(block)
        name, mode, uid, gid, _, mtime, _, flag, link, magic, owner, group = fields[:12]
        kind = _KINDS.get(flag)
        name, link = _text(name), _text(link)
        if magic == b"ustar\x0000" and fields[14][0]:
            name = _text(fields[14]) + b"/" + name
        elif magic[:5] != b"ustar":
            owner = group = b""  # older than the fields
        values = {
            "mode": _octal(mode, "mode") if mode[0] < 0x80 else self.number(mode, "mode"),
            "uid": self._id(uid, "uid"),
            "gid": self._id(gid, "gid"),
            "mtime": self._time(mtime),
            "size": self.stored,
        }
        raw = {"name": name, "link": link, "owner": _text(owner), "group": _text(group)}
        xattrs = self._merge(values, raw) if self._pax else NO_XATTRS
        if self._long:
            raw["name"] = self._long.get(ord("L")) or raw["name"]
            raw["link"] = self._long.get(ord("K")) or raw["link"]
        if flag == ord("S"):
            values["size"] = self.number(block[483:495], "size")
        device = None
        if kind in (EntryKind.CHARACTER, EntryKind.BLOCK):
            device = (self.number(fields[12], "device"), self.number(fields[13], "device"))
        return self._entry(kind, flag, values, raw, device, xattrs)

    def _entry(
        self,
        kind: EntryKind | None,
        flag: int,
        values: dict[str, Any],
        raw: dict[str, bytes],
        device: tuple[int, int] | None,
        xattrs: Mapping[str, bytes],
    ) -> TarEntry:
        written, target = decoded(raw["name"]), ""
        path, outside = cleaned(written)
        if kind is None:
            self._note(f"of the unknown type {shown(bytes([flag]))}", path)
            kind = EntryKind.FILE
        if flag == 0 and written.endswith("/"):  # as the oldest tars write folders
            kind = EntryKind.FOLDER
        self._note_path(path, written, outside)
        if kind is EntryKind.SYMLINK:
            target = decoded(raw["link"])
        elif kind is EntryKind.HARDLINK:
            target, outside = cleaned(decoded(raw["link"]))
            if outside:
                self._note("that are hard links out of the root", path)
        return TarEntry(
            path,
            kind,
            values["mode"] & 0o7777,
            values["uid"],
            values["gid"],
            decoded(raw["owner"]),
            decoded(raw["group"]),
            values["size"] if kind is EntryKind.FILE else 0,
            values["mtime"],
            target,
            device,
            xattrs,
            self._start,
        )

    def _merge(self, values: dict[str, Any], raw: dict[str, bytes]) -> Mapping[str, bytes]:
        """Put the values of a pax header in place; return the extended attributes in it."""
        names = {b"path": "name", b"linkpath": "link", b"uname": "owner", b"gname": "group"}
        xattrs: dict[str, bytes] = {}
        for key, value in self._pax:
            if key in names:
                if b"\0" in value:
                    raise self.error("a pax value with a zero byte")
                raw[names[key]] = value or raw[names[key]]
            elif not value:
                continue
            elif key in (b"uid", b"gid"):
                values[key.decode()] = self.natural(value, "pax number")
            elif key == b"mtime":
                values["mtime"] = self._pax_time(value)
            elif key.startswith(_XATTR):
                xattrs[decoded(key[len(_XATTR) :])] = value
        self._merge_sparse(values, raw)
        return xattrs or NO_XATTRS

    def _merge_sparse(self, values: dict[str, Any], raw: dict[str, bytes]) -> None:
        """Put the name and size of a sparse file in place, if the pax header is that of one."""
        if self._sparse_version is None:
            return
        records = dict(self._pax)
        raw["name"] = records.get(b"GNU.sparse.name") or raw["name"]
        size = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize")
        if size is not None:
            values["size"] = self.natural(size, "pax size")

    @property
    def _sparse_version(self) -> int | None:
        """The version of GNU's format for sparse files in pax headers: 0, 1, or None for none."""
        records = dict(self._pax)
        version = (records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor"))
        if version == (b"1", b"0"):
            return 1
        old = version in ((b"0", b"0"), (b"0", b"1"))
        unversioned = b"GNU.sparse.map" in records or b"GNU.sparse.offset" in records
        return 0 if old or (unversioned and version == (None, None)) else None

    def _id(self, field: bytes, name: str) -> int:
        return _octal(field, name) if field[0] < 0x80 else self.number(field, name)

    def _time(self, field: bytes) -> float:
        if field[0] & 0xC0 == 0xC0:  # before the epoch
            return float(int.from_bytes(field, signed=True))
        return float(self.number(field, "time"))

    def _pax_time(self, value: bytes) -> float:
        try:
            time = float(value)
        except ValueError:
            time = float("nan")
        if not isfinite(time) or abs(time) > 2**63 or len(value) > 40:
            raise self.error(f"a pax time of {shown(value)}")
        return time

    def _note_path(self, path: str, written: str, outside: bool) -> None:
        if outside:
            self._note("with a path that leads out of the root", written)
        if len(path) <= _LONGEST_NAME // 4:  # bytes of a character
            return
        parts = path.encode("utf-8", "surrogateescape").split(b"/")
        total = sum(len(part) + 1 for part in parts) - 1
        if total > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in parts):
            self._note("with a name too long for any file system", path)

    def _note(self, what: str, path: str) -> None:
        count, first = self.odd.get(what, (0, path))
        self.odd[what] = (count + 1, first)


def read_entries(reader: Readable) -> Iterator[TarEntry]:
    """Yield the entries of a tar, in order; holds no data of files.

    Raises:
        LayerInvalid: it is not a tar archive, or it is damaged.
    """
    walk = EntryWalk()
    while piece := reader.read(BUFFER_SIZE):
        yield from walk.read(piece)
    walk.finish()


def decoded(name: bytes) -> str:
    """Return a name as text; bytes that are not UTF-8 become surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")


def cleaned(path: str) -> tuple[str, bool]:
    """Return a path below the root as plain as it can be, and whether it leads out of the root.

    >>> cleaned("./usr//lib/../bin/"), cleaned("../../etc/passwd")
    (('usr/bin', False), ('etc/passwd', True))
    """
    path = path.strip("/")
    if path[:1] != "." and "//" not in path and "/." not in path:
        return path, False
    parts: list[str] = []
    outside = False
    for part in path.split("/"):
        if part == "..":
            outside |= not parts
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts), outside


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


@lru_cache(4096)
def _octal(field: bytes, name: str) -> int:
    """Return the number in a field that many entries have the same."""
    return TarCheck().number(field, name)
