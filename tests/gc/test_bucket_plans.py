"""A plan of a bucket: what its listing hides freezes what it could name; few requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from regfs.cli.app import run
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of, environment

ROOT = f"s3://{NAME}/pfx"
V2 = "pfx/docker/registry/v2"
APP = "repositories/my-busybox-extended"


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[FakeBucket]:
    """A bucket that holds the tutorial's tree, old enough to be collected."""
    cache = environment(XDG_CACHE_HOME=str(tmp_path / "cache"))
    with cache, bucket_of(TREES / "tutorial", "pfx/") as served:
        for key, one in list(served.objects.items()):
            served.objects[key] = one._replace(mtime=1e9)
            if "/_uploads/" in key or "/.regfs/" in key:
                del served.objects[key]
        yield served


def planned(capsys: pytest.CaptureFixture[str]) -> tuple[int, set[str]]:
    """Return the exit code of a plan, and the paths that it would move."""
    code = run(["-r", ROOT, "gc", "plan", "-m", "--offline", "--json"])
    return code, {action["path"] for action in json.loads(capsys.readouterr().out)["actions"]}


@pytest.mark.parametrize(
    "keys",
    [
        [f"{APP}//b"],
        [f"{APP}/a\x01b"],
        ["repositories//b"],
        ["repositories//b", f"{APP}//c"],
        ["blobs//x"],
        ["blobs/sha256//x"],
        [f"{APP}/_manifests//b"],
        [f"{APP}/_manifests/tags\x01/b"],
        [f"{APP}/_manifests/tags/latest\x01/b"],
        [f"{APP}/_manifests/tags/latest/current/link/x"],
        [f"{APP}/_manifests"],
        [f"{APP}/_layers/sha256/\x02"],
        [f"{APP}/\udcff"],
        [f"{APP}/_manifests/tags/\udcff/current/link"],
    ],
    ids=lambda keys: repr(keys[0]),
)
def test_what_a_listing_hides_is_never_collected(
    bucket: FakeBucket, keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, before = planned(capsys)
    assert code == 0
    assert before
    bucket.objects |= {f"{V2}/{key}": Stored(b"x", 1e9) for key in keys}
    code, after = planned(capsys)
    assert code == 1
    assert after <= before


def test_a_plan_of_an_unchanged_bucket_reads_nothing(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    first = planned(capsys)
    manifests = bucket.requests["get"]
    bucket.requests.clear()
    assert planned(capsys) == first
    assert bucket.requests["get"] == 0 < manifests
    folders = {key.rpartition("/")[0] for key in bucket.objects}
    prefixes = {one.split("/")[6] for one in folders if one.startswith(f"{V2}/blobs/")}
    names = {one.split("/")[5] for one in folders if one.startswith(f"{V2}/repositories/")}
    assert bucket.requests["list"] <= len(prefixes) + len(names) + 10
