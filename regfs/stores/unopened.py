"""Roots that this version knows and cannot open: it says what they are, and what to do.

s3://bucket/prefix    docker://container    registry.tar    -
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

_SCHEMES: Final = {
    "s3": "a bucket of S3",
    "gs": "a bucket of Google Cloud Storage",
    "az": "a container of Azure Blob Storage",
    "docker": "a container of Docker",
    "podman": "a container of Podman",
    "http": "a registry on the network",
    "https": "a registry on the network",
}
_ADVICE: Final = {
    "docker": "mount its volume, or copy it: docker cp CONTAINER:/var/lib/registry FOLDER",
    "podman": "mount its volume, or copy it: podman cp CONTAINER:/var/lib/registry FOLDER",
    "http": "regfs reads the disk of a registry; only heal --from takes this",
    "https": "regfs reads the disk of a registry; only heal --from takes this",
}
BUCKET_ADVICE: Final = "mount it, for example by rclone, or copy it to a folder"
_MAGIC: Final = {
    b"\x1f\x8b": "an archive (gzip)",
    b"\x28\xb5\x2f\xfd": "an archive (zstd)",
    b"BZh": "an archive (bzip2)",
    b"\xfd7zXZ\x00": "an archive (xz)",
    b"PK\x03\x04": "an archive (zip)",
}
_UNPACK: Final = "unpack it, and give the folder"
_READ: Final = 512
"""Bytes of a file that are looked at."""


def what_root_is(root: str) -> str | None:
    """Return what a root is that cannot be opened, and what to do; None if it may be a folder."""
    scheme, slashes, _ = root.partition("://")
    if slashes and scheme in _SCHEMES:
        return f"{_SCHEMES[scheme]}, {_cannot(_ADVICE.get(scheme, BUCKET_ADVICE))}"
    if root == "-":
        return f"an archive on standard input, {_cannot(_UNPACK)}"
    return _of_file(_beginning(root))


def _cannot(advice: str) -> str:
    return f"which this version cannot open yet; {advice}"


def _beginning(path: str) -> bytes:
    """Return what a file begins with; nothing if it is none, or cannot be read."""
    with suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return os.read(descriptor, _READ)
        finally:
            os.close(descriptor)
    return b""


def _of_file(begin: bytes) -> str | None:
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            return f"{kind}, {_cannot(_UNPACK)}"
    if begin[257:262] == b"ustar":
        return f"an archive (tar), {_cannot(_UNPACK)}"
    return None
