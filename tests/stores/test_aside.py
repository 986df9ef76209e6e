"""Keys of what is set aside in a bucket: they say what lies there, and end with no dot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.stores.bucket.listing.aside import Aside, AsideKind, key_of, parse_aside, plain_etag

PATH = ".regfs/runs/one/quarantine/docker/registry/v2/blobs/sha256/00/00/data"
ASIDES = st.builds(
    Aside,
    st.sampled_from(AsideKind),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 33).map(float),
    st.text(max_size=40).map(plain_etag),
    st.text(st.characters(codec="utf-8"), max_size=20),
)


@given(ASIDES)
def test_a_key_says_what_it_was_made_of(aside: Aside) -> None:
    key = key_of(PATH, aside)
    assert parse_aside(key) == (PATH, aside)
    assert not key.endswith(".")  # Azure may drop it


def test_keys_of_before_are_known() -> None:
    aside = Aside(AsideKind.COPY, 2, 3.0, "0" * 32)
    assert parse_aside(key_of(PATH, aside) + ".") == (PATH, aside)


@pytest.mark.parametrize("end", ["..", ".x.", ".=="])
def test_what_somebody_else_put_there_keeps_its_name(end: str) -> None:
    key = key_of(PATH, Aside(AsideKind.COPY, 2, 3.0, "0" * 32))
    assert parse_aside(key + end) is None
