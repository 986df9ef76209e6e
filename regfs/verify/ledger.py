"""What earlier verifications found out about blobs: digest -> result and time; no disk here.

As text, it has a line for each result; the last line of a blob counts:

    regfs-ledger 2
    <checked at> <ok or the finding's code> <level> <size> <mtime> <device> <inode> <ctime> <digest>

Times are seconds since the epoch, written without loss; ctime is in nanoseconds. A result is
about one file and says nothing about another one in its place. The digest comes last and has a
fixed length, so a truncated line is never taken for a complete one. Anything that is not such a
line is ignored, and its blob is verified again. A deeper level proves more and is kept beside a
shallower one.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from regfs.digest import ALGORITHMS, Digest
from regfs.findings import Code
from regfs.stores import FileId
from regfs.verify.report import Level

HEADER: Final = b"regfs-ledger 2\n"
FORMER: Final = b"regfs-ledger 1\n"
"""The header of version 1, which does not say which files its results are about."""

_NUMBER: Final = r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?"
_DIGEST: Final = "|".join(f"{name}:[0-9a-f]{{{size}}}" for name, size in ALGORITHMS.items())
_LINE = re.compile(
    rf"^({_NUMBER}) ([a-z0-9-]+) ([a-z]+) ([0-9]{{1,18}}) ({_NUMBER}) "
    rf"([0-9]{{1,20}}) ([0-9]{{1,20}}) (-?[0-9]{{1,19}}) ({_DIGEST})$",
    re.MULTILINE,
)
_OK: Final = "ok"
_RESULTS: Final[list[Code | None]] = [None, *Code]
_WORDS: Final = {_OK if code is None else code.value: n for n, code in enumerate(_RESULTS)}
_NUMBERS: Final = {code: number for number, code in enumerate(_RESULTS)}
_LEVELS: Final = {level.value: level for level in Level}


class LedgerEntry(NamedTuple):
    """The result of verifying one blob."""

    size: int
    """Bytes, as listed before it was read."""
    mtime: float
    result: Code | None
    """What was wrong; None if it was intact."""
    level: Level
    """How deep it was checked."""
    checked_at: float
    """Seconds since the epoch, UTC."""
    file: FileId
    """Which file was read."""


Pick = Callable[[str], Digest | None]
"""Returns the digest to keep an entry under, or None to leave it out."""


class _ResultColumns:
    """The results of one level, as columns; a million entries take 49 MB besides their keys."""

    def __init__(self) -> None:
        self.numbers: dict[Digest, int] = {}
        self.sizes = array("q")
        self.mtimes = array("d")
        self.results = array("B")
        self.times = array("d")
        self.devices = array("Q")
        self.inodes = array("Q")
        self.changed = array("q")
        columns = (self.sizes, self.mtimes, self.results, self.times)
        self._columns: tuple[array[Any], ...] = (
            *columns,
            self.devices,
            self.inodes,
            self.changed,
        )

    def put(self, digest: Digest, row: tuple[float, ...]) -> None:
        """Store a row in place of the previous one."""
        number = self.numbers.setdefault(digest, len(self.sizes))
        if number == len(self.sizes):
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)
        else:
            for column, value in zip(self._columns, row, strict=True):
                column[number] = value

    def put_all(self, rows: dict[Digest, tuple[float, ...]]) -> None:
        """Store many rows in place of the previous ones."""
        if not self.numbers.keys().isdisjoint(rows):
            for digest, row in rows.items():
                self.put(digest, row)
        elif rows:
            first = len(self.sizes)
            self.numbers.update(zip(rows, range(first, first + len(rows)), strict=True))
            for column, values in zip(self._columns, zip(*rows.values(), strict=True), strict=True):
                column.extend(values)

    def entry(self, number: int, level: Level) -> LedgerEntry:
        size, mtime, result, at, *file = (column[number] for column in self._columns)
        return LedgerEntry(size, mtime, _RESULTS[result], level, at, FileId(*file))


class Ledger:
    """The results of many verifications: for each blob the last one of each level."""

    def __init__(self) -> None:
        self._tables: dict[Level, _ResultColumns] = {}

    def put(self, digest: Digest, entry: LedgerEntry) -> None:
        """Store a result in place of the previous one."""
        size, mtime, result, level, at, file = entry
        self._table(level).put(digest, (size, mtime, _NUMBERS[result], at, *file))

    def put_all(self, results: Iterable[tuple[Digest, LedgerEntry]]) -> None:
        """Store many results; the last one of a blob and level counts."""
        rows: dict[Level, dict[Digest, tuple[float, ...]]] = {}
        for digest, (size, mtime, result, level, at, file) in results:
            row = (size, mtime, _NUMBERS[result], at, *file)
            rows.setdefault(level, {})[digest] = row
        for level, table in rows.items():
            self._table(level).put_all(table)

    def find(self, digest: Digest, level: Level) -> LedgerEntry | None:
        """Return the last result that says something about a blob at `level`, or None.

        That is a result of this level or a deeper one, or damage that a shallower level found
        since: what is damaged at one level is not intact at a deeper one.
        """
        best: LedgerEntry | None = None
        for depth, table in self._tables.items():
            number = table.numbers.get(digest)
            if number is None or (not table.results[number] and not depth.covers(level)):
                continue
            entry = table.entry(number, depth)
            if best is None or _rank(entry) > _rank(best):
                best = entry
        return best

    def last(self, digest: Digest, level: Level) -> LedgerEntry | None:
        """Return the last result of exactly this level, or None."""
        table = self._tables.get(level)
        number = None if table is None else table.numbers.get(digest)
        return None if table is None or number is None else table.entry(number, level)

    def take(self, text: str, pick: Pick = Digest) -> int:
        """Store the results of all complete lines in `text`, a ledger as text or a part of one.

        Returns:
            The number of lines.
        """
        found = _LINE.findall(text)
        for at, word, depth, size, mtime, *file, name in found:
            digest, result, level = pick(name), _WORDS.get(word), _LEVELS.get(depth)
            if digest is not None and result is not None and level is not None:
                device, inode, changed = map(int, file)
                if max(device, inode, 2 * abs(changed)) >> 64:
                    continue  # no system has such numbers
                row = (int(size), float(mtime), result, float(at), device, inode, changed)
                self._table(level).put(digest, row)
        return len(found)

    def _table(self, level: Level) -> _ResultColumns:
        table = self._tables.get(level)
        if table is None:
            table = self._tables[level] = _ResultColumns()
        return table

    def __iter__(self) -> Iterator[tuple[Digest, LedgerEntry]]:
        for level, table in self._tables.items():
            for digest, number in table.numbers.items():
                yield digest, table.entry(number, level)

    def __len__(self) -> int:
        return sum(len(table.numbers) for table in self._tables.values())


def line_of(digest: Digest, entry: LedgerEntry) -> str:
    """Return a result as a line of a ledger."""
    size, mtime, result, level, at, (device, inode, changed) = entry
    # A member of StrEnum is written as its value, at a fifth of the time that asking for it takes.
    return f"{at!r} {result or _OK} {level} {size} {mtime!r} {device} {inode} {changed} {digest}\n"


def merge(ledgers: Iterable[Ledger]) -> Ledger:
    """Return what several ledgers know together: for each blob and level the last result.

    Of two results of the same time, the one that found something counts.
    """
    merged = Ledger()
    for ledger in ledgers:
        for digest, entry in ledger:
            known = merged.last(digest, entry.level)
            if known is None or _rank(entry) > _rank(known):
                merged.put(digest, entry)
    return merged


def _rank(entry: LedgerEntry) -> tuple[float, bool, str, str, int, float, FileId]:
    """Return the sort key by time; the order is total, so that a merge has one outcome."""
    return (
        entry.checked_at,
        entry.result is not None,
        entry.result or "",
        entry.level,
        entry.size,
        entry.mtime,
        entry.file,
    )
