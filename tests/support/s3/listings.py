"""The XML of S3: listings of objects, versions, uploads and parts, and bulk deletes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.support.s3.bucket import FakeBucket, Stored, Upload, etag_of

Row = TypeVar("Row")


class Doomed(NamedTuple):
    """One object of a bulk delete."""

    key: str
    version: str | None
    etag: str | None


def objects(bucket: FakeBucket, query: dict[str, str]) -> str:
    """Return a page of ListObjectsV2."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = min(int(query.get("max-keys", bucket.page)), bucket.page)
    seen = bucket.seen(bucket.objects, prefix)
    after, last = query.get("start-after", ""), query.get("continuation-token", "")
    names = _grouped((key for key in seen if key > after), prefix, delimiter)
    page, more = _cut([name for name in names if name > last], limit)
    rows = []
    for name in page:
        if delimiter and name.endswith(delimiter) and name != prefix:
            rows.append(f"<CommonPrefixes><Prefix>{_key(name, query)}</Prefix></CommonPrefixes>")
        else:
            rows.append(f"<Contents><Key>{_key(name, query)}</Key>{_facts(seen[name])}</Contents>")
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    token += _encoding(query)
    return _result("ListBucketResult", more, token + f"<KeyCount>{len(page)}</KeyCount>", rows)


def _grouped(keys: Iterable[str], prefix: str, delimiter: str) -> list[str]:
    """Return the keys and common prefixes of a listing, in order."""
    names = set()
    for key in keys:
        if key.startswith(prefix):
            part, found, _ = key[len(prefix) :].partition(delimiter or "\0")
            names.add(prefix + part + found if delimiter else key)
    return sorted(names)


def versions(bucket: FakeBucket, query: dict[str, str]) -> str:
    """Return a page of ListObjectVersions."""
    prefix, start = query.get("prefix", ""), query.get("key-marker", "")
    rows = [row for row in bucket.versions() if row[0].startswith(prefix) and row[0] >= start]
    if start:
        last = query.get("version-id-marker")
        at = [n for n, (key, one, _) in enumerate(rows) if key == start and one.version == last]
        rows = rows[at[0] + 1 :] if at else [row for row in rows if row[0] > start]
    page, more = _cut(rows, min(int(query.get("max-keys", bucket.page)), bucket.page))
    token = ""
    if more:
        key, one, _ = page[-1]
        token = (
            f"<NextKeyMarker>{_key(key, query)}</NextKeyMarker>"
            f"<NextVersionIdMarker>{one.version}</NextVersionIdMarker>"
        )
    told = [_version(key, one, latest, query) for key, one, latest in page]
    return _result("ListVersionsResult", more, token + _encoding(query), told)


def _version(key: str, one: Stored, latest: bool, query: dict[str, str]) -> str:
    kind = "DeleteMarker" if one.marker else "Version"
    facts = f"<LastModified>{_time(one.mtime)}</LastModified>" if one.marker else _facts(one)
    return (
        f"<{kind}><Key>{_key(key, query)}</Key><VersionId>{one.version}</VersionId>"
        f"<IsLatest>{str(latest).lower()}</IsLatest>{facts}</{kind}>"
    )


def uploads(bucket: FakeBucket, query: dict[str, str]) -> str:
    """Return a page of ListMultipartUploads."""
    prefix = query.get("prefix", "")
    start = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    found = sorted(
        ((one.key, name, one) for name, one in bucket.uploads.items()), key=lambda row: row[:2]
    )
    rows = [row for row in found if row[0].startswith(prefix) and row[:2] > start]
    if start[0] and not start[1]:
        rows = [row for row in rows if row[0] > start[0]]
    page, more = _cut(rows, min(int(query.get("max-uploads", bucket.page)), bucket.page))
    token = ""
    if more:
        token = (
            f"<NextKeyMarker>{_key(page[-1][0], query)}</NextKeyMarker>"
            f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>"
        )
    told = [
        f"<Upload><Key>{_key(key, query)}</Key><UploadId>{name}</UploadId>"
        f"<Initiated>{_time(one.began)}</Initiated></Upload>"
        for key, name, one in page
    ]
    return _result("ListMultipartUploadsResult", more, token + _encoding(query), told)


def parts(bucket: FakeBucket, upload: Upload, query: dict[str, str]) -> str:
    """Return a page of ListParts."""
    start = int(query.get("part-number-marker", 0))
    rows = [(number, one) for number, one in sorted(upload.parts.items()) if number > start]
    page, more = _cut(rows, min(int(query.get("max-parts", bucket.page)), bucket.page))
    token = f"<NextPartNumberMarker>{page[-1][0]}</NextPartNumberMarker>" if more else ""
    told = [f"<Part><PartNumber>{n}</PartNumber>{_facts(one)}</Part>" for n, one in page]
    return _result("ListPartsResult", more, token, told)


def versioning(bucket: FakeBucket) -> str:
    """Return the state of versioning."""
    status = f"<Status>{bucket.versioning}</Status>" if bucket.versioning else ""
    return f"<VersioningConfiguration>{status}</VersioningConfiguration>"


def copied(kind: str, stored: Stored) -> str:
    """Return the answer to a copy."""
    return (
        f"<{kind}><LastModified>{_time(stored.mtime)}</LastModified>"
        f"<ETag>&quot;{etag_of(stored)}&quot;</ETag></{kind}>"
    )


def doomed(body: bytes) -> tuple[list[Doomed], bool]:
    """Return the objects of a bulk delete, and whether only failures are to be told."""
    root = ElementTree.fromstring(body)
    found = [
        Doomed(_text(one, "Key") or "", _text(one, "VersionId"), _text(one, "ETag"))
        for one in root
        if _name(one) == "Object"
    ]
    return found, _text(root, "Quiet") == "true"


def completed(body: bytes) -> list[tuple[int, str]]:
    """Return the parts that make an object: number and ETag without quotes."""
    parts = [one for one in ElementTree.fromstring(body) if _name(one) == "Part"]
    return [
        (int(_text(one, "PartNumber") or 0), (_text(one, "ETag") or "").strip('"')) for one in parts
    ]


def status_of(body: bytes) -> str:
    """Return the state of versioning that a request sets."""
    return _text(ElementTree.fromstring(body), "Status") or ""


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(parent: ElementTree.Element, name: str) -> str | None:
    return next((one.text for one in parent if _name(one) == name), None)


def _cut(rows: list[Row], limit: int) -> tuple[list[Row], bool]:
    return rows[:limit], len(rows) > limit > 0


def _result(kind: str, more: bool, token: str, rows: list[str]) -> str:
    cut = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    return f"<{kind}>{cut}{token}{''.join(rows)}</{kind}>"


def _facts(stored: Stored) -> str:
    return (
        f"<LastModified>{_time(stored.mtime)}</LastModified>"
        f"<ETag>&quot;{etag_of(stored)}&quot;</ETag><Size>{len(stored.data)}</Size>"
    )


def _key(key: str, query: dict[str, str]) -> str:
    return quote(key) if query.get("encoding-type") == "url" else escape(key)


def _encoding(query: dict[str, str]) -> str:
    return "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""


def _time(mtime: float) -> str:
    return datetime.fromtimestamp(mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
