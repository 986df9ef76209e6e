"""What a server may do, and how much it takes in."""

from __future__ import annotations

from dataclasses import dataclass, field

from regfs.manifests import LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how slowly one client may send and take, so that others are served too."""

    request_line: int = 8192
    """Bytes of the first line of a request."""
    header: int = 16 * 1024
    """Bytes of one header."""
    headers: int = 100
    connections: int = 10_000
    """Open at a time; those beyond are refused."""
    header_seconds: float = 20.0
    """From the first byte of a request to the end of its headers."""
    idle_seconds: float = 75.0
    """Of a connection on which nothing is asked."""
    slow_seconds: float = 60.0
    """In so long a client must send or take `slow_bytes`, while it is being waited for."""
    slow_bytes: int = 32 * 1024
    linger_seconds: float = 5.0
    """How long what is left of a body is read, after it has been refused."""
    grace_seconds: float = 10.0
    """What requests under way get when the server shuts down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server; the defaults are those of one that changes nothing."""

    writable: bool = False
    """Whether pushes are taken."""
    delete: bool = False
    """Whether tags, manifests and links of blobs can be deleted; only if writable."""
    max_manifest: int = LIMIT
    """Bytes of the largest manifest that is taken."""
    max_blob: int | None = None
    """Bytes of the largest blob that is taken; None: any."""
    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may use the API, as browsers write them; `*`: any page may read."""
    keep_free: int = 0
    """Bytes that uploads leave free on the disk."""
    expire_uploads: float | None = None
    """Seconds after which an idle upload is deleted; None: never."""
    host_names: frozenset[str] = frozenset()
    """Names of this server, in lower case."""
    only_named: bool = False
    """Whether nothing is answered that is asked of another name, but for those of loopback."""
    limits: Limits = field(default_factory=Limits)
