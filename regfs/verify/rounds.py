"""One round of reading: what is due this time, what was done, and what is left for the next.

Whatever was looked at goes into the ledger, with the size and time of the listing:
a file that has changed since is another one for the next round.

When the time is up nothing more is begun, and what runs is read to its end. Were it
stopped, a blob that takes longer than a round would be begun in each and never done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple, cast

from regfs.digest import Digest
from regfs.findings import Code
from regfs.inventory import Inventory
from regfs.verify.ledger import Entry
from regfs.verify.ledger_file import LedgerFile
from regfs.verify.report import Level
from regfs.verify.schedule import Known, Schedule, Selection, schedule


class Clock(NamedTuple):
    """What time it is."""

    now: Callable[[], float] = time.time
    """Seconds since the epoch, UTC."""
    steady: Callable[[], float] = time.monotonic
    """Seconds that nobody turns back."""


class Round:
    """The part of a verification that reads content."""

    def __init__(
        self,
        inventory: Inventory,
        level: Level,
        selection: Selection,
        file: LedgerFile | None,
        clock: Clock,
    ) -> None:
        selection.check(level, ledger=file is not None)
        self.skipped = 0
        """Blobs that need not be read."""
        self.left: tuple[int, int] = (0, 0)
        """Blobs that were not read and are due, and their bytes."""
        self._blobs = inventory.blobs
        self._level = level
        self._selection = selection
        self._file = file
        self._clock = clock
        limit = selection.max_duration
        self._end = None if limit is None else clock.steady() + limit

    def begin(self, wanted: Iterable[Digest]) -> list[Digest]:
        """Return which of the blobs to read now, in order."""
        known = None
        if self._file is not None:
            self._file.load(self._own)
            known = Known(self._file.ledger, self._level, self._clock.now())
        # Where nothing is recorded, what is due first would be the same in each round.
        sample = None if self._file is not None and self._file.writable else Random()
        plan = schedule(self._blobs, wanted, self._selection, known, sample)
        self.skipped = plan.skipped
        self.left = self._left(plan)
        return plan.due

    def _left(self, plan: Schedule) -> tuple[int, int]:
        left = [*plan.due, *plan.left]
        return len(left), sum(map(self.size, left))

    def size(self, digest: Digest) -> int:
        """Return the bytes of a blob, as listed."""
        return self._blobs.sizes[self._blobs.numbers[digest]]

    def is_over(self) -> bool:
        """Tell whether nothing more is to be begun."""
        return self._end is not None and self._clock.steady() >= self._end

    def done(self, digests: Iterable[Digest], problems: dict[Digest, Code]) -> None:
        """Take what came of blobs that `begin` told to read."""
        results = list(digests)
        blobs, size = self.left
        self.left = (blobs - len(results), size - sum(map(self.size, results)))
        self.record(results, problems)

    def record(self, digests: Iterable[Digest], problems: dict[Digest, Code]) -> None:
        """Note in the ledger what came of blobs; one that has gone is none any more."""
        if self._file is None:
            return
        now, blobs, level = self._clock.now(), self._blobs, self._level
        self._file.record(
            (digest, Entry(blobs.sizes[n], blobs.mtimes[n], problems.get(digest), level, now))
            for digest in digests
            if problems.get(digest) is not Code.BLOB_MISSING
            for n in (blobs.numbers[digest],)
        )

    def _own(self, text: str) -> Digest | None:
        """Return the listing's own object (a million others take 120 MB); None of what is gone."""
        number = self._blobs.numbers.get(cast(Digest, text))
        return None if number is None else self._blobs.digests[number]
