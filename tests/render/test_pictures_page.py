"""The page of `regfs graph --format html` in a browser: zooming, searching, keys, hostile names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import regfs
from tests.support.browser import CONTRASTS, Watched, chromium, needs_browser
from tests.support.builder import TreeBuilder, image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [*needs_browser]

TUTORIAL = Path(__file__).parents[2] / "fixtures/trees/tutorial"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)<\x1b[31m'


def export(root: Path) -> str:
    return b"".join(regfs.open(str(root)).export("html")).decode()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def opened(browser: Browser, folder: Path, root: Path, **options: Any) -> Watched:
    file = folder / "registry.html"
    file.write_text(export(root), encoding="utf-8")
    watched = Watched(browser.new_page(**options), f"file://{folder}")
    watched.go("/registry.html")
    watched.page.wait_for_selector("#tools:not([hidden])")
    return watched


def test_zooming_by_keys_and_by_the_table(browser: Browser, tmp_path: Path) -> None:
    watched = opened(browser, tmp_path, TUTORIAL)
    page = watched.page
    page.focus("#map .cell")
    assert watched.focused().startswith("shared by repositories, 1.09 MB, 98%, opens")
    page.keyboard.press("Enter")
    assert page.locator("#crumbs button").all_text_contents()[-1] == "shared by repositories"
    assert watched.focused().startswith("my-busybox, my-busybox-extended, my-busybox-ext")
    page.keyboard.press("Enter")
    assert watched.focused() == "umoci repack, 1.08 MB, 98%, needed by 9 tags in 6 repositories"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.locator("#crumbs button").count() == 1
    page.keyboard.press("ArrowRight")
    assert watched.focused().endswith("needed by this tag alone, opens")
    page.get_by_role("button", name="my-busybox-extended-cached").last.click()
    assert (
        page.locator("#table caption").inner_text().startswith("What is in my-busybox-extended-c")
    )
    watched.done()


def test_searching_a_digest_a_tag_and_an_instruction(browser: Browser, tmp_path: Path) -> None:
    watched = opened(browser, tmp_path, TUTORIAL)
    page = watched.page
    page.fill("#search", "sha256:25b1600519c0bf75")
    assert page.locator("#hits").inner_text() == "1 result"
    page.locator("#results button").click()
    assert page.locator(".cell.found").count() == 1
    assert "regfs why 25b1600519c0" in page.locator("#details").inner_text()
    page.fill("#search", "cached:inline")
    page.locator("#results button", has_text="image my-busybox-extended-cached:inline").click()
    assert "my-busybox-extended-cached:inline" in str(page.locator(".member.found").text_content())
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert watched.focused().startswith("▸ my-busybox-extended:latest")
    assert page.locator(".member").count() == 3
    page.keyboard.press("ArrowRight")
    assert page.locator(".member").count() == 4
    page.fill("#search", "copy")
    assert page.locator("#results button").count() >= 1
    watched.done()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_are_text_and_all_text_can_be_read(
    scheme: str, browser: Browser, tmp_path: Path, tree: TreeBuilder
) -> None:
    tree.push("app", "v1", image(["base"], {"history": [{"created_by": HOSTILE}]}))
    folder = tree.root / "docker/registry/v2/repositories"
    shutil.copytree(folder / "app", folder / HOSTILE)
    watched = opened(browser, tmp_path, tree.root, color_scheme=scheme)
    page = watched.page
    page.fill("#search", "onerror")
    assert page.locator("#results button").count() >= 1
    page.locator("#results button").first.click()
    page.click("#to-images")
    page.locator(".member").first.click()
    page.click("#to-bytes")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate(CONTRASTS) == []
    watched.done()


def test_without_scripts_there_are_tables(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    (tmp_path / "x.html").write_text(export(TUTORIAL), encoding="utf-8")
    page = context.new_page()
    page.goto(f"file://{tmp_path}/x.html")
    assert "shared by repositories" in page.inner_text("#table")
    shown = page.inner_text("#view-images")
    assert "my-busybox-extended-cached:inline: + 1 layer, 163 B, built on my-busybox-ext" in shown
    context.close()


def test_a_narrow_screen_needs_no_scrolling_aside(browser: Browser, tmp_path: Path) -> None:
    watched = opened(browser, tmp_path, TUTORIAL, viewport={"width": 400, "height": 800})
    assert watched.overflow() == 0
    watched.page.click("#to-images")
    assert watched.overflow() == 0
    watched.done()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(scheme: str, browser: Browser, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    axe = Axe()
    watched = opened(browser, tmp_path, TUTORIAL, color_scheme=scheme)
    page = watched.page
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    page.fill("#search", "busybox")
    page.focus("#map .cell")
    page.keyboard.press("Enter")
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    page.click("#to-images")
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    watched.done()
