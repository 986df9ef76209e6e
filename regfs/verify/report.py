"""What a verification says: its levels, its findings with the images they touch, its totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from regfs.findings import Code, Finding, Severity, worst

ROWS_LIMIT: Final = 10_000
"""Findings of one code and weight that are kept; beyond it they are told once and counted."""
IMAGES_LIMIT: Final = 1000
"""Images that are named with one finding; beyond it they are only counted."""
HARM_LIMIT: Final = 100
"""Findings that are kept with one image; beyond it they are only counted."""


class Level(StrEnum):
    """How deep to look; each level includes those before it."""

    LINKS = "links"
    """The listing and the links; no blob is opened."""
    SIZES = "sizes"
    """Also the manifests, and whether all they need is there and as long as they say."""
    DIGESTS = "digests"
    """Also the content of every blob."""
    CONTENT = "content"
    """Also what is packed in layers, and whether configs fit it."""

    def covers(self, other: Level) -> bool:
        """Return whether `other` is part of this level."""
        order = list(Level)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Checked:
    """How much was looked at."""

    blobs: int
    """Blobs whose content was checked; at level sizes, whose size was."""
    bytes: int
    """Bytes that were hashed, each blob once."""
    links: int
    manifests: int
    skipped: int = 0
    """Blobs that were not read, for they were found intact lately (max_age)."""
    remaining: int = 0
    """Blobs that are due and were not read: a limit was reached, or the run was ended."""
    remaining_bytes: int = 0


class ReportedFinding(NamedTuple):
    """One finding, and what it does to images."""

    finding: Finding
    images: tuple[str, ...] = ()
    """Images that are damaged by it, sorted: `repository:tag`, and
    `repository@digest` for what no tag leads to. At most IMAGES_LIMIT."""
    affected: int = 0
    """The number of all of them."""


@dataclass(slots=True)
class ImageDamage:
    """What findings do to one image."""

    errors: int = 0
    warnings: int = 0
    rows: list[ReportedFinding] = field(default_factory=list)
    """Errors and warnings in the order they were found, at most HARM_LIMIT."""
    worst: ReportedFinding | None = None
    """The first of the gravest."""

    def add(self, row: ReportedFinding) -> None:
        """Take a finding of severity error or warning."""
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
    """What came of a verification."""

    root: str
    level: Level
    checked: Checked
    findings: tuple[ReportedFinding, ...]
    """In the order they were found; of one code and weight at most ROWS_LIMIT."""
    interrupted: bool
    """Whether it was ended by a key, and says only what was found until then."""
    images: Mapping[str, ImageDamage] = field(default_factory=dict)
    """Every image that an error or a warning touches, by its name, however many they are."""
    started: float = 0.0
    """Seconds since the epoch."""
    finished: float = 0.0
    more: Mapping[tuple[Severity, Code], int] = field(default_factory=dict)
    """How many more findings there were than are kept; those were told when they were found."""

    @property
    def seconds(self) -> float:
        """How long it took; none where the clock was set back meanwhile."""
        return max(0.0, self.finished - self.started)

    @property
    def counts(self) -> Counter[tuple[Severity, Code]]:
        """How many findings there were of each weight and code, kept or not."""
        kept = Counter((row.finding.severity, row.finding.code) for row in self.findings)
        kept.update(self.more)
        return kept

    @property
    def severity(self) -> Severity | None:
        """The gravest severity among the findings; None without any."""
        return worst(row.finding for row in self.findings)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a ledger tells of the blobs of a tree as they are now, without reading them."""

    root: str
    level: Level
    verified: int
    """Blobs that were looked at, at least at `level`, and have not changed since."""
    bytes: int
    """Theirs."""
    unknown: int
    """Blobs that were not, or have changed since."""
    unknown_bytes: int
    oldest: float | None
    """When the intact blob that was looked at longest ago was, since the epoch; None of none."""
    findings: tuple[ReportedFinding, ...]
    """What was wrong when it was looked at last."""

    @property
    def severity(self) -> Severity | None:
        """The gravest severity among the findings; None without any."""
        return worst(row.finding for row in self.findings)


@dataclass(frozen=True, slots=True)
class FindingDocument:
    """One finding, as --json and --ndjson print it."""

    code: str
    severity: Severity
    path: str
    digest: str | None
    repository: str | None
    tag: str | None
    expected: str | None
    actual: str | None
    message: str
    remedy: str
    images: list[str]
    """`repository:tag`, or `repository@digest` where no tag leads to it; at most 1000."""
    affected: int
    """The number of all images that are damaged by it."""


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
    """Of one code and severity at most 10000; --ndjson tells all."""
    more: list[MoreDocument]
    """How many more findings there were, of codes with more than that."""
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


class Affects(Protocol):
    """Who knows which images a finding touches."""

    def images(self, finding: Finding) -> set[str]:
        """Return their names."""


_STRAY: Final = frozenset(
    {Code.FOREIGN_PATH, Code.ALGORITHM_UNSUPPORTED, Code.BLOB_MISPLACED, Code.NFS_LEFTOVER}
)
"""Ways to say that a path does not belong: once is enough."""
_MANY: Final = frozenset(
    {Code.INDEX_CHILD_MISSING, Code.SUBJECT_MISSING, Code.DESCRIPTOR_SIZE_MISMATCH}
)
"""What one manifest can suffer from more than once."""
_OF_IMAGES: Final = frozenset({Code.DIFFID_MISMATCH, Code.LAYER_TYPE_MISMATCH})
"""What a layer can suffer from once for each manifest that names it."""


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
    """Takes findings as they come, each once, and passes them on with their images."""

    def __init__(
        self,
        affects: Affects,
        wanted: Callable[[Finding], bool],
        on_finding: Callable[[ReportedFinding], None] | None,
    ) -> None:
        self.rows: list[ReportedFinding] = []
        self.images: dict[str, ImageDamage] = {}
        self.more: Counter[tuple[Severity, Code]] = Counter()
        self._kept: Counter[tuple[Severity, Code]] = Counter()
        self._affects = affects
        self._wanted = wanted
        self._on_finding = on_finding
        self._seen: set[tuple[str, ...]] = set()

    def add(self, finding: Finding) -> None:
        """Take a finding, unless it is known or was not asked for."""
        identity = _identity(finding)
        if identity in self._seen or not self._wanted(finding):
            return
        self._seen.add(identity)
        images: list[str] = []
        if finding.severity is not Severity.INFO:  # a normal leftover hurts no image
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
