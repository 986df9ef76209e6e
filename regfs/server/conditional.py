"""Conditions and ranges: what the headers of a request make of an answer. Pure.

The entity tag of content is its digest. Registry clients send it with or without quotes, so
both are accepted, although HTTP requires quotes.

Source: RFC 9110, sections 13.1, 14.2 and 15.3.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from multidict import MultiMapping

from regfs.digest import Digest
from regfs.errors import quoted
from regfs.server.errors import ApiError

_TAGS: Final = re.compile(r'(W/)?(?:"([^"]*)"|([^\s,"]+))')
_BYTES: Final = re.compile(r"\s*bytes\s*=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE: Final = re.compile(r"([0-9]*)\s*-\s*([0-9]*)")
MOST_PARTS: Final = 1024
"""Most ranges in one request; a request for more gets the whole blob."""
_DIGITS: Final = 18
"""Digits of a number; a longer one is beyond the end of any file."""


class Extent(NamedTuple):
    """A part of some content."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the Content-Range header; `size` is that of the whole."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def etag(digest: Digest) -> str:
    """Return the entity tag of content."""
    return f'"{digest}"'


def not_modified(headers: MultiMapping[str], digest: Digest) -> bool:
    """Return whether the client says that it has this content."""
    return _names(headers.getall("If-None-Match", []), digest, weak=True)


def precondition_failed(headers: MultiMapping[str], digest: Digest) -> bool:
    """Return whether the client wants the range only of other content."""
    wanted = headers.getall("If-Match", [])
    return bool(wanted) and not _names(wanted, digest, weak=False)


def change_wanted(headers: MultiMapping[str]) -> Callable[[Digest | None], bool] | None:
    """Return the test of `If-Match` and `If-None-Match` on what a change would replace.

    None if the request has no condition.
    """
    wanted, unwanted = headers.getall("If-Match", []), headers.getall("If-None-Match", [])

    def allows(there: Digest | None) -> bool:
        if there is None:
            return not wanted
        named = not wanted or _names(wanted, there, weak=False)
        return named and not _names(unwanted, there, weak=True)

    return allows if wanted or unwanted else None


def _names(headers: list[str], digest: Digest, *, weak: bool) -> bool:
    """Return whether lists of entity tags have that of `digest` in them, or `*`."""
    return any(
        (digest in (quoted, bare) and (weak or not is_weak)) or bare == "*"
        for header in headers
        for is_weak, quoted, bare in _TAGS.findall(header)
    )


def extents(headers: MultiMapping[str], size: int, digest: Digest) -> list[Extent]:
    """Return the requested ranges of `size` bytes, in that order; none for the whole.

    An empty range, which some clients always send, gets the whole; so do too many ranges, and
    ranges that add up to more than the whole.

    Raises:
        ApiError: 416, if a range is not satisfiable.
    """
    header = headers.get("Range")
    if header is None or headers.get("If-Range", etag(digest)).strip() != etag(digest):
        return []
    found = _BYTES.fullmatch(header)
    if found is None or size == 0:
        return []
    specs = [spec.strip() for spec in found[1].split(",") if spec.strip()]
    parts = [part for spec in specs if (part := _part(spec, size)) is not None]
    if not parts:
        raise ApiError(
            "SIZE_INVALID",
            f"range {quoted(header, 100)} is outside the {size} bytes of the blob",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
        )
    if len(specs) > MOST_PARTS or (len(parts) > 1 and sum(one.length for one in parts) > size):
        return []
    return parts


def _part(spec: str, size: int) -> Extent | None:
    """Parse `first-last`, `first-` or `-count`; return None if it is invalid."""
    found = _RANGE.fullmatch(spec)
    if found is None or found[0].strip() == "-":
        return None
    first, last = (_number(text) for text in found.groups())
    if first is None:
        length = min(last or 0, size)
        return Extent(size - length, length) if length else None
    if first >= size or (last is not None and last < first):
        return None
    end = size - 1 if last is None else min(last, size - 1)
    return Extent(first, end - first + 1)


def _number(text: str) -> int | None:
    if not text:
        return None
    text = text.lstrip("0") or "0"
    return int(text) if len(text) <= _DIGITS else 10**_DIGITS
