"""Layers from the inside: how they are packed, what unpacks, and which tars are well formed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import tarfile
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regfs.content.layers import (
    Packing,
    is_filesystem,
    open_layer,
    packing_of,
)
from regfs.content.tar import TarCheck
from regfs.digest import BUFFER_SIZE
from regfs.errors import LayerInvalid
from regfs.stores.archive.fields import BLOCK, EXTENDED_LIMIT
from tests.support.images import tar
from tests.support.packings import PACKINGS, SKIPPABLE, zstd
from tests.support.tars import END, base256, header, octal

SMALL = tar({"etc/": None, "etc/hello": b"x" * 700, "empty": b""})


def unpacked(data: bytes) -> bytes:
    reader = open_layer(io.BytesIO(data))
    return b"".join(iter(lambda: reader.read(BUFFER_SIZE), b""))


def count(data: bytes, piece: int = BUFFER_SIZE) -> int:
    """Return the number of entries of a tar that is fed in pieces of that size."""
    check = TarCheck()
    for start in range(0, len(data), piece):
        check.feed(data[start : start + piece])
    check.finish()
    return check.entries


# -- media types -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "packing"),
    [
        ("application/vnd.oci.image.layer.v1.tar", Packing.TAR),
        ("application/vnd.oci.image.layer.v1.tar+gzip", Packing.GZIP),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Packing.ZSTD),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Packing.GZIP),
        ("application/vnd.docker.image.rootfs.diff.tar", Packing.TAR),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Packing.GZIP),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Packing.ZSTD),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Packing.GZIP),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", None),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", None),
        ("application/vnd.in-toto+json", None),
        ("application/vnd.wasm.content.layer.v1+wasm", None),
        ("", None),
    ],
)
def test_a_media_type_tells_how_a_layer_is_packed(media_type: str, packing: Packing | None) -> None:
    assert packing_of(media_type) is packing


def test_an_encrypted_layer_is_a_part_of_a_filesystem() -> None:
    assert is_filesystem("application/vnd.oci.image.layer.v1.tar+zstd+encrypted")
    assert not is_filesystem("application/vnd.in-toto+json")


# -- unpacking -------------------------------------------------------------------------


@given(st.binary(max_size=3 * BUFFER_SIZE), st.sampled_from(sorted(PACKINGS)))
def test_what_was_packed_comes_out(data: bytes, way: str) -> None:
    data = b"t" + data  # what begins like a packed file is one
    assert unpacked(PACKINGS[way](data)) == data


@pytest.mark.parametrize("way", PACKINGS)
def test_the_data_tells_how_it_is_packed(way: str) -> None:
    assert open_layer(io.BytesIO(PACKINGS[way](SMALL))).packing.value == re.split("[ :,]", way)[0]


def test_isal_and_zlib_unpack_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PACKINGS["gzip of many members"](SMALL)
    with_isal = unpacked(packed)
    monkeypatch.setitem(sys.modules, "isal", None)
    assert unpacked(packed) == with_isal == SMALL


def test_an_empty_layer_is_a_tar_of_nothing() -> None:
    assert unpacked(b"") == b""
    assert count(b"") == 0


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-1],
    "with garbage behind": lambda data: data + b"garbage",
    "flipped": lambda data: data[:40] + bytes([data[40] ^ 0x10]) + data[41:],
}


@pytest.mark.parametrize("isal", [True, False])
@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_gzip_is_told(damage: str, isal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not isal:
        monkeypatch.setitem(sys.modules, "isal", None)
    with pytest.raises(LayerInvalid, match=r"^gzip: "):
        unpacked(BROKEN[damage](gzip.compress(SMALL)))


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_zstd_is_told(damage: str) -> None:
    with pytest.raises(LayerInvalid, match=r"^zstd: "):
        unpacked(BROKEN[damage](zstd(SMALL)))


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_what_no_registry_knows_is_named(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(LayerInvalid, match=r"bzip2|xz"):
        unpacked(pack(SMALL))


def test_a_skippable_frame_may_come_first() -> None:
    assert unpacked(SKIPPABLE + zstd(SMALL)) == SMALL


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_bomb_takes_no_memory(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(bytes(100 << 20))
    tracemalloc.start()
    try:
        reader = open_layer(io.BytesIO(packed))
        size = sum(len(piece) for piece in iter(lambda: reader.read(BUFFER_SIZE), b""))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 100 << 20
    assert peak < 8 << 20


# -- well-formed tars ------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300).filter(
    lambda name: "\0" not in name
)
TYPES = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@st.composite
def tars(draw: st.DrawFn) -> tuple[bytes, int]:
    """Draw a tar, and the number of its entries."""
    buffer = io.BytesIO()
    kind = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    entries = draw(st.lists(st.tuples(NAMES, TYPES, st.binary(max_size=2000)), max_size=8))
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, type_, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type = type_
            entry.mtime = draw(st.integers(0, 2**33) | st.floats(0, 2**33, allow_nan=False))
            entry.linkname = draw(NAMES) if type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            entry.size = len(data) if type_ == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue(), len(entries)


@given(tars(), st.integers(1, 3000))
def test_every_tar_is_well_formed_however_it_is_cut(made: tuple[bytes, int], piece: int) -> None:
    data, entries = made
    assert count(data, piece) == entries


@given(tars(), st.integers(1, BLOCK - 1))
def test_a_tar_that_is_cut_off_in_a_header_is_told(made: tuple[bytes, int], length: int) -> None:
    whole, entries = made
    assume(entries)
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
        last = archive.getmembers()[-1]
    with pytest.raises(LayerInvalid, match="truncated"):
        count(whole[: last.offset + length])


@given(st.integers(1, 2000), st.integers(0, 1999))
def test_a_tar_that_is_cut_off_in_a_file_is_told(size: int, length: int) -> None:
    assume(length < size)
    with pytest.raises(LayerInvalid, match="truncated"):
        count(tar({"file": b"x" * size})[: BLOCK + length])


@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_header_with_any_byte_changed_is_told(place: int, change: int) -> None:
    data = bytearray(tar({"file": b""}))
    data[place] ^= change
    text = bytes(data[148:156]).strip(b" \0")
    if 148 <= place < 156 and text.isdigit() and int(text, 8) == 0o0:
        return
    try:
        again = tarfile.TarInfo.frombuf(bytes(data[:BLOCK]), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeError):
        with pytest.raises(LayerInvalid):
            count(bytes(data))
    else:
        assert again.chksum  # the change is in the filling of the checksum's own field
        assert count(bytes(data)) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0" * BLOCK + header(), "single block of zeros"),
        (b"no tar at all".ljust(BLOCK), "not a tar"),
        (header(size=b"00000000009\0"), "size that is not a number"),
        (header(size=b"-0000000001\0"), "size that is not a number"),
        (header(size=base256(-1)), "negative or too large"),
        (header(size=base256(2**63)), "negative or too large"),
        (header(size=base256(2**62)), "truncated"),
        (header(size=octal(8**11 - 1)), "truncated"),
        (header(kind=b"x", size=octal(EXTENDED_LIMIT + 1)), "extended header of 1048577 bytes"),
        (header(kind=b"L", size=base256(5 << 30)), "extended header of 5368709120 bytes"),
        (header(kind=b"g", size=octal(9)), "truncated"),
        (header(kind=b"x", size=octal(5)) + b"hello".ljust(BLOCK, b"\0"), "pax header"),
        (header(kind=b"x", size=octal(9)) + b"99 a=bcd\n".ljust(BLOCK, b"\0"), "pax header"),
        (header(kind=b"x", size=octal(11)) + b"11 size=-1\n".ljust(BLOCK, b"\0"), "pax size"),
        (header()[:100], "truncated"),
    ],
)  # fmt: skip
def test_hostile_headers_are_told_and_cost_nothing(data: bytes, reason: str) -> None:
    with pytest.raises(LayerInvalid, match=reason):
        count(data)


def test_a_pax_header_gives_the_size_of_what_follows() -> None:
    pax = header(kind=b"x", size=octal(12)) + b"12 size=600\n".ljust(BLOCK, b"\0")
    data = b"d" * 600 + bytes(BLOCK * 2 - 600)
    assert count(pax + header(size=octal(0)) + data + header("next") + END) == 2


def test_links_and_folders_have_no_data_whatever_they_claim() -> None:
    kinds = [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert count(b"".join(header(kind=kind, size=octal(999)) for kind in kinds) + END) == 6


def test_a_sparse_file_has_further_headers() -> None:
    first = bytearray(header(kind=b"S", size=octal(600)))
    first[482], first[148:156] = 1, b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    more = b"\1" * 504 + b"\1" + bytes(7)
    last = b"\1" * 504 + bytes(8)
    data = bytes(first) + more + last + b"d" * 600 + bytes(BLOCK * 2 - 600)
    assert count(data + header("next") + END) == 2
    with pytest.raises(LayerInvalid, match="truncated"):
        count(bytes(first) + more)


def test_old_checksums_of_signed_bytes_are_right() -> None:
    block = bytearray(header("f\xe9\xe9"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)
    assert count(bytes(block)) == 1


def test_what_follows_the_end_is_not_looked_at() -> None:
    assert count(SMALL + b"anything" * 1000) == 3


def test_the_end_marker_and_the_last_filling_may_be_missing() -> None:
    assert count(header(size=octal(5)) + b"hello") == 1
    assert count(header(size=octal(5)) + b"hello".ljust(BLOCK, b"\0")) == 1


def test_very_many_entries_take_no_memory() -> None:
    piece = header() * 1000
    check = TarCheck()
    tracemalloc.start()
    try:
        for _ in range(50):
            check.feed(piece)
        check.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert check.entries == 50_000
    assert peak < 1 << 20
