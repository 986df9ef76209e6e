"""No secret in what regfs prints, writes or is called with, wherever the keys come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.stores import open_store
from regfs.tree.roots import place_of
from tests.make_fixtures import TREES
from tests.support.buckets import KEY, NAME, SECRET, FakeBucket, bucket_of, environment
from tests.support.s3.uploads import begun, signed

TOKEN = "the-token-OF-a-session"
ROOT = f"s3://{NAME}"
COMMANDS = [
    ["info"],
    ["-v", "ls", "-l"],
    ["ls", "--uploads", "--json"],
    ["du", "--json"],
    ["-v", "verify"],
    ["verify", "--json"],
    ["show", "app:v1", "--json"],
    ["config", "--json"],
    ["-v", "gc", "plan", "--output", "PLAN"],
    ["gc", "plan", "-m", "--json"],
    ["untag", "app:v1"],
    ["gc", "run", "-m", "--offline", "--uploads-older-than", "0s", "--yes", "--json"],
    ["gc", "runs", "--json"],
    ["-v", "gc", "restore", "latest"],
    ["gc", "run", "-m", "--offline", "--yes", "--json"],
    ["gc", "purge", "--offline", "--yes", "--json"],
]
FAILURES = [
    (403, "SignatureDoesNotMatch"),
    (403, "InvalidAccessKeyId"),
    (403, "AccessDenied"),
    (403, "RequestTimeTooSkewed"),
    (404, "NoSuchBucket"),
    (400, "AuthorizationHeaderMalformed"),
    (301, "PermanentRedirect"),
    (418, "Teapot"),
]


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    with bucket_of(TREES / "whole") as served:
        key = next(one for one in served.objects if "/_uploads/" in one and one.endswith("/data"))
        begun(signed(), key, b"1234")
        yield served


@pytest.fixture(params=["variables", "config.yml", "profile"])
def root(request: pytest.FixtureRequest, bucket: FakeBucket, tmp_path: Path) -> Iterator[str]:
    """A root whose keys lie in one of the places."""
    with ExitStack() as stack:
        if request.param == "variables":
            stack.enter_context(environment(AWS_SESSION_TOKEN=TOKEN))
            yield ROOT
            return
        nothing = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
        stack.enter_context(environment(**nothing, HOME=str(tmp_path)))
        if request.param == "profile":
            (tmp_path / ".aws").mkdir()
            (tmp_path / ".aws/credentials").write_text(
                f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n"
                f"aws_session_token={TOKEN}\n"
            )
            yield ROOT
            return
        config = tmp_path / "config.yml"
        s3 = {"accesskey": KEY, "secretkey": SECRET, "region": "us-east-1", "bucket": NAME}
        s3 |= {"regionendpoint": bucket.url, "sessiontoken": TOKEN}
        config.write_text(f"version: 0.1\nstorage:\n  s3: {json.dumps(s3)}\n")
        yield str(config)


def assert_no_secret(where: str, text: str) -> None:
    for secret in (SECRET, TOKEN):
        assert secret not in text, where


def test_nothing_that_is_printed_or_written_holds_a_secret(
    root: str, bucket: FakeBucket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {key: one.data for key, one in bucket.objects.items()}
    plan = tmp_path / "plan.json"
    for command in COMMANDS:
        run(["-r", root, *(str(plan) if word == "PLAN" else word for word in command)])
        out, err = capfd.readouterr()
        assert out + err, command
        assert_no_secret(" ".join(command), out + err)
    if plan.exists():
        assert_no_secret("plan", plan.read_text())
    written = {key: one.data for key, one in bucket.objects.items() if key not in before}
    assert any("/journal" in key for key in written)
    for key, data in written.items():
        assert_no_secret(key, key + data.decode(errors="replace"))


@pytest.mark.parametrize("command", [["ls"], ["info"], ["-v", "gc", "plan"]])
def test_no_failure_holds_a_secret(
    root: str, bucket: FakeBucket, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with environment(REGFS_TRACEBACK="1"):
        for failure, wanted in product(FAILURES, ("", "uploads", "delimiter")):
            bucket.fault = partial(_fail, failure, wanted)
            run(["-r", root, *command])
            out, err = capfd.readouterr()
            assert_no_secret(f"{failure} {wanted}", out + err)


def _fail(
    failure: tuple[int, str], wanted: str, method: str, key: str, query: dict[str, str]
) -> tuple[int, str] | None:
    return failure if not wanted or wanted in query else None


def test_no_object_shows_a_secret(root: str, bucket: FakeBucket) -> None:
    place = place_of(root, os.environ)
    store = open_store(place)
    client = signed() if root == ROOT and os.environ.get("AWS_ACCESS_KEY_ID") else None
    for one in (place, store, store.snapshot(), client, client and client.transport):
        assert_no_secret(repr(type(one)), repr(one) + str(one))


def test_no_process_is_called_with_a_secret(root: str, bucket: FakeBucket) -> None:
    reached, seen = threading.Event(), threading.Event()

    def wait(*_: object) -> float:
        reached.set()
        seen.wait(30)
        return 0.0

    bucket.wait = wait
    process = subprocess.Popen(
        [sys.executable, "-m", "regfs", "-r", root, "ls"], stdout=subprocess.DEVNULL
    )
    try:
        assert reached.wait(60)
        lines = [line.read_bytes() for line in Path("/proc").glob("[0-9]*/cmdline") if _ours(line)]
        assert any(b"regfs" in line for line in lines)
        assert_no_secret("cmdline", b"".join(lines).decode(errors="replace"))
    finally:
        seen.set()
        assert process.wait(60) == 0


def _ours(line: Path) -> bool:
    try:
        line.read_bytes()
        return line.stat().st_uid == os.getuid()
    except OSError:
        return False
