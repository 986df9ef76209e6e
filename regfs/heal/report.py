"""What heal plans to do, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from regfs.manifests import DigestField
from regfs.runs import Skipped
from regfs.runs.totals import ActionKind


@dataclass(frozen=True, slots=True)
class HealItem:
    """One digest that is missing or damaged."""

    digest: DigestField
    path: str
    code: str
    """What is wrong with it: a code of verify."""
    size: int
    """Bytes, according to manifests or the source; -1 if unknown."""
    manifest: bool
    repositories: tuple[str, ...]
    problem: str | None = None
    """Why no source can give it; None if one can."""


@dataclass(frozen=True, slots=True)
class HealPlan:
    """What would be fetched."""

    root: str
    source: str
    """Where to fetch from; several sources, in the order they are asked, separated by commas."""
    items: list[HealItem]
    """In the order in which they are put in place: referents first."""
    fetch: int = 0
    """Number of digests that a source has."""
    bytes: int = 0
    """Bytes of those whose size is known."""
    lacking: int = 0
    """Number of digests that no source has."""


class HealState(StrEnum):
    """The outcome for one digest."""

    HEALED = "healed"
    WAS_RIGHT = "was-right"
    """It had been repaired meanwhile, so it was left alone."""
    LACKING = "lacking"
    """No source has it."""
    WRONG = "wrong"
    """No source gave the right bytes; what came was discarded."""
    FAILED = "failed"
    """A source failed, or its place in the tree could not be written."""


@dataclass(frozen=True, slots=True)
class HealOutcome:
    """One digest and its outcome."""

    digest: DigestField
    path: str
    state: HealState
    size: int
    """Bytes that were put in place."""
    message: str = ""
    """Why it could not be healed; if it was, how other sources failed before."""


@dataclass(frozen=True, slots=True)
class Healed:
    """What a run did."""

    run: str | None
    """None if there was nothing to do."""
    root: str
    source: str
    outcomes: list[HealOutcome]
    healed: int
    bytes: int
    broken: int
    """Digests that are still missing or corrupt."""
    stopped: str | None = None
    """Why it ended early: a full disk, Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was moved into quarantine."""

    run: str | None
    root: str
    moved: list[str]
    """Paths that were moved into quarantine."""
    bytes: int
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LinkToWrite:
    """One link to be written."""

    kind: ActionKind
    path: str
    digest: DigestField
    """The digest that it will contain."""
    repository: str
    tag: str | None
    reason: str
    etag: str | None = None
    """The etag of the damaged link in its place; None if there is none."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A tag that may have pointed to several manifests, so it stays as it is."""

    repository: str
    tag: str
    path: str
    candidates: list[DigestField]
    """The digests in its history, newest first."""
    reason: str


@dataclass(frozen=True, slots=True)
class RelinkPlan:
    """Which links would be written."""

    root: str
    links: list[LinkToWrite]
    """In the order in which they are written: referents first."""
    ambiguous: list[Ambiguous]
    skipped: list[Skipped]
    """Paths in doubt, and links whose targets are missing."""


@dataclass(frozen=True, slots=True)
class Relinked:
    """What a run wrote."""

    run: str | None
    root: str
    written: list[LinkToWrite]
    ambiguous: list[Ambiguous]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True)
class Left:
    """Remaining errors of one code."""

    code: str
    count: int


@dataclass(frozen=True, slots=True)
class HealDocument:
    """What --json prints; a part is null if it was not requested or only planned."""

    plan: HealPlan | None
    healed: Healed | None
    relink_plan: RelinkPlan | None
    relinked: Relinked | None
    left: list[Left] | None
    """Remaining errors; null if only carrying out the plan would show them."""
