"""What was decided about one tag or untagged manifest. Pure data, without pydantic."""

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
    """In words, with the rule and the age that decided."""
    pushed: float | None
    created: float | None
    """None also if no rule asked for it."""
    attached_to: str | None = None
    """The manifest that a tag is attached to and kept or deleted with; None if a rule keeps the
    tag, or it is attached to nothing."""
