"""A disk on which not one byte is free, the case for which somebody collects garbage.

On a real tmpfs, and a real ext4 without a reserve for root. What gives space back works there;
what needs space to move things is refused, with the bytes that it takes, before anything is moved.
"""

from __future__ import annotations

import os
import random
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.errors import LockHeld
from regfs.gc.space import need_of
from regfs.gc.sweep import apply
from regfs.runs import purge, restore, runs
from regfs.runs.lock import exclusive, shared
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, image
from tests.support.disks import KINDS, fill, free, needs_mounts, small_disk
from tests.support.registries import plan_of, registry_of, store_of
from tests.support.verification import check, codes


class Scene:
    """A registry with garbage on a small disk of its own."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.tree = TreeBuilder(disk / "registry")
        self.tree.push("app", "v1", image(["base", "one"]))
        self.tree.push("app", "v1", image(["base", "two"]))
        for number in range(40):
            self.tree.add_blob("lib", random.Random(number).randbytes(20_000).hex())
        self.tree.push("lib", "latest", image(["base", "three"]))
        self.tree.age(30 * 86400)
        self.whole = self.tree.files()
        planned = plan_of(self.tree, delete_untagged=True, min_age=0.0)
        going = {action.path for action in planned.actions}
        self.kept = {path: data for path, data in self.whole.items() if path not in going}
        self.freed, self.count = planned.totals.bytes, planned.totals.blobs

    def gc(self, *arguments: str) -> int:
        return run(["-r", str(self.tree.root), "gc", *arguments])

    def collect(self, *options: str) -> int:
        return self.gc("run", "-m", "--offline", "--yes", *options)

    def only_run(self) -> str:
        (one,) = runs(store_of(self.tree))
        return one.run

    def assert_clean(self) -> None:
        """See what is kept and nothing else, in good order."""
        assert self.tree.files() == self.kept
        assert codes(check(self.tree)) == []
        assert plan_of(self.tree, delete_untagged=True, min_age=0.0).actions == []


@contextmanager
def scene_on(kind: str, folder: Path, *options: str) -> Iterator[Scene]:
    with small_disk(kind, folder, *options) as disk:
        yield Scene(disk)


@pytest.fixture(params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with scene_on(request.param, tmp_path) as found:
        yield found


@needs_mounts
def test_what_is_deleted_at_once_goes_without_a_byte_of_space(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(scene.disk)
    assert scene.collect("--purge") == 0
    out, err = capsys.readouterr()
    assert "deleted in place" in err
    assert f"Deleted: {scene.count} blobs" in out
    assert "quarantine" not in out
    assert free(scene.disk) >= scene.freed
    scene.assert_clean()
    (told,) = runs(store_of(scene.tree))
    assert (told.state, told.done.bytes) == ("purged", scene.freed)


@needs_mounts
def test_where_there_is_room_there_is_a_quarantine(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scene.collect("--purge") == 0
    out, err = capsys.readouterr()
    assert "in place" not in err
    assert f"Moved into quarantine: {scene.count} blobs" in out
    scene.assert_clean()


@needs_mounts
@pytest.mark.parametrize("options", [[], ["--purge", "--wait", "1h"]], ids=["move", "wait"])
def test_what_needs_a_quarantine_is_refused_and_told_how_many_bytes_it_takes(
    scene: Scene, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """A wait is for pushes that are under way: beside them nothing is deleted in place."""
    filled = fill(scene.disk)
    arguments = ["run", "-m", "--min-age", "1h", "--yes", *options]
    assert scene.gc(*arguments) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "no space left on the device" in line
    assert "--offline --purge" in line
    (needed,) = re.findall(r"takes (\d+) bytes", line)
    assert scene.tree.files() == scene.whole
    assert not (scene.tree.root / ".regfs").exists()
    filled.give_back(int(needed))
    assert scene.gc("run", "-m", "--min-age", "1h", "--yes") == 0
    assert scene.tree.files() == scene.kept
    restore(store_of(scene.tree), scene.only_run())
    assert scene.tree.files() == scene.whole


@needs_mounts
def test_a_purge_of_what_lies_in_quarantine_needs_no_space(scene: Scene) -> None:
    assert scene.collect() == 0
    fill(scene.disk)
    assert scene.gc("purge") == 0
    assert free(scene.disk) >= scene.freed
    scene.assert_clean()
    assert [one.state for one in runs(store_of(scene.tree))] == ["purged"]
    reserve = scene.tree.root / ".regfs/runs" / scene.only_run() / "reserve"
    assert not reserve.exists()


@needs_mounts
def test_a_restore_whose_reserve_is_gone_tells_how_many_bytes_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scene_on("ext4", tmp_path) as scene:
        assert scene.collect() == 0
        (scene.tree.root / ".regfs/runs" / scene.only_run() / "reserve").unlink()
        filled = fill(scene.disk)
        capsys.readouterr()
        assert scene.gc("restore", scene.only_run()) == 5
        (line,) = capsys.readouterr().err.splitlines()
        (needed,) = re.findall(r"make (\d+) bytes free", line)
        filled.give_back(int(needed))
        assert scene.gc("restore", scene.only_run()) == 0
        assert scene.tree.files() == scene.whole


@needs_mounts
def test_a_restore_needs_no_space_and_a_purge_of_it_neither(scene: Scene) -> None:
    """The folders of blobs that the run has removed are made again from what was set aside."""
    assert scene.collect() == 0
    assert scene.tree.files() == scene.kept
    fill(scene.disk)
    assert scene.gc("restore", scene.only_run()) == 0
    assert scene.tree.files() == scene.whole
    assert [one.state for one in runs(store_of(scene.tree))] == ["restored"]
    assert scene.collect("--purge") == 0
    scene.assert_clean()


@needs_mounts
def test_a_restore_of_whole_repositories_needs_no_space(tmp_path: Path) -> None:
    with scene_on("ext4", tmp_path) as scene:
        for number in range(20):
            scene.tree.push(f"old/number-{number}", "v1", image([f"of {number}"]))
            scene.tree.untag(f"old/number-{number}", "v1")
        scene.tree.age(30 * 86400)
        whole = scene.tree.files()
        options = [f"--allow-tagless=old/number-{number}" for number in range(20)]
        assert scene.collect("--empty-repositories", *options) == 0
        assert scene.tree.files() == scene.kept
        # A run that ends removes what has become empty, and the next one what was kept before.
        assert scene.collect("--empty-repositories", "--leftovers") == 0
        fill(scene.disk)
        for one in reversed(runs(store_of(scene.tree))):
            assert scene.gc("restore", one.run) == 0
        assert scene.tree.files() == whole


@needs_mounts
def test_in_use_again_on_a_full_disk_comes_back_before_a_purge(scene: Scene) -> None:
    """What is put back is written down: there is space set aside for that, too."""
    assert scene.collect() == 0
    lost = image(["base", "one"])
    path = scene.tree.tag_path("app", "again")
    scene.tree.tag("app", "again", lost.digest)
    assert path.exists()
    fill(scene.disk)
    assert scene.gc("purge", "--offline") == 0
    assert scene.tree.blob_path(lost.digest).exists()
    assert scene.tree.blob_path(lost.blobs[1].digest).exists()


@needs_mounts
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [3, 3000])
def test_a_run_takes_no_more_space_than_it_says(tmp_path: Path, kind: str, count: int) -> None:
    with small_disk(kind, tmp_path, "-N", "16384", size=64 << 20) as disk:
        tree = TreeBuilder(disk / "registry")
        for number in range(count):
            tree.add_blob("one/of them", f"{number}".encode())
        tree.age(30 * 86400)
        planned = plan_of(tree, min_age=0.0)
        need = need_of(planned.actions, store_of(tree).room(), offline=True)
        os.sync()
        before, files = free(disk), os.statvfs(disk).f_favail
        apply(planned, registry_of(tree))
        os.sync()
        made = files - os.statvfs(disk).f_favail
        assert 0 < before - free(disk) <= need.bytes
        assert 0 < made <= need.files


@needs_mounts
def test_where_no_lock_can_be_made_two_still_exclude_each_other(tmp_path: Path) -> None:
    """On ext4 even `.regfs` takes a block; and there may be one by the time that a second comes."""
    with scene_on("ext4", tmp_path) as scene:
        filled = fill(scene.disk)
        root = str(scene.tree.root)
        with exclusive(open_store(root)):
            assert not (scene.tree.root / ".regfs").exists()
            for room in (False, True):
                if room:
                    filled.empty()
                for enter in (exclusive, shared):
                    with pytest.raises(LockHeld):
                        enter(open_store(root), timeout=0.05).__enter__()
        with exclusive(open_store(root)):
            pass


@needs_mounts
def test_who_shares_and_can_make_no_lock_excludes_a_run(tmp_path: Path) -> None:
    with scene_on("ext4", tmp_path) as scene:
        filled = fill(scene.disk)
        root = str(scene.tree.root)
        with shared(open_store(root)):
            filled.empty()
            with pytest.raises(LockHeld):
                exclusive(open_store(root), timeout=0.05).__enter__()
        purge(open_store(root))


@needs_mounts
@pytest.mark.parametrize("way", ["run", "apply"])
def test_the_command_that_needs_no_space_is_printed_as_it_has_to_be_typed(
    scene: Scene, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = str(tmp_path / "a plan.json")
    assert scene.gc("plan", "-m", "--offline", "-o", plan) == 0
    fill(scene.disk)
    capsys.readouterr()
    arguments = ["run", "-m", "--tag-history", "9", "--yes"] if way == "run" else ["apply", plan]
    assert scene.gc(*arguments) == 5
    command = capsys.readouterr().err.partition("without a way back: ")[2]
    words = shlex.split(command)
    assert words[:4] == ["regfs", "-r", str(scene.tree.root), "gc"]
    assert run([*words[1:], *(["--yes"] if way == "run" else [])]) == 0
    assert free(scene.disk) >= scene.freed
