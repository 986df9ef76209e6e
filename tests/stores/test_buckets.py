"""Trees in buckets: what a listing tells, what is read, and what fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import NotARegistry, PathMissing, StoreError
from regfs.findings import Code, Finding
from regfs.parallel import can_fork
from regfs.stores import Store, open_store
from tests.make_fixtures import TREES
from tests.support.buckets import (
    KEY,
    NAME,
    SECRET,
    FakeBucket,
    Stored,
    bucket_of,
    largest_blob,
    reached_at,
)
from tests.support.builder import TreeBuilder
from tests.support.stores import no_findings

ROOT = f"s3://{NAME}"
V2 = "docker/registry/v2"


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with a small tree."""
    with bucket_of(TREES / "whole") as served:
        yield served


def current(bucket: FakeBucket) -> str:
    """Return the key of a tag's link."""
    return next(key for key in bucket.objects if key.endswith("/current/link"))


def listed(store: Store) -> tuple[set[str], list[Finding]]:
    """Return the paths of all that is in a store, and what is odd there."""
    found: list[Finding] = []
    paths = {entry.path for entry in store.walk("docker", found.append)}
    # A store that is opened by its URL alone is not given the keys that ask for uploads in parts.
    return paths, [one for one in found if one.code is not Code.UPLOAD_UNKNOWN]


# -- links -----------------------------------------------------------------------------


def reads(bucket: FakeBucket) -> int:
    """Return how many objects were read since the last answer."""
    count = bucket.requests["get"]
    bucket.requests.clear()
    return count


def test_links_are_told_by_the_listing(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", ROOT, "ls", "-l"]) == 0
    manifests = reads(bucket)
    links = [key for key in bucket.objects if key.endswith("/link")]
    assert manifests < len(links)
    store = open_store(ROOT).snapshot()
    for key in links:
        assert store.read(key, 999) == bucket.objects[key].data
    assert reads(bucket) == 0


@pytest.mark.parametrize("etag", ["0" * 32, "1f-2", "", "0x8DC"])
def test_an_etag_that_is_no_md5_proves_nothing(bucket: FakeBucket, etag: str) -> None:
    links = {key: one for key, one in bucket.objects.items() if key.endswith("/link")}
    for key, one in links.items():
        bucket.objects[key] = one._replace(etag=etag or "none")
    store = open_store(ROOT).snapshot()
    assert all(store.read(key, 999) == one.data for key, one in links.items())
    assert reads(bucket) == len(links)


def test_a_link_of_other_content_is_read(bucket: FakeBucket) -> None:
    key = next(k for k in bucket.objects if "/_layers/" in k)
    other = b"sha256:" + b"1" * 64
    bucket.objects[key] = Stored(other, 0.0)
    assert open_store(ROOT).snapshot().read(key, 999) == other


def test_a_tag_back_on_a_revision_that_its_index_lacks_is_told(bucket: FakeBucket) -> None:
    key = current(bucket)
    repository = key.partition("/_manifests/")[0]
    index = key.removesuffix("current/link") + "index/"
    for one in [one for one in bucket.objects if one.startswith(index)]:
        del bucket.objects[one]
    data = bucket.objects[key].data
    assert repository + "/_manifests/revisions/sha256/" + data[7:].decode() + "/link" in (
        bucket.objects
    )
    assert open_store(ROOT).snapshot().read(key, 999) == data


# -- keys ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [2, 1000])
@pytest.mark.parametrize(
    "folder",
    [f"{V2}/repositories", f"{V2}/repositories/app", f"{V2}/blobs", f"{V2}/blobs/sha256", V2],
)
def test_a_key_with_an_empty_part_is_a_finding(
    bucket: FakeBucket, folder: str, page: int, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, _ = listed(open_store(ROOT))
    bucket.objects[f"{folder}//b"] = Stored(b"x", 0.0)
    bucket.page = page
    paths, found = listed(open_store(ROOT))
    assert paths == expected
    assert [(one.path, "no paths" in (one.actual or "")) for one in found] == [(folder, True)]
    assert run(["-r", ROOT, "ls"]) == Exit.FINDINGS.value
    assert run(["-r", ROOT, "verify"]) == Exit.FINDINGS.value
    assert folder in capsys.readouterr().out


def test_two_such_keys_in_one_another_hide_what_is_below(bucket: FakeBucket) -> None:
    folder = f"{V2}/repositories"
    bucket.objects[f"{folder}//b"] = bucket.objects[f"{folder}/app//c"] = Stored(b"x", 0.0)
    _, found = listed(open_store(ROOT))
    assert any("nothing below it" in (one.actual or "") for one in found)


def test_the_marker_of_a_folder_is_a_folder(bucket: FakeBucket) -> None:
    expected = listed(open_store(ROOT))
    for folder in (V2, f"{V2}/blobs/sha256", f"{V2}/repositories/app"):
        bucket.objects[f"{folder}/"] = Stored(b"", 0.0)
    assert listed(open_store(ROOT)) == expected


def test_an_object_beside_what_is_below_it_is_a_finding(bucket: FakeBucket) -> None:
    bucket.objects[f"{V2}/repositories/app"] = Stored(b"x", 0.0)
    _, (finding,) = listed(open_store(ROOT))
    assert "both a folder and something else" in (finding.actual or "")


def test_what_lies_beside_the_tree_is_not_listed(bucket: FakeBucket) -> None:
    bucket.objects |= {f"other/{n}": Stored(b"x", 0.0) for n in range(9)}
    bucket.objects["/docker/registry/v2/x"] = Stored(b"x", 0.0)
    store = open_store(ROOT).snapshot()
    assert [one.path for one in store.list("", no_findings)] == ["docker"]


@pytest.mark.parametrize("end", ["", "/", "/docker", "/docker/registry", f"/{V2}", f"/{V2}/"])
def test_the_root_may_be_within_the_tree(end: str) -> None:
    with bucket_of(TREES / "whole", "some/where/") as bucket:
        bucket.objects["some/where/scheduler-state.json"] = Stored(b"{}", 0.0)
        store = open_store(f"{ROOT}/some/where{end}")
        assert store.stat("scheduler-state.json").size == 2
        assert [one.path for one in store.list("docker/registry", no_findings)] == [V2]


def test_repositories_of_many_keys_are_listed_by_pages(bucket: FakeBucket) -> None:
    expected = listed(open_store(ROOT))
    bucket.page = 3
    assert listed(open_store(ROOT)) == expected


# -- reading ---------------------------------------------------------------------------


def test_parts_of_an_object(bucket: FakeBucket) -> None:
    key = largest_blob(bucket)
    data = bucket.objects[key].data
    store = open_store(ROOT)
    for offset, length in (
        (0, None),
        (3, 5),
        (5, None),
        (0, 0),
        (len(data), 1),
        (len(data) * 2, 9),
    ):
        end = None if length is None else offset + length
        with store.open(key, offset, length) as stream:
            assert stream.read() == data[offset:end]


def test_an_object_that_goes_or_changes_is_told(bucket: FakeBucket) -> None:
    store = open_store(ROOT).snapshot()
    key = largest_blob(bucket)
    bucket.objects[key] = Stored(b"other", 0.0)
    with pytest.raises(StoreError, match="has changed since it was listed"):
        store.read(key, 9)
    del bucket.objects[key]
    with pytest.raises(PathMissing, match="no such object"):
        store.read(key, 9)
    (error,) = store.contents(key.rpartition("/")[0].rpartition("/")[0], [key.split("/")[-2]],
                              "data", 9)  # fmt: skip
    assert isinstance(error, PathMissing)


def test_a_process_that_has_used_a_bucket_is_not_forked(bucket: FakeBucket) -> None:
    open_store(ROOT)
    assert not can_fork()


# -- failures --------------------------------------------------------------------------


def failure(capsys: pytest.CaptureFixture[str], root: str = ROOT) -> str:
    """Return the line in which a command fails, in time, with no secret."""
    began = time.monotonic()
    assert run(["-r", root, "ls"]) == Exit.STORAGE.value
    assert time.monotonic() - began < 60
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert not {KEY, SECRET} & set(line.split())
    assert KEY not in line
    assert SECRET not in line
    return line


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "the access key is not known there"),
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "AccessDenied", "these credentials lack s3:ListBucket"),
        (400, "AuthorizationHeaderMalformed", "another region"),
        (301, "PermanentRedirect", "another region"),
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (400, "ExpiredToken", "the session token has expired"),
        (503, "SlowDown", "too many requests"),
        (500, "InternalError", "answers 500 (InternalError)"),
        (418, "\x1b[2J", "answers 418"),
    ],
)
def test_a_refusal_is_a_line_that_names_it(
    bucket: FakeBucket, status: int, code: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.fault = lambda *_: (status, code)
    line = failure(capsys)
    assert words in line
    assert "\x1b" not in line


def test_a_wrong_bucket(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such bucket" in failure(capsys, "s3://other")


def test_a_refused_port(capsys: pytest.CaptureFixture[str]) -> None:
    with reached_at("http://127.0.0.1:1"):
        assert "http://127.0.0.1:1: connection refused" in failure(capsys)


def test_a_machine_without_certificates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/nowhere")
    with bucket_of():
        assert failure(capsys).endswith(
            "this machine trusts no certificates: install ca-certificates, or set SSL_CERT_FILE"
        )


def test_what_reads_buckets_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert run(["-r", ROOT, "ls"]) == Exit.REFUSED.value
    assert capsys.readouterr().err == ("regfs: obstore is missing: pip install 'regfs[bucket]'\n")


def test_a_bucket_without_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    with bucket_of() as bucket:
        bucket.objects["else/where"] = Stored(b"x", 0.0)
        with pytest.raises(NotARegistry, match="no registry in it"):
            open_store(ROOT)
        assert run(["-r", ROOT, "ls"]) == Exit.NOT_FOUND.value


def test_a_server_that_asks_to_wait_is_asked_again(bucket: FakeBucket) -> None:
    expected, _ = listed(open_store(ROOT))
    left = [3]

    def busy(*_: object) -> tuple[int, str] | None:
        left[0] -= 1
        return (503, "SlowDown") if left[0] >= 0 and left[0] % 2 else None

    bucket.fault = busy
    assert listed(open_store(ROOT))[0] == expected


def test_a_body_that_is_cut_is_read_on_or_told(bucket: FakeBucket) -> None:
    store = open_store(ROOT)
    key = largest_blob(bucket)
    bucket.cut = len(bucket.objects[key].data) // 2
    try:
        with store.open(key) as stream:
            assert stream.read() == bucket.objects[key].data
    except StoreError as error:
        assert str(error).startswith(ROOT)


def test_a_manifest_that_may_not_be_read_is_said_to_lack(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.fault = lambda _, key, query: (403, "AccessDenied") if key.endswith("/data") else None
    assert run(["-r", ROOT, "du"]) != 0
    assert "permission denied" in capsys.readouterr().err


def test_a_bucket_takes_no_pushes(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", ROOT, "serve", "--writable"]) == Exit.REFUSED.value
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"regfs: {ROOT}: regfs takes pushes into a folder only")
    assert not bucket.changes


def test_a_listing_costs_few_requests(tree: TreeBuilder) -> None:
    for number in range(20):
        tree.push(f"team{number % 5}/app{number}", "v1")
    with bucket_of(tree.root) as bucket:
        open_store(ROOT).snapshot()
        prefixes = {key.split("/")[5] for key in bucket.objects if "/blobs/" in key}
        assert bucket.requests["list"] <= len(prefixes) + 5 + 7
        assert bucket.requests["get"] == 0
