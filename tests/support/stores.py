"""Small words for tests of stores: put a file, name the files, the codes found; a failing disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from regfs.errors import StoreError
from regfs.findings import Code, Finding
from regfs.stores import FileKind, Store, WritableStore, open_store

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A place where waiting for the disk takes no time; None where there is none."""

SECRET = b"content from outside the tree"
"""What lies in the folder beside the tree."""


def no_findings(finding: Finding) -> None:
    raise AssertionError(f"unexpected: {finding}")


def put(store: WritableStore, path: str, data: bytes = b"") -> None:
    with store.create(path) as writer:
        writer.write(data)


def files(store: Store, folder: str = "") -> list[str]:
    found = store.walk(folder, no_findings)
    return [entry.path for entry in found if entry.kind is FileKind.FILE]


def codes(findings: list[Finding]) -> list[tuple[Code, str]]:
    return sorted((finding.code, finding.path) for finding in findings)


def ignore(finding: Finding) -> None:
    pass


def no_link_findings(finding: Finding) -> None:
    assert finding.code in (Code.SYMLINK_INSIDE, Code.SYMLINK_LOOP)


class Dying:
    """A store whose disk fails after so many moves."""

    def __init__(self, root: Path, moves: int) -> None:
        self._store = open_store(str(root))
        self._moves = moves

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        for move in moves:
            if self._moves == 0:
                raise StoreError("input/output error")
            self._moves -= 1
            yield from self._store.move_many([move])


class Watched:
    """A store that notes which files are opened."""

    def __init__(self, root: Path) -> None:
        self._store = open_store(str(root))
        self.opened: list[str] = []

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self, path: str, *part: int) -> BinaryIO:
        self.opened.append(path)
        return self._store.open(path, *part)


def failing_with(number: int) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail
