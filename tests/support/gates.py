"""A collector that is let through one store operation at a time, and can be killed at any.

    collector = Collector(lambda store, pause: collect(.., Registry(store), pause=pause), root)
    collector.step()              # one operation of the store, and then it stands still
    collector.run_to("move")      # until just before its next move, or its end
    collector.pausing             # seconds it wants to wait; `resume()` says that they are over
    collector.crash()

While it stands still the test does what others do to the tree, so that every order of
events is one that hypothesis can draw, and that happens again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from regfs.errors import StoreError
from regfs.stores import PathState, Store, open_store
from tests.support.crashes import Crash


class GatedStore:
    """Passes everything on to a store, once it may."""

    def __init__(self, store: Store, gate: Callable[[str], None]) -> None:
        self._store: Any = store
        self._gate = gate

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def gated(*arguments: Any, **options: Any) -> Any:
            self._gate(name)
            return found(*arguments, **options)

        return gated

    def examine(
        self, paths: Iterable[str | PathState], *, limit: int = 0
    ) -> Iterator[PathState | StoreError]:
        """Look at each by itself: others may come in between."""
        for path in paths:
            self._gate("examine")
            yield from self._store.examine([path], limit=limit)

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        """Move each by itself."""
        for move in moves:
            self._gate("move")
            yield from self._store.move_many([move])


class Collector:
    """One process of a collector."""

    refusals: tuple[type[Exception], ...] = ()
    """With what it may end before it has done all."""

    def __init__(self, work: Callable[[Any, Callable[[float], None]], object], root: Path) -> None:
        self.at: str | None = None
        """The operation before which it stands."""
        self.pausing: float | None = None
        self.done = False
        self.error: BaseException | None = None
        self._work = work
        self._root = root
        self.dying = False
        self._turn = threading.Condition()
        self._may = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await()

    def _run(self) -> None:
        try:
            self._work(self._open(), self._pause)
        except Crash:
            pass
        except BaseException as error:
            if not self.dying and not isinstance(error, self.refusals):
                self.error = error
        with self._turn:
            self.done, self.at = True, None
            self._turn.notify_all()

    def _open(self) -> Any:
        """Open the store, each of whose operations waits until it may."""
        return GatedStore(open_store(str(self._root)), self.gate)

    def gate(self, name: str) -> None:
        """Stand still until the test says that this may be done."""
        with self._turn:
            if self.dying:  # what a dying process still does on its way is undone by nobody
                raise Crash
            self.at = name
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._may)
            self._may, self.at = False, None
            if self.dying:
                raise Crash

    def _pause(self, seconds: float) -> None:
        self.pausing = seconds
        self.gate("pause")

    def _await(self) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: self.done or self.at is not None, 60)
        if self.done:
            self._thread.join()
            if self.error is not None:
                raise self.error

    def _go(self) -> None:
        with self._turn:
            self._may, self.at = True, None
            self._turn.notify_all()
        self._await()

    def step(self) -> None:
        """Let it do one operation; none while it pauses."""
        if not self.done and self.pausing is None:
            self._go()

    def run_to(self, *names: str) -> None:
        """Let it go on until it stands before one of these operations, pauses or ends."""
        self.step()
        while not self.done and self.pausing is None and self.at not in names:
            self._go()

    def resume(self) -> None:
        """Let the pause be over."""
        assert self.pausing is not None
        self.pausing = None
        self._go()

    def crash(self) -> None:
        """Kill it where it stands."""
        if not self.done:
            self.dying = True
            self._go()
