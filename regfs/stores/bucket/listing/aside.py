"""Keys of what is set aside in a bucket: a listing alone tells what lies there.

    .regfs/runs/<run>/quarantine/<path>                        its path, as everybody else knows it
    .regfs/runs/<run>/quarantine/<path>._regfs.c.<size>.<time>.<etag>        its key: a copy
                                       ._regfs.v.<size>.<time>.<etag>.<id>   a hidden version
                                       ._regfs.u.<size>.<time>.<etag>.<id>   an upload in parts

Size, time and ETag are those of the original: a copy has a time of its own, and often another
ETag. Of a version and an upload the object is an empty stub; what it stands for lies under the
key of the original, and `<id>` says which it is.

    .regfs/runs/<run>/journal.jsonl                            its path
    .regfs/runs/<run>/journal.jsonl._regfs.00000001            its keys: one for each flush

Objects cannot be added to, so each part of a journal is one that nobody replaces.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple

from regfs.stores.bucket.requests.answers import etag_of

STATE: Final = ".regfs"
"""Where regfs keeps what is its own."""
RUNS: Final = f"{STATE}/runs"
LONGEST: Final = 1024
"""Bytes of a key."""
_ASIDE: Final = re.compile(
    r"(.+)\._regfs\.([cvu])\.([0-9a-f]{1,15})\.([0-9a-f]{1,14})\.([0-9A-Za-z-]*)(?:\.([0-9A-Za-z_-]*))?",
    re.DOTALL,
)
_SEGMENT: Final = re.compile(r"(.+)\._regfs\.([0-9]{8})", re.DOTALL)
_QUARANTINED: Final = re.compile(rf"{re.escape(RUNS)}/[^/]+/quarantine/.+", re.DOTALL)
_AREA: Final = re.compile("^(undone|replaced)/")
"""What a run created, and what made room, lies apart from what it moved."""
_PLAIN: Final = re.compile("[0-9A-Za-z-]{1,64}")
_MICRO: Final = 1_000_000


class AsideKind(StrEnum):
    """How a thing is set aside."""

    COPY = "c"
    """The object itself lies in quarantine."""
    VERSION = "v"
    """It is a version of the original key, below a delete marker."""
    UPLOAD = "u"
    """It is an open upload in parts of the original key."""


class Aside(NamedTuple):
    """What the key of a thing set aside says of it."""

    kind: AsideKind
    size: int
    mtime: float
    """Seconds since the epoch, of the original."""
    etag: str
    """Of the original, as `plain_etag` writes it."""
    id: str = ""
    """Of the version or the upload."""


def is_quarantined(path: str) -> bool:
    """Return whether a path is in the quarantine of a run."""
    return _QUARANTINED.fullmatch(path) is not None


def is_own(path: str) -> bool:
    """Return whether paths and keys may differ there: below the folder of all runs."""
    return path == RUNS or path.startswith(f"{RUNS}/")


def original_of(path: str) -> str:
    """Return the place in the tree of what lies at a path in quarantine."""
    place = path.split("/quarantine/", 1)[1]
    return _AREA.sub("", place)


def key_of(path: str, aside: Aside) -> str:
    """Return the key, below the root, of what is set aside at a path."""
    time = round(aside.mtime * _MICRO)
    encoded = urlsafe_b64encode(aside.id.encode()).decode().rstrip("=")
    # No dot at its end: Azure may drop it.
    name = f"{path}._regfs.{aside.kind}.{aside.size:x}.{max(time, 0):x}.{aside.etag}"
    return f"{name}.{encoded}" if encoded else name


def parse_aside(key: str) -> tuple[str, Aside] | None:
    """Return the path that a key below the root stands for, and what it says; None if it is none.

    Only one that `key_of` writes: any other is what somebody else has put there.
    """
    if not is_quarantined(key) or (found := _ASIDE.fullmatch(key)) is None:
        return None
    path, kind, size, time, etag, encoded = found.groups(default="")
    try:
        text = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return None
    aside = Aside(AsideKind(kind), int(size, 16), int(time, 16) / _MICRO, etag, text)
    # Keys of before have a dot at their end.
    return (path, aside) if key_of(path, aside) == key.removesuffix(".") else None


def segment_key(path: str, number: int) -> str:
    """Return the key, below the root, of a part of a file that grows; the first is 1."""
    return f"{path}._regfs.{number:08}"


def parse_segment(key: str) -> tuple[str, int] | None:
    """Return the path and the number that a key below the root stands for; None if it is none."""
    found = _SEGMENT.fullmatch(key)
    return (found[1], int(found[2])) if found and is_own(key) and not is_quarantined(key) else None


def plain_etag(etag: str) -> str:
    """Return an ETag in the letters of a key; equal ones only for equal ETags."""
    text = etag_of(etag)
    if _PLAIN.fullmatch(text) and not text.startswith("x"):
        return text
    return "x" + blake2b(text.encode(), digest_size=16).hexdigest()
