"""Pages while the tree is read, after it changed, and when it cannot be read."""

from __future__ import annotations

import threading
import time

import pytest

from regfs.server.settings import Limits
from regfs.server.ui import snapshots
from regfs.server.ui.snapshot import Snapshot
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder
from tests.support.pages import ask, asked, read_again, visible
from tests.support.server import hosted


def test_what_was_pushed_is_there_after_reading_again(url: str, registry: TreeBuilder) -> None:
    assert ask(url, "/r/team/new").status == 404
    registry.push("team/new", "v1")
    answer = read_again(url, "/r/team/new")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/r/team/new")
    # On a busy machine reading takes so long that the next reading has to wait for its share.
    page, until = ask(url, "/r/team/new"), time.monotonic() + 60
    while page.status == 404 and time.monotonic() < until:
        page = ask(url, "/r/team/new")
    assert page.status == 200


def test_a_page_that_is_not_there_yet_says_that_the_tree_is_read_again(
    url: str, registry: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "FRESH_SHARE", 1e-9)  # the next reading has to wait
    assert "read again" not in visible(ask(url, "/r/team/new"))
    registry.push("team/new", "v1")
    read_again(url, "/r/team/new")
    assert "read again" in visible(ask(url, "/r/team/new"))


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nX: y", ""]
)
def test_refresh_redirects_only_to_this_server(url: str, back: str) -> None:
    answer = read_again(url, back)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_while_a_large_tree_is_read_pages_say_so_and_pulls_continue(
    registry: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def slow(*args: object, **options: object) -> object:
        gate.wait(60)
        return scan(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshots, "scan", slow)
    with hosted(registry.root, limits=Limits()) as url:
        page = ask(url)
        assert page.status == 202
        assert "The tree is being read" in page.text
        assert '<meta http-equiv="refresh"' in page.text
        assert ask(url, "/v2/").status == 200
        gate.set()
        assert 'href="/r/team/app"' in asked(url, "/").text


def test_a_slow_report_does_not_block_other_pages(
    registry: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    made = Snapshot.reuse_among

    def slow(self: Snapshot, among: list[object]) -> object:
        gate.wait(60)
        return made(self, among)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "reuse_among", slow)
    with hosted(registry.root, limits=Limits()) as url:
        assert asked(url, "/").status == 200
        assert ask(url, "/reuse").status == 202
        assert asked(url, "/r/team/app").status == 200
        gate.set()
        assert asked(url, "/reuse").status == 200


def test_a_tree_that_cannot_be_read_is_told_and_tried_again(registry: TreeBuilder) -> None:
    with hosted(registry.root) as url:
        hidden = registry.root / "docker-away"
        (registry.root / "docker").rename(hidden)
        gone = ask(url)
        assert gone.status in (200, 404, 500, 503)
        assert "Traceback" not in gone.text
        hidden.rename(registry.root / "docker")
        read_again(url, "/")
        assert 'href="/r/team/app"' in ask(url).text
