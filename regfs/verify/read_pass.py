"""One pass of reading: what is due now, what was done, and what is left for the next pass.

Each result goes into the ledger, with the size and time of the listing and the identity of the
file before it was read. To the next pass, a file that has changed since is another file, and so
is a copy. At level content, the ledger gets the digest result of a blob at once, and the result
for its content at the end, after images were compared with it.

When the time is up, nothing more begins, and blobs that are being read are read to the end.
Otherwise a blob that takes longer than a pass would never be finished.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from random import Random
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.findings import Code
from regfs.stores import Store
from regfs.tree.inventory import DigestTable, Inventory
from regfs.verify.coverage import pick_from
from regfs.verify.files import identify_blobs
from regfs.verify.ledger import LedgerEntry
from regfs.verify.ledger_file import LedgerFile
from regfs.verify.options import Portion, VerifyOptions
from regfs.verify.report import Level
from regfs.verify.schedule import Known, Selection, schedule

OF_CONTENT: Final = frozenset(
    {
        Code.LAYER_UNREADABLE,
        Code.DIFFID_MISMATCH,
        Code.LAYER_COUNT_MISMATCH,
        Code.CONFIG_UNREADABLE,
    }
)
"""What can be wrong with a blob that matches its digest."""

_PASSING: Final = frozenset({Code.BLOB_MISSING, Code.BLOB_CHANGED})
"""Results that do not last: the blob that was listed no longer exists."""


class Timing(NamedTuple):
    """Clocks, and when to stop; in seconds."""

    now: Callable[[], float]
    """Returns seconds since the epoch, UTC."""
    steady: Callable[[], float]
    """Returns seconds by a clock that nobody sets back."""
    end: float | None
    """When to begin nothing more, by `steady`; None for never."""


def open_pass(
    store: Store, inventory: Inventory, options: VerifyOptions, started: float
) -> ReadPass:
    """Return the pass that `options` ask for, with the ledger loaded.

    Raises:
        Invalid: the selection makes no sense at this level, or without a ledger.
    """
    level, selection, ledger = options.level, options.selection, options.ledger
    selection.check(level, ledger=ledger is not None)
    timing = Timing(options.clock, options.steady, None)
    if selection.max_duration is not None:
        spent = max(0.0, options.clock() - started)
        timing = timing._replace(end=options.steady() + selection.max_duration - spent)
    known = None
    if ledger is not None and level.covers(Level.DIGESTS):
        if options.portion is not Portion.REST:
            ledger.load(pick_from(inventory))
        file_at = identify_blobs(store, inventory.blobs).at
        known = Known(ledger.ledger, level, options.clock(), file_at)
    return ReadPass(inventory.blobs, level, selection, ledger, known, timing)


class ReadPass:
    """The part of a verification that reads content."""

    def __init__(
        self,
        blobs: DigestTable,
        level: Level,
        selection: Selection,
        file: LedgerFile | None,
        known: Known | None,
        timing: Timing,
    ) -> None:
        """`known` is what `file` says about the current files; None if no content is read."""
        self.skipped = 0
        """Number of blobs that need not be read."""
        self.left: tuple[int, int] = (0, 0)
        """Number and bytes of the blobs that are due and not read yet."""
        self.broken: dict[Digest, Code] = {}
        """Those of them that an earlier pass found damaged and that have not changed since."""
        self._blobs = blobs
        self._level = level
        self._selection = selection
        self._file = file
        self._known = known
        self._timing = timing
        self._doubtful: set[Digest] = set()
        self._rows: dict[Digest, int] = {}
        """The row of each blob that may be read, in the listing."""
        self._done: list[Digest] = []
        """Blobs that may still be proven at level content."""

    def is_proven(self, digest: Digest) -> bool:
        """Return whether an earlier pass found a blob, as it is now, intact at this level."""
        return self._is_intact(self._known, digest)

    def was_read(self, doubtful: Digest) -> bool:
        """Return whether a blob was read now, or an earlier pass found it to match its digest."""
        if doubtful not in self._doubtful:
            return True
        known = self._known and self._known._replace(level=Level.DIGESTS)
        return self._is_intact(known, doubtful)

    def _is_intact(self, known: Known | None, digest: Digest) -> bool:
        row = self._blobs.find(digest)
        if known is None or row is None:
            return False
        entry = known.entry(digest, self._blobs, row)
        return entry is not None and entry.result is None

    def begin(
        self, candidates: Iterable[Digest], fresh: Container[Digest], doubtful: Iterable[Digest]
    ) -> list[tuple[Digest, int]]:
        """Return the blobs to read now, with their sizes in bytes, in order.

        Blobs in `fresh` are due whatever the ledger says. For `doubtful` blobs, `was_read` can be
        asked later.
        """
        self._doubtful.update(doubtful)
        # Without recording, the same blobs would be due first in each pass.
        sample = None if self._file is not None and self._file.writable else Random()
        plan = schedule(
            self._blobs, candidates, self._selection, self._known, fresh=fresh, sample=sample
        )
        self.skipped = plan.skipped
        self._rows = plan.rows
        self.broken = self._still_broken(plan.broken)
        due = [(digest, self._size(digest)) for digest in plan.due]
        left = sum(map(self._size, plan.left))
        self.left = (len(due) + len(plan.left), sum(size for _, size in due) + left)
        return due

    def _still_broken(self, blobs: Iterable[Digest]) -> dict[Digest, Code]:
        """Return what is wrong with those that have not changed since that was found."""
        broken: dict[Digest, Code] = {}
        if (known := self._known) is not None:
            for digest in blobs:
                entry = known.ledger.find(digest, self._level)
                same = entry and entry.file == known.file_at(self._rows[digest])
                if entry and same and entry.result and entry[:2] == self._blobs[digest][:2]:
                    broken[digest] = entry.result
        return broken

    def is_over(self) -> bool:
        """Return whether nothing more may begin."""
        end = self._timing.end
        return end is not None and self._timing.steady() >= end

    def done(self, digests: Iterable[Digest], problems: dict[Digest, Code]) -> None:
        """Take the results of blobs that `begin` returned."""
        results = list(digests)
        blobs, size = self.left
        self.left = (blobs - len(results), size - sum(map(self._size, results)))
        self._doubtful.difference_update(results)
        for digest in results:
            self.broken.pop(digest, None)
        self.record(results, problems)

    def record(self, digests: Iterable[Digest], problems: dict[Digest, Code]) -> None:
        """Record the results of blobs, except those that are gone or were replaced."""
        if self._file is None:
            return
        results = [digest for digest in digests if problems.get(digest) not in _PASSING]
        if self._level.covers(Level.CONTENT):
            self._done += [digest for digest in results if digest not in problems]
        self._note((digest, problems.get(digest), Level.DIGESTS) for digest in results)

    def prove(self, problems: dict[Digest, Code], unfinished: Container[Digest]) -> None:
        """Record the results for the content of blobs, after images were compared with it.

        Those in `unfinished` were compared with only a part of what they need.
        """
        if self._file is not None:
            intact = ((one, None) for one in self._done if one not in unfinished)
            broken = ((one, code) for one, code in problems.items() if one in self._blobs)
            self._note(
                (one, code, Level.CONTENT) for pairs in (intact, broken) for one, code in pairs
            )

    def _note(self, results: Iterable[tuple[Digest, Code | None, Level]]) -> None:
        assert self._file is not None
        assert self._known is not None
        file_at = self._known.file_at
        now, blobs = self._timing.now(), self._blobs
        entries = []
        for digest, code, level in results:
            row = self._row(digest)
            if (file := file_at(row)) is not None:
                entry = LedgerEntry(blobs.sizes[row], blobs.mtimes[row], code, level, now, file)
                entries.append((digest, entry))
        self._file.record(entries)

    def _row(self, digest: Digest) -> int:
        row = self._rows.get(digest)
        return self._blobs.row(digest) if row is None else row

    def _size(self, digest: Digest) -> int:
        return self._blobs.sizes[self._row(digest)]
