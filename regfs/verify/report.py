"""The result of a verification: its level, its findings with the images they damage, totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from regfs.findings import Code, Finding, Severity, WrittenFinding, worst

ROWS_LIMIT: Final = 10_000
"""Findings kept of one code and severity; more are reported once and counted."""
IMAGES_LIMIT: Final = 1000
"""Images named with one finding; more are only counted."""
HARM_LIMIT: Final = 100
"""Findings kept with one image; more are only counted."""


class Level(StrEnum):
    """How deep to check; each level includes those before it."""

    LINKS = "links"
    """The listing and the links; no blob is opened."""
    SIZES = "sizes"
    """Also the manifests, and whether all they need exists and has the size they give."""
    DIGESTS = "digests"
    """Also the content of every blob."""
    CONTENT = "content"
    """Also what is packed in layers, and whether it matches the configs."""

    def covers(self, other: Level) -> bool:
        """Return whether this level includes `other`."""
        order = list(Level)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Checked:
    """How much was checked."""

    blobs: int
    """Blobs whose content was checked; at level sizes, whose size was checked."""
    bytes: int
    """Bytes hashed, each blob counted once."""
    links: int
    manifests: int
    skipped: int = 0
    """Blobs not read because they were found intact recently (max_age)."""
    remaining: int = 0
    """Blobs that are due and were not read: a limit was reached, or the run was interrupted."""
    remaining_bytes: int = 0


class ReportedFinding(NamedTuple):
    """One finding, and the images it damages."""

    finding: Finding
    images: tuple[str, ...] = ()
    """Images damaged by it, sorted: `repository:tag`, or `repository@digest` if no tag leads to
    it. At most IMAGES_LIMIT."""
    affected: int = 0
    """How many images are damaged in total."""


@dataclass(slots=True)
class ImageDamage:
    """The findings that damage one image."""

    errors: int = 0
    warnings: int = 0
    rows: list[ReportedFinding] = field(default_factory=list)
    """Errors and warnings in the order they were found; at most HARM_LIMIT."""
    worst: ReportedFinding | None = None
    """The first finding of the highest severity."""

    def add(self, row: ReportedFinding) -> None:
        """Add a finding of severity error or warning."""
        if row.finding.severity is Severity.ERROR:
            if not self.errors:
                self.worst = row
            self.errors += 1
        else:
            self.warnings += 1
        self.worst = self.worst or row
        if len(self.rows) < HARM_LIMIT:
            self.rows.append(row)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a verification."""

    root: str
    level: Level
    checked: Checked
    findings: tuple[ReportedFinding, ...]
    """In the order they were found; at most ROWS_LIMIT of one code and severity."""
    interrupted: bool
    """Whether Ctrl-C ended it, so that it holds only what was found until then."""
    images: Mapping[str, ImageDamage] = field(default_factory=dict)
    """Every image that an error or a warning damages, by name, without a limit."""
    started: float = 0.0
    """Seconds since the epoch."""
    finished: float = 0.0
    more: Mapping[tuple[Severity, Code], int] = field(default_factory=dict)
    """How many more findings there were than are kept; they were reported when found."""

    @property
    def seconds(self) -> float:
        """Duration in seconds; 0 if the clock was set back meanwhile."""
        return max(0.0, self.finished - self.started)

    @property
    def counts(self) -> Counter[tuple[Severity, Code]]:
        """Number of findings of each severity and code, kept or not."""
        kept = Counter((row.finding.severity, row.finding.code) for row in self.findings)
        kept.update(self.more)
        return kept

    @property
    def severity(self) -> Severity | None:
        """The highest severity among the findings; None without findings."""
        return worst(row.finding for row in self.findings)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a ledger says about the blobs of a tree as they are now, without reading them."""

    root: str
    level: Level
    verified: int
    """Blobs verified at least at `level` that have not changed since."""
    bytes: int
    """Bytes of those blobs."""
    unknown: int
    """Blobs not verified, or changed since."""
    unknown_bytes: int
    oldest: float | None
    """When the intact blob verified longest ago was verified, in seconds since the epoch; None if
    no blob was."""
    findings: tuple[ReportedFinding, ...]
    """What was wrong at the last verification."""
    more: Mapping[tuple[Severity, Code], int] = field(default_factory=Counter)
    """Findings that are only counted."""

    @property
    def severity(self) -> Severity | None:
        """The highest severity among the findings; None without findings."""
        return worst(row.finding for row in self.findings)


@dataclass(frozen=True, slots=True)
class FindingDocument(WrittenFinding):
    """One finding, as --json and --ndjson print it."""

    images: list[str]
    """`repository:tag`, or `repository@digest` where no tag leads to it; at most 1000."""
    affected: int
    """How many images are damaged in total."""


@dataclass(frozen=True, slots=True)
class MoreDocument:
    """Findings of one code and severity that are only counted."""

    code: str
    severity: Severity
    count: int


@dataclass(frozen=True, slots=True)
class VerifyDocument:
    """What --json prints."""

    root: str
    level: Level
    checked: Checked
    findings: list[FindingDocument]
    """At most 10000 of one code and severity; --ndjson prints all."""
    more: list[MoreDocument]
    """How many more findings there were, by code and severity."""
    interrupted: bool
    started_at: datetime
    finished_at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class CoverageDocument:
    """What --merge --json prints."""

    root: str
    level: Level
    verified: int
    bytes: int
    unknown: int
    unknown_bytes: int
    oldest: datetime | None
    findings: list[FindingDocument]
    """Of links and images as they are now, and of blobs as they were when they were read; at most
    10000 of one code and severity."""
    more: list[MoreDocument]
    """How many more findings there were, by code and severity."""


class Affects(Protocol):
    """Knows which images a finding damages."""

    def images(self, finding: Finding) -> set[str]:
        """Return their names."""


_STRAY: Final = frozenset(
    {Code.FOREIGN_PATH, Code.ALGORITHM_UNSUPPORTED, Code.BLOB_MISPLACED, Code.NFS_LEFTOVER}
)
"""Codes that all say that a path does not belong: one of them is enough."""
_MANY: Final = frozenset(
    {Code.INDEX_CHILD_MISSING, Code.SUBJECT_MISSING, Code.DESCRIPTOR_SIZE_MISMATCH}
)
"""Codes that one manifest can have more than once."""
_OF_IMAGES: Final = frozenset({Code.DIFFID_MISMATCH, Code.LAYER_TYPE_MISMATCH})
"""Codes that a layer can have once for each manifest that names it."""


def _identity(finding: Finding) -> tuple[str, ...]:
    if finding.code in _STRAY:
        return ("stray", finding.path)
    if finding.code in _MANY:
        return (finding.code, finding.path, finding.expected or "", finding.repository or "")
    if finding.code in _OF_IMAGES:
        return (finding.code, finding.path, finding.expected or "", finding.digest or "")
    return (finding.code, finding.path)


class FindingSink(Protocol):
    """What takes findings as they come."""

    def add(self, finding: Finding) -> None:
        """Take a finding."""

    def has(self, code: Code, path: str) -> bool:
        """Return whether this was found."""


class Collector:
    """Takes findings as they come, each once, and reports them with their images."""

    def __init__(
        self,
        affects: Affects,
        in_scope: Callable[[Finding], bool],
        on_finding: Callable[[ReportedFinding], None] | None,
    ) -> None:
        self.rows: list[ReportedFinding] = []
        self.images: dict[str, ImageDamage] = {}
        self.more: Counter[tuple[Severity, Code]] = Counter()
        self._kept: Counter[tuple[Severity, Code]] = Counter()
        self._affects = affects
        self._in_scope = in_scope
        self._on_finding = on_finding
        self._seen: set[tuple[str, ...]] = set()

    def add(self, finding: Finding) -> None:
        """Take a finding, unless it is known or out of scope."""
        identity = _identity(finding)
        if identity in self._seen or not self._in_scope(finding):
            return
        self._seen.add(identity)
        images: list[str] = []
        if finding.severity is not Severity.INFO:  # a normal leftover damages no image
            images = sorted(self._affects.images(finding))
        row = ReportedFinding(finding, tuple(images[:IMAGES_LIMIT]), len(images))
        for name in images:
            self.images.setdefault(name, ImageDamage()).add(row)
        kind = finding.severity, finding.code
        if self._kept[kind] < ROWS_LIMIT:
            self._kept[kind] += 1
            self.rows.append(row)
        else:
            self.more[kind] += 1
        if self._on_finding is not None:
            self._on_finding(row)

    def has(self, code: Code, path: str) -> bool:
        """Return whether this was found."""
        return (code, path) in self._seen


class Recorder:
    """Keeps findings of one part of a tree, to be added to `collector` when it is their turn."""

    def __init__(self, collector: FindingSink) -> None:
        self.findings: list[Finding] = []
        self._collector = collector
        self._seen: set[tuple[str, ...]] = set()

    def add(self, finding: Finding) -> None:
        """Keep a finding."""
        self._seen.add(_identity(finding))
        self.findings.append(finding)

    def has(self, code: Code, path: str) -> bool:
        """Return whether this was found, here or by the collector before."""
        return (code, path) in self._seen or self._collector.has(code, path)
