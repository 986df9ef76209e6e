"""Roots that this version knows and cannot open: it says what they are, and what to do.

s3://bucket/prefix    docker://container    registry.tar    -    config.yml
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import Final

from regfs.errors import printable

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
_BUCKET: Final = "mount it, for example by rclone, or copy it to a folder"
_MAGIC: Final = {
    b"\x1f\x8b": "an archive (gzip)",
    b"\x28\xb5\x2f\xfd": "an archive (zstd)",
    b"BZh": "an archive (bzip2)",
    b"\xfd7zXZ\x00": "an archive (xz)",
    b"PK\x03\x04": "an archive (zip)",
}
_UNPACK: Final = "unpack it, and give the folder"
_READ: Final = 1 << 16
"""Bytes of a file that are looked at."""
_DRIVERS: Final = {
    "s3": "S3",
    "gcs": "Google Cloud Storage",
    "azure": "Azure Blob Storage",
    "inmemory": "memory",
}
_BESIDE: Final = frozenset({"cache", "delete", "maintenance", "redirect", "tag"})
"""What stands beside the driver in the section `storage` of a configuration."""


def what_root_is(root: str) -> str | None:
    """Return what a root is that cannot be opened, and what to do; None if it may be a folder."""
    scheme, slashes, _ = root.partition("://")
    if slashes and scheme in _SCHEMES:
        return f"{_SCHEMES[scheme]}, {_cannot(_ADVICE.get(scheme, _BUCKET))}"
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
    return _of_configuration(begin.decode(errors="replace"))


def _of_configuration(text: str) -> str | None:
    """Return what the `config.yml` of a registry says of its storage."""
    found = re.search(r"^storage:[ \t]*(\S*).*\n((?:[ \t].*\n?|[ \t]*#.*\n?|\n)*)", text, re.M)
    if found is None:
        return None
    section = found[2]
    keys = re.findall(r"^([ \t]+)([a-z0-9]+):", section, re.M)
    names = [name for indent, name in keys if indent == keys[0][0] and name not in _BESIDE]
    driver = found[1] or (names[0] if names else "")
    if driver == "filesystem":
        folder = re.search(r"^[ \t]+rootdirectory:[ \t]*[\"']?([^\s\"']+)", section, re.M)
        place = printable(folder[1]) if folder else "/var/lib/registry"
        return f"the configuration of a registry, {_cannot(f'give its folder: -r {place}')}"
    where = _DRIVERS.get(driver, printable(driver))
    return f"the configuration of a registry that stores in {where}, {_cannot(_BUCKET)}"
