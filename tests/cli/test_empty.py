"""A folder in which there is no registry is no healthy registry: it may be an unmounted volume."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import NotARegistry
from regfs.heal.places import open_tree
from tests.support.builder import TreeBuilder

REF = "app:v1"
COMMANDS = [
    ["info"],
    ["ls"],
    ["ls", "-l"],
    ["ls", "--untagged"],
    ["ls", REF],
    ["show", REF],
    ["cat", REF],
    ["why", REF],
    ["du"],
    ["du", "--by", "layer"],
    ["du", "--rm", REF],
    ["reuse"],
    ["waste"],
    ["bases"],
    ["verify"],
    ["verify", "--level", "links"],
    ["verify", "--ndjson"],
    ["verify", "--metrics", "out.prom"],
    ["verify", "--junit", "out.xml"],
    ["verify", "--ledger", "ledger"],
    ["verify", "--merge", "ledger"],
    ["verify", "--quarantine"],
    ["heal", "--relink"],
    ["heal", "--from", "whole"],
    ["gc", "plan"],
    ["gc", "plan", "-o", "plan.json"],
    ["gc", "run", "--yes", "--metrics", "out.prom"],
    ["gc", "run", "-n"],
    ["gc", "restore", "latest"],
    ["gc", "purge", "--metrics", "out.prom"],
    ["gc", "runs"],
    ["serve", "--listen", "127.0.0.1:0"],
]

HOLLOW = {
    "an empty folder": [],
    "a disk with nothing on it": ["lost+found"],
    "only what regfs keeps": [".regfs"],
    "a mount point below it": ["docker/registry/v2"],
    "a mount point above v2": ["docker/registry"],
    "somebody else's folder": ["music", "docker"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run, with a whole tree beside the folder that is none."""
    TreeBuilder(tmp_path / "whole").push("app", "v1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hollow(place: Path, kind: str) -> Path:
    folder = place / "registry"
    folder.mkdir()
    for name in HOLLOW[kind]:
        (folder / name).mkdir(parents=True)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("kind", ["an empty folder", "a mount point below it"])
def test_every_command_refuses_an_empty_folder_and_leaves_it_empty(
    place: Path, capsys: pytest.CaptureFixture[str], kind: str, command: list[str]
) -> None:
    folder = hollow(place, kind)
    before = files(place)
    assert run(["-r", str(folder), *command]) == Exit.NOT_FOUND.value
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"regfs: {folder}: not a registry: ")
    assert "docker/registry/v2" in line
    assert "is its volume not mounted?" in line
    assert files(place) == before


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_folder_without_a_tree_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = hollow(place, kind)
    assert run(["-r", str(folder), "verify"]) == Exit.NOT_FOUND.value
    assert "is its volume not mounted?" in capsys.readouterr().err


def test_a_repositories_folder_alone_makes_a_tree(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What the other one lacks is then told by what was found.
    folder = hollow(place, "a mount point below it")
    (folder / "docker/registry/v2/repositories").mkdir()
    assert run(["-r", str(folder), "verify", "--no-ledger"]) == 0
    assert "no problems found" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["verify"], ["info"], ["gc", "plan"], ["ls"], ["du"]])
@pytest.mark.parametrize("kind", ["an empty folder", "a mount point below it"])
def test_allow_empty_accepts_an_empty_folder(
    place: Path, capsys: pytest.CaptureFixture[str], kind: str, command: list[str]
) -> None:
    folder = hollow(place, kind)
    assert run(["-r", str(folder), *command, "--allow-empty"]) == 0
    assert "mounted" not in capsys.readouterr().err


def test_allow_empty_still_refuses_a_folder_with_other_content(place: Path) -> None:
    folder = hollow(place, "somebody else's folder")
    assert run(["-r", str(folder), "ls", "--allow-empty"]) == Exit.NOT_FOUND.value


def test_a_writable_server_begins_a_fresh_registry(place: Path) -> None:
    folder = hollow(place, "an empty folder")
    command = [sys.executable, "-m", "regfs", "-r", str(folder), "serve", "--writable"]
    serving = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert serving.stderr is not None
        assert f"serves {folder}, writable" in serving.stderr.readline()
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=60)


def test_heal_refuses_an_empty_source(place: Path) -> None:
    # It would be said to lack everything, where it is only not mounted.
    with pytest.raises(NotARegistry, match="is its volume not mounted"):
        open_tree(str(hollow(place, "an empty folder")))


def test_an_empty_root_option_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGFS_ROOT", str(place / "whole"))
    for arguments in (["-r", "", "ls"], ["ls", "-r", ""], ["gc", "plan", "--root", ""]):
        assert run(arguments) == Exit.USAGE.value
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "is empty" in captured.err


# -- a folder that is near --------------------------------------------------------------------


def refusal(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["-r", str(folder), "ls"]) == Exit.NOT_FOUND.value
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize("near", ["_data", "registry", "volumes/registry/_data"])
def test_an_error_names_a_tree_nearby(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], near: str
) -> None:
    TreeBuilder(tmp_path / "given" / near).push("app", "v1")
    line = refusal(tmp_path / "given", capsys)
    assert f"there is one in {tmp_path / 'given' / near};" in line


def test_an_error_names_the_first_of_several_trees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b", "a", "c"):
        TreeBuilder(tmp_path / "given" / name)
    line = refusal(tmp_path / "given", capsys)
    assert f"there is one in {tmp_path / 'given/a'}, and in others;" in line


def test_an_error_names_other_kinds_of_stores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "oci/blobs/sha256").mkdir(parents=True)
    (tmp_path / "oci/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    assert "an OCI image layout without index.json" in refusal(tmp_path / "oci", capsys)
    (tmp_path / "v1/images/abc").mkdir(parents=True)
    (tmp_path / "v1/repositories/library/app").mkdir(parents=True)
    assert "registry of version 1" in refusal(tmp_path / "v1", capsys)


def as_minio(tree: TreeBuilder) -> None:
    """Turn every file into the folder that MinIO keeps an object in."""
    for path in [path for path in tree.v2.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / "xl.meta").write_bytes(b"XL2 \x01\0\x03\0" + data)


def test_the_disk_of_a_minio_server_is_one_message(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    for tag in range(20):
        tree.push("app", f"v{tag}")
    as_minio(tree)
    line = refusal(tree.root, capsys)
    assert "the disk of a MinIO server" in line
    assert "through MinIO" in line


def test_one_odd_blob_is_not_taken_for_minio(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1")
    for name in os.listdir(tree.v2 / "blobs/sha256")[1:]:
        shutil.rmtree(tree.v2 / "blobs/sha256" / name)
    tree.push("other", "v1")
    first = min(tree.v2.glob("blobs/sha256/*/*/data"))
    first.unlink()
    (first / "xl.meta").mkdir(parents=True)
    assert run(["-r", str(tree.root), "ls"]) == 0
    (first / "xl.meta").rmdir()
    (first / "xl.meta").write_bytes(b"")
    assert run(["-r", str(tree.root), "ls"]) == 0
    assert capsys.readouterr().out == "app\nother\n" * 2
