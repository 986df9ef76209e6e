"""The directory store: what is durable when, failing disks, locks, and who may do what."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import (
    LockHeld,
    PathDenied,
    RegfsError,
    StoreError,
)
from regfs.findings import Code, Finding
from regfs.stores.local import rename
from regfs.stores.local.store import LocalStore, open_local
from tests.support.nobody import NOBODY, as_nobody
from tests.support.stores import codes, failing_with, files, put

V2 = "docker/registry/v2"


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A root that another user can reach: the folders of tmp_path are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = folder / "registry"
    (root / V2).mkdir(parents=True)
    yield root
    shutil.rmtree(folder)


def error_of(work: Callable[[], object]) -> str:
    try:
        work()
    except RegfsError as error:
        return f"{type(error).__name__} {error}"
    return ""


class TestPermissions:
    def test_unreadable_is_never_absent_or_empty(self, open_root: Path) -> None:
        store = open_local(str(open_root))
        for name in ("closed", "open"):
            put(store, f"p/{name}/data", b"1")
        put(store, "shut/x/data", b"1")
        (open_root / "p/closed").chmod(0)
        (open_root / "shut").chmod(0)

        def work() -> Any:
            found: list[Finding] = []
            leaves = store.leaves("p", "data", found.append)
            below = store.leaves("shut", "data", found.append)
            listed = store.list("shut", found.append)
            walked = [entry.path for entry in store.walk("p", found.append)]
            return leaves, below.absent, listed, walked, codes(found)

        leaves, absent, listed, walked, found = as_nobody(work)
        assert (leaves.names, leaves.absent, leaves.others) == (["open"], [], [])
        assert (absent, listed) == ([], [])
        assert walked == ["p/closed", "p/open", "p/open/data"]
        unreadable = Code.PATH_UNREADABLE
        assert found == [(unreadable, path) for path in ("p/closed", "p/closed", "shut", "shut")]

    def test_a_folder_that_can_be_listed_and_not_searched(self, open_root: Path) -> None:
        store = open_local(str(open_root))
        put(store, "p/x/data", b"1")
        (open_root / "p").chmod(0o444)

        def work() -> Any:
            found: list[Finding] = []
            return store.leaves("p", "data", found.append), codes(found)

        leaves, found = as_nobody(work)
        assert (leaves.names, leaves.absent) == ([], [])
        assert found == [(Code.PATH_UNREADABLE, "p/x")]

    def test_one_path_asked_for_is_denied(self, open_root: Path) -> None:
        store = open_local(str(open_root))
        put(store, "closed/data", b"1")
        put(store, "file", b"1")
        (open_root / "closed").chmod(0)
        (open_root / "file").chmod(0)

        def work() -> list[str]:
            return [
                error_of(lambda: store.read("file", 1)),
                error_of(lambda: store.open("closed/data")),
                error_of(lambda: store.stat("closed/data")),
                error_of(lambda: store.create("new")),
                error_of(lambda: store.create("folder/new")),
                error_of(lambda: store.append("new")),
                error_of(lambda: store.move("file", "moved")),
                error_of(lambda: store.delete(["file"])),
                error_of(lambda: store.delete_tree("closed")),
                error_of(lambda: store.lock("lock", "me").__enter__()),
            ]

        assert [error.partition(" ")[0] for error in as_nobody(work)] == ["PathDenied"] * 10

    @pytest.mark.parametrize("closed", ["", "docker", V2])
    def test_a_root_that_cannot_be_read(self, open_root: Path, closed: str) -> None:
        (open_root / closed).chmod(0)
        answer = as_nobody(lambda: error_of(lambda: open_local(str(open_root))))
        assert answer.startswith(f"{PathDenied.__name__} {open_root}")
        assert answer.endswith("permission denied")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_what_root_makes_belongs_to_the_owner_of_the_tree(self, open_root: Path) -> None:
        os.chown(open_root, NOBODY, NOBODY)
        store = open_local(str(open_root))
        put(store, "a/b/data")
        store.append("journal").close()
        with store.lock("lock", "me"):
            pass
        for path in ("a", "a/b", "a/b/data", "journal", "lock"):
            assert (open_root / path).stat().st_uid == NOBODY


def moved(local: LocalStore, source: str, target: str, many: bool) -> StoreError | None:
    """Move a thing, alone or as one of many; return why it was not moved."""
    if many:
        (failure,) = local.move_many([(source, target)])
        return failure
    try:
        local.move(source, target)
    except StoreError as error:
        return error
    return None


class TestWriting:
    @pytest.mark.parametrize("call", ["write", "fsync", "rename"])
    @pytest.mark.parametrize(
        ("number", "words"),
        [(errno.ENOSPC, "no space left on the device"), (errno.EROFS, "read-only")],
    )
    def test_a_failing_disk_leaves_nothing_half(
        self,
        local: LocalStore,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        words: str,
    ) -> None:
        put(local, "a/data", b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing_with(number))
            with pytest.raises(StoreError, match=f"^a/data: .*{words}"):
                put(local, "a/data", b"new")
        assert os.listdir(root / "a") == ["data"]
        assert local.read("a/data", 9) == b"old"

    def test_a_read_only_disk(self, local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
        put(local, "data", b"x")
        real = os.open

        def read_only(path: Any, flags: int, *args: Any, **options: Any) -> int:
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, "Read-only file system")
            return real(path, flags, *args, **options)

        monkeypatch.setattr(os, "open", read_only)
        attempts: list[Callable[[], object]] = [
            lambda: local.create("new"),
            lambda: local.append("data"),
            lambda: local.lock("lock", "me").__enter__(),
        ]
        for attempt in attempts:
            with pytest.raises(StoreError, match="read-only"):
                attempt()
        assert local.read("data", 9) == b"x"

    def test_another_file_system_is_named_as_the_cause(
        self, local: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(local, "data", b"x")
        monkeypatch.setattr(rename, "renameat2", lambda: lambda *call: errno.EXDEV)
        with pytest.raises(StoreError, match="same file system"):
            local.move("data", "q/data")
        assert local.read("data", 9) == b"x"

    def test_the_temporary_file_lies_beside_its_place(self, local: LocalStore, root: Path) -> None:
        writer = local.create("a/data")
        (name,) = os.listdir(root / "a")
        assert name.startswith(".data.")
        assert name.endswith(".regfs-tmp")
        writer.commit()
        assert os.listdir(root / "a") == ["data"]

    def test_a_name_as_long_as_names_may_be(self, local: LocalStore) -> None:
        name = "é" * 127
        put(local, name, b"x")
        assert local.read(name, 9) == b"x"

    def test_a_forgotten_writer_leaves_nothing(self, local: LocalStore, root: Path) -> None:
        writer = local.create("a/data")
        writer.write(b"x")
        del writer
        assert os.listdir(root) == ["docker"]

    def test_files_are_made_as_the_umask_says(self, local: LocalStore, root: Path) -> None:
        before = os.umask(0o027)
        try:
            put(local, "a/data")
        finally:
            os.umask(before)
        assert stat.S_IMODE((root / "a/data").stat().st_mode) == 0o640
        assert stat.S_IMODE((root / "a").stat().st_mode) == 0o750

    def test_what_is_durable_when(self, local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[str] = []
        real = os.fsync

        def record(descriptor: int) -> None:
            true = os.readlink(f"/proc/self/fd/{descriptor}")
            synced.append(true.removeprefix(local.url).lstrip("/"))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", record)
        put(local, "a/b/data", b"x")
        assert synced[0].startswith("a/b/.data.")
        assert synced[1:] == ["a/b", "a", ""]
        synced.clear()
        with local.append("a/log") as log:
            log.write(b"1")
            assert synced == []
            log.flush()
            assert synced == ["a/log", "a"]
        synced.clear()
        local.move("a/b/data", "q/r/data")
        assert synced == []
        local.sync("q/r")
        assert synced == ["q/r", "q", ""]
        synced.clear()
        local.sync("q/r")
        assert synced == ["q/r"]

    def test_a_large_write_goes_in_whole(
        self, local: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
        with local.create("data") as writer:
            assert writer.write(b"0123456789") == 10
        with local.append("data") as stream:
            assert stream.write(b"abcde") == 5
        assert local.read("data", 99) == b"0123456789abcde"

    def test_a_folder_that_vanishes_before_the_move(
        self, local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(local, "data", b"x")
        real = os.rename
        turns: list[int] = []

        def racing(*args: Any, **options: Any) -> None:
            turns.append(1)
            if len(turns) == 1:
                (root / "q").rmdir()
            real(*args, **options)

        monkeypatch.setattr(rename, "renameat2", lambda: None)
        monkeypatch.setattr(os, "rename", racing)
        local.move("data", "q/data")
        assert len(turns) == 2
        assert files(local) == ["q/data"]

    @pytest.mark.parametrize("answer", [None, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
    @pytest.mark.parametrize("many", [False, True])
    def test_a_system_that_cannot_refuse_in_the_rename_is_asked_before(
        self, local: LocalStore, monkeypatch: pytest.MonkeyPatch, answer: int | None, many: bool
    ) -> None:
        call = None if answer is None else lambda *call: answer
        monkeypatch.setattr(rename, "renameat2", lambda: call)
        put(local, "data", b"x")
        put(local, "taken", b"y")
        assert moved(local, "data", "q/data", many) is None
        assert "already there" in str(moved(local, "q/data", "taken", many))
        assert (local.read("q/data", 9), local.read("taken", 9)) == (b"x", b"y")

    @pytest.mark.skipif(rename.renameat2() is None, reason="there is no renameat2 here")
    @pytest.mark.parametrize("many", [False, True])
    def test_the_rename_itself_refuses_to_overwrite(
        self, local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, many: bool
    ) -> None:
        """Whoever makes the target in the last moment keeps it."""
        put(local, "data", b"x")
        put(local, "taken", b"y")
        put(local, "folder/data", b"z")
        (root / "empty").mkdir()
        monkeypatch.setattr(rename, "exists", lambda name, folder: False)
        for source, target in (("data", "taken"), ("folder", "empty"), ("data", "empty")):
            assert "already there" in str(moved(local, source, target, many))
        assert files(local) == ["data", "folder/data", "taken"]
        assert (local.read("data", 9), local.read("taken", 9)) == (b"x", b"y")

    def test_a_folder_is_not_moved_into_itself(self, local: LocalStore) -> None:
        put(local, "a/data", b"x")
        with pytest.raises(StoreError):
            local.move("a", "a/b/c")
        assert files(local) == ["a/data"]

    def test_nothing_is_made_below_a_file(self, local: LocalStore) -> None:
        put(local, "a", b"x")
        with pytest.raises(StoreError):
            local.create("a/b")
        with pytest.raises(StoreError):
            local.create("a/b/c")
        assert local.read("a", 9) == b"x"

    def test_the_stream_of_append_is_a_raw_file(self, local: LocalStore) -> None:
        with local.append("log") as stream:
            assert isinstance(stream, io.RawIOBase)
            stream.write(memoryview(b"abc"))
            assert local.read("log", 9) == b"abc"


HOLDER = """
import sys
from regfs.stores.local import rename
from regfs.stores.local.store import open_local
with open_local(sys.argv[1]).lock("lock", "the other process"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(local: LocalStore) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    repository = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, local.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(repository)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


class TestLocks:
    def test_another_process_excludes(
        self, local: LocalStore, holder: subprocess.Popen[bytes]
    ) -> None:
        with pytest.raises(LockHeld, match="locked by the other process"):
            local.lock("lock", "me").__enter__()
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait()
        with local.lock("lock", "me"):
            pass

    def test_a_killed_process_holds_nothing(
        self, local: LocalStore, root: Path, holder: subprocess.Popen[bytes]
    ) -> None:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (root / "lock").read_text() == "the other process\n"
        with (
            local.lock("lock", "reader", shared=True),
            pytest.raises(LockHeld, match="share"),
        ):
            local.lock("lock", "me").__enter__()
        with local.lock("lock", "me"):
            assert (root / "lock").read_text() == "me\n"
        assert (root / "lock").read_text() == ""


def test_nobody_rests_on_a_name_that_another_is_about_to_make_durable(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two write into a new folder; who is second waits for the disk as well."""
    synced: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    real = local.root._fsync

    def slow(folder: str) -> None:
        if folder == "above" and not begun.is_set():
            begun.set()
            assert go_on.wait(60)
        real(folder)
        synced.append(folder)

    monkeypatch.setattr(local.root, "_fsync", slow)
    first = threading.Thread(target=lambda: put(local, "above/new/one"))
    first.start()
    assert begun.wait(60)
    put(local, "above/new/two")
    assert synced.count("above") == 1
    go_on.set()
    first.join(60)
    assert synced.count("above") == 2
    synced.clear()
    put(local, "above/new/three")
    assert synced == ["above/new"]


def test_a_file_is_cloned_where_the_file_system_can(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local, "a/data", b"content")

    def clone(descriptor: int, request: int, source: int) -> int:
        assert request == 0x40049409
        os.write(descriptor, os.pread(source, 100, 0))
        return 0

    monkeypatch.setattr("fcntl.ioctl", clone)
    with local.open("a/data") as source:
        assert local.share("b/data", source)
    assert local.read("b/data", 100) == b"content"
    one, other = (os.path.join(local.url, path) for path in ("a/data", "b/data"))
    assert not os.path.samefile(one, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda store: put(store, "new/folder/file", b"1"),
        lambda store: store.append("new/folder/file").close(),
        lambda store: store.move("here/source", "new/folder/file"),
        lambda store: store.replace("here/source", "new/folder/file"),
        lambda store: store.claim("new/folder/file", 5),
        lambda store: store.lock("new/folder/file", "me").__enter__(),
    ],
    ids=["create", "append", "move", "replace", "claim", "lock"],
)
def test_an_empty_folder_that_a_sweep_takes_away_is_made_again(
    local: LocalStore,
    root: Path,
    change: Callable[[LocalStore], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(local, "here/source", b"1")
    make, taken = os.mkdir, 0

    def make_and_lose(name: str, *, dir_fd: int) -> None:
        nonlocal taken
        make(name, dir_fd=dir_fd)
        if taken < 10:
            taken += 1
            os.rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr("regfs.stores.local.root.os.mkdir", make_and_lose)
    held = change(local)
    assert taken == 10
    assert (root / "new/folder/file").is_file()
    del held
