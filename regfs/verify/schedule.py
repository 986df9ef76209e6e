"""What to read this time, and in which order: pure, from the listing and the ledger.

    known to be damaged   always read again, and first
    never verified        or changed since, or verified less deeply
    verified              oldest day first; not at all if younger than max_age

Within each group, blobs come in the order that suits a disk (`content.reading_order`). Ages
count in days, so that the groups are large enough for that.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
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
    """The blobs that one of `total` machines (or nights) verifies, by their digest."""

    number: int
    """From 1."""
    total: int

    def has(self, digest: Digest) -> bool:
        """Return whether a blob belongs to it. Up to 256 shards take whole folders each."""
        width = 2 if self.total <= 256 else 4
        return int(digest.encoded[:width], 16) % self.total == self.number - 1


class Share(NamedTuple):
    """A fraction of all bytes."""

    fraction: float


class ByteCount(NamedTuple):
    """An amount of bytes."""

    bytes: int


Subset = Shard | Share | ByteCount


@dataclass(frozen=True, slots=True)
class Selection:
    """How much of the content to read; all of it if nothing is set."""

    subset: Subset | None = None
    max_age: float | None = None
    """Seconds for which a blob that was found intact is not read again."""
    max_bytes: int | None = None
    max_duration: float | None = None
    """Seconds after which nothing more begins."""

    def check(self, level: Level, *, ledger: bool) -> None:
        """Check that the settings make sense together.

        Raises:
            Invalid: the level reads no content, or there is no ledger to tell ages.
        """
        if self != Selection() and not level.covers(Level.DIGESTS):
            raise Invalid(
                f"a subset, a maximum age and limits are about the content of blobs, "
                f"which level {level.value} does not read"
            )
        if self.max_age is not None and not ledger:
            raise Invalid("a maximum age needs a ledger, which says when each blob was verified")


Rows = Mapping[Digest, int]
"""Digest -> its row in the listing."""


class Schedule(NamedTuple):
    """What to read and what not."""

    due: list[Digest]
    """In the order to read them."""
    skipped: int
    """Number of blobs that were found intact recently."""
    left: list[Digest]
    """Blobs that are due too but exceed the limits."""
    broken: list[Digest]
    """Blobs, due or left, that were damaged when they were last read."""
    rows: dict[Digest, int]
    """The row of each candidate in the listing: to look it up again takes a while."""


class Known(NamedTuple):
    """What earlier verifications say."""

    ledger: Ledger
    level: Level
    now: float
    """Seconds since the epoch, UTC."""
    file_at: Callable[[int], FileId | None]
    """Returns which file the blob of a row is now."""

    def entry(self, digest: Digest, blobs: DigestTable, row: int) -> LedgerEntry | None:
        """Return the last result if it is about the blob as it is now, or if it is damage.

        A result from the future only proves that a clock was wrong; a day is tolerated, because
        the clocks of several machines differ.
        """
        entry = self.ledger.find(digest, self.level)
        if entry is None or entry.result is not None:
            return entry
        now = (blobs.sizes[row], blobs.mtimes[row], self.file_at(row))
        same = (entry.size, entry.mtime, entry.file) == now
        return entry if same and entry.checked_at <= self.now + _DAY else None


def schedule(
    blobs: DigestTable,
    candidates: Iterable[Digest],
    selection: Selection,
    known: Known | None = None,
    *,
    fresh: Container[Digest] = (),
    sample: Random | None = None,
) -> Schedule:
    """Decide which of the `candidates` blobs to read.

    Blobs in `fresh` count as never verified. A share or an amount is taken from what is due
    first. With `sample` it is taken at random instead: if no result is recorded, the same blobs
    would be due first each time.
    """
    rows = {digest: blobs.row(digest) for digest in candidates}
    groups, skipped = _groups(blobs, rows, selection, known, fresh)
    budget = _budget(selection, sum(map(blobs.sizes.__getitem__, rows.values())))
    if budget is not None and sample is not None:
        mixed = [digest for group in groups.values() for digest in group]
        sample.shuffle(mixed)
        due, left = _take(blobs, rows, mixed, budget)
        return Schedule(_ordered(blobs, rows, due), skipped, left, groups.get(_BROKEN, []), rows)
    broken = _ordered(blobs, rows, groups.pop(_BROKEN, ()))
    rest = [one for key in sorted(groups) for one in _ordered(blobs, rows, groups[key])]
    if budget is None:
        return Schedule(broken + rest, skipped, [], broken, rows)
    due, left = _limited(blobs, rows, broken, rest, budget)
    return Schedule(due, skipped, left, broken, rows)


def _groups(
    blobs: DigestTable,
    rows: Rows,
    selection: Selection,
    known: Known | None,
    fresh: Container[Digest],
) -> tuple[dict[float, list[Digest]], int]:
    """Return the blobs of the shard by when they are due, and the number of those not due."""
    shard = selection.subset if isinstance(selection.subset, Shard) else None
    groups: dict[float, list[Digest]] = {}
    skipped = 0
    for digest, row in rows.items():
        if shard is not None and not shard.has(digest):
            continue
        entry = None if known is None else known.entry(digest, blobs, row)
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
    """Return the number of bytes that may be read; None for all."""
    limits = [] if selection.max_bytes is None else [selection.max_bytes]
    match selection.subset:
        case Share(fraction):
            limits.append(int(total * fraction))
        case ByteCount(amount):
            limits.append(amount)
    return min(limits, default=None)


def _ordered(blobs: DigestTable, rows: Rows, group: Iterable[Digest]) -> list[Digest]:
    """Return a group in the order that suits threads and disks."""
    sizes, mtimes = blobs.sizes, blobs.mtimes
    listed = ((one, sizes[row], mtimes[row]) for one in group for row in (rows[one],))
    return [digest for digest, _ in reading_order(listed)]


def _limited(
    blobs: DigestTable, rows: Rows, broken: Sequence[Digest], rest: Sequence[Digest], budget: int
) -> tuple[list[Digest], list[Digest]]:
    """Take what fits the budget: any of the damaged blobs, and the first of the others.

    At least one of the others is always taken. Otherwise a blob larger than the limit would
    block all that come after it, in every run.
    """
    due: list[Digest] = []
    left: list[Digest] = []
    for digest in broken:
        size = blobs.sizes[rows[digest]]
        (due if size <= budget else left).append(digest)
        budget -= size if size <= budget else 0
    taken, others = _take(blobs, rows, rest, budget)
    return due + taken, left + others


def _take(
    blobs: DigestTable, rows: Rows, order: Sequence[Digest], budget: int
) -> tuple[list[Digest], list[Digest]]:
    """Split `order` where the budget ends, but after the first blob at the earliest."""
    for count, digest in enumerate(order):
        budget -= blobs.sizes[rows[digest]]
        if budget < 0:
            return list(order[: max(count, 1)]), list(order[max(count, 1) :])
    return list(order), []
