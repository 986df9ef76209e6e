"""Where good bytes can come from: one protocol, and how a person names a place.

    /srv/backup                          a tree in the v2 layout        places.py
    /srv/layout, oci:/srv/layout         an OCI image layout            places.py
    image.tar, oci-archive:image.tar,    what skopeo and docker save    archives.py
      docker-archive:image.tar           write, plain, gz or zst
    docker://host:5000[/name],           a registry                     remote.py
      https://host/prefix

What a source gives is never trusted: whoever asks compares it with the digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, NamedTuple, Protocol

from regfs.digest import Digest
from regfs.errors import NotARegistry


class Wanted(NamedTuple):
    """One thing that is asked for."""

    digest: Digest
    size: int = -1
    """Bytes, as the manifests that name it say; -1 when none does."""
    manifest: bool = False
    repositories: tuple[str, ...] = ()
    """In which repositories of our tree it is used: a hint, for a registry serves by name."""


class Source(Protocol):
    """A place that content can be read from."""

    @property
    def url(self) -> str:
        """Where it is, for people and journals; holds no secret."""

    def size(self, wanted: Wanted) -> int:
        """Return how many bytes it has of something; -1 when it does not tell.

        Raises:
            SourceLacks: it does not have it.
            SourceError: it does not answer.
        """

    def open(self, wanted: Wanted) -> BinaryIO:
        """Open something for reading from its beginning.

        Raises:
            As `size`; reading raises SourceError.
        """

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password; the password is never printed."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a registry."""

    credentials: Credentials | None = None
    authfile: str | None = None
    """A file as docker login and podman login write it."""
    verify_tls: bool = True
    ca: str | None = None
    """A file of certificates to trust instead of the usual ones."""
    repositories: tuple[str, ...] = ()
    """Names in the registry to ask first."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds to wait for the next bytes."""
    pause: Callable[[float], None] | None = None
    """What waits between two attempts; sleeping when None."""


_REMOTE: Final = ("docker://", "http://", "https://")


def open_source(text: str, access: Access | None = None) -> Source:
    """Open the place that a person has named.

    Raises:
        NotARegistry: there is nothing of the kind.
        Invalid: it cannot be meant.
        SourceError: it cannot be read.
    """
    if text.startswith(_REMOTE):
        from regfs.heal.remote import open_registry  # a registry needs what the others do not

        return open_registry(text, access or Access())
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
    raise NotARegistry(f"{text}: no such tree, layout or archive (registries begin with docker://)")


def _without_name(path: str) -> str:
    """Return the path in `path[:name]`, as skopeo writes it."""
    while not os.path.exists(path) and ":" in path:
        path = path.rpartition(":")[0]
    return path
