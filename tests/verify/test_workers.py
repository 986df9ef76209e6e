"""Blobs are hashed and layers unpacked by processes that end when they should."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.content.hashing import HashOutcome
from regfs.digest import Digest
from regfs.findings import Code
from regfs.progress import SILENT, Silent
from regfs.stores import open_store
from regfs.verify.content import BATCH_BYTES, hash_all, reading_order
from regfs.verify.workers import START_COST
from tests.support.builder import (
    Blob,
    TreeBuilder,
    dumps,
    image,
    tar,
)
from tests.support.reference import needs_programs
from tests.support.unpacking import FILES, fitting, packed, verify
from tests.support.verification import codes, touched


def many(tree: TreeBuilder, count: int) -> list[tuple[Digest, int]]:
    """Store many small blobs, the last of them corrupt; return digests and sizes."""
    found = []
    for number in range(count):
        data = b"%d" % number
        found.append((Digest(tree.blob(data)), len(data)))
    tree.blob_path(found[-1][0]).write_bytes(b"wrong")
    return found


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[TreeBuilder, list[tuple[Digest, int]]]:
    tree = TreeBuilder(tmp_path_factory.mktemp("many"))
    return tree, many(tree, 2 * START_COST + 3000)


def hashed(tree: TreeBuilder, blobs: list[tuple[Digest, int]], **options: Any) -> list[HashOutcome]:
    store = open_store(str(tree.root))
    return list(hash_all(store, blobs, jobs=2, executor=None, **options))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Return the processes that are started, as they are."""
    processes: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def note(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(original(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr("regfs.verify.workers.subprocess.Popen", note)
    return processes


Stock = tuple[TreeBuilder, list[tuple[Digest, int]]]
Started = list[subprocess.Popen[bytes]]


def assert_whole(outcomes: list[HashOutcome], blobs: list[tuple[Digest, int]]) -> None:
    assert sorted(one for outcome in outcomes for one in outcome.digests) == sorted(
        digest for digest, _ in blobs
    )
    (problem,) = (problem for outcome in outcomes for problem in outcome.problems)
    assert (problem.digest, problem.code) == (blobs[-1][0], Code.BLOB_CORRUPT)


def test_many_small_blobs_are_hashed_by_processes_that_end(stock: Stock, started: Started) -> None:
    tree, blobs = stock
    assert_whole(hashed(tree, blobs, progress=SILENT), blobs)
    assert 1 <= len(started) <= 2
    assert all(process.poll() is not None for process in started)


def test_few_blobs_start_no_process(stock: Stock, started: Started) -> None:
    tree, blobs = stock
    assert_whole(hashed(tree, blobs[-1000:], progress=SILENT), blobs[-1000:])
    assert started == []


def test_a_process_that_is_lost_loses_nothing(
    stock: Stock, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, blobs = stock
    monkeypatch.setattr("regfs.verify.workers.START_COST", 0)

    class Killing(Silent):
        def advance(self, amount: int) -> None:
            for process in started:
                process.kill()

    assert_whole(hashed(tree, blobs, progress=Killing()), blobs)
    assert started


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/false", "/bin/cat"])
def test_where_no_process_can_be_started_threads_do_it_all(
    stock: Stock, executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, blobs = stock
    monkeypatch.setattr("regfs.verify.workers.START_COST", 0)
    monkeypatch.setattr("sys.executable", executable)
    assert_whole(hashed(tree, blobs, progress=SILENT), blobs)


def test_progress_of_processes_adds_up(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, blobs = stock
    monkeypatch.setattr("regfs.verify.workers.START_COST", 0)

    class Counting(Silent):
        done = 0

        def advance(self, amount: int) -> None:
            self.done += amount

    progress = Counting()
    hashed(tree, blobs[:-1], progress=progress)
    assert progress.done == sum(size for _, size in blobs[:-1])


def test_layers_are_unpacked_by_processes_too(
    tree: TreeBuilder, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.workers.START_COST", 0)
    monkeypatch.setattr("regfs.content.hashing._REPORT", 1 << 20)
    data = tar({"noise": random.Random(1).randbytes(3 << 20)})
    tree.push("app", "right", fitting((packed("gzip", data), data)))
    tree.push("app", "wrong", fitting((packed("gzip", data), FILES)))
    result = verify(tree, jobs=2)
    assert started
    assert codes(result) == ["diffid-mismatch"]
    assert touched(result) == {"app:wrong"}


def test_a_stop_ends_processes_in_the_middle_of_a_task(
    tree: TreeBuilder, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.workers.START_COST", 0)
    bomb = gzip.compress(bytes(1 << 24), 1) * 64
    tree.push("app", "v1", image([Blob(bomb)], {"rootfs": {"diff_ids": []}}))

    class Stopping(Silent):
        def advance(self, amount: int) -> None:
            if started:
                raise KeyboardInterrupt

    before = set(threading.enumerate())
    result = verify(tree, jobs=2, progress=Stopping())
    assert result.interrupted
    assert set(threading.enumerate()) <= before
    assert [process.poll() for process in started] == [-signal.SIGKILL]


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]


def eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


PARENT = """
import sys
import regfs.verify.workers
regfs.verify.workers.START_COST = 0
from regfs.cli.app import run
sys.exit(run(["-r", sys.argv[1], "verify", "--level", "content", "--jobs", "2"]))
"""


@pytest.fixture
def busy(tree: TreeBuilder) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a verification whose processes have work for long; return it, and their ids."""
    zeros = gzip.compress(bytes(1 << 24), 1) * 320
    for number in range(4):
        bomb = gzip.compress(tar({str(number): bytes(1 << 28)})[:512], 1) + zeros
        config = dumps({"number": number, "rootfs": {"type": "layers", "diff_ids": []}})
        tree.push("app", f"v{number}", image([Blob(bomb)], config))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tree.root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert eventually(lambda: len(children(parent.pid)) == 2)
        yield parent, children(parent.pid)
    finally:
        parent.kill()
        parent.communicate()


Busy = tuple[subprocess.Popen[str], list[int]]


@needs_programs("ps")
def test_processes_end_with_a_parent_that_is_killed(busy: Busy) -> None:
    parent, workers = busy
    parent.kill()
    parent.wait()
    assert eventually(lambda: not any(map(alive, workers)))


@needs_programs("ps")
def test_a_key_is_left_to_the_parent(busy: Busy) -> None:
    parent, workers = busy
    for worker in workers:
        os.kill(worker, signal.SIGINT)
    time.sleep(0.2)
    assert all(map(alive, workers))
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=300)
    assert parent.returncode == 130
    assert "Traceback" not in said
    assert eventually(lambda: not any(map(alive, workers)))


def test_disks_read_in_the_order_of_writing_the_longest_first() -> None:
    rows = [(Digest.of(b"%d" % n), size, mtime) for n, (size, mtime) in enumerate(
        [(5, 3.0), (BATCH_BYTES + 1, 9.0), (7, 1.0), (BATCH_BYTES + 9, 2.0), (BATCH_BYTES, 2.0)]
    )]  # fmt: skip
    digests = [row[0] for row in rows]
    assert [one for one, _ in reading_order(rows)] == [digests[n] for n in (3, 1, 2, 4, 0)]
