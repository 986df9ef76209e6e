"""The HTTP of the S3 server: what each request means, and what it is answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.loopback import LoopbackServer
from tests.support.s3 import listings, multipart
from tests.support.s3.bucket import Conditions, FakeBucket, Stored, etag_of
from tests.support.s3.faults import STOPPED, Lost, Query, Refused

KEY, SECRET = "AKIDTEST", "very-SECRET-indeed"
NAME = "bucket"
_KINDS = {"PUT": "put", "DELETE": "delete", "HEAD": "head", "GET": "get", "POST": "post"}


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012
    content: bool = False
    """Whether the body is that of an object."""


def xml(text: str) -> Answer:
    """Return an answer of XML."""
    data = text.encode("utf-8", "surrogateescape")  # a key may be any bytes
    return Answer(200, data, {"Content-Type": "application/xml"})


@contextmanager
def serving_s3(bucket: FakeBucket) -> Iterator[None]:
    """Serve a bucket while the block runs; its `url` is set."""
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = LoopbackServer(handler)
    server.start()
    bucket.url = f"http://127.0.0.1:{server.port}"
    try:
        yield
    finally:
        server.stop()


class _Handler(BaseHTTPRequestHandler):
    bucket: FakeBucket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    key: str
    query: Query
    signed: Query
    """How the query itself is signed, and for how long."""
    body: bytes

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the server, for the header Date."""
        return formatdate(timestamp or self.bucket.time(), usegmt=True)

    def do_GET(self) -> None:
        """Answer a request."""
        parts = urlsplit(self.path)
        name, _, self.key = unquote(parts.path).lstrip("/").partition("/")
        asked = parse_qs(parts.query, keep_blank_values=True)
        self.query = {one: values[0] for one, values in asked.items()}
        self.signed = {one: self.query.pop(one) for one in asked if one.startswith("X-Amz-")}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._note()
        told = (self.command, self.key, self.query)
        try:
            if delay := self.bucket.wait(*told):
                time.sleep(delay)
            answer = self._answer(name)
            if self.bucket.repeat(*told):
                answer = self._answer(name)
            if self.bucket.lose(*told):
                raise Lost
        except Refused as refused:
            answer = self._refusal(refused)
        except Lost:
            self.close_connection = True
            return
        self._send(answer)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _note(self) -> None:
        source = "x-amz-copy-source" in self.headers
        kind = "copy" if source else _KINDS[self.command]
        if not self.key and kind == "get":
            kind = "list"
        self.bucket.requests[kind] += 1
        credential = self.headers.get("Authorization", "").partition("Credential=")[2]
        key_id = (credential or self.signed.get("X-Amz-Credential", "")).split("/")[0]
        token = self.headers.get("x-amz-security-token", self.signed.get("X-Amz-Security-Token"))
        self.bucket.signed.add((key_id, token))

    def _answer(self, name: str) -> Answer:
        bucket = self.bucket
        if bucket.stopped:
            raise Refused(*STOPPED)
        if fault := bucket.fault(self.command, self.key, self.query):
            raise Refused(*fault)
        self._look_at_clock()
        if name != NAME:
            raise Refused(404, "NoSuchBucket")
        with bucket.alone():
            return self._of_object() if self.key else self._of_bucket()

    def _look_at_clock(self) -> None:
        if signed := self.headers.get("x-amz-date", self.signed.get("X-Amz-Date")):
            at = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            now = self.bucket.time()
            if self.signed and now > at + int(self.signed["X-Amz-Expires"]):
                raise Refused(403, "AccessDenied")
            if abs(at - now) > self.bucket.skew:
                raise Refused(403, "RequestTimeTooSkewed")

    # -- the bucket ----------------------------------------------------------------------

    def _of_bucket(self) -> Answer:
        bucket, query = self.bucket, self.query
        if self.command == "POST":
            return self._delete_many()
        if self.command == "PUT":
            if "versioning" in query:
                bucket.versioning = listings.status_of(self.body)
            return Answer(200)
        if "versioning" in query:
            bucket.permit("s3:GetBucketVersioning")
            return xml(listings.versioning(bucket))
        if "versions" in query:
            bucket.permit("s3:ListBucketVersions")
            return xml(listings.versions(bucket, query))
        if "uploads" in query:
            bucket.permit("s3:ListBucketMultipartUploads")
            return xml(listings.uploads(bucket, query))
        if "location" in query:
            return xml("<LocationConstraint>us-east-1</LocationConstraint>")
        bucket.permit("s3:ListBucket")
        return xml(listings.objects(bucket, query))

    def _delete_many(self) -> Answer:
        doomed, quiet = listings.doomed(self.body)
        rows = []
        for one in doomed:
            key = f"<Key>{escape(one.key)}</Key>"
            version = f"<VersionId>{one.version}</VersionId>" if one.version else ""
            try:
                self._permit_delete(one.version)
                self.bucket.delete(one.key, Conditions(_bare(one.etag)), one.version)
                rows.append("" if quiet else f"<Deleted>{key}{version}</Deleted>")
            except Refused as refused:
                rows.append(f"<Error>{key}{version}<Code>{refused.code}</Code></Error>")
        return xml(f"<DeleteResult>{''.join(rows)}</DeleteResult>")

    def _permit_delete(self, version: str | None) -> None:
        self.bucket.permit("s3:DeleteObject" if version is None else "s3:DeleteObjectVersion")

    # -- an object -----------------------------------------------------------------------

    def _of_object(self) -> Answer:
        if self.query.keys() & {"uploads", "uploadId"}:
            return self._of_upload()
        if self.command in ("GET", "HEAD"):
            return self._read()
        version = self.query.get("versionId")
        if self.command == "DELETE":
            self._permit_delete(version)
            gone = self.bucket.delete(self.key, self._conditions(), version)
            return Answer(204, headers=_version_headers(self.bucket, gone))
        self.bucket.permit("s3:PutObject")
        if "x-amz-copy-source" in self.headers:
            return self._copy()
        stored = self.bucket.put(self.key, self.body, self._conditions())
        return Answer(200, headers=_headers(self.bucket, stored))

    def _conditions(self) -> Conditions:
        match = self.headers.get("If-Match")
        return Conditions(_bare(match), self.headers.get("If-None-Match") == "*")

    def _read(self) -> Answer:
        bucket, version = self.bucket, self.query.get("versionId")
        bucket.permit("s3:GetObject" if version is None else "s3:GetObjectVersion")
        try:
            stored = bucket.get(self.key, version)
        except Refused as refused:
            if refused.status == 404:  # who may not list is not told what is missing
                bucket.permit("s3:ListBucket")
            raise
        match = _bare(self.headers.get("If-Match"))
        if match is not None and match != etag_of(stored):
            raise Refused(412, "PreconditionFailed")
        headers = _headers(bucket, stored)
        asked = self.headers.get("Range")
        if not asked:
            return Answer(200, stored.data, headers, content=True)
        start, end = _range(asked, len(stored.data))
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(stored.data)}"
        return Answer(206, stored.data[start:end], headers, content=True)

    def _copy(self) -> Answer:
        source, key = self._source()
        if key == self.key and "versionId" not in self.headers["x-amz-copy-source"]:
            raise Refused(400, "InvalidRequest")
        if len(source.data) > self.bucket.copy_limit:
            raise Refused(400, "InvalidRequest")
        conditions = self._conditions() if self.bucket.conditional_copy else Conditions()
        stored = self.bucket.put(self.key, source.data, conditions)
        headers = _version_headers(self.bucket, stored)
        if source.version != "null":
            headers["x-amz-copy-source-version-id"] = source.version
        return xml(listings.copied("CopyObjectResult", stored))._replace(headers=headers)

    def _source(self) -> tuple[Stored, str]:
        """Return the object that is copied, and its key."""
        path, _, version = self.headers["x-amz-copy-source"].partition("?versionId=")
        name, _, key = unquote(path).lstrip("/").partition("/")
        if name != NAME:
            raise Refused(404, "NoSuchBucket")
        self.bucket.permit("s3:GetObjectVersion" if version else "s3:GetObject")
        source = self.bucket.get(key, version or None)
        match = _bare(self.headers.get("x-amz-copy-source-if-match"))
        heeded = match is not None and self.bucket.conditional_source
        if heeded and match != etag_of(source):
            raise Refused(412, "PreconditionFailed")
        return source, key

    # -- multipart uploads ---------------------------------------------------------------

    def _of_upload(self) -> Answer:
        bucket, name = self.bucket, self.query.get("uploadId", "")
        if self.command == "GET":
            bucket.permit("s3:ListMultipartUploadParts")
            upload = multipart.find(bucket, self.key, name)
            return xml(listings.parts(bucket, upload, self.query))
        if self.command == "DELETE":
            bucket.permit("s3:AbortMultipartUpload")
            multipart.abort(bucket, self.key, name)
            return Answer(204)
        bucket.permit("s3:PutObject")
        if self.command == "PUT":
            return self._part(name)
        if "uploads" in self.query:
            name = multipart.begin(bucket, self.key)
            return xml(
                f"<InitiateMultipartUploadResult><Bucket>{NAME}</Bucket>"
                f"<Key>{escape(self.key)}</Key><UploadId>{name}</UploadId>"
                "</InitiateMultipartUploadResult>"
            )
        parts = listings.completed(self.body)
        stored = multipart.complete(bucket, self.key, name, parts, self._conditions())
        answer = xml(
            f"<CompleteMultipartUploadResult><Bucket>{NAME}</Bucket><Key>{escape(self.key)}</Key>"
            f"<ETag>&quot;{etag_of(stored)}&quot;</ETag></CompleteMultipartUploadResult>"
        )
        return answer._replace(headers=_version_headers(bucket, stored))

    def _part(self, name: str) -> Answer:
        number = int(self.query["partNumber"])
        if "x-amz-copy-source" not in self.headers:
            part = multipart.add(self.bucket, self.key, name, number, self.body)
            return Answer(200, headers=_headers(self.bucket, part))
        data = self._source()[0].data
        if asked := self.headers.get("x-amz-copy-source-range"):
            data = data[slice(*_range(asked, len(data)))]
        if len(data) > self.bucket.copy_limit:
            raise Refused(400, "InvalidRequest")
        part = multipart.add(self.bucket, self.key, name, number, data)
        return xml(listings.copied("CopyPartResult", part))

    # -- answers -------------------------------------------------------------------------

    def _refusal(self, refused: Refused) -> Answer:
        words = f"<Error><Code>{refused.code}</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>"
        headers = {"Content-Type": "application/xml"}
        if self.bucket.retry_after is not None and refused.status in (429, 503):
            headers["Retry-After"] = str(self.bucket.retry_after)
        return Answer(refused.status, words.encode(), headers)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        body = answer.body
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.bucket.cut
        if cut and answer.content and len(body) > cut:
            self.close_connection = True
            body = body[:cut]
        self.wfile.write(body)


def _headers(bucket: FakeBucket, stored: Stored) -> dict[str, str]:
    modified = formatdate(int(stored.mtime), usegmt=True)
    etag = {"ETag": f'"{etag_of(stored)}"', "Last-Modified": modified}
    return etag | _version_headers(bucket, stored)


def _version_headers(bucket: FakeBucket, stored: Stored | None) -> dict[str, str]:
    if stored is None or not bucket.versioning:
        return {}
    marker = {"x-amz-delete-marker": "true"} if stored.marker else {}
    return {"x-amz-version-id": stored.version} | marker


def _bare(etag: str | None) -> str | None:
    return None if etag is None else etag.strip('"')


def _range(asked: str, size: int) -> tuple[int, int]:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = (int(first), int(last or size) + 1) if first else (size - int(last), size)
    if start >= size:
        raise Refused(416, "InvalidRange")
    return max(start, 0), min(end, size)
