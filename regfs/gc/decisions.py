"""What was decided of one tag or untagged manifest. Pure data, and no model to load for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one tag or untagged manifest, and why."""

    repository: str
    tag: str | None
    digest: str | None
    keep: bool
    reason: str
    """In words, with the rule and the age it went by."""
    pushed: float | None
    created: float | None
    """None also when nobody had to ask."""
    beside: str | None = None
    """What a tag stands beside and lives with; None where a rule has kept it, or it has its own
    life."""
