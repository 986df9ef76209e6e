"""Corrupt blobs are moved into quarantine and come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from regfs.digest import Digest
from regfs.heal.quarantine import corrupt, quarantine
from regfs.runs import RunKind, restore, runs
from regfs.stores import writable
from regfs.tree.registry import Registry
from tests.support.backups import (
    ARM,
    LAYER,
    MULTI,
    broken_shop,
    stocked,
    wrong,
)
from tests.support.builder import TreeBuilder
from tests.support.crashes import Crash, CrashingStore, crashes
from tests.support.registries import store_of
from tests.support.verification import check


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def test_corrupt_data_is_moved_aside_and_comes_back(shop: TreeBuilder) -> None:
    shop.break_("blob-flipped", "app", "v1", LAYER)
    damaged = shop.files()
    registry = Registry(store_of(shop))
    moved = quarantine(registry, corrupt(check(shop)))
    assert moved.moved == [shop.relative(shop.blob_path(LAYER))]
    assert not shop.blob_path(LAYER).exists()
    assert [run.kind for run in runs(registry.store)] == [RunKind.QUARANTINE]
    restore(writable(registry.store), moved.run or "")
    assert shop.files() == damaged


def test_what_is_right_gone_or_unreadable_is_not_moved(shop: TreeBuilder) -> None:
    fifo = ARM.blobs[1].digest
    shop.break_("fifo-data", "team/x", "multi", fifo)
    shop.delete_blob(MULTI.digest)
    before = shop.files("")
    digests = [Digest(one) for one in (LAYER, fifo, MULTI.digest)]
    moved = quarantine(Registry(store_of(shop)), digests)
    reasons = [skip.reason.partition(":")[0] for skip in moved.skipped]
    assert reasons == ["it is intact by now", "it cannot be read", "it is gone"]
    assert {path: d for path, d in shop.files("").items() if ".regfs" not in path} == before


def test_a_push_after_quarantine_is_not_overwritten_by_a_restore(shop: TreeBuilder) -> None:
    good = shop.blob_path(LAYER).read_bytes()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    run = quarantine(Registry(store_of(shop)), [Digest(LAYER)]).run or ""
    shop.blob(good)
    restored = restore(store_of(shop), run)
    assert shop.blob_path(LAYER).read_bytes() == good
    assert [skip.reason for skip in restored.skipped] == ["it is there again"]


def test_a_crash_at_any_step_of_quarantine_can_be_taken_back(tmp_path: Path) -> None:
    def crash(at: int) -> None:
        shop, _, _ = broken_shop(tmp_path / str(at))
        damaged, bad = shop.files(), [Digest(digest) for digest in wrong(shop)]
        try:
            quarantine(Registry(CrashingStore(store_of(shop), at)), bad)
        except Crash:
            for run in runs(store_of(shop)):
                restore(store_of(shop), run.run)
            assert shop.files() == damaged
            raise

    assert crashes(crash) > 8
