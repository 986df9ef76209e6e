"""Edits beside pushes, after crashes, with collections and purges around them: nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.errors import LockHeld, Refused
from regfs.gc.collect import collect, purge
from regfs.gc.policy import Policy
from regfs.runs.lock import exclusive
from regfs.stores import WritableStore, open_store
from tests.support.builder import TreeBuilder, image, index
from tests.support.crashes import Crash, CrashingStore
from tests.support.edits import MeddledStore, assert_pullable, editor, is_served, opened
from tests.support.registries import plan_of, registry_of

ONE, TWO = image(["base", "one"]), image(["base", "two"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)


def stocked(root: Path) -> TreeBuilder:
    tree = TreeBuilder(root)
    tree.push("app", "multi", MULTI)
    tree.push("app", "v2", TWO)
    return tree


@pytest.fixture
def shop(tmp_path: Path) -> TreeBuilder:
    return stocked(tmp_path / "registry")


def store_of(tree: TreeBuilder) -> WritableStore:
    return open_store(str(tree.root))


def meddled(tree: TreeBuilder, method: str, meddle: Callable[[], object]) -> WritableStore:
    store: WritableStore = MeddledStore(store_of(tree), method, meddle)
    return store


# -- pushes meanwhile ------------------------------------------------------------------------


def test_a_link_that_was_written_since_it_was_looked_at_stays(shop: TreeBuilder) -> None:
    def push() -> None:
        with shop.at_age(0):
            shop.revision("app", ARM.digest)

    done = editor(shop, meddled(shop, "examine", push)).rm("app:multi")
    assert [one.reason for one in done.skipped] == ["it has changed meanwhile"]
    assert is_served(shop, "app", ARM)
    assert not shop.revision_path("app", MULTI.digest).exists()


def test_a_tag_that_was_set_since_it_was_looked_at_stays(shop: TreeBuilder) -> None:
    def push() -> None:
        with shop.at_age(0):
            shop.tag("app", "v2", ARM.digest)

    done = editor(shop, meddled(shop, "examine", push)).untag("app:v2")
    assert len(done.skipped) == 1
    assert_pullable(shop, "app", "v2", ARM)


@pytest.mark.parametrize("content", [ONE, MULTI], ids=["image", "index"])
def test_what_a_push_needs_that_ended_meanwhile_comes_back(
    shop: TreeBuilder, content: object
) -> None:
    """Its manifest link was there before the removal was decided, and its tag comes after."""
    made = ONE if content is ONE else MULTI

    def finish_push() -> None:
        shop.tag("app", "new", made.digest)

    done = editor(shop, meddled(shop, "sync", finish_push)).rm("app:multi")
    assert done.returned
    assert_pullable(shop, "app", "new", made)


def test_what_a_push_needs_that_ends_later_comes_back_with_the_next_collection(
    shop: TreeBuilder,
) -> None:
    editor(shop).rm("app:multi")
    shop.tag("app", "new", ONE.digest)
    applied = collect(plan_of(shop, min_age=0.0), registry_of(shop))
    assert [one.path for one in applied.returned][:1]
    assert_pullable(shop, "app", "new", ONE)


def test_a_tag_that_was_written_through_an_open_file_comes_back(shop: TreeBuilder) -> None:
    """docker-registry opens a link at its place, truncates and writes it."""
    file = os.open(shop.tag_path("app", "v2"), os.O_WRONLY)
    editor(shop).untag("app:v2")
    assert shop.tags("app") == ["multi"]
    os.ftruncate(file, 0)
    os.write(file, ARM.digest.encode())
    os.close(file)
    collect(plan_of(shop, min_age=0.0), registry_of(shop))
    assert_pullable(shop, "app", "v2", ARM)


def test_an_edit_waits_for_nobody_and_changes_nothing_while_a_run_is_under_way(
    shop: TreeBuilder,
) -> None:
    before = shop.files()
    with exclusive(store_of(shop)), pytest.raises(LockHeld):
        editor(shop).rm("app:v2")
    assert shop.files() == before


# -- collections, restores and purges around it ------------------------------------------------


def test_undo_brings_back_what_a_collection_took_meanwhile(shop: TreeBuilder) -> None:
    done = editor(shop).rm("app:multi")
    collect(plan_of(shop, min_age=0.0), registry_of(shop))
    assert not shop.blob_path(ARM.digest).exists()
    restored = opened(shop).restore(done.run or "")
    assert restored.along
    assert restored.lost == []
    assert_pullable(shop, "app", "multi", MULTI)


def test_undo_of_a_removed_repository_brings_all_of_it_back(shop: TreeBuilder) -> None:
    done = editor(shop).rm("app", offline=True)
    shop.push("web", "v1", image(["web"]))  # a tree without any repository is in doubt
    collect(plan_of(shop, min_age=0.0), registry_of(shop))
    opened(shop).restore(done.run or "")
    assert_pullable(shop, "app", "multi", MULTI)
    assert_pullable(shop, "app", "v2", TWO)


def test_a_purge_waits_for_pushes_that_were_under_way(shop: TreeBuilder) -> None:
    done = editor(shop).rm("app:multi")
    with pytest.raises(Refused, match="a push that was under way"):
        purge(registry_of(shop), done.run)
    shop.tag("app", "late", ONE.digest)
    purged = purge(registry_of(shop), done.run, offline=True)
    assert [one.kind for one in purged.returned] == ["revision"]
    assert_pullable(shop, "app", "late", ONE)


def test_offline_there_is_nothing_to_wait_for(shop: TreeBuilder) -> None:
    done = editor(shop).rm("app:multi", offline=True)
    purged = purge(registry_of(shop), done.run)
    assert (purged.deleted.tags, purged.deleted.manifests) == (1, 3)
    assert_pullable(shop, "app", "v2", TWO)


def test_a_tag_that_was_pushed_again_is_not_overwritten_by_undo(shop: TreeBuilder) -> None:
    done = editor(shop).rm("app:v2")
    newer = image(["newer"])
    shop.push("app", "v2", newer)
    restored = opened(shop).restore(done.run or "")
    assert len(restored.skipped) == 1
    assert_pullable(shop, "app", "v2", newer)
    assert is_served(shop, "app", TWO)


# -- crashes -----------------------------------------------------------------------------------


def crashes(folder: Path, edit: Callable[[TreeBuilder, WritableStore], object]) -> int:
    """Let an edit die at every change that it makes; return how many there are.

    After each crash every tag that is left can be pulled; a restore gives everything back.
    """
    for at in range(1000):
        tree = stocked(folder / str(at))
        before = tree.files()
        store = CrashingStore(store_of(tree), at)
        crashing: WritableStore = store
        try:
            edit(tree, crashing)
        except Crash:
            for tag, content in (("multi", MULTI), ("v2", TWO)):
                if tree.tag_path("app", tag).exists():
                    assert_pullable(tree, "app", tag, content)
            for run in opened(tree).runs():
                opened(tree).restore(run.run)
            assert tree.files() == before
        else:
            return at
    raise AssertionError("it never ends")


def test_a_crash_at_any_step_of_a_removal_can_be_undone(tmp_path: Path) -> None:
    assert crashes(tmp_path, lambda tree, store: editor(tree, store).rm("app:multi")) > 10


def test_a_crash_at_any_step_of_the_removal_of_a_repository_can_be_undone(tmp_path: Path) -> None:
    assert crashes(tmp_path, lambda tree, store: editor(tree, store).rm("app")) > 10


def test_after_a_crash_a_collection_deletes_nothing_that_a_tag_needs(tmp_path: Path) -> None:
    for at in range(0, 15, 2):
        tree = stocked(tmp_path / str(at))
        store: WritableStore = CrashingStore(store_of(tree), at)
        with pytest.raises(Crash):
            editor(tree, store).rm("app:multi")
        opened(tree).apply(opened(tree).plan(Policy(delete_untagged=True, min_age=0.0)))
        assert_pullable(tree, "app", "v2", TWO)
        if tree.tag_path("app", "multi").exists():
            assert_pullable(tree, "app", "multi", MULTI)
