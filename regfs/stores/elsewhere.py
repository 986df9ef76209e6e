"""Roots that are no folder: archives, containers and buckets are opened, others called by name.

registry.tar    -    podman://container    s3://bucket/prefix    opened
inventory:s3://reports/.../manifest.json    inventory:copy/..    opened
registry.zip    https://host                                     named, with what to do instead
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from regfs.errors import NotARegistry, PathDenied, printable, without_secrets
from regfs.stores import WritableStore
from regfs.stores.archive.streamed import StreamOptions
from regfs.stores.bucket.place import Bucket, is_bucket, is_inventory, of_url

if TYPE_CHECKING:
    from regfs.stores.bucket.listing.inventory import InventoryPlace

_SCHEMES: Final = {
    "http": "a registry on the network",
    "https": "a registry on the network",
}
_NETWORK: Final = (
    "skopeo copy --all docker://... oci:FOLDER brings an image from there; only heal --from takes "
    "this"
)
BUCKET_ADVICE: Final = "mount it, for example by rclone, or copy it to a folder"
_MAGIC: Final = {
    b"BZh": "an archive (bzip2)",
    b"\xfd7zXZ\x00": "an archive (xz)",
    b"PK\x03\x04": "an archive (zip)",
}
_UNPACK: Final = "unpack it, and give the folder"
_READ: Final = 512
"""Bytes of a file that are looked at."""


def open_elsewhere(
    root: str | Bucket | InventoryPlace, empty: bool, options: StreamOptions | None
) -> WritableStore:
    """Open a root that is no folder.

    Raises:
        As `open_store`.
    """
    from regfs.stores.archive.container import TOOLS, open_container
    from regfs.stores.archive.opening import (
        STANDARD_INPUT,
        is_archive,
        open_archive,
        open_standard_input,
    )

    wanted = options or StreamOptions()
    if not isinstance(root, str | Bucket) or (isinstance(root, str) and is_inventory(root)):
        from regfs.stores.bucket.listing.inventory import of_inventory, open_inventory

        place = of_inventory(root) if isinstance(root, str) else root
        return open_inventory(place, wanted.progress)
    if not isinstance(root, str) or is_bucket(root):
        from regfs.stores.bucket.opening import open_bucket  # brings threads

        bucket = of_url(root) if isinstance(root, str) else root
        return open_bucket(bucket, wanted.progress, empty=empty, layouts=wanted.layouts)
    scheme, slashes, _ = root.partition("://")
    if slashes and scheme in TOOLS:
        return open_container(root, wanted)
    if root == STANDARD_INPUT:
        return open_standard_input(wanted)
    begin = _beginning(root)
    if is_archive(begin):
        return open_archive(root, wanted)
    if not begin and os.path.isfile(root) and not os.access(root, os.R_OK):
        raise PathDenied(f"{printable(root)}: permission denied")
    if (what := _what_root_is(root, begin)) is not None:
        raise NotARegistry(f"{without_secrets(root)}: this is {what}")
    from regfs.stores.local.store import open_local

    return open_local(root, empty=empty)


def _what_root_is(root: str, begin: bytes) -> str | None:
    """Return what a root is that cannot be opened, and what to do; None if it may be a folder."""
    scheme, slashes, _ = root.partition("://")
    if slashes and scheme in _SCHEMES:
        return f"{_SCHEMES[scheme]}, {_cannot(_NETWORK)}"
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            return f"{kind}, {_cannot(_UNPACK)}"
    return None


def _cannot(advice: str) -> str:
    return f"which this version cannot open yet; {advice}"


def _beginning(path: str) -> bytes:
    """Return what a file begins with; nothing if it is none, or cannot be read."""
    with suppress(OSError, ValueError):
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return os.read(descriptor, _READ)
        finally:
            os.close(descriptor)
    return b""
