"""Collecting uploads under way in a bucket: open uploads in parts, and the small files beside."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from regfs import layout
from regfs.cli.app import run
from regfs.errors import PathChanged, RegfsError
from regfs.gc.collect import settle
from regfs.gc.policy import Policy
from regfs.runs import runs
from regfs.stores import FileKind, ignore
from regfs.tree.registry import Registry
from tests.support.bucket_runs import PREFIX, ROOT, BucketTree, litter_bucket
from tests.support.real_buckets import Server, bucket_on, kinds
from tests.support.reference import BucketRegistry, needs_programs
from tests.support.s3.bucket import FakeBucket, Stored, Upload
from tests.support.s3.uploads import add_part, begun, open_uploads, signed

LATER = Policy(min_age=0, uploads_older_than=0)
BLOB = f"{PREFIX}{layout.BLOBS}/sha256/aa/{'a' * 64}/data"
PARTS = (b"the first part", b"the last part")


class UploadTree:
    """A tree whose only garbage is an upload under way."""

    def __init__(self, tree: BucketTree) -> None:
        self.tree = tree
        self.bucket: FakeBucket = tree.bucket
        self.key = next(key for key in self.bucket.objects if key.endswith("/startedat"))
        self.key = self.key.replace("startedat", "data")
        self.id = ""

    @property
    def path(self) -> str:
        """The path of its bytes."""
        return self.key.removeprefix(PREFIX)

    def begin(self) -> None:
        """Let its bytes be an open upload in parts, 30 days old."""
        del self.bucket.objects[self.key]
        unused = hashlib.sha256(b"linked by nothing").hexdigest()
        self.bucket.objects = {
            key: one for key, one in self.bucket.objects.items() if unused not in key
        }
        self.id = begun(signed(), self.key, *PARTS)
        self.grow_old()

    def grow_old(self) -> None:
        """Let all parts be old."""
        upload = self.bucket.uploads[self.id]
        upload.began = 1_000_000.0
        upload.parts = {
            number: part._replace(mtime=1_000_000.0) for number, part in upload.parts.items()
        }

    def shown(self) -> set[str]:
        """Return the files of uploads that the tree shows."""
        walked = self.tree.store().walk(layout.uploads_folder("app"), ignore)
        return {layout.name_of(one.path) for one in walked if one.kind is FileKind.FILE}

    def apply(self) -> str:
        """Set it aside, and settle."""
        registry = Registry(self.tree.store())
        done = self.tree.apply(self.tree.plan(LATER))
        settle(registry)
        return done.run


@contextmanager
def upload_tree(versioned: bool) -> Iterator[UploadTree]:
    with litter_bucket(versioned=versioned) as tree:
        found = UploadTree(tree)
        found.begin()
        tree.before = tree.state()
        yield found


@pytest.fixture(params=[False, True], ids=["copies", "versions"])
def versioned(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def upload(versioned: bool) -> Iterator[UploadTree]:
    with upload_tree(versioned) as found:
        yield found


def parts(upload: UploadTree) -> list[Stored]:
    return list(upload.bucket.uploads[upload.id].parts.values())


# -- out, back, for good -----------------------------------------------------------------


def test_a_run_hides_an_upload_and_ends_nothing(upload: UploadTree) -> None:
    before = parts(upload)
    done = upload.tree.apply(upload.tree.plan(LATER))
    assert not done.skipped
    assert done.done.uploads == 1
    assert done.done.bytes > sum(map(len, PARTS))
    assert parts(upload) == before
    assert upload.shown() == set()
    assert not any(one.kind == "upload" for one in upload.tree.plan(LATER).actions)


def test_what_is_set_aside_takes_its_space_until_the_purge(
    upload: UploadTree, capsys: pytest.CaptureFixture[str]
) -> None:
    done = upload.tree.apply(upload.tree.plan(LATER)).done
    capsys.readouterr()
    assert run(["-r", ROOT, "du", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["disk"]["quarantine"]["bytes"] == done.bytes


def test_a_restore_shows_it_again(upload: UploadTree) -> None:
    shown, before = upload.shown(), parts(upload)
    run = upload.apply()
    back = upload.tree.restore(run)
    assert not back.skipped
    assert upload.shown() == shown
    assert parts(upload) == before
    assert upload.tree.state() == upload.tree.before
    assert not upload.tree.own()


def test_a_purge_aborts_it_and_no_other(upload: UploadTree) -> None:
    other = begun(signed(), BLOB, b"1")
    elsewhere = begun(signed(), upload.key.replace("app", "young"), b"1")
    done = upload.tree.apply(upload.tree.plan(Policy(min_age=0, uploads_older_than=60)))
    assert done.done.uploads == 1
    purged = upload.tree.purge()
    assert purged.deleted.uploads == 1
    assert purged.bytes > sum(map(len, PARTS))
    assert upload.bucket.uploads.keys() == {other, elsewhere}
    assert not upload.tree.own()
    assert [one.state for one in runs(upload.tree.store())] == ["purged"]


def test_an_object_and_several_uploads_of_one_key_go_and_come_back(upload: UploadTree) -> None:
    signed_by = signed()
    second = begun(signed_by, upload.key, b"22")
    upload.bucket.uploads[second].parts[1] = (
        upload.bucket.uploads[second].parts[1]._replace(mtime=1_000_000.0)
    )
    upload.bucket.objects[upload.key] = Stored(b"object", 1_000_000.0)
    shown = upload.shown()
    assert len([one for one in shown if one.startswith("data")]) == 3
    run = upload.apply()
    assert upload.shown() == set()
    upload.tree.restore(run)
    assert upload.shown() == shown
    assert upload.bucket.objects[upload.key].data == b"object"
    upload.apply()
    upload.tree.purge()
    assert upload.bucket.uploads == {}
    assert upload.key not in upload.bucket.objects


def test_what_a_killed_regfs_has_begun_is_ended_a_day_later_by_who_holds_the_lock(
    upload: UploadTree,
) -> None:
    begin = [f"{PREFIX}.regfs/runs/r/quarantine/x", f"{PREFIX}.regfs/heal/y", BLOB, ".regfs/other"]
    old = [begun(signed(), key, b"1") for key in begin]
    for one in old:
        upload.bucket.uploads[one].began -= 90_000
    young = begun(signed(), begin[0], b"1")
    with upload.tree.store().lock(".regfs/lock", "somebody"):
        left = upload.bucket.uploads.keys()
        assert left == {upload.id, young, *old[2:]}
    upload.bucket.denied = {"s3:ListBucketMultipartUploads"}
    with upload.tree.store().lock(".regfs/lock", "somebody"):
        pass


# -- a registry goes on ------------------------------------------------------------------


def test_an_upload_that_grows_after_the_plan_stays(upload: UploadTree) -> None:
    planned = upload.tree.plan(LATER)
    add_part(signed(), upload.key, upload.id, 3, b"more")
    done = upload.tree.apply(planned)
    assert [one.path for one in done.skipped] == [layout.parent_of(upload.path)]
    assert done.done.uploads == 0
    assert "data" in upload.shown()


def test_an_upload_that_grows_in_quarantine_comes_back(upload: UploadTree) -> None:
    shown = upload.shown()
    upload.tree.apply(upload.tree.plan(LATER))
    add_part(signed(), upload.key, upload.id, 3, b"more")
    settle(Registry(upload.tree.store()))
    assert upload.shown() == shown
    upload.tree.purge()
    assert len(parts(upload)) == 3


@pytest.mark.parametrize("number", [2, 3])
def test_an_upload_that_changes_while_it_is_dropped_is_not_aborted(
    upload: UploadTree, number: int
) -> None:
    upload.apply()
    store = upload.tree.store()
    walked = store.walk(".regfs/runs", ignore)
    stub = next(one.path for one in walked if one.path.endswith(upload.path))
    with store.lock(".regfs/lock", "a purge"):
        assert store.stat(stub).size == sum(map(len, PARTS))
        # One part more, or another of the same size in place of the last.
        add_part(signed(), upload.key, upload.id, number, b"another part."[: len(PARTS[1])])
        with pytest.raises(PathChanged, match="nothing of it was deleted"):
            store.delete([stub])
    assert upload.id in upload.bucket.uploads
    assert any("._regfs.u." in key for key in upload.tree.own())


def test_an_upload_that_was_completed_in_quarantine_is_no_matter(upload: UploadTree) -> None:
    upload.apply()
    del upload.bucket.uploads[upload.id]
    upload.bucket.objects[BLOB] = Stored(b"".join(PARTS), 0.0)
    upload.bucket.objects[upload.key] = Stored(b"".join(PARTS), 0.0)
    upload.tree.purge()
    assert BLOB in upload.bucket.objects
    assert upload.key in upload.bucket.objects
    assert not upload.tree.own()


def test_an_upload_that_the_server_does_not_end_stays_in_quarantine(upload: UploadTree) -> None:
    upload.apply()
    kept: Upload = upload.bucket.uploads[upload.id]

    def survive(method: str, key: str, query: dict[str, str]) -> None:
        upload.bucket.uploads[upload.id] = kept

    upload.bucket.fault = survive
    with pytest.raises(RegfsError, match="still there after it was aborted"):
        upload.tree.purge()
    assert any("._regfs.u." in key for key in upload.tree.own())
    upload.bucket.fault = lambda *_: None
    upload.tree.purge()
    assert upload.bucket.uploads == {}


@pytest.mark.parametrize("denied", ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"])
def test_a_missing_permission_is_named_and_deletes_nothing(upload: UploadTree, denied: str) -> None:
    upload.apply()
    upload.bucket.denied = {denied}
    with pytest.raises(RegfsError, match=f"{denied} is missing"):
        upload.tree.purge()
    assert upload.id in upload.bucket.uploads
    upload.bucket.denied = set()
    upload.tree.purge()
    assert upload.bucket.uploads == {}


# -- crashes -----------------------------------------------------------------------------

Deed = Callable[[UploadTree], object]


def crashes(versioned: bool, before: Deed, deed: Deed, after: Deed) -> int:
    """Stop the server after every change of a deed in turn; return how many there were."""
    number, stopped = -1, True
    while stopped:
        number += 1
        with upload_tree(versioned) as upload:
            before(upload)
            upload.tree.prepare()
            upload.bucket.stop_after(number)
            with suppress(RegfsError):
                deed(upload)
            stopped = upload.bucket.stopped
            upload.tree.revive()
            after(upload)
    return number


def _restore_all(upload: UploadTree) -> None:
    for one in runs(upload.tree.store()):
        upload.tree.restore(one.run)
    assert upload.tree.state() == upload.tree.before
    assert upload.shown() >= {"data", "startedat"}
    assert parts(upload)
    assert not upload.tree.own()


def _purge_all(upload: UploadTree) -> None:
    upload.tree.purge()
    assert upload.bucket.uploads == {}
    assert not upload.tree.own()


def test_a_crash_at_any_change_of_apply_is_restored(versioned: bool) -> None:
    assert crashes(versioned, lambda upload: None, UploadTree.apply, _restore_all) > 8


def test_a_crash_at_any_change_of_a_purge_is_mended_by_purging_again(versioned: bool) -> None:
    def purge(upload: UploadTree) -> object:
        return upload.tree.purge()

    assert crashes(versioned, UploadTree.apply, purge, _purge_all) > 5


def test_lost_answers_change_nothing(upload: UploadTree) -> None:
    lost: set[tuple[str, str]] = set()

    def lose(method: str, key: str, query: dict[str, str]) -> bool:
        new = method in ("PUT", "DELETE") and (method, key) not in lost
        lost.add((method, key))
        return new

    upload.tree.prepare()
    upload.bucket.lose = lose
    upload.apply()
    upload.tree.purge()
    assert upload.bucket.uploads == {}
    assert not upload.tree.own()


# -- beside a registry -------------------------------------------------------------------


@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
@needs_programs("docker-registry")
def test_an_upload_that_a_registry_left_is_collected_and_one_that_goes_on_is_not(
    kind: str, object_store: Callable[[str], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_on(object_store(kind), None, "pfx") as root:
        bucket = root.removeprefix("s3://").partition("/")[0]
        with BucketRegistry(bucket, "pfx") as registry:
            assert patched(registry, begin_upload(registry), bytes(12_000_000))
            client = signed(root)
            left = open_uploads(client, "pfx/")
            assert len(left) == 1
            with Uploading(registry) as young:
                time.sleep(11)  # the young one may stand still for nearly as long
                ages = ["--min-age", "10s", "--uploads-older-than", "10s"]
                assert run(["-r", root, "gc", "plan", *ages, "--json"]) == 0
                planned = json.loads(capsys.readouterr().out)
                assert planned["totals"]["uploads"] == 1
                (action,) = [one for one in planned["actions"] if one["kind"] == "upload"]
                small = action["size"] - 12_000_000
                assert 0 < small < 1000  # startedat, and states of the digest
                assert run(["-r", root, "gc", "run", *ages, "--yes"]) == 0
                assert left[0].id in {one.id for one in open_uploads(client, "pfx/")}
                capsys.readouterr()
                assert run(["-r", root, "ls", "--uploads", "--json"]) == 0
                listed = json.loads(capsys.readouterr().out)["uploads"]
                assert len(listed) == 1
                assert run(["-r", root, "gc", "purge", "--offline", "--yes"]) == 0
                assert left[0].id not in {one.id for one in open_uploads(client, "pfx/")}
            digest = f"sha256:{hashlib.sha256(young.sent).hexdigest()}"
            assert registry.request("PUT", f"{young.where}&digest={digest}").status == 201
            assert registry.request("GET", f"/v2/young/blobs/{digest}").body == young.sent
        assert open_uploads(client, "pfx/") == []


class Uploading:
    """A client that adds to an upload all the time."""

    def __init__(self, registry: BucketRegistry) -> None:
        self.sent = b""
        self.where = begin_upload(registry, "young")
        self._registry = registry
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._add)

    def _add(self) -> None:
        while not self._ended.wait(0.2):
            piece = os.urandom(100_000)
            self.where = patched(self._registry, self.where, piece)
            self.sent += piece

    def __enter__(self) -> Uploading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def begin_upload(registry: BucketRegistry, name: str = "app") -> str:
    return registry.request("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]


def patched(registry: BucketRegistry, where: str, data: bytes) -> str:
    answer = registry.request("PATCH", where, body=data)
    assert answer.status == 202
    return answer.headers["Location"]
