"""Lines of a report are read at once or by csv, and are the same."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.stores.bucket.listing import report_lines
from regfs.stores.bucket.listing.report_lines import ReportPage, pages_of

NAMES = ("Key", "Size", "LastModifiedDate", "ETag")
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))
KEYS = st.text('ab%+/",\n\r\\', min_size=1, max_size=6) | st.sampled_from(["a/b", "a%2Fb", "x+y"])
ROWS = st.lists(
    st.tuples(
        KEYS,
        st.integers(0, 99).map(str),
        st.one_of(
            TIMES.map(lambda time: time.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
            TIMES.map(lambda time: time.isoformat()),
        ),
        st.sampled_from(["d41d8cd98f00b204e9800998ecf8427e-2", "", '"x"', "d" * 32]),
    ),
    max_size=12,
)


def text_of(rows: list[tuple[str, ...]], quoting: int) -> bytes:
    """Return a CSV file."""

    def value(text: str) -> str:
        plain = quoting == csv.QUOTE_MINIMAL and not {'"', ",", "\n", "\r"} & {*text}
        return text if plain else '"' + text.replace('"', '""') + '"'

    return "".join(",".join(map(value, row)) + "\n" for row in rows).encode()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(data: bytes, size: int) -> ReportPage | str:
    """Return all pages as one, or that it cannot be read."""
    try:
        pages = list(pages_of(pieces(data, size), NAMES, 0.0))
    except (ValueError, csv.Error):
        return "not a file of this report"
    keys, sizes, mtimes, etags = ReportPage([], [], [], [])
    for page in pages:
        keys += page.keys
        sizes += page.sizes
        mtimes += page.mtimes
        etags += page.etags
    return ReportPage(keys, sizes, mtimes, etags)


@given(
    rows=ROWS,
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    size=st.sampled_from([1, 7, 50, 1000]),
)
def test_what_is_cut_at_once_is_what_csv_reads(
    rows: list[tuple[str, ...]], quoting: int, size: int
) -> None:
    data = text_of(rows, quoting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_lines, "_quoted", lambda block, count: None)
        wanted = read(data, size)
    assert read(data, size) == wanted


@pytest.mark.parametrize(
    "line",
    [
        b'"a","1"\n"b","2","3","4","5","6"\n',  # as many values as two right lines have
        b'"a\n","1","2026-11-28T01:00:00Z","e"\n"b","2"\n',
        b'"a","-1","2026-11-28","e"\n',
        b'"a","1","1\n',
        b'"',
        b"\n",
    ],
)
def test_what_is_no_line_of_the_report_is_refused(line: bytes) -> None:
    assert read(line, 1000) == "not a file of this report"


def test_times_are_in_whole_seconds() -> None:
    data = b'"a","1","2026-11-28T01:02:03.999Z","e"\n"b","1","2026-11-28T03:02:03+02:00","e"\n'
    page = read(data, 1000)
    assert isinstance(page, ReportPage)
    wanted = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC).timestamp()
    assert page.mtimes == [wanted, wanted]
