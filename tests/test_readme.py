"""README shows what regfs prints: every example is run, on a fresh copy of the tutorial tree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import RegfsServer
from tests.support.reference import needs_programs

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ (regfs [^\n]*)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def tutorial(tmp_path: Path) -> Path:
    """Return a copy as young as a checkout is: files get the time of copying."""
    target = tmp_path / "tutorial"
    shutil.copytree(PROJECT / "fixtures/trees/tutorial", target, copy_function=shutil.copyfile)
    return target


def stable(output: str) -> list[str]:
    """Return the lines that do not depend on the clock or on the file system's block size."""
    above = output.split("\nOn disk ")[0]
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", above)
    text = re.sub(r"^took .*$", "took TIME", text, flags=re.MULTILINE)
    return [line.rstrip() for line in text.strip().splitlines()]


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(("line", "shown"), BLOCKS, ids=[line for line, _ in BLOCKS])
def test_an_example_prints_what_readme_shows(line: str, shown: str, tutorial: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    environment["REGFS_ROOT"] = str(tutorial)
    command = [sys.executable, "-m", "regfs", *shlex.split(line)[1:]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT)
    assert stable(done.stdout) == stable(shown)
    assert done.returncode == 0


@needs_programs("skopeo", "curl", "bash")
def test_the_servers_do_what_readme_shows(tutorial: Path, tmp_path: Path) -> None:
    found = re.search(r"```console\n(\$ mkdir registry .*?)```", README, re.DOTALL)
    assert found is not None
    steps = re.findall(r"^\$ (.*?)\n((?:[^$].*\n)*)", found[1].replace("\\\n", ""), re.MULTILINE)
    (tmp_path / "registry").mkdir()
    writable = RegfsServer(tmp_path / "registry", "--writable")
    with writable as there, RegfsServer(tutorial) as here:
        ports = {"127.0.0.1:5001": there.address, "127.0.0.1:5000": here.address}
        for line, shown in steps:
            if line.endswith("&"):
                continue  # these are the two servers
            for told, used in ports.items():
                line = line.replace(told, used)
            done = subprocess.run(
                ["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, check=True
            )
            if shown:
                assert done.stdout.strip() == shown.strip()
        assert done.stdout.count("/link\n") == 5


def test_the_library_example_runs(tutorial: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    code = found[1].replace("/var/lib/registry", str(tutorial))
    for path in tutorial.rglob("*"):
        os.utime(path, (0, 0))  # old enough to be collected
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
    assert done.stdout.splitlines() == [
        "31 blobs, 13 manifests",
        "1109168 bytes in images",
        "sha256:25b1600519c0 is used by 7 images",
        "sha256:270795096978 is used by 5 images",
        "0 damaged images",
        "2 blobs would go",
    ], done.stderr


def test_the_tour_command_is_what_ci_runs() -> None:
    marked = README.split("<!-- test-command -->")[1]
    assert ".venv/bin/pytest" in marked.split("```")[1]
