"""Parts of a blob: whatever part is asked for is that slice of its bytes (RFC 9110, section 14)."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from regfs.digest import Digest
from regfs.server import sending
from regfs.server.conditional import MOST_PARTS, extents, not_modified
from regfs.server.errors import ApiError
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.exchange import ask, get
from tests.support.images import digest_of
from tests.support.multipart import parts_of
from tests.support.reference import needs_programs, run
from tests.support.server import hosted

SIZE = sending.SMALL * 3
DATA = bytes(range(256)) * (SIZE // 256)
BLOB = digest_of(DATA)


class Site(NamedTuple):
    url: str
    path: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tree = TreeBuilder(tmp_path_factory.mktemp("ranges"))
    tree.layer_link("app", tree.blob(DATA))
    with hosted(tree.root) as url:
        yield Site(url, f"/v2/app/blobs/{BLOB}")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, SIZE),
        (f"bytes=0-{SIZE}", 0, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes=7-{'9' * 5000}", 7, SIZE),
        ("Bytes = 5 - 9 ", 5, 10),
        ("bytes=,5-9,", 5, 10),
        ("bytes=0005-009", 5, 10),
    ],
)
def test_one_range(site: Site, header: str, start: int, end: int) -> None:
    answer = get(site.url, site.path, Range=header)
    assert answer.status == 206
    assert answer.body == DATA[start:end]
    assert answer["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer["Content-Length"] == str(end - start)
    assert answer["Docker-Content-Digest"] == BLOB
    assert answer["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "header",
    [
        f"bytes={SIZE}-",
        f"bytes={SIZE}-{SIZE + 5}",
        "bytes=500-0",
        "bytes=-0",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=\u0661-",
        f"bytes={'9' * 5000}-",
    ],
)
def test_an_unsatisfiable_range_is_416(site: Site, header: str) -> None:
    try:
        answer = get(site.url, site.path, Range=header.encode().decode("latin-1"))
    except UnicodeEncodeError:
        pytest.fail("headers are bytes")
    assert (answer.status, answer.code) == (416, "SIZE_INVALID")
    assert answer["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "header",
    [
        "items=0-5",
        "0-5",
        "none",
        "",
        f"bytes=0-,0-{SIZE // 2}",
        f"bytes={','.join(f'{n}-{n}' for n in range(MOST_PARTS + 1))}",
    ],
)
def test_too_many_or_invalid_ranges_get_the_whole(site: Site, header: str) -> None:
    """Of units that nobody knows, and of ranges that cost more than all, no notice is taken."""
    answer = get(site.url, site.path, Range=header)
    assert (answer.status, answer.body) == (200, DATA)
    assert answer["Content-Range"] is None
    assert answer["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("header", "slices"),
    [
        ("bytes=0-1,5-6", [(0, 2), (5, 7)]),
        ("bytes=5-6,0-1", [(5, 7), (0, 2)]),
        ("bytes=0-9,5-14", [(0, 10), (5, 15)]),
        ("bytes=0-0, -1 , 7-7", [(0, 1), (SIZE - 1, SIZE), (7, 8)]),
        ("bytes=0-1,500-0,a-b,9999999-,5-6", [(0, 2), (5, 7)]),
        (f"bytes=0-{sending.SMALL},{sending.SMALL + 9}-{SIZE - 9}",
         [(0, sending.SMALL + 1), (sending.SMALL + 9, SIZE - 8)]),
    ],
)  # fmt: skip
def test_several_ranges_are_multipart(
    site: Site, header: str, slices: list[tuple[int, int]]
) -> None:
    answer = get(site.url, site.path, Range=header)
    assert answer["Docker-Content-Digest"] == BLOB
    assert parts_of(answer) == [
        (f"bytes {start}-{end - 1}/{SIZE}", DATA[start:end]) for start, end in slices
    ]


def test_one_satisfiable_range_of_several_is_not_multipart(site: Site) -> None:
    answer = get(site.url, site.path, Range="bytes=5-9,9999999-")
    assert (answer.status, answer.body) == (206, DATA[5:10])
    assert answer["Content-Range"] == f"bytes 5-9/{SIZE}"


def test_several_unsatisfiable_ranges_are_416(site: Site) -> None:
    assert get(site.url, site.path, Range="bytes=9999998-,9999999-").status == 416


def test_as_many_as_a_client_of_lazy_pulling_asks_for(site: Site) -> None:
    asked = [(start, start + 3) for start in range(0, 7 * 1024, 7)]
    header = "bytes=" + ",".join(f"{start}-{end}" for start, end in asked)
    found = parts_of(get(site.url, site.path, Range=header))
    assert [data for _, data in found] == [DATA[start : end + 1] for start, end in asked]


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 900)), min_size=2, max_size=20))
def test_any_ranges_are_the_same_slices(site: Site, asked: list[tuple[int, int]]) -> None:
    header = "bytes=" + ",".join(f"{start}-{start + more}" for start, more in asked)
    found = parts_of(get(site.url, site.path, Range=header))
    assert [data for _, data in found] == [DATA[start : start + more + 1] for start, more in asked]


def test_the_next_request_on_the_connection_is_not_disturbed(site: Site) -> None:
    head = f"GET {site.path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99999,100001-150000\r\n\r\n"
    last = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    found = wire.ask(site.url, head.encode() + last)
    assert found.raw.count(b"HTTP/1.1 206 ") == found.raw.count(b"HTTP/1.1 200 ") == 1
    assert found.raw.endswith(b"\r\n\r\n{}")


@needs_programs("curl")
def test_several_parts_by_curl(site: Site) -> None:
    done = run("curl", "-sS", "-D", "-", "-r", "0-1,5-6", site.url + site.path)
    assert "206 Partial Content" in done.stdout
    assert f"Content-Range: bytes 5-6/{SIZE}" in done.stdout


def test_ranges_apply_only_to_get(site: Site) -> None:
    answer = ask(site.url, "HEAD", site.path, Range="bytes=5-9")
    assert (answer.status, answer["Content-Length"]) == (200, str(SIZE))


@pytest.mark.parametrize(
    ("known", "status"),
    [
        (f'"{BLOB}"', 206),
        (f'W/"{BLOB}"', 200),
        ('"other"', 200),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 200),
    ],
)
def test_a_part_only_of_what_the_client_has(site: Site, known: str, status: int) -> None:
    answer = get(site.url, site.path, Range="bytes=5-9", If_Range=known)
    assert answer.status == status
    assert answer.body == (DATA[5:10] if status == 206 else DATA)


def test_what_is_not_modified_has_no_parts(site: Site) -> None:
    answer = get(site.url, site.path, Range="bytes=9999999-", If_None_Match=f'"{BLOB}"')
    assert answer.status == 304


def test_a_download_that_goes_on_where_it_broke_off(site: Site) -> None:
    received = b""
    while len(received) < SIZE:
        some = get(site.url, site.path, Range=f"bytes={len(received)}-{len(received) + 49_999}")
        received += some.body
    assert received == DATA


def test_the_empty_blob_has_no_ranges(tree: TreeBuilder) -> None:
    tree.layer_link("app", tree.blob(b""))
    with hosted(tree.root) as url:
        answer = get(url, f"/v2/app/blobs/{digest_of(b'')}", Range="bytes=0-99")
        assert (answer.status, answer.body) == (200, b"")


@given(st.data())
def test_any_range_is_the_same_slice(site: Site, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, SIZE - 1))
    last = data.draw(st.integers(first, SIZE + 10))
    assert get(site.url, site.path, Range=f"bytes={first}-{last}").body == DATA[first : last + 1]
    count = data.draw(st.integers(1, SIZE + 10))
    assert get(site.url, site.path, Range=f"bytes=-{count}").body == DATA[-count:]


# -- the words of the headers --------------------------------------------------------------


@given(st.text(max_size=30) | st.text("bytes=-,0123456789 ", max_size=30), st.integers(0, 50))
def test_no_header_gives_more_than_there_is(header: str, size: int) -> None:
    digest = Digest(BLOB)
    for text in (header, f"bytes={header}"):
        try:
            parts = extents(CIMultiDict({"Range": text}), size, digest)
        except ApiError as error:
            assert error.status == 416
            continue
        assert sum(part.length for part in parts) <= size
        for part in parts:
            assert part.length > 0
            assert 0 <= part.start < part.start + part.length <= size


@given(st.lists(st.text('W/"*,: abs256', max_size=20), max_size=3))
def test_no_header_is_taken_for_another_digest(texts: list[str]) -> None:
    headers = CIMultiDict([("If-None-Match", text) for text in texts])
    known = not_modified(headers, Digest(BLOB))
    assert not known or any("*" in text for text in texts)
    headers.add("If-None-Match", f'"{BLOB}"')
    assert not_modified(headers, Digest(BLOB))


# -- other ways to send ----------------------------------------------------------------------


class Remote:
    """What an object store opens: bytes that come in pieces, and no file descriptor."""

    def __init__(self, file: BinaryIO, fails: bool) -> None:
        self._file = file
        self._fails = fails
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        if self._fails and self._file.tell() > 100_000:
            raise OSError("the network is down")
        return self._file.read(min(size, 30_000))

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed


@pytest.fixture(params=[False, True], ids=["well", "badly"])
def remote(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    opened: list[Any] = [request.param]
    whole = Registry.open_blob

    def open_blob(self: Registry, digest: Digest, offset: int = 0, length: Any = None) -> BinaryIO:
        opened.append(Remote(whole(self, digest, offset), request.param))
        return cast(BinaryIO, opened[-1])

    monkeypatch.setattr(Registry, "open_blob", open_blob)
    yield opened


def test_what_has_no_descriptor_is_sent_in_pieces(tree: TreeBuilder, remote: list[Any]) -> None:
    data = os.urandom(1_000_000)
    tree.layer_link("app", tree.blob(data))
    path = f"/v2/app/blobs/{digest_of(data)}"
    fails = remote[0]
    with hosted(tree.root) as url:
        for header, start in (("", 0), ("bytes=123456-", 123456)):
            if fails:
                with pytest.raises(http.client.IncompleteRead):
                    get(url, path, Range=header)
            else:
                assert get(url, path, Range=header).body == data[start:]
    for opened in remote[1:]:
        assert opened.closed
        assert 0 < opened.largest <= sending.PIECE
    assert len(remote) == 3


def test_a_small_part_that_comes_in_pieces(tree: TreeBuilder, remote: list[Any]) -> None:
    data = os.urandom(sending.SMALL * 3)
    tree.layer_link("app", tree.blob(data))
    path = f"/v2/app/blobs/{digest_of(data)}"
    with hosted(tree.root) as url:
        assert get(url, path, Range=f"bytes=5-{sending.SMALL}").body == data[5 : sending.SMALL + 1]
    assert remote[-1].closed


def test_several_parts_that_come_in_pieces(tree: TreeBuilder, remote: list[Any]) -> None:
    data = os.urandom(1_000_000)
    tree.layer_link("app", tree.blob(data))
    path = f"/v2/app/blobs/{digest_of(data)}"
    fails = remote[0]
    with hosted(tree.root) as url:
        if fails:
            with pytest.raises(http.client.IncompleteRead):
                get(url, path, Range="bytes=5-9,150000-500000")
        else:
            found = parts_of(get(url, path, Range="bytes=5-9,150000-500000"))
            assert [piece for _, piece in found] == [data[5:10], data[150_000:500_001]]
    assert all(opened.closed for opened in remote[1:])
    assert len(remote) == 3


def test_a_blob_that_goes_between_two_parts(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.layer_link("app", tree.blob(DATA))
    whole = Registry.open_blob

    def open_blob(self: Registry, digest: Digest, offset: int = 0, length: Any = None) -> BinaryIO:
        if offset == 200:
            tree.blob_path(digest).unlink()
        return whole(self, digest, offset, length)

    monkeypatch.setattr(Registry, "open_blob", open_blob)
    with hosted(tree.root) as url, pytest.raises(http.client.IncompleteRead):
        get(url, f"/v2/app/blobs/{BLOB}", Range="bytes=0-99,200-299")


def test_a_small_blob_that_ends_too_early(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What shrinks between the look at it and the reading was damaged meanwhile."""
    tree.layer_link("app", tree.blob(b"some bytes"))
    whole = Registry.open_blob

    def open_blob(self: Registry, digest: Digest, offset: int = 0, length: Any = None) -> BinaryIO:
        os.truncate(tree.blob_path(digest), 4)
        return whole(self, digest, offset, length)

    monkeypatch.setattr(Registry, "open_blob", open_blob)
    with hosted(tree.root) as url:
        answer = get(url, f"/v2/app/blobs/{digest_of(b'some bytes')}")
        assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


@needs_programs("openssl")
def test_ranges_work_over_tls(tree: TreeBuilder, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    tree.layer_link("app", tree.blob(data))
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    new = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    run("openssl", "req", *new, *subject, "-keyout", key, "-out", certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with hosted(tree.root, tls=context) as url, requests.Session() as session:
        assert url.startswith("https://")
        for header, start in (("", 0), ("bytes=123456-", 123456), ("bytes=-10", -10)):
            answer = session.get(
                f"{url}/v2/app/blobs/{digest_of(data)}",
                headers={"Range": header, "Connection": "close"},
                verify=str(certificate),
                timeout=60,
            )
            assert answer.content == data[start:]


def test_sending_needs_no_tree_on_this_disk(tree: TreeBuilder) -> None:
    """What is opened is asked for its descriptor, not for its path."""
    tree.layer_link("app", tree.blob(DATA))
    registry = Registry(open_store(str(tree.root)))
    headers: CIMultiDict[str] = CIMultiDict({"Range": "bytes=1000-"})
    blob = sending.prepare(registry, "app", Digest(BLOB), "GET", headers)
    assert blob.file is not None
    with blob.file:
        assert os.lseek(blob.file.fileno(), 0, os.SEEK_CUR) == blob.parts[0].start == 1000
