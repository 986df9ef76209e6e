"""Uploads beside a run, on a full disk, and in a process that dies."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from regfs import layout
from regfs.errors import LockHeld, StoreError
from regfs.push.uploads import Uploads
from regfs.runs import lock
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder
from tests.support.crashes import Crash, CrashingStore
from tests.support.uploads import DATA, SHA256, commit, layer_is, mount, push, send, uploads_of
from tests.support.verification import check, codes


def is_sound(tree: TreeBuilder) -> bool:
    """Return whether verify finds nothing but garbage."""
    return codes(check(tree)) == []


# -- beside a run ------------------------------------------------------------------------


def test_nothing_is_linked_while_a_run_is_under_way(tree: TreeBuilder) -> None:
    push(tree, DATA, "base")
    some = uploads_of(tree)
    upload = some.begin("app")
    with lock.exclusive(open_store(str(tree.root))):
        with pytest.raises(LockHeld):
            commit(some, upload, SHA256, DATA)
        with pytest.raises(LockHeld):
            mount(tree, "base")
        assert not tree.layer_path("app", SHA256).exists()
        assert not tree.layer_path("target", SHA256).exists()
    commit(some, upload, SHA256)  # what has arrived is not sent again
    assert layer_is(tree, "app", SHA256, DATA)
    assert mount(tree, "base")


def test_a_commit_waits_for_the_end_of_a_run(tree: TreeBuilder) -> None:
    some = Uploads(Registry(open_store(str(tree.root))), timeout=60)
    upload = some.begin("app")
    begun = threading.Event()
    over = threading.Event()

    def collect() -> None:
        with lock.exclusive(open_store(str(tree.root))):
            begun.set()
            over.wait(60)

    collector = threading.Thread(target=collect)
    collector.start()
    assert begun.wait(60)
    threading.Timer(0.2, over.set).start()
    assert commit(some, upload, SHA256, DATA) == SHA256
    collector.join()
    assert layer_is(tree, "app", SHA256, DATA)


class Watched:
    """A store that sees whether a run could begin while a link or a blob is put in place."""

    def __init__(self, root: Path) -> None:
        self._store = open_store(str(root))
        self.placed: list[str] = []

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _see(self, path: str) -> None:
        if not path.startswith(layout.STATE) and not path.endswith("startedat"):
            with pytest.raises(LockHeld):
                self._store.lock(lock.LOCK, "a run").__enter__()
            self.placed.append(path.rpartition("/")[2])

    def replace(self, source: str, target: str) -> None:
        self._see(target)
        self._store.replace(source, target)

    def create(self, path: str) -> Any:
        self._see(path)
        return self._store.create(path)


def test_no_run_can_begin_between_check_and_link(tree: TreeBuilder) -> None:
    push(tree, DATA, "base")
    store: Any = Watched(tree.root)
    some = Uploads(Registry(store))
    commit(some, some.begin("app"), SHA256, DATA)
    assert some.mount("target", SHA256, "base", lambda name: True)
    assert store.placed == ["data", "link", "link"]


# -- a disk that fails, a process that dies ----------------------------------------------------


def whole_push(store: Any) -> None:
    some = Uploads(Registry(store))
    upload = some.begin("app")
    send(some, upload, DATA[:100])
    commit(some, upload, SHA256, DATA[100:])


def test_a_crash_at_any_change_leaves_garbage_and_the_push_can_be_done_again(
    memory: Path,
) -> None:
    for at in itertools.count():
        tree = TreeBuilder(memory / str(at))
        store: Any = CrashingStore(open_store(str(tree.root)), at)
        try:
            whole_push(store)
        except Crash:
            pass
        else:
            assert at > 10
            break
        link = tree.layer_path("app", SHA256)
        assert not link.exists() or layer_is(tree, "app", SHA256, DATA)
        assert is_sound(tree)
        whole_push(open_store(str(tree.root)))
        assert layer_is(tree, "app", SHA256, DATA)


def test_bytes_written_before_the_disk_was_full_count(tree: TreeBuilder, monkeypatch: Any) -> None:
    some = uploads_of(tree)
    upload = some.begin("app")
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 50:
            return real(descriptor, data[:50])
        raise OSError(28, "No space left on device")

    with some.receive("app", upload.id) as reception:
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(StoreError, match="no space left"):
            reception.write(DATA[:99])
        monkeypatch.setattr(os, "write", real)
    assert some.status("app", upload.id).size == 50
    commit(some, upload, SHA256, DATA[50:])
    assert layer_is(tree, "app", SHA256, DATA)
