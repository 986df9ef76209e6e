"""A run that dies at any step, or meets a full disk: nothing needed is lost, and all comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.errors import Refused, StoreError
from regfs.runs import claim, purge, restore, runs
from regfs.stores import WritableStore, open_store
from tests.support.builder import TreeBuilder, image
from tests.support.crashes import Crash, CrashingStore, crashes
from tests.support.litter import assert_whole, carry_out, make_plan, needed, with_litter
from tests.support.registries import store_of


@pytest.fixture
def litter(tree: TreeBuilder) -> TreeBuilder:
    return with_litter(tree)


def rebuild(folder: Path) -> TreeBuilder:
    return with_litter(TreeBuilder(folder))


def test_a_crash_at_any_step_of_apply_can_be_restored(tmp_path: Path) -> None:
    def crash(at: int) -> CrashingStore:
        tree = rebuild(tmp_path / str(at))
        before, wanted = tree.files(), needed(tree)
        planned = make_plan(tree)
        store = CrashingStore(store_of(tree), at)
        try:
            carry_out(tree, planned, store)
        except Crash:
            assert_whole(tree, wanted)
            for run in runs(store_of(tree)):
                assert run.state in ("interrupted", "applied")
                restore(store_of(tree), run.run)
            assert tree.files() == before
            raise
        return store

    assert crashes(crash) > 30


def test_after_a_crash_at_any_step_of_apply_the_next_run_completes(tmp_path: Path) -> None:
    def crash(at: int) -> CrashingStore:
        tree = rebuild(tmp_path / str(at))
        wanted = needed(tree)
        planned = make_plan(tree)
        store = CrashingStore(store_of(tree), at)
        try:
            carry_out(tree, planned, store)
        except Crash:
            carry_out(tree, make_plan(tree))
            assert_whole(tree, wanted)
            assert make_plan(tree).actions == []
            raise
        return store

    assert crashes(crash) > 30


def test_a_crashed_run_can_be_carried_on_with_its_own_plan(tmp_path: Path) -> None:
    def crash(at: int) -> CrashingStore:
        tree = rebuild(tmp_path / str(at))
        before = tree.files()
        planned = make_plan(tree)
        store = CrashingStore(store_of(tree), at)
        try:
            carry_out(tree, planned, store)
        except Crash:
            if any(run.state == "applied" for run in runs(store_of(tree))):
                raise
            carry_out(tree, planned)
            assert make_plan(tree).actions == []
            assert [run.done for run in runs(store_of(tree))] == [planned.totals]
            restore(store_of(tree), planned.id)
            assert tree.files() == before
            raise
        return store

    assert crashes(crash) > 30


def test_a_crash_at_any_step_of_restore_is_mended_by_restoring_again(tmp_path: Path) -> None:
    def crash(at: int) -> CrashingStore:
        tree = rebuild(tmp_path / str(at))
        before, wanted = tree.files(), needed(tree)
        run = carry_out(tree, make_plan(tree)).run
        store = CrashingStore(store_of(tree), at)
        try:
            restore(store, run)
        except Crash:
            assert_whole(tree, wanted)
            restore(store_of(tree), run)
            assert tree.files() == before
            raise
        return store

    assert crashes(crash) > 10


def test_while_a_restore_is_cut_off_no_link_leads_nowhere(tmp_path: Path) -> None:
    def crash(at: int) -> CrashingStore:
        tree = rebuild(tmp_path / str(at))
        run = carry_out(tree, make_plan(tree)).run
        store = CrashingStore(store_of(tree), at)
        try:
            restore(store, run)
        except Crash:
            blobs = tree.blobs()
            for path in tree.files():
                if path.endswith("/link"):
                    assert (tree.root / path).read_text() in blobs
            raise
        return store

    assert crashes(crash) > 10


def test_a_crash_at_any_step_of_purge_is_completed_by_the_next(tmp_path: Path) -> None:
    def crash(at: int) -> CrashingStore:
        tree = rebuild(tmp_path / str(at))
        wanted = needed(tree)
        run = carry_out(tree, make_plan(tree)).run
        store = CrashingStore(store_of(tree), at)
        try:
            purge(store, run)
        except Crash:
            assert_whole(tree, wanted)
            state = runs(store_of(tree))[0].state
            if state in ("purging", "purged"):
                with pytest.raises(Refused):
                    restore(store_of(tree), run)
            else:
                assert state == "applied"
            purge(store_of(tree), run)
            assert not (tree.root / ".regfs/runs" / run / "quarantine").exists()
            assert_whole(tree, wanted)
            raise
        return store

    assert crashes(crash) > 5


def test_a_line_that_a_crash_cut_off_does_not_swallow_the_next(litter: TreeBuilder) -> None:
    run = carry_out(litter, make_plan(litter)).run
    journal = litter.root / ".regfs/runs" / run / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.rindex(b'{"applied"') + 5])
    assert [found.state for found in runs(store_of(litter))] == ["interrupted"]
    purge(store_of(litter), run)
    assert [found.state for found in runs(store_of(litter))] == ["purged"]
    with pytest.raises(Refused):
        restore(store_of(litter), run)


class Full:
    """A store whose disk is full, or turned read-only, after some moves."""

    def __init__(self, store: WritableStore, moves: int) -> None:
        self._store = store
        self._moves = moves

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        for source, target in moves:
            self._moves -= 1
            if self._moves < 0:
                yield StoreError(f"{target}: no space left on device")
            else:
                yield from self._store.move_many([(source, target)])


@settings(deadline=None, max_examples=10)
@given(moves=st.integers(0, 8))
def test_a_disk_that_fails_half_way_stops_the_run_and_can_be_resumed(
    tmp_path_factory: pytest.TempPathFactory, moves: int
) -> None:
    tree = rebuild(tmp_path_factory.mktemp("full"))
    before, wanted = tree.files(), needed(tree)
    planned = make_plan(tree)
    with pytest.raises(StoreError, match="no space left"):
        carry_out(tree, planned, Full(store_of(tree), moves))
    assert_whole(tree, wanted)
    assert runs(store_of(tree))[0].state == "interrupted"
    carry_out(tree, planned)
    assert make_plan(tree).actions == []
    restore(store_of(tree), planned.id)
    assert tree.files() == before


def test_a_killed_process_leaves_a_tree_that_can_be_restored(tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path)
    keep = image(["kept"])
    tree.push("app", "v1", keep)
    for number in range(3000):
        tree.blob(b"orphan %d" % number)
    before = tree.files()
    command = [sys.executable, "-m", "regfs", "-r", str(tmp_path), "gc", "run", "--yes", "-q"]
    for _ in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            journals = list(tmp_path.glob(".regfs/runs/*/journal.jsonl"))
            if journals and tree.size_on_disk(".regfs") > 2000:
                process.kill()
                break
        process.wait()
        store = open_store(str(tmp_path))
        for run in runs(store):
            restore(store, run.run)
        assert tree.files() == before


def test_the_space_of_a_run_that_was_killed_before_it_began_is_given_back(
    litter: TreeBuilder,
) -> None:
    store = store_of(litter)
    claim(store, "20260101T000000Z-aaaaaa", 100_000)
    begun = carry_out(litter, make_plan(litter)).run
    assert [run.run for run in runs(store)] == [begun]
    purge(store, older_than=3600)
    assert [path.name for path in (litter.root / ".regfs/runs").iterdir()] == [begun]
    assert (litter.root / ".regfs/runs" / begun / "reserve").exists()
