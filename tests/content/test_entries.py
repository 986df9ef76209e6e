"""What the headers of tars say, compared with Python's tarfile and with GNU tar."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.entries import EntryKind, EntryWalk, TarEntry, cleaned, read_entries
from regfs.content.file_data import FileReader
from regfs.errors import LayerInvalid
from regfs.stores.archive.fields import BLOCK
from tests.support.tars import (
    END,
    Entry,
    base256,
    entry,
    folder,
    hardlink,
    header,
    octal,
    symlink,
    tar_of,
)

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
_KINDS = {
    tarfile.REGTYPE: EntryKind.FILE,
    tarfile.AREGTYPE: EntryKind.FILE,
    tarfile.DIRTYPE: EntryKind.FOLDER,
    tarfile.SYMTYPE: EntryKind.SYMLINK,
    tarfile.LNKTYPE: EntryKind.HARDLINK,
    tarfile.CHRTYPE: EntryKind.CHARACTER,
    tarfile.BLKTYPE: EntryKind.BLOCK,
    tarfile.FIFOTYPE: EntryKind.FIFO,
}


def entries_of(data: bytes) -> list[TarEntry]:
    return list(read_entries(io.BytesIO(data)))


def told_by_tarfile(data: bytes) -> list[tuple[object, ...]]:
    """Return what tarfile says of each entry, as regfs would."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return [
            (
                cleaned(one.name)[0],
                _KINDS[one.type],
                one.mode & 0o7777,
                one.uid,
                one.gid,
                one.uname,
                one.gname,
                one.size if one.isreg() else 0,
                float(one.mtime),
                (one.linkname if one.issym() else cleaned(one.linkname)[0])
                if one.islnk() or one.issym()
                else "",
                (one.devmajor, one.devminor) if one.isdev() and not one.isfifo() else None,
            )
            for one in archive
        ]


def content_at(data: bytes, position: int) -> bytes:
    return FileReader(io.BytesIO(data[position:])).read()


NAME = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=120
).filter(lambda name: name.strip(" ") == name and name not in (".", ".."))
PATHS = st.lists(NAME, min_size=1, max_size=3).map("/".join)
TYPES = st.sampled_from([one for one in _KINDS if one != tarfile.AREGTYPE])


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    entries: list[Entry] = []
    for _ in range(draw(st.integers(0, 6))):
        type_ = draw(TYPES)
        data = draw(st.binary(max_size=1500)) if type_ == tarfile.REGTYPE else b""
        linked = type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE)
        entries.append(
            entry(
                draw(PATHS),
                data,
                type=type_,
                mode=draw(st.integers(0, 0o7777)),
                uid=draw(st.integers(0, 2**33)),
                gid=draw(st.integers(0, 2**33)),
                uname=draw(st.text("abz-é", max_size=12)),
                gname=draw(st.text("abz-é", max_size=12)),
                mtime=draw(st.integers(-(2**33), 2**35)),
                linkname=draw(PATHS) if linked else "",
                devmajor=draw(st.integers(0, 2**20)),
                devminor=draw(st.integers(0, 2**20)),
            )
        )
    return tar_of(entries, kind)


@given(archives())
def test_every_entry_is_read_as_tarfile_reads_it(data: bytes) -> None:
    found = entries_of(data)
    assert [one[:11] for one in found] == told_by_tarfile(data)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for one, other in zip(found, archive.getmembers(), strict=True):
            if one.kind is EntryKind.FILE:
                stream = archive.extractfile(other)
                assert stream is not None
                assert content_at(data, one.position) == stream.read()


@pytest.mark.parametrize("kind", FORMATS)
def test_paths_of_every_format(kind: str) -> None:
    long = "d" * 100 + "/" + "e" * 50
    data = tar_of([folder("./"), entry(f"./{long}", b"x"), entry("/abs//x/", b"")], FORMATS[kind])
    assert [one.path for one in entries_of(data)] == ["", long, "abs/x"]


def test_names_that_are_not_utf8_come_back() -> None:
    (one,) = entries_of(header("caf\udce9") + END)
    assert os.fsencode(one.path) == b"caf\xe9"


def test_extended_attributes_are_bytes() -> None:
    value = b"\x01\0\0\x02=\n\xff" + bytes(12)
    record = b"SCHILY.xattr.security.capability=" + value + b"\n"
    length = len(record) + 3
    record = b"%d " % length + record
    pax = header(kind=b"x", size=octal(len(record)))
    (one,) = entries_of(
        pax + record.ljust(-(-len(record) // BLOCK) * BLOCK, b"\0") + header() + END
    )
    assert one.xattrs == {"security.capability": value}
    assert one.position == 0


@pytest.mark.parametrize(
    ("path", "plain", "outside"),
    [
        ("a/b", "a/b", False),
        ("./", "", False),
        ("/", "", False),
        ("a/./b//c/", "a/b/c", False),
        (".wh.a", ".wh.a", False),
        ("a/..", "", False),
        ("a/../../b", "b", True),
        ("..", "", True),
        ("...", "...", False),
    ],
)
def test_paths_are_made_plain(path: str, plain: str, outside: bool) -> None:
    assert cleaned(path) == (plain, outside)


def test_numbers_too_large_for_octal_digits() -> None:
    block = bytearray(header(size=base256(5 << 40)))
    (one,) = [found for found in EntryWalk().read(bytes(block))]
    assert one.size == 5 << 40


@pytest.mark.parametrize(
    ("place", "field"), [(108, b"zzzzzzz\0"), (136, b"not a time\0\0"), (100, b"-000755\0")]
)
def test_numbers_that_are_none_are_told(place: int, field: bytes) -> None:
    block = bytearray(header())
    block[place : place + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(LayerInvalid, match="not a number"):
        entries_of(bytes(block) + END)


@pytest.mark.parametrize(
    "record", [b"mtime=nan", b"mtime=1e999", b"uid=-1", b"path=a\0b", b"gid=x"]
)
def test_pax_records_that_clients_refuse_are_told(record: bytes) -> None:
    text = b"%d %s\n" % (len(record) + 4, record)
    pax = header(kind=b"x", size=octal(len(text))) + text.ljust(BLOCK, b"\0")
    with pytest.raises(LayerInvalid, match="pax"):
        entries_of(pax + header() + END)


def test_what_is_odd_is_counted() -> None:
    walk = EntryWalk()
    data = tar_of([entry("../a"), entry("b/../../c"), entry("x" * 300), hardlink("h", "../../y")])
    list(walk.read(data))
    assert walk.odd == {
        "with a path that leads out of the root": (2, "../a"),
        "with a name too long for any file system": (1, "x" * 300),
        "that are hard links out of the root": (1, "h"),
    }


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        *(["--format=posix", f"--sparse-version={one}"] for one in ("0.0", "0.1", "1.0")),
    ],
)
def test_sparse_files_of_gnu_tar_are_whole(options: list[str], tmp_path: Path) -> None:
    """Files with many holes, with one at the end, and with nothing else."""
    wanted = {}
    for name, pieces, size in [
        ("many", {at << 17: b"%d" % at * 700 for at in range(40)}, 6 << 20),
        ("end", {0: b"begin"}, 3 << 20),
        ("all", {}, 1 << 20),
        ("none", {0: b"plain"}, 5),
    ]:
        with open(tmp_path / name, "wb") as stream:
            stream.truncate(size)
            for offset, data in pieces.items():
                stream.seek(offset)
                stream.write(data)
        wanted[name] = (tmp_path / name).read_bytes()
    command = ["tar", "-S", *options, "-C", str(tmp_path), "-cf", "-", *wanted]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(data) < 1 << 20
    found = entries_of(data)
    assert {one.path: one.size for one in found} == {k: len(v) for k, v in wanted.items()}
    for one in found:
        assert content_at(data, one.position) == wanted[one.path]


def _sparse(size: int, segments: list[tuple[int, int]], stored: int) -> bytes:
    block = bytearray(header(kind=b"S", size=octal(stored)))
    fields = b"".join(octal(offset) + octal(length) for offset, length in segments)
    block[386 : 386 + len(fields)], block[483:495] = fields, base256(size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("segments", "stored"),
    [([(0, 5), (3, 5)], 10), ([(90, 20)], 20), ([(0, 5)], 6), ([(8, 1), (0, 1)], 2)],
)
def test_a_map_that_does_not_fit_its_file_is_told(
    segments: list[tuple[int, int]], stored: int
) -> None:
    with pytest.raises(LayerInvalid, match="sparse"):
        content_at(_sparse(100, segments, stored) + bytes(BLOCK), 0)


def test_a_file_that_claims_a_terabyte_of_zeros_takes_no_memory() -> None:
    data = _sparse(1 << 40, [(0, 5)], 5).ljust(BLOCK) + b"begin".ljust(BLOCK, b"\0") + END
    (one,) = entries_of(data)
    assert one.size == 1 << 40
    tracemalloc.start()
    try:
        stream = FileReader(io.BytesIO(data))
        begin = b"".join(stream.read(1 << 20) for _ in range(20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert begin.rstrip(b"\0") == b"begin"
    assert stream.holes == (1 << 40) - 5
    assert peak < 16 << 20


def test_a_file_that_ends_early_is_told() -> None:
    data = tar_of([entry("a", b"x" * 5000)])[: BLOCK + 1000]
    with pytest.raises(LayerInvalid, match="ends within a file"):
        content_at(data, 0)


def test_what_is_no_file_has_no_content() -> None:
    with pytest.raises(LayerInvalid, match="not a file"):
        content_at(tar_of([symlink("a", "b")]), 0)
