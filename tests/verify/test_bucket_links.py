"""Links of a bucket are checked by its listing alone; what that does not prove is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from regfs.cli.app import run
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of

ROOT = f"s3://{NAME}"


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with a small tree, without uploads under way: each has a file that is read."""
    with bucket_of(TREES / "whole") as served:
        for key in [key for key in served.objects if "/_uploads/" in key]:
            del served.objects[key]
        yield served


def verified(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> tuple[list[Any], int]:
    """Return the findings of `verify --level links`, and how many objects it has read."""
    bucket.requests.clear()
    run(["-r", ROOT, "verify", "--level", "links", "--json"])
    return json.loads(capsys.readouterr().out)["findings"], bucket.requests["get"]


def links_of(bucket: FakeBucket) -> list[str]:
    return [key for key in bucket.objects if key.endswith("/link")]


def test_a_healthy_bucket_is_not_read(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(links_of(bucket)) > 20
    assert verified(bucket, capsys) == ([], 0)


@pytest.mark.parametrize("part", ["/_layers/", "/revisions/", "/index/", "/current/"])
def test_one_link_of_other_content_is_read(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    key = next(key for key in links_of(bucket) if part in key)
    bucket.objects[key] = Stored(b"sha256:" + b"1" * 64, 0.0)
    findings, gets = verified(bucket, capsys)
    assert gets == 1
    assert key in {one["path"] for one in findings}


def test_without_etags_the_same_is_found_by_reading(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = {
        "/_layers/": b"sha256:" + b"1" * 64,
        "/revisions/": b"",
        "/current/": b"sha256:" + b"2" * 64,
    }
    for part, data in damaged.items():
        key = next(key for key in links_of(bucket) if part in key)
        bucket.objects[key] = Stored(data, 0.0)
    expected, few = verified(bucket, capsys)
    for key in links_of(bucket):
        bucket.objects[key] = bucket.objects[key]._replace(etag="none")
    findings, gets = verified(bucket, capsys)
    assert findings == expected
    assert gets == len(links_of(bucket)) - 1 > few  # the empty one is not read
