"""One request to a bucket, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_LISTED: Final = frozenset({"versions", "uploads", "list-type", "list"})
"""In the queries of listings."""
_COPIES: Final = frozenset({"x-amz-copy-source", "x-ms-copy-source"})
"""Headers of copies."""


class Call(NamedTuple):
    """One request."""

    method: str
    permission: str
    """What the cloud calls the permission that it needs, for messages."""
    key: str = ""
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def kind(self) -> str:
        """As which it is counted."""
        if self.method == "GET":
            return "list" if _LISTED.intersection({*self.query, *self.query.values()}) else "get"
        if any(name.lower() in _COPIES for name in self.headers):
            return "copy"
        if "delete" in self.query:
            return "delete"
        return "put" if self.method == "POST" else self.method.lower()


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """A success."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    repeated: bool
    """Whether an earlier attempt may have been carried out, without an answer."""
