"""Uploads: in pieces, across restarts, cancelled, committed."""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any

import pytest

from regfs import layout
from regfs.digest import Digest
from regfs.errors import (
    AlgorithmUnsupported,
    BlobTooLarge,
    ContentMismatch,
    NameInvalid,
    OutOfOrder,
    SizeInvalid,
    UploadInvalid,
    UploadUnknown,
)
from regfs.push import uploads
from regfs.push.uploads import Upload
from tests.support.builder import TreeBuilder
from tests.support.uploads import DATA, SHA256, SHA512, commit, layer_is, push, send, uploads_of

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
    nothing = Digest.of(b"")
    commit(some, some.begin("app"), nothing)
    assert layer_is(tree, "app", nothing, b"")


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
