"""Space that stays free: uploads are refused before the disk is full, and the rest goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from regfs.digest import Digest
from regfs.stores import Room
from regfs.stores.local.store import LocalStore
from tests.support import wire
from tests.support.builder import OCI_MANIFEST, TreeBuilder, image
from tests.support.client import UPLOADS, Client, code
from tests.support.disks import fill, needs_mounts, small_disk
from tests.support.images import Blob
from tests.support.pusher import pusher
from tests.support.reference import needs_programs, run
from tests.support.server import hosted

MB = 1_000_000
DATA = os.urandom(MB)
SHA256 = Digest.of(DATA)
V1 = image(["base", "one"])


class Disk:
    """How much is free, whatever the real disk says."""

    def __init__(self) -> None:
        self.free = 10 * MB

    def room(self, store: object, folder: str = "") -> Room:
        assert folder == "docker/registry/v2/repositories"  # it may be a disk of its own
        return Room(self.free, -1, 0)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(LocalStore, "room", lambda *given: disk.room(*given))
    return disk


@pytest.fixture
def client(tree: TreeBuilder, disk: Disk) -> Iterator[Client]:
    pusher(tree).before("team/app", V1)
    with hosted(tree.root, writable=True, keep_free=5 * MB) as url:
        yield Client(url)


def uploads(tree: TreeBuilder) -> list[str]:
    return [path for path in tree.files() if "/_uploads/" in path]


def refused(answer: requests.Response) -> str:
    """Return what is said to who may not push now."""
    assert (answer.status_code, answer.reason) == (507, "Insufficient Storage")
    assert code(answer) == "DENIED"
    return str(answer.json()["errors"][0]["message"])


def test_no_upload_begins_below_keep_free(client: Client, tree: TreeBuilder, disk: Disk) -> None:
    disk.free = 5 * MB - 1
    said = refused(client("POST", UPLOADS))
    assert said == (
        "4999999 bytes are free on the disk of the registry, "
        "and that is less than the 5000000 that are to stay free"
    )
    refused(client("POST", f"{UPLOADS}?digest={SHA256}", DATA))
    assert uploads(tree) == []


def test_the_announced_size_counts(client: Client, tree: TreeBuilder, disk: Disk) -> None:
    disk.free = 5 * MB + len(DATA) - 1
    place = client.begin()
    for answer in (
        client("POST", f"{UPLOADS}?digest={SHA256}", DATA),
        client("PATCH", place, DATA),
        client("PUT", f"{place}?digest={SHA256}", DATA),
    ):
        assert "1000000 bytes more would not leave the 5000000" in refused(answer)
    disk.free += 1
    client.complete(place, SHA256, DATA)


def test_unannounced_bytes_count_as_they_arrive(
    client: Client, tree: TreeBuilder, disk: Disk
) -> None:
    place = client.begin()
    disk.free = 5 * MB
    head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert wire.ask(client.url, head.encode() + body).status == 507
    assert client("GET", place).headers["Range"] == "0-0"


def test_an_arrived_upload_can_be_completed(client: Client, disk: Disk) -> None:
    """It takes no more room, and links and manifests hardly any."""
    place = client.begin()
    client.patch(place, 0, DATA)
    disk.free = 0
    client.complete(place, SHA256)
    client("POST", f"/v2/other/blobs/uploads/?mount={SHA256}&from=team/app", status=201)
    path = "/v2/team/app/manifests/v1"
    client("PUT", path, V1.data, 201, Content_Type=OCI_MANIFEST)
    client("GET", path, status=200)


def test_without_keep_free_the_disk_is_not_checked(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Room:
        raise AssertionError("nobody wanted to know")

    monkeypatch.setattr(LocalStore, "room", never)
    with hosted(tree.root, writable=True) as url:
        Client(url)("POST", f"{UPLOADS}?digest={SHA256}", DATA, 201)


# -- a real disk -----------------------------------------------------------------------------

SIZE = 96 << 20
FLOOR = 32 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk("tmpfs", tmp_path, size=SIZE) as disk:
        yield disk


def free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


@needs_mounts
def test_a_stream_without_an_end_leaves_what_is_to_stay_free(small: Path) -> None:
    tree = TreeBuilder(small / "registry")
    with hosted(tree.root, writable=True, keep_free=FLOOR) as url, wire.connected(url) as one:
        place = Client(url).begin()
        one.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\n".encode())
        one.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (MB, bytes(MB))
        with suppress(OSError):  # no more is taken
            for _ in range(200):
                one.sendall(chunk)
        assert wire.rest(one)[:12] in (b"HTTP/1.1 507", b"")
        assert free(small) > FLOOR - (18 << 20)  # one step between two looks
        Client(url)("DELETE", place, status=204)
        Client(url)("POST", f"{UPLOADS}?digest={SHA256}", DATA, 201)


@needs_mounts
@needs_programs("skopeo")
def test_skopeo_is_told_and_pushes_when_there_is_room(small: Path, tmp_path: Path) -> None:
    source = TreeBuilder(tmp_path / "source")
    source.push("app", "v1", image([Blob(os.urandom(MB))]))
    tree = TreeBuilder(small / "registry")
    with hosted(source.root) as there, hosted(tree.root, writable=True, keep_free=FLOOR) as url:
        filled = fill(small)
        names = [f"docker://{one.partition('//')[2]}/app:v1" for one in (there, url)]
        plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", *plain, *names]
        done = run(*command, check=False)
        assert done.returncode != 0
        assert "507" in done.stderr
        filled.empty()
        run(*command)
    assert tree.tags("app") == ["v1"]
