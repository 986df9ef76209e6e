"""The members of JSON objects, taken apart as a stream."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.members import from_base64, limited, members, unquoted
from regfs.errors import AttestationInvalid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Yield data in pieces, an empty one among them."""
    yield b""
    yield from (data[start : start + size] for start in range(0, len(data), size))


@given(
    st.dictionaries(st.text(), VALUES, max_size=5),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_members_are_those_of_the_whole(
    document: dict[str, Any], size: int, ascii_only: bool, indent: int | None
) -> None:
    data = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(
        "utf-8", "surrogatepass"
    )
    found = [(key, b"".join(value)) for key, value in members(cut(data, size))]
    assert [(key, json.loads(value)) for key, value in found] == list(document.items())
    assert all(value in data for _, value in found)


def test_values_may_be_passed_by() -> None:
    data = b'{"a": [1, {"b": "]}"}], "c": "\\\\", "d": {}}'
    for size in range(1, 12):
        assert [key for key, _ in members(cut(data, size))] == ["a", "c", "d"]


def test_deep_and_long_values_take_no_memory() -> None:
    deep = b'{"a":' + b"[" * 300_000 + b"]" * 300_000 + b',"b":"' + b'\\"' * 300_000 + b'"}'
    sizes = [(key, sum(map(len, value))) for key, value in members(cut(deep, 1 << 16))]
    assert sizes == [("a", 600_000), ("b", 600_002)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends too early"),
        (b"[1]", "not a JSON object"),
        (b'{"a":1', "ends too early"),
        (b'{"a":[1}', "ends too early"),
        (b'{"a":"x', "ends too early"),
        (b'{"a"', "ends too early"),
        (b'{"a" 1}', "key without a value"),
        (b"{1:1}", "key is not a string"),
        (b'{"a":1]', "bracket"),
        (b'{"a":1} x', "something follows"),
        (b'{"\x00":1}', "key cannot be read"),
        (b'{"' + b"k" * 100_000 + b'":1}', "key of more than 65536 bytes"),
    ],
)
def test_what_is_no_object_is_told(data: bytes, words: str) -> None:
    with pytest.raises(AttestationInvalid, match=words):
        for _, value in members(cut(data, 7)):
            b"".join(value)


def test_a_value_over_the_limit_is_not_kept() -> None:
    with pytest.raises(AttestationInvalid, match="its list is larger than 10 bytes"):
        limited([b"12345"] * 3, 10, "its list")


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans())
def test_base64_is_decoded_in_pieces(data: bytes, size: int, urls: bool) -> None:
    written = (urlsafe_b64encode if urls else b64encode)(data)
    value = b'"' + written.replace(b"/", b"\\/") + b'"'
    assert b"".join(from_base64(unquoted(cut(value, size)))) == data


@pytest.mark.parametrize("value", [b"12", b"{}", b'"a b"', b'"abcde"', b'"=abc"'])
def test_what_is_no_base64_is_told(value: bytes) -> None:
    with pytest.raises(AttestationInvalid, match="its payload is not"):
        b"".join(from_base64(unquoted(iter([value]))))
