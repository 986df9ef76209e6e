"""What goes wrong within the server: told once, in the right place."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from regfs.errors import DocumentInvalid, RegfsError, StoreError
from regfs.server.access_log import Exchange
from regfs.server.app import HANDLERS
from regfs.server.errors import STATUS, ApiError, as_api_error
from regfs.server.routes import Route, RouteKind
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.exchange import ask
from tests.support.images import digest_of
from tests.support.server import hosted

ASK = b"GET /v2/app/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"


def breaking(error: Exception, *, after: bytes = b"") -> object:
    """Return a handler that raises, after it has sent a part of its answer."""

    async def handler(request: web.Request, route: Route) -> web.StreamResponse:
        if after:
            response = web.StreamResponse()
            response.content_length = 1000
            await response.prepare(request)
            await response.write(after)
        raise error

    return handler


@pytest.mark.parametrize("error", [StoreError("the disk is gone"), ValueError("a bug of ours")])
def test_a_broken_answer_is_not_followed_by_another(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    heard: list[Exchange] = []
    monkeypatch.setitem(HANDLERS, (RouteKind.TAGS, "GET"), breaking(error, after=b"the beginning"))
    with hosted(tree.root, observe=heard.append) as url:
        answer = wire.ask(url, ASK)
        wire.until(lambda: bool(heard))
    assert answer.statuses == [200]
    assert answer.body == b"the beginning"
    assert [one.status for one in heard] == [499]


def test_a_bug_is_only_in_the_log(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("a bug of ours")
    monkeypatch.setitem(HANDLERS, (RouteKind.TAGS, "GET"), breaking(error))
    with hosted(tree.root) as url:
        answer = wire.get(url, b"/v2/app/tags/list?secret=hunter2")
    assert (answer.status, answer.codes) == (500, ["TOOMANYREQUESTS"])
    assert b"bug" not in answer.raw
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.getMessage() == "GET tags app"
    assert record.exc_info is not None and record.exc_info[1] is error


def test_a_client_that_leaves_is_not_an_error(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Exchange] = []
    gone = breaking(ConnectionResetError("gone"))
    monkeypatch.setitem(HANDLERS, (RouteKind.TAGS, "GET"), gone)
    with hosted(tree.root, observe=heard.append) as url:
        assert wire.ask(url, ASK).raw == b""
        wire.until(lambda: bool(heard))
    assert [one.status for one in heard] == [499]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_failing_log_does_not_fail_requests(tree: TreeBuilder) -> None:
    def broken(exchange: Exchange) -> None:
        raise BrokenPipeError

    with hosted(tree.root, observe=broken) as url:
        for _ in range(2):
            assert wire.get(url, b"/v2/").status == 200


# -- codes and methods -------------------------------------------------------------------

SPECIFIED = {
    *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DENIED", "DIGEST_INVALID"),
    *("MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID"),
    *("NAME_UNKNOWN", "SIZE_INVALID", "TOOMANYREQUESTS", "UNAUTHORIZED", "UNSUPPORTED"),
}
"""The list of the specification, section "Error Codes"."""


def kinds(error: type[RegfsError] = RegfsError) -> Iterator[type[RegfsError]]:
    """Yield all errors of the library."""
    yield error
    for kind in error.__subclasses__():
        yield from kinds(kind)


def test_only_codes_of_the_specification_are_sent() -> None:
    assert set(STATUS) == SPECIFIED
    for kind in kinds():
        assert as_api_error(kind("it went wrong")).code in SPECIFIED, kind
    with pytest.raises(KeyError):
        ApiError("RANGE_INVALID", "a code of another registry", status=416)


def test_an_invalid_document_is_400() -> None:
    assert as_api_error(DocumentInvalid("no JSON")).status == 400


PATHS = {
    "/v2/": {"GET", "HEAD"},
    "/v2/_catalog": {"GET", "HEAD"},
    "/v2/app/tags/list": {"GET", "HEAD"},
    f"/v2/app/referrers/{digest_of(b'')}": {"GET", "HEAD"},
    "/v2/app/manifests/v1": {"GET", "HEAD", "PUT", "DELETE"},
    f"/v2/app/blobs/{digest_of(b'')}": {"GET", "HEAD", "DELETE"},
    "/v2/app/blobs/uploads/": {"POST"},
    "/v2/app/blobs/uploads/0190f3c0-0000-7000-8000-000000000000": {
        *("GET", "HEAD", "PATCH", "PUT", "DELETE"),
    },
}
MODES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"GET", "HEAD"}),
    ({"writable": True}, {"GET", "HEAD", "POST", "PATCH", "PUT"}),
    ({"writable": True, "delete": True}, {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"}),
]


@pytest.mark.parametrize(("mode", "known"), MODES, ids=["read-only", "writable", "deleting"])
def test_a_wrong_method_gets_allow(
    tree: TreeBuilder, mode: dict[str, Any], known: set[str]
) -> None:
    with hosted(tree.root, **mode) as url:
        for path, methods in PATHS.items():
            if "/uploads/" not in path:
                right = methods & known
            else:  # all of an upload is part of a push, giving it up too
                right = methods if "POST" in known else set()
            for method in {"GET", "POST", "PATCH", "PUT", "DELETE", "TRACE", "OPTIONS"} - right:
                answer = ask(url, method, path, Content_Length="0")
                assert (answer.status, answer.code) == (405, "UNSUPPORTED"), (method, path)
                allowed = answer["Allow"]
                assert allowed is not None
                assert set(filter(None, allowed.split(", "))) == right, (method, path)


def test_a_wrong_method_outside_the_api_gets_allow(tree: TreeBuilder) -> None:
    with hosted(tree.root) as url:
        for path in ("/", "/healthz", "/metrics"):
            answer = ask(url, "PUT", path, Content_Length="0")
            assert answer.status == 405
            assert "GET" in (answer["Allow"] or "")
