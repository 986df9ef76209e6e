"""Ledgers about buckets: an ETag stands for the inode, and a file beside for .regfs/ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of, largest_blob

ROOT = f"s3://{NAME}"


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    with bucket_of(TREES / "tutorial") as served:
        yield served


def verify(*arguments: object) -> int:
    return run(["-r", ROOT, "verify", *map(str, arguments)])


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_shards_of_a_bucket_are_merged(
    bucket: FakeBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        assert verify("--subset", f"{number}/3", "--ledger", part, "-q") == 0
    capsys.readouterr()
    assert verify("--merge", *parts, "--ledger", tmp_path / "all", "--json") == 0
    assert document(capsys)["verified"] == 31
    assert not [key for key in bucket.objects if ".regfs" in key]


def test_what_was_verified_is_not_read_again_until_it_is_another_object(
    bucket: FakeBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger"
    assert verify("--ledger", ledger, "-q") == 0
    capsys.readouterr()
    again = ("--ledger", ledger, "--max-age", "30d", "--json")
    assert verify(*again) == 0
    skipped = document(capsys)["checked"]["skipped"]
    assert skipped > 10
    key = largest_blob(bucket)
    stored = bucket.objects[key]
    # Of the same size and time.
    bucket.objects[key] = Stored(stored.data[:-1] + b"!", stored.mtime)
    assert verify(*again) == Exit.FINDINGS.value
    found = document(capsys)
    assert found["checked"]["skipped"] == skipped - 1
    assert [one["code"] for one in found["findings"] if one["severity"] == "error"] == [
        "blob-corrupt"
    ]


def test_the_ledger_of_a_copy_is_refused(
    bucket: FakeBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copied object has the same ETag and another time."""
    assert verify("--ledger", tmp_path / "part", "-q") == 0
    for key, stored in bucket.objects.items():
        bucket.objects[key] = Stored(stored.data, stored.mtime + 60)
    assert verify("--merge", tmp_path / "part", "--ledger", tmp_path / "all") == (
        Exit.REFUSED.value
    )
    assert "a ledger of another tree, or of a copy of this one" in capsys.readouterr().err


def test_without_a_file_nothing_is_recorded(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify("-q") == 0
    assert not [key for key in bucket.objects if ".regfs" in key]
    assert verify("--max-age", "1d") == Exit.USAGE.value
    assert "a maximum age needs a ledger" in capsys.readouterr().err
    assert verify("--merge", "part") == Exit.REFUSED.value
    assert "--merge needs --ledger FILE here" in capsys.readouterr().err
