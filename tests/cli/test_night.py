"""The operator's night: a full disk, and three commands, each as the one before has printed it.

    regfs info  ->  regfs gc run  ->  regfs gc purge

On a small tmpfs, with the registry stopped and with docker-registry running on the tree.
"""

from __future__ import annotations

import random
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.support.builder import TreeBuilder, image
from tests.support.disks import Filled, fill, free, needs_mounts, small_disk
from tests.support.reference import ReferenceRegistry, needs_reference

LARGE = 1_500_000
"""Bytes of the layer that one tag after another has pushed over."""


class Night:
    """A registry on a disk that is full, and the person who is called."""

    def __init__(self, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.disk = disk
        self.tree = TreeBuilder(disk / "registry")
        for number in range(4):
            self.tree.push("team/app", "latest", image(["base", noise(number)]))
        self.tree.push("team/db", "v1", image(["base", "db"]))
        self.tree.age(30 * 86400)
        self.kept = {name: self.tree.current(name, tag) for name, tag in TAGS.items()}
        self.filled: Filled = fill(disk)
        self._capsys = capsys

    def types(self, command: str, *more: str, code: int = 0) -> str:
        """Run a command line as it was printed; return all that it prints."""
        words = shlex.split(command)
        assert words[0] == "regfs"
        assert run([*words[1:], *more]) == code, self._capsys.readouterr()
        shown = self._capsys.readouterr()
        return shown.out + shown.err

    def assert_whole(self) -> None:
        """See every tag at its image, and the tree in good order."""
        assert {name: self.tree.current(name, tag) for name, tag in TAGS.items()} == self.kept
        self.types(f"regfs -r {self.tree.root} verify")


TAGS = {"team/app": "latest", "team/db": "v1"}


def noise(seed: int) -> str:
    """Return text that no compression makes much smaller."""
    return random.Random(seed).randbytes(LARGE // 2).hex()


def told(out: str, words: str) -> str:
    """Return what follows some words, to the end of the line."""
    (line,) = [line for line in out.splitlines() if words in line]
    return line.partition(words)[2].strip()


def command_in(text: str) -> str:
    """Return the command line at the end of a line."""
    return text[text.index("regfs ") :]


@pytest.fixture
def night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Night]:
    with small_disk("tmpfs", tmp_path, size=16 << 20) as disk:
        yield Night(disk, capsys)


@needs_mounts
def test_with_the_registry_stopped_the_space_is_back_after_two_commands(night: Night) -> None:
    assert free(night.disk) == 0
    out = night.types(f"regfs -r {night.tree.root} info")
    assert told(out, "disk ").startswith("0 B free of ")
    assert told(out, "to free ") == "nothing now"
    promised, _, command = told(out, "  with -m ").partition(": ")

    refused = night.types(command, "--yes", code=Exit.STORAGE.value)
    assert "no space left on the device" in refused
    done = night.types(command_in(told(refused, "without a way back:")), "--yes")
    assert "deleted in place" in done

    assert promised.split(" (")[0] in done
    assert free(night.disk) >= 3 * LARGE // 2
    night.assert_whole()


@needs_mounts
def test_a_run_and_a_purge_by_the_commands_that_each_prints(night: Night) -> None:
    night.filled.give_back(1 << 20)
    before = free(night.disk)
    out = night.types(f"regfs -r {night.tree.root} info")
    moved = night.types(told(out, "  with -m ").partition(": ")[2], "--yes")
    assert free(night.disk) <= before  # moving frees nothing

    held = told(night.types(f"regfs -r {night.tree.root} info"), "quarantine ")
    assert re.search(r"of 1 run, from \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: ", held)
    assert "Not deleted yet" in night.types(command_in(held))
    assert "To delete: nothing" in night.types(command_in(held), "-n")

    now = told(moved, "Free it now:")
    assert "1 run" in night.types(now, "-n")
    night.types(now)
    assert free(night.disk) >= before + 3 * LARGE // 2
    assert "quarantine" not in night.types(f"regfs -r {night.tree.root} info")
    night.assert_whole()


@needs_mounts
@needs_reference
def test_beside_a_running_registry_nothing_that_it_serves_is_missed(night: Night) -> None:
    night.filled.give_back(2 << 20)
    with ReferenceRegistry(night.tree.root) as registry:
        out = night.types(f"regfs -r {night.tree.root} info")
        moved = night.types(told(out, "  with -m ").partition(": ")[2], "--yes", "--wait", "1s")
        # The image of before comes back under another tag while it lies in quarantine.
        registry.push("team/app", "again", image(["base", noise(2)]))
        time.sleep(2.5)
        done = night.types(told(moved, "Free the space:"))
        assert "Deleted: " in done
        for name, tag in [*TAGS.items(), ("team/app", "again")]:
            answer = registry.request("GET", f"/v2/{name}/manifests/{tag}", headers=ACCEPT)
            assert answer.status == 200
        registry.push("team/db", "v2", image(["base", noise(9)]))
    assert free(night.disk) > 0
    night.assert_whole()


ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
