"""Buckets that answer late, twice, in part, in another order, not at all, or deny something."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, SECRET, FakeBucket, bucket_of
from tests.support.real_buckets import Server, bucket_on, kinds
from tests.support.reference import needs_programs

ROOT = f"s3://{NAME}"
COMMANDS = (["verify"], ["du"], ["ls", "-l"])
_VARY = {"seconds", "started_at", "finished_at", "requests"}


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with images."""
    with bucket_of(TREES / "tutorial") as served:
        yield served


class Every:
    """Says yes to one request of so many, whatever thread asks."""

    def __init__(self, number: int) -> None:
        self._number, self._asked = number, 0
        self._lock = threading.Lock()

    def __call__(self, *_: object) -> bool:
        with self._lock:
            self._asked += 1
            return self._asked % self._number == 0


def lost(bucket: FakeBucket) -> None:
    bucket.lose = Every(5)


def repeated(bucket: FakeBucket) -> None:
    bucket.repeat = Every(2)


def reordered(bucket: FakeBucket) -> None:
    draw = random.Random(7)
    bucket.wait = lambda *_: draw.random() * 0.03


def throttled(bucket: FakeBucket) -> None:
    often = Every(4)
    bucket.fault = lambda *_: (503, "SlowDown") if often() else None
    bucket.retry_after = 1


def failing(bucket: FakeBucket) -> None:
    often = Every(6)
    bucket.fault = lambda *_: (500, "InternalError") if often() else None


def cut(bucket: FakeBucket) -> None:
    bucket.cut = 300 << 10
    assert any(len(one.data) > bucket.cut for one in bucket.objects.values())


def answers(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """Return what commands answer."""
    found = []
    for arguments in COMMANDS:
        code = run(["-r", ROOT, *arguments, "--no-cache", "--json"])
        captured = capsys.readouterr()
        document = {k: v for k, v in json.loads(captured.out).items() if k not in _VARY}
        found.append((code, document))
    return found


@pytest.mark.parametrize("trouble", [lost, repeated, reordered, throttled, failing, cut])
def test_answers_are_the_same_however_they_come(
    trouble: Callable[[FakeBucket], None],
    bucket: FakeBucket,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = answers(capsys)
    trouble(bucket)
    assert answers(capsys) == expected


@pytest.mark.parametrize(
    ("action", "arguments"), [("s3:ListBucket", ["ls"]), ("s3:GetObject", ["cat", "my-busybox"])]
)
def test_a_permission_that_is_missing_is_named(
    action: str, arguments: list[str], bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.denied = {action}
    began = time.monotonic()
    assert run(["-r", ROOT, *arguments, "--no-cache"]) == Exit.STORAGE.value
    assert time.monotonic() - began < 60
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert "permission denied" in line


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_clock_that_is_an_hour_off(
    ahead: int, bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.clock = ahead
    assert run(["-r", ROOT, "ls"]) == Exit.STORAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert "the clock of this machine is wrong" in line


@needs_programs("faketime")
@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
def test_a_clock_that_is_an_hour_off_for_a_real_server(
    kind: str, object_store: Callable[[str], Server]
) -> None:
    with bucket_on(object_store(kind), TREES / "whole") as root:
        command = ["faketime", "+1 hour", sys.executable, "-m", "regfs", "-r", root, "ls"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == Exit.STORAGE.value
    assert "the clock of this machine is wrong" in done.stderr
    assert SECRET not in done.stderr
