"""Signed requests to S3: what obstore cannot ask, on a real server and on one that fails."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from regfs.errors import Doubt, PathDenied, PathMissing, StoreError
from regfs.stores.bucket.place import Bucket, of_url
from regfs.stores.bucket.requests import transport
from regfs.stores.bucket.requests.answers import Deletion, ObjectVersion, Versioning
from regfs.stores.bucket.requests.calls import Call
from regfs.stores.bucket.requests.signed import Signed
from regfs.stores.bucket.requests.transport import NotOffered, ObjectChanged
from tests.support.buckets import (
    KEY,
    NAME,
    SECRET,
    FakeBucket,
    bucket_of,
    environment,
    reached_at,
)
from tests.support.real_buckets import bucket_on, kinds
from tests.support.s3.uploads import MIB, begun, open_uploads, signed

ODD = "d/x y+z~ü%41&<a>.txt"
"""A key of all that is encoded: in URLs, in headers, in XML."""


def place() -> Bucket:
    return of_url(f"s3://{NAME}", os.environ)


@pytest.fixture(params=["fake", *kinds("rgw", "seaweedfs")])
def client(request: pytest.FixtureRequest) -> Iterator[Signed]:
    """One on each server, with an empty bucket without versions."""
    if request.param == "fake":
        with bucket_of():
            yield signed()
        return
    server = request.getfixturevalue("object_store")(request.param)
    with bucket_on(server) as root:
        yield signed(root)


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    with bucket_of() as served:
        yield served


def put(client: Signed, key: str, data: bytes) -> str:
    store = S3Store(client.transport.name, client_options={"allow_http": True})
    found = obstore.put(store, key, data, use_multipart=False)
    return (found["e_tag"] or "").strip('"')


def content(client: Signed, key: str) -> bytes:
    store = S3Store(client.transport.name, client_options={"allow_http": True})
    return bytes(obstore.get(store, key).bytes())


def versioned(client: Signed, state: str) -> None:
    body = f"<VersioningConfiguration><Status>{state}</Status></VersioningConfiguration>"
    client.transport.ask(Call("PUT", "", query={"versioning": ""}, body=body.encode()))


def versions(client: Signed, prefix: str = "") -> list[ObjectVersion]:
    return [one for page in client.versions(prefix) for one in page]


# -- what is asked ---------------------------------------------------------------------


def test_an_object_of_any_name_is_found_copied_and_deleted(client: Signed) -> None:
    etag = put(client, ODD, b"hello")
    head = client.head(ODD)
    assert (head.size, head.etag, head.version) == (5, etag, "")
    assert abs(head.mtime - client.now()) < 60
    made = client.copy(ODD, f"copy of {ODD}", 5, match=etag)
    assert (made.size, made.etag) == (5, etag)
    assert content(client, f"copy of {ODD}") == b"hello"
    assert client.delete(ODD) == Deletion(False, "", False)
    with pytest.raises(PathMissing, match="no such object"):
        client.head(ODD)


def test_a_copy_of_what_is_gone_or_another_is_none(client: Signed) -> None:
    put(client, "a", b"1")
    with pytest.raises(ObjectChanged):
        client.copy("a", "never", 1, match="0" * 32)
    with pytest.raises(PathMissing):
        client.copy("gone", "never", 1)
    with pytest.raises(PathMissing):
        client.head("never")


HONOURED = pytest.mark.parametrize("client", ["fake", *kinds("seaweedfs")], indirect=True)
"""Ceph 16 deletes, and copies parts, on any condition."""


@HONOURED
def test_a_delete_on_condition_leaves_what_has_changed(client: Signed) -> None:
    etag = put(client, "a", b"1")
    with pytest.raises(ObjectChanged):
        client.delete("a", match="0" * 32)
    client.delete("a", match=etag)
    with pytest.raises((ObjectChanged, PathMissing)):
        client.delete("a", match=etag)


def test_a_large_object_is_copied_in_parts(client: Signed) -> None:
    data = os.urandom(11 * MIB)
    etag = put(client, "large", data)
    made = client.copy("large", "copy", len(data), match=etag, whole=5 * MIB)
    assert (made.size, made.etag[-2:]) == (len(data), "-3")
    assert content(client, "copy") == data
    assert open_uploads(client) == []


@HONOURED
def test_a_copy_in_parts_of_another_object_is_none(client: Signed) -> None:
    put(client, "large", bytes(6 * MIB))
    with pytest.raises(ObjectChanged):
        client.copy("large", "never", 6 * MIB, match="0" * 32, whole=5 * MIB)
    with pytest.raises(PathMissing):
        client.head("never")
    assert open_uploads(client) == []


def test_versions_are_told_hidden_and_deleted(client: Signed) -> None:
    key = f"v/{ODD}"
    assert client.versioning() in (Versioning("", False), Versioning("Suspended", False))
    versioned(client, "Enabled")
    assert client.versioning() == Versioning("Enabled", False)
    for data in (b"1", b"22"):
        put(client, key, data)
    marker = client.delete(key)
    assert marker.marker
    with pytest.raises(PathMissing):
        client.head(key)
    found = versions(client, "v/")
    assert [(one.marker, one.size, one.latest) for one in found] == [
        (True, 0, True),
        (False, 2, False),
        (False, 1, False),
    ]
    assert found[0].id == marker.version
    with pytest.raises(PathMissing):
        client.head(key, marker.version)
    assert client.head(key, found[1].id).etag == found[1].etag
    client.copy(key, "v back", 1, version=found[2].id)
    assert content(client, "v back") == b"1"
    client.delete(key, version=marker.version)
    assert content(client, key) == b"22"
    client.delete(key, version=found[1].id)
    assert content(client, key) == b"1"


def test_many_are_deleted_at_once_and_each_is_answered(client: Signed) -> None:
    versioned(client, "Enabled")
    for key in ("many/x", f"many/{ODD}"):
        client.transport.ask(Call("PUT", "", key, body=b"1"))
    markers = client.delete_many([(f"many/{ODD}", ""), ("never", "")])
    assert all(isinstance(one, Deletion) for one in markers)
    found = [(one.key, one.id) for one in versions(client, "many/")]
    assert all(isinstance(one, Deletion) for one in client.delete_many(found))
    assert versions(client, "many/") == []


def test_uploads_in_parts_are_told_and_aborted(client: Signed) -> None:
    first = begun(client, f"up/{ODD}", bytes(5 * MIB), b"x" * 777)
    begun(client, "up/second")
    begun(client, "other")
    found = {one.key: one for one in open_uploads(client, "up/")}
    assert found.keys() == {f"up/{ODD}", "up/second"}
    assert found[f"up/{ODD}"].id == first
    assert abs(found[f"up/{ODD}"].initiated - client.now()) < 60
    parts = client.parts(f"up/{ODD}", first)
    assert [(one.number, one.size) for one in parts] == [(1, 5 * MIB), (2, 777)]
    assert client.parts("up/second", found["up/second"].id) == []
    for one in open_uploads(client):
        client.abort(one.key, one.id)
    assert open_uploads(client) == []
    with pytest.raises(PathMissing):
        client.parts(f"up/{ODD}", first)


def test_keys_that_no_server_keeps_apart_are_not_sent(client: Signed) -> None:
    for key in ("a//b", "../c", "d/./e", "\udcff"):
        with pytest.raises(StoreError):
            client.head(key)


# -- pages -----------------------------------------------------------------------------


def test_all_pages_are_read(bucket: FakeBucket) -> None:
    client = signed()
    bucket.page, bucket.versioning = 3, "Enabled"
    for number in range(8):
        put(client, f"k{number // 2}", bytes([number]))
        begun(client, f"u{number}")
    name = begun(client, "parts", *[bytes(5 * MIB)] * 4, b"1")
    assert len(versions(client)) == 8
    assert len({one.id for one in open_uploads(client)}) == 9
    assert [one.size for one in client.parts("parts", name)] == [5 * MIB] * 4 + [1]


def test_a_key_that_xml_has_no_words_for_is_deleted_by_itself(bucket: FakeBucket) -> None:
    client = signed()
    bucket.versioning = "Enabled"
    put(client, "a", b"1")
    client.transport.ask(Call("PUT", "", "a\x01b", body=b"1"))
    found = [(one.key, one.id) for one in versions(client)]
    assert [key for key, _ in found] == ["a", "a\x01b"]
    assert all(isinstance(one, Deletion) for one in client.delete_many(found))
    assert versions(client) == []


def test_pages_that_never_end_are_refused(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed()
    page = b"<R><IsTruncated>true</IsTruncated><NextKeyMarker>%s</NextKeyMarker></R>"
    answers = iter([page % b"a", page % b"b", page % b"a", page % b"b"])
    say(client, monkeypatch, lambda: next(answers))
    with pytest.raises(StoreError, match="no answer of S3"):
        open_uploads(client)


# -- what fails ------------------------------------------------------------------------


def say(client: Signed, monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    """Let each answer have that body."""
    once = client.transport._once

    def answered(asked: Call) -> Any:
        response, _ = once(asked)
        response.status_code = 200
        return response, body()

    monkeypatch.setattr(client.transport, "_once", answered)


BOMB = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><a>&j;</a>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"<a", b"\xff", BOMB, b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<R><Upload><Key>a</Key><Initiated>yesterday</Initiated></Upload></R>",
        b"<R><Version><Key>a</Key><Size>-1</Size></Version></R>",
        b"<R><Version><Key>a</Key><Size>" + b"9" * 5000 + b"</Size></Version></R>",
        b"<R><Status>Perhaps</Status></R>", b"<a>" * 100_000,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_answer_of_s3_is_said_to_be_none(
    bucket: FakeBucket, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed()
    say(client, monkeypatch, lambda: body)
    asked = [lambda: open_uploads(client), lambda: versions(client), client.versioning]
    failures = []
    for ask in asked:
        try:
            ask()
        except StoreError as error:
            failures.append(str(error))
    assert failures and all("no answer of S3" in one and len(one) < 200 for one in failures)


def test_an_answer_without_end_is_cut(bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(signed(), "k" * 900)
    monkeypatch.setattr(transport, "LARGEST", 1000)
    with pytest.raises(StoreError, match="over 1000 bytes"):
        open_uploads(signed())


def test_a_busy_server_is_asked_again(bucket: FakeBucket) -> None:
    answers = iter([(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
    bucket.fault = lambda *_: next(answers, None)
    bucket.retry_after = 99999
    client, pauses = signed(), list[float]()
    client.transport._pause = pauses.append
    assert open_uploads(client) == []
    assert len(pauses) == 3
    assert max(pauses) == 10.0  # as long as it may ask for
    assert client.transport._meter.counts == {"list": 4, "retries": 3}


def test_a_server_that_stays_busy_is_named(bucket: FakeBucket) -> None:
    bucket.fault = lambda *_: (503, "SlowDown")
    with pytest.raises(StoreError, match="too many requests"):
        open_uploads(signed())


def test_what_was_done_without_an_answer_is_told(bucket: FakeBucket) -> None:
    put(signed(), "a", b"1")
    lost = iter([True])
    bucket.lose = lambda method, key, query: method == "DELETE" and next(lost, False)
    assert signed().delete("a").repeated
    assert "a" not in bucket.objects


def test_a_copy_in_parts_completed_without_an_answer_is_complete(bucket: FakeBucket) -> None:
    put(signed(), "large", bytes(6 * MIB))
    lost = iter([True])
    bucket.lose = lambda method, key, query: (
        method == "POST" and "uploadId" in query and next(lost, False)
    )
    assert signed().copy("large", "copy", 6 * MIB, whole=5 * MIB).size == 6 * MIB
    assert bucket.uploads == {}


def test_a_copy_of_another_object_is_taken_back_where_conditions_are_not_heeded(
    bucket: FakeBucket,
) -> None:
    bucket.conditional_source = False
    etag = put(signed(), "a", b"1")
    assert signed().copy("a", "b", 1, match=etag).etag == etag
    put(signed(), "a", b"2")
    with pytest.raises(ObjectChanged):
        signed().copy("a", "c", 1, match=etag)
    assert "c" not in bucket.objects


def test_a_copy_whose_success_holds_a_failure_has_failed(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed()
    say(client, monkeypatch, lambda: b"<?xml version='1.0'?>\n<Error><Code>SlowDown</Code></Error>")
    with pytest.raises(StoreError, match="too many requests"):
        client.copy("a", "b", 1)


@pytest.mark.parametrize(
    ("denied", "ask"),
    [
        ("s3:ListBucketMultipartUploads", open_uploads),
        ("s3:ListBucketVersions", versions),
        ("s3:GetBucketVersioning", Signed.versioning),
        ("s3:ListMultipartUploadParts", lambda client: client.parts("a", "b")),
        ("s3:AbortMultipartUpload", lambda client: client.abort("a", "b")),
        ("s3:DeleteObject", lambda client: client.delete("a")),
        ("s3:DeleteObjectVersion", lambda client: client.delete("a", version="1")),
        ("s3:PutObject", lambda client: client.copy("a", "b", 1)),
    ],
)
def test_a_missing_permission_is_named(bucket: FakeBucket, denied: str, ask: Any) -> None:
    put(signed(), "a", b"1")
    bucket.denied = {denied}
    with pytest.raises(PathDenied, match=f"{denied} is missing$"):
        ask(signed())


def test_of_several_that_which_is_refused_is_told(bucket: FakeBucket) -> None:
    bucket.versioning = "Enabled"
    put(signed(), "a", b"1")
    put(signed(), "b", b"1")
    (version,) = (one.id for one in versions(signed(), "a"))
    bucket.denied = {"s3:DeleteObjectVersion"}
    first, second = signed().delete_many([("a", version), ("b", "")])
    assert isinstance(first, PathDenied)
    assert isinstance(second, Deletion)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "NoSuchBucket", "there is no such bucket"),
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "InvalidAccessKeyId", "the access key is not known there"),
        (400, "AuthorizationHeaderMalformed", "the bucket is in another region; set AWS_REGION"),
        (301, "PermanentRedirect", "the bucket is in another region; set AWS_REGION"),
        (400, "Whatever", r"http://127.0.0.1:\d+ answers 400 \(Whatever\)"),
    ],
)
def test_what_fails_is_said_as_obstore_s_failures_are(
    bucket: FakeBucket, status: int, code: str, words: str
) -> None:
    client = signed()
    bucket.fault = lambda *_: (status, code)
    with pytest.raises(StoreError, match=f"^s3://bucket: {words}$") as failure:
        open_uploads(client)
    assert KEY not in str(failure.value)


def test_a_server_without_such_requests_is_told_apart(bucket: FakeBucket) -> None:
    bucket.fault = lambda *_: (501, "NotImplemented")
    assert signed().versioning() == Versioning("", False)
    with pytest.raises(NotOffered):
        open_uploads(signed())


def test_a_wrong_clock_is_named_and_that_of_the_server_told(bucket: FakeBucket) -> None:
    bucket.clock = 600.0
    assert abs(signed().now() - time.time() - 600) < 60
    bucket.clock = 3600.0
    with pytest.raises(StoreError, match="the clock of this machine is wrong"):
        open_uploads(signed())


def test_a_refused_port_is_said_soon() -> None:
    began = time.monotonic()
    with reached_at("http://127.0.0.1:9"), pytest.raises(StoreError, match="connection refused"):
        open_uploads(signed())
    assert time.monotonic() - began < 60


# -- keys ------------------------------------------------------------------------------


def test_without_keys_of_its_own_nothing_is_asked(bucket: FakeBucket) -> None:
    words = r"set AWS_ACCESS_KEY_ID .* export-credentials"
    without = environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    with without, pytest.raises(Doubt, match=words):
        Signed(place())


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_other_clouds_have_none_of_it(scheme: str) -> None:
    with pytest.raises(Doubt, match="of S3 only"):
        Signed(Bucket(scheme, NAME))


def test_keys_go_where_they_are_for(bucket: FakeBucket) -> None:
    with environment(AWS_SESSION_TOKEN="of others"):
        given = {"access_key_id": "MINE", "secret_access_key": "m", "endpoint": bucket.url}
        list(Signed(Bucket("s3", NAME, options=given)).uploads(""))
        list(Signed(place()).uploads(""))
    assert bucket.signed == {("MINE", None), (KEY, "of others")}


def test_a_bucket_that_is_part_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with reached_at("http://bucket.example.test", AWS_VIRTUAL_HOSTED_STYLE_REQUEST="true"):
        assert Signed(place()).transport._base == "http://bucket.example.test"
    with environment(
        AWS_ENDPOINT_URL=None, AWS_REGION="eu-x-1", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b"
    ):
        assert Signed(place()).transport._base == f"https://s3.eu-x-1.amazonaws.com/{NAME}"


def test_no_text_of_it_holds_the_secret(bucket: FakeBucket) -> None:
    client = signed()
    shown = [repr(client), repr(client.transport), repr(vars(client.transport)), repr(place())]
    assert SECRET not in "".join(shown)
    assert pickle.loads(pickle.dumps(place())) == place()
