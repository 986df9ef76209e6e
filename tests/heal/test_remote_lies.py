"""A registry as a source that lies: nothing wrong reaches the tree."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest

from regfs.heal.opening import open_source
from regfs.heal.report import HealState
from tests.support.backups import heal_from, states, stocked
from tests.support.builder import TreeBuilder
from tests.support.web import BASIC, LAYER, PATH, Server, access, guarded


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    stocked(tree).delete_blob(LAYER.digest)
    return tree


def heal(shop: TreeBuilder, server: Server) -> tuple[HealState, str]:
    with closing(open_source(server.url, access())) as source:
        healed = heal_from(shop, source)
    (one,) = healed.outcomes
    assert (one.state is HealState.HEALED) == shop.blob_path(LAYER.digest).exists()
    return one.state, one.message


def test_a_registry_heals(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, LAYER.data)
    assert heal(shop, server) == (HealState.HEALED, "")
    assert states(heal_from(shop, server.url)) == {}


def test_a_web_page_is_not_taken_for_a_blob(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, b"<html>log in</html>", Content_Type="text/html; charset=utf-8")
    assert heal(shop, server) == (HealState.FAILED, f"{server.url}: answered with a web page")


def test_wrong_bytes_of_the_right_size_are_thrown_away(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, bytes(len(LAYER.data)))
    state, message = heal(shop, server)
    assert (state, "another digest" in message) == (HealState.WRONG, True)


def test_another_length_is_refused_before_a_byte_is_read(shop: TreeBuilder, server: Server) -> None:
    server.gives(PATH, LAYER.data + b"more")
    state, message = heal(shop, server)
    assert (state, "bytes instead of" in message) == (HealState.FAILED, True)


def test_a_body_without_end_is_left(shop: TreeBuilder, server: Server) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        deadline = time.monotonic() + 20
        try:
            while time.monotonic() < deadline:
                handler.wfile.write(bytes(65536))
        except OSError:
            pass

    server.routes[PATH] = answer
    state, message = heal(shop, server)
    assert (state, "more than" in message) == (HealState.WRONG, True)


def test_secrets_reach_neither_journal_nor_output(shop: TreeBuilder, server: Server) -> None:
    guarded(server, "Basic", BASIC)
    url = server.url.replace("http://", "http://me:secret-word@")
    healed = heal_from(shop, url)
    assert healed.broken == 0
    for path in (shop.root / ".regfs").rglob("*.jsonl"):
        assert b"secret-word" not in path.read_bytes()
    assert "secret-word" not in repr(healed)
