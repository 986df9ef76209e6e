"""A docker-registry over a bucket, step by step, and a collector let through request by request.

The registry is `Site`, with what its driver for S3 does in place of the one for folders: an
object is put at once and whole, a move is a copy and a delete, a folder is what lies below it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regfs.errors import LockHeld, LockLost
from regfs.stores import open_store
from regfs.stores.bucket.place import of_url
from tests.support.buckets import NAME
from tests.support.docker_registry import Request, Site
from tests.support.gates import Collector, GatedStore
from tests.support.images import Blob
from tests.support.s3.bucket import Conditions, FakeBucket, Stored
from tests.support.s3.faults import STOPPED, Query, Refused

ROOT = f"s3://{NAME}"
_READS = frozenset({"GET"})


class TimedBucket(FakeBucket):
    """A bucket whose server's clock is that of a test."""

    clock_of: Callable[[], float]

    def time(self) -> float:
        """Return the time of the server."""
        return self.clock_of()


def timed_bucket(clock: Callable[[], float]) -> TimedBucket:
    """Return an empty bucket whose server's clock is that of a test."""
    bucket = TimedBucket(skew=math.inf)
    bucket.clock_of = clock
    return bucket


class BucketSite(Site):
    """One registry on a bucket. Its paths are those of a folder where nothing is."""

    def __init__(self, bucket: FakeBucket, root: Path, clock: Callable[[], float]) -> None:
        super().__init__(root, clock)
        self._bucket = bucket

    def _key(self, path: Path) -> str:
        return path.relative_to(self.tree.root).as_posix()

    def _put(self, path: Path, data: bytes) -> Request:
        yield
        self._bucket.put(self._key(path), data, Conditions())

    def _exists(self, path: Path) -> bool:
        return self._key(path) in self._bucket.objects

    def _read(self, path: Path) -> bytes | None:
        found = self._bucket.objects.get(self._key(path))
        return None if found is None else found.data

    def _remove(self, path: Path) -> None:
        self._bucket.delete(self._key(path), Conditions())

    def _remove_tree(self, folder: Path) -> None:
        for key in self._below(folder):
            self._bucket.delete(key, Conditions())

    def _tags(self, name: str) -> list[str]:
        folder = self.tree.tag_folder(name, "any").parent
        below = len(self._key(folder)) + 1
        return sorted({key[below:].partition("/")[0] for key in self._below(folder)})

    def _below(self, folder: Path) -> list[str]:
        with self._bucket.alone():
            return [key for key in self._bucket.objects if key.startswith(self._key(folder) + "/")]

    def upload(self, name: str, blob: Blob) -> Request:
        """Take a blob whose bytes have all arrived."""
        self._uploads += 1
        folder = self.tree.upload_path(name, f"00000000-0000-4000-8000-{self._uploads:012}")
        sent, place = folder / "data", self.tree.blob_path(blob.digest)
        yield from self._put(folder / "startedat", b"2026-01-01T00:00:00Z")
        yield from self._put(sent, blob.data)
        yield
        there = self._exists(place)
        yield
        if not there:
            yield from self._put(place, blob.data)
            yield
            self._remove(sent)
        yield
        yield from self._put(self.tree.layer_path(name, blob.digest), blob.digest.encode())
        yield
        self._remove_tree(folder)


def load(bucket: FakeBucket, folder: Path) -> None:
    """Put the files of a folder into a bucket, of the same times."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = path.relative_to(folder).as_posix()
            bucket.objects[key] = Stored(path.read_bytes(), path.stat().st_mtime)


def dump(bucket: FakeBucket, folder: Path) -> None:
    """Write the objects of the registry in a bucket into a folder."""
    for key, stored in bucket.objects.items():
        if key.startswith("docker/"):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stored.data)


class _Store(GatedStore):
    """One whose listing of everything is asked for when it may."""

    def snapshot(self) -> Any:
        """Return what is there when it may be asked for."""
        self._gate("snapshot")
        return self._store.snapshot()


class BucketCollector(Collector):
    """One process of a collector; each of its changes, and each look at one object, may wait.

    A killed one is not answered any more, and so holds its lease until that ends.
    """

    bucket: FakeBucket
    """The one that all of them use."""
    refusals = (LockHeld, LockLost)  # an old listing shows a lock as it was

    def _open(self) -> Any:
        self.bucket.fault = self._fault
        return _Store(open_store(of_url(ROOT, os.environ)), self.gate)

    def _fault(self, method: str, key: str, query: Query) -> tuple[int, str] | None:
        if not self.dying and method not in _READS and key.startswith((".regfs/runs/", "docker/")):
            try:
                self.gate(method)
            except BaseException:
                raise Refused(*STOPPED) from None
        return STOPPED if self.dying else None
