"""The lines of a CSV file of a report of S3 Inventory, as columns.

S3 puts every value in quotes. Where all lines of a piece are so, with no quote within a value,
the piece is cut at what stands between values, at once: no line becomes an object. Anything else
that CSV may be is read by `csv`, from there to the end of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain, compress, islice
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

_LONGEST: Final = 64 << 10
"""Bytes of a line: a key has up to 1024, three times that URL-encoded."""
_PAGE: Final = 8192
"""Lines that `csv` reads at once."""
_MANY: Final = 1 << 16
"""Minutes, and parts of them, that are remembered."""
_MINUTE: Final = len("2026-11-28T01:00:")
_FLAGS: Final = {"IsLatest": b"true", "IsDeleteMarker": b"false"}
"""Columns of a bucket with versions, and what they say of what is there."""

_Columns = Sequence[Sequence[bytes]]


class ReportPage(NamedTuple):
    """Some objects of the bucket, as columns of equal length."""

    keys: list[bytes]
    sizes: list[int]
    mtimes: list[float]
    """Seconds since the epoch; when the report was begun, if it has no times."""
    etags: list[str]

    def only(self, wanted: Sequence[bool]) -> ReportPage:
        """Return a part of them: those that are true in `wanted`."""
        return ReportPage(
            list(compress(self.keys, wanted)),
            list(compress(self.sizes, wanted)),
            list(compress(self.mtimes, wanted)),
            list(compress(self.etags, wanted)),
        )


def pages_of(
    pieces: Iterable[bytes], names: Sequence[str], taken_at: float
) -> Iterator[ReportPage]:
    """Yield what is there by the bytes of a file; `names` are those of its columns.

    Raises:
        ValueError, csv.Error: a line is none of this report.
    """
    places = {name: place for place, name in enumerate(names)}
    flags = [(places[name], wanted) for name, wanted in _FLAGS.items() if name in places]
    times = _Times()
    for columns in _columns_of(_lines(pieces), len(names)):
        for place, wanted in flags:
            here = [flag.lower() == wanted for flag in columns[place]]
            columns = [list(compress(column, here)) for column in columns]
        count = len(columns[0])
        sizes = list(map(int, columns[places["Size"]]))
        if sizes and not 0 <= min(sizes) <= max(sizes) < 2**63:
            raise ValueError("a size that is negative or too large")
        mtimes, etags = [taken_at] * count, [""] * count
        if "LastModifiedDate" in places:
            mtimes = times.of(columns[places["LastModifiedDate"]])
        if "ETag" in places:
            etags = [etag.decode("utf-8", "surrogateescape") for etag in columns[places["ETag"]]]
        yield ReportPage(_decoded(columns[places["Key"]]), sizes, mtimes, etags)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines, many together, without the end of the last.

    Raises:
        ValueError: a line is too long.
    """
    rest = b""
    for piece in pieces:
        lines, end, rest = (rest + piece).rpartition(b"\n")
        if len(rest) > _LONGEST:
            raise ValueError(f"a line of more than {_LONGEST} bytes")
        if end:
            yield lines
    if rest:
        yield rest


def _columns_of(blocks: Iterator[bytes], count: int) -> Iterator[_Columns]:
    """Yield the values of whole lines, as `count` columns.

    Raises:
        ValueError, csv.Error: there is another number of them in a line.
    """
    for block in blocks:
        columns = _quoted(block, count)
        if columns is None:
            yield from _by_csv(chain((block,), blocks), count)
            return
        yield columns


def _quoted(block: bytes, count: int) -> _Columns | None:
    r"""Return the columns of lines in which every value is in quotes, and none holds one.

    Then all quotes are those at both ends, of `","` and of `"\n"`, so that no other reading
    is possible, whatever commas and ends of lines the values hold.
    """
    lines = block.split(b'"\n"')
    between = (count - 1) * len(lines)
    if (
        block.count(b'"') != 2 * (between + len(lines))
        or {line.count(b'","') for line in lines} != {count - 1}
        or not (block[:1] == block[-1:] == b'"')
        or len(block) < 2
    ):
        return None
    values = block[1:-1].replace(b'"\n"', b'","').split(b'","')
    return [values[place::count] for place in range(count)]


def _by_csv(blocks: Iterable[bytes], count: int) -> Iterator[_Columns]:
    texts = (block.decode("utf-8", "surrogateescape") for block in blocks)
    reader = csv.reader(f"{line}\n" for text in texts for line in text.split("\n"))
    while rows := list(islice(reader, _PAGE)):
        if wrong := set(map(len, rows)) - {count}:
            raise ValueError(f"a line of {min(wrong)} columns, not {count}")
        yield [
            [value.encode("utf-8", "surrogateescape") for value in column]
            for column in zip(*rows, strict=True)
        ]


class _Times:
    """Times as HEAD tells them, in whole seconds: remembered by the minute."""

    def __init__(self) -> None:
        self._minutes: dict[bytes, float] = {}
        self._rests: dict[bytes, float] = {}

    def of(self, column: Sequence[bytes]) -> list[float]:
        """Return times in seconds since the epoch.

        Raises:
            ValueError: one is no time.
        """
        with suppress(ValueError):
            self._learn(column)
            minutes, rests = self._minutes, self._rests
            return [minutes[text[:_MINUTE]] + rests[text[_MINUTE:]] for text in column]
        return [datetime.fromisoformat(text.decode()).timestamp() // 1 for text in column]

    def _learn(self, column: Sequence[bytes]) -> None:
        """Remember the minutes and the parts of minutes.

        Raises:
            ValueError: they are not written as S3 writes them.
        """
        for known in (self._minutes, self._rests):
            if len(known) > _MANY:
                known.clear()
        for text in {one[:_MINUTE] for one in column} - self._minutes.keys():
            self._minutes[text] = _seconds(text + b"00Z")
        for text in {one[_MINUTE:] for one in column} - self._rests.keys():
            if text[-1:] != b"Z":
                raise ValueError("not in UTC")
            self._rests[text] = _seconds(b"1970-01-01T00:00:" + text) // 1


def _seconds(text: bytes) -> float:
    return datetime.fromisoformat(text.decode()).timestamp()


def _decoded(keys: Sequence[bytes]) -> list[bytes]:
    """Return keys that were URL-encoded."""
    text = b"\n".join(keys)
    if b"%" not in text and b"+" not in text:
        return list(keys)
    decoded = unquote_to_bytes(text.replace(b"+", b" "))
    if decoded.count(b"\n") == len(keys) - 1:
        return decoded.split(b"\n")
    return [unquote_to_bytes(key.replace(b"+", b" ")) for key in keys]
