"""The configuration of the reference registry, as far as it matters to whoever cleans its tree.

It is looked for beside the tree and where distributions put it, and counts only if it names
this tree as its root directory. It is not parsed as YAML: a few lines of it are read, each on its
own, and what is not written that way is not known.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PLACES: Final = ("/etc/docker/registry/config.yml", "/etc/distribution/config.yml")
"""Where Debian and distribution 3 have it."""
_LARGEST: Final = 1 << 20
_ROOT = re.compile(r"^\s+rootdirectory:\s*[\"']?([^\"'#\n]+?)[\"']?\s*(?:#.*)?$", re.MULTILINE)
_CACHE = re.compile(r"^\s+blobdescriptor:\s*[\"']?(\w+)", re.MULTILINE)
_DELETE = re.compile(r"^\s+delete:\s*(?:#.*)?\n\s+enabled:\s*[\"']?(true|false)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """The configuration of the registry that serves a tree."""

    path: str
    caches_descriptors: bool
    """Whether it remembers which blobs there are: it has to be restarted before a purge."""
    deletes: bool | None
    """Whether clients may delete; None where it does not say."""


def find_config(root: str, places: tuple[str, ...] = PLACES) -> RegistryConfig | None:
    """Return the configuration that names `root`, a folder; None if none is found."""
    for path in (f"{root}/config.yml", f"{os.path.dirname(root)}/config.yml", *places):
        for text in _read(path):
            named = {os.path.realpath(found) for found in _ROOT.findall(text)}
            if os.path.realpath(root) in named:
                deletes = _DELETE.search(text)
                enabled = None if deletes is None else deletes[1] == "true"
                return RegistryConfig(path, _CACHE.search(text) is not None, enabled)
    return None


def _read(path: str) -> Iterator[str]:
    """Yield the text of a file; nothing if it is no file, or cannot be read."""
    try:
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            yield os.read(descriptor, _LARGEST).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
