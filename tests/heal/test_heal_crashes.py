"""A heal that dies at any step, or meets a full disk: the next one completes it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.errors import StoreError
from regfs.runs import restore, runs
from regfs.stores import WritableStore
from tests.support.backups import (
    backup,
    broken_shop,
    heal_from,
    wrong,
)
from tests.support.builder import TreeBuilder, image
from tests.support.crashes import Crash, CrashingStore, crashes
from tests.support.registries import store_of


def test_after_a_crash_at_any_step_the_next_heal_completes(tmp_path: Path) -> None:
    def crash(at: int) -> None:
        shop, source, good = broken_shop(tmp_path / str(at))
        before = set(wrong(shop))
        try:
            heal_from(shop, source, CrashingStore(store_of(shop), at))
        except Crash:
            assert set(wrong(shop)) <= before
            assert heal_from(shop, source).broken == 0
            assert shop.files() == good
            raise
        assert shop.files() == good

    assert crashes(crash) > 25


def test_a_crash_at_any_step_can_be_taken_back(tmp_path: Path) -> None:
    def crash(at: int) -> None:
        shop, source, _ = broken_shop(tmp_path / str(at))
        damaged = shop.files()
        try:
            heal_from(shop, source, CrashingStore(store_of(shop), at))
        except Crash:
            for run in runs(store_of(shop)):
                restore(store_of(shop), run.run)
            left = {path for path in shop.files() if path.endswith(".regfs-tmp")}
            assert {p: d for p, d in shop.files().items() if p not in left} == damaged
            raise

    assert crashes(crash) > 25


def test_a_crash_at_any_step_of_taking_back_is_mended_by_doing_it_again(tmp_path: Path) -> None:
    def crash(at: int) -> None:
        shop, source, _ = broken_shop(tmp_path / str(at))
        damaged, before = shop.files(), set(wrong(shop))
        run = heal_from(shop, source).run or ""
        try:
            restore(CrashingStore(store_of(shop), at), run)
        except Crash:
            assert set(wrong(shop)) <= before
            restore(store_of(shop), run)
            assert shop.files() == damaged
            raise

    assert crashes(crash) > 10


def test_a_killed_process_leaves_a_tree_that_the_next_heals(tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path / "registry")
    tree.push("app", "v1", image([f"layer {number}" for number in range(400)]))
    whole, good = backup(tree), tree.files()
    for digest in [d["digest"] for d in tree.document(tree.current("app", "v1"))["layers"]]:
        tree.break_("blob-flipped", "app", "v1", digest)
    command = [sys.executable, "-m", "regfs", "-r", str(tree.root), "heal", "-q", "--from"]
    before = set(wrong(tree))
    process = subprocess.Popen([*command, str(whole.root)], stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(tree.root.glob(".regfs/runs/*/q*/**/data"))) < 20:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert set(wrong(tree)) <= before
    subprocess.run([*command, str(whole.root)], stdout=subprocess.DEVNULL, check=True)
    assert tree.files() == good


class Failing:
    """A store in which one kind of change fails after a while."""

    def __init__(self, store: WritableStore, name: str, after: int) -> None:
        self._store, self._name, self._left = store, name, after

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._left -= 1
            if self._left < 0:
                return self._fail
        return getattr(self._store, name)

    def _fail(self, path: str, *_: object) -> Any:
        raise StoreError(f"{path}: no space left on the device")


@settings(max_examples=12)
@given(name=st.sampled_from(["create", "move"]), after=st.integers(0, 2))
def test_a_full_disk_ends_it_and_what_was_done_stands(
    tmp_path_factory: pytest.TempPathFactory, name: str, after: int
) -> None:
    shop, source, good = broken_shop(tmp_path_factory.mktemp("full"))
    healed = heal_from(shop, source, Failing(store_of(shop), name, after))
    assert (healed.stopped is None) == (name == "move" and after == 2)
    assert healed.stopped is None or "no space left" in healed.stopped
    assert heal_from(shop, source).broken == 0
    assert shop.files() == good
