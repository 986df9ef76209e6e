"""Runs of every kind: old journals, hostile ones, and what a purge ends."""

from __future__ import annotations

import pytest

from regfs.digest import Digest
from regfs.errors import Refused
from regfs.runs import RunKind, purge, restore, runs
from tests.support.backups import LAYER, ONE, Memory, heal_from, stocked
from tests.support.builder import TreeBuilder
from tests.support.journals import write_journal
from tests.support.registries import store_of

RUN = "20260101T000000Z-aaaaaa"


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def test_a_journal_without_a_kind_is_of_gc_and_can_be_restored(
    shop: TreeBuilder,
) -> None:
    good = shop.files()
    path = shop.blob_path(LAYER)
    source = shop.relative(path.parent)
    folder = write_journal(
        shop,
        RUN,
        {"run": RUN, "at": "x", "root": "/", "fingerprint": "y"},
        {
            "move": source,
            "path": shop.relative(path),
            "kind": "blob",
            "digest": LAYER,
            "size": path.stat().st_size,
        },
        {"applied": "2026-01-01T00:00:00Z", "done": 1},
    )
    target = folder / "quarantine" / source
    target.parent.mkdir(parents=True)
    path.parent.rename(target)
    (run,) = runs(store_of(shop))
    assert (run.kind, run.state, run.done.blobs, run.made.blobs) == (RunKind.GC, "applied", 1, 0)
    restored = restore(store_of(shop), run.run)
    assert (restored.restored, restored.removed) == (1, 0)
    assert shop.files() == good


def test_a_run_of_an_unknown_kind_is_listed(shop: TreeBuilder) -> None:
    write_journal(shop, RUN, {"run": RUN, "kind": "polish"})
    assert [run.state for run in runs(store_of(shop))] == ["interrupted"]


def test_a_file_that_a_run_gave_up_creating_is_not_taken_out(shop: TreeBuilder) -> None:
    path = shop.relative(shop.blob_path(LAYER))
    size = len(ONE.blobs[1].data)
    line = {"create": path, "kind": "blob", "digest": LAYER, "size": size, "content": LAYER}
    write_journal(shop, RUN, line | {"folder": True}, {"left": path})
    before = shop.files()
    assert restore(store_of(shop), RUN).removed == 0
    assert shop.files() == before


@pytest.mark.parametrize("content", ["", "md5:abc", "sha256:0", Digest.of(b"other")])
def test_a_file_is_taken_out_only_when_it_is_surely_what_the_run_wrote(
    shop: TreeBuilder, content: str
) -> None:
    path = shop.relative(shop.blob_path(LAYER))
    size = len(ONE.blobs[1].data)
    line = {"create": path, "kind": "blob", "digest": LAYER, "size": size, "content": content}
    write_journal(shop, RUN, line, {"made": path})
    before = shop.files()
    restored = restore(store_of(shop), RUN)
    assert (restored.removed, len(restored.skipped)) == (0, 1)
    assert shop.files() == before


def test_a_purged_heal_stays_healed_and_cannot_be_restored(shop: TreeBuilder) -> None:
    source, good = Memory.of(shop), shop.files()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    run = heal_from(shop, source).run or ""
    assert purge(store_of(shop), run).files == 1
    assert shop.files() == good
    with pytest.raises(Refused, match="purged"):
        restore(store_of(shop), run)


def test_the_unfinished_file_of_a_killed_heal_is_deleted_and_nothing_else(
    shop: TreeBuilder,
) -> None:
    source, good = Memory.of(shop), shop.files()
    shop.break_("blob-missing", "app", "v1", LAYER)
    folder = shop.blob_path(LAYER).parent
    (folder / ".data.0123456789ab.regfs-tmp").write_bytes(b"half")
    (folder / ".other.0123456789ab.regfs-tmp").write_bytes(b"not of this file")
    path = shop.relative(shop.blob_path(LAYER))
    write_journal(
        shop,
        RUN,
        {"run": RUN, "kind": "heal"},
        {"begin": path},
    )
    heal_from(shop, source)
    stranger = shop.relative(folder / ".other.0123456789ab.regfs-tmp")
    assert {name for name in shop.files() if name not in good} == {stranger}


@pytest.mark.parametrize(
    "line",
    [
        {"move": "a", "path": "a", "kind": "blob", "digest": None},
        {"move": "a", "kind": "blob", "digest": None, "size": 1},
        {"move": ["a"], "path": "a", "kind": "blob", "digest": None, "size": 1},
        {"move": "a", "path": "a", "kind": None, "digest": None, "size": 1},
        {"move": "a", "path": "a", "kind": "blob", "digest": 7, "size": 1},
        {"create": "a", "kind": "blob", "digest": None, "size": "1", "content": ""},
    ],
)
def test_a_line_that_does_not_say_what_was_moved_is_damage(
    shop: TreeBuilder, line: dict[str, object]
) -> None:
    good = shop.files()
    folder = write_journal(shop, RUN, line)
    path = shop.blob_path(LAYER)
    moved = folder / "quarantine" / shop.relative(path)
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    (run,) = runs(store_of(shop))
    assert (run.state, run.done.blobs) == ("damaged", 1)
    with pytest.raises(Refused, match="does not say what it should"):
        purge(store_of(shop), RUN)
    assert moved.exists()
    assert restore(store_of(shop), RUN).restored == 1
    assert shop.files() == good
