"""Archives that are damaged or hostile: findings or one line, in bounded memory."""

from __future__ import annotations

import errno
import io
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import NotARegistry, PathMissing, PathUnsafe, RegfsError, StoreError
from regfs.findings import Code, Finding
from regfs.stores import FileKind, Store, open_store
from regfs.stores.archive.headers import ArchiveDamaged, entries
from regfs.stores.archive.unpacking import PlainStream
from tests.support.archives import FORMS, compressed, opened, packed, standard_input, tar_of
from tests.support.builder import TreeBuilder
from tests.support.nobody import public_folder, run_as_nobody

V2 = "docker/registry/v2"
BLOB = f"{V2}/blobs/sha256/ab/{'ab' * 32}/data"


def findings(store: Store) -> list[tuple[Code, str]]:
    """Return what walking a store reports, each once, and what is wrong with the whole."""
    found: list[Finding] = []
    list(store.walk("", found.append))
    walked = {(one.code, one.path) for one in found}
    listed: list[Finding] = []
    list(store.tree("docker", listed.append))
    assert {(one.code, one.path) for one in listed} == walked
    return sorted(walked)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_read_is_found(tmp_path: Path, form: str) -> None:
    store = opened(
        tar_of(
            [
                (f"{V2}/blobs/fifo", {"type": tarfile.FIFOTYPE}),
                (f"{V2}/blobs/device", {"type": tarfile.CHRTYPE, "devmajor": 1}),
                (f"{V2}/blobs/outside", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
                (f"{V2}/blobs/above", {"type": tarfile.SYMTYPE, "linkname": "../" * 9 + "etc"}),
                (f"{V2}/blobs/inside", {"type": tarfile.SYMTYPE, "linkname": "../blobs"}),
                (f"{V2}/blobs/lost", {"type": tarfile.LNKTYPE, "linkname": "etc/passwd"}),
                (f"{V2}/blobs/self", {"type": tarfile.LNKTYPE, "linkname": f"{V2}/blobs/self"}),
                (f"{V2}/blobs/both", b"file"),
                (f"{V2}/blobs/both/data", b"below"),
                (f"{V2}/blobs/twice", b"first"),
                (f"{V2}/blobs/twice", b"last"),
                (f"{V2}/../../../etc/passwd", b"out"),
                (f"{V2}/blobs/" + "n" * 5000, b"long"),
                (f"/{V2}/blobs/absolute", b"1"),
            ]
        ),
        form,
        tmp_path,
    )
    found = findings(store)
    place = f"{V2}/blobs"
    assert [pair for pair in found if pair[1].startswith(place) and len(pair[1]) < 99] == [
        (Code.ENTRY_DUPLICATE, f"{place}/twice"),
        (Code.PATH_UNREADABLE, f"{place}/both"),
        (Code.PATH_UNREADABLE, f"{place}/lost"),
        (Code.PATH_UNREADABLE, f"{place}/self"),
        (Code.SPECIAL_FILE, f"{place}/device"),
        (Code.SPECIAL_FILE, f"{place}/fifo"),
        (Code.SYMLINK_LOOP, f"{place}/inside"),
        (Code.SYMLINK_OUTSIDE, f"{place}/above"),
        (Code.SYMLINK_OUTSIDE, f"{place}/outside"),
    ]
    assert f"{V2}/../../../etc/passwd" in {one.path for one in store.problems}
    assert len(store.problems) == 2
    assert store.read(f"{place}/twice", 9) == b"last"
    assert store.read(f"{place}/both/data", 9) == b"below"
    assert store.read(f"{place}/absolute", 9) == b"1"
    for name in ("fifo", "outside", "inside", "lost", "self"):
        assert store.stat(f"{place}/{name}").kind in (FileKind.LINK, FileKind.SPECIAL)
        with pytest.raises(PathUnsafe):
            store.open(f"{place}/{name}")
    with pytest.raises(PathUnsafe, match="is not followed"):
        store.read(f"{place}/inside/twice", 1)
    told: list[Finding] = []
    assert store.list(f"{place}/inside", told.append) == []
    assert [one.code for one in told] == [Code.SYMLINK_LOOP]


@pytest.mark.parametrize("form", FORMS)
def test_a_second_name_of_a_file_has_its_content(tmp_path: Path, form: str) -> None:
    link = {"type": tarfile.LNKTYPE, "linkname": f"./{V2}/blobs/b"}
    again = {"type": tarfile.LNKTYPE, "linkname": f"./{V2}/blobs/a"}
    members: list[Any] = [
        (f"./{V2}/blobs/a", link),
        (f"./{V2}/blobs/b", b"content"),
        (f"./{V2}/blobs/c", again),
    ]
    store = opened(tar_of(members), form, tmp_path)
    for name in "abc":
        assert store.stat(f"{V2}/blobs/{name}").size == 7
        assert store.read(f"{V2}/blobs/{name}", 99) == b"content"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_a_sparse_file_is_listed_whole_and_not_read(tmp_path: Path, form: str, kind: str) -> None:
    root = tmp_path / "root"
    (root / V2).mkdir(parents=True)
    with open(root / V2 / "sparse", "wb") as file:
        for place in range(0, 10 << 20, 1 << 20):  # more parts than the header of GNU holds
            file.seek(place)
            file.write(b"x")
    (root / V2 / "then").write_bytes(b"1")
    made = tmp_path / "made.tar"
    subprocess.run(["tar", "-S", f"--format={kind}", "-C", root, "-cf", made, "docker"], check=True)
    assert made.stat().st_size < 1 << 20
    store = opened(made.read_bytes(), form, tmp_path)
    assert store.stat(f"{V2}/sparse").size == (9 << 20) + 1
    assert store.read(f"{V2}/then", 9) == b"1"
    with pytest.raises(StoreError, match="a sparse file in an archive"):
        store.read(f"{V2}/sparse", 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_what_is_cut_off_is_said_and_never_silent(
    tmp_path: Path, tree: TreeBuilder, form: str, cut: float, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1")
    whole = packed(tree.root)
    data = compressed(whole[: int(len(whole.rstrip(b"\0")) * cut)], form)
    for command in (["ls"], ["verify"], ["du"]):
        file = tmp_path / f"cut.{form}"
        file.write_bytes(data)
        with standard_input(data if form == "stdin" else b""):
            code = run(["-r", "-" if form == "stdin" else str(file), *command])
        captured = capsys.readouterr()
        assert code in (Exit.FINDINGS.value, Exit.NOT_FOUND.value)
        assert "cut off" in captured.err + captured.out
    with standard_input(data):
        assert run(["-r", "-" if form == "stdin" else str(file), "gc", "plan"]) != 0


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = tar_of([(f"{V2}/blobs/a", b"1" * 700), (f"{V2}/blobs/b", b"2" * 100)]).rstrip(b"\0")
    for length in range(1, len(whole) + 700, 13):
        data = whole[:length].ljust(length, b"\0")
        for form in ("tar", "stdin"):
            try:
                store = opened(data, form, tmp_path)
            except NotARegistry:
                assert length < 512
                continue
            assert [one.code for one in store.problems] == [Code.ARCHIVE_TRUNCATED]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_damaged_bytes_are_findings_or_one_line(memory: Path, data: st.DataObject) -> None:
    whole = bytearray(
        tar_of(
            [
                (f"{V2}/blobs/a", b"1" * 700),
                (f"{V2}/blobs/" + "n" * 200, b"2"),
                (f"{V2}/blobs/c", {"type": tarfile.SYMTYPE, "linkname": "x" * 300}),
            ]
        )
    )
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    form = data.draw(st.sampled_from(FORMS))
    try:
        store = opened(bytes(whole), form, memory)
    except RegfsError as error:
        assert "\n" not in str(error)
        return
    for path in [entry.path for entry in store.walk("", lambda finding: None)]:
        try:
            store.read(path, 10)
        except StoreError as error:
            assert "\n" not in str(error)


@settings(max_examples=150)
@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_no_more_than_damaged(data: bytes, right: bool) -> None:
    block = bytearray(data.ljust(512, b"\0")[:512])
    if right:
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
    stream = PlainStream(io.BytesIO(bytes(block) + data), lambda amount: None)
    try:
        assert len(list(entries(stream))) < 10
    except ArchiveDamaged as error:
        assert "at byte" in str(error) or "decompressed" in str(error)


@pytest.mark.parametrize(
    ("kind", "size", "content"),
    [
        (b"x", 1 << 40, b""),
        (b"L", (1 << 20) + 1, b""),
        (b"x", 20, b"99 size=1\n" + b"\0" * 10),
        (b"x", 20, b"20 size=-1111111111\n"),
        (b"x", 30, b"30 size=" + b"9" * 21 + b"\n"),
        (b"x", 11, b"11 no value"),
        (b"x", 8, b"0 size=1"),
    ],
)
def test_headers_that_lie_are_damage(kind: bytes, size: int, content: bytes) -> None:
    info = tarfile.TarInfo("header")
    info.size, info.type = size, kind
    data = info.tobuf(tarfile.GNU_FORMAT) + content.ljust(512, b"\0")
    data += tar_of([(f"{V2}/a", b"1")])
    with pytest.raises(ArchiveDamaged):
        list(entries(PlainStream(io.BytesIO(data), lambda amount: None)))


def test_names_beyond_number_are_counted(tmp_path: Path) -> None:
    members = [(f"{V2}/../{number}", b"") for number in range(100)]
    store = opened(tar_of([(f"{V2}/a", b"1"), *members]), "tar", tmp_path)
    assert len(store.problems) == 21
    assert (store.problems[-1].actual or "").startswith("80 more names")


def test_a_member_larger_than_the_archive_says_takes_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo(BLOB)
    info.size = 1 << 60
    data = info.tobuf(tarfile.GNU_FORMAT) + b"{" * 512
    for form in FORMS:
        store = opened(data, form, tmp_path)
        assert store.stat(BLOB).size == 1 << 60
        assert [one.code for one in store.problems] == [Code.ARCHIVE_TRUNCATED]
        with pytest.raises(StoreError):
            store.read(BLOB, 4 << 20)


def test_a_compressed_archive_with_damage_inside(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(300_000)
    data = tar_of([(f"{V2}/a", b"1"), (BLOB, noise), (f"{V2}/b", b"2")])
    for form in ("tar.gz", "tar.zst"):
        whole = bytearray(compressed(data, form))
        del whole[200_000:200_100]
        file = tmp_path / form
        file.write_bytes(whole)
        store = open_store(str(file))
        assert [one.code for one in store.problems] == [Code.ARCHIVE_TRUNCATED]
        assert store.read(f"{V2}/a", 9) == b"1"
        with pytest.raises(PathMissing):
            store.read(f"{V2}/b", 9)


def test_a_skippable_frame_may_come_first(tmp_path: Path) -> None:
    packed_in_parts = b"\x50\x2a\x4d\x18" + b"\4\0\0\0size"  # as pzstd writes
    file = tmp_path / "backup.tar.zst"
    file.write_bytes(packed_in_parts + compressed(tar_of([(f"{V2}/blobs/x", b"1")]), "tar.zst"))
    assert open_store(str(file)).read(f"{V2}/blobs/x", 9) == b"1"


def test_a_disk_that_fails_at_once_says_so() -> None:
    class Failing:
        def read(self, size: int, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StoreError, match="the archive cannot be read: Input/output error"):
        PlainStream(Failing(), lambda amount: None)


def test_a_file_that_nobody_may_read_says_so() -> None:
    with public_folder() as folder:
        file = folder / "t.tar"
        file.write_bytes(tar_of([(f"{V2}/a", b"1")]))
        file.chmod(0)
        ran = run_as_nobody("-r", str(file), "ls")
    assert ran.code == Exit.STORAGE.value
    assert "permission denied" in ran.err
