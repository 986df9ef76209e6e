"""What a server may do, and how much it takes in."""

from __future__ import annotations

from dataclasses import dataclass

from regfs.manifests import LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server; the defaults are those of one that changes nothing."""

    writable: bool = False
    """Whether pushes are taken."""
    delete: bool = False
    """Whether tags, manifests and links of blobs can be deleted; only if writable."""
    max_manifest: int = LIMIT
    """Bytes of the largest manifest that is taken."""
