"""Uploads: in pieces, across restarts, cancelled, committed, mounted; on a disk that fails."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regfs import layout
from regfs.digest import EMPTY, Digest
from regfs.errors import (
    AlgorithmUnsupported,
    BlobTooLarge,
    ContentMismatch,
    LockHeld,
    NameInvalid,
    OutOfOrder,
    SizeInvalid,
    StoreError,
    UploadInvalid,
    UploadUnknown,
)
from regfs.push import uploads
from regfs.push.uploads import Upload, Uploads
from regfs.runs import lock
from regfs.stores import WritableStore, open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder
from tests.support.crashes import Crash, CrashingStore
from tests.support.stores import MEMORY
from tests.support.verification import check, codes

DATA = b"0123456789" * 30
SHA256, SHA512 = Digest.of(DATA), Digest.of(DATA, "sha512")


def uploads_of(tree: TreeBuilder, **options: Any) -> Uploads:
    """Return the uploads of a tree as a server that has just begun sees them."""
    return Uploads(Registry(open_store(str(tree.root))), timeout=0, **options)


def send(some: Uploads, upload: Upload, data: bytes, start: int | None = None) -> Upload:
    with some.receive(upload.name, upload.id, start=start) as reception:
        reception.write(data)
    return some.status(upload.name, upload.id)


def commit(some: Uploads, upload: Upload, digest: Digest, data: bytes = b"") -> Digest:
    with some.receive(upload.name, upload.id) as reception:
        reception.write(data)
        return reception.commit(digest)


def push(tree: TreeBuilder, data: bytes, name: str = "app", algorithm: str = "sha256") -> Digest:
    some = uploads_of(tree)
    return commit(some, some.begin(name, algorithm), Digest.of(data, algorithm), data)


def layer_is(tree: TreeBuilder, name: str, digest: Digest, data: bytes) -> bool:
    link, blob = tree.layer_path(name, digest), tree.blob_path(digest)
    return link.read_bytes() == digest.encode() and blob.read_bytes() == data


def is_sound(tree: TreeBuilder) -> bool:
    """Return whether verify finds nothing but garbage."""
    return codes(check(tree)) == []


# -- beginning ---------------------------------------------------------------------------


def test_an_upload_begins_with_startedat(tree: TreeBuilder) -> None:
    upload = uploads_of(tree, clock=lambda: 1_700_000_000.5).begin("app")
    folder = tree.upload_path("app", upload.id)
    assert (folder / "startedat").read_bytes() == b"2023-11-14T22:13:20Z"
    assert layout.upload_time(upload.id) == 1_700_000_000.5
    assert upload == Upload("app", upload.id, 0)


def test_ids_are_unique(tree: TreeBuilder) -> None:
    assert len({uploads.new_id(1_700_000_000) for _ in range(1000)}) == 1000


def test_invalid_names_and_algorithms_are_refused(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    for name in ("", "App/x y", "a//b", "../x", "_layers"):
        with pytest.raises(NameInvalid):
            some.begin(name)
    with pytest.raises(AlgorithmUnsupported):
        some.begin("app", "md5")
    assert tree.files() == {}


# -- receiving ---------------------------------------------------------------------------


def test_bytes_come_in_pieces(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    assert send(some, upload, DATA[:100], 0).size == 100
    assert send(some, upload, DATA[100:250], 100).size == 250
    assert commit(some, upload, SHA256, DATA[250:]) == SHA256
    assert layer_is(tree, "app", SHA256, DATA)
    assert not tree.upload_path("app", upload.id).exists()


@pytest.mark.parametrize("start", [0, 99, 101, 10**18])
def test_bytes_that_belong_elsewhere_are_refused(tree: TreeBuilder, start: int) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    send(some, upload, DATA[:100], 0)
    with pytest.raises(OutOfOrder) as raised:
        some.receive("app", upload.id, start=start)
    assert raised.value.size == 100
    assert some.status("app", upload.id).size == 100
    assert commit(some, upload, SHA256, DATA[100:]) == SHA256


def test_more_bytes_than_announced_are_refused(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    with some.receive("app", upload.id, length=10) as reception:
        reception.write(DATA[:6])
        with pytest.raises(SizeInvalid, match="more"):
            reception.write(DATA[6:12])
        with pytest.raises(SizeInvalid, match="6 bytes"):
            reception.complete()
        reception.write(DATA[6:10])
        reception.complete()
    assert some.status("app", upload.id).size == 10


def test_a_blob_above_the_limit_is_refused(tree: TreeBuilder) -> None:
    some = uploads_of(tree, largest=len(DATA))
    upload = some.begin("app")
    send(some, upload, DATA[:200])
    assert commit(some, upload, SHA256, DATA[200:]) == SHA256
    upload = some.begin("app")
    send(some, upload, DATA[:200])
    with some.receive("app", upload.id) as reception:
        reception.expect(100)
        with pytest.raises(BlobTooLarge):
            reception.expect(101)
        with pytest.raises(BlobTooLarge):
            reception.write(DATA[200:] + b"x")
    assert some.status("app", upload.id).size == 200


def test_one_request_at_a_time_writes(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    with some.receive("app", upload.id) as reception:
        reception.write(DATA)
        with pytest.raises(OutOfOrder, match="another request"):
            some.receive("app", upload.id)
        assert some.status("app", upload.id).size == len(DATA)
    assert commit(some, upload, SHA256) == SHA256


def test_an_ended_request_writes_nothing_more(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    with some.receive("app", upload.id) as reception:
        reception.write(DATA)
    with pytest.raises(UploadInvalid):
        reception.write(DATA)
    assert reception.close().size == len(DATA)


@pytest.mark.parametrize(
    "upload",
    ["", "..", "x", "0" * 36, "0190F3C0-0000-7000-8000-000000000000", "a/b", "\0",
     "0190f3c0-0000-7000-8000-000000000000"],
)  # fmt: skip
def test_an_unknown_upload_is_refused(tree: TreeBuilder, upload: str) -> None:
    some = uploads_of(tree)
    some.begin("app")
    before = tree.files()
    for ask in (some.status, some.receive, some.cancel):
        with pytest.raises(UploadUnknown):
            ask("app", upload)
    assert tree.files() == before


def test_an_upload_is_of_one_repository(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    for ask in (some.status, some.receive, some.cancel):
        with pytest.raises(UploadUnknown):
            ask("app/x", upload.id)
    assert some.status("app", upload.id).size == 0


# -- cancelling --------------------------------------------------------------------------


def test_a_cancelled_upload_is_gone(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload, other = some.begin("app"), some.begin("app")
    send(some, upload, DATA)
    some.cancel("app", upload.id)
    assert not tree.upload_path("app", upload.id).exists()
    with pytest.raises(UploadUnknown):
        some.cancel("app", upload.id)
    assert commit(some, other, SHA256, DATA) == SHA256


def test_writing_to_a_cancelled_upload_fails(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    reception = some.receive("app", upload.id)
    reception.write(DATA)
    some.cancel("app", upload.id)
    with pytest.raises(UploadUnknown):
        reception.write(DATA)
    with pytest.raises(UploadUnknown):
        reception.commit(SHA256)
    assert tree.files() == {}


# -- committing --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("begun", ["sha256", "sha512"])
def test_a_blob_is_stored_under_the_digest_it_was_pushed_with(
    tree: TreeBuilder, begun: str, algorithm: str
) -> None:
    some = uploads_of(tree)
    upload = some.begin("app", begun)
    send(some, upload, DATA[:7])
    digest = Digest.of(DATA, algorithm)
    commit(some, upload, digest, DATA[7:])
    assert set(tree.files()) == {
        tree.relative(tree.blob_path(digest)),
        tree.relative(tree.layer_path("app", digest)),
    }
    assert layer_is(tree, "app", digest, DATA)


def test_the_empty_blob_can_be_committed(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    commit(some, some.begin("app"), EMPTY)
    assert layer_is(tree, "app", EMPTY, b"")


def test_a_wrong_digest_links_nothing_and_ends_the_upload(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    send(some, upload, DATA)
    with pytest.raises(ContentMismatch, match=SHA256):
        commit(some, upload, Digest.of(b"other"))
    assert tree.files() == {}
    with pytest.raises(UploadUnknown):
        some.status("app", upload.id)


@pytest.mark.parametrize("damage", [b"", b"x" + DATA[1:], DATA + b"x"])
def test_a_push_heals_a_damaged_blob(tree: TreeBuilder, damage: bytes) -> None:
    push(tree, DATA)
    tree.blob_path(SHA256).write_bytes(damage)
    tree.layer_path("app", SHA256).write_bytes(b"")
    push(tree, DATA)
    assert layer_is(tree, "app", SHA256, DATA)


def test_a_push_of_an_existing_blob_renews_its_age(tree: TreeBuilder) -> None:
    push(tree, DATA)
    paths = (tree.blob_path(SHA256), tree.layer_path("app", SHA256))
    for path in paths:
        os.utime(path, (1000, 1000))
    push(tree, DATA)
    assert all(path.stat().st_mtime > 1000 for path in paths)


def test_a_link_in_place_of_the_bytes_is_replaced_itself(tree: TreeBuilder) -> None:
    other = push(tree, b"other")
    path = tree.blob_path(SHA256)
    path.parent.mkdir(parents=True)
    path.symlink_to(tree.blob_path(other))
    push(tree, DATA)
    assert not path.is_symlink()
    assert layer_is(tree, "app", SHA256, DATA)
    assert layer_is(tree, "app", other, b"other")


def test_many_push_one_blob_at_once(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                commit(some, some.begin(f"app{number % 2}"), SHA256, DATA)
                assert tree.blob_path(SHA256).read_bytes() == DATA
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(tree.files()) == 3


# -- what is remembered, and what the file says ------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_upload_goes_on_after_a_restart(tree: TreeBuilder, algorithm: str) -> None:
    upload = uploads_of(tree).begin("app")
    for start in range(0, 300, 100):
        assert send(uploads_of(tree), upload, DATA[start : start + 100], start).size == start + 100
    digest = Digest.of(DATA, algorithm)
    commit(uploads_of(tree), upload, digest)
    assert layer_is(tree, "app", digest, DATA)


def test_a_file_that_somebody_else_wrote_to_is_read_again(tree: TreeBuilder) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    send(some, upload, DATA)
    path = tree.upload_path("app", upload.id) / "data"
    path.write_bytes(b"x" + DATA[1:])
    os.utime(path, (2000, 2000))
    with pytest.raises(ContentMismatch):
        commit(some, upload, SHA256)
    assert tree.files() == {}


def test_another_server_may_go_on_with_an_upload(tree: TreeBuilder) -> None:
    here, there = uploads_of(tree), uploads_of(tree)
    upload = here.begin("app")
    for start, some in zip(range(0, 300, 50), itertools.cycle((here, there)), strict=False):
        send(some, upload, DATA[start : start + 50], start)
    commit(here, upload, SHA256)
    assert layer_is(tree, "app", SHA256, DATA)


def test_only_so_many_running_digests_are_kept(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "REMEMBERED", 2)
    some = uploads_of(tree)
    begun = [some.begin("app") for _ in range(5)]
    for upload in begun:
        send(some, upload, DATA[:100])
    assert len(some._running) == 2
    for number, upload in enumerate(begun):
        more = DATA[100:] + bytes([number])
        commit(some, upload, Digest.of(DATA + bytes([number])), more)
    assert len(tree.files()) == 10
    assert not some._running
    assert not some._claims


def test_a_known_digest_is_not_computed_again(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    send(some, upload, DATA[:100])

    def forbidden(*_: object) -> Any:
        raise AssertionError("the file is read again")

    monkeypatch.setattr(uploads, "hash_stream", forbidden)
    commit(some, upload, SHA256, DATA[100:])
    upload = some.begin("app")
    send(some, upload, DATA)
    with pytest.raises(AssertionError, match="read again"):
        commit(some, upload, SHA512)


# -- mounting ----------------------------------------------------------------------------


def mount(
    tree: TreeBuilder, source: str | None, digest: Digest = SHA256, may: tuple[str, ...] = ()
) -> bool:
    return uploads_of(tree).mount("target", digest, source, lambda name: not may or name in may)


def test_a_blob_of_another_repository_is_linked(tree: TreeBuilder) -> None:
    push(tree, DATA, "base/image")
    assert mount(tree, "base/image")
    assert layer_is(tree, "target", SHA256, DATA)
    assert len(tree.files()) == 3


def test_a_mount_without_a_source_searches_for_the_blob(tree: TreeBuilder) -> None:
    push(tree, b"other", "aaa")
    push(tree, DATA, "base/image")
    assert mount(tree, None)
    assert layer_is(tree, "target", SHA256, DATA)


def test_a_blob_of_a_forbidden_repository_is_not_mounted(tree: TreeBuilder) -> None:
    push(tree, DATA, "secret")
    assert not mount(tree, "secret", may=("other",))
    assert not mount(tree, None, may=("other",))
    assert not tree.layer_path("target", SHA256).exists()
    push(tree, DATA, "shared")
    assert mount(tree, None, may=("shared",))


@pytest.mark.parametrize("source", [None, "base"])
@pytest.mark.parametrize("damage", ["link", "blob", "hollow", "says-another", "empty-link"])
def test_a_damaged_blob_is_not_mounted(tree: TreeBuilder, source: str | None, damage: str) -> None:
    push(tree, DATA, "base")
    push(tree, b"other", "else")
    link, blob = tree.layer_path("base", SHA256), tree.blob_path(SHA256)
    if damage == "link":
        link.unlink()
    elif damage == "blob":
        blob.unlink()
    elif damage == "hollow":
        blob.write_bytes(b"")
    elif damage == "empty-link":
        link.write_bytes(b"")
    else:
        link.write_bytes(Digest.of(b"other").encode())
    assert not mount(tree, source)
    assert not tree.layer_path("target", SHA256).exists()


def test_what_goes_before_its_turn_has_come_is_not_mounted(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a run takes it away that is waited for."""
    push(tree, DATA, "base")

    @contextmanager
    def late(store: WritableStore, *, timeout: float) -> Iterator[None]:
        tree.layer_path("base", SHA256).unlink()
        yield

    monkeypatch.setattr(uploads, "shared", late)
    assert not mount(tree, "base")
    assert not tree.layer_path("target", SHA256).exists()


@pytest.mark.parametrize("source", ["missing", "", "..", "a//b", "../../x", "Not Legal"])
def test_an_invalid_source_counts_as_none(tree: TreeBuilder, source: str) -> None:
    push(tree, DATA, "base")
    assert not mount(tree, source)


def test_an_alias_is_mounted_with_its_target(tree: TreeBuilder) -> None:
    push(tree, DATA, "base")
    alias = tree.layer_path("base", SHA512)
    alias.parent.mkdir(parents=True)
    alias.write_bytes(SHA256.encode())
    assert mount(tree, "base", SHA512)
    assert tree.layer_path("target", SHA512).read_bytes() == SHA256.encode()
    assert layer_is(tree, "target", SHA256, DATA)


def test_the_search_for_a_blob_is_bounded(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SEARCHED", 2)
    push(tree, b"1", "a")
    push(tree, b"2", "b")
    push(tree, DATA, "c")
    assert not mount(tree, None)
    assert mount(tree, "c")


# -- beside a run ------------------------------------------------------------------------


def test_nothing_is_linked_while_a_run_is_under_way(tree: TreeBuilder) -> None:
    push(tree, DATA, "base")
    some = uploads_of(tree)
    upload = some.begin("app")
    with lock.exclusive(open_store(str(tree.root))):
        with pytest.raises(LockHeld):
            commit(some, upload, SHA256, DATA)
        with pytest.raises(LockHeld):
            mount(tree, "base")
        assert not tree.layer_path("app", SHA256).exists()
        assert not tree.layer_path("target", SHA256).exists()
    commit(some, upload, SHA256)  # what has arrived is not sent again
    assert layer_is(tree, "app", SHA256, DATA)
    assert mount(tree, "base")


def test_a_commit_waits_for_the_end_of_a_run(tree: TreeBuilder) -> None:
    some = Uploads(Registry(open_store(str(tree.root))), timeout=60)
    upload = some.begin("app")
    begun = threading.Event()
    over = threading.Event()

    def collect() -> None:
        with lock.exclusive(open_store(str(tree.root))):
            begun.set()
            over.wait(60)

    collector = threading.Thread(target=collect)
    collector.start()
    assert begun.wait(60)
    threading.Timer(0.2, over.set).start()
    assert commit(some, upload, SHA256, DATA) == SHA256
    collector.join()
    assert layer_is(tree, "app", SHA256, DATA)


class Watched:
    """A store that sees whether a run could begin while a link or a blob is put in place."""

    def __init__(self, root: Path) -> None:
        self._store = open_store(str(root))
        self.placed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _see(self, path: str) -> None:
        if not path.startswith(layout.STATE) and not path.endswith("startedat"):
            with pytest.raises(LockHeld):
                self._store.lock(lock.LOCK, "a run").__enter__()
            self.placed.append(path.rpartition("/")[2])

    def replace(self, source: str, target: str) -> None:
        self._see(target)
        self._store.replace(source, target)

    def create(self, path: str) -> Any:
        self._see(path)
        return self._store.create(path)


def test_no_run_can_begin_between_check_and_link(tree: TreeBuilder) -> None:
    push(tree, DATA, "base")
    store: Any = Watched(tree.root)
    some = Uploads(Registry(store))
    commit(some, some.begin("app"), SHA256, DATA)
    assert some.mount("target", SHA256, "base", lambda name: True)
    assert store.placed == ["data", "link", "link"]


# -- a disk that fails, a process that dies ----------------------------------------------------


def whole_push(store: Any) -> None:
    some = Uploads(Registry(store))
    upload = some.begin("app")
    send(some, upload, DATA[:100])
    commit(some, upload, SHA256, DATA[100:])


def test_a_crash_at_any_change_leaves_garbage_and_the_push_can_be_done_again(
    memory: Path,
) -> None:
    for at in itertools.count():
        tree = TreeBuilder(memory / str(at))
        store: Any = CrashingStore(open_store(str(tree.root)), at)
        try:
            whole_push(store)
        except Crash:
            pass
        else:
            assert at > 10
            break
        link = tree.layer_path("app", SHA256)
        assert not link.exists() or layer_is(tree, "app", SHA256, DATA)
        assert is_sound(tree)
        whole_push(open_store(str(tree.root)))
        assert layer_is(tree, "app", SHA256, DATA)


def test_bytes_written_before_the_disk_was_full_count(tree: TreeBuilder, monkeypatch: Any) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 50:
            return real(descriptor, data[:50])
        raise OSError(28, "No space left on device")

    with some.receive("app", upload.id) as reception:
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(StoreError, match="no space left"):
            reception.write(DATA[:99])
        monkeypatch.setattr(os, "write", real)
    assert some.status("app", upload.id).size == 50
    commit(some, upload, SHA256, DATA[50:])
    assert layer_is(tree, "app", SHA256, DATA)


# -- any order of requests, across restarts ------------------------------------------------------


class Protocol(RuleBasedStateMachine):
    """Uploads as a model: bytes that have arrived, and whether the upload still is."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="regfs-uploads-", dir=MEMORY)
        self.tree = TreeBuilder(Path(self._folder.name) / "registry")
        self.some = uploads_of(self.tree)
        self.open: dict[Upload, bytes] = {}
        self.blobs: dict[Digest, bytes] = {}

    def teardown(self) -> None:
        self._folder.cleanup()

    def pick(self, number: int) -> Upload:
        return list(self.open)[number % len(self.open)]

    @rule(name=st.sampled_from(["app", "app/x"]), algorithm=st.sampled_from(["sha256", "sha512"]))
    def begin(self, name: str, algorithm: str) -> None:
        if len(self.open) < 4:
            self.open[self.some.begin(name, algorithm)] = b""

    @precondition(lambda self: self.open)
    @rule(
        number=st.integers(0, 3), data=st.binary(max_size=40), skew=st.sampled_from([0, 0, 1, -1])
    )
    def send(self, number: int, data: bytes, skew: int) -> None:
        upload = self.pick(number)
        start = len(self.open[upload]) + skew
        try:
            with self.some.receive(upload.name, upload.id, start=start) as reception:
                for at in range(0, len(data), 7):
                    reception.write(data[at : at + 7])
        except OutOfOrder as error:
            assert skew != 0
            assert error.size == len(self.open[upload])
        else:
            assert skew == 0
            self.open[upload] += data

    @precondition(lambda self: self.open)
    @rule(
        number=st.integers(0, 3),
        data=st.binary(max_size=20),
        algorithm=st.sampled_from(["sha256", "sha384", "sha512"]),
        right=st.booleans(),
    )
    def commit(self, number: int, data: bytes, algorithm: str, right: bool) -> None:
        upload = self.pick(number)
        whole = self.open.pop(upload) + data
        digest = Digest.of(whole if right else whole + b"x", algorithm)
        try:
            commit(self.some, upload, digest, data)
        except ContentMismatch:
            assert not right
        else:
            assert right
            self.blobs[digest] = whole
        with pytest.raises(UploadUnknown):
            self.some.status(upload.name, upload.id)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 3))
    def cancel(self, number: int) -> None:
        upload = self.pick(number)
        self.some.cancel(upload.name, upload.id)
        del self.open[upload]

    @rule()
    def restart(self) -> None:
        self.some = uploads_of(self.tree)

    @invariant()
    def every_upload_stands_where_it_should(self) -> None:
        for upload, data in self.open.items():
            assert self.some.status(upload.name, upload.id).size == len(data)

    @invariant()
    def every_blob_is_there_and_nothing_else(self) -> None:
        found = {path for path in self.tree.files() if "/blobs/" in path}
        places = {digest: self.tree.blob_path(digest) for digest in self.blobs}
        assert found == {self.tree.relative(path) for path in places.values()}
        for digest, data in self.blobs.items():
            assert places[digest].read_bytes() == data


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(stateful_step_count=30)
