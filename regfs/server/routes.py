"""What a path below `/v2/` asks for. Pure: nothing here touches a disk or a socket.

    /v2/                                    BASE
    /v2/_catalog                            CATALOG
    /v2/<name>/tags/list                    TAGS
    /v2/<name>/manifests/<tag or digest>    MANIFEST
    /v2/<name>/blobs/<digest>               BLOB
    /v2/<name>/blobs/uploads/               UPLOADS   (also without the last slash)
    /v2/<name>/blobs/uploads/<id>           UPLOAD
    /v2/<name>/referrers/<digest>           REFERRERS

Names have slashes in them, so a path is parsed from its end. Percent-encoding is decoded once,
except for a slash or a backslash, which no part of a path may hide: what is checked here is
exactly what the store is asked for.

Source: opencontainers/distribution-spec, spec.md, "Endpoints"; `_catalog` is distribution's.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from regfs.digest import Digest
from regfs.errors import DigestInvalid, NameInvalid, TagInvalid, Unknown, quoted
from regfs.names import check_name, tag_problem

PREFIX: Final = "/v2"
_HIDDEN = re.compile(r"%(2f|5c|00)", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class RouteKind(Enum):
    """The kind of a path."""

    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    REFERRERS = "referrers"


class Verb(Enum):
    """What a request does to a repository, in the terms of the rules."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"


class Route(NamedTuple):
    """A parsed path; every part is checked against its grammar."""

    action: RouteKind
    name: str = ""
    """The repository; empty for BASE and CATALOG."""
    reference: str = ""
    """A tag, a digest or the id of an upload."""

    @property
    def digest(self) -> Digest:
        """The reference as a digest; only if it is one."""
        return Digest(self.reference)

    @property
    def by_tag(self) -> bool:
        """Whether a manifest is requested by its tag."""
        return ":" not in self.reference


class NoSuchPath(Unknown):
    """A registry has no such path."""

    code = "UNSUPPORTED"


def path_in(target: str) -> str:
    """Return the path of a request's target as it was sent, without the query."""
    if found := _ORIGIN.match(target):  # the absolute form, as a proxy is asked
        target = target[found.end() :] or "/"
    return target.partition("?")[0].partition("#")[0]


def is_api(path: str) -> bool:
    """Return whether a path is part of the API."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def parse(raw: str) -> Route:
    """Parse a raw path below `/v2`.

    Raises:
        NameInvalid, TagInvalid, DigestInvalid: a part of it is invalid.
        NoSuchPath: it is not one of the paths above.
    """
    path = _decoded(raw)[len(PREFIX) :].removeprefix("/")
    if not path:
        return Route(RouteKind.BASE)
    if path == "_catalog":
        return Route(RouteKind.CATALOG)
    parts = path.split("/")
    match parts:
        case [*name, "tags", "list"]:
            return Route(RouteKind.TAGS, _name(name))
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return Route(RouteKind.UPLOADS, _name(name))
        case [*name, "manifests", reference]:
            return Route(RouteKind.MANIFEST, _name(name), _reference(reference))
        case [*name, "blobs", "uploads", upload]:
            return Route(RouteKind.UPLOAD, _name(name), upload)
        case [*name, "blobs", digest]:
            return Route(RouteKind.BLOB, _name(name), Digest.parse(digest))
        case [*name, "referrers", digest]:
            return Route(RouteKind.REFERRERS, _name(name), Digest.parse(digest))
    raise NoSuchPath("no such path in the registry API")


def verb_of(action: RouteKind, method: str) -> Verb:
    """Return what a method does to a repository."""
    if action in (RouteKind.UPLOADS, RouteKind.UPLOAD):
        return Verb.WRITE  # the status of an upload, and cancelling it, are part of a push
    if method in ("GET", "HEAD", "OPTIONS"):
        return Verb.READ
    return Verb.DELETE if method == "DELETE" else Verb.WRITE


def _decoded(raw: str) -> str:
    if _HIDDEN.search(raw):
        raise NameInvalid("a path must not hold an encoded slash, backslash or NUL")
    if "%" not in raw:
        return raw
    given = raw.encode("utf-8", "backslashreplace")
    return unquote_to_bytes(given).decode("utf-8", "backslashreplace")


def _name(parts: list[str]) -> str:
    name = "/".join(parts)
    check_name(name)
    return name


def _reference(text: str) -> str:
    if ":" in text:
        return Digest.parse(text)
    if problem := tag_problem(text):
        raise TagInvalid(f"tag {quoted(text, 200)} {problem}")
    return text


BAD_PATH: Final = (NameInvalid, TagInvalid, DigestInvalid)
"""What `parse` raises for an invalid part of a path."""
