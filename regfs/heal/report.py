"""What heal is about to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from regfs.manifests import DigestField
from regfs.runs import Skipped
from regfs.runs.totals import ActionKind


@dataclass(frozen=True, slots=True)
class HealItem:
    """One digest that is not there as it should be."""

    digest: DigestField
    path: str
    code: str
    """What is wrong with it, as verify calls it."""
    size: int
    """Bytes, as manifests or the source say; -1 when nobody does."""
    manifest: bool
    repositories: tuple[str, ...]
    problem: str | None = None
    """Why the source cannot give it; None when it can."""


@dataclass(frozen=True, slots=True)
class HealPlan:
    """What would be fetched."""

    root: str
    source: str
    """Where to fetch from; several sources, in the order they are asked, separated by commas."""
    items: list[HealItem]
    """In the order in which they are put in place: what is referred to comes first."""
    fetch: int = 0
    """Digests that the source has."""
    bytes: int = 0
    """Bytes of those whose size is known."""
    lacking: int = 0
    """Digests that it does not have."""


class HealState(StrEnum):
    """What came of one digest."""

    HEALED = "healed"
    WAS_RIGHT = "was-right"
    """It had been put right meanwhile, so it was left alone."""
    LACKING = "lacking"
    """The source does not have it."""
    WRONG = "wrong"
    """The source gave other bytes; they were thrown away."""
    FAILED = "failed"
    """The source, or its place in the tree, could not be used."""


@dataclass(frozen=True, slots=True)
class HealOutcome:
    """One digest, and what came of it."""

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
    """None when there was nothing to do."""
    root: str
    source: str
    outcomes: list[HealOutcome]
    healed: int
    bytes: int
    broken: int
    """Digests that are still missing or corrupt."""
    stopped: str | None = None
    """Why it ended early: a full disk, a key."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was moved aside."""

    run: str | None
    root: str
    moved: list[str]
    """Paths of what is in quarantine now."""
    bytes: int
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LinkToWrite:
    """One link to be written."""

    kind: ActionKind
    path: str
    digest: DigestField
    """What it is to name."""
    repository: str
    tag: str | None
    reason: str
    etag: str | None = None
    """Of the damaged link that lies there; None when nothing does."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A tag that could have meant more than one thing, so it stays as it is."""

    repository: str
    tag: str
    path: str
    candidates: list[DigestField]
    """What its history names, newest first."""
    reason: str


@dataclass(frozen=True, slots=True)
class RelinkPlan:
    """Which links would be written."""

    root: str
    links: list[LinkToWrite]
    """In the order in which they are written: what is referred to comes first."""
    ambiguous: list[Ambiguous]
    skipped: list[Skipped]
    """Places in doubt, and links to what is not there."""


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
    """Errors of one code that are still there."""

    code: str
    count: int


@dataclass(frozen=True, slots=True)
class HealDocument:
    """What --json prints: a part is null when it was not asked for, or only planned."""

    plan: HealPlan | None
    healed: Healed | None
    relink_plan: RelinkPlan | None
    relinked: Relinked | None
    left: list[Left] | None
    """What is wrong after all; null when that shows only when the plan is carried out."""
