"""A registry's own configuration as the root: its folder is opened, another storage is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.support.builder import TreeBuilder


@pytest.fixture
def config(tree: TreeBuilder, tmp_path: Path) -> str:
    """The configuration of a registry whose tree has one image, `app:v1`."""
    tree.push("app", "v1")
    file = tmp_path / "config.yml"
    file.write_text(f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tree.root}\n")
    return str(file)


def test_the_tree_is_where_the_configuration_says(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", config, "ls"]) == 0
    assert capsys.readouterr().out == "app\n"
    assert run(["-r", config, "gc", "plan"]) == 0


def test_a_variable_of_the_registry_goes_first(
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = TreeBuilder(tmp_path / "other")
    other.push("other", "v1")
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(other.root))
    assert run(["-r", config, "ls"]) == 0
    assert capsys.readouterr().out == "other\n"


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("storage: {oss: {bucket: b, secretkey: HUSH}}", "OSS (bucket b)", Exit.NOT_FOUND),
        ("storage: {s3: {secretkey: HUSH}}", "storage.s3: names no bucket", Exit.USAGE),
        ("storage: {odd: {}}", "a driver that regfs does not know", Exit.NOT_FOUND),
        ("storage: {filesystem: {rootdirectory: /no/such}}", "its rootdirectory", Exit.NOT_FOUND),
        ("storage: [", "not YAML", Exit.USAGE),
        ("storage: {\x1b[31m: x, y: z}", "not YAML", Exit.USAGE),
    ],
)
def test_what_cannot_be_opened_is_one_line(
    text: str, words: str, code: Exit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)
    assert run(["-r", str(file), "ls"]) == code.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: ")
    assert words in line
    assert str(file) in line
    assert "HUSH" not in line
    assert "\x1b" not in line


def test_a_pipe_of_that_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yml")
    assert run(["-r", str(tmp_path / "config.yml"), "ls"]) == Exit.NOT_FOUND.value
