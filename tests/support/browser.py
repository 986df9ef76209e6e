"""Debian's chromium, to look at the pages of a server.

    with hosted(tree.root) as url, chromium() as browser:
        page = Watched(browser.new_page(), url)
        page.go("/")
        page.done()                       # fails if anything was wrong on the way

Playwright keeps an event loop running in its thread while it is up, so no fixture may keep
it for longer than the tests of one module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.reference import IN_CI, have

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request, Response

CHROMIUM = "/usr/bin/chromium"
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 60.0
"""Seconds that anything may take on a busy machine."""

needs_browser = (
    pytest.mark.reference,
    pytest.mark.skipif(not have("chromium") and not IN_CI, reason="not installed: chromium"),
)
"""Marks of a module whose tests look at pages in a browser."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser; it ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of the browser, and all that should not have happened on it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        page.set_default_timeout(TIMEOUT * 1000)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("dialog", self._opened)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _opened(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.url + "/"):
            self.wrong.append(f"went elsewhere: {request.url}")

    def go(self, path: str = "/") -> Response:
        """Go to a path and wait until nothing moves any more."""
        answer = self.page.goto(self.url + path, wait_until="load")
        assert answer is not None
        return answer

    @property
    def path(self) -> str:
        """Where the page is now."""
        return self.page.url.removeprefix(self.url)

    def focused(self) -> str:
        """Return the text of what has the focus."""
        script = """() => {
            const one = document.activeElement;
            return (one.getAttribute("aria-label") || one.textContent || one.id || "").trim();
        }"""
        return str(self.page.evaluate(script))

    def tab_to(self, text: str, limit: int = 80) -> None:
        """Press the tabulator until something of that text has the focus, and can be seen to."""
        for _ in range(limit):
            self.page.keyboard.press("Tab")
            if self.focused() == text:
                assert self.page.evaluate(_FOCUS_SHOWS), f"the focus on {text!r} cannot be seen"
                return
        raise AssertionError(f"no {text!r} in reach of the tabulator")

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the screen."""
        script = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))

    def done(self) -> None:
        """Fail if anything was wrong."""
        assert self.wrong == []


_FOCUS_SHOWS = """() => {
    const one = document.activeElement;
    const drawn = getComputedStyle(one).outlineStyle !== "none";
    const rect = one.querySelector("rect");
    return drawn || (rect !== null && parseFloat(getComputedStyle(rect).strokeWidth) >= 3);
}"""

CONTRASTS = """() => {
    const parse = (text) => {
        const parts = text.match(/[\\d.]+/g).map(Number);
        return parts.length > 3 ? parts : [...parts, 1];
    };
    const light = (color) => {
        const [r, g, b] = color.map((c) => {
            const v = c / 255;
            return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (one) => {
        for (let node = one; node; node = node.parentElement) {
            const color = parse(getComputedStyle(node).backgroundColor);
            if (color[3] === 1) return color;
        }
        return [255, 255, 255, 1];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        const seen = one.checkVisibility() && walker.currentNode.textContent.trim();
        if (!seen || one.closest("svg, script, .unseen, .skip")) continue;
        const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${one.textContent.trim()}`);
    }
    return found;
}"""
"""Returns the texts of a page that stand out less than WCAG's level AA wants (4.5 to 1)."""
