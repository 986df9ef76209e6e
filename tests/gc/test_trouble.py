"""A disk that is full or read-only, a folder that is not ours, two at once: gc stops cleanly.

Each time: one line that says where, exit code 5 (3 for the lock), everything that is kept
in place, and once the trouble is over the same command ends what was begun.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.render.tables import to_json
from regfs.runs import restore, runs
from regfs.stores import Room
from regfs.stores.local.store import LocalStore
from tests.support.builder import TreeBuilder, image
from tests.support.disks import mount, mounted, needs_mounts, small_disk
from tests.support.nobody import NOBODY, as_nobody
from tests.support.registries import plan_of, store_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, or become another")


class Scene:
    """A tree with garbage, and a plan for it."""

    def __init__(self, root: Path, plan_file: Path) -> None:
        self.tree = TreeBuilder(root)
        self.tree.push("app", "v1", image(["base", "one"]))
        self.tree.push("app", "v1", image(["base", "two"]))
        for number in range(8):
            self.tree.add_blob("lib", f"never used {number}")
        self.tree.push("lib", "latest", image(["base", "three"]))
        self.tree.age(30 * 86400)
        self.plan_file = plan_file
        self.whole = self.tree.files()
        planned = plan_of(self.tree, delete_untagged=True, min_age=0.0)
        plan_file.write_text(to_json(planned))
        self.run = planned.id
        going = {action.path for action in planned.actions}
        self.kept = {path: data for path, data in self.whole.items() if path not in going}

    def apply(self) -> int:
        return run(["-r", str(self.tree.root), "gc", "apply", str(self.plan_file)])

    def assert_stopped(self, captured: str, words: str) -> None:
        """See one line that says what and where, and nothing lost."""
        (line,) = [text for text in captured.splitlines() if text]
        assert words in line
        assert "docker/registry" in line or ".regfs" in line
        files = self.tree.files()
        assert {path: files.get(path) for path in self.kept} == self.kept

    def assert_ends(self) -> None:
        """See the next run end it, and a restore give all of it back."""
        assert self.apply() == 0
        assert self.tree.files() == self.kept
        assert [found.state for found in runs(store_of(self.tree))] == ["applied"]
        restore(store_of(self.tree), self.run)
        assert self.tree.files() == self.whole


ROOMS = [0, 1, 4, 9, 14, 20, 26]
"""So many more files and folders can be made: it would end at the lock, the journal, or a move."""


@needs_mounts
@pytest.mark.parametrize("room", ROOMS)
def test_a_full_disk_stops_it_before_anything_is_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    with short_of_files(tmp_path, room) as (scene, disk):
        assert scene.apply() == 5
        scene.assert_stopped(capsys.readouterr().err, "no space left on the device")
        assert scene.tree.files() == scene.whole
        mount("-o", "remount,nr_inodes=100000", disk)
        scene.assert_ends()


@needs_mounts
@pytest.mark.parametrize("room", ROOMS)
def test_a_disk_that_others_fill_meanwhile_stops_it_and_nothing_is_lost(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    with short_of_files(tmp_path, room) as (scene, disk):
        with monkeypatch.context() as patched:
            patched.setattr(LocalStore, "room", lambda store: Room(1 << 40, -1, 0))
            patched.setattr(LocalStore, "claim", lambda store, path, size: None)
            assert scene.apply() == 5
        scene.assert_stopped(capsys.readouterr().err, "no space left on the device")
        mount("-o", "remount,nr_inodes=100000", disk)
        scene.assert_ends()


@contextmanager
def short_of_files(folder: Path, room: int) -> Iterator[tuple[Scene, Path]]:
    """Make a tree on a disk that has room for so many more files and folders."""
    with small_disk("tmpfs", folder, size=16 << 20) as disk:
        scene = Scene(disk / "registry", folder / "plan.json")
        status = os.statvfs(disk)
        mount("-o", f"remount,nr_inodes={status.f_files - status.f_ffree + room}", disk)
        yield scene, disk


@needs_mounts
def test_a_read_only_disk_stops_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "registry"
    scene = Scene(root, tmp_path / "plan.json")
    with mounted(root, "--bind", root):
        mount("-o", "remount,ro,bind", root)
        assert scene.apply() == 5
        scene.assert_stopped(capsys.readouterr().err, "the file system is read-only")
    assert scene.tree.files() == scene.whole
    scene.assert_ends()


@as_root
@pytest.mark.parametrize("closed", ["docker/registry/v2/repositories/lib/_layers/sha256",
                                    "docker/registry/v2/blobs/sha256"])  # fmt: skip
def test_a_folder_that_may_not_be_written_stops_it_half_way(
    capfd: pytest.CaptureFixture[str], closed: str
) -> None:
    folder = Path(tempfile.mkdtemp())  # the folders of tmp_path are closed to others
    try:
        folder.chmod(0o755)
        other = Scene(folder / "other", folder / "other.json")
        assert other.apply() == 0  # loads everything: nobody may not be allowed to read it
        scene = Scene(folder / "registry", folder / "plan.json")
        for path in [scene.tree.root, *scene.tree.root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        barred = scene.tree.root / closed
        inside = [path for path in [barred, *barred.rglob("*")] if path.is_dir()]
        for path in inside:
            path.chmod(0o555)
        capfd.readouterr()
        assert as_nobody(scene.apply) == 5
        scene.assert_stopped(capfd.readouterr().err, "permission denied")
        assert [found.state for found in runs(store_of(scene.tree))] == ["interrupted"]
        for path in inside:
            path.chmod(0o755)
        scene.assert_ends()
    finally:
        shutil.rmtree(folder)


HOLDER = """
import sys, time
from regfs.runs.lock import exclusive
from regfs.stores import open_store
with exclusive(open_store(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_of_two_runs_the_second_is_told_who_is_at_it_and_the_lock_of_a_dead_one_is_void(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(tmp_path / "registry", tmp_path / "plan.json")
    command = [sys.executable, "-c", HOLDER, str(scene.tree.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "locked\n"
            assert scene.apply() == 3
            scene.assert_stopped(capsys.readouterr().err, f"process {first.pid}")
        finally:
            first.send_signal(signal.SIGKILL)
    assert (scene.tree.root / ".regfs/lock").read_text() != ""
    scene.assert_ends()
