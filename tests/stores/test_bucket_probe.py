"""What is found out before a bucket is changed: the permission that is missing is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.errors import PathMissing, PathTooLong, StoreError
from regfs.stores import WritableStore, open_store
from regfs.stores.bucket.changing import objects
from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.requests import signed
from tests.support.bucket_runs import KINDS, ROOT, BucketTree, litter_bucket

PERMISSIONS = {
    "copies": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"],
    "versions": [
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:ListBucketVersions",
    ],
}
BLOB = "docker/registry/v2/blobs/sha256/ab/" + "ab" * 32 + "/data"
ASIDE = f".regfs/runs/r/quarantine/{BLOB}"
LOCK = ".regfs/lock"


@pytest.fixture(params=list(KINDS))
def tree(request: pytest.FixtureRequest) -> Iterator[BucketTree]:
    with litter_bucket(**KINDS[str(request.param)]) as found:
        yield found


def opened() -> WritableStore:
    return open_store(of_url(ROOT, os.environ))


@pytest.mark.parametrize(
    ("kind", "permission"),
    [(kind, one) for kind, several in PERMISSIONS.items() for one in several],
)
def test_the_permission_that_is_missing_is_named_before_anything_is_changed(
    kind: str, permission: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with litter_bucket(**KINDS[kind]) as tree:
        tree.bucket.denied = {permission}
        code = run(["-r", ROOT, "gc", "run", "-m", "--yes", "--offline"])
        assert code == 5
        said = capsys.readouterr().err
        assert permission in said, said
        assert "Traceback" not in said
        assert tree.state() == tree.before
        assert not tree.own()


@pytest.mark.parametrize(
    ("state", "words"),
    [("Suspended", "its versioning is suspended"), ("MFA", "MFA delete")],
)
def test_a_bucket_of_a_kind_that_is_not_changed_is_refused(
    state: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from regfs.stores.bucket.requests.answers import Versioning
    from regfs.stores.bucket.requests.signed import Signed

    found = Versioning("Enabled", True) if state == "MFA" else Versioning(state, False)
    monkeypatch.setattr(Signed, "versioning", lambda self: found)
    with litter_bucket(versioned=True) as tree:
        assert run(["-r", ROOT, "untag", "app:v1"]) == 3
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"regfs: {ROOT}: ") and words in said
        assert not tree.bucket.changes


def test_object_lock_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with litter_bucket(versioned=True) as tree:
        from regfs.stores.bucket.requests.calls import SignedAnswer
        from regfs.stores.bucket.requests.transport import Transport

        ask = Transport.ask

        def with_lock(self: Transport, asked: Any) -> SignedAnswer:
            if "object-lock" in asked.query:
                body = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
                return SignedAnswer({}, body, False)
            return ask(self, asked)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Transport, "ask", with_lock)
            assert run(["-r", ROOT, "untag", "app:v1"]) == 3
        assert "it has object lock" in capsys.readouterr().err
        assert not tree.bucket.changes


def test_a_plan_changes_nothing_and_asks_for_no_right_to(tree: BucketTree) -> None:
    tree.bucket.denied = {"s3:PutObject", "s3:DeleteObject"}
    assert run(["-r", ROOT, "gc", "plan", "-m"]) == 0
    assert not tree.bucket.changes


def test_a_large_blob_goes_and_comes_back_in_parts(
    tree: BucketTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed, "WHOLE", 5 << 20)
    monkeypatch.setattr(objects, "SMALL", 1 << 10)
    data = os.urandom(1 << 20) * 12
    store = opened()
    with store.lock(LOCK, "me"):
        with store.create(BLOB) as writer:
            writer.write(data)
        store.move(BLOB, ASIDE)
        with pytest.raises(PathMissing):
            store.stat(BLOB)
        assert store.stat(ASIDE).size == len(data)
        with store.open(ASIDE) as stream:
            assert b"".join(iter(lambda: stream.read(1 << 20), b"")) == data
        store.move(ASIDE, BLOB)
        assert store.read(BLOB, len(data) + 1) == data
        with pytest.raises(PathMissing):
            store.stat(ASIDE)


def test_nothing_is_moved_onto_something(tree: BucketTree) -> None:
    store = opened()
    with store.lock(LOCK, "me"):
        for content in (b"one", b"two"):
            with store.create(BLOB) as writer:
                writer.write(content)
            if content == b"one":
                store.move(BLOB, ASIDE)
        for pair in ((BLOB, ASIDE), (ASIDE, BLOB)):
            with pytest.raises(StoreError, match="something is there already"):
                store.move(*pair)
        assert store.read(BLOB, 9) == b"two"
        assert store.read(ASIDE, 9) == b"one"


def test_nothing_in_the_tree_is_deleted(tree: BucketTree) -> None:
    store = opened()
    (path, *_) = [key.removeprefix("pfx/") for key in tree.before]
    with store.lock(LOCK, "me"):
        with pytest.raises(StoreError, match="never deleted in its place"):
            store.delete([path])
        with pytest.raises(StoreError, match="never deleted in its place"):
            store.delete_tree("docker")
    assert tree.state() == tree.before


def test_a_key_that_would_be_too_long_is_not_moved(tree: BucketTree) -> None:
    store = opened()
    path = f"docker/{'a' * 200}/{'b' * 200}/{'c' * 200}/{'d' * 200}/{'e' * 160}"
    with store.lock(LOCK, "me"):
        with store.create(path) as writer:
            writer.write(b"x")
        with pytest.raises(PathTooLong, match="longer than 1024 bytes"):
            store.move(path, f".regfs/runs/r/quarantine/{path}")
        assert store.read(path, 9) == b"x"
