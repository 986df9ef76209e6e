"""Multipart uploads: begun, given parts, completed into an object or aborted."""

from __future__ import annotations

import hashlib

from tests.support.s3.bucket import Conditions, FakeBucket, Stored, Upload, etag_of
from tests.support.s3.faults import Refused


def begin(bucket: FakeBucket, key: str) -> str:
    """Begin an upload; return its name."""
    bucket.change(bucket.objects)
    name = bucket.unique()
    bucket.uploads[name] = Upload(key, bucket.now())
    return name


def find(bucket: FakeBucket, key: str, name: str) -> Upload:
    """Return an upload that is under way."""
    upload = bucket.uploads.get(name)
    if upload is None or upload.key != key:
        raise Refused(404, "NoSuchUpload")
    return upload


def add(bucket: FakeBucket, key: str, name: str, number: int, data: bytes) -> Stored:
    """Add or replace a part."""
    upload = find(bucket, key, name)
    bucket.change(bucket.objects)
    upload.parts[number] = Stored(data, bucket.now())
    return upload.parts[number]


def abort(bucket: FakeBucket, key: str, name: str) -> None:
    """Forget an upload and its parts."""
    find(bucket, key, name)
    bucket.change(bucket.objects)
    del bucket.uploads[name]


def complete(
    bucket: FakeBucket, key: str, name: str, named: list[tuple[int, str]], conditions: Conditions
) -> Stored:
    """Make an object of the named parts."""
    upload = find(bucket, key, name)
    parts = [upload.parts.get(number) for number, _ in named]
    found = [part for part in parts if part is not None]
    if len(found) < len(named) or not named:
        raise Refused(400, "InvalidPart")
    if any(etag != etag_of(part) for (_, etag), part in zip(named, found, strict=True)):
        raise Refused(400, "InvalidPart")
    if any(len(part.data) < bucket.least_part for part in found[:-1]):
        raise Refused(400, "EntityTooSmall")
    digests = b"".join(bytes.fromhex(etag_of(part)) for part in found)
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(found)}"
    stored = bucket.put(key, b"".join(part.data for part in found), conditions, etag)
    del bucket.uploads[name]
    return stored
