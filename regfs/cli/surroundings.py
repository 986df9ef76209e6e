"""What the surroundings of a command say: its root, and where its cache is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from regfs.errors import DocumentInvalid

if TYPE_CHECKING:
    from regfs.cli.settings import OptionSettings
    from regfs.content.cache import Cache

DEFAULT_ROOT: Final = "/var/lib/registry"


def default_root(settings: OptionSettings) -> tuple[str, str]:
    """Return the root if none is given, and why it is this one.

    Raises:
        DocumentInvalid: `regfs.toml` names no folder.
    """
    here = _root_here()
    if here is not None:
        return here, "the current folder"
    setting = settings.from_file("root")
    if setting is None:
        return DEFAULT_ROOT, "default"
    if not isinstance(setting.value, str) or not setting.value:
        raise DocumentInvalid(f"{setting.place}: must be a folder")
    return setting.value, setting.place


def _root_here() -> str | None:
    """Return the root that the current folder is, or is in."""
    try:
        here = os.getcwd()
    except OSError:  # it has been removed
        return None
    above, within, _ = f"{here}/".partition("/docker/registry/v2/")
    if within:
        return above or "/"
    for below in ("docker/registry/v2", "registry/v2", "v2"):
        place = os.path.join(here, below)
        if place.endswith("/docker/registry/v2") and os.path.isdir(place):
            return here
    return None


def open_cache(folder: str | None, size: int | None, root: str) -> Cache | None:
    """Return the cache of what was found in layers; None if there is to be none.

    It is never in the tree: all that writes there is journaled.
    """
    from regfs.content.cache import LIMIT, Cache

    if folder == "":
        return None
    if folder is None:
        home = os.environ.get("XDG_CACHE_HOME", "")
        folder = os.path.join(home if home.startswith("/") else "~/.cache", "regfs")
    place = os.path.realpath(os.path.expanduser(folder))
    if f"{place}/".startswith(f"{os.path.realpath(root)}/"):
        return None
    return Cache(os.path.join(place, "layers"), LIMIT if size is None else size)
