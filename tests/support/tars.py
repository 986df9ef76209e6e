"""Tars entry by entry, for what is inside layers; nothing of regfs is used."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from typing import Any

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, data: bytes = b"", **fields: Any) -> Entry:
    """Return a regular file, or what the `type` among the fields says."""
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, data


def folder(name: str, **fields: Any) -> Entry:
    return entry(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, type=tarfile.SYMTYPE, linkname=target, **fields)


def hardlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, type=tarfile.LNKTYPE, linkname=target, **fields)


def tar_of(entries: Iterable[Entry], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar of entries, in order, duplicates and all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for made, data in entries:
            archive.addfile(made, io.BytesIO(data))
    return buffer.getvalue()


# -- headers as bytes ------------------------------------------------------------------------------

END = bytes(1024)
"""What ends a tar: two blocks of zeros."""


def header(name: str = "file", size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    """Return a header whose checksum is right."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def base256(size: int) -> bytes:
    return bytes([0x80 | (size < 0) * 0x7F]) + (size % 2**88).to_bytes(11)
