"""Walks through the explorer: what is shown, in which order, and that nothing is changed."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path
from threading import Event

import pytest

import regfs
from regfs.browse.frame import BrowseEnd
from regfs.browse.worker import Activity
from tests.support.builder import TreeBuilder, image, index, layer
from tests.support.explorer import PAGE, PICTURE, Driver, pictures, with_explorer
from tests.support.nobody import as_nobody, public_folder

TREES = Path(__file__).parents[2] / "fixtures/trees"


@pytest.fixture
def tutorial(tmp_path: Path) -> Path:
    shutil.copytree(TREES / "tutorial", tmp_path / "tutorial")
    return tmp_path / "tutorial"


def test_from_a_repository_to_a_layer_and_to_who_needs_it(tutorial: Path) -> None:
    async def walk(driver: Driver) -> None:
        assert driver.names[0] == "my-busybox-extended"  # the largest
        await driver.press("n", "enter")
        assert driver.lines[0] == " regfs > my-busybox"
        assert driver.names == ["latest"]
        await driver.press("enter")
        assert driver.lines[0] == " regfs > my-busybox > latest"
        assert driver.names == ["umoci repack", "umoci config", "(config)"]
        assert re.search(r"1\.08 MB \[#{10}\] +6  25b1600519c0  umoci repack", driver.text)
        await driver.press("w")
        assert "8 tags" not in driver.names
        assert set(driver.names) == {
            one.name for one in regfs.open(str(tutorial)).why("25b1600519c0").needed_by
        }
        await driver.press("down", "enter")
        assert driver.lines[0].endswith("> my-busybox-extended:latest")
        await driver.press("left", "left", "left", "left")
        assert driver.lines[0].startswith(" regfs  /")

    with_explorer(tutorial, walk)


def test_the_pictures_of_the_page_are_what_is_shown() -> None:
    """`python -m tests.support.explorer` renews them."""
    assert PICTURE.findall(PAGE.read_text(encoding="utf-8")) == pictures()


def test_sizes_are_those_of_du(tutorial: Path) -> None:
    tree = regfs.open(str(tutorial))

    async def walk(driver: Driver) -> None:
        for measure in ("stored", "unique", "apparent"):
            rows = tree.usage(sort=measure).rows
            assert driver.names == [row.name for row in rows]
            await driver.press("u")
        await driver.press("s")
        assert driver.names == [row.name for row in reversed(tree.usage().rows)]
        await driver.press("n", "n")
        assert driver.names == sorted(driver.names, reverse=True)

    with_explorer(tutorial, walk)


def test_an_index_lists_its_platforms(tree: TreeBuilder) -> None:
    arm = image([layer({"b": b"2"})], platform="linux/arm64")
    tree.push("app", "multi", index(image([layer({"a": b"1"})]), arm))

    async def walk(driver: Driver) -> None:
        await driver.press("enter")
        assert "multi  linux/amd64, linux/arm64" in driver.text
        await driver.press("enter")
        assert driver.names == ["linux/amd64", "linux/arm64"]
        await driver.press("down", "enter")
        assert driver.lines[0] == " regfs > app > multi > linux/arm64"
        assert "image for linux/arm64: 1 layer" in driver.text

    with_explorer(tree.root, walk)


class _Held(Activity):
    """Stops before the blobs are listed, until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = Event()

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        if task == "Reading the tree":
            self.may_go_on.wait(60)
        super().start(task, total, unit)


def test_names_tags_and_layers_are_there_before_the_tree_is_read(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([layer({"a": b"1"})]))
    doing = _Held()

    async def walk(driver: Driver) -> None:
        try:
            await driver.until("app")
            await driver.pilot.press("enter")
            await driver.until("v1")
            assert "sizes come once the tree is read" in driver.text
            await driver.pilot.press("enter")
            await driver.until("layer ")
            assert "stored" not in driver.lines[1]
        finally:
            doing.may_go_on.set()
        await driver.settle()
        assert "image for linux/amd64: 1 layer" in driver.text
        await driver.press("left")
        assert "stored" in driver.lines[1]

    with_explorer(tree.root, walk, doing=doing, settled=False)


def test_what_is_searched_for_stays_until_it_is_given_up(tutorial: Path) -> None:
    async def walk(driver: Driver) -> None:
        await driver.press("slash", *"cache")
        assert driver.names == ["my-busybox-extended-cached"]
        await driver.press("enter")  # ends the input, opens nothing
        assert driver.lines[0].startswith(" regfs  /")
        assert driver.names == ["my-busybox-extended-cached"]
        await driver.press("escape")
        assert len(driver.names) == 6
        await driver.press("slash", *"q?")
        assert driver.names == []
        await driver.press("escape")
        assert len(driver.names) == 6

    with_explorer(tutorial, walk)


def test_marks_are_planned_and_handed_back_and_nothing_is_changed(tutorial: Path) -> None:
    def seen() -> dict[str, tuple[int, int]]:
        files = [one for one in tutorial.rglob("*")]
        return {str(one): (one.stat().st_mtime_ns, one.stat().st_ino) for one in files}

    before = seen()
    marked = ("my-busybox-extended-cached:buildcache-index", "my-busybox-extended-cached:inline")
    effect = regfs.open(str(tutorial)).removal(*marked)

    async def walk(driver: Driver) -> None:
        await driver.press("n", "end", "up", "up", "up")
        assert driver.explorer.rows.current_name == "my-busybox-extended-attest"
        await driver.press("d", "enter", "space", "d")
        assert "3 marked" in driver.text  # the repository, and its tags
        await driver.press("p")
        assert set(driver.names) == {"my-busybox-extended-attest", *marked}
        await driver.press("home", "d")
        assert driver.names == list(marked)
        assert effect.freed.bytes == 7963
        assert "2 marked; removing all frees 7.96 kB" in driver.text
        await driver.press("q")

    assert with_explorer(tutorial, walk) == BrowseEnd(marked)
    assert seen() == before


def test_damage_is_seen_from_the_first_page_on(tmp_path: Path) -> None:
    shutil.copytree(TREES / "damaged-layer-missing", tmp_path / "tree")

    async def walk(driver: Driver) -> None:
        assert "✗" in driver.text
        await driver.press("v")
        assert "blob-missing" in driver.text
        assert "regfs heal" in driver.text

    with_explorer(tmp_path / "tree", walk)


def test_what_was_verified_is_told(tutorial: Path) -> None:
    async def before(driver: Driver) -> None:
        assert "✓" not in driver.text
        await driver.press("v")
        assert "never verified" in driver.text

    async def after(driver: Driver) -> None:
        assert sum(line.startswith(" ✓") for line in driver.lines) == 6
        await driver.press("v")
        assert "31 of 31 blobs verified" in driver.text

    with_explorer(tutorial, before)
    from regfs.cli.app import run

    assert run(["-r", str(tutorial), "verify", "-q"]) == 0
    with_explorer(tutorial, after)


HOSTILE = "RUN echo [red]\x1b[31mred\x07 [/bold] \u202etxt\n" + "x" * 300


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60), (10, 4)])
def test_text_from_blobs_is_shown_and_not_obeyed(tree: TreeBuilder, size: tuple[int, int]) -> None:
    pushed = image([layer({"a": b"1"})], {"history": [{"created_by": HOSTILE}]})
    tree.push("app", "v1", pushed)
    (tree.v2 / "repositories/[bold]\x1b[2J").mkdir()

    async def walk(driver: Driver) -> None:
        for keys in (["enter"], ["enter"], ["w"], ["v"], ["i"]):
            await driver.press(*keys)
            assert not set(driver.text.replace("\n", "")) & {
                chr(n) for n in (*range(32), 127, 0x202E)
            }
            assert len(driver.lines) == size[1]
        await driver.press("left", "left")
        if size[0] >= 80:
            assert "RUN echo [red]\\x1b[31mred" in driver.text

    with_explorer(tree.root, walk, size=size)


def test_a_terminal_that_changes_its_size(tutorial: Path) -> None:
    async def walk(driver: Driver) -> None:
        for width, height in ((40, 12), (120, 40), (20, 5), (80, 24)):
            await driver.pilot.resize_terminal(width, height)
            await driver.press("down")
            assert len(driver.lines) == height
        assert "Repository" in driver.lines[1]
        assert "Stored         1.09 MB" in driver.text

    with_explorer(tutorial, walk)


def test_clicks_select_then_open_and_the_top_line_leads_back(tutorial: Path) -> None:
    async def walk(driver: Driver) -> None:
        await driver.press("n")
        await driver.pilot.click("RowList", offset=(20, 3))
        await driver.settle()
        assert driver.explorer.rows.current_name == driver.names[3]
        await driver.pilot.click("RowList", offset=(20, 3))
        await driver.settle()
        assert driver.lines[0] == " regfs > my-busybox-extended-cached"
        await driver.pilot.click("#head")
        await driver.settle()
        assert driver.explorer.rows.current_name == "my-busybox-extended-cached"

    with_explorer(tutorial, walk)


def test_help_lists_every_key(tutorial: Path) -> None:
    async def walk(driver: Driver) -> None:
        await driver.press("question_mark")
        for words in ("open: repository", "mark for removal", "who needs this", "quit"):
            assert words in driver.text
        await driver.press("escape")
        assert "my-busybox" in driver.text

    with_explorer(tutorial, walk)


def test_a_tree_that_changes_is_read_anew(tree: TreeBuilder) -> None:
    tree.push("app", "v1")

    async def walk(driver: Driver) -> None:
        await driver.press("enter")
        tree.push("app", "v2")
        tree.push("other", "v1")
        await driver.press("r")
        await driver.until("v2")
        await driver.press("left")
        assert driver.names == ["app", "other"]

    with_explorer(tree.root, walk)


def test_what_is_gone_meanwhile_is_told(tree: TreeBuilder) -> None:
    tree.push("app", "v1")

    async def walk(driver: Driver) -> None:
        await driver.press("enter")
        tree.delete_blob(tree.current("app", "v1"))
        await driver.press("enter")
        assert driver.lines[0] == " regfs > app"
        assert "manifest is not" in driver.text

    with_explorer(tree.root, walk)


def test_untagged_manifests_have_a_page_of_their_own(tree: TreeBuilder) -> None:
    old = tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))

    async def walk(driver: Driver) -> None:
        await driver.press("enter")
        assert set(driver.names) == {"v1", "(untagged)"}
        await driver.press("n", "home", "enter", "d", "q")

    assert with_explorer(tree.root, walk) == BrowseEnd((f"app@{old}",))


def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    def look(root: Path) -> tuple[str, str]:
        shown: list[str] = []

        async def walk(driver: Driver) -> None:
            shown.append(driver.text)
            await driver.press("v")
            shown.append(driver.text)

        with_explorer(root, walk)
        return shown[0], shown[1]

    with public_folder() as folder:
        tree = TreeBuilder(folder / "registry")
        tree.push("app", "v1")
        tree.push("secret", "v1")
        look(tree.root)  # once, so that no module is loaded from where nobody may read
        tree.repository_path("secret").chmod(0o700)
        first, findings = as_nobody(lambda: look(tree.root))
        assert "1 could not be read" in first
        assert "app" in first
        assert "path-unreadable" in findings
        assert "repositories/secret" in findings


KEYS = (
    *("enter", "enter", "enter", "left", "left", "down", "down", "down", "up", "home", "end"),
    *("pagedown", "s", "n", "u", "d", "space", "p", "f", "w", "v", "i", "tab", "r", "escape"),
    *("slash", "a", "question_mark", "backspace", "l", "h"),
)


@pytest.mark.parametrize("name", ["tutorial", "damaged-manifest-missing"])
def test_any_keys_in_any_order(name: str, tmp_path: Path) -> None:
    """Nothing breaks off, and nothing is drawn that a terminal would obey."""
    shutil.copytree(TREES / name, tmp_path / "tree")
    chance = random.Random(name)

    async def walk(driver: Driver) -> None:
        for _ in range(30):
            await driver.pilot.press(chance.choice(KEYS))
            if chance.random() < 0.5:
                await driver.settle()
            if chance.random() < 0.05:
                await driver.pilot.resize_terminal(chance.choice((10, 40, 80, 130)), 24)
            assert all(line.isprintable() for line in driver.lines)

    with_explorer(tmp_path / "tree", walk)
