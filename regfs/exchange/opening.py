"""How users name the place that an export goes to.

backup/  backup      a folder, made if it is not there
backup.tar           a tar; it must not be there
-                    a tar on standard output
s3://bucket/prefix   a bucket; also gs:// and az://
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from regfs.errors import Invalid, PathUnsafe, Refused, printable
from regfs.exchange.media import STANDARD_OUTPUT, Medium, StoreMedium, TarMedium
from regfs.stores import Store, open_store, writable
from regfs.tree.roots import NO_VARIABLES, place_of, slowed

_TAR: Final = ".tar"
_PACKED: Final = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".zip")


def open_medium(
    to: str,
    source: Store,
    variables: Mapping[str, str] = NO_VARIABLES,
    requests_per_second: float | None = None,
) -> Medium:
    """Open the place that the user has named; a folder is made.

    Raises:
        Refused: it is a terminal, a file that is there, or the source itself.
        Invalid: it is no place that can be written to.
        StoreError: it cannot be written.
    """
    if not to:
        raise Invalid("--to: give a folder, a .tar, - or a bucket")
    if to == STANDARD_OUTPUT:
        from regfs.stores.archive.writing import tar_on

        return TarMedium(tar_on(1, "standard output"))
    if "://" in to:
        place = slowed(place_of(to, variables), requests_per_second)
        return StoreMedium(writable(open_store(place, empty=True)))
    lower = to.lower()
    if lower.endswith(_PACKED):
        raise Invalid(
            f"{printable(to)}: layers are compressed already; write a plain {_TAR}, or compress "
            "what --to - writes"
        )
    if lower.endswith(_TAR) and not os.path.isdir(to):
        from regfs.stores.archive.writing import TarFile

        _require_apart(to, source)
        file = TarFile(to)
        return TarMedium(file.tar, file)
    return _folder(to, source)


def _folder(to: str, source: Store) -> Medium:
    from regfs.stores.local.root import failure
    from regfs.stores.local.store import LocalStore

    _require_apart(to, source)
    if os.path.lexists(to) and not os.path.isdir(to):
        raise Refused(f"{printable(to)}: there already, and no folder")
    try:
        os.makedirs(to, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError):
            raise Invalid(f"{printable(to)}: not a path the file system can hold") from None
        raise failure(to, error) from error
    return StoreMedium(LocalStore(to))


def _require_apart(to: str, source: Store) -> None:
    """See that a copy does not go into the tree that it is a copy of."""
    place, root = os.path.realpath(to), os.path.realpath(source.url)
    inside = f"{place}/".startswith((f"{root}/docker/", f"{root}/.regfs/"))
    if place == root or inside:
        raise PathUnsafe(f"{printable(to)}: lies in the tree that is copied: {printable(root)}")
