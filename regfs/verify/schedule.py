"""What to read this time, and in which order: pure, from what was listed and what is known.

    known to be broken    always again, and first
    never verified        or changed since, or less deeply
    verified              those of the oldest day first; not at all when younger than max_age

Within each of these blobs come in the order that suits a disk (`content.reading_order`);
ages count in days, so that there is room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.errors import Invalid
from regfs.stores import FileId
from regfs.tree.inventory import DigestTable
from regfs.verify.content import reading_order
from regfs.verify.ledger import Ledger, LedgerEntry
from regfs.verify.report import Level

SHARDS_LIMIT: Final = 65536

_DAY: Final = 86400.0
_BROKEN: Final = -2.0
_NEVER: Final = -1.0


class Shard(NamedTuple):
    """The blobs whose digest falls to one of `total` machines, or nights."""

    number: int
    """From 1."""
    total: int

    def has(self, digest: Digest) -> bool:
        """Return whether a blob is in it. Up to 256 shards each take whole folders."""
        width = 2 if self.total <= 256 else 4
        return int(digest.encoded[:width], 16) % self.total == self.number - 1


class Share(NamedTuple):
    """A part of all bytes."""

    fraction: float


class ByteCount(NamedTuple):
    """So many bytes."""

    bytes: int


Subset = Shard | Share | ByteCount


@dataclass(frozen=True, slots=True)
class Selection:
    """How much of the content to read; all of it when nothing is set."""

    subset: Subset | None = None
    max_age: float | None = None
    """Seconds for which a blob found intact need not be read again."""
    max_bytes: int | None = None
    max_duration: float | None = None
    """Seconds after which nothing more is begun."""

    def check(self, level: Level, *, ledger: bool) -> None:
        """Refuse what makes no sense together.

        Raises:
            Invalid: a level that reads no content, or an age that nobody knows.
        """
        if self != Selection() and not level.covers(Level.DIGESTS):
            raise Invalid(
                f"a subset, an age and limits concern the content of blobs, "
                f"which level {level.value} does not read"
            )
        if self.max_age is not None and not ledger:
            raise Invalid("without a ledger nobody knows when a blob was verified: no maximum age")


class Schedule(NamedTuple):
    """What to read, and what not."""

    due: list[Digest]
    """In the order to read them."""
    skipped: int
    """Blobs that were found intact lately."""
    left: list[Digest]
    """Blobs that would be due as well, and are too many for this time."""
    broken: list[Digest]
    """Those of both that were broken when they were last looked at."""


class Known(NamedTuple):
    """What earlier verifications say."""

    ledger: Ledger
    level: Level
    now: float
    """Seconds since the epoch, UTC."""
    file_of: Callable[[Digest], FileId | None]
    """Returns which file a blob is now."""

    def entry(self, digest: Digest, size: int, mtime: float) -> LedgerEntry | None:
        """Return the result that still tells of a blob as it is.

        One from the future proves that a clock was wrong, and nothing else; a day is
        forgiven, for clocks of several machines differ.
        """
        entry = self.ledger.find(digest, self.level)
        if entry is None or entry.result is not None:
            return entry
        same = (entry.size, entry.mtime, entry.file) == (size, mtime, self.file_of(digest))
        return entry if same and entry.checked_at <= self.now + _DAY else None


def schedule(
    blobs: DigestTable,
    wanted: Iterable[Digest],
    selection: Selection,
    known: Known | None = None,
    *,
    fresh: Container[Digest] = (),
    sample: Random | None = None,
) -> Schedule:
    """Decide which of the `wanted` blobs to read.

    What is in `fresh` counts as never verified, whatever is known. A share or an amount
    is what is due first; with `sample` a random one instead, for where no result is
    kept, and the first would be the same each time.
    """
    wanted = list(wanted)
    groups, skipped = _groups(blobs, wanted, selection, known, fresh)
    budget = _budget(selection, sum(blobs.sizes[blobs.row(one)] for one in wanted))
    if budget is not None and sample is not None:
        mixed = [digest for group in groups.values() for digest in group]
        sample.shuffle(mixed)
        due, left = _take(blobs, mixed, budget)
        return Schedule(_ordered(blobs, due), skipped, left, groups.get(_BROKEN, []))
    broken = _ordered(blobs, groups.pop(_BROKEN, ()))
    rest = [one for key in sorted(groups) for one in _ordered(blobs, groups[key])]
    if budget is None:
        return Schedule(broken + rest, skipped, [], broken)
    due, left = _limited(blobs, broken, rest, budget)
    return Schedule(due, skipped, left, broken)


def _groups(
    blobs: DigestTable,
    wanted: Iterable[Digest],
    selection: Selection,
    known: Known | None,
    fresh: Container[Digest],
) -> tuple[dict[float, list[Digest]], int]:
    """Return the blobs of the shard by when they are due, and how many are not due at all."""
    shard = selection.subset if isinstance(selection.subset, Shard) else None
    groups: dict[float, list[Digest]] = {}
    skipped = 0
    for digest in wanted:
        if shard is not None and not shard.has(digest):
            continue
        number = blobs.row(digest)
        size, mtime = blobs.sizes[number], blobs.mtimes[number]
        entry = None if known is None else known.entry(digest, size, mtime)
        if digest in fresh and entry is not None and entry.result is None:
            entry = None
        if known is not None and _is_fresh(entry, selection.max_age, known.now):
            skipped += 1
        else:
            groups.setdefault(_group(entry), []).append(digest)
    return groups, skipped


def _is_fresh(entry: LedgerEntry | None, max_age: float | None, now: float) -> bool:
    if entry is None or entry.result is not None or max_age is None:
        return False
    return now - entry.checked_at < max_age


def _group(entry: LedgerEntry | None) -> float:
    if entry is None:
        return _NEVER
    return _BROKEN if entry.result is not None else max(0.0, entry.checked_at // _DAY)


def _budget(selection: Selection, total: int) -> int | None:
    """Return the bytes that may be read; None for all."""
    limits = [] if selection.max_bytes is None else [selection.max_bytes]
    match selection.subset:
        case Share(fraction):
            limits.append(int(total * fraction))
        case ByteCount(amount):
            limits.append(amount)
    return min(limits, default=None)


def _ordered(blobs: DigestTable, group: Iterable[Digest]) -> list[Digest]:
    """Return a group in the order that suits threads and disks."""
    sizes, mtimes = blobs.sizes, blobs.mtimes
    rows = ((digest, sizes[row], mtimes[row]) for digest in group for row in (blobs.row(digest),))
    return [digest for digest, _ in reading_order(rows)]


def _limited(
    blobs: DigestTable, broken: Sequence[Digest], rest: Sequence[Digest], budget: int
) -> tuple[list[Digest], list[Digest]]:
    """Take what fits: of the broken ones each that does, of the others the first.

    At least one of the others is always taken, or a blob above the limit would stop all
    that come after it, in every run.
    """
    due: list[Digest] = []
    left: list[Digest] = []
    for digest in broken:
        size = blobs.sizes[blobs.row(digest)]
        (due if size <= budget else left).append(digest)
        budget -= size if size <= budget else 0
    taken, others = _take(blobs, rest, budget)
    return due + taken, left + others


def _take(
    blobs: DigestTable, order: Sequence[Digest], budget: int
) -> tuple[list[Digest], list[Digest]]:
    """Split `order` where the budget ends, after the first at the earliest."""
    for count, digest in enumerate(order):
        budget -= blobs.sizes[blobs.row(digest)]
        if budget < 0:
            return list(order[: max(count, 1)]), list(order[max(count, 1) :])
    return list(order), []
