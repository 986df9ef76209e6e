"""A store that dies on demand: before, after or in the middle of any one change it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, BinaryIO

from regfs.errors import StoreError
from regfs.stores import WritableStore


class Crash(BaseException):
    """The process ends here. No handler of an ordinary error may see it."""


class _Journal:
    """An appended file whose writes count as changes; the deadly one is torn in half."""

    def __init__(self, store: CrashingStore, raw: BinaryIO) -> None:
        self._store = store
        self._raw = raw

    def write(self, data: bytes) -> int:
        if self._store.due():
            self._raw.write(data[: len(data) // 2])
            self._raw.flush()
            raise Crash
        return self._raw.write(data)

    def flush(self) -> None:
        self._store.step()
        self._raw.flush()

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Writer:
    """A file being written; a crash leaves what there is of it, for nobody is left to tidy up."""

    def __init__(self, store: CrashingStore, raw: Any) -> None:
        self._store = store
        self._raw = raw

    def write(self, data: bytes) -> int:
        if self._store.due():
            self._raw.write(data[: len(data) // 2])
            self._die()
        return int(self._raw.write(data))

    def commit(self) -> None:
        if self._store.due():
            self._die()
        self._raw.commit()
        self._store.step()

    def discard(self) -> None:
        if self._store.due():
            self._die()
        self._raw.discard()

    def _die(self) -> None:
        if self._raw._open:
            self._raw._close()
        raise Crash

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.commit()
        elif not isinstance(error[1], Crash):
            self.discard()


class CrashingStore:
    """Passes everything on to `store`, and crashes at its `at`-th change (from 0)."""

    def __init__(self, store: WritableStore, at: int) -> None:
        self._store = store
        self._at = at
        self.changes = 0

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def due(self) -> bool:
        self.changes += 1
        return self.changes == self._at + 1

    def step(self) -> None:
        if self.due():
            raise Crash

    def append(self, path: str) -> Any:
        self.step()
        return _Journal(self, self._store.append(path))

    def create(self, path: str, *, mtime: float | None = None) -> Any:
        self.step()
        return _Writer(self, self._store.create(path, mtime=mtime))

    def share(self, path: str, source: BinaryIO) -> bool:
        self.step()
        shared = self._store.share(path, source)
        self.step()
        return shared

    def move(self, source: str, target: str) -> None:
        self.step()
        self._store.move(source, target)
        self.step()

    def replace(self, source: str, target: str) -> None:
        self.step()
        self._store.replace(source, target)
        self.step()

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        for source, target in moves:
            self.step()
            yield from self._store.move_many([(source, target)])
            self.step()

    def delete(self, paths: Iterable[str]) -> int:
        count = 0
        for path in paths:
            self.step()
            count += self._store.delete([path])
        return count

    def delete_tree(self, folder: str) -> int:
        """Delete in an order of our own, so that a crash can leave any part of it."""
        files = [entry.path for entry in self._store.walk(folder, lambda finding: None)]
        for path in reversed(files):
            self.step()
            self._store.delete([path])
        return self._store.delete_tree(folder)

    def lock(self, path: str, owner: str, *, shared: bool = False) -> AbstractContextManager[None]:
        return self._store.lock(path, owner, shared=shared)


def crashes(run: Callable[[int], object]) -> int:
    """Call `run` with 0, 1, 2.. until it ends without a crash; return how often it crashed."""
    for at in count():
        assert at < 2000
        try:
            run(at)
        except Crash:
            continue
        return at
    raise AssertionError
