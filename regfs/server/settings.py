"""What a server may do, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from regfs.content.cache import Cache
from regfs.manifests import LIMIT

PAGE_SECONDS: Final = 1.5
"""Seconds that a page may take before another comes that says what is going on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for one client, so that others are served too."""

    request_line: int = 8192
    """Bytes of the first line of a request."""
    header: int = 16 * 1024
    """Bytes of one header."""
    headers: int = 100
    connections: int = 10_000
    """Open connections; more are refused."""
    header_seconds: float = 20.0
    """Seconds from the first byte of a request to the end of its headers."""
    idle_seconds: float = 75.0
    """Seconds for which an idle connection is kept."""
    slow_seconds: float = 60.0
    """Seconds in which a client must send or receive `slow_bytes`, while it is waited for."""
    slow_bytes: int = 32 * 1024
    linger_seconds: float = 5.0
    """Seconds for which the rest of a refused body is read."""
    grace_seconds: float = 10.0
    """Seconds for running requests when the server shuts down."""
    page_seconds: float = PAGE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server; by default it is read-only."""

    writable: bool = False
    """Whether pushes are accepted."""
    delete: bool = False
    """Whether tags, manifests and links of blobs can be deleted; only if writable."""
    redirect: bool = False
    """Whether blobs are sent by where they are stored: the answer to GET is a signed URL."""
    max_manifest: int = LIMIT
    """Bytes of the largest manifest that is accepted."""
    max_blob: int | None = None
    """Bytes of the largest blob that is accepted; None for no limit."""
    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may use the API, as browsers write them; `*`: any page may read."""
    keep_free: int = 0
    """Bytes that uploads leave free on the disk."""
    expire_uploads: float | None = None
    """Seconds after which an idle upload is deleted; None: never."""
    host_names: frozenset[str] = frozenset()
    """Names of this server, in lower case."""
    only_named: bool = False
    """Whether requests for other names are refused, except for those of loopback."""
    cache: Cache | None = None
    """What was found in layers, for the page; None: nothing is kept."""
    limits: Limits = field(default_factory=Limits)
