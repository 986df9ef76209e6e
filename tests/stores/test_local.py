"""The directory store: what it opens, and that hostile trees neither fool nor hang it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regfs.errors import NotARegistry, PathMissing, PathUnsafe, StoreError
from regfs.findings import Code, Finding
from regfs.stores import FileKind, PathState
from regfs.stores.local.store import LocalStore, open_local
from tests.support.stores import SECRET, codes, failing_with, files, ignore, no_findings, put

V2 = "docker/registry/v2"


class TestOpening:
    @pytest.mark.parametrize("below", ["", "docker", "docker/registry", V2])
    def test_any_folder_from_the_root_to_v2(self, root: Path, below: str) -> None:
        assert open_local(str(root / below)).url == str(root)

    def test_a_relative_root(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root / "docker")
        assert open_local(".").url == str(root)
        assert open_local("..").url == str(root)

    def test_deeper_is_no_registry(self, root: Path) -> None:
        (root / V2 / "blobs").mkdir()
        with pytest.raises(NotARegistry):
            open_local(str(root / V2 / "blobs"))

    @pytest.mark.parametrize("own", [[], [".regfs"], ["lost+found", "scheduler-state.json"]])
    def test_an_empty_folder_is_a_fresh_registry_only_when_said(
        self, tmp_path: Path, own: list[str]
    ) -> None:
        folder = tmp_path / "fresh"
        for name in own:
            (folder / name).mkdir(parents=True)
        folder.mkdir(exist_ok=True)
        with pytest.raises(NotARegistry, match="is its volume not mounted"):
            open_local(str(folder))
        assert open_local(str(folder), empty=True).url == str(folder)

    def test_an_empty_folder_of_a_registry_is_never_a_fresh_one(self, root: Path) -> None:
        (root / V2 / "blobs").mkdir()
        with pytest.raises(NotARegistry):
            open_local(str(root / V2 / "blobs"), empty=True)

    def test_anything_else_is_refused_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/hosts").write_text("x")
        for path in ("etc", "etc/hosts", "missing", "new\nline"):
            with pytest.raises(NotARegistry, match="docker/registry/v2") as caught:
                open_local(str(tmp_path / path))
            assert len(str(caught.value).splitlines()) == 1

    def test_a_link_to_the_root_opens_the_true_root(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        assert open_local(str(tmp_path / "link")).url == str(root)
        (tmp_path / "v2").symlink_to(root / V2)
        assert open_local(str(tmp_path / "v2")).url == str(root)

    def test_a_linked_docker_folder_belongs_to_the_tree(
        self, tmp_path: Path, findings: list[Finding]
    ) -> None:
        disk, root = tmp_path / "disk", tmp_path / "root"
        (disk / "registry/v2/blobs").mkdir(parents=True)
        (disk / "registry/v2/blobs/data").write_bytes(b"inside")
        (disk / "private").write_bytes(SECRET)
        root.mkdir()
        (root / "docker").symlink_to(disk)
        store = open_local(str(root))
        assert store.url == str(root)
        assert store.read(f"{V2}/blobs/data", 100) == b"inside"
        assert f"{V2}/blobs/data" in [entry.path for entry in store.walk("", findings.append)]
        assert findings == []
        with pytest.raises(PathUnsafe):
            store.read("docker/private", 100)
        put(store, f"{V2}/blobs/new", b"written")
        assert (disk / "registry/v2/blobs/new").read_bytes() == b"written"


@pytest.fixture
def specials(root: Path) -> Iterator[list[str]]:
    """A FIFO and a socket where blobs should be."""
    (root / "p/fifo").mkdir(parents=True)
    (root / "p/socket").mkdir()
    os.mkfifo(root / "p/fifo/data")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(root / "p/socket", os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/data")
        except OSError as error:
            pytest.skip(f"no sockets here: {error}")
        finally:
            os.close(here)
        yield ["p/fifo/data", "p/socket/data"]


class TestSpecialFiles:
    def test_they_are_listed_and_never_opened(
        self, local: LocalStore, specials: list[str], findings: list[Finding]
    ) -> None:
        found = local.leaves("p", "data", findings.append)
        assert (found.names, found.absent) == ([], [])
        assert sorted(entry.path for entry in found.others) == specials
        assert {entry.kind for entry in found.others} == {FileKind.SPECIAL}
        assert codes(findings) == [(Code.SPECIAL_FILE, path) for path in specials]
        findings.clear()
        walked = {entry.path: entry.kind for entry in local.walk("p", findings.append)}
        assert [walked[path] for path in specials] == [FileKind.SPECIAL] * 2
        assert codes(findings) == [(Code.SPECIAL_FILE, path) for path in specials]

    def test_asking_for_one_is_refused(
        self, local: LocalStore, root: Path, specials: list[str]
    ) -> None:
        (root / "p/link").symlink_to("fifo/data")
        for path in [*specials, "p/link"]:
            assert local.stat(path).kind is FileKind.SPECIAL
            for ask in (local.open, local.append, lambda path: local.read(path, 1)):
                with pytest.raises(PathUnsafe):
                    ask(path)
        for path in specials:
            with pytest.raises(PathUnsafe):
                local.lock(path, "me").__enter__()

    def test_a_fifo_as_a_folder(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        os.mkfifo(root / "fifo")
        assert local.list("fifo", findings.append) == []
        assert local.leaves("fifo", "data", findings.append).names == []
        assert codes(findings) == [(Code.PATH_UNREADABLE, "fifo")] * 2
        findings.clear()
        put(local, "p/x/data")
        os.mkfifo(root / "p/stray")
        found = local.leaves("p", "data", findings.append)
        assert [(entry.path, entry.kind) for entry in found.others] == [
            ("p/stray", FileKind.SPECIAL)
        ]
        assert codes(findings) == [(Code.SPECIAL_FILE, "p/stray")]

    def test_a_folder_where_a_file_should_be(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        (root / "p/x/data").mkdir(parents=True)
        found = local.leaves("p", "data", findings.append)
        assert (found.names, found.absent) == ([], [])
        assert [(entry.path, entry.kind) for entry in found.others] == [
            ("p/x/data", FileKind.FOLDER)
        ]


class TestTroubleWhileScanning:
    def test_what_vanishes_is_no_trouble(
        self, local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(5):
            put(local, f"p/{number}/data", b"x")
        real = os.stat

        def vanishing(path: Any, *args: Any, **options: Any) -> os.stat_result:
            if str(path) == "3/data":
                shutil.rmtree(root / "p/3")
            return real(path, *args, **options)

        monkeypatch.setattr(os, "stat", vanishing)
        found = local.leaves("p", "data", no_findings)
        assert sorted(found.names) == ["0", "1", "2", "4"]
        assert (found.absent, found.others) == ([], [])

    def test_a_folder_that_vanishes_during_the_walk(self, local: LocalStore) -> None:
        for name in ("a", "b", "c"):
            put(local, f"p/{name}/data", b"x")
        paths = []
        for entry in local.walk("p", no_findings):
            paths.append(entry.path)
            if entry.path == "p/a":
                local.delete_tree("p/b")
                local.delete_tree("p/a")
        assert paths == ["p/a", "p/b", "p/c", "p/c/data"]

    def test_a_folder_that_becomes_a_link_during_the_walk(
        self, local: LocalStore, root: Path, outside: Path, findings: list[Finding]
    ) -> None:
        put(local, "p/a/data", b"x")
        paths = []
        for entry in local.walk("p", findings.append):
            paths.append(entry.path)
            if entry.path == "p/a":
                local.delete_tree("p/a")
                (root / "p/a").symlink_to(outside)
        assert paths == ["p/a"]
        assert codes(findings) == [(Code.SYMLINK_OUTSIDE, "p/a")]

    def test_a_failing_disk_is_reported(
        self, local: LocalStore, monkeypatch: pytest.MonkeyPatch, findings: list[Finding]
    ) -> None:
        put(local, "p/bad/data", b"x")
        put(local, "p/good/data", b"x")
        real = os.stat

        def failing(path: Any, *args: Any, **options: Any) -> os.stat_result:
            if str(path) == "bad/data":
                raise OSError(errno.EIO, "Input/output error")
            return real(path, *args, **options)

        monkeypatch.setattr(os, "stat", failing)
        found = local.leaves("p", "data", findings.append)
        assert (found.names, found.absent) == (["good"], [])
        assert codes(findings) == [(Code.PATH_UNREADABLE, "p/bad")]

    def test_a_disk_that_fails_while_read(
        self, local: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(local, "data", b"x")
        stream = local.open("data")
        os.close(stream.fileno())
        with pytest.raises(StoreError, match=r"^data: "):
            stream.readinto(bytearray(4))  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match=r"^data: "):
            stream.read(1)
        monkeypatch.setattr(os, "read", failing_with(errno.EIO))
        with pytest.raises(StoreError, match=r"^data: input/output error"):
            local.read("data", 9)
        with pytest.raises(OSError):
            stream.close()

    def test_names_that_are_not_utf8(self, local: LocalStore, root: Path) -> None:
        folder = os.fsencode(root / "p") + b"/caf\xe9"
        os.makedirs(folder)
        Path(os.fsdecode(folder + b"/data")).write_bytes(b"x")
        os.mkdir(os.fsencode(root / "p") + b"/caf\xc3\xa9")
        found = local.leaves("p", "data", no_findings)
        assert found.names == ["caf\udce9"]
        assert files(local) == ["p/caf\udce9/data"]
        assert [entry.path for entry in local.list("p", no_findings)] == ["p/café", "p/caf\udce9"]
        assert local.read("p/caf\udce9/data", 9) == b"x"
        local.move("p/caf\udce9", "q/\udcff")
        put(local, "q/\udcff/new", b"y")
        assert files(local, "q") == ["q/\udcff/data", "q/\udcff/new"]
        with pytest.raises(PathMissing) as caught:
            local.read("q/\udcff/missing", 9)
        str(caught.value).encode("ascii")
        assert local.delete_tree("q") == 2

    def test_folders_thousands_deep(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        here = os.open(root, os.O_RDONLY)
        try:
            for _ in range(3000):
                os.mkdir("d", dir_fd=here)
                inner = os.open("d", os.O_RDONLY, dir_fd=here)
                os.close(here)
                here = inner
        finally:
            os.close(here)
        try:
            deepest = max((entry.path for entry in local.walk("d", findings.append)), key=len)
            assert deepest.count("/") > 1000
            assert codes(findings) == [(Code.PATH_UNREADABLE, deepest)]
            with pytest.raises(StoreError, match="too long"):
                local.read("d/" * 2999 + "data", 1)
            with pytest.raises(StoreError, match="too long"):
                local.delete_tree("d")
        finally:
            subprocess.run(["rm", "-rf", str(root / "d")], check=True)

    def test_a_huge_sparse_file_is_read_in_bounds(self, local: LocalStore, root: Path) -> None:
        with open(root / "huge", "wb") as stream:
            stream.truncate(200 << 20)
        assert len(local.read("huge", 4 << 20)) == 4 << 20
        entry = local.stat("huge")
        assert entry.size == 200 << 20
        assert 0 <= entry.allocated < 1 << 20

    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        path=st.one_of(
            st.text(max_size=30),
            st.lists(
                st.sampled_from(
                    [
                        "..",
                        ".",
                        "",
                        "in",
                        "out",
                        "file",
                        "data",
                        "up",
                        "back",
                        "loop",
                        "\0",
                        "\udcff",
                    ]
                ),
                max_size=8,
            ).map("/".join),
        ),
        absolute=st.booleans(),
    )
    def test_no_path_reads_outside(
        self, local: LocalStore, root: Path, outside: Path, path: str, absolute: bool
    ) -> None:
        if not (root / "in").exists():
            (root / "in").mkdir()
            (root / "in/data").write_bytes(b"inside")
            (root / "out").symlink_to(outside)
            (root / "file").symlink_to(outside / "data")
            (root / "in/up").symlink_to("..")
            (root / "in/out").symlink_to("../../outside")
            (root / "in/loop").symlink_to("loop")
            (outside / "back").symlink_to(root / "in")
        asked = str(outside / path) if absolute else path
        with contextlib.suppress(StoreError):
            assert local.read(asked, 100) == b"inside"
        with contextlib.suppress(PathUnsafe):
            names = [entry.path.rpartition("/")[2] for entry in local.list(asked, ignore)]
            assert "back" not in names  # what only the folder outside holds


def test_a_folder_that_has_just_changed_is_not_trusted_to_show_the_next_change(
    local: LocalStore, root: Path
) -> None:
    """Its time may stay the same: clocks of file systems tick in milliseconds, or in seconds."""
    data = root / "a/b/data"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"x")
    (fresh,) = local.examine(["a/b/data"])
    os.utime(data.parent, (1_700_000_000, 1_700_000_000))
    (rested,) = local.examine(["a/b/data"])
    assert isinstance(fresh, PathState)
    assert isinstance(rested, PathState)
    assert (bool(fresh.folder), bool(rested.folder)) == (False, True)
    for before in (fresh, rested):
        assert [isinstance(one, PathState) and one.alone for one in local.examine([before])] == [
            True
        ]
    data.with_name("more").write_bytes(b"y")
    for before in (fresh, rested):
        assert [isinstance(one, PathState) and one.alone for one in local.examine([before])] == [
            False
        ]


def test_what_is_examined_is_read_as_far_as_asked(local: LocalStore, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/link").write_bytes(b"sha256:..")
    (root / "a/b/led").symlink_to("link")
    os.mkfifo(root / "a/b/pipe")
    paths = ["a/b/link", "a/b/led", "a/b/pipe", "a/b"]
    found = [one.content for one in local.examine(paths, limit=6) if isinstance(one, PathState)]
    assert found == [b"sha256", b"sha256", None, None]
    assert [one.content for one in local.examine(paths) if isinstance(one, PathState)] == [None] * 4


def test_contents_opens_no_fifo_and_follows_no_link_out_of_the_tree(
    local: LocalStore, root: Path
) -> None:
    for name in ("file", "fifo", "outside", "inside"):
        (root / "p" / name).mkdir(parents=True)
    (root / "p/file/data").write_bytes(b"0123456789")
    os.mkfifo(root / "p/fifo/data")
    (root / "p/outside/data").symlink_to("/etc/hostname")
    (root / "p/inside/data").symlink_to("../file/data")
    names = ["file", "fifo", "outside", "inside", "missing"]
    file, fifo, outside, inside, missing = local.contents("p", names, "data", 4)
    assert (file, inside) == (b"0123", b"0123")
    assert isinstance(fifo, PathUnsafe)
    assert isinstance(outside, PathUnsafe)
    assert isinstance(missing, PathMissing)
