"""Old uploads are deleted, and none that anybody may go on with; each guard has its test."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.errors import StoreError, UploadUnknown
from regfs.push.expiry import Expired, Expiry
from regfs.push.uploads import Upload, Uploads
from regfs.runs import lock, restore
from regfs.server.settings import Limits
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.images import digest_of
from tests.support.registries import collect, store_of
from tests.support.server import hosted
from tests.support.stores import MEMORY
from tests.support.uploads import uploads_of
from tests.support.wire import answer, asked

DATA = bytes(range(256)) * 1024
DIGEST = digest_of(DATA)
HALF = len(DATA) // 2

DAY = 86_400.0
WEEK = 7 * DAY
NOTHING = Expired(0, 0, "")
UPLOAD = "0190f3c0-0000-7000-8000-000000000000"


class Server:
    """What one server process knows; `wait` lets time pass for it."""

    def __init__(self, tree: TreeBuilder, store: Any = None) -> None:
        self.tree = tree
        self.now = time.time()
        store = open_store(str(tree.root)) if store is None else store
        self.uploads = Uploads(Registry(store), timeout=0)
        self.expiry = Expiry(self.uploads, WEEK, clock=lambda: self.now)

    def begin(self, data: bytes = b"") -> Upload:
        upload = self.uploads.begin("app")
        with self.uploads.receive("app", upload.id) as reception:
            reception.write(data)
        return upload

    def rounds(self, count: int = 2) -> int:
        """Return how many uploads are gone after so many rounds."""
        return sum(self.expiry.round().uploads for _ in range(count))

    def is_there(self, upload: Upload | str) -> bool:
        name = upload if isinstance(upload, str) else upload.id
        return self.tree.upload_path("app", name).exists()


@pytest.fixture
def server(tree: TreeBuilder) -> Server:
    return Server(tree)


# -- what goes -------------------------------------------------------------------------------


def test_an_old_upload_is_deleted_with_all_in_it(server: Server) -> None:
    upload = server.begin(DATA)
    server.now += WEEK + 60
    assert server.expiry.round() == NOTHING
    found = server.expiry.round()
    assert (found.uploads, found.bytes) == (1, len(DATA) + len("2026-11-29T00:00:00Z"))
    assert not server.is_there(upload)
    assert server.rounds() == 0
    with pytest.raises(UploadUnknown):
        server.uploads.receive("app", upload.id)


def test_an_old_upload_of_the_reference_is_deleted(server: Server, tree: TreeBuilder) -> None:
    folder = tree.upload_path("app", UPLOAD)
    tree.write(folder / "data", b"some")
    tree.write(folder / "startedat", b"2020-01-01T00:00:00Z")
    tree.write(folder / "hashstates" / "sha256" / "4", b"state")
    tree.age(WEEK + DAY)
    assert server.rounds() == 1
    assert not folder.exists()


def test_nothing_else_in_the_tree_is_touched(server: Server, tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.blob(b"garbage")
    before = tree.files()
    server.begin(DATA)
    server.now += 10 * WEEK
    assert server.rounds() == 1
    assert tree.files() == before


# -- age -------------------------------------------------------------------------------------


def test_a_young_upload_stays(server: Server) -> None:
    upload = server.begin(DATA)
    server.now += WEEK - 60
    assert server.rounds(5) == 0
    assert server.is_there(upload)


def test_age_counts_from_the_last_byte(server: Server, tree: TreeBuilder) -> None:
    with tree.at_age(2 * WEEK):
        folder = tree.upload_path("app", tree.upload("app", DATA))
    tree.set_age(folder / "data", 0)
    assert server.rounds() == 0
    tree.set_age(folder / "data", 2 * WEEK)
    assert server.rounds() == 1


def test_a_copy_with_old_times_has_the_age_of_its_startedat(
    server: Server, tree: TreeBuilder
) -> None:
    upload = server.begin(DATA)
    tree.age(2 * WEEK)
    assert server.rounds() == 0
    assert server.is_there(upload)


def test_a_time_in_the_future_is_no_age(server: Server, tree: TreeBuilder) -> None:
    upload = server.begin(DATA)
    data = tree.upload_path("app", upload.id) / "data"
    later = server.now + 300 * DAY
    os.utime(data, (later, later))
    server.now += WEEK + DAY
    assert server.rounds() == 0
    assert server.is_there(upload)


def test_a_clock_that_jumps_ahead_makes_nothing_old_at_once(
    server: Server, tree: TreeBuilder
) -> None:
    """Its client goes on meanwhile, with another registry on the same tree."""
    upload = server.begin(DATA[:HALF])
    other = uploads_of(tree)
    server.now += 300 * DAY
    for start in range(HALF, HALF + 30, 10):
        assert server.expiry.round() == NOTHING
        with other.receive("app", upload.id) as reception:
            reception.write(DATA[start : start + 10])
    assert server.is_there(upload)
    assert server.rounds(1) == 0
    assert server.rounds(1) == 1


@given(st.lists(st.floats(0, 0.99), min_size=1, max_size=12), st.data())
def test_an_upload_that_continues_is_never_deleted(gaps: list[float], data: st.DataObject) -> None:
    """Whenever rounds come in between."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        server = Server(TreeBuilder(Path(folder)))
        upload = server.begin(b"x")
        path = server.tree.upload_path("app", upload.id)
        for gap in gaps:
            last = server.now
            moments = data.draw(st.lists(st.floats(0, gap), max_size=3))
            for moment in sorted(moments):
                server.now = last + moment * WEEK
                assert server.expiry.round() == NOTHING
            server.now = last + gap * WEEK
            with (path / "data").open("ab") as file:
                file.write(b"x")
            for one in (path, path / "startedat", path / "data"):
                os.utime(one, (server.now, server.now))
        assert server.is_there(upload)


# -- running uploads ---------------------------------------------------------------------------


def test_an_upload_with_a_writer_stays(server: Server, tree: TreeBuilder) -> None:
    """Its client has sent nothing for a week, and is connected."""
    upload = server.begin(DATA[:HALF])
    with server.uploads.receive("app", upload.id) as reception:
        server.now += 2 * WEEK
        assert server.rounds(4) == 0
        reception.write(DATA[HALF:])
        reception.commit(Digest(DIGEST))
    assert tree.blob_path(DIGEST).read_bytes() == DATA


class Between:
    """A store that lets something happen before one of its operations."""

    def __init__(self, root: Path, operation: str, event: Callable[[], object]) -> None:
        self._store = open_store(str(root))
        self._operation = operation
        self._event: Callable[[], object] | None = event

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name == self._operation and (event := self._event) is not None:
            self._event = None
            event()
        return getattr(self._store, name)


def test_an_upload_that_changed_since_the_last_round_stays(tree: TreeBuilder) -> None:
    other = uploads_of(tree)
    upload = other.begin("app")

    def arrive() -> None:
        with other.receive("app", upload.id) as reception:
            reception.write(DATA)

    server = Server(tree, Between(tree.root, "lock", arrive))
    server.now += 2 * WEEK
    assert server.rounds() == 0
    with other.receive("app", upload.id) as reception:
        reception.commit(Digest(DIGEST))
    assert tree.blob_path(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("operation", ["lock", "delete_tree"])
def test_a_commit_of_another_registry_at_that_moment_loses_nothing(
    tree: TreeBuilder, operation: str
) -> None:
    other = uploads_of(tree)
    upload = other.begin("app")
    with other.receive("app", upload.id) as reception:
        reception.write(DATA)

    def commit() -> None:
        with other.receive("app", upload.id) as reception:
            reception.commit(Digest(DIGEST))

    server = Server(tree, Between(tree.root, operation, commit))
    server.now += 2 * WEEK
    server.rounds()
    assert tree.blob_path(DIGEST).read_bytes() == DATA
    assert tree.layer_path("app", DIGEST).read_text() == DIGEST


def test_a_commit_that_comes_too_late_is_refused(server: Server, tree: TreeBuilder) -> None:
    upload = server.begin(DATA)
    reception = uploads_of(tree).receive("app", upload.id)
    server.now += 2 * WEEK
    assert server.rounds() == 1
    with pytest.raises(UploadUnknown):
        reception.commit(Digest(DIGEST))
    assert not tree.blob_path(DIGEST).exists()
    assert not tree.layer_path("app", DIGEST).exists()


# -- beside a collection -------------------------------------------------------------------------


def test_nothing_is_deleted_during_a_run(server: Server, tree: TreeBuilder) -> None:
    upload = server.begin(DATA)
    server.now += 2 * WEEK
    with lock.exclusive(open_store(str(tree.root))):
        assert server.rounds(4) == 0
    assert server.is_there(upload)
    assert server.rounds(1) == 1


def test_a_collected_upload_is_restored_whole(server: Server, tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with tree.at_age(2 * WEEK):
        upload = tree.upload("app", DATA)
    server.expiry.round()
    run = collect(tree, purge=False).run
    assert not server.is_there(upload)
    assert server.rounds() == 0
    restore(store_of(tree), run)
    with server.uploads.receive("app", upload) as reception:
        reception.commit(Digest(DIGEST))
    assert tree.blob_path(DIGEST).read_bytes() == DATA


# -- what is strange -----------------------------------------------------------------------------


def foreign_file(folder: Path) -> None:
    (folder / ".nfs0000000000abcdef").write_bytes(b"somebody has it open")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def link(folder: Path) -> None:
    (folder / "more").symlink_to("/etc/hostname")


def link_to_a_folder(folder: Path) -> None:
    (folder.parents[2] / "empty").mkdir()
    (folder / "hashstates").symlink_to("../../../empty")


@pytest.mark.parametrize("spoil", [foreign_file, pipe, link, link_to_a_folder])
def test_an_upload_with_an_unknown_file_stays(
    server: Server, tree: TreeBuilder, spoil: Callable[[Path], None]
) -> None:
    upload = server.begin(DATA)
    spoil(tree.upload_path("app", upload.id))
    server.now += 2 * WEEK
    assert server.rounds(3) == 0
    assert server.is_there(upload)


def test_other_folders_stay(server: Server, tree: TreeBuilder) -> None:
    tree.write(tree.upload_path("app", "notes") / "data", b"mine")
    tree.write(tree.upload_path("app", UPLOAD), b"a file in its place")
    tree.write(tree.repository_path("No Name") / "_uploads" / UPLOAD / "data", b"mine")
    tree.age(10 * WEEK)
    before = tree.files()
    assert server.rounds(3) == 0
    assert tree.files() == before


def test_nothing_is_deleted_if_links_give_second_names(server: Server, tree: TreeBuilder) -> None:
    """Who writes to it is known by the other name only."""
    upload = server.begin(DATA[:HALF])
    tree.repository_path("alias").symlink_to("app")
    with server.uploads.receive("app", upload.id) as reception:
        server.now += 2 * WEEK
        found = [server.expiry.round() for _ in range(3)]
        assert [one.uploads for one in found] == [0, 0, 0]
        assert "alias" in found[-1].doubt
        reception.write(DATA[HALF:])
        reception.commit(Digest(DIGEST))


# -- the server ----------------------------------------------------------------------------------


def test_a_server_deletes_old_uploads_in_the_background(tree: TreeBuilder) -> None:
    limits = Limits(slow_seconds=60)
    with (
        hosted(tree.root, writable=True, expire_uploads=0.5, limits=limits) as url,
        wire.connected(url) as one,
    ):
        one.sendall(asked("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", size=len(DATA)))
        one.sendall(DATA[:HALF])
        left = requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60).headers["Location"]
        wire.until(lambda: requests.get(url + left, timeout=60).status_code == 404)
        one.sendall(DATA[HALF:])
        assert answer(one).status == 201
    assert tree.blob_path(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("settings", [{}, {"expire_uploads": 0.2}, {"writable": True}])
def test_a_server_without_expiry_deletes_nothing(
    tree: TreeBuilder, settings: dict[str, Any]
) -> None:
    tree.upload("app")
    tree.age(10 * WEEK)
    before = tree.files("")
    with hosted(tree.root, **settings):
        time.sleep(0.5)  # two rounds, if there were any
    assert tree.files("") == before


def test_a_failing_disk_is_logged_and_tried_again(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked_again = threading.Event()
    rounds = iter([StoreError("the disk is gone"), None])

    def round_(self: Expiry) -> Expired:
        if error := next(rounds, None):
            raise error
        asked_again.set()
        return NOTHING

    monkeypatch.setattr(Expiry, "round", round_)
    with hosted(tree.root, writable=True, expire_uploads=0.2):
        assert asked_again.wait(wire.LOCK_TIMEOUT)
    assert "old uploads could not be looked for: the disk is gone" in caplog.text
