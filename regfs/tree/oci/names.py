"""Which repository and tag an image of an OCI layout has, by what its entry is called.

    org.opencontainers.image.ref.name                   written by
      v1                       <folder>:v1              skopeo oci:, umoci, oras, BuildKit
      team/app:v1              team/app:v1              skopeo oci:, buildah, regfs
      localhost/app:v1         app:v1                   podman save
      quay.io/team/app         team/app:latest          buildah
    io.containerd.image.name, which goes before it
      docker.io/library/app:v1 app:v1                   docker save, BuildKit, ctr

A host is left out, as a registry that gets the image does not keep it; and `library/`, as Docker
does. What has only a tag is in a repository named by the folder or archive.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from regfs.names import name_problem, tag_problem

_KEYS: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
OWN: Final = "regfs.repository"
"""An annotation by which an export says that a name begins with a part that looks like a host."""
_DOCKER: Final = frozenset({"docker.io", "index.docker.io"})
_DIGEST: Final = re.compile(r"[a-z0-9+._-]+:[0-9a-f]{32,}")
_LATEST: Final = "latest"
_ARCHIVE: Final = re.compile(r"\.(?:tar|oci|tgz|gz|zst|zstd|tzst)$")
_UNNAMED: Final = "image"
"""The repository where not even the folder has a name."""
_LONGEST: Final = 1000
"""Characters of a name that is looked at."""


class ImageName(NamedTuple):
    """What an entry is called."""

    host: str
    """Of the registry that it came from or is meant for; empty if it does not say."""
    repository: str
    """Empty if it does not say."""
    tag: str
    """Empty if it has none."""


class NotAName(Exception):
    """What an entry is called is no name that a registry can have; says what it is."""


def name_of(annotations: Any) -> ImageName:
    """Return what an entry is called, by its annotations.

    Raises:
        NotAName: no repository and tag can be called so.
    """
    texts = annotations if isinstance(annotations, dict) else {}
    for key in _KEYS:
        text = texts.get(key)
        if text:
            return _whole(text, texts.get(OWN)) or _parsed(text)
    return ImageName("", "", "")


def _whole(text: Any, repository: Any) -> ImageName | None:
    """Return a name of which no part is a host; None unless an export has said so."""
    if not (isinstance(text, str) and isinstance(repository, str)) or len(text) > _LONGEST:
        return None
    if not text.startswith((f"{repository}:", f"{repository}@")) or name_problem(repository):
        return None
    tag = text[len(repository) + 1 :] if text[len(repository)] == ":" else ""
    return None if tag and tag_problem(tag) else ImageName("", repository, tag)


def looks_like_host(repository: str) -> bool:
    """Return whether the first part of a name would be taken for a host."""
    return bool(_without_host(repository)[0])


def _parsed(text: Any) -> ImageName:
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise NotAName(repr(text)[:80])
    whole, at, _ = text.partition("@")
    if tag_problem(whole) is None:
        return ImageName("", whole, "") if at else ImageName("", "", whole)
    if _DIGEST.fullmatch(text):
        return ImageName("", "", "")
    path, colon, tag = whole.rpartition(":")
    if not colon or "/" in tag:
        path, tag = whole, "" if at else _LATEST
    host, repository = _without_host(path)
    spelled = (repository, at_host(host, repository))
    if any(name_problem(one) is not None for one in spelled) or (tag and tag_problem(tag)):
        raise NotAName(text)
    return ImageName(host, repository, tag)


def _without_host(path: str) -> tuple[str, str]:
    host, slash, rest = path.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return "", path
    return host, rest.removeprefix("library/") if host in _DOCKER else rest


def at_host(host: str, repository: str) -> str:
    """Return a repository's name with the host; no path of a registry's tree has a colon."""
    return f"{host.replace(':', '-')}/{repository}" if host else repository


def default_repository(url: str) -> str:
    """Return the name of the repository of what has only a tag, by where the layout is."""
    name = url.rstrip("/").rpartition("/")[2].lower()
    while (shorter := _ARCHIVE.sub("", name)) != name:
        name = shorter
    name = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return name if name_problem(name) is None else _UNNAMED
