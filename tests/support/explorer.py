"""The explorer without a terminal: its keys are pressed, and its screen is read as text.

with_explorer(tree.root, work)      work(driver) is awaited; returns how the explorer ended
await driver.press("enter", "w")    waits until what was asked for is shown
driver.lines                        the screen, a text for each line
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from regfs import facade
from regfs.browse.app import Explorer
from regfs.browse.frame import BrowseEnd
from regfs.browse.worker import Activity

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs/browse.md"
PICTURE = re.compile(r"(?<=```text\n)(.*?)(?=\n```)", re.DOTALL)
PATIENCE = 60.0
"""Seconds after which a test fails in place of waiting on."""


@dataclass
class Driver:
    """One explorer, and what presses its keys."""

    explorer: Explorer
    pilot: Pilot[BrowseEnd]

    @property
    def lines(self) -> list[str]:
        """The screen, without spaces at the end of lines."""
        strips = self.explorer.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        """The screen."""
        return "\n".join(self.lines)

    @property
    def names(self) -> list[str]:
        """The names of the rows from top to bottom."""
        rows = self.explorer.rows
        return [rows.page.row(rows.page.items[n], rows.measure).name for n in rows.order]

    async def settle(self) -> None:
        """Wait until everything is read and shown."""

        async def settled() -> None:
            while True:
                await self.pilot.pause()
                if not self.explorer.busy:
                    await self.pilot.pause()
                    return
                await asyncio.sleep(0.01)

        await asyncio.wait_for(settled(), PATIENCE)

    async def press(self, *keys: str) -> None:
        """Press keys one by one, each once all is shown."""
        for key in keys:
            await self.settle()
            await self.pilot.press(key)
        await self.settle()

    async def until(self, words: str) -> None:
        """Wait until the screen has some words; the tree need not be read."""

        async def shown() -> None:
            while words not in self.text:
                await self.pilot.pause()
                await asyncio.sleep(0.01)

        await asyncio.wait_for(shown(), PATIENCE)


def with_explorer(
    root: Path,
    work: Callable[[Driver], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    doing: Activity | None = None,
    settled: bool = True,
) -> BrowseEnd | None:
    """Explore a tree; `settled` waits until it is read. Return how it ended, if it did."""
    doing = doing or Activity()
    tree = facade.open(str(root), progress=doing)
    tree.history = tree.link_times = False
    explorer = Explorer(tree, doing)

    async def run() -> None:
        async with explorer.run_test(size=size) as pilot:
            driver = Driver(explorer, pilot)
            if settled:
                await driver.settle()
            await work(driver)
        doing.stopped = True

    asyncio.run(run())
    assert explorer.failure is None, explorer.failure
    return explorer.return_value


def pictures() -> list[str]:
    """Return what PAGE shows: the first screen of the tutorial's tree, and one of an image."""
    found: list[str] = []

    async def walk(driver: Driver) -> None:
        found.append("\n".join([" regfs  /srv/tutorial", *driver.lines[1:]]))
        await driver.press("down", "down", "down", "enter", "enter")
        found.append(driver.text)

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PROJECT / "fixtures/trees/tutorial", f"{folder}/tutorial")
        with_explorer(Path(folder, "tutorial"), walk)
    return found


if __name__ == "__main__":
    new = iter(pictures())
    PAGE.write_text(PICTURE.sub(lambda found: next(new), PAGE.read_text(encoding="utf-8")))
