"""How often a bucket is asked for an object: once in a command, unless what came was wrong."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from regfs import layout
from regfs.cli.app import run
from regfs.content import hashing
from regfs.digest import Digest
from regfs.progress import SILENT
from regfs.stores import Store, open_store
from regfs.stores.bucket.listing import listed
from regfs.verify import content
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of
from tests.support.s3.faults import Query

ROOT = f"s3://{NAME}"


class Reads(Counter[str]):
    """How often each object was read, by its key."""

    def __init__(self, bucket: FakeBucket) -> None:
        super().__init__()
        bucket.fault = self._note

    def _note(self, method: str, key: str, _: Query) -> None:
        if method == "GET" and key:
            self[key] += 1

    @property
    def twice(self) -> dict[str, int]:
        """Those that were read more than once."""
        return {key: count for key, count in self.items() if count > 1}


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with images, indexes and attestations."""
    with bucket_of(TREES / "tutorial") as served:
        yield served


@pytest.mark.parametrize(
    "command",
    [
        ["gc", "plan", "--offline"],
        ["gc", "plan", "--offline", "--delete-untagged"],
        ["verify", "--level", "sizes"],
        ["verify"],
        ["verify", "--level", "content"],
        ["export", "--to", "copy"],
        ["export", "--format", "oci", "--to", "copy.tar"],
        ["du"],
        ["reuse"],
        ["bases"],
        ["graph", "-o", "graph.html"],
    ],
    ids=" ".join,
)
def test_no_object_is_read_twice(
    bucket: FakeBucket,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    reads = Reads(bucket)
    assert run(["-r", ROOT, "--no-cache", *command]) == 0, capsys.readouterr()
    assert reads
    assert not reads.twice


def manifest_in(bucket: FakeBucket) -> str:
    """Return the key of a manifest."""
    blobs = (key for key in bucket.objects if "/blobs/" in key)
    return next(key for key in blobs if b'"mediaType"' in bucket.objects[key].data[:80])


def snapshot() -> Store:
    """List the bucket."""
    return open_store(ROOT).snapshot()


def test_wrong_bytes_are_asked_for_again(bucket: FakeBucket) -> None:
    key = manifest_in(bucket)
    right = bucket.objects[key]
    bucket.objects[key] = right._replace(data=right.data.replace(b"a", b"b"))
    store = snapshot()
    assert store.read(key, 1 << 20) == bucket.objects[key].data
    bucket.objects[key] = right
    assert store.read(key, 1 << 20) == right.data


def test_what_was_right_once_is_meant_whatever_comes_later(bucket: FakeBucket) -> None:
    """It has that digest; whoever looks anew sees what is there now."""
    key = manifest_in(bucket)
    store, right = snapshot(), bucket.objects[key]
    assert store.read(key, 1 << 20) == right.data
    bucket.objects[key] = Stored(bytes(len(right.data)), right.mtime)
    assert store.read(key, 1 << 20) == right.data
    with store.open(key) as stream:  # as bytes are hashed again that were not right
        assert stream.read(1 << 20) == bytes(len(right.data))
    assert snapshot().read(key, 1 << 20) == bytes(len(right.data))


def test_without_room_everything_is_read_anew(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", ROOT, "--no-cache", "--json", "verify", "--level", "content"]) == 0
    before = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(listed, "_ROOM", 1000)
    reads = Reads(bucket)
    assert run(["-r", ROOT, "--no-cache", "--json", "verify", "--level", "content"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert reads.twice
    assert [after[part] for part in ("findings", "summary") if part in after] == [
        before[part] for part in ("findings", "summary") if part in before
    ]


def test_small_blobs_of_many_folders_are_asked_for_together(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two or three of a task are in one folder, and each answer takes its time."""
    asked: list[list[str]] = []
    store = snapshot()
    contents = type(store).contents

    def noted(self, folder, names, leaf, limit, *, seen=False):  # type: ignore[no-untyped-def]
        asked.append(list(names))
        return contents(self, folder, asked[-1], leaf, limit, seen=seen)

    monkeypatch.setattr(type(store), "contents", noted)
    blobs = [
        (Digest(f"sha256:{key.split('/')[-2]}"), len(bucket.objects[key].data))
        for key in bucket.objects
        if "/blobs/" in key
    ]
    small = [hashing.HashItem(*blob) for blob in blobs if blob[1] <= hashing.SMALL]
    outcome = hashing.hash_blobs(hashing.Task(ROOT, tuple(small), 0), store)
    assert outcome.blobs == len(small)
    assert not outcome.problems
    assert len(asked) == 1


def test_large_blobs_are_read_side_by_side(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection brings a fraction of what one processor hashes."""
    streams = threading.Barrier(8, timeout=120)  # passed only by all of them together
    blobs: dict[Digest, int] = {}
    for number in range(8):
        data = random.Random(number).randbytes(hashing.SMALL + 1)
        digest = Digest.of(data)
        blobs[digest] = len(data)
        bucket.objects[layout.blob_path(digest)] = Stored(data, 0.0)
    store = snapshot()

    def meet(method: str, key: str, _: Query) -> None:
        if method == "GET" and key:
            streams.wait()

    bucket.fault = meet
    monkeypatch.setattr(content, "BATCH_FILES", 1)
    options = {"jobs": None, "executor": None, "progress": SILENT}
    outcomes = list(content.hash_all(store, blobs.items(), **options))  # type: ignore[arg-type]
    assert sum(outcome.blobs for outcome in outcomes) == len(blobs)
