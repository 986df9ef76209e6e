"""Durations: what is one, and how one is written so that it is read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.units import seconds_of, written


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
