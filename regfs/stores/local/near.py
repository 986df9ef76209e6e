"""What a folder without a registry tree seems to be, as the end of an error message.

    /data            the tree lies in /data/registry            say which folder to give
    /srv/layout      an OCI image layout                        say what it lacks
    /export          the disk of a MinIO server                 say whom to ask instead
    /mnt             nothing at all                             is a volume not mounted?

Only a few names are read, never a whole disk. What cannot be read is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Final

from regfs.errors import printable
from regfs.stores.local.root import V2

_LOOKED_AT: Final = 100
"""Folders that are searched for a tree."""
_SAMPLE: Final = 3
"""Blobs that are sampled."""
_MINIO: Final = "xl.meta"
"""The file in which MinIO keeps what is to be read as one object."""


def is_minio(v2: str) -> bool:
    """Return whether the blobs that are sampled are folders in which MinIO keeps objects.

    One could have been made by hand; the first few of different folders were not.
    """
    found = list(islice(_blobs(os.path.join(v2, "blobs", "sha256")), _SAMPLE))
    return bool(found) and all(os.path.isfile(os.path.join(one, "data", _MINIO)) for one in found)


def _blobs(folder: str) -> Iterator[str]:
    """Yield the folder of one blob below each two digits."""
    for prefix in _folders(folder):
        for name in _folders(os.path.join(folder, prefix))[:1]:
            yield os.path.join(folder, prefix, name)


def guess(folder: str) -> str:
    """Return what a folder that holds no tree may be, as the end of a message; or nothing."""
    places = list(islice(_trees_near(folder), 2))
    if places:
        more = ", and in others" if len(places) > 1 else ""
        return f"; there is one in {printable(places[0])}{more}"
    if os.path.isfile(os.path.join(folder, "oci-layout")):
        whole = os.path.isfile(os.path.join(folder, "index.json"))
        return f"; this is an OCI image layout{'' if whole else ' without index.json'}"
    if all(os.path.isdir(os.path.join(folder, name)) for name in ("images", "repositories")):
        return "; this seems to be a registry of version 1, which regfs cannot read"
    return ""


def _trees_near(folder: str) -> Iterator[str]:
    """Yield folders that hold a tree and lie a step below, or where Docker keeps volumes."""
    volumes = os.path.join(folder, "volumes")
    near = [os.path.join(folder, name) for name in _folders(folder)]
    near += [os.path.join(volumes, name, "_data") for name in _folders(volumes)]
    return (place for place in near if os.path.isdir(os.path.join(place, V2)))


def _folders(folder: str) -> list[str]:
    """Return the names of the first folders in one, sorted."""
    try:
        with os.scandir(folder) as children:
            return sorted(child.name for child in islice(children, _LOOKED_AT) if child.is_dir())
    except OSError:
        return []
