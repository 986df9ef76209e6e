"""The parts of the page, without a server: addresses, rectangles, texts, pages, snapshots."""

from __future__ import annotations

import asyncio
import re
import threading
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from regfs.errors import StoreError
from regfs.server.ui import addresses, snapshot, snapshots
from regfs.server.ui.snapshots import Snapshots
from regfs.server.ui.templating import assets, environment, lines, share, size, ticks, when
from regfs.server.ui.treemap import Box, squarify
from regfs.server.ui.views.parts import Look, Order, page_of
from regfs.server.ui.views.repositories import repositories
from regfs.stores import open_store
from regfs.tree.inventory import Inventory, RepositoryInventory
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder

# -- addresses ----------------------------------------------------------------------

texts = st.binary(min_size=1, max_size=40).map(
    lambda data: data.replace(b"/", b"").replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
components = texts.filter(lambda text: text and not text.startswith("_"))
names = st.lists(components, min_size=1, max_size=4).map("/".join)


@given(names, texts.filter(bool))
def test_every_name_and_tag_is_found_again_in_its_address(name: str, tag: str) -> None:
    for path in (addresses.of_repository(name), addresses.of_tag(name, tag)):
        assert path.isascii()
        assert not re.search(r"[\s<>\"'\\?#]", path.replace("'", ""))
    assert addresses.place_of(addresses.of_repository(name)) == (name, "", "")
    assert addresses.place_of(addresses.of_tag(name, tag)) == (name, "tags", tag)


def test_an_invalid_address_is_refused() -> None:
    assert addresses.place_of("/v2/app") is None


def test_a_query_omits_empty_values() -> None:
    assert addresses.with_query("/", q="", page=None) == "/"
    assert addresses.with_query("/", q="a&b", page=2) == "/?q=a%26b&page=2"


# -- rectangles ----------------------------------------------------------------------


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=120))
def test_rectangles_are_in_proportion_apart_and_inside(sizes: list[int]) -> None:
    sizes = sorted(sizes, reverse=True)
    whole = Box(0, 0, 1000, 520)
    boxes = list(squarify(sizes, whole))
    assert len(boxes) == len(sizes)
    total = sum(sizes)
    for box, part in zip(boxes, sizes, strict=True):
        assert box.width * box.height == pytest.approx(part / total * 520_000, rel=1e-6, abs=1e-3)
        assert box.x >= -1e-6
        assert box.y >= -1e-6
        assert box.x + box.width <= 1000 + 1e-3
        assert box.y + box.height <= 520 + 1e-3
    for number, one in enumerate(boxes[:30]):
        for other in boxes[number + 1 : 30]:
            across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert across < 1e-3 or down < 1e-3


def test_equal_sizes_become_squares() -> None:
    assert {(round(b.width), round(b.height)) for b in squarify([1] * 4, Box(0, 0, 10, 10))} == {
        (5, 5)
    }


def test_no_sizes_give_no_rectangles() -> None:
    assert list(squarify([], Box(0, 0, 10, 10))) == []


# -- texts ----------------------------------------------------------------------------


@given(st.text())
def test_whatever_a_template_prints_can_be_seen_and_is_text(text: str) -> None:
    made = environment(assets()).from_string("{{ text }}|{{ text | lines }}").render(text=text)
    plain, _, many = made.partition("|")
    assert plain.isprintable()
    for shown in (plain, many.replace("\n", "")):
        assert "<" not in shown
        assert '"' not in shown
        assert shown.isprintable()


def test_words_of_pages() -> None:
    assert lines("a\n\tb\x00") == "a\n    b\\x00"
    assert 'title="1,234 bytes"' in size(1234)
    assert ">?<" in size(-1)
    assert ">never<" in when(None)
    assert share(0.0) == "0.0%"
    assert share(0.01) == "<0.1%"
    assert ticks("say `a<b` now") == Markup("say <code>a&lt;b</code> now")


def test_texts_on_the_map_stand_out() -> None:
    style = (resources.files("regfs.server.ui") / "static/style.css").read_text()
    for scheme in style.split("prefers-color-scheme: dark")[:2]:
        colors = dict(re.findall(r"--([a-z]+(?:-[a-z0-9]+)?): (#[0-9a-f]{3,6});", scheme))
        inks = ["deep-ink", "deep-ink", "pale-ink", "pale-ink", "pale-ink"]
        for level, ink in enumerate(inks):
            assert contrast(colors[f"level-{level}"], colors[ink]) >= 4.5
        for ground in ("unneeded", "line"):
            assert contrast(colors[ground], colors["pale-ink"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return how much two colours differ, as WCAG counts it."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# -- long lists -------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(-5, 50))
def test_pages_hold_every_row_once(total: int, number: int) -> None:
    rows = list(range(total))
    page = page_of(rows, number, str, size=30)
    assert list(page.rows) == rows[page.first - 1 : page.last] if rows else page.rows == ()
    pages = [page_of(rows, one, str, size=30) for one in range(1, max(-(-total // 30), 1) + 1)]
    assert [row for one in pages for row in one.rows] == rows
    assert pages[0].previous is None
    assert pages[-1].following is None


def test_choosing_a_column_again_reverses_it() -> None:
    order = Order.parse("tags", ["name", "tags"], "name")
    assert str(order.turned("tags")) == "-tags"
    assert str(order.turned("name")) == "name"
    assert str(Order.parse("evil", ["name"], "name")) == "name"


def test_ten_thousand_repositories_come_page_by_page(tree: TreeBuilder) -> None:
    tree.push("real", "v1")
    registry = Registry(open_store(str(tree.root)))
    taken = asyncio.run(taken_once(registry))
    for number in range(10_000):
        name = f"empty/{number:05}"
        taken.inventory.repositories[name] = RepositoryInventory(name)
    view = repositories(Look(taken), "", "name", 2)
    assert [row.name for row in view.page.rows][:1] == ["empty/00100"]
    assert view.page.total == 10_001
    assert view.page.following == "/?sort=name&page=3"
    assert repositories(Look(taken), "empty/0999", "", 1).page.total == 10


async def taken_once(registry: Registry) -> snapshot.Snapshot:
    keeper = Snapshots(registry)
    try:
        taken = await keeper.get(patience=60)
        assert taken is not None
        return taken
    finally:
        keeper.close()


# -- snapshots ----------------------------------------------------------------------------


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry(tree: TreeBuilder) -> Registry:
    tree.push("app", "v1")
    return Registry(open_store(str(tree.root)))


def test_a_snapshot_is_kept_until_it_is_old(registry: Registry) -> None:
    async def go() -> None:
        clock = Clock()
        keeper = Snapshots(registry, clock=clock)
        first = await keeper.get(patience=60)
        assert first is not None
        assert await keeper.get(patience=60) is first
        clock.now += snapshots.MAX_AGE + 1
        await keeper.get(patience=60, fresh=True)
        later = await keeper.get(patience=60)
        assert later is not first
        keeper.close()

    asyncio.run(go())


def test_a_slow_tree_is_read_rarely(registry: Registry) -> None:
    async def go() -> None:
        clock = Clock()
        keeper = Snapshots(registry, clock=clock)
        first = await keeper.get(patience=60)
        assert first is not None
        first.took = 30.0
        clock.now += 200
        assert await keeper.get(patience=60) is first
        assert not keeper.renewing
        clock.now += 200
        async with asyncio.timeout(60):
            while await keeper.get() is first:
                await asyncio.sleep(0.01)
        keeper.close()

    asyncio.run(go())


def test_a_fresh_snapshot_that_has_to_wait_is_taken_later(registry: Registry) -> None:
    async def go() -> None:
        clock = Clock()
        keeper = Snapshots(registry, clock=clock)
        first = await keeper.get(patience=60)
        assert first is not None
        first.took = 0.1
        assert await keeper.get(patience=0, fresh=True) is first
        is_waiting = keeper.renewing
        assert is_waiting
        clock.now += 1
        async with asyncio.timeout(60):
            while keeper.renewing:
                await asyncio.sleep(0.01)
        assert await keeper.get() is not first
        keeper.close()

    asyncio.run(go())


def test_what_is_pushed_while_the_tree_is_read_is_in_the_fresh_snapshot(
    tree: TreeBuilder, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_read, gate = threading.Event(), threading.Event()

    def slow(*args: object, **options: object) -> object:
        inventory = scan(*args, **options)  # type: ignore[arg-type]
        has_read.set()
        gate.wait(60)
        return inventory

    monkeypatch.setattr(snapshots, "scan", slow)

    async def go() -> None:
        keeper = Snapshots(registry)
        assert await keeper.get(patience=0) is None
        await asyncio.to_thread(has_read.wait, 60)
        tree.push("later", "v1")
        assert await keeper.get(patience=0, fresh=True) is None
        gate.set()
        async with asyncio.timeout(60):
            while keeper.renewing:
                await asyncio.sleep(0.01)
        last = await keeper.get(patience=60)
        assert last is not None and "later" in last.inventory.repositories
        keeper.close()

    asyncio.run(go())


def test_a_large_tree_has_at_most_one_snapshot(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "LARGE", 0)
    gate = threading.Event()

    async def go() -> None:
        clock = Clock()
        keeper = Snapshots(registry, clock=clock)
        assert await keeper.get(patience=60) is not None

        def slow(*args: Any, **options: Any) -> Inventory:
            gate.wait(60)
            return scan(*args, **options)

        monkeypatch.setattr(snapshots, "scan", slow)
        clock.now += 100
        assert await keeper.get(patience=0.01) is None
        gate.set()
        assert await keeper.get(patience=60) is not None
        keeper.close()

    asyncio.run(go())


def test_an_unused_snapshot_is_dropped(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "IDLE", 1.0)

    async def go() -> None:
        keeper = Snapshots(registry)
        assert await keeper.get(patience=60) is not None
        async with asyncio.timeout(60):
            while keeper.holds:
                await asyncio.sleep(0.01)
        assert await keeper.get(patience=60) is not None
        keeper.close()

    asyncio.run(go())


def test_the_reason_for_an_unreadable_tree_is_given_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Inventory:
        raise StoreError("the disk is gone")

    async def go() -> None:
        keeper = Snapshots(registry)
        monkeypatch.setattr(snapshots, "scan", broken)
        with pytest.raises(StoreError, match="the disk is gone"):
            await keeper.get(patience=60)
        monkeypatch.setattr(snapshots, "scan", scan)
        assert await keeper.get(patience=60) is not None
        keeper.close()

    asyncio.run(go())


def test_closing_ends_a_listing_that_is_under_way(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = threading.Event(), threading.Event()

    def endless(*args: Any, progress: Any, **options: Any) -> Inventory:
        begun.set()
        try:
            while True:
                progress.advance(1)
        finally:
            over.set()

    monkeypatch.setattr(snapshots, "scan", endless)

    async def go() -> None:
        keeper = Snapshots(registry)
        assert await keeper.get(patience=0.05) is None
        assert begun.wait(60)
        keeper.close()
        assert await asyncio.to_thread(over.wait, 60)

    asyncio.run(go())


def test_shutdown_during_a_listing_logs_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, gate, over = threading.Event(), threading.Event(), threading.Event()

    def slow(*args: Any, **options: Any) -> Inventory:
        begun.set()
        gate.wait(60)
        try:
            return scan(*args, **options)
        finally:
            over.set()

    monkeypatch.setattr(snapshots, "scan", slow)

    async def go() -> Snapshots:
        keeper = Snapshots(registry)
        assert await keeper.get(patience=0.05) is None
        assert await asyncio.to_thread(begun.wait, 60)
        keeper.close()
        return keeper

    keeper = asyncio.run(go())
    gate.set()
    assert over.wait(60)
    keeper.join()
    assert caplog.text == ""


def test_a_report_that_a_newer_snapshot_cancels_is_made_of_that(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, over = threading.Event(), threading.Event()
    made = snapshot.Snapshot.reuse_among

    async def go() -> None:
        clock = Clock()
        keeper = Snapshots(registry, clock=clock)
        first = await keeper.get(patience=60)

        def slow(*args: Any, **options: Any) -> Inventory:
            gate.wait(60)
            return scan(*args, **options)

        def held_up(self: snapshot.Snapshot, among: list[Any]) -> Any:
            if self is first:
                over.wait(60)
            return made(self, among)

        monkeypatch.setattr(snapshots, "scan", slow)
        monkeypatch.setattr(snapshot.Snapshot, "reuse_among", held_up)
        clock.now += 100
        asking = asyncio.create_task(keeper.get(["reuse"], patience=60))
        async with asyncio.timeout(60):
            while keeper.doing != "Working out the reuse":  # in the queue behind the reading
                await asyncio.sleep(0.01)
        gate.set()
        later = await asking
        over.set()
        assert later is not None and later is not first and later.has("reuse")
        keeper.close()

    asyncio.run(go())


def test_a_report_of_a_dropped_snapshot_is_made_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    made = snapshot.Snapshot.reuse_among

    def slow(self: snapshot.Snapshot, among: list[Any]) -> Any:
        gate.wait(60)
        return made(self, among)

    monkeypatch.setattr(snapshot.Snapshot, "reuse_among", slow)

    async def go() -> None:
        clock = Clock()
        keeper = Snapshots(registry, clock=clock)
        first = await keeper.get(patience=60)
        assert await keeper.get(["reuse"], patience=0.01) is None
        clock.now += 1000
        assert await keeper.get(["plan"], patience=0.01) is None
        gate.set()
        async with asyncio.timeout(60):
            while (later := await keeper.get(["reuse", "plan"])) is None or later is first:
                await asyncio.sleep(0.01)
        assert later.has("reuse")
        keeper.close()

    asyncio.run(go())
