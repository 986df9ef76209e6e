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
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.ports import free_port

PROJECT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK: Final = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)
SIZE: Final = r"\d[\d.]* [kMGT]?B"
DIGEST: Final = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b")
MARK: Final = "@@ end of a step @@"
TIMEOUT: Final = 600
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


def run(page: str, folder: Path) -> list[Outcome]:
    """Run the commands of a page in one shell, with other ports than those that it names.

    What the page has looked at in its first block of sh comes first, and is not in the outcome.
    """
    steps = steps_of(page)
    first = re.search(r"```sh\n[^`]*?(regfs -r tutorial [^`]*)```", page)
    script = [f"( {first[1]} ) > {os.devnull} 2>&1" if first else "", "exec 2>&1"]
    ports = {port: free_port() for port in ("5000", "5001")}
    for step in steps:
        command = step.command
        for told, used in ports.items():
            command = command.replace(f":{told}", f":{used}")
        if ".log" in command and not command.endswith("&"):
            # A line is written after the answer: once another is answered, it is there.
            script += [f"curl -s 127.0.0.1:{port}/v2/ -o {os.devnull}" for port in ports.values()]
        script += [command, f"echo '{MARK}' $?"]
        if command.endswith("&"):
            script.append(_wait_for(command))
    mine = [name for name in os.environ if name.startswith("REGFS_") or name == "COLUMNS"]
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "XDG_CONFIG_HOME": str(folder / "settings"),
        **_storage_of_buildah(folder),
    }
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


def _storage_of_buildah(folder: Path) -> dict[str, str]:
    """Return variables by which buildah keeps its images in `folder`, and mounts nothing."""
    lines = ["[storage]", 'driver = "vfs"']
    for key, place in (("graphroot", "images"), ("runroot", "running")):
        lines.append(f'{key} = "{folder / "buildah" / place}"')
    written = folder / "storage.conf"
    written.write_text("\n".join(lines) + "\n")
    return {"CONTAINERS_STORAGE_CONF": str(written), "BUILDAH_ISOLATION": "chroot"}


def _wait_for(command: str) -> str:
    address = re.search(r"127\.0\.0\.1:\d+", command)
    assert address is not None, command
    return f"curl -s --retry 100 --retry-delay 1 --retry-connrefused {address[0]}/v2/ -o /dev/null"


class Reading:
    """Reads what a page prints, or shows: what another machine or time may change is left out.

    Digests that are not those of the tutorial tree are numbered as they appear: the same digest
    has the same number in the whole page.
    """

    def __init__(self) -> None:
        blobs = PROJECT / "fixtures/trees/tutorial/docker/registry/v2/blobs/sha256"
        self._names = {path.name[:12]: path.name[:12] for path in blobs.glob("*/*")}

    def _name(self, found: re.Match[str]) -> str:
        return self._names.setdefault(found[0][:12], f"digest {len(self._names)}")

    def stable(self, output: str) -> list[str]:
        """Return the lines without what depends on the clock, the machine or its file system."""
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME", output)
        text = re.sub(r"\b\d\d:\d\d(:\d\d)?Z", "TIME", text)
        text = re.sub(r"^took .*$", "took TIME", text, flags=re.MULTILINE)
        text = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}", "RUN", text)
        text = DIGEST.sub(self._name, text)
        text = re.sub(rf"{SIZE} on disk", "SIZE on disk", text)
        text = re.sub(r"^disk  .*$", "disk DISK", text, flags=re.MULTILINE)
        text = re.sub(rf"({SIZE}) +{SIZE}( +\d+)$", r"\1 SIZE\2", text, flags=re.MULTILINE)
        if "RUN" in text:  # a time of another day is wider, and so is its column
            text = re.sub(" {2,}", " ", re.sub("─+", "─", text))
        above, head, disk = text.partition("\nOn disk  ")
        disk = re.sub(r" +", " ", re.sub(SIZE, "SIZE", disk))
        return [line.rstrip() for line in (above + head + disk).strip().splitlines()]


def renew(path: Path) -> bool:
    """Write what the commands of a page print now into it, if that differs; return whether.

    If so, whatever has the same digests and differs in times only stays as it is.
    """
    page = path.read_text(encoding="utf-8")
    steps = steps_of(page)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        outcomes = run(page, Path(folder))
    before, now = Reading(), Reading()
    pairs = list(zip(steps, outcomes, strict=True))
    same = [before.stable(step.shown) == now.stable(one.printed) for step, one in pairs]
    if all(same):
        return False
    left = zip(steps, outcomes, same, strict=True)

    def block(found: re.Match[str]) -> str:
        texts = []
        for _ in re.findall(r"^\$ ", found[1], re.MULTILINE):
            step, outcome, stays = next(left)
            digests = DIGEST.findall(outcome.printed)
            stays = stays and digests == DIGEST.findall(step.shown)
            shown = step.shown if stays else outcome.printed
            lines = [step.command, *shown.strip().splitlines()]
            texts.append("$ " + "".join(f"{line.rstrip()}\n" for line in lines))
        return "".join(texts)

    path.write_text(BLOCK.sub(block, page), encoding="utf-8")
    return True


if __name__ == "__main__":
    for one in PAGES:
        if renew(one):
            print(f"{one.relative_to(PROJECT)} has changed")
