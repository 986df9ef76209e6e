"""Reports of S3 Inventory, written as AWS describes them, of what a bucket holds.

made = report_of(bucket.objects, "reports/images/daily")     key -> bytes
made["reports/images/daily/2026-11-28T01-00Z/manifest.json"]
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from tests.support.s3.bucket import Stored
from tests.support.s3.server import NAME

COLUMNS = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag", "StorageClass")
VERSIONED = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size",
             "LastModifiedDate", "ETag")  # fmt: skip
TAKEN = datetime(2026, 11, 28, 1, tzinfo=UTC)
DATED = "2026-11-28T01-00Z"
Row = dict[str, str]


def row_of(key: str, stored: Stored) -> Row:
    """Return what a report says of an object."""
    time = datetime.fromtimestamp(stored.mtime, UTC).isoformat(timespec="milliseconds")
    etag = stored.etag or hashlib.md5(stored.data, usedforsecurity=False).hexdigest()
    return {
        "Bucket": NAME, "Key": quote_plus(key, safe="/"), "VersionId": "", "IsLatest": "true",
        "IsDeleteMarker": "false", "Size": str(len(stored.data)), "ETag": etag,
        "LastModifiedDate": time.replace("+00:00", "Z"), "StorageClass": "STANDARD",
    }  # fmt: skip


def lines_of(rows: Iterable[Row], columns: Iterable[str] = COLUMNS) -> bytes:
    """Return a CSV file of a report, every value in quotes."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    names = list(columns)
    writer.writerows([row[name] for name in names] for row in rows)
    return text.getvalue().encode()


def manifest_of(files: Mapping[str, bytes], /, **changes: Any) -> bytes:
    """Return the manifest.json of these files, key -> content as it is stored."""
    document = {
        "sourceBucket": NAME,
        "destinationBucket": f"arn:aws:s3:::{NAME}",
        "version": "2016-11-30",
        "creationTimestamp": str(int(TAKEN.timestamp() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": ", ".join(COLUMNS),
        "files": [
            {"key": key, "size": len(data),
             "MD5checksum": hashlib.md5(data, usedforsecurity=False).hexdigest()}
            for key, data in files.items()
        ],
    }  # fmt: skip
    return json.dumps({**document, **changes}).encode()


def report_of(
    objects: Mapping[str, Stored], folder: str, *, parts: int = 2, **changes: Any
) -> dict[str, bytes]:
    """Return the files of a report on objects, by key, to lie in a folder."""
    rows = [row_of(key, one) for key, one in objects.items()]
    files = {
        f"{folder}/data/{part}.csv.gz": gzip.compress(lines_of(rows[part::parts]))
        for part in range(parts)
    }
    return with_manifest(files, folder, **changes)


def with_manifest(files: dict[str, bytes], folder: str, /, **changes: Any) -> dict[str, bytes]:
    """Return the files with manifest.json and manifest.checksum."""
    manifest = manifest_of(files, **changes)
    checksum = hashlib.md5(manifest, usedforsecurity=False).hexdigest().encode()
    return {
        **files,
        f"{folder}/{DATED}/manifest.json": manifest,
        f"{folder}/{DATED}/manifest.checksum": checksum,
    }
