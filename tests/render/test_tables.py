"""Rendering: words for people, JSON for machines, and nothing a terminal would act on."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from regfs.digest import Digest
from regfs.findings import RULES, Code, Finding, Severity
from regfs.render.reports import say
from regfs.render.tables import (
    document,
    plural,
    print_finding,
    printable,
    short,
    table,
    to_json,
    to_json_line,
)
from regfs.units import ago, human_size, rfc3339, utc_time

DIGEST = Digest.parse("sha256:" + "0123456789abcdef" * 4)


def console(**options: Any) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, highlight=False, width=100, **options), file


# -- words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (123_456_789, "123 MB"),
        (10**12, "1 TB"),
        (2**63 - 1, "9.22 EB"),
        (12_345 * 10**18, "12345 EB"),
        (-1, "-1 B"),
        (-1500, "-1.5 kB"),
    ],
)
def test_sizes(size: int, shown: str) -> None:
    assert human_size(size) == shown


@given(st.integers(0, 10**21))
def test_a_size_is_right_to_three_digits(size: int) -> None:
    number, unit = human_size(size).split()
    scale = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
    assert float(number) * scale.get(unit, 10**18) == pytest.approx(size, rel=0.0051)
    assert "e" not in number


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_human_size_is_monotonic(one: int, other: int) -> None:
    units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]

    def key(size: int) -> tuple[int, float]:
        number, unit = human_size(size).split()
        return units.index(unit), float(number)

    assert (one <= other) <= (key(one) <= key(other))


@pytest.mark.parametrize(
    ("size", "beside", "shown"),
    [
        (6_500_000, 6_510_000, "6.50 MB"),
        (350_000, 6_510_000, "0.35 MB"),
        (65_000, 6_510_000, "65.0 kB"),
        (12_700_000, 13_800_000, "12.7 MB"),
        (0, 6_510_000, "0 B"),
        (700, 999, "700 B"),
        (999_600, 999_600, "1.00 MB"),
    ],
)
def test_a_size_beside_another_has_its_unit(size: int, beside: int, shown: str) -> None:
    assert human_size(size, beside) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (86_400, "1 day ago"),
        (59 * 86_400, "59 days ago"),
        (61 * 86_400, "2 months ago"),
        (3 * 366 * 86_400, "3 years ago"),
    ],
)
def test_how_long_ago_something_was(seconds: float, shown: str) -> None:
    assert ago(seconds) == shown


def test_plurals() -> None:
    assert plural(1, "image") == "1 image"
    assert plural(2, "image") == "2 images"
    assert plural(0, "repository", "repositories") == "0 repositories"
    assert plural(1234, "blob") == "1,234 blobs"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_can_be_read_again(when: datetime) -> None:
    text = rfc3339(when)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    assert datetime.fromisoformat(text) == when.replace(microsecond=0)


def test_a_time_in_another_zone_is_written_in_utc() -> None:
    there = timezone(timedelta(hours=-3))
    assert rfc3339(datetime(2026, 11, 23, 22, 0, 0, 999, there)) == "2026-11-24T01:00:00Z"


@given(st.floats(allow_nan=False) | st.integers(-(2**70), 2**70))
def test_any_number_of_seconds_has_a_time(seconds: float) -> None:
    found = utc_time(seconds)
    assert found.tzinfo is UTC
    assert len(rfc3339(found)) == 20


def test_a_digest_is_cut_for_a_table() -> None:
    assert short(DIGEST) == "0123456789ab"
    assert short("no digest") == "no digest"


# -- what a terminal would act on -----------------------------------------------------------

NAMES = [
    ("plain/name:v1", "plain/name:v1"),
    ("caf\u00e9", "caf\u00e9"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
    ("\x07\x00\x7f\x9b", "\\x07\\x00\\x7f\\x9b"),
    ("\u202egnp.exe", "\\u202egnp.exe"),
    ("\u2028", "\\u2028"),
    ("\udcff\udc80", "\\xff\\x80"),
    ("\ud800", "\\ud800"),
    ("\U000e0041", "\\U000e0041"),
]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_names_are_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_text_can_always_be_encoded(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    if text.isprintable():
        assert shown == text


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
def test_tables_and_findings_escape_control_characters(text: str) -> None:
    out, file = console()
    out.print(table(text, ("name", ">size", "=digest", "~rest"), [(text, 1, text, text)]))
    print_finding(out, Finding(Code.FOREIGN_PATH, text, actual=text))
    written = file.getvalue()
    assert "\x1b" not in written
    assert written.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["[bold]x[/bold]", "[/nothing]", "[link=x]y", ":smile:"])
def test_markup_in_a_name_is_printed_as_it_is(name: str) -> None:
    out, file = console()
    out.print(table(name, ("name",), [(name,)]))
    print_finding(out, Finding(Code.FOREIGN_PATH, name))
    assert file.getvalue().count(name) == 3


def test_cells_are_formatted_by_type() -> None:
    out, file = console()
    row = (None, datetime(2026, 11, 23, 13, 44, 54, tzinfo=UTC), DIGEST, 5, "text")
    out.print(table("Title", ("none", "=when", "=digest", ">size", "name"), [row]))
    lines = file.getvalue().splitlines()
    assert lines[0].strip() == "Title"
    assert lines[1].split() == ["none", "when", "digest", "size", "name"]
    assert lines[-1].split() == ["2026-11-23", "13:44:54Z", "0123456789ab", "5", "text"]


def test_a_column_can_be_cut_where_the_terminal_ends() -> None:
    out, file = console()
    out.print(table("", ("name", "~instruction"), [("a", "x" * 500)]))
    assert file.getvalue().rstrip().endswith("\u2026")
    assert max(map(len, file.getvalue().splitlines())) <= 100


def test_a_name_passes_the_edge_and_is_never_cut() -> None:
    out, file = console()
    out.print(table("", ("name",), [("x" * 500,)]), crop=False)
    assert "x" * 500 in file.getvalue()


@pytest.mark.parametrize("code", Code)
def test_a_finding_is_printed_with_message_and_remedy(code: Code) -> None:
    out, file = console()
    print_finding(out, Finding(code, "some/path", expected="one", actual="two"))
    first, words, remedy = file.getvalue().splitlines()
    assert first.split() == [RULES[code].severity.value, code.value, "some/path"]
    assert RULES[code].message in words
    assert "expected one, found two" in words
    assert remedy.strip() == RULES[code].remedy


def test_colours_are_for_terminals() -> None:
    out, file = console(force_terminal=True, color_system="standard")
    print_finding(out, Finding(Code.BLOB_CORRUPT, "p"))
    assert "\x1b[" in file.getvalue()


# -- JSON -----------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: Any


@dataclass(frozen=True, slots=True)
class Report:
    """A report."""

    name: str
    when: datetime
    rows: list[Pair]
    by: dict[Any, Any]


def test_a_report_is_plain_json() -> None:
    finding = Finding(Code.BLOB_CORRUPT, "p", DIGEST, expected=DIGEST)
    report = Report(
        "caf\udce9",
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        [Pair(1, None), Pair(2, DIGEST)],
        {DIGEST: (1, 2.5, True), Severity.ERROR: Severity.INFO, "finding": finding},
    )
    made = json.loads(to_json(report))
    assert made == {
        "name": "caf\udce9",
        "when": "2026-01-02T03:04:05Z",
        "rows": [{"left": 1, "right": None}, {"left": 2, "right": DIGEST}],
        "by": {
            DIGEST: [1, 2.5, True],
            "error": "info",
            "finding": {
                "code": "blob-corrupt",
                "severity": "error",
                "path": "p",
                "digest": DIGEST,
                "repository": None,
                "tag": None,
                "expected": DIGEST,
                "actual": None,
                "message": finding.message,
                "remedy": finding.remedy,
            },
        },
    }
    assert type(document(DIGEST)) is str


def test_json_is_ascii_and_one_line_when_asked() -> None:
    text = to_json_line({"name": "caf\u00e9 \x1b\udcff"})
    assert text.isascii()
    assert "\n" not in text
    assert "\x1b" not in text


_PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)


@given(
    st.recursive(
        _PLAIN.filter(lambda value: value not in (float("inf"), float("-inf"))),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_plain_values_are_unchanged(value: Any) -> None:
    assert document(value) == value
    assert json.loads(to_json(value)) == value


def test_json_has_a_line_for_each_key_and_row() -> None:
    assert to_json({"a": [{"b": 1}, {"b": [2]}], "c": {}, "d": []}) == (
        '{\n  "a": [\n    {"b": 1},\n    {"b": [2]}\n  ],\n  "c": {},\n  "d": []\n}'
    )
    assert to_json([1, "x"]) == '[\n  1,\n  "x"\n]'
    assert (to_json({}), to_json([]), to_json(None)) == ("{}", "[]", "null")


def test_iterables_become_lists() -> None:
    assert document(iter([1, 2])) == [1, 2]
    assert document((1, 2)) == [1, 2]


def test_a_value_without_json_raises() -> None:
    with pytest.raises(TypeError, match="object"):
        document({"a": object()})


# -- sentences ------------------------------------------------------------------------


def said(width: int, text: str, lead: str = "") -> list[str]:
    file = io.StringIO()
    say(Console(file=file, highlight=False, width=width), text, lead=lead)
    return file.getvalue().splitlines()


def test_a_sentence_is_wrapped_between_words_below_its_lead() -> None:
    assert said(30, "3 blobs of 19.4 MB in 2 repositories", "Stays:  ") == [
        "Stays:  3 blobs of 19.4 MB in",
        "        2 repositories",
    ]


def test_no_line_ends_between_a_number_and_its_unit() -> None:
    assert said(23, "all the blobs take 19.4 MB") == ["all the blobs take", "19.4 MB"]


def test_a_word_too_wide_for_its_column_has_a_line_of_its_own() -> None:
    digest = "sha256:" + "0" * 64
    assert said(80, digest, "  digest       ") == ["  digest", f"    {digest}"]
    assert said(60, digest, "  digest       ") == [f"  digest       {digest}"]


@given(st.text(st.characters(exclude_categories=["C", "Z"])), st.integers(20, 200))
def test_a_sentence_keeps_every_word_whole(word: str, width: int) -> None:
    assert "".join(said(width, f"{word} {word}")).count(word or " ") >= (2 if word else 0)
