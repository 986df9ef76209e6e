"""Containers that do not answer, or stop half way: one line that says so, and nothing silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.support.archives import packed
from tests.support.examples import PROJECT

TREE = packed(PROJECT / "fixtures/trees/tutorial", prefix="registry/")
WENT = "docker cp failed: Error: the container went away"
Docker = Callable[[bytes, str], None]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Let `docker` write some bytes and end by a command of the shell."""

    def install(data: bytes, end: str) -> None:
        (tmp_path / "data").write_bytes(data)
        script = f"#!/bin/sh\ncat {tmp_path}/data\n{end}\n"
        (tmp_path / "docker").write_text(script)
        (tmp_path / "docker").chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return install


AWAY = "echo 'Error: the container went away' >&2; exit 1"


@pytest.mark.parametrize(
    ("data", "end", "code", "said"),
    [
        (b"", AWAY, Exit.STORAGE, WENT),
        (TREE[:2048], AWAY, Exit.STORAGE, f"no registry in what came of it: {WENT}"),
        (b"", "kill -9 $$", Exit.STORAGE, "docker cp failed: killed by signal 9"),
        (b"", "exit 125", Exit.STORAGE, "docker cp failed: exit code 125"),
        (b"", r"printf '\033[1m' >&2; exit 1", Exit.STORAGE, r"docker cp failed: \x1b[1m"),
        (b"", "exit 0", Exit.NOT_FOUND, "not a tar archive: it is empty"),
        (b"Hello", "exit 0", Exit.NOT_FOUND, "not a tar archive: it is cut off"),
        (TREE[:2048], "exit 0", Exit.STORAGE, "no registry in what came of it: it is cut off"),
    ],
    ids=[
        "refused", "gone-at-once", "killed", "silent", "control", "empty", "no-tar", "cut-off",
    ],
)  # fmt: skip
def test_a_container_that_gives_no_registry_is_told_in_a_line(
    data: bytes,
    end: str,
    code: Exit,
    said: str,
    docker: Docker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    docker(data, end)
    assert run(["-r", "docker://registry", "ls"]) == code.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: docker://registry:/var/lib/registry: ")
    assert said in line


@pytest.mark.parametrize("length", [len(TREE) // 4, len(TREE)])
def test_a_container_that_stops_half_way_leaves_no_answer_whole(
    length: int, docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker(TREE[:length], AWAY)
    assert run(["-r", "docker://registry", "ls"]) == Exit.FINDINGS.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: incomplete. ")
    assert WENT in line


def test_what_is_not_there_may_be_what_did_not_come(
    docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker(TREE[: len(TREE) // 4], AWAY)
    assert run(["-r", "docker://registry", "cat", "270795096978"]) == Exit.NOT_FOUND.value
    before, line = capsys.readouterr().err.splitlines()
    assert before.startswith("regfs: incomplete. ")
    assert line.startswith("regfs: no such ")


def test_a_program_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["-r", "docker://registry", "ls"]) == Exit.NOT_FOUND.value
    assert capsys.readouterr().err == "regfs: docker: is not installed; it reads containers\n"
    (tmp_path / "docker").write_text("")
    assert run(["-r", "docker://registry", "ls"]) == Exit.NOT_FOUND.value
    assert capsys.readouterr().err == "regfs: docker: cannot be run: Permission denied\n"
