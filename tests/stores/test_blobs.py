"""Signed requests to Azure, on Azurite: conditions, ends of signatures, what a crash leaves."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import Doubt, LockLost, PathMissing, StoreError
from regfs.stores import WritableStore, open_store
from regfs.stores.bucket.changing import objects
from regfs.stores.bucket.place import Bucket, of_url
from regfs.stores.bucket.requests.azure import AzureCloud
from regfs.stores.bucket.requests.blobs import SignedBlobs
from regfs.stores.bucket.requests.calls import Call, SignedAnswer
from regfs.stores.bucket.requests.transport import ObjectChanged, Transport
from tests.make_fixtures import TREES
from tests.support.environment import environment
from tests.support.real_buckets import AZURE_KEY, Server, bucket_on, fill, kinds, object_store_of

ODD = "d/x y+z~ü%41&<a>?#.txt"
"""A key of all that is encoded: in URLs and in headers."""
AZURITE = pytest.mark.parametrize("kind", kinds("azurite"))
pytestmark = AZURITE
Servers = Callable[[str], Server]
KEPT = "docker/registry/v2/repositories/app/_manifests/tags/v1/current/link"
ASIDE = f".regfs/runs/one/quarantine/{KEPT}"
LARGE = 3 << 10
"""Bytes of what is large in these tests."""


@pytest.fixture
def root(kind: str, object_store: Servers) -> Iterator[str]:
    with bucket_on(object_store(kind)) as found:
        yield found


@pytest.fixture
def client(root: str) -> SignedBlobs:
    return SignedBlobs(of_url(root, os.environ), lambda seconds: None)


def content(root: str, key: str) -> bytes:
    import obstore

    return bytes(obstore.get(object_store_of(root), key).bytes())


def test_what_is_there_is_not_written_onto(client: SignedBlobs, root: str) -> None:
    client.put(ODD, b"one", absent=True)
    with pytest.raises(ObjectChanged):
        client.put(ODD, b"two", absent=True)
    assert content(root, ODD) == b"one"
    client.put(ODD, b"two")
    assert client.head(ODD).size == 3
    assert content(root, ODD) == b"two"


def test_the_same_bytes_written_again_are_another_write(client: SignedBlobs, root: str) -> None:
    client.put("a", b"same")
    seen = client.head("a")
    client.put("a", b"same")
    with pytest.raises(ObjectChanged):
        client.delete("a", match=seen.etag)
    with pytest.raises(ObjectChanged):
        client.copy("a", "b", 4, match=seen.etag)
    with pytest.raises(PathMissing):
        client.head("b")
    client.delete("a", match=client.head("a").etag)
    with pytest.raises(PathMissing):
        client.head("a")
    assert not client.keeps_deleted("a")


def test_a_copy_is_made_on_the_server_and_never_onto_something(
    client: SignedBlobs, root: str
) -> None:
    client.put(ODD, b"one")
    made = client.copy(ODD, f"{ODD} copy", 3, match=client.head(ODD).etag, absent=True)
    assert made.size == 3 and made.etag == client.head(f"{ODD} copy").etag
    client.put(ODD, b"two")
    with pytest.raises(ObjectChanged):
        client.copy(ODD, f"{ODD} copy", 3, absent=True)
    assert content(root, f"{ODD} copy") == b"one"
    with pytest.raises(PathMissing):
        client.copy("no such", "b", 3)


def test_what_a_registry_appends_to_is_copied(client: SignedBlobs, root: str) -> None:
    append = {"x-ms-blob-type": "AppendBlob"}
    client.transport.ask(Call("PUT", "", "data", headers=append))
    seen = client.head("data").etag
    client.transport.ask(Call("PUT", "", "data", {"comp": "appendblock"}, body=b"more"))
    with pytest.raises(ObjectChanged):
        client.delete("data", match=seen)
    client.copy("data", "copy", 4, match=client.head("data").etag)
    assert content(root, "copy") == b"more"


def test_an_upload_under_way_is_a_blob_that_goes_and_comes_back(
    root: str,
    client: SignedBlobs,
    object_store: Servers,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(object_store(kind), root.removeprefix("az://"), TREES / "whole")
    folder = "docker/registry/v2/repositories/app/_uploads/7d4e3b9c-6b1f-4c57-9c1d-2f8a6f1f0b11"
    client.put(f"{folder}/startedat", b"2020-01-01T00:00:00Z")
    client.transport.ask(
        Call("PUT", "", f"{folder}/data", headers={"x-ms-blob-type": "AppendBlob"})
    )
    query = {"comp": "appendblock"}
    client.transport.ask(Call("PUT", "", f"{folder}/data", query, body=b"begun"))
    shown = uploads(root, capsys)
    assert {one["id"]: one["size"] for one in shown}[folder[-36:]] == 5 + 20  # with its time
    command = ["gc", "run", "--offline", "--yes", "--uploads-older-than", "0s"]
    assert run(["-r", root, *command]) == 0
    assert uploads(root, capsys) == []
    assert run(["-r", root, "gc", "restore", "latest"]) == 0
    assert uploads(root, capsys) == shown
    assert content(root, f"{folder}/data") == b"begun"


def uploads(root: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what `ls --uploads` tells, but for times."""
    capsys.readouterr()
    assert run(["-r", root, "ls", "--uploads", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["uploads"] if isinstance(found, dict) else found
    return [{key: one[key] for key in one if key in ("repository", "id", "size")} for one in rows]


def test_a_change_that_arrives_too_late_is_refused(client: SignedBlobs, root: str) -> None:
    client.put("a", b"1")
    cloud = AzureCloud(of_url(root, os.environ))
    for seconds, status in ((-1, 403), (60, 202)):
        request = requests.Request("DELETE", f"{cloud.base}/a").prepare()
        cloud.sign(request, client.now(), seconds)
        with requests.Session() as session:
            assert session.send(request, timeout=60).status_code == status


def test_a_signature_allows_what_it_is_for(client: SignedBlobs, root: str) -> None:
    client.put("a", b"1")
    cloud = AzureCloud(of_url(root, os.environ))
    for method, other in (("HEAD", "DELETE"), ("DELETE", "GET"), ("PUT", "DELETE")):
        request = requests.Request(method, f"{cloud.base}/a").prepare()
        cloud.sign(request, client.now(), 60)
        request.method = other
        with requests.Session() as session:
            assert session.send(request, timeout=60).status_code == 403
    assert content(root, "a") == b"1"


def test_without_a_lease_nothing_is_sent(client: SignedBlobs) -> None:
    def lost() -> float:
        raise LockLost("it is over")

    client.put("a", b"1")
    client.before_change(lost)
    with pytest.raises(LockLost):
        client.delete("a")
    assert client.head("a").size == 1


def test_the_servers_clock_is_told(client: SignedBlobs) -> None:
    assert abs(client.now() - time.time()) < 60


def test_without_the_key_of_the_account_nothing_is_changed(root: str) -> None:
    with environment(AZURE_STORAGE_ACCOUNT_KEY=None):
        with pytest.raises(Doubt, match="AZURE_STORAGE_CONNECTION_STRING"):
            SignedBlobs(of_url(root, os.environ))
        with pytest.raises(Doubt, match="of Azure only"):
            SignedBlobs(Bucket("s3", "b"))
    with (
        environment(AZURE_STORAGE_ACCOUNT_KEY="no base 64"),
        pytest.raises(StoreError, match="base64") as error,
    ):
        SignedBlobs(of_url(root, os.environ))
    assert "no base 64" not in str(error.value)


def test_with_a_sas_token_a_container_is_only_read(
    root: str, object_store: Servers, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(object_store(kind), root.removeprefix("az://"), TREES / "whole")
    cloud = AzureCloud(of_url(root, os.environ))
    token = urlencode(cloud._signed("", "rl", time.time() + 600))
    with environment(AZURE_STORAGE_ACCOUNT_KEY=None, AZURE_STORAGE_SAS_TOKEN=token):
        assert run(["-r", root, "ls"]) == 0
        assert run(["-r", root, "gc", "plan"]) == 0
        capsys.readouterr()
        assert run(["-r", root, "untag", "app:v1"]) == Exit.REFUSED.value
        (said,) = capsys.readouterr().err.splitlines()
    assert "the key of its account is needed" in said
    assert cloud._signed("", "rl", 0)["sig"] not in said


KEPT_ON = b"""\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>
<Blob><Name>p</Name><Deleted>true</Deleted><Properties/></Blob></Blobs><NextMarker/>
</EnumerationResults>"""


@pytest.mark.parametrize("kept", [True, False])
def test_where_what_is_deleted_is_kept_on_a_purge_says_so(
    root: str,
    object_store: Servers,
    kind: str,
    kept: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(object_store(kind), root.removeprefix("az://"), TREES / "whole")
    ask = Transport.ask

    def with_soft_delete(self: Transport, asked: Call) -> SignedAnswer:
        if kept and asked.query.get("include") == "deleted,versions":
            return SignedAnswer({}, KEPT_ON, False)
        return ask(self, asked)

    monkeypatch.setattr(Transport, "ask", with_soft_delete)
    assert run(["-r", root, "untag", "app:v1"]) == 0
    assert "soft delete" not in capsys.readouterr().err
    assert run(["-r", root, "gc", "purge", "--offline", "--yes"]) == 0
    assert ("soft delete" in capsys.readouterr().err) is kept


def test_a_connection_string_says_it_all(root: str) -> None:
    account, key = os.environ["AZURE_STORAGE_ACCOUNT_NAME"], os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    text = f"AccountName={account};AccountKey={key};"
    text += f"BlobEndpoint={os.environ['AZURE_STORAGE_ENDPOINT']}/;"
    names = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ENDPOINT")
    with environment(**dict.fromkeys(names), AZURE_STORAGE_CONNECTION_STRING=text):
        place = of_url(root, os.environ)
        SignedBlobs(place).put("a", b"1")
        assert open_store(place, empty=True).read("a", 9) == b"1"


def test_no_text_of_it_holds_the_secret(client: SignedBlobs, root: str) -> None:
    place = of_url(root, os.environ)
    shown = [client, client.transport, vars(client.transport), place, client._cloud]
    assert AZURE_KEY not in "".join(map(repr, shown))
    assert pickle.loads(pickle.dumps(place)) == place


# -- what a crash leaves ---------------------------------------------------------------


@pytest.fixture
def store(root: str, monkeypatch: pytest.MonkeyPatch) -> WritableStore:
    """A tree of one tag, in which what has 3 KiB is large."""
    monkeypatch.setattr(objects, "SMALL", LARGE - 1)
    opened = open_store(of_url(root, os.environ), empty=True)
    return opened


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("data", [b"sha256:" + b"0" * 64, b"x" * LARGE], ids=["small", "large"])
def test_what_a_crash_left_in_both_places_is_one_thing(
    store: WritableStore, client: SignedBlobs, root: str, data: bytes
) -> None:
    client.put(KEPT, data)
    with store.lock(".regfs/lock", "me"):
        store.move(KEPT, ASIDE)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(SignedBlobs, "delete", _killed)
            store.move(ASIDE, KEPT)
        assert content(root, KEPT) == data  # it is back, and in quarantine as well
        store.move(ASIDE, KEPT)
        assert store.stat(KEPT).size == len(data)
        with pytest.raises(PathMissing):
            store.stat(ASIDE)


@pytest.mark.parametrize("data", [b"sha256:" + b"0" * 64, b"x" * LARGE], ids=["small", "large"])
def test_what_comes_back_is_never_put_onto_something(
    store: WritableStore, client: SignedBlobs, root: str, data: bytes
) -> None:
    client.put(KEPT, data)
    with store.lock(".regfs/lock", "me"):
        store.move(KEPT, ASIDE)
        client.put(KEPT, data[:-1] + b"!")
        with pytest.raises(StoreError, match="something is there already"):
            store.move(ASIDE, KEPT)
        assert store.read(ASIDE, LARGE) == data
    assert content(root, KEPT) == data[:-1] + b"!"


def test_what_is_written_where_something_comes_back_stays(
    store: WritableStore, client: SignedBlobs, root: str
) -> None:
    client.put(KEPT, b"x" * LARGE)
    ask = Transport.ask

    def overtaken(self: Transport, asked: Call) -> object:
        if "x-ms-copy-source" in asked.headers:
            client.put(KEPT, b"y" * LARGE, absent=True)
        return ask(self, asked)

    with store.lock(".regfs/lock", "me"):
        store.move(KEPT, ASIDE)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="is there"):
            patch.setattr(Transport, "ask", overtaken)
            store.move(ASIDE, KEPT)
        assert store.read(ASIDE, LARGE) == b"x" * LARGE
    assert content(root, KEPT) == b"y" * LARGE


@pytest.mark.parametrize("moment", ["before the copy", "before the delete"])
@pytest.mark.parametrize("written", [b"sha256:" + b"0" * 64, b"sha256:" + b"1" * 64])
def test_what_is_written_while_it_moves_stays(
    store: WritableStore, client: SignedBlobs, root: str, moment: str, written: bytes
) -> None:
    client.put(KEPT, b"sha256:" + b"0" * 64)
    ask = Transport.ask

    def overtaken(self: Transport, asked: Call) -> object:
        copies = "x-ms-copy-source" in asked.headers
        if asked.key.endswith(KEPT) and asked.method == "DELETE" and moment == "before the delete":
            client.put(KEPT, written)
        if copies and moment == "before the copy" and "/quarantine/" in asked.key:
            client.put(KEPT, written)
        return ask(self, asked)

    with store.lock(".regfs/lock", "me"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="changed"):
            patch.setattr(Transport, "ask", overtaken)
            store.move(KEPT, ASIDE)
        with pytest.raises(PathMissing):
            store.stat(ASIDE)
    assert content(root, KEPT) == written


def _killed(*given: object, **named: object) -> None:
    raise Killed
