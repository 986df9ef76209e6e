"""What S3 answers to signed requests: its records, and how their XML is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, unquote_plus

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9._~*/!'()+-]|%[0-9A-Fa-f]{2})*")


class Versioning(NamedTuple):
    """What the bucket keeps of what is overwritten or deleted."""

    state: str
    """`Enabled`, `Suspended`, or empty: never enabled."""
    mfa_delete: bool
    """Whether versions are deleted only with a one-time password, which is not sent."""


class ObjectVersion(NamedTuple):
    """One version of an object, or a delete marker."""

    key: str
    id: str
    """`null` for what was put while versioning was off."""
    marker: bool
    latest: bool
    size: int
    mtime: float
    etag: str
    """Without its quotes, as all here; empty for a marker."""


class OpenUpload(NamedTuple):
    """An upload in parts that is neither complete nor aborted."""

    key: str
    id: str
    initiated: float
    """Seconds since the epoch."""


class UploadedPart(NamedTuple):
    """One part of such an upload."""

    number: int
    size: int
    mtime: float
    etag: str


class ObjectHead(NamedTuple):
    """What a server tells of one object."""

    size: int
    mtime: float
    """To the second."""
    etag: str
    version: str
    """Empty where the bucket has no versions."""


class Deletion(NamedTuple):
    """What a delete has done."""

    marker: bool
    """Whether a delete marker was made, or was what was deleted."""
    version: str
    """The version that was deleted, or the marker that was made; empty without versions."""
    repeated: bool
    """Whether an earlier attempt may have been carried out already."""


def text_of(one: Element, name: str) -> str:
    """Return the text of an element within another; empty if there is none."""
    return one.findtext(f"{{*}}{name}") or ""


def etag_of(text: str) -> str:
    """Return an ETag without what is written around it."""
    return text.removeprefix("W/").strip('"')


def key_of(one: Element, root: Element) -> str:
    """Return the key in a row of a listing."""
    return decoded(text_of(one, "Key"), root)


def decoded(text: str, root: Element) -> str:
    """Return a key of a listing, which may be encoded as in a URL.

    Of uploads, SeaweedFS says so and does not encode them; Ceph does, and does not say so.
    """
    if not _ENCODED.fullmatch(text):
        return text
    return unquote_plus(text) if text_of(root, "EncodingType") == "url" else unquote(text)
