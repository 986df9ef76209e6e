"""The examples of README.md and docs/: found, run as a reader runs them, and written anew.

A page is read from top to bottom in one shell, in a folder where the tutorial tree lies in
`tutorial` and the checkout's `fixtures` beside it. Each block ```console holds commands after `$ `
and what they print.

    python -m tests.support.examples            # writes what has changed into all pages
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

PROJECT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK: Final = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)
MARK: Final = "@@ end of a step @@"
TIMEOUT: Final = 300
"""Seconds that a page may take."""


class Step(NamedTuple):
    """A command of a page, with what the page says it prints."""

    command: str
    shown: str


class Outcome(NamedTuple):
    """What a command of a page did: its output, standard error included, and its exit code."""

    printed: str
    code: int


def steps_of(page: str) -> list[Step]:
    """Return the commands of a page from top to bottom, lines that continue joined."""
    steps = []
    for block in BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            found = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL)
            assert found is not None, part
            steps.append(Step(*found.groups()))
    return steps


def prepare(folder: Path) -> None:
    """Make a folder in which the commands of a page can run; every file in it is new."""
    shutil.copytree(
        PROJECT / "fixtures/trees/tutorial", folder / "tutorial", copy_function=shutil.copyfile
    )
    (folder / "fixtures").symlink_to(PROJECT / "fixtures")


def run(steps: list[Step], folder: Path) -> list[Outcome]:
    """Run commands in one shell, with other ports than those that the page names."""
    script = ["exec 2>&1"]
    ports = {port: _free_port() for port in ("5000", "5001")}
    for step in steps:
        command = step.command
        for told, used in ports.items():
            command = command.replace(f":{told}", f":{used}")
        script += [command, f"echo '{MARK}' $?"]
        if command.endswith("&"):
            script.append(_wait_for(command))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("REGFS_ROOT", None)
    done = subprocess.run(
        ["bash"], input="\n".join(script), stdout=subprocess.PIPE, text=True, cwd=folder,
        env=environment, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    text = done.stdout
    for told, used in ports.items():
        text = text.replace(f":{used}", f":{told}")
    text = text.replace(str(folder.resolve()), "/srv")
    found = re.split(rf"{MARK} (\d+)\n", text)
    return [Outcome(*pair) for pair in zip(found[::2], map(int, found[1::2]), strict=False)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(command: str) -> str:
    address = re.search(r"127\.0\.0\.1:\d+", command)
    assert address is not None, command
    return f"curl -s --retry 100 --retry-delay 1 --retry-connrefused {address[0]}/v2/ -o /dev/null"


def stable(output: str) -> list[str]:
    """Return the lines without what depends on the clock, the machine or its file system."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME", output)
    text = re.sub(r"^took .*$", "took TIME", text, flags=re.MULTILINE)
    text = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}", "RUN", text)
    above, head, disk = text.partition("\nOn disk ")
    disk = re.sub(r" +", " ", re.sub(r"\d[\d.]* [kM]?B", "SIZE", disk))
    return [line.rstrip() for line in (above + head + disk).strip().splitlines()]


def renew(path: Path) -> bool:
    """Write what the commands of a page print now into it, and return whether that differs."""
    page = path.read_text(encoding="utf-8")
    steps = steps_of(page)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        outcomes = iter(zip(steps, run(steps, Path(folder)), strict=True))

    def block(found: re.Match[str]) -> str:
        texts = []
        for _ in re.findall(r"^\$ ", found[1], re.MULTILINE):
            step, outcome = next(outcomes)
            same = stable(step.shown) == stable(outcome.printed)
            lines = [line.rstrip() for line in outcome.printed.strip().splitlines()]
            shown = step.shown if same else "".join(f"{line}\n" for line in lines)
            texts.append(f"$ {step.command}\n{shown}")
        return "".join(texts)

    renewed = BLOCK.sub(block, page)
    path.write_text(renewed, encoding="utf-8")
    return renewed != page


if __name__ == "__main__":
    for one in PAGES:
        if renew(one):
            print(f"{one.relative_to(PROJECT)} has changed")
