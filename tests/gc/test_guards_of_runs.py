"""The guards of a run that carries out a plan, one test each: without a guard its test fails."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import Doubt, LockHeld, PathUnsafe, PlanStale, StoreError
from regfs.gc.plan import Plan
from regfs.gc.sweep import Applied, apply
from regfs.runs.lock import LOCK
from regfs.stores import Store, open_store
from regfs.tree.registry import Registry
from tests.support.builder import Blob, TreeBuilder, blob_of, image
from tests.support.registries import going, plan_of

LONG = Blob(blob_of("long").data, algorithm="sha512")
STORED = blob_of("long").digest


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return plan_of(tree, delete_untagged=True, **policy)


class Meddling:
    """A store in which something happens when a method is called for the nth time."""

    def __init__(self, store: Store, method: str, meddle: Callable[[], object], nth: int) -> None:
        self._store = store
        self._method = method
        self._meddle = meddle
        self._left = nth

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._left -= 1
            if self._left == 0:
                self._meddle()
        return getattr(self._store, name)


def carry_out(
    tree: TreeBuilder,
    planned: Plan,
    meddle: Callable[[], object] | None = None,
    at: str = "append",
    nth: int = 1,
) -> Applied:
    """Apply a plan; `meddle` happens when the store is asked to `at` for the `nth` time."""
    store = open_store(str(tree.root))
    return apply(planned, Registry(Meddling(store, at, meddle, nth) if meddle else store))


def turn_of(planned: Plan, kind: str) -> int:
    """Return which batch of moves is that of a kind: each kind has its own."""
    return list(dict.fromkeys(action.kind.value for action in planned.actions)).index(kind) + 1


def rest(path: Path) -> None:
    """Make a folder look as if nothing had come or gone for long, so that it is trusted."""
    os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.fixture
def pruned(tree: TreeBuilder) -> TreeBuilder:
    """A tree with one image to go, and one to stay."""
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    return tree


OLD = image(["old"])
LAYER = OLD.blobs[1].digest


def old_is_whole(tree: TreeBuilder) -> bool:
    links = [tree.revision_path("app", OLD.digest)]
    links += [tree.layer_path("app", blob.digest) for blob in OLD.blobs]
    blobs = [tree.blob_path(digest) for digest in (OLD.digest, *(b.digest for b in OLD.blobs))]
    return all(path.exists() for path in [*links, *blobs])


def test_what_is_tagged_again_after_the_plan_stays(pruned: TreeBuilder) -> None:
    planned = untagged(pruned)
    pruned.tag("app", "again", OLD.digest)
    carry_out(pruned, planned)
    assert old_is_whole(pruned)


def test_what_was_written_again_after_the_plan_stays_with_all_it_needs(
    pruned: TreeBuilder,
) -> None:
    planned = untagged(pruned, min_age=0)
    pruned.set_age(pruned.revision_path("app", OLD.digest), 10)
    applied = carry_out(pruned, planned)
    assert old_is_whole(pruned)
    assert "it has changed since the plan" in {skip.reason for skip in applied.skipped}


@pytest.mark.parametrize("moment", ["append", "examine"])
def test_what_is_written_again_while_the_run_is_under_way_stays(
    pruned: TreeBuilder, moment: str
) -> None:
    planned = untagged(pruned, min_age=0)
    link = pruned.revision_path("app", OLD.digest)
    carry_out(pruned, planned, lambda: pruned.set_age(link, 10), moment)
    assert old_is_whole(pruned)


@pytest.mark.parametrize("at_rest", [False, True])
def test_what_is_written_again_just_before_it_is_moved_stays(
    pruned: TreeBuilder, at_rest: bool
) -> None:
    planned = untagged(pruned, min_age=0)
    link = pruned.revision_path("app", OLD.digest)
    if at_rest:
        rest(link.parent)
    turn = turn_of(planned, "revision")
    carry_out(pruned, planned, lambda: pruned.set_age(link, 10), "move_many", turn)
    assert old_is_whole(pruned)


@pytest.mark.parametrize("at_rest", [False, True])
def test_what_gets_company_just_before_it_is_moved_stays_with_it(
    pruned: TreeBuilder, at_rest: bool
) -> None:
    """Somebody pushes the blob again: half of it lies beside, and its folder is not taken away."""
    planned = untagged(pruned, min_age=0)
    half = pruned.blob_path(LAYER).with_name("data.0f.tmp")
    if at_rest:
        rest(half.parent)
    turn = turn_of(planned, "blob")
    applied = carry_out(pruned, planned, lambda: half.write_bytes(b"half"), "move_many", turn)
    assert half.exists()
    assert pruned.blob_path(LAYER).exists()
    assert "something else lies beside it by now" in {skip.reason for skip in applied.skipped}


def test_a_folder_that_becomes_a_link_just_before_it_is_moved_is_left_alone(
    pruned: TreeBuilder, tmp_path: Path
) -> None:
    planned = untagged(pruned, min_age=0)
    folder = pruned.blob_path(LAYER).parent
    rest(folder)

    def change() -> None:
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PathUnsafe):
        carry_out(pruned, planned, change, "move_many", turn_of(planned, "blob"))
    assert folder.is_symlink()
    assert (tmp_path / "elsewhere/data").exists()


def test_a_plan_in_another_order_moves_what_refers_first(pruned: TreeBuilder) -> None:
    planned = untagged(pruned)
    applied = carry_out(pruned, replace(planned, actions=planned.actions[::-1]))
    assert applied.done == planned.totals
    journal = pruned.root / ".regfs/runs" / applied.run / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines() if '"move"' in line]
    assert [line["path"] for line in lines] == [action.path for action in planned.actions]


def test_what_a_link_truly_names_stays_with_all_it_needs(pruned: TreeBuilder) -> None:
    """A link comes to name what the plan lets go, after the tree was looked at."""
    tree = pruned
    tree.push("app", "v2", image(["older"]))
    tree.push("app", "v2", image(["new"]))
    older = tree.revision_path("app", image(["older"]).digest)
    age = older.stat().st_mtime

    def change() -> None:
        older.write_text(OLD.digest)
        os.utime(older, (age, age))

    applied = carry_out(tree, untagged(tree), change)
    assert older.exists()
    assert all(tree.blob_path(blob.digest).exists() for blob in OLD.blobs)
    assert any("names another digest" in skip.reason for skip in applied.skipped)


def test_what_may_go_since_the_plan_and_was_not_planned_is_not_left_dangling(
    tree: TreeBuilder,
) -> None:
    tree.push("app", "v1", image(["new"]))
    for blob in OLD.blobs:
        tree.blob(blob.data)
    planned = untagged(tree)
    assert going(planned, "blob") == {blob.digest for blob in OLD.blobs}
    tree.push("app", None, OLD)  # the blobs were there, so that only links are new
    carry_out(tree, planned)
    assert old_is_whole(tree)


def test_a_new_alias_is_not_left_dangling(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    stored = tree.blob(LONG.data)
    planned = plan_of(tree)
    tree.layer_link("app", LONG.digest, STORED)
    carry_out(tree, planned)
    assert tree.blob_path(stored).exists()


def test_an_upload_that_goes_on_while_the_run_is_under_way_stays(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    upload = tree.upload("app", b"half", started_at="2020-01-01T00:00:00Z")
    data = tree.upload_path("app", upload) / "data"
    planned = plan_of(tree, uploads_older_than=0)

    def go_on() -> None:
        with data.open("ab") as stream:
            stream.write(b" and more")

    applied = carry_out(tree, planned, go_on)
    assert data.exists()
    assert [skip.reason for skip in applied.skipped] == [
        "it has changed while this run was under way"
    ]


def test_a_tree_is_changed_by_one_run_at_a_time(pruned: TreeBuilder) -> None:
    planned = untagged(pruned)
    with open_store(str(pruned.root)).lock(LOCK, "somebody"), pytest.raises(LockHeld):
        carry_out(pruned, planned)
    assert old_is_whole(pruned)


def test_a_plan_for_another_root_is_refused(pruned: TreeBuilder, tmp_path: Path) -> None:
    planned = untagged(pruned)
    copy = TreeBuilder(tmp_path / "copy")
    shutil.copytree(pruned.root, copy.root, dirs_exist_ok=True)
    with pytest.raises(PlanStale, match="was made for"):
        carry_out(copy, planned)
    assert old_is_whole(copy)


def test_a_plan_that_was_carried_out_is_not_carried_out_again(pruned: TreeBuilder) -> None:
    planned = untagged(pruned)
    carry_out(pruned, planned)
    with pytest.raises(PlanStale, match="applied already"):
        carry_out(pruned, planned)


@pytest.mark.parametrize(
    "path",
    ["docker/registry/lockfiles/database-in-use", "docker/registry/lockfiles/filesystem-in-use"],
)
def test_a_tree_of_another_owner_is_refused(pruned: TreeBuilder, path: str) -> None:
    pruned.write(pruned.root / path, b"")
    with pytest.raises(Doubt, match="another program manages"):
        carry_out(pruned, untagged(pruned))
    assert old_is_whole(pruned)


def test_a_pull_through_cache_is_refused(pruned: TreeBuilder) -> None:
    pruned.write(pruned.root / "scheduler-state.json", json.dumps({}))
    with pytest.raises(Doubt, match="pull-through cache"):
        carry_out(pruned, untagged(pruned))
    assert old_is_whole(pruned)


def test_a_disk_that_fails_ends_the_run_and_nothing_is_dangling(pruned: TreeBuilder) -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    with pytest.raises(StoreError):
        carry_out(pruned, untagged(pruned), fail, "move_many")
    assert old_is_whole(pruned)


def test_a_plan_cannot_name_what_a_fresh_look_does_not(pruned: TreeBuilder) -> None:
    planned = untagged(pruned)
    new = image(["new"])
    forged = [
        replace(action, path=pruned.relative(pruned.blob_path(new.digest)), digest=new.digest)
        for action in planned.actions
    ]
    applied = carry_out(pruned, replace(planned, actions=forged))
    assert applied.done.bytes == 0
    assert pruned.blob_path(new.digest).exists()
