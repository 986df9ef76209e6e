"""What a former export has: a folder, an archive or a bucket, or the list that it has written.

    sha256:<hex> 1234         one blob a line, and its bytes

A list names what an export has itself and what it had left out, so that of a chain of exports the
last list is enough. To restore the last of them all are needed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import Final

from regfs.digest import Digest
from regfs.errors import DigestInvalid, DocumentInvalid, PathMissing, printable
from regfs.stores import Store
from regfs.tree.scan import scan

_FIRST: Final = "# blobs of an export by regfs\n"
_LONGEST: Final = 200
"""Characters of a line."""


def blobs_of(store: Store) -> dict[Digest, int]:
    """Return the blobs of a tree -> their bytes."""
    inventory = scan(store, history=False)
    return {digest: inventory.blobs[digest].size for digest in inventory.blobs}


def read_list(path: str) -> dict[Digest, int] | None:
    """Return what is in the list that an export has written; None if it is no such list.

    Raises:
        DocumentInvalid: it is not as an export writes it.
    """
    if not _is_list(path):
        return None
    with open(path, encoding="ascii", errors="replace") as file:
        return dict(_parsed(path, iter(lambda: file.readline(_LONGEST), "")))


def require_folder(file: str) -> None:
    """See that a list can be written where it is wished.

    Raises:
        PathMissing: its folder is not there.
    """
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder):
        raise PathMissing(f"{printable(folder)}: no such folder; make it first")


def write_list(file: str, blobs: Mapping[Digest, int]) -> None:
    """Write the list of an export.

    Raises:
        StoreError: it cannot be written.
    """
    from regfs.stores.local.store import LocalStore

    folder, name = os.path.split(os.path.abspath(file))
    lines = [_FIRST, *(f"{digest} {blobs[digest]}\n" for digest in sorted(blobs))]
    with LocalStore(folder).create(name) as writer:
        writer.write("".join(lines).encode("ascii"))


def _is_list(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return is_file and os.read(descriptor, len(_FIRST)) == _FIRST.encode()
    finally:
        os.close(descriptor)


def _parsed(path: str, lines: Iterable[str]) -> Iterable[tuple[Digest, int]]:
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        digest, _, size = line.strip().partition(" ")
        try:
            if not size.isdecimal():
                raise ValueError(size)
            yield Digest.parse(digest), int(size)
        except (ValueError, DigestInvalid):
            raise DocumentInvalid(f"{printable(path)}: line {number}: not a blob") from None
