"""What goes wrong within the server: told once, in the right place."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web

from regfs.errors import StoreError
from regfs.server.access_log import Exchange
from regfs.server.app import HANDLERS
from regfs.server.routes import Action, Route
from tests import wire
from tests.builder import TreeBuilder
from tests.hosting import hosted

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
def test_an_answer_that_breaks_off_is_not_followed_by_another(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    heard: list[Exchange] = []
    monkeypatch.setitem(HANDLERS, (Action.TAGS, "GET"), breaking(error, after=b"the beginning"))
    with hosted(tree.root, observe=heard.append) as url:
        answer = wire.ask(url, ASK)
        wire.until(lambda: bool(heard))
    assert answer.statuses == [200]
    assert answer.body == b"the beginning"
    assert [one.status for one in heard] == [499]


def test_a_bug_is_told_in_the_log_only(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("a bug of ours")
    monkeypatch.setitem(HANDLERS, (Action.TAGS, "GET"), breaking(error))
    with hosted(tree.root) as url:
        answer = wire.get(url, b"/v2/app/tags/list?secret=hunter2")
    assert (answer.status, answer.codes) == (500, ["UNKNOWN"])
    assert b"bug" not in answer.raw
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.getMessage() == "GET tags app"
    assert record.exc_info is not None and record.exc_info[1] is error


def test_who_leaves_in_the_middle_is_no_error(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Exchange] = []
    gone = breaking(ConnectionResetError("gone"))
    monkeypatch.setitem(HANDLERS, (Action.TAGS, "GET"), gone)
    with hosted(tree.root, observe=heard.append) as url:
        assert wire.ask(url, ASK).raw == b""
        wire.until(lambda: bool(heard))
    assert [one.status for one in heard] == [499]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_log_that_cannot_be_written_is_no_reason_to_refuse(tree: TreeBuilder) -> None:
    def broken(exchange: Exchange) -> None:
        raise BrokenPipeError

    with hosted(tree.root, observe=broken) as url:
        for _ in range(2):
            assert wire.get(url, b"/v2/").status == 200
