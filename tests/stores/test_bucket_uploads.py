"""Uploads under way in a bucket: open uploads in parts, which no listing of objects shows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regfs import layout
from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import PathMissing
from regfs.findings import Code, Finding
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.graph import build_graph
from regfs.stores import Entry, FileKind, Store, Unlisted, open_store
from regfs.stores.bucket.place import of_url
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.make_fixtures import TREES
from tests.support.buckets import (
    NAME,
    FakeBucket,
    Stored,
    bucket_of,
    environment,
)
from tests.support.real_buckets import Server, bucket_on, kinds
from tests.support.reference import BucketRegistry, needs_programs
from tests.support.s3.uploads import MIB, begun, open_uploads, signed
from tests.support.stores import no_findings

ROOT = f"s3://{NAME}"
DAY = 86_400.0
UPLOADS = layout.uploads_folder("app")


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with a small tree, whose one upload has its bytes in an open upload in parts."""
    with bucket_of(TREES / "whole") as served:
        del served.objects[data_of(served)]
        yield served


def opened(root: str = ROOT) -> Store:
    return open_store(of_url(root, os.environ))


def data_of(bucket: FakeBucket) -> str:
    """Return the key of the bytes of the upload that the tree has."""
    began = next(key for key in bucket.objects if key.startswith(UPLOADS) and "startedat" in key)
    return began.replace("startedat", "data")


def files(store: Store, folder: str = UPLOADS) -> dict[str, Entry]:
    walked = store.walk(folder, no_findings)
    return {layout.name_of(one.path): one for one in walked if one.kind is FileKind.FILE}


def planned(store: Store, **rules: Any) -> Plan:
    tree = store.snapshot()
    inventory = scan(tree)
    graph = build_graph(inventory, Registry(tree))
    policy = Policy(min_age=0.0, uploads_older_than=rules.pop("uploads_older_than", 0.0))
    return plan(graph, policy, inventory.taken_at + rules.pop("later", 0.0))


# -- as a file -------------------------------------------------------------------------


def test_it_is_the_file_data_of_its_upload_however_it_is_asked_for(bucket: FakeBucket) -> None:
    key = data_of(bucket)
    name = begun(signed(), key, bytes(5 * MIB), b"1234")
    bucket.uploads[name].parts[1] = bucket.uploads[name].parts[1]._replace(mtime=1000.25)
    bucket.uploads[name].parts[2] = bucket.uploads[name].parts[2]._replace(mtime=2000.75)
    folder = layout.parent_of(key)
    store = opened()
    entry = store.stat(key)
    assert (entry.path, entry.size, entry.mtime) == (key, 5 * MIB + 4, 2000.0)
    assert entry in store.list(folder, no_findings)
    for one in (store, store.snapshot()):
        assert files(one)["data"] == entry
        assert files(one, folder)["data"] == entry
        assert files(one, "")["data"] == entry
        assert files(one, layout.REPOSITORIES)["data"] == entry
    assert store.stat(folder).mtime >= 2000.0


def test_its_etag_changes_with_its_parts(bucket: FakeBucket) -> None:
    key = data_of(bucket)
    begun(signed(), key, b"1234")
    before = opened().stat(key).etag
    assert opened().stat(key).etag == before
    bucket.uploads.clear()
    begun(signed(), key, b"5678")
    assert opened().stat(key).etag != before


def test_one_without_parts_is_as_old_as_its_beginning(bucket: FakeBucket) -> None:
    key = data_of(bucket)
    name = begun(signed(), key)
    bucket.uploads[name].began = 5000.5
    assert (opened().stat(key).size, opened().stat(key).mtime) == (0, 5000.0)


def test_its_bytes_cannot_be_read(bucket: FakeBucket) -> None:
    begun(signed(), data_of(bucket), b"1234")
    with pytest.raises(PathMissing):
        opened().read(data_of(bucket), 4)
    with pytest.raises(PathMissing):
        opened().snapshot().read(data_of(bucket), 4)


def test_one_that_has_nothing_else_is_an_upload(bucket: FakeBucket) -> None:
    folder = f"{UPLOADS}/0b0f8d5e-8a0f-4c59-9d52-3a8d35a0a9b1"
    begun(signed(), f"{folder}/data", b"1234")
    store = opened()
    assert folder in [one.path for one in store.list(UPLOADS, no_findings)]
    assert store.stat(folder).kind is FileKind.FOLDER
    assert files(store, folder)["data"].size == 4


def test_several_at_once_and_beside_an_object_have_names_of_their_own(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    key = data_of(bucket)
    for data in (b"1", b"22"):
        begun(signed(), key, data)
    names = sorted(one for one in files(opened()) if one.startswith("data"))
    assert [len(one) for one in names] == [21, 21]
    bucket.objects[key] = Stored(b"333", 0.0)
    store = opened()
    found = {name: one for name, one in files(store).items() if name.startswith("data")}
    assert sorted(found) == ["data", *names]
    assert sorted(one.size for one in found.values()) == [1, 2, 3]
    assert run(["-r", ROOT, "-v", "verify"]) == 0
    assert "foreign" not in capsys.readouterr().out
    for one in found.values():
        assert store.stat(one.path) == one
        assert store.snapshot().stat(one.path) == one


def test_one_that_ends_while_it_is_listed_is_left_out(bucket: FakeBucket) -> None:
    name = begun(signed(), data_of(bucket), b"1234")
    bucket.fault = lambda method, key, query: (
        (404, "NoSuchUpload") if query.get("uploadId") == name else None
    )
    assert "data" not in files(opened())


@pytest.mark.parametrize("prefix", ["", "some/where/"])
def test_uploads_elsewhere_are_none_of_these(
    prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_of(TREES / "whole", prefix) as bucket:
        before = files(opened(f"{ROOT}/{prefix}"), "")
        blob = f"{layout.BLOBS}/sha256/aa/{'a' * 64}/data"
        for key in (blob, f"{UPLOADS}/x/hashstates", ".regfs/runs/r/x", f"{UPLOADS}/data"):
            begun(signed(), prefix + key, b"1234")
        begun(signed(), f"elsewhere/{UPLOADS}/id/data", b"1234")
        store = opened(f"{ROOT}/{prefix}")
        assert files(store, "") == before
        assert store.unlisted() == Unlisted(4, 16)
        assert run(["-r", f"{ROOT}/{prefix}", "info"]) == 0
        assert "in parts      16 B in 4 other uploads, which no" in capsys.readouterr().out
        assert len(bucket.uploads) == 5


def test_nothing_is_asked_where_no_upload_can_be(bucket: FakeBucket) -> None:
    asked: list[dict[str, str]] = []
    bucket.fault = lambda method, key, query: asked.append(query)
    store = opened()
    for folder in (layout.BLOBS, f"{layout.REPOSITORIES}/app/_manifests", ".regfs"):
        list(store.walk(folder, no_findings))
    list(store.list(f"{layout.REPOSITORIES}/app", no_findings))
    assert not any("uploads" in query for query in asked)


# -- what is told ----------------------------------------------------------------------


def test_commands_tell_of_it_as_on_a_folder(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(signed(), data_of(bucket), bytes(12_000_000))
    assert run(["-r", ROOT, "ls", "--uploads", "--json"]) == 0
    (upload,) = json.loads(capsys.readouterr().out)["uploads"]
    small = sum(len(one.data) for key, one in bucket.objects.items() if UPLOADS in key)
    assert upload["size"] == 12_000_000 + small
    assert run(["-r", ROOT, "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uploads"] == {
        "count": 1,
        "bytes": 12_000_000 + small,
    }
    assert run(["-r", ROOT, "du", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["disk"]["uploads"]["bytes"] == 12_000_000 + small
    assert run(["-r", ROOT, "verify", "--level", "links"]) == 0


def test_a_plan_takes_it_by_the_age_of_its_last_part(bucket: FakeBucket) -> None:
    name = begun(signed(), data_of(bucket), bytes(5 * MIB), b"1")
    for key in [key for key in bucket.objects if key.startswith(UPLOADS)]:
        bucket.objects[key] = bucket.objects[key]._replace(mtime=1000.0)
    actions = planned(opened(), uploads_older_than=DAY).actions
    assert not any(one.kind == "upload" for one in actions)
    (action,) = [one for one in planned(opened(), later=2 * DAY).actions if one.kind == "upload"]
    assert action.size > 5 * MIB
    assert action.mtime == bucket.uploads[name].parts[2].mtime // 1


# -- what is not known -----------------------------------------------------------------

DENIED = ["s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"]


@pytest.mark.parametrize("denied", DENIED)
def test_an_upload_of_which_nothing_is_known_is_told_and_stays(
    bucket: FakeBucket, denied: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(signed(), data_of(bucket), b"1234")
    bucket.denied = {denied}
    for command in (["ls", "--uploads"], ["du"], ["info"]):
        assert run(["-r", ROOT, *command]) == Exit.FINDINGS.value
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("regfs: incomplete. ")
        assert line.endswith(f"{denied} is missing")
    for command in (["verify", "-q"], ["gc", "run", "--yes", "--min-age", "0"]):
        assert run(["-r", ROOT, *command]) == Exit.FINDINGS.value
        capsys.readouterr()
    made = planned(opened(), later=9 * DAY)
    assert made.kept["upload_unknown"] == 1
    assert not any(one.kind == "upload" for one in made.actions)


def test_what_is_not_known_of_uploads_keeps_nothing_else(bucket: FakeBucket) -> None:
    begun(signed(), data_of(bucket), b"1234")
    before = [one for one in planned(opened(), later=9 * DAY).actions if one.kind != "upload"]
    bucket.denied = {DENIED[0]}
    assert planned(opened(), later=9 * DAY).actions == before


def test_without_keys_of_ones_own_uploads_are_said_to_be_unknown(bucket: FakeBucket) -> None:
    found: list[Finding] = []
    with environment(AWS_ACCESS_KEY_ID=None):
        given = of_url(ROOT, os.environ)
    store = open_store(given)
    for walk in (store, store.snapshot()):
        found.clear()
        assert any(walk.walk(UPLOADS, found.append))
        (finding,) = found
        assert finding.code is Code.UPLOAD_UNKNOWN
        assert "set AWS_ACCESS_KEY_ID" in (finding.actual or "")


def test_a_tree_without_uploads_asks_for_no_permission(bucket: FakeBucket) -> None:
    for key in [key for key in bucket.objects if key.startswith(UPLOADS)]:
        del bucket.objects[key]
    bucket.denied = set(DENIED)
    assert run(["-r", ROOT, "du"]) == 0


# -- beside the real thing ---------------------------------------------------------------


@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
@needs_programs("docker-registry")
def test_what_docker_registry_has_begun_is_told(
    kind: str, object_store: Callable[[str], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_on(object_store(kind), None, "pfx") as root:
        bucket = root.removeprefix("s3://").partition("/")[0]
        with BucketRegistry(bucket, "pfx") as registry:
            where = registry.request("POST", "/v2/app/blobs/uploads/").headers["Location"]
            for size, expected in (
                (12_000_000, [12_000_000]),
                (3_000_000, [15_000_000]),
                # It completes what ends with a short part, and begins another upload with it.
                (1_000_000, [15_000_000, 16_000_000]),
            ):
                answer = registry.request("PATCH", where, body=bytes(size))
                assert answer.status == 202
                where = answer.headers["Location"]
                found = files(opened(root))
                sizes = [one.size for name, one in found.items() if name.startswith("data")]
                assert sorted(sizes) == expected
        assert run(["-r", root, "ls", "--uploads", "--json"]) == 0
        (upload,) = json.loads(capsys.readouterr().out)["uploads"]
        assert upload["size"] > 31_000_000
        assert len(open_uploads(signed(root), "pfx/")) == 1
