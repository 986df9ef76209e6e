"""How users name a source.

/srv/backup                          a tree in the v2 layout        places.py
/srv/layout, oci:/srv/layout         an OCI image layout            places.py
image.tar, oci-archive:image.tar,    what skopeo and docker save    archives.py
  docker-archive:image.tar           write, plain, gz or zst
docker://host:5000[/name],           a registry                     remote.py
  https://host/prefix
"""

from __future__ import annotations

import os
from typing import Final

from regfs.errors import NotARegistry, without_secrets
from regfs.heal.source import RegistryAccess, Source

_REMOTE: Final = ("docker://", "http://", "https://")


def is_registry(text: str) -> bool:
    """Return whether the source that the user has named is a registry."""
    return text.startswith(_REMOTE)


def open_source(text: str, access: RegistryAccess | None = None) -> Source:
    """Open the source that the user has named.

    Raises:
        NotARegistry: there is no such source.
        Invalid: the address or an option is invalid.
        SourceError: it cannot be read.
    """
    if is_registry(text):
        from regfs.heal.remote import open_registry  # imports what the others do not need

        return open_registry(text, access or RegistryAccess())
    from regfs.heal.archives import open_archive
    from regfs.heal.places import open_layout, open_tree

    kind, colon, path = text.partition(":")
    if colon and kind == "oci":
        return open_layout(_without_name(path))
    if colon and kind in ("oci-archive", "docker-archive"):
        return open_archive(_without_name(path))
    if os.path.isfile(os.path.join(text, "oci-layout")):
        return open_layout(text)
    if os.path.isdir(text):
        return open_tree(text)
    if os.path.isfile(text):
        return open_archive(text)
    raise NotARegistry(
        f"{without_secrets(text)}: no such tree, layout or archive "
        "(registries begin with docker://)"
    )


def _without_name(path: str) -> str:
    """Return the path in `path[:name]`, as skopeo writes it."""
    while not os.path.exists(path) and ":" in path:
        path = path.rpartition(":")[0]
    return path
