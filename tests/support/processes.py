"""Registries as processes on the loopback, and how a test talks to one: plain requests.

    with ReferenceRegistry(tree.root) as registry:      # tests.support.reference
        registry.push("app", "v1", image(["more"]))
    with RegfsServer(tree.root, "--writable") as registry:
        assert registry.request("GET", "/v2/app/tags/list").status == 200

`tests.support.server` serves in a thread of the test instead, for all that needs no process.
"""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote, urlsplit

import pytest

from tests.support.images import Blob, Content
from tests.support.ports import free_port

TIMEOUT = 180
"""Seconds that any one program or answer may take on a busy machine."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class RegistryProcess:
    """A registry that serves a tree on the loopback while the block runs."""

    program: str
    """What is started, as a failing test names it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = ""
        self.folder = Path(tempfile.mkdtemp(prefix="registry-"))
        """Where it logs, and where what it reads can be put."""
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, port: int) -> list[str | Path]:
        """Return what serves the tree at a port of 127.0.0.1."""
        raise NotImplementedError

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection to it."""
        return http.client.HTTPConnection(self.address, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        for _ in range(5):  # between finding a free port and using it, another may take it
            if self._start(free_port()):
                return self
        pytest.fail(f"{self.program} does not start:\n{self.log()}")

    def _start(self, port: int) -> bool:
        environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
        with Path(self.folder, "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(port), stdout=log, stderr=log, env=environment
            )
        self.address = f"127.0.0.1:{port}"
        deadline = time.monotonic() + TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                if self.request("GET", "/v2/").status in (200, 401):
                    return self._process.poll() is None
            except OSError:
                time.sleep(0.02)
        self._stop()
        return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self.folder)

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what the registry logged."""
        return Path(self.folder, "log").read_text()

    def image(self, reference: str) -> str:
        """Return how skopeo names NAME, NAME:TAG or NAME@DIGEST of this registry."""
        return f"docker://{self.address}/{reference}"

    def request(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request; `url` is a path, or a Location the registry gave."""
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection = self.connection()
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def _expect(self, status: int, method: str, url: str, body: bytes = b"", **fields: str) -> str:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        answer = self.request(method, url, body, headers)
        if answer.status != status:
            pytest.fail(f"{method} {url}: {answer.status} {answer.body.decode(errors='replace')}")
        return str(answer.headers.get("Location", ""))

    def begin_upload(self, name: str) -> str:
        """Begin an upload; return where to send it."""
        return self._expect(202, "POST", f"/v2/{name}/blobs/uploads/")

    def send(self, location: str, data: bytes) -> str:
        """Add bytes to an upload; return where to send the next."""
        octets = "application/octet-stream"
        return self._expect(202, "PATCH", location, data, Content_Type=octets)

    def add_blob(self, name: str, blob: Blob) -> None:
        """Push a blob, unless the repository has it."""
        if self.request("HEAD", f"/v2/{name}/blobs/{blob.digest}").status == 200:
            return
        location = self.send(self.begin_upload(name), blob.data)
        separator = "&" if "?" in location else "?"
        self._expect(201, "PUT", f"{location}{separator}digest={quote(blob.digest)}")

    def mount(self, source: str, target: str, digest: str) -> None:
        """Mount a blob of one repository into another."""
        url = f"/v2/{target}/blobs/uploads/?mount={quote(digest)}&from={quote(source)}"
        self._expect(201, "POST", url)

    def push(self, name: str, tag: str | None, content: Content) -> str:
        """Push a manifest and all before it, byte for byte; return its digest."""
        for child in content.children:
            self.push(name, None, child)
        for blob in content.blobs:
            if blob.stored:
                self.add_blob(name, blob)
        url = f"/v2/{name}/manifests/{tag or content.digest}"
        self._expect(201, "PUT", url, content.data, Content_Type=content.media_type)
        return content.digest

    def delete(self, name: str, what: str, digest: str) -> None:
        """Delete one of the `manifests` or `blobs` of a repository."""
        self._expect(202, "DELETE", f"/v2/{name}/{what}/{digest}")


class RegfsServer(RegistryProcess):
    """`regfs serve` with these options; over TLS when `trust` names who signed its certificate."""

    program = "regfs serve"

    def __init__(self, root: Path, *options: str | Path, trust: Path | None = None) -> None:
        super().__init__(root)
        self._options = options
        self._trust = trust

    def command(self, port: int) -> list[str | Path]:
        """Return what serves the tree at a port of 127.0.0.1."""
        regfs = (sys.executable, "-m", "regfs", "-r", self.root)
        return [*regfs, "serve", "--listen", f"127.0.0.1:{port}", *self._options]

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection to it."""
        if self._trust is None:
            return super().connection()
        trusted = ssl.create_default_context(cafile=self._trust)
        return http.client.HTTPSConnection(self.address, timeout=TIMEOUT, context=trusted)
