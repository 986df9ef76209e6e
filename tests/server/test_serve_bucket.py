"""A server over a bucket: it reads what is there now, and may send clients there."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, SECRET, FakeBucket, Stored, bucket_of
from tests.support.served import serving

ROOT = f"s3://{NAME}/pfx"


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with a small tree."""
    with bucket_of(TREES / "whole", "pfx/") as served:
        yield served


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirection."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Answer(NamedTuple):
    """An answer, whatever its status."""

    status: int
    headers: Any
    body: bytes


def asked(url: str, method: str = "GET", **headers: str) -> Answer:
    """Return the answer to a request."""
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.build_opener(_Stays).open(request) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def blob_of(url: str) -> str:
    """Return the URL of a layer of an image, by its manifest."""
    manifest = json.loads(asked(f"{url}/v2/app/manifests/v1").body)
    return f"{url}/v2/app/blobs/{manifest['layers'][0]['digest']}"


def test_a_server_begins_without_a_listing_and_sees_pushes(bucket: FakeBucket) -> None:
    with serving(ROOT) as (_, url):
        assert bucket.requests["list"] <= 3
        tags = f"{url}/v2/app/tags/list"
        before = json.loads(asked(tags).body)["tags"]
        assert "pushed" not in before
        folder = "pfx/docker/registry/v2/repositories/app/_manifests/tags"
        for key in [key for key in bucket.objects if key.startswith(f"{folder}/v1/")]:
            bucket.objects[key.replace("/v1/", "/pushed/")] = bucket.objects[key]
        assert sorted(json.loads(asked(tags).body)["tags"]) == sorted([*before, "pushed"])
        assert asked(f"{url}/v2/app/manifests/pushed", "HEAD").status == 200
        for key in [key for key in bucket.objects if "/pushed/" in key]:
            del bucket.objects[key]
        assert asked(f"{url}/v2/app/manifests/pushed", "HEAD").status == 404


def test_many_tags_are_not_remembered(bucket: FakeBucket) -> None:
    folder = "pfx/docker/registry/v2/repositories/app/_manifests/tags"
    link = bucket.objects[f"{folder}/v1/current/link"]
    for number in range(200):
        bucket.objects[f"{folder}/t{number}/current/link"] = link
    with serving(ROOT) as (_, url):
        tags = f"{url}/v2/app/tags/list?n=1000"
        count = len(json.loads(asked(tags).body)["tags"])
        bucket.objects[f"{folder}/zzz/current/link"] = Stored(link.data, 1.0)
        assert len(json.loads(asked(tags).body)["tags"]) == count + 1


def test_blobs_are_streamed(bucket: FakeBucket) -> None:
    with serving(ROOT) as (_, url):
        blob = blob_of(url)
        whole = asked(blob)
        data = whole.body
        assert whole.status == 200
        assert data in {stored.data for stored in bucket.objects.values()}
        part = asked(blob, Range="bytes=2-5")
        assert (part.status, part.body) == (206, data[2:6])


def test_clients_are_sent_to_the_bucket(bucket: FakeBucket) -> None:
    with serving(ROOT, "--redirect") as (_, url):
        blob = blob_of(url)
        answer = asked(blob)
        assert answer.status == 307
        assert answer.headers["Cache-Control"] == "no-store"
        where = answer.headers["Location"]
        assert where.startswith(f"{bucket.url}/{NAME}/pfx/docker/registry/v2/blobs/")
        assert "X-Amz-Signature=" in where
        assert SECRET not in where
        data = asked(where).body
        assert data in {stored.data for stored in bucket.objects.values()}
        assert asked(where, Range="bytes=1-3").body == data[1:4]
        head = asked(blob, "HEAD")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(data)))
        etag = head.headers["ETag"]
        assert asked(blob, **{"If-None-Match": etag}).status == 304
        missing = f"{url}/v2/app/blobs/sha256:{'0' * 64}"
        assert asked(missing).status == 404


def test_a_blob_of_another_repository_has_no_url(bucket: FakeBucket) -> None:
    with serving(ROOT, "--redirect") as (_, url):
        other = blob_of(url).replace("/v2/app/", "/v2/team/other/")
        link = "pfx/docker/registry/v2/repositories/team/other/_layers/sha256/"
        bucket.objects.pop(f"{link}{other.rpartition(':')[2]}/link", None)
        assert asked(other).status == 404


@pytest.mark.parametrize("make", ["folder", "tar"])
def test_only_buckets_have_urls(
    make: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "tree"
    shutil.copytree(TREES / "whole", root)
    if make == "tar":
        root = Path(shutil.make_archive(str(tmp_path / "t"), "tar", root))
    line = ["-r", str(root), "serve", "--redirect", "--listen", "127.0.0.1:0"]
    assert run(line) == Exit.REFUSED.value
    assert capsys.readouterr().err == (
        f"regfs: --redirect: {root}: only files in a bucket have URLs of their own\n"
    )
