"""What a root means: what a store can open, or the configuration of a registry.

/srv/registry          as it is
/etc/.../config.yml    the folder or bucket that its storage section names
s3://bucket/prefix     with the keys of the user's profile, as inventory:s3://..
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING

from regfs.errors import DocumentInvalid, NotARegistry, printable
from regfs.stores import NOT_MOUNTED

if TYPE_CHECKING:
    from regfs.stores.bucket.listing.inventory import InventoryPlace
    from regfs.stores.bucket.place import Bucket

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def place_of(
    root: str, variables: Mapping[str, str] = NO_VARIABLES
) -> str | Bucket | InventoryPlace:
    """Return what `open_store` takes for a root: of a configuration, what it names.

    `variables` are those that replace parts of a configuration (REGISTRY_STORAGE_...), and those
    that hold the user's keys, or say where they are (`regfs.stores.bucket.place.VARIABLES`).

    Raises:
        NotARegistry: a configuration names a storage that cannot be opened, or a folder that is
            not there; a URL names no bucket.
        DocumentInvalid: it is a configuration, and not valid.
        StoreError: the user's profile cannot be used.
    """
    if os.path.isdir(root):  # the usual root: it loads nothing of what is below
        return root
    from regfs.documents.storage import LARGEST, is_configuration
    from regfs.stores.bucket.place import is_bucket, is_inventory, of_url

    if is_inventory(root):
        from regfs.stores.bucket.listing.inventory import of_inventory

        return of_inventory(root, variables)
    if is_bucket(root):
        return of_url(root, variables)
    data = _beginning(root, LARGEST + 1)
    if not is_configuration(data.decode(errors="replace")):
        return root
    return _configured(data, printable(root), variables)


def slowed(
    place: str | Bucket | InventoryPlace, requests_per_second: float | None
) -> str | Bucket | InventoryPlace:
    """Return a place that is asked so often at most, if it is one that is asked."""
    if requests_per_second is not None and not isinstance(place, str):
        place.meter.most = requests_per_second
    return place


def _configured(data: bytes, name: str, variables: Mapping[str, str]) -> str | Bucket:
    """Return what a configuration names."""
    from regfs.documents.storage import FILESYSTEM, PREFIX, read_storage
    from regfs.stores.bucket.place import DRIVERS, of_driver
    from regfs.stores.elsewhere import BUCKET_ADVICE

    parts = {one: text for one, text in variables.items() if one.startswith(PREFIX)}
    storage = read_storage(data, name, parts)
    if storage.driver in DRIVERS:
        bucket = of_driver(storage.driver, storage.settings, variables)
        if bucket is None:
            raise DocumentInvalid(f"{name}: storage.{storage.driver}: names no bucket")
        return bucket
    if storage.driver != FILESYSTEM:
        raise NotARegistry(
            f"{name}: this is the configuration of a registry that stores in {storage.place}, "
            f"which this version cannot open; {BUCKET_ADVICE}"
        )
    if _is_no_folder(storage.folder):
        folder = printable(storage.folder)
        raise NotARegistry(f"{name}: its rootdirectory {folder} is no folder here; {NOT_MOUNTED}")
    return storage.folder


def _is_no_folder(path: str) -> bool:
    """Return whether a path surely leads to no folder; whoever opens one says what else it is."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:
        return False


def _beginning(path: str, size: int) -> bytes:
    """Return what a file begins with; nothing if it is none, or unreadable."""
    with suppress(OSError, ValueError):
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return os.read(descriptor, size)
        finally:
            os.close(descriptor)
    return b""
