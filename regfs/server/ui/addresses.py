"""The paths of the page, both ways. Pure.

    /r/<name>                       a repository
    /r/<name>/_tags/<tag>           what a tag points to
    /r/<name>/_manifests/<digest>   a manifest of it
    /r/<name>/_raw/<digest>         the bytes of a manifest or config
    /r/<name>/_removal/<tag>        what removing a tag would free
    /r/<name>/_files/<digest>/<path>   a folder or file in an image; ?layer=2: what that layer did
    /r/<name>/_documents/<digest>   what documents say about an image; /<one>: one of them
    /b/<digest>                     a blob

As on the disk, no component of a name begins with `_`, so the first one that does ends the
name. A name that is not UTF-8 is passed on as its bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlencode

REPOSITORY: Final = "/r/"
BLOB: Final = "/b/"
TAGS: Final = "tags"
MANIFESTS: Final = "manifests"
RAW: Final = "raw"
REMOVAL: Final = "removal"
FILES: Final = "files"
DOCUMENTS: Final = "documents"


class PageAddress(NamedTuple):
    """What a path below `/r/` names."""

    name: str
    part: str = ""
    """`tags`, `manifests` and so on; empty for the repository itself."""
    reference: str = ""
    """A tag or a digest, as it was given."""


def of_repository(name: str) -> str:
    """Return the path of a repository."""
    return REPOSITORY + _quoted(name)


def of_tag(name: str, tag: str) -> str:
    """Return the path of a tag."""
    return f"{of_repository(name)}/_{TAGS}/{_quoted(tag)}"


def of_manifest(name: str, digest: str) -> str:
    """Return the path of a manifest in a repository."""
    return f"{of_repository(name)}/_{MANIFESTS}/{_quoted(digest)}"


def of_raw(name: str, digest: str) -> str:
    """Return the path of the bytes of a manifest or config."""
    return f"{of_repository(name)}/_{RAW}/{_quoted(digest)}"


def of_removal(name: str, tag: str) -> str:
    """Return the path of what removing a tag would free."""
    return f"{of_repository(name)}/_{REMOVAL}/{_quoted(tag)}"


def of_files(name: str, digest: str, path: str = "", layer: int | None = None) -> str:
    """Return the path of a folder or file in an image; `layer`, from 0, tells what that one did."""
    whole = f"{of_repository(name)}/_{FILES}/{_quoted(digest)}/{_quoted(path)}"
    return with_query(whole, layer="" if layer is None else layer + 1)


def of_documents(name: str, digest: str, one: str = "") -> str:
    """Return the path of what documents say about an image, or of one of them."""
    whole = f"{of_repository(name)}/_{DOCUMENTS}/{_quoted(digest)}"
    return f"{whole}/{_quoted(one)}" if one else whole


def of_blob(digest: str) -> str:
    """Return the path of a blob."""
    return BLOB + _quoted(digest)


def with_query(path: str, **query: object) -> str:
    """Return a path with the non-empty parts of a query."""
    given = {key: _bytes(str(value)) for key, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def place_of(path: str) -> PageAddress | None:
    """Parse a raw path below `/r/`; return None if it is not valid."""
    if not path.startswith(REPOSITORY):
        return None
    text = unquote(path[len(REPOSITORY) :], errors="surrogateescape")
    name, found, rest = text.partition("/_")
    if not found:
        return PageAddress(text.rstrip("/"))
    part, _, reference = rest.partition("/")
    return PageAddress(name, part, reference)


def blob_of(path: str) -> str:
    """Return the digest in a raw path below `/b/`, as it was given."""
    return unquote(path.removeprefix(BLOB), errors="surrogateescape")


def _quoted(text: str) -> str:
    return quote(_bytes(text), safe="/:@!$&'()*,;=~-._")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
