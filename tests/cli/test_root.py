"""Where the tree is: an option, the environment, the current folder, the default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.support.builder import TreeBuilder
from tests.support.spawned import spawn


@pytest.fixture
def whole(tree: TreeBuilder) -> TreeBuilder:
    """A tree with one image, `app:v1`."""
    tree.push("app", "v1")
    return tree


def test_root_before_and_after_the_command(
    whole: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, other = str(whole.root), str(tmp_path)
    for arguments in (
        ["-r", root, "ls"],
        ["--root", root, "ls"],
        ["ls", "-r", root],
        ["ls", "--root", root],
        ["-r", other, "ls", "-r", root],
    ):
        assert run(arguments) == 0, arguments
        assert capsys.readouterr().out == "app\n"
    assert run(["-r", root, "gc", "plan", "--json"]) == 0
    assert run(["gc", "plan", "--json", "-r", root]) == 0
    assert run(["-r", root, "ls", "-r", other]) == Exit.NOT_FOUND.value


def test_root_from_the_environment(whole: TreeBuilder, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {"REGFS_ROOT": str(whole.root)}
    assert spawn("ls", cwd=empty, env=env).stdout == "app\n"
    assert spawn("-r", str(empty), "ls", "--allow-empty", env=env).stdout == ""
    # An empty one is none.
    assert spawn("ls", cwd=whole.root, env={"REGFS_ROOT": ""}).stdout == "app\n"


@pytest.mark.parametrize(
    "below",
    [
        "",
        "docker",
        "docker/registry",
        "docker/registry/v2",
        "docker/registry/v2/repositories/app/_manifests",
    ],
)
def test_root_is_the_current_folder_inside_a_tree(whole: TreeBuilder, below: str) -> None:
    done = spawn("ls", cwd=whole.root / below)
    assert (done.returncode, done.stdout, done.stderr) == (0, "app\n", "")


def test_the_environment_wins_over_the_current_folder(whole: TreeBuilder, tmp_path: Path) -> None:
    other = TreeBuilder(tmp_path / "other")
    other.push("other", "v1")
    assert spawn("ls", cwd=whole.root, env={"REGFS_ROOT": str(other.root)}).stdout == "other\n"


def test_root_defaults_to_var_lib_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REGFS_ROOT", raising=False)
    monkeypatch.setattr("regfs.cli.surroundings.DEFAULT_ROOT", str(tmp_path / "registry"))
    look_alike = tmp_path / "docker/registry/v2.old"
    look_alike.mkdir(parents=True)
    monkeypatch.chdir(look_alike)
    assert run(["ls"]) == Exit.NOT_FOUND.value
    assert str(tmp_path / "registry") in capsys.readouterr().err
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["ls"]) == Exit.NOT_FOUND.value
    assert str(tmp_path / "registry") in capsys.readouterr().err
    os.chdir(tmp_path)


@pytest.mark.parametrize("what", ["missing", "file", "folder"])
def test_a_folder_without_a_tree_exits_4(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    if what == "file":
        place.write_text("x")
    elif what == "folder":
        (place / "something").mkdir(parents=True)
    assert run(["-r", str(place), "ls"]) == Exit.NOT_FOUND.value
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("regfs: ")
    assert str(place) in line
    assert "docker/registry/v2" in line


def test_a_root_that_is_not_utf8_is_printed_escaped() -> None:
    done = spawn("-r", b"/no\xff\x1b[31mwhere", "ls")
    assert done.returncode == Exit.NOT_FOUND.value
    assert "\x1b" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "/no" in line
    assert "x1b[31mwhere" in line
