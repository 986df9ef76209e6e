"""Roots that cannot be opened: each is called by name, with what to do instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import NotARegistry
from regfs.stores import open_store
from tests.support.builder import TreeBuilder


def refusal(root: str) -> str:
    with pytest.raises(NotARegistry) as caught:
        open_store(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("s3://", "must be s3://BUCKET"),
        ("docker://", "must be docker://CONTAINER"),
        ("podman://-v", "must be podman://CONTAINER"),
        ("podman://host/app:v1", "must be podman://CONTAINER"),
        ("https://registry.example.com", "only heal --from takes this"),
        ("https://registry.example.com", "skopeo copy --all docker://... oci:FOLDER"),
    ],
)
def test_a_root_elsewhere_is_called_by_name(
    root: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(root)
    assert run(["-r", root, "gc", "plan"]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"regfs: {refusal(root)}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"BZh91AY", "an archive (bzip2)"),
        (b"\xfd7zXZ\x00\x00", "an archive (xz)"),
        (b"PK\x03\x04\x14", "an archive (zip)"),
    ],
)
def test_a_file_is_called_by_what_it_holds(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    message = refusal(str(file))
    assert words in message
    assert message.startswith(f"{file}: this is ")
    assert "\x1b" not in message


@pytest.mark.parametrize("data", [b"", b"text", b"storage", b"\xff" * 300])
def test_any_other_file_is_no_folder(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    assert "not a folder" in refusal(str(file))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a folder" in refusal(str(tmp_path / "pipe"))


def test_a_folder_of_such_a_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = TreeBuilder(tmp_path / "s3:/bucket")
    tree.push("app", "v1")
    (tmp_path / "-").symlink_to(tree.root)
    monkeypatch.chdir(tmp_path)
    for root in ("s3://bucket", "-"):
        assert open_store(root).url


_URLS = (
    "https://user:hunter2@host/x",
    "https://host/x?token=hunter2",
    "s3://key:hunter2@bucket/x",
    "s3://bucket?X-Amz-Signature=hunter2",
    "inventory:s3://key:hunter2@bucket/manifest.json",
)
_TAKERS: tuple[list[str], ...] = (["ls"], ["import"], ["export", "--to"], ["heal", "-n", "--from"])
_ASKED = [(taker, url) for taker in _TAKERS for url in _URLS if taker[0] != "heal" or "s3" in url]
"""`heal --from https://...` asks a registry."""


@pytest.mark.parametrize(("taker", "url"), _ASKED)
def test_no_message_has_a_password_of_a_url(
    tmp_path: Path, taker: list[str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = TreeBuilder(tmp_path / "registry")
    tree.push("app", "v1")
    words = ["-r", url, "ls"] if taker == ["ls"] else ["-r", str(tree.root), *taker, url]
    assert run(words) in (Exit.NOT_FOUND.value, Exit.USAGE.value)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: ")
    assert "hunter2" not in line
