"""A report of S3 Inventory answers as the bucket that it lists, without one listing."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import regfs
from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import NotARegistry, RegfsError, StoreError
from regfs.findings import Code
from regfs.stores import FileKind, ignore, open_store
from tests.make_fixtures import TREES
from tests.support.buckets import KEY, NAME, SECRET, FakeBucket, Stored, bucket_of
from tests.support.inventories import (
    DATED,
    VERSIONED,
    lines_of,
    manifest_of,
    report_of,
    row_of,
    with_manifest,
)
from tests.support.real_buckets import Server, bucket_on, kinds, object_store_of

FOLDER = f"reports/{NAME}/daily"
ROOT = f"inventory:s3://{NAME}/{FOLDER}/{DATED}/manifest.json"
NOTE = "regfs: as of 2026-11-28T01:00:00Z ("
COMMANDS = [["ls", "-l"], ["info"], ["du"], ["reuse"], ["bases"], ["verify"], ["gc", "runs"],
            ["show", "my-busybox-extended"], ["log", "my-busybox"],
            ["files", "my-busybox", "--no-cache"]]  # fmt: skip


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[FakeBucket]:
    """A bucket with the tutorial's tree below `pfx`, and a report on it."""
    with bucket_of(TREES / "tutorial", "pfx/") as served:
        put(served, report_of(served.objects, FOLDER))
        yield served


def put(bucket: FakeBucket, files: dict[str, bytes]) -> None:
    """Put the files of a report into a bucket."""
    for key, data in files.items():
        bucket.objects[key] = Stored(data, 0.0)


def answer(root: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    code = run(["-r", root, *arguments, "--json"])
    captured = capsys.readouterr()
    vary = {
        "root", "listed_at", "seconds", "started_at", "finished_at", "reclaimable",
        "requests", "costs",
    }  # fmt: skip
    document = json.loads(captured.out)
    plain = document
    if isinstance(document, dict):
        plain = {key: value for key, value in document.items() if key not in vary}
    return code, plain, [line for line in captured.err.splitlines() if not line.startswith(NOTE)]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_report_answers_as_the_bucket_without_a_listing(
    arguments: list[str], bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = answer(f"s3://{NAME}/pfx", arguments, capsys)
    bucket.requests.clear()
    assert answer(ROOT, arguments, capsys) == wanted
    assert bucket.requests["list"] == 0


def test_links_and_tags_are_told_by_the_report(bucket: FakeBucket) -> None:
    tree = regfs.open(ROOT)
    assert tree.inventory.repositories["my-busybox"].tags["latest"].current
    assert tree.verify(level="links").checked.links
    # manifest.json, its checksum, and two files; and when an upload began.
    assert (bucket.requests["get"], bucket.requests["list"]) == (5, 0)


def test_its_age_is_told(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", ROOT, "info"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(NOTE)
    assert "as of         2026-11-28T01:00:00Z, by a report of S3 Inventory" in captured.out
    assert run(["-r", ROOT, "-q", "info", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["listed_at"] == "2026-11-28T01:00:00Z"


@pytest.mark.parametrize(
    "arguments",
    [["gc", "plan"], ["gc", "run", "--yes"], ["gc", "run", "--offline", "--yes", "--purge"],
     ["gc", "purge"], ["rm", "my-busybox:latest"], ["tag", "my-busybox:latest", "x"],
     ["heal", "--relink"], ["serve", "--writable", "--listen", "127.0.0.1:0"]],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_collected_by_a_report(
    arguments: list[str], bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(bucket.objects)
    assert run(["-r", ROOT, *arguments]) == Exit.REFUSED.value
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(NOTE)]
    assert lines == [
        f"regfs: {ROOT}: is a listing of yesterday, or older: what was pushed since would be lost; "
        f"give the bucket itself (s3://{NAME})"
    ]
    assert bucket.objects == before


@pytest.mark.parametrize("how", ["as it was", "in one folder"])
def test_a_report_that_was_copied_is_read_where_it_is(
    bucket: FakeBucket, how: str, tmp_path: Path
) -> None:
    for key, one in bucket.objects.items():
        if key.startswith(FOLDER):
            place = tmp_path / (key if how == "as it was" else key.rpartition("/")[2])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(one.data)
    (manifest,) = tmp_path.rglob("manifest.json")
    bucket.requests.clear()
    assert len(regfs.open(f"inventory:{manifest}").inventory.blobs) == 31
    assert not bucket.requests["list"]


def test_of_versions_only_what_is_there_counts(bucket: FakeBucket) -> None:
    rows = [row_of(key, one) for key, one in bucket.objects.items() if key.startswith("pfx/")]
    gone = {**rows[0], "Key": "pfx/docker/registry/v2/gone"}
    rows += [
        {**gone, "IsDeleteMarker": "true", "Size": "", "ETag": ""},
        {**gone, "IsLatest": "false", "Size": "7"},
        {**rows[0], "IsLatest": "false", "Size": "7"},
    ]
    random.Random(1).shuffle(rows)
    files = {f"{FOLDER}/data/v.csv.gz": gzip.compress(lines_of(rows, VERSIONED))}
    put(bucket, with_manifest(files, FOLDER, fileSchema=", ".join(VERSIONED)))
    report, live = (open_store(root) for root in (ROOT, f"s3://{NAME}/pfx"))
    found, wanted = (
        [one for one in store.walk("docker", ignore) if one.kind is FileKind.FILE]
        for store in (report, live)
    )
    assert found == wanted


def test_a_report_without_etags_reads_links_and_without_times_is_as_old_as_itself(
    bucket: FakeBucket,
) -> None:
    rows = [row_of(key, one) for key, one in bucket.objects.items() if key.startswith("pfx/")]
    columns = ("Key", "Size")
    files = {f"{FOLDER}/data/v.csv.gz": gzip.compress(lines_of(rows, columns))}
    put(bucket, with_manifest(files, FOLDER, fileSchema="Key, Size"))
    bucket.requests.clear()
    tree = regfs.open(ROOT)
    found = tree.verify(level="links").findings
    assert found == regfs.open(str(TREES / "tutorial")).verify(level="links").findings
    assert bucket.requests["get"] > 20
    assert {one.mtime for one in tree.inventory.blobs.values()} == {1795827600.0}


def test_several_trees_need_a_prefix_and_all_else_is_left_out(tmp_path: Path) -> None:
    with bucket_of(TREES / "tutorial", "prod/") as served:
        with bucket_of(TREES / "whole", "stage/") as other:
            served.objects |= other.objects
        served.objects |= {f"logs/{number}": Stored(b"x", 0.0) for number in range(10)}
        put(served, report_of(served.objects, FOLDER))
        os.environ["AWS_ENDPOINT_URL"] = served.url
        with pytest.raises(NotARegistry, match="more than one registry: below prod/ and stage/"):
            regfs.open(ROOT)
        assert "app" in regfs.open(f"{ROOT}#stage").inventory.repositories
        assert "app" not in regfs.open(f"{ROOT}#/prod/").inventory.repositories
        with pytest.raises(NotARegistry, match="no registry in it"):
            regfs.open(f"{ROOT}#pro")


def test_what_is_gone_since_is_said(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> None:
    blobs = [key for key in bucket.objects if "/blobs/" in key]
    layer = max(blobs, key=lambda key: len(bucket.objects[key].data))
    del bucket.objects[layer]
    assert run(["-r", ROOT, "verify", "--json"]) == Exit.FINDINGS.value
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {one["code"] for one in found if one["severity"] == "error"} == {Code.BLOB_MISSING.value}


def test_keys_that_are_no_paths_are_findings(bucket: FakeBucket) -> None:
    rows = [row_of(key, one) for key, one in bucket.objects.items() if key.startswith("pfx/")]
    odd = ["pfx/docker/registry/v2/a//b", "pfx/docker/registry/v2/%FF", "pfx/docker/registry/v2/x/"]
    rows += [{**rows[0], "Key": key} for key in odd]
    rows += [{**rows[0], "Key": f"pfx/docker/registry/v2//{number}"} for number in range(30)]
    files = {f"{FOLDER}/data/v.csv.gz": gzip.compress(lines_of(rows))}
    put(bucket, with_manifest(files, FOLDER))
    store = open_store(ROOT)
    assert [one.code for one in store.problems] == [Code.PATH_UNREADABLE] * 21
    names = [e.path for e in store.list("docker/registry/v2", ignore)]
    assert "docker/registry/v2/\udcff" in names
    with pytest.raises(RegfsError):
        store.read("docker/registry/v2/\udcff", 1)


@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
def test_a_report_on_a_real_server(
    kind: str,
    object_store: Callable[[str], Server],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import obstore

    with bucket_on(object_store(kind), TREES / "tutorial", "pfx") as root:
        store, name = object_store_of(root), root.split("/")[2]
        rows = [
            {"Bucket": name, "Key": one["path"], "Size": str(one["size"]), "StorageClass": "",
             "LastModifiedDate": one["last_modified"].isoformat(),
             "ETag": (one["e_tag"] or "").strip('"')}
            for page in obstore.list(store) for one in page
        ]  # fmt: skip
        files = {f"{FOLDER}/data/0.csv.gz": gzip.compress(lines_of(rows))}
        for key, data in with_manifest(files, FOLDER, sourceBucket=name).items():
            obstore.put(store, key, data)
        report = f"inventory:s3://{name}/{FOLDER}/{DATED}/manifest.json"
        for arguments in (["ls", "-l"], ["du"], ["verify"], ["show", "my-busybox-extended"]):
            assert answer(report, arguments, capsys) == answer(root, arguments, capsys)


# -- damage -------------------------------------------------------------------------------

DATA = f"{FOLDER}/data/0.csv.gz"
MANIFEST = f"{FOLDER}/{DATED}/manifest.json"


def _edit(bucket: FakeBucket, key: str, edit: Callable[[bytes], bytes]) -> None:
    bucket.objects[key] = Stored(edit(bucket.objects[key].data), 0.0)


def _claim(bucket: FakeBucket, data: bytes) -> None:
    """Put a file that manifest.json names truly, whatever is in it."""
    put(bucket, with_manifest({DATA: data}, FOLDER))


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data[:-20],
        lambda data: data[:40] + b"\0\0" + data[42:],
        lambda data: gzip.compress(gzip.decompress(data)[:-80]),
        lambda data: gzip.compress(gzip.decompress(data).partition(b"\n")[2]),
        lambda data: data + b"x",
        lambda data: data + gzip.compress(b""),
        lambda data: b"",
    ],
)
def test_a_file_that_is_not_what_was_written_is_refused(
    bucket: FakeBucket, edit: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(bucket, DATA, edit)
    assert run(["-r", ROOT, "ls"]) == Exit.STORAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"regfs: {ROOT}: {DATA}: ")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'"bucket","key"\n', "a line of 2 columns, not 6"),
        (b'"b","k","x","2026-11-28T01:00:00.000Z","",""\n', "invalid literal"),
        (b'"b","k","-5","2026-11-28T01:00:00.000Z","",""\n', "negative or too large"),
        (b'"b","k","5","yesterday","",""\n', "Invalid isoformat"),
        (b"x" * 200_000, "a line of more than 65536 bytes"),
        (b'"' + b"a\n" * 200_000, "field larger than field limit"),
        (b'"b","k","' + b"9" * 6000 + b'","2026-11-28T01:00:00.000Z","",""\n', "Exceeds the limit"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_lines_that_are_none_are_refused(
    bucket: FakeBucket, data: bytes, words: str, packed: bool
) -> None:
    _claim(bucket, gzip.compress(data) if packed else data)
    with pytest.raises(StoreError) as caught:
        regfs.open(ROOT)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fileFormat": "ORC"}, "a report in ORC, which is not read; set the format"),
        ({"fileFormat": "Parquet"}, "a report in Parquet, which is not read"),
        ({"fileSchema": "Bucket, Key, ETag"}, "without the column Size"),
        ({"fileSchema": 7}, "not a manifest of S3 Inventory"),
        ({"sourceBucket": "a/b"}, "not a manifest of S3 Inventory"),
        ({"creationTimestamp": "soon"}, "not a manifest of S3 Inventory"),
        ({"creationTimestamp": "9" * 30}, "not a manifest of S3 Inventory"),
        ({"files": [{"key": "x"}]}, "not a manifest of S3 Inventory"),
        ({"files": 7}, "not a manifest of S3 Inventory"),
    ],
)
def test_a_manifest_of_another_form_is_named(
    bucket: FakeBucket, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(bucket, with_manifest({}, FOLDER, **changes))
    assert run(["-r", ROOT, "ls"]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"regfs: {ROOT}: ")
    assert words in line


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"[]", b"null", b"\xff"])
def test_a_manifest_that_is_none_is_named(bucket: FakeBucket, data: bytes) -> None:
    checksum = hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
    put(bucket, {MANIFEST: data, f"{FOLDER}/{DATED}/manifest.checksum": checksum})
    with pytest.raises(NotARegistry, match="not a manifest of S3 Inventory"):
        regfs.open(ROOT)


def test_a_manifest_that_is_not_its_checksum_is_refused(bucket: FakeBucket) -> None:
    _edit(bucket, MANIFEST, lambda data: data + b" ")
    with pytest.raises(StoreError, match=r"is not what manifest\.checksum says"):
        regfs.open(ROOT)
    del bucket.objects[f"{FOLDER}/{DATED}/manifest.checksum"]
    assert regfs.open(ROOT).inventory.blobs


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("inventory:", "must be inventory:s3://BUCKET/PATH/manifest.json, or inventory:PATH/"),
        ("inventory:/none", "must be inventory:s3://"),
        ("inventory:s3://bucket/reports", "must be inventory:s3://"),
        ("inventory:gs://bucket/manifest.json", "S3 Inventory reports lie in s3://"),
        ("inventory:s3://a b/manifest.json", "must be s3://BUCKET"),
        (f"inventory:s3://{NAME}/none/manifest.json", "there is no such object or file"),
        ("inventory:/none/manifest.json", "there is no such object or file"),
    ],
)
def test_what_names_no_report(
    bucket: FakeBucket, root: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", root, "ls"]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_files_that_are_not_there_or_lead_elsewhere(bucket: FakeBucket, tmp_path: Path) -> None:
    del bucket.objects[DATA]
    with pytest.raises(StoreError, match="is not there, and belongs to the report"):
        regfs.open(ROOT)
    for name in ("../../etc/passwd", "/etc/passwd", "a//b", ""):
        (tmp_path / "manifest.json").write_bytes(manifest_of({name: b"x"}))
        with pytest.raises(StoreError):
            regfs.open(f"inventory:{tmp_path}/manifest.json")
    os.mkfifo(tmp_path / "pipe.csv.gz")
    (tmp_path / "manifest.json").write_bytes(manifest_of({"pipe.csv.gz": b"x"}))
    with pytest.raises(StoreError, match="not a regular file"):
        regfs.open(f"inventory:{tmp_path}/manifest.json")


def test_no_secret_is_told(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.fault = lambda method, key, query: (403, "SignatureDoesNotMatch")
    assert run(["-r", ROOT, "ls"]) == Exit.STORAGE.value
    captured = capsys.readouterr()
    assert "the secret key is wrong" in captured.err
    assert KEY not in captured.err
    from regfs.stores.bucket.listing.inventory import of_inventory

    place = of_inventory(ROOT, {"HOME": "/none", "AWS_SECRET_ACCESS_KEY": SECRET})
    assert SECRET not in repr(place) + place.url
