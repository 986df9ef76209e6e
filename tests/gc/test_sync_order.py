"""The order of system calls of real processes: what is renamed is synced before it is relied on.

strace tells each call that changes the tree. Between a rename and the next thing that
rests on it both of its folders are synced, and every folder that was made on the way.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.syscalls import (
    Call,
    Scene,
    applying,
    needs_strace,
    purging,
    purging_at_once,
    restoring,
)

_RENAME = re.compile(r'renameat2?\(\d+<([^>]*)>, "[^"]*"(?:\.\.\.)?, \d+<([^>]*)>, ')
_MKDIR = re.compile(r"mkdirat\(\d+<([^>]*)>, ")
_FSYNC = re.compile(r"fsync\(\d+<([^>]*)>\)")
_TOLD = re.compile(r'write\(\d+<[^>]*/journal\.jsonl>, "\{\\"(\w+)\\"')
_DELETE = re.compile(r"(?:unlinkat|rmdir|unlink)\((?:\d+|AT_FDCWD)<([^>]*/quarantine\b[^>]*)>, ")
ENDS = {"synced", "applied", "restored", "returned", "purging", "purged"}
KINDS = ("/_manifests/tags/", "/_manifests/revisions/", "/_layers/", "/_uploads", "/blobs/")


class Order:
    """What is not on the disk yet, call by call."""

    def __init__(self) -> None:
        self.renames: dict[str, set[str]] = {}
        """Kind -> folders of its renames that have to be synced."""
        self.made: set[str] = set()
        """Folders that hold the name of a new one."""
        self.told: list[str] = []
        self.renamed = self.deleted = 0

    def take(self, call: Call) -> None:
        line = call.line
        if (rename := _RENAME.search(line)) is not None:
            kind = next(kind for kind in KINDS if kind in f"{rename[1]}/")
            assert all(other == kind for other, left in self.renames.items() if left), line
            self.renames.setdefault(kind, set()).update(rename.groups())
            self.renamed += 1
        elif (made := _MKDIR.search(line)) is not None:
            self.made.add(made[1])
        elif (synced := _FSYNC.search(line)) is not None:
            self.made.discard(synced[1])
            for left in self.renames.values():
                left.discard(synced[1])
        elif (told := _TOLD.search(line)) is not None:
            self.told.append(told[1])
            if told[1] in ENDS:
                assert not self._pending(), line
        elif _DELETE.search(line) is not None:
            self.deleted += 1
            assert not self._pending(), line

    def _pending(self) -> set[str]:
        return self.made.union(*self.renames.values())


@pytest.fixture
def order_of() -> Iterator[Callable[[Callable[[Scene], list[str]]], Order]]:
    """Run a command to its end; tell in which order it did things."""
    with tempfile.TemporaryDirectory(prefix="regfs-order-") as folder:

        def order(arrange: Callable[[Scene], list[str]]) -> Order:
            scene = Scene(Path(folder), arrange)
            found = Order()
            for call in scene.calls():
                found.take(call)
            return found

        yield order


@needs_strace
@pytest.mark.parametrize(
    ("arrange", "last"),
    [
        (applying, "applied"),
        (purging_at_once, "purged"),
        (restoring, "restored"),
        (purging, "purged"),
    ],
)
def test_nothing_rests_on_what_a_power_cut_could_take_back(
    order_of: Callable[..., Order], arrange: Callable[[Scene], list[str]], last: str
) -> None:
    order = order_of(arrange)
    assert last in order.told
    assert order.renamed or order.deleted
