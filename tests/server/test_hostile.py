"""What no honest client sends: whatever it is, nothing leaks, nothing changes, nothing breaks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regfs import layout
from regfs.server.access_log import Exchange, combined
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.images import image
from tests.support.server import hosted

SECRET = b"what lies beside the registry"
OTHERS = "what only the other repository has"


@pytest.fixture
def tree(tmp_path: Path) -> TreeBuilder:
    """A registry of two repositories, with something beside it that is not to be read."""
    (tmp_path / "secret").write_bytes(SECRET)
    made = TreeBuilder(tmp_path / "registry")
    made.push("app", "v1")
    made.push("other", "v1", image([OTHERS]))
    (tmp_path / "registry" / "secret").write_bytes(SECRET)
    return made


@pytest.fixture
def url(tree: TreeBuilder) -> Iterator[str]:
    before = tree.files(""), tree.folders("")
    with hosted(tree.root) as url:
        yield url
    assert (tree.files(""), tree.folders("")) == before


# -- out of the tree ---------------------------------------------------------------------

UP = [
    b"..",
    b"%2e%2e",
    b"%2E.",
    b".%2e",
    b"%252e%252e",
    b"..%2f..",
    b"..%5c..",
    b"%2e%2e%2f%2e%2e",
    b"..%c0%af..",
    b"..%u2216..",
    b"..;",
    b"...",
    b"%00",
    b"..%00",
    b"%0d%0a",
    b"\xff",
    b"%ff",
    b"\\..\\..",
    b".",
    b"",
    b"%2fetc%2fpasswd",
    b"~root",
]
SHAPES = [
    b"/v2/%s/manifests/v1",
    b"/v2/app/%s/manifests/v1",
    b"/v2/%s/%s/%s/%s/%s/%s/tags/list",
    b"/v2/app/manifests/%s",
    b"/v2/app/manifests/%s/%s/%s/secret",
    b"/v2/app/blobs/%s",
    b"/v2/app/blobs/sha256:%s",
    b"/v2/app/blobs/sha256:%s/%s/%s/%s/secret",
    b"/v2/app/blobs/uploads/%s",
    b"/v2/app/referrers/%s",
    b"/%s/%s/%s/%s/secret",
    b"/v2/%s/%s/secret",
    b"/v2/_catalog/%s",
    b"http://x/v2/%s/tags/list",
    b"/static/%s/%s/%s/%s/secret",
    b"/static/%s",
    b"/r/%s",
    b"/r/app/tags/%s",
    b"/r/app/raw/%s",
    b"/r/app/manifests/%s/%s/%s/secret",
    b"/b/%s",
    b"/search?q=%s",
    b"/v2/_catalog?last=%s",
    b"/v2/app/tags/list?last=%s",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_encoding_of_dot_dot_leaves_the_tree(url: str, shape: bytes) -> None:
    for up in UP:
        answer = wire.get(url, shape.replace(b"%s", up))
        assert SECRET not in answer.raw, up
        assert b"root:" not in answer.raw, up
        assert 200 <= answer.status < 500, (up, answer.raw)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/v2/app%2Fother/manifests/v1", 400),
        (b"/v2/app/manifests/v1%2f", 400),
        (b"/v2/app/manifests/v1%5c", 400),
        (b"/v2/app/manifests/v1%00", 400),
        (b"/v2/../v2/app/manifests/v1", 400),
        (b"/v2//app/manifests/v1", 400),
        (b"/v2/./app/manifests/v1", 400),
        (b"/%76%32/app/manifests/v1", 404),
        (b"//v2/app/manifests/v1", 404),
        (b"/V2/app/manifests/v1", 404),
        (b"/v2/app/manifests/v%31", 200),
        (b"http://elsewhere/v2/app/manifests/v1", 200),
        (b"/v2/app/manifests/" + b"a" * 129, 404),
        (b"/v2/" + b"a" * 4000 + b"/manifests/v1", 400),
        (b"/v2/" + b"a/" * 2000 + b"manifests/v1", 400),
        (b"*", 400),
    ],
)
def test_a_path_has_one_meaning_or_none(url: str, target: bytes, status: int) -> None:
    answer = wire.get(url, target)
    assert answer.status == status, answer.raw


# -- what another repository has -----------------------------------------------------------


def test_a_blob_without_a_link_is_never_served(url: str, tree: TreeBuilder) -> None:
    manifest = tree.current("other", "v1")
    document = tree.document(manifest)
    assert isinstance(document["layers"], list)
    for digest in (document["layers"][0]["digest"], document["config"]["digest"], manifest):
        for kind in (b"blobs", b"manifests"):
            answer = wire.get(url, b"/v2/app/%s/%s" % (kind, digest.encode()))
            assert answer.status == 404
            assert answer.codes[0] in ("BLOB_UNKNOWN", "MANIFEST_UNKNOWN")
    layer = document["layers"][0]["digest"].encode()
    assert wire.get(url, b"/v2/other/blobs/" + layer).status == 200


@pytest.mark.parametrize("header", [b"X-HTTP-Method-Override", b"X-Method-Override", b"X-Method"])
def test_no_header_makes_one_method_another(url: str, tree: TreeBuilder, header: bytes) -> None:
    digest = tree.current("app", "v1").encode()
    answer = wire.get(url, b"/v2/app/manifests/" + digest, header + b": DELETE")
    assert answer.status == 200
    assert wire.get(url, b"/v2/app/manifests/" + digest).status == 200


# -- what is told in headers ----------------------------------------------------------------


MEDIA_TYPES = ["text/html", "a/b\r\nX-Evil: 1", "application/x\r\n\r\n<script>", "é" * 9]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_no_media_type_breaks_out_of_a_header(tree: TreeBuilder, media_type: str) -> None:
    document = {"schemaVersion": 2, "mediaType": media_type, "layers": []}
    digest = tree.blob(json.dumps(document).encode())
    tree.revision("app", digest)
    with hosted(tree.root) as url:
        answer = wire.get(url, b"/v2/app/manifests/" + digest.encode())
    assert answer.status == 200
    assert "evil" not in answer.head.lower()
    assert "html" not in answer.head.lower()
    assert "X-Content-Type-Options: nosniff" in answer.head
    assert "sandbox" in answer.head


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/_catalog?n=1&last=%0d%0aX-Evil:%201",
        b"/v2/app/tags/list?n=1&last=%0d%0aX-Evil:%201",
        b"/v2/app/tags/list?n=%0d%0aX-Evil:%201",
        b"/v2/app%0d%0aX-Evil:%201/tags/list",
        b"/v2/app/manifests/%0d%0aX-Evil:%201",
        b"/v2/app/referrers/sha256:%0d%0aX-Evil:%201",
        b"/v2/app/referrers/sha256:" + b"0" * 64 + b"?artifactType=%0d%0aX-Evil:%201",
        b"/%0d%0aX-Evil:%201",
    ],
)
def test_no_part_of_a_target_breaks_out_of_a_header(url: str, target: bytes) -> None:
    answer = wire.get(url, target)
    assert "\nx-evil" not in answer.head.lower()
    assert 200 <= answer.status < 500


# -- where one request ends ------------------------------------------------------------------

HIDDEN = b"GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n",
        b"Content-Length: 0, 44\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x0\r\n",
        b"Content-Length : 0\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b" Content-Length: 0\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\nContent-Length: 0\r\n",
        b"X: a\rContent-Length: 0\r\n",
        b"Content-Length: 0\x00\r\n",
    ],
)
def test_a_request_whose_end_is_in_doubt_ends_the_connection(url: str, headers: bytes) -> None:
    data = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n0\r\n\r\n" + HIDDEN
    answer = wire.ask(url, data)
    assert answer.statuses == [400]
    assert b"repositories" not in answer.raw


def test_a_body_is_never_parsed_as_a_request(url: str) -> None:
    data = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = wire.ask(url, data % len(HIDDEN) + HIDDEN)
    assert answer.statuses == [200]
    assert b"repositories" not in answer.raw


@pytest.mark.parametrize("host", [b"", b"Host: a\r\nHost: b\r\n"])
def test_a_request_with_two_hosts_is_refused(url: str, host: bytes) -> None:
    answer = wire.ask(url, b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n" + host + b"\r\n")
    assert answer.status == 400


def test_http_1_0_is_answered_and_closed(url: str, tree: TreeBuilder) -> None:
    for target in (b"/v2/", b"/v2/app/manifests/v1", b"/v2/_catalog"):
        answer = wire.ask(url, b"GET " + target + b" HTTP/1.0\r\n\r\n")
        assert answer.status == 200
        assert "chunked" not in answer.head.lower()


@pytest.mark.parametrize(
    "target",
    [b"/v2/", b"/v2/_catalog", b"/v2/app/tags/list", b"/v2/app/manifests/v1", b"/v2/app/x",
     b"/v2/app/manifests/nothing", b"/healthz", b"/nothing"],
)  # fmt: skip
def test_an_answer_to_head_has_no_body(url: str, target: bytes) -> None:
    answer = wire.get(url, target, method=b"HEAD")
    assert answer.status
    assert answer.body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v2/\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\nHost: x\n\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n",
        b"GET http://[::1/v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://x:99999/v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http:///v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_malformed_http_breaks_nothing(
    url: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with wire.connected(url) as one:
        one.sendall(data)
        one.shutdown(1)
        answer = wire.Answer(wire.rest(one))
    assert answer.status < 500
    assert wire.get(url, b"/v2/").status == 200
    assert "Traceback" not in caplog.text
    assert b"Traceback" not in answer.raw


# -- anything at all ---------------------------------------------------------------------------

_methods = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"X"]
)
_pieces = st.sampled_from(
    [b"v2", b"app", b"other", b"manifests", b"blobs", b"uploads", b"tags", b"list", b"referrers",
     b"_catalog", b"v1", b"sha256:", b"sha256:" + b"0" * 64, b"..", b"%2e", b"%2f", b"%00", b"%",
     b"\xc3\xa9", b"\xff", b":", b"@", b"", b"?n=1", b"?last=", b"&", b"=", b"#", b"healthz", b"x",
     b"r", b"b", b"raw", b"usage", b"search?q=", b"static", b"gc", b"refresh",
     layout.PREFIX.encode(), b"9" * 30]
)  # fmt: skip
_texts = st.binary(max_size=12).map(lambda data: bytes(b for b in data if b not in b"\r\n \0"))
_targets = st.lists(st.one_of(_pieces, _texts), max_size=9).map(
    lambda parts: b"/" + b"/".join(parts)
)
_api = _targets.map(lambda target: b"/v2" + target)
_values = st.one_of(
    st.sampled_from(
        [b"bytes=0-0", b"bytes=5-1", b"bytes=-0", b"bytes=0-" + b"9" * 40, b"*", b'W/"x"', b'"',
         b"application/json", b"Basic !", b"0", b"-1", b"9" * 30, b"gzip", b"100-continue",
         b"cross-site", b"Mon, 01 Jan 0000 00:00:00 GMT"]
    ),
    _texts,
)  # fmt: skip
_names = st.sampled_from(
    [b"Range", b"If-None-Match", b"If-Match", b"If-Range", b"Accept", b"Authorization", b"Expect",
     b"Content-Type", b"Content-Range", b"Content-Encoding", b"Accept-Encoding", b"Cookie",
     b"If-Modified-Since", b"Sec-Fetch-Site", b"X-Forwarded-For", b"Origin"]
)  # fmt: skip
_headers = st.lists(st.tuples(_names, _values).map(lambda pair: b"%s: %s" % pair), max_size=3)


_bodies = st.one_of(
    st.just(b""),
    st.sampled_from([b"{}", b'{"schemaVersion": 2}', b"[" * 5000, b"\xff" * 100]),
    st.binary(max_size=30),
)


def ask_anything(url: str, data: st.DataObject) -> None:
    """Send a few requests of any kind; see that each is answered as it should be."""
    for _ in range(5):
        method = data.draw(_methods)
        target = data.draw(st.one_of(_api, _targets))
        headers = data.draw(_headers)
        if body := data.draw(_bodies):
            headers += [b"Content-Length: %d\r\n\r\n%s" % (len(body), body)]
        answer = wire.get(url, target, *headers, method=method)
        assert 200 <= answer.statuses[-1] < 500, answer.raw
        assert b"Traceback" not in answer.raw
        assert SECRET not in answer.raw
        if b"not an HTTP request" in answer.raw or answer.status == 100:
            continue  # what was asked, if anything, is not known; or there are two answers
        if method == b"HEAD":
            assert answer.body == b""
        elif answer.status >= 400 and target.startswith(b"/v2/"):
            assert answer.codes


ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@ANY
@given(data=st.data())
def test_no_input_breaks_a_read_only_server(
    url: str, data: st.DataObject, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ask_anything(url, data)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.fixture
def writable(tree: TreeBuilder) -> Iterator[str]:
    with hosted(tree.root, writable=True, delete=True) as url:
        yield url


@ANY
@given(data=st.data())
def test_no_input_breaks_a_writable_server(
    writable: str, tree: TreeBuilder, data: st.DataObject, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ask_anything(writable, data)
    assert not [record for record in caplog.records if record.exc_info]
    outside = {path for path in tree.files("") if not path.startswith((layout.PREFIX, ".regfs"))}
    assert outside == {"secret"}


@pytest.mark.parametrize("up", [up for up in UP if up])
def test_nothing_is_written_outside_a_repository(
    writable: str, tree: TreeBuilder, tmp_path: Path, up: bytes
) -> None:
    def beside() -> set[str]:
        return {str(path) for path in tmp_path.rglob("*") if tree.root not in path.parents}

    before = tree.files(), beside()
    for shape in SHAPES:
        for method, target in (
            (b"PUT", shape.replace(b"%s", up)),
            (b"DELETE", shape.replace(b"%s", up)),
            (b"PATCH", shape.replace(b"%s", up)),
            (b"POST", b"/v2/app/" + up + b"/blobs/uploads/"),
            (b"POST", b"/v2/app/blobs/uploads/?mount=" + up + b"&from=" + up),
            (b"PUT", b"/v2/app/manifests/v1?tag=" + up),
        ):
            answer = wire.get(writable, target, b"Content-Length: 0", method=method)
            assert answer.status < 500, (method, target, answer.raw)
    assert beside() == before[1]
    new = {path for path in tree.files() if path not in before[0]}
    assert {path.rpartition("/_uploads/")[0] for path in new} <= {
        "docker/registry/v2/repositories/app"  # uploads that were begun, as a mount may
    }


@pytest.mark.parametrize("expected", [b"200-ok", b"\xff\xfe", b"<script>"])
@pytest.mark.parametrize("target", [b"/v2/", b"/", b"/nothing", b"/healthz"])
def test_unknown_expectations_are_417(url: str, expected: bytes, target: bytes) -> None:
    answer = wire.get(url, target, b"Expect: " + expected)
    assert answer.status == 417
    assert b"script" not in answer.raw


def test_non_http_is_logged_except_tls(tree: TreeBuilder) -> None:
    heard: list[Exchange] = []
    with hosted(tree.root, observe=heard.append) as url:
        hello = wire.ask(url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200)
        assert hello.status == 400
        assert b"http://" in hello.body
        assert wire.ask(url, b"hunter2\r\n\r\n").status == 400
        wire.until(lambda: bool(heard))
    (one,) = heard
    assert '"-" 400 ' in combined(one)
