"""A registry that lies on several disks, or where we may not write: seen before anything begins.

Renames reach as far as one mount of one file system. A run that found that out on its way would
leave links in quarantine and the blobs that they named in place.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import click
import pytest

from regfs.cli.app import run
from regfs.digest import Digest
from regfs.errors import Doubt
from regfs.gc.collect import collect
from regfs.heal.quarantine import quarantine
from regfs.render.tables import to_json
from regfs.runs import runs
from regfs.stores.local import space
from tests.support.builder import TreeBuilder, image
from tests.support.disks import mount, mounted, needs_mounts
from tests.support.nobody import NOBODY, as_nobody
from tests.support.registries import plan_of, registry_of, store_of
from tests.support.stores import MEMORY

V2 = "docker/registry/v2"


def fill(tree: TreeBuilder) -> TreeBuilder:
    """Make an image that stays, and blobs that nothing needs."""
    tree.push("team/app", "v1", image(["base", "one"]))
    for number in range(3):
        tree.add_blob("team/app", f"never used {number}")
    tree.age(30 * 86400)
    return tree


def gc(root: Path, *arguments: str) -> int:
    return run(["-r", str(root), "gc", *arguments])


def registry_files(tree: TreeBuilder) -> dict[str, str]:
    return {path: data for path, data in tree.files().items() if path.startswith(V2)}


@contextmanager
def other_disk(at: Path) -> Iterator[None]:
    """Mount an empty disk at a folder while the block runs, with what the folder holds on it."""
    inside = at.with_name(f"{at.name}-moved")
    at.rename(inside)
    with mounted(at, "-t", "tmpfs", "-o", "size=16m", "none"):
        for entry in inside.iterdir():
            shutil.move(entry, at / entry.name)
        inside.rmdir()
        yield


@contextmanager
def same_disk_again(at: Path) -> Iterator[None]:
    """Mount a folder onto itself: the same device, and still no rename leads out of it."""
    with mounted(at, "--bind", at):
        yield


def assert_refused(root: Path, capsys: pytest.CaptureFixture[str], apart: str) -> None:
    """See every command refuse before it shows a plan, and nothing touched."""
    tree = TreeBuilder(root)
    before = tree.files()
    for command in (["plan"], ["run", "-n"], ["run", "--offline", "--purge", "--yes"]):
        assert gc(root, *command) == 3
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert f"regfs: {apart}: on another file system" in line
    assert tree.files() == before
    state = root / ".regfs"
    assert not state.is_dir() or list(state.iterdir()) == []


@needs_mounts
@pytest.mark.parametrize("disk", [other_disk, same_disk_again])
@pytest.mark.parametrize(
    ("place", "apart"),
    [
        ("docker", V2),
        ("docker/registry", V2),
        (V2, V2),
        (f"{V2}/blobs", f"{V2}/blobs"),
        (f"{V2}/blobs/sha256", f"{V2}/blobs/sha256"),
        (f"{V2}/repositories/team", f"{V2}/repositories/team"),
        (f"{V2}/repositories/team/app/_layers", f"{V2}/repositories/team/app/_layers"),
    ],
)
def test_a_disk_of_its_own_inside_the_tree_is_refused(
    tree: TreeBuilder,
    capsys: pytest.CaptureFixture[str],
    disk: Callable[[Path], AbstractContextManager[None]],
    place: str,
    apart: str,
) -> None:
    fill(tree)
    with disk(tree.root / place):
        assert_refused(tree.root, capsys, apart)


@needs_mounts
def test_a_prefix_of_blobs_on_a_disk_of_its_own_is_refused(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tree)
    prefix = next((tree.v2 / "blobs/sha256").iterdir())
    with other_disk(prefix):
        assert_refused(tree.root, capsys, tree.relative(prefix))


@needs_mounts
@pytest.mark.parametrize(
    "place", [f"{V2}/blobs", f"{V2}/repositories/team", f"{V2}/repositories/team/app"]
)
def test_another_device_is_refused_without_a_mount_point(
    tree: TreeBuilder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """A subvolume of btrfs is no mount, and there are systems that tell of no mounts at all."""
    fill(tree)
    monkeypatch.setattr(space, "_MOUNTS", "/nonexistent")
    with other_disk(tree.root / place):
        assert_refused(tree.root, capsys, place)


@needs_mounts
def test_a_state_folder_on_a_disk_of_its_own_is_refused(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tree)
    with mounted(tree.root / ".regfs", "-t", "tmpfs", "none"):
        assert_refused(tree.root, capsys, V2)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Path]:
    """A folder on another device than the temporary folder of the tests."""
    if MEMORY is None or os.stat(MEMORY).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(prefix="regfs-", dir=MEMORY) as folder:
        yield Path(folder)


def test_a_link_to_another_disk_is_refused_and_where_it_leads_is_not(
    tree: TreeBuilder, far: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tree)
    whole = tree.files()
    shutil.move(tree.root / "docker", far / "docker")
    (tree.root / "docker").symlink_to(far / "docker")
    assert_refused(tree.root, capsys, V2)
    assert gc(far, "run", "--offline", "--yes") == 0
    there = TreeBuilder(far)
    assert len(there.files()) < len(whole)
    (only,) = runs(store_of(there))
    assert gc(far, "restore", only.run) == 0
    assert there.files() == whole


@needs_mounts
def test_the_remedy_in_the_message_works(tree: TreeBuilder) -> None:
    fill(tree)
    with other_disk(tree.root / "docker"):
        (tree.root / "docker/.regfs").mkdir()
        (tree.root / ".regfs").symlink_to("docker/.regfs")
        whole = registry_files(tree)
        assert gc(tree.root, "run", "--offline", "--yes") == 0
        assert registry_files(tree) != whole
        (only,) = runs(store_of(tree))
        assert gc(tree.root, "restore", only.run) == 0
        assert registry_files(tree) == whole
        assert gc(tree.root, "run", "--offline", "--purge", "--yes") == 0
        assert plan_of(tree, min_age=0.0).actions == []


def test_an_earlier_plan_is_refused_when_a_disk_was_mounted_since(
    tree: TreeBuilder, far: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tree)
    planned = plan_of(tree, min_age=0.0)
    (tmp_path / "plan.json").write_text(to_json(planned))
    shutil.move(tree.root / "docker", far / "docker")
    (tree.root / "docker").symlink_to(far / "docker")
    before = tree.files()
    with pytest.raises(Doubt, match="another file system"):
        collect(planned, registry_of(tree), wait=0.0, purge=True)
    assert gc(tree.root, "apply", str(tmp_path / "plan.json")) == 3
    assert tree.files() == before
    assert runs(store_of(tree)) == []


def test_quarantine_by_verify_is_refused_before_its_journal_begins(
    tree: TreeBuilder, far: Path
) -> None:
    content = image(["base", "one"])
    tree.push("app", "v1", content)
    path = tree.blob_path(content.blobs[1].digest)
    path.write_bytes(b"x" * path.stat().st_size)
    shutil.move(tree.root / "docker", far / "docker")
    (tree.root / "docker").symlink_to(far / "docker")
    before = tree.files()
    with pytest.raises(Doubt, match="another file system"):
        quarantine(registry_of(tree), [Digest(content.blobs[1].digest)])
    assert tree.files() == before
    assert runs(store_of(tree)) == []


def test_an_interrupted_run_is_not_purged_when_its_blobs_are_on_another_disk(
    tree: TreeBuilder, far: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tree)
    assert gc(tree.root, "run", "--offline", "--yes") == 0
    (one,) = runs(store_of(tree))
    folder = tree.root / ".regfs/runs" / one.run
    journal = folder / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(keepends=True)
                               if '"applied"' not in line))  # fmt: skip
    assert [found.state for found in runs(store_of(tree))] == ["interrupted"]
    held = sorted(path for path in folder.rglob("*") if path.is_file())
    shutil.move(tree.root / "docker", far / "docker")
    (tree.root / "docker").symlink_to(far / "docker")
    capsys.readouterr()
    assert gc(tree.root, "purge", "--offline") == 3
    assert "another file system" in capsys.readouterr().err
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == held


# -- who may not write --------------------------------------------------------------------------


def hand_over(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")


@pytest.fixture
def nobodys() -> Iterator[TreeBuilder]:
    """A tree that belongs to a user without rights, where only root's own folders are closed."""
    folder = Path(tempfile.mkdtemp())  # the folders of tmp_path are closed to others
    try:
        folder.chmod(0o755)
        tree = fill(TreeBuilder(folder / "registry"))
        gc(tree.root, "plan")  # loads everything: nobody may not be allowed to read it
        hand_over(tree.root)
        yield tree
    finally:
        shutil.rmtree(folder)


def ask(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let somebody sit at the terminal who says no; return what is asked."""
    asked: list[str] = []

    def answer(text: str, **options: object) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", answer)
    return asked


@as_root
@pytest.mark.parametrize(
    "closed",
    [
        "",
        ".regfs",
        ".regfs/runs",
        f"{V2}/repositories/team/app/_layers/sha256",
        f"{V2}/blobs/sha256",
    ],
)
def test_a_user_who_may_not_write_is_refused_before_the_question(
    nobodys: TreeBuilder,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    closed: str,
) -> None:
    (nobodys.root / ".regfs/runs").mkdir(parents=True)
    hand_over(nobodys.root)
    barred = nobodys.root / closed
    if not closed:
        shutil.rmtree(nobodys.root / ".regfs")
    for path in [barred, *(barred.rglob("*") if closed.startswith(V2) else [])]:
        if path.is_dir():
            path.chmod(0o555)
    before = sorted(nobodys.root.rglob("*"))

    def collected() -> tuple[int, list[str]]:
        asked = ask(monkeypatch)
        return gc(nobodys.root, "run", "--offline"), asked

    capfd.readouterr()
    assert as_nobody(collected) == (5, [])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("permission denied; run as the owner of the tree, or as root")
    assert line.startswith(f"regfs: {closed or '/'}")
    assert sorted(nobodys.root.rglob("*")) == before


@as_root
def test_a_user_who_may_write_is_asked(
    nobodys: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def collected() -> tuple[int, list[str]]:
        asked = ask(monkeypatch)
        return gc(nobodys.root, "run", "--offline"), asked

    assert as_nobody(collected) == (3, ["Move this into quarantine?"])


@needs_mounts
def test_a_read_only_disk_is_refused_before_the_question(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tree)
    with mounted(tree.root, "--bind", tree.root):
        mount("-o", "remount,ro,bind", tree.root)
        asked = ask(monkeypatch)
        assert gc(tree.root, "run", "--offline") == 5
        assert asked == []
        assert "the file system is read-only" in capsys.readouterr().err
