"""A server that is killed: only garbage is left, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import settings

from regfs.digest import Digest
from tests.support.builder import OCI_MANIFEST, TreeBuilder, image
from tests.support.client import Client
from tests.support.live import blobs_of
from tests.support.powercut import Disk, cuts, dies
from tests.support.processes import RegfsServer
from tests.support.pusher import NEW, OLD, Pusher, change, pusher, stock
from tests.support.syscalls import CHANGING, TRIED, needs_strace
from tests.support.verification import check, codes

PROJECT = Path(__file__).resolve().parents[2]
HALFWAY = {"tag-without-current", "repository-tagless"}
"""What clients do not see: a tag that is half set or half deleted, a manifest before its tag."""
TRIED_CUTS = {30: 9, 100: 60}
"""Examples that the profile of hypothesis asks for -> moments of a power cut; else all."""
_CALL = re.compile(r"(?P<name>\w+)\((?P<rest>.*)")


# -- between any two system calls ------------------------------------------------------------


class Scene:
    """A tree, and a process that changes it, as a server does on behalf of one client."""

    def __init__(self, folder: Path) -> None:
        self.tree = TreeBuilder(folder / "registry")
        self._saved, self._log = folder / "saved", folder / "strace.log"
        stock(self.tree)
        shutil.copytree(self.tree.root, self._saved)

    def reset(self) -> None:
        shutil.rmtree(self.tree.root)
        shutil.copytree(self._saved, self.tree.root)

    def run(self, *tracing: str) -> int:
        """Run the process on the tree as it was; return its exit code, below 0 for a signal."""
        self.reset()
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        program = [sys.executable, "-m", "tests.support.pusher", str(self.tree.root)]
        command = ["strace", "-qq", "-y", "-o", str(self._log), *tracing, *program]
        return subprocess.run(command, cwd=PROJECT, env=environment, check=False).returncode

    def calls(self) -> list[tuple[str, int]]:
        """Run it to its end; return each call that changes the tree: its name, and its number."""
        assert self.run("-e", f"trace={CHANGING}") == 0
        counts: Counter[str] = Counter()
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            if (call := _CALL.match(line)) is None:
                continue
            name, rest = call.group("name", "rest")
            counts[name] += 1
            opened = name in ("open", "openat")
            if str(self.tree.root) in rest and (not opened or "O_CREAT" in rest):
                found.append((name, counts[name]))
        return found

    def killed(self) -> Iterator[tuple[str, int]]:
        """Kill the process before one call after another; yield each."""
        calls = self.calls()
        tried = min(TRIED.get(settings().max_examples, len(calls)), len(calls))
        assert tried > 5
        for number in range(tried):
            name, count = calls[round(number * (len(calls) - 1) / (tried - 1))]
            inject = f"inject={name}:signal=SIGKILL:when={count}"
            assert self.run("-e", f"trace={name}", "-e", inject) == -signal.SIGKILL
            yield name, count


def ours(tree: TreeBuilder) -> set[str]:
    """Return every file but what a crash may leave: halves of files, and unfinished uploads."""
    return {
        path
        for path in tree.files()
        if not path.endswith(".regfs-tmp") and "/_uploads/" not in path
    }


@needs_strace
def test_a_push_can_be_killed_before_any_call(memory: Path) -> None:
    scene = Scene(memory)
    tree = scene.tree
    change(pusher(tree))
    done = ours(tree)
    old = {digest: tree.blob_path(digest).read_bytes() for digest in blobs_of(OLD)}
    for call in scene.killed():
        assert set(codes(check(tree))) <= HALFWAY, call
        assert {digest: tree.blob_path(digest).read_bytes() for digest in old} == old, call
        assert tree.current("app", "v1") in (OLD.digest, NEW.digest), call
        assert tree.current("app", "stays") == OLD.digest, call
        change(pusher(tree))
        assert ours(tree) - done <= {tree.relative(tree.tag_index_path("app", "goes", OLD.digest))}
        assert done <= ours(tree), call


# -- a power cut -------------------------------------------------------------------------------


def test_a_power_cut_at_any_moment_of_a_push_breaks_no_reference(memory: Path) -> None:
    tree, saved = TreeBuilder(memory / "registry"), memory / "saved"
    stock(tree)
    shutil.copytree(tree.root, saved)
    steps: Any = Disk(tree.root).store()
    change(Pusher(steps))
    old = {digest: tree.blob_path(digest).read_bytes() for digest in blobs_of(OLD)}
    tried = min(TRIED_CUTS.get(settings().max_examples, steps.changes), steps.changes)
    for number in range(tried):
        at = round(number * (steps.changes - 1) / (tried - 1))
        disk = _struck(tree, saved, at)
        count = len(disk.changes)
        for taken in cuts(count):
            disk = _struck(tree, saved, at)
            disk.cut(taken, torn=0.5)
            assert set(codes(check(tree))) <= HALFWAY, at
            assert {digest: tree.blob_path(digest).read_bytes() for digest in old} == old, at
            assert tree.current("app", "v1") in (OLD.digest, NEW.digest), at
        change(pusher(tree))
        assert tree.current("app", "v1") == NEW.digest


def _struck(tree: TreeBuilder, saved: Path, at: int) -> Disk:
    """Return the disk of a server that died at its `at`-th change."""
    shutil.rmtree(tree.root)
    shutil.copytree(saved, tree.root)
    disk = Disk(tree.root)
    assert dies(lambda: change(Pusher(disk.store(at))))
    return disk


# -- a whole server --------------------------------------------------------------------------


def push(client: Client, name: str, number: int) -> str:
    """Push an image of one's own; return its digest when it has been acknowledged."""
    content = image(["base", f"{name} {number}"])
    for blob in content.blobs:
        url = f"/v2/{name}/blobs/uploads/?digest={blob.digest}"
        client("POST", url, blob.data, 201)
    client("PUT", f"/v2/{name}/manifests/v{number}", content.data, 201, Content_Type=OCI_MANIFEST)
    return content.digest


@pytest.mark.parametrize("after", [1, 7])
def test_what_was_acknowledged_is_there_when_the_server_was_killed(
    tree: TreeBuilder, after: int
) -> None:
    acknowledged: list[tuple[str, str, str]] = []
    enough = threading.Event()

    def work(client: Client, name: str) -> None:
        with suppress(requests.RequestException):
            for number in range(1000):
                digest = push(client, name, number)
                acknowledged.append((name, f"v{number}", digest))
                if len(acknowledged) >= after:
                    enough.set()

    with RegfsServer(tree.root, "--writable") as server:
        url = f"http://{server.address}"
        data = b"0123456789" * 30
        place = Client(url).begin()
        Client(url).patch(place, 0, data[:100])
        threads = [threading.Thread(target=work, args=(Client(url), f"app{n}")) for n in range(3)]
        for thread in threads:
            thread.start()
        assert enough.wait(120)
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
    assert set(codes(check(tree))) <= HALFWAY
    with RegfsServer(tree.root, "--writable") as server:
        client = Client(f"http://{server.address}")
        for name, tag, digest in acknowledged:
            found = client("GET", f"/v2/{name}/manifests/{tag}", status=200)
            assert found.headers["Docker-Content-Digest"] == digest
            for part in (found.json()["config"], *found.json()["layers"]):
                assert client("GET", f"/v2/{name}/blobs/{part['digest']}", status=200).content
        push(client, "app0", 1000)
        assert client("GET", place, status=204).headers["Range"] == "0-99"
        client.patch(place, 100, data[100:])
        client.complete(place, Digest.of(data))
