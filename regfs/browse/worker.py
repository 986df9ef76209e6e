"""A thread that does one thing after the other, and does not hold up the end of the program."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


class BrowseStopped(Exception):
    """The explorer has ended; what is under way is no longer needed."""


class Activity:
    """A Progress that the explorer shows, and by which it stops the work."""

    def __init__(self) -> None:
        self.stopped = False
        """Whether nobody waits for anything any more."""
        self.given_up = False
        """Whether nobody waits for what is under way."""
        self._task = ""
        self._done = 0
        self._total: int | None = None

    def __str__(self) -> str:
        if not self._task or not self._done:
            return self._task
        of = f" of {self._total:,}" if self._total else ""
        return f"{self._task}: {self._done:,}{of}"

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Begin a task."""
        self._task, self._done = task, 0
        self._total = total
        self.advance(0)

    def advance(self, amount: int) -> None:
        """Note how far it is.

        Raises:
            BrowseStopped: nobody waits for it any more.
        """
        if self.stopped or self.given_up:
            raise BrowseStopped
        self._done += amount

    def finish(self) -> None:
        """End the task."""
        self._task = ""


class BackgroundThread:
    """Does what it is given, in that order; a daemon, as whoever quits does not wait for it."""

    def __init__(self, name: str, go_on: Callable[[Callable[[], None]], object]) -> None:
        """`go_on` lets the thread of the screen do something."""
        self._go_on = go_on
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def do(
        self,
        work: Callable[[], Result],
        then: Callable[[Result], None],
        wrong: Callable[[BaseException], None],
    ) -> None:
        """Do `work` in the thread; the thread of the screen does `then`, or `wrong` if it raises.

        After BrowseStopped it does neither.
        """

        def job() -> None:
            try:
                result = work()
            except BrowseStopped:
                pass
            except BaseException as error:
                trouble = error
                self._go_on(lambda: wrong(trouble))
            else:
                self._go_on(lambda: then(result))

        self._jobs.put(job)
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._jobs.get()()
