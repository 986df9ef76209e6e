"""The files of images in the explorer: what a layer does, all layers together, and texts."""

from __future__ import annotations

import gzip
from pathlib import Path
from threading import Event

from tests.support.builder import TreeBuilder, image, index, layer
from tests.support.explorer import Driver, with_explorer

BASE = {"etc/a": b"one\n", "etc/b": b"two\n", "usr/lib/big": bytes(5000), "opt/gone/x": b"x" * 100}
TOP = {
    "etc/.wh.a": b"",
    "etc/b": b"second\n",
    "etc/c": b"new",
    ".wh.opt": b"",
    "var/log/l": b"l" * 9,
}


def push(tree: TreeBuilder) -> str:
    return tree.push("app", "v1", image([layer(BASE), layer(TOP)]))


def signs(driver: Driver) -> dict[str, str]:
    """Return name -> what the layer does to it, by the rows on the screen."""
    rows = driver.explorer.rows
    lines = [rows.page.row(rows.page.items[n], rows.measure) for n in rows.order]
    return {line.name: line.cells[-1] for line in lines}


def test_what_a_layer_adds_changes_and_removes(tree: TreeBuilder) -> None:
    push(tree)

    async def walk(driver: Driver) -> None:
        await driver.press("enter", "enter", "down", "enter")
        assert driver.lines[0] == " regfs > app > v1 > layer 2"
        assert signs(driver) == {"etc/": "", "opt/": "-", "var/": "+"}
        await driver.press("n", "enter")
        assert signs(driver) == {"a": "-", "b": "~", "c": "+"}
        assert "what layer 2 does: 3 entries, 14 B in /etc" in driver.text  # 4 + 7 + 3
        await driver.press("left", "down", "enter")
        assert signs(driver) == {"gone/": "-"}

    with_explorer(tree.root, walk)


def test_all_layers_together_by_size(tree: TreeBuilder) -> None:
    push(tree)

    async def walk(driver: Driver) -> None:
        await driver.press("enter", "f")
        assert driver.names == ["usr/", "etc/", "var/"]
        assert "3 entries, 5.02 kB in /" in driver.text
        await driver.press("down", "enter")
        assert driver.names == ["b", "c"]
        await driver.press("enter")
        assert driver.names == ["second"]
        await driver.press("left", "left", "w")
        assert driver.names == ["app:v1"]  # who needs the layer that /etc is of

    with_explorer(tree.root, walk)


def test_an_index_without_an_image_for_this_machine_names_its_platforms(tree: TreeBuilder) -> None:
    platforms = ("linux/s390x", "linux/riscv64")
    images = [image([layer({one: b"x"})], platform=one) for one in platforms]
    tree.push("app", "multi", index(*images))

    async def walk(driver: Driver) -> None:
        await driver.press("enter", "f")
        assert driver.lines[0] == " regfs > app"
        assert "linux/s390x, linux/riscv64" in " ".join(driver.text.split())
        await driver.press("enter", "down", "f")
        assert driver.names == ["linux/"]

    with_explorer(tree.root, walk)


def test_a_damaged_layer_shows_what_is_before_the_damage(tree: TreeBuilder) -> None:
    whole = gzip.decompress(layer({"a": b"1", "b": bytes(100_000)}))
    tree.push("app", "v1", image([gzip.compress(whole[:2000])]))

    async def walk(driver: Driver) -> None:
        await driver.press("enter", "f")
        assert "a" in driver.names
        assert "not all of it can be read" in driver.text
        assert "Problem        docker/registry/v2/blobs/sha256/" in driver.text

    with_explorer(tree.root, walk)


def test_names_and_texts_of_files_are_shown_and_not_obeyed(tree: TreeBuilder) -> None:
    text = b"[red]\x1b[2J\ttab\r\n\xff\xfe\x00" + b"x" * 100_000 + b"\nlast\n"
    tree.push("app", "v1", image([layer({"[b]\x1b[31m": text, "d/\u202e": b""})]))

    async def walk(driver: Driver) -> None:
        await driver.press("enter", "f")
        assert all(line.isprintable() for line in driver.lines)
        assert "[b]\\x1b[31m" in driver.text
        await driver.press("enter")
        assert all(line.isprintable() for line in driver.lines)
        assert "[red]\\x1b[2J" in driver.text
        assert len(driver.names) == 3

    with_explorer(tree.root, walk)


def test_who_goes_back_does_not_wait_for_a_large_layer(tree: TreeBuilder) -> None:
    push(tree)
    begun, may_go_on = Event(), Event()

    async def walk(driver: Driver) -> None:
        looking = driver.explorer.looking
        start = looking.start

        def held(task: str, total: int | None = None, unit: str = "items") -> None:
            begun.set()
            may_go_on.wait(60)
            start(task, total, unit)

        looking.start = held  # type: ignore[method-assign]
        await driver.press("enter")
        await driver.pilot.press("f")
        while not begun.is_set():
            await driver.pilot.pause()
        await driver.pilot.press("left")
        assert not driver.explorer.busy
        assert driver.names == ["v1"]
        may_go_on.set()
        await driver.press("enter")
        assert driver.lines[0] == " regfs > app > v1"
        looking.start = start  # type: ignore[method-assign]
        await driver.press("f")
        assert driver.names == ["usr/", "etc/", "var/"]

    with_explorer(tree.root, walk)


def test_sizes_of_folders_add_up(tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path)
    files = {f"{'/'.join('abcdefgh'[:depth])}/f{depth}": bytes(10**depth) for depth in range(1, 6)}
    tree.push("app", "v1", image([layer(files)]))

    async def walk(driver: Driver) -> None:
        await driver.press("enter", "f")
        for depth in range(1, 6):
            inside = sum(len(data) for name, data in files.items() if name.count("/") >= depth)
            shown = driver.explorer.rows.page.items
            assert max(item.size for item in shown) == inside
            await driver.press("enter")

    with_explorer(tree.root, walk)
