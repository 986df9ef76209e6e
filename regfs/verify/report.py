"""What a verification says: its levels, its findings with the images they touch, its totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from regfs.findings import Code, Finding, Severity, worst

ROWS_LIMIT: Final = 10_000
"""Findings of one code and weight that are kept; beyond it they are told once and counted."""
IMAGES_LIMIT: Final = 1000
"""Images that are named with one finding; beyond it they are only counted."""


class Level(StrEnum):
    """How deep to look; each level includes those before it."""

    LINKS = "links"
    """The listing and the links; no blob is opened."""
    SIZES = "sizes"
    """Also the manifests, and whether all they need is there and as long as they say."""
    DIGESTS = "digests"
    """Also the content of every blob."""

    def covers(self, other: Level) -> bool:
        """Tell whether `other` is part of this level."""
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


class Row(NamedTuple):
    """One finding, and what it does to images."""

    finding: Finding
    images: tuple[str, ...] = ()
    """Images that are not whole because of it, sorted: `repository:tag`, and
    `repository@digest` for what no tag leads to. At most IMAGES_LIMIT."""
    affected: int = 0
    """The number of all of them."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a verification."""

    root: str
    level: Level
    checked: Checked
    findings: tuple[Row, ...]
    """In the order they were found; of one code and weight at most ROWS_LIMIT."""
    interrupted: bool
    """Whether it was ended by a key, and says only what was found until then."""
    more: Mapping[tuple[Severity, Code], int] = field(default_factory=dict)
    """How many more findings there were than are kept; those were told when they were found."""

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
    """The number of all images that are not whole because of it."""


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


def _identity(finding: Finding) -> tuple[str, ...]:
    if finding.code in _STRAY:
        return ("stray", finding.path)
    if finding.code in _MANY:
        return (finding.code, finding.path, finding.expected or "", finding.repository or "")
    return (finding.code, finding.path)


class Collector:
    """Takes findings as they come, each once, and passes them on with their images."""

    def __init__(
        self,
        affects: Affects,
        wanted: Callable[[Finding], bool],
        on_finding: Callable[[Row], None] | None,
    ) -> None:
        self.rows: list[Row] = []
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
        row = Row(finding, tuple(images[:IMAGES_LIMIT]), len(images))
        kind = finding.severity, finding.code
        if self._kept[kind] < ROWS_LIMIT:
            self._kept[kind] += 1
            self.rows.append(row)
        else:
            self.more[kind] += 1
        if self._on_finding is not None:
            self._on_finding(row)

    def has(self, code: Code, path: str) -> bool:
        """Tell whether this was found."""
        return (code, path) in self._seen
