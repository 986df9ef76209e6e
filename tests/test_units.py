"""Durations, sizes and times: what is one, and how each is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.units import rfc3339, seconds_of, utc_time, written


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1.5, "1.5s"),
        (90, "1m30s"),
        (3600, "1h"),
        (129_600, "1d12h"),
        (31_536_000, "365d"),
    ],
)
def test_a_duration_is_written_in_its_largest_units(seconds: float, text: str) -> None:
    assert written(seconds) == text


@given(st.integers(0, 10**12))
def test_what_is_written_is_read_again(seconds: int) -> None:
    assert seconds_of(written(seconds)) == seconds


def test_a_duration_that_cannot_be_counted_is_none() -> None:
    assert seconds_of("9" * 400 + "y") is None
    assert seconds_of("30 days") is None
    assert seconds_of("0") == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1.999, "1970-01-01T00:00:01Z"),
        (float("inf"), "9999-12-31T23:59:59Z"),
        (-1e300, "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_written_in_utc_and_never_fails(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == rfc3339(utc_time(seconds)) == text


def test_a_time_is_written_to_the_millisecond_on_request() -> None:
    assert rfc3339(1.5, "milliseconds") == "1970-01-01T00:00:01.500Z"
