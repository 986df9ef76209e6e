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
