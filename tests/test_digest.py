"""Digests: what is one, computing them, and readers that insist on them."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import (
    ALGORITHMS,
    BUFFER_SIZE,
    Digest,
    Hasher,
    VerifiedReader,
    digests_in,
    hash_stream,
)
from regfs.errors import AlgorithmUnsupported, ContentMismatch, DigestInvalid
from tests.support import strategies

HEX = "ab" * 32
D = Digest.parse(f"sha256:{HEX}")

# Parsing


@given(strategies.digests())
def test_a_digest_is_a_text_of_two_parts(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest
    assert f"{digest.algorithm}:{digest.encoded}" == digest
    assert digest.encoded.startswith(digest.short)
    assert digest.short.startswith(digest.prefix)
    assert (len(digest.prefix), len(digest.short)) == (2, 12)
    assert len(digest.encoded) == ALGORITHMS[digest.algorithm]
    assert repr(digest) == f"Digest('{digest.algorithm}:{digest.encoded}')"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        HEX,
        "sha256",
        "sha256:",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-1]}\u0661",
        f"sha512:{HEX}",
        f"sha256:{HEX * 2}",
        "sha256:../../etc",
        "\udcff",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert not isinstance(caught.value, AlgorithmUnsupported)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [f"md5:{'a' * 32}", f"blake3:{HEX}", "tarsum.v1+sha256:abc=", f"sha256+b64:{'Q' * 43}="]
)
def test_other_algorithms_are_told_from_nonsense(text: str) -> None:
    with pytest.raises(AlgorithmUnsupported, match="unsupported digest algorithm"):
        Digest.parse(text)


def test_an_error_about_a_long_text_is_short() -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse("x" * 100_000)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("unit", ["a", "a.", "a+", "a_a-", ":"])
def test_hostile_length_does_not_hang(unit: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(unit * 50_000 + "!")


# Finding


@given(st.lists(strategies.digests()))
def test_every_digest_in_a_text_is_found_once_in_order(digests: list[Digest]) -> None:
    text = " ".join(f'"x@{digest}",' for digest in [*digests, *digests])
    assert digests_in(text.encode()) == list(dict.fromkeys(digests))


def test_what_only_looks_like_a_digest_is_not_found() -> None:
    near = [f"xsha256:{HEX}", f"sha256:{HEX}a", f"sha256:{HEX[:-1]}", f"sha256:{HEX.upper()}"]
    assert digests_in("|".join(near).encode()) == []
    assert digests_in(b"\xff\0" + D.encode() + b"\xff") == [D]
    assert type(digests_in(D.encode())[0]) is Digest


# Computing


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_digest_of_bytes_is_that_of_the_standard_library(algorithm: str) -> None:
    digest = Digest.of(b"regfs", algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, b'regfs').hexdigest()}"
    assert Digest.parse(digest) == digest
    assert Digest.of(b"") == f"sha256:{hashlib.sha256().hexdigest()}"


@given(st.lists(st.binary(max_size=50)), st.sampled_from([*ALGORITHMS]))
def test_a_hasher_takes_bytes_piece_by_piece(pieces: list[bytes], algorithm: str) -> None:
    hasher = Hasher(algorithm)
    for piece in pieces:
        hasher.update(memoryview(piece))
    assert hasher.digest() == Digest.of(b"".join(pieces), algorithm)
    assert hasher.size == sum(map(len, pieces))


def test_a_hasher_of_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(AlgorithmUnsupported):
        Hasher("md5")


@pytest.mark.parametrize("size", [0, 1, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1])
def test_a_stream_is_hashed_to_its_end_in_each_algorithm(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    advanced: list[int] = []
    digests, length = hash_stream(io.BytesIO(data), ALGORITHMS, advanced.append)
    assert digests == [Digest.of(data, algorithm) for algorithm in ALGORITHMS]
    assert length == sum(advanced) == size
    assert hash_stream(io.BytesIO(data)) == ([Digest.of(data)], size)


# Verified reading


@given(st.binary(max_size=300), st.integers(1, 64), st.sampled_from([*ALGORITHMS]))
def test_a_verified_reader_gives_the_bytes(data: bytes, step: int, algorithm: str) -> None:
    reader = VerifiedReader(io.BytesIO(data), Digest.of(data, algorithm))
    assert b"".join(iter(lambda: reader.read(step), b"")) == data
    assert reader.read() == b""


def test_a_verified_reader_reads_all_at_once() -> None:
    data = b"x" * (2 * BUFFER_SIZE + 7)
    assert VerifiedReader(io.BytesIO(data), Digest.of(data)).read() == data


@given(st.binary(max_size=100), st.integers(1, 40))
def test_a_verified_reader_never_ends_well_on_other_bytes(data: bytes, step: int) -> None:
    reader = VerifiedReader(io.BytesIO(data), D, "here")
    with pytest.raises(ContentMismatch, match=rf"^here: .*expected {D}, found .*{len(data)} bytes"):
        while reader.read(step):
            pass
    with pytest.raises(ContentMismatch):
        reader.read(step)


def test_a_verified_reader_that_reads_all_refuses_other_bytes() -> None:
    with pytest.raises(ContentMismatch, match=f"^{D}: "):
        VerifiedReader(io.BytesIO(b"other"), D).read()


def test_reading_nothing_is_not_the_end() -> None:
    reader = VerifiedReader(io.BytesIO(b"other"), D)
    assert reader.read(0) == b""
    assert reader.read(5) == b"other"
    assert reader.read(0) == b""
