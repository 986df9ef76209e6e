"""A disk that forgets: a power cut takes back what was not synced, and any part of it.

    disk = Disk(root)
    ..                              work on `disk.store(at)`, which dies at its at-th change
    disk.cut(lambda number: ...)    tells of each change that may be taken back whether it is

A rename is on the disk for good when both of its folders were synced after it, and a
deletion when the folder that held the deleted one was. Of a file that is appended to all
that was flushed stays, and of the rest as much as is asked for. Whether a sync truly
reaches the folders that were new on the way is told by the tests of the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regfs.errors import StoreError
from regfs.stores import open_store
from tests.support.crashes import Crash, CrashingStore

NEVER = 1 << 30
"""A step that no command reaches."""


@dataclass
class Change:
    """One change of names that a power cut may take back."""

    source: str
    target: str = ""
    """Where it was renamed to; nothing of what was deleted."""
    data: bytes = b""
    """What was deleted; of a file that took another one's place, what had been there."""
    replaced: bool = False
    times: tuple[int, int] = (0, 0)
    """Of what was deleted, when it was read and written."""
    missing: set[str] = field(default_factory=set)
    """Folders that have still to be synced."""


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def times_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_atime_ns, found.st_mtime_ns


class Disk:
    """What lies in a folder, and what of it is there for good."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[Change] = []
        """Those that are not for good yet, in order."""
        self._flushed: dict[str, int] = {}
        """File that is appended to -> bytes that are for good."""

    def store(self, at: int = NEVER, unsynced: str = "") -> _ForgetfulStore:
        """Open it once more; the process that does dies at its `at`-th change.

        Or when it is about to sync and has moved something that has `unsynced` in its path.
        """
        return _ForgetfulStore(self, at, unsynced)

    def note(self, change: Change) -> None:
        self.changes.append(change)

    def removed(self, folder: str) -> None:
        """Note that a folder was removed: what was deleted in it is gone for good when that is."""
        for change in self.changes:
            if folder in change.missing:
                change.missing = change.missing - {folder} | {parent(folder)}

    def synced(self, folder: str) -> None:
        for change in self.changes:
            change.missing.discard(folder)
        self.changes = [change for change in self.changes if change.missing]

    def written(self, path: str) -> None:
        """Note that a file is about to grow."""
        full = self.root / path
        self._flushed.setdefault(path, full.stat().st_size if full.exists() else 0)

    def flushed(self, path: str) -> None:
        self._flushed[path] = (self.root / path).stat().st_size

    def renamed(self, source: str, target: str) -> None:
        """Note that what was not flushed lies elsewhere by now."""
        if source in self._flushed:
            self._flushed[target] = self._flushed.pop(source)

    def cut(self, taken: Callable[[int], bool], torn: float = 0.0) -> None:
        """Cut the power: take back what is `taken`; of what was not flushed a part stays."""
        for number, change in reversed(list(enumerate(self.changes))):
            if taken(number):
                self._take_back(change)
        self.changes = []
        for path, size in self._flushed.items():
            full = self.root / path
            if full.exists():
                left = full.stat().st_size - size
                os.truncate(full, size + int(left * torn))
                if full.stat().st_size == 0:
                    full.unlink()
        self._flushed = {}

    def _take_back(self, change: Change) -> None:
        source, target = self.root / change.source, self.root / change.target
        source.parent.mkdir(parents=True, exist_ok=True)
        if not change.target:
            source.write_bytes(change.data)
            os.utime(source, ns=change.times)
        elif os.path.lexists(target):  # else it was moved on, and that is on the disk
            if source.is_dir():
                source.rmdir()  # a folder that was removed may have come back first
            target.rename(source)
            if change.replaced:
                target.write_bytes(change.data)


class _ForgetfulStore(CrashingStore):
    """Tells a disk of every change and every sync."""

    def __init__(self, disk: Disk, at: int, unsynced: str) -> None:
        super().__init__(open_store(str(disk.root)), at)
        self._disk = disk
        self._unsynced = unsynced

    def append(self, path: str) -> Any:
        self._disk.written(path)
        return _Journal(self._disk, path, super().append(path))

    def sync(self, folder: str) -> None:
        self.step()
        moved = [change.source for change in self._disk.changes]
        if self._unsynced and any(self._unsynced in source for source in moved):
            raise Crash
        self._store.sync(folder)
        self._disk.synced(folder)

    def move(self, source: str, target: str) -> None:
        self.step()
        self._store.move(source, target)
        self._disk.note(Change(source, target, missing={parent(source), parent(target)}))
        self.step()

    def replace(self, source: str, target: str) -> None:
        self.step()
        full = self._disk.root / target
        there = full.is_file()
        data = full.read_bytes() if there else b""
        self._store.replace(source, target)
        missing = {parent(source), parent(target)}
        self._disk.note(Change(source, target, data, there, missing=missing))
        self._disk.renamed(source, target)
        self.step()

    def delete(self, paths: Iterable[str]) -> int:
        count = 0
        for path in paths:
            full = self._disk.root / path
            data = full.read_bytes() if full.is_file() else None
            times = times_of(full) if data is not None else (0, 0)
            self.step()
            folder = full.is_dir()
            count += self._store.delete([path])
            if data is not None:
                self._disk.note(Change(path, data=data, times=times, missing={parent(path)}))
            elif folder and not full.exists():
                self._disk.removed(path)
        return count

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        for source, target in moves:
            self.step()
            (answer,) = self._store.move_many([(source, target)])
            if answer is None:
                self._disk.note(Change(source, target, missing={parent(source), parent(target)}))
            yield answer
            self.step()

    def delete_tree(self, folder: str) -> int:
        files = [entry.path for entry in self._store.walk(folder, lambda finding: None)]
        count = 0
        for path in reversed(files):
            full = self._disk.root / path
            if full.is_file():
                self.step()
                data, times = full.read_bytes(), times_of(full)
                count += self._store.delete([path])
                self._disk.note(Change(path, data=data, times=times, missing={parent(folder)}))
        self._store.delete_tree(folder)
        self.step()
        return count


class _Journal:
    """Tells a disk what of a file was flushed."""

    def __init__(self, disk: Disk, path: str, raw: Any) -> None:
        self._disk = disk
        self._path = path
        self._raw = raw

    def write(self, data: bytes) -> int:
        return int(self._raw.write(data))

    def flush(self) -> None:
        self._raw.flush()
        self._disk.flushed(self._path)

    def close(self) -> None:
        self._raw.close()
        if (self._disk.root / self._path).exists():
            self._disk.flushed(self._path)

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._raw.close()


def cuts(count: int) -> Iterator[Callable[[int], bool]]:
    """Yield which of so many changes are taken back: every combination, or many of them."""
    if count <= 4:
        for mask in range(1 << count):
            yield lambda number, mask=mask: bool(mask >> number & 1)  # type: ignore[misc]
        return
    yield lambda number: False
    yield lambda number: True
    for place in range(count):
        yield lambda number, place=place: number == place  # type: ignore[misc]
        yield lambda number, place=place: number != place  # type: ignore[misc]
        yield lambda number, place=place: number < place  # type: ignore[misc]
        yield lambda number, place=place: number >= place  # type: ignore[misc]


def dies(work: Callable[[], object]) -> bool:
    """Do something; return whether the process died of it."""
    try:
        work()
    except Crash:
        return True
    return False
