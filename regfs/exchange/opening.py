"""How users name the place that an export goes to.

backup/  backup      a folder, made if it is not there
backup.tar           a tar; it must not be there
-                    a tar on standard output
s3://bucket/prefix   a bucket; also az://

A place that nothing can be written to is told with what would do in its stead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from regfs.errors import Invalid, Refused, printable, without_secrets
from regfs.exchange.former import require_folder
from regfs.exchange.media import STANDARD_OUTPUT, Medium, StoreMedium, TarMedium
from regfs.stores import Store, open_store, writable
from regfs.stores.archive.container import DEFAULT_FOLDER, TOOLS
from regfs.stores.bucket.place import Bucket, is_bucket
from regfs.tree.roots import NO_VARIABLES, place_of, slowed

_TAR: Final = ".tar"
_PLACES: Final = (
    "not where an export can go: a folder, a .tar, - (standard output), s3://BUCKET or "
    "az://CONTAINER"
)
_TRANSPORTS: Final = ("oci:", "oci-archive:", "docker-archive:", "dir:", "inventory:")
"""How places begin that skopeo, or -r, knows and an export does not."""
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
        return _bucket(to, source, variables, requests_per_second)
    if to.startswith(_TRANSPORTS) and not os.path.lexists(to):
        raise Invalid(f"{printable(to)}: {_PLACES}; give the path alone, and --format oci")
    lower = to.lower()
    if lower.endswith(_PACKED):
        raise Invalid(
            f"{printable(to)}: layers are compressed already; write a plain {_TAR}, or compress "
            "what --to - writes"
        )
    if lower.endswith(_TAR) and not os.path.isdir(to):
        from regfs.stores.archive.writing import TarFile

        _require_apart(to, source)
        require_folder(to)
        file = TarFile(to)
        return TarMedium(file.tar, file)
    return _folder(to, source)


def _bucket(
    to: str, source: Store, variables: Mapping[str, str], requests_per_second: float | None
) -> Medium:
    scheme, _, rest = to.partition("://")
    if scheme in TOOLS:
        name, _, path = rest.partition(":")
        target = f"{printable(name) or 'CONTAINER'}:{printable(path) or DEFAULT_FOLDER}"
        raise Invalid(
            f"{printable(to)}: regfs writes nothing into a container; {scheme} does: "
            f"regfs export --to - | {scheme} cp - {target}"
        )
    if not is_bucket(to):
        network = scheme in ("http", "https")
        more = "; into a registry, skopeo copies from regfs serve or --format oci"
        raise Invalid(f"{without_secrets(to)}: {_PLACES}{more if network else ''}")
    place = slowed(place_of(to, variables), requests_per_second)
    medium = StoreMedium(writable(open_store(place, empty=True)))
    if isinstance(place, Bucket) and isinstance(source.spec, Bucket):
        _require_other(place, source.spec)
    return medium


def _require_other(place: Bucket, root: Bucket) -> None:
    """See that a copy does not go into the tree in a bucket that it is a copy of."""
    servers = {one.options.get("endpoint") for one in (place, root)}
    if len(servers) > 1 or (place.scheme, place.name) != (root.scheme, root.name):
        return
    inside = place.base.startswith((f"{root.base}docker/", f"{root.base}.regfs/"))
    if place.base == root.base or inside:
        raise _within(place.url, root.url)


def _folder(to: str, source: Store) -> Medium:
    from regfs.stores.local.root import failure
    from regfs.stores.local.store import LocalStore

    _require_apart(to, source)
    if os.path.lexists(to) and not os.path.isdir(to):
        raise Refused(
            f"{printable(to)}: there already, and no folder; name a folder, or a new {_TAR}"
        )
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
        raise _within(to, root)


def _within(to: str, root: str) -> Refused:
    return Refused(
        f"{printable(to)}: lies in the tree that is copied, {printable(root)}; name another place"
    )
