"""Carrying out a plan: what moves, what stays, and that no crash loses a thing."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import Doubt, LockHeld, PlanStale, Refused, RunUnknown
from regfs.gc.plan import load
from regfs.gc.policy import Policy
from regfs.render.tables import to_json
from regfs.runs import purge, restore, runs
from regfs.stores import WritableStore, open_store
from tests.support.builder import TreeBuilder, image
from tests.support.litter import assert_whole, carry_out, make_plan, needed, with_litter
from tests.support.registries import store_of

PLAIN = Policy(min_age=0)


@pytest.fixture
def litter(tree: TreeBuilder) -> TreeBuilder:
    return with_litter(tree)


# -- what a run does ----------------------------------------------------------


def test_what_goes_is_gone_and_what_is_needed_stays(litter: TreeBuilder) -> None:
    wanted = needed(litter)
    planned = make_plan(litter)
    before = litter.size_on_disk()
    applied = carry_out(litter, planned)
    assert applied.skipped == []
    assert applied.done == planned.totals
    assert_whole(litter, wanted)
    assert before - litter.size_on_disk() == planned.totals.bytes
    assert make_plan(litter).actions == []


def test_every_kind_of_thing_went(litter: TreeBuilder) -> None:
    totals = make_plan(litter).totals
    assert totals.manifests == 1
    assert totals.uploads == 1
    assert totals.tag_indexes == 1
    assert totals.layer_links >= 2
    assert totals.blobs >= 4


def test_a_plan_deletes_nothing(litter: TreeBuilder) -> None:
    before = litter.files("")
    make_plan(litter)
    assert litter.files("") == before


def test_quarantine_gives_everything_back(litter: TreeBuilder) -> None:
    before = litter.files()
    applied = carry_out(litter, make_plan(litter))
    assert litter.files() != before
    restored = restore(store_of(litter), applied.run)
    assert litter.files() == before
    assert restored.bytes == applied.done.bytes
    assert restored.skipped == []


def test_restoring_twice_changes_nothing(litter: TreeBuilder) -> None:
    before = litter.files()
    run = carry_out(litter, make_plan(litter)).run
    restore(store_of(litter), run)
    assert restore(store_of(litter), run).restored == 0
    assert litter.files() == before


def test_one_digest_can_be_restored_alone(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    blob = next(action for action in planned.actions if action.kind == "blob")
    run = carry_out(litter, planned).run
    restored = restore(store_of(litter), run, digests=frozenset([blob.digest or ""]))
    assert (litter.root / blob.path).exists()
    links = [a for a in planned.actions if a.digest == blob.digest]
    assert restored.restored == len(links)


def test_what_was_pushed_again_meanwhile_is_not_overwritten(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    run = carry_out(litter, planned).run
    digest = litter.blob(b"linked by nothing")
    path = litter.blob_path(digest)
    inode = path.stat().st_ino
    restored = restore(store_of(litter), run)
    assert path.stat().st_ino == inode
    assert [skip.path for skip in restored.skipped] == [litter.relative(path)]


def test_a_folder_the_registry_made_again_does_not_stop_a_restore(litter: TreeBuilder) -> None:
    before = litter.files()
    run = carry_out(litter, make_plan(litter)).run
    digest = litter.blob(b"linked by nothing")
    litter.blob_path(digest).unlink()
    restore(store_of(litter), run)
    assert litter.files() == before


def test_purge_frees_the_space_and_ends_the_way_back(litter: TreeBuilder) -> None:
    applied = carry_out(litter, make_plan(litter))
    reserve = litter.root / ".regfs/runs" / applied.run / "reserve"
    held = litter.size_on_disk("") - reserve.stat().st_size
    purged = purge(store_of(litter), applied.run)
    assert purged.bytes == applied.done.bytes
    freed = held - litter.size_on_disk("")
    journal = litter.root / ".regfs/runs" / applied.run / "journal.jsonl"
    assert applied.done.bytes - 1000 < freed <= applied.done.bytes
    assert b"purged" in journal.read_bytes()
    with pytest.raises(Refused, match="purged"):
        restore(store_of(litter), applied.run)


def test_purging_waits_for_its_time(litter: TreeBuilder) -> None:
    run = carry_out(litter, make_plan(litter)).run
    store = store_of(litter)
    assert purge(store, older_than=3600).runs == []
    assert purge(store, older_than=3600, clock=lambda: time.time() + 3601).runs == [run]
    assert purge(store).runs == []


def test_runs_tell_what_became_of_them(litter: TreeBuilder) -> None:
    store = store_of(litter)
    assert runs(store) == []
    applied = carry_out(litter, make_plan(litter))
    assert [(run.run, run.state, run.done) for run in runs(store)] == [
        (applied.run, "applied", applied.done)
    ]
    restore(store, applied.run)
    assert [run.state for run in runs(store)] == ["restored"]


@pytest.mark.parametrize("name", ["", "..", "../../etc", "20200101T000000Z-000000"])
def test_an_unknown_run_is_said_to_be_unknown(litter: TreeBuilder, name: str) -> None:
    with pytest.raises(RunUnknown):
        restore(store_of(litter), name)
    with pytest.raises(RunUnknown):
        purge(store_of(litter), name)
    assert not (litter.root / ".regfs").exists()


def test_a_blob_folder_with_a_stranger_in_it_keeps_the_stranger(litter: TreeBuilder) -> None:
    digest = litter.blob(b"linked by nothing")
    stranger = litter.blob_path(digest).with_name("data.0f.tmp")
    litter.write(stranger, b"half a push")
    carry_out(litter, make_plan(litter))
    assert stranger.read_bytes() == b"half a push"
    assert not litter.blob_path(digest).exists()


# -- the tree has moved on since the plan -------------------------------------


def test_what_came_back_into_use_stays(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    old = image(["base", "one"])
    litter.push("app", "again", old)
    applied = carry_out(litter, planned)
    assert applied.skipped
    assert_whole(litter, needed(litter))
    assert litter.current("app", "again") == old.digest
    for descriptor in [old.document["config"], *old.document["layers"]]:
        assert litter.blob_path(descriptor["digest"]).exists()
        assert litter.layer_path("app", descriptor["digest"]).exists()


def test_what_has_changed_since_the_plan_stays(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    digest = litter.blob(b"linked by nothing")
    litter.set_age(litter.blob_path(digest), 5 * 86400)
    applied = carry_out(litter, planned)
    assert litter.blob_path(digest).exists()
    assert [skip.reason for skip in applied.skipped] == ["it has changed since the plan"]


def test_a_link_that_says_something_else_stays_with_what_it_names(litter: TreeBuilder) -> None:
    unused = litter.add_blob("lib", "never used")
    other = litter.blob(b"linked by nothing")
    litter.write(litter.layer_path("lib", unused), other)
    litter.age(30 * 86400)
    applied = carry_out(litter, make_plan(litter))
    assert litter.layer_path("lib", unused).exists()
    assert litter.blob_path(unused).exists()
    assert litter.blob_path(other).exists()
    assert any("names another digest" in skip.reason for skip in applied.skipped)


def test_an_empty_layer_link_stays_with_its_blob(litter: TreeBuilder) -> None:
    unused = litter.add_blob("lib", "never used")
    litter.write(litter.layer_path("lib", unused), b"")
    litter.age(30 * 86400)
    applied = carry_out(litter, make_plan(litter))
    assert litter.layer_path("lib", unused).exists()
    assert litter.blob_path(unused).exists()
    assert any("its content is no digest" in skip.reason for skip in applied.skipped)


class Meddling:
    """A store in which something happens just before the first thing is moved."""

    def __init__(self, store: WritableStore, meddle: Callable[[], None]) -> None:
        self._store = store
        self._meddle = meddle
        self._done = False

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "append" and not self._done:
            self._done = True
            self._meddle()
        return getattr(self._store, name)


def test_a_push_between_looking_and_moving_is_seen(litter: TreeBuilder) -> None:
    old = image(["base", "one"])

    def push_again() -> None:
        litter.age(0)

    applied = carry_out(litter, make_plan(litter), Meddling(store_of(litter), push_again))
    assert applied.done.blobs == applied.done.manifests == applied.done.layer_links == 0
    assert litter.revision_path("app", old.digest).exists()
    assert litter.blob_path(old.digest).exists()


def test_a_plan_for_another_tree_is_refused(litter: TreeBuilder, tmp_path: Path) -> None:
    planned = make_plan(litter)
    other = TreeBuilder(tmp_path / "other")
    other.push("app", "v1", image())
    with pytest.raises(PlanStale, match="was made for"):
        carry_out(other, planned)


def test_a_plan_is_carried_out_once(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    carry_out(litter, planned)
    with pytest.raises(PlanStale, match="already"):
        carry_out(litter, planned)


def test_a_forged_plan_moves_nothing(litter: TreeBuilder) -> None:
    document = json.loads(to_json(make_plan(litter)))
    config = litter.document(litter.current("app", "v1"))["config"]["digest"]
    document["actions"] = [
        {
            "kind": "blob",
            "path": path,
            "digest": config,
            "repository": None,
            "size": 1,
            "mtime": 0.0,
            "reason": "",
        }
        for path in ("../../../etc/passwd", litter.relative(litter.blob_path(config)), "")
    ]
    before = litter.files()
    applied = carry_out(litter, load(json.dumps(document).encode()))
    assert litter.files() == before
    assert len(applied.skipped) == 3


@pytest.mark.parametrize(
    ("lockfile", "words"),
    [
        ("docker/registry/lockfiles/database-in-use", "another program manages"),
        ("docker/registry/lockfiles/filesystem-in-use", "another program manages"),
        ("scheduler-state.json", "pull-through cache"),
    ],
)
def test_a_tree_of_another_owner_is_left_alone(
    litter: TreeBuilder, lockfile: str, words: str
) -> None:
    litter.write(litter.root / lockfile, b"{}")
    before = litter.files("docker")
    with pytest.raises(Doubt, match=words):
        carry_out(litter, make_plan(litter))
    assert litter.files("docker") == before


# -- two at once --------------------------------------------------------------


def _hold(root: str, ready: Any) -> None:
    with open_store(root).lock(".regfs/lock", "somebody else, process 1"):
        ready.set()
        time.sleep(3600)  # it is killed


def test_restore_and_purge_wait_for_nobody_and_change_nothing_meanwhile(
    litter: TreeBuilder,
) -> None:
    run = carry_out(litter, make_plan(litter)).run
    before = litter.files("")
    # flock belongs to the open file, so another opening of it in this process is another owner.
    with store_of(litter).lock(".regfs/lock", "somebody else"):
        held = litter.files("")
        with pytest.raises(LockHeld):
            restore(store_of(litter), run)
        with pytest.raises(LockHeld):
            purge(store_of(litter), run)
        assert litter.files("") == held
    assert litter.files("docker") == {
        path: content for path, content in before.items() if path.startswith("docker/")
    }


def test_a_second_run_is_refused_and_a_dead_one_is_not_waited_for(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(str(litter.root), ready))
    holder.start()
    try:
        assert ready.wait(300)
        before = litter.files()
        with pytest.raises(LockHeld, match="somebody else"):
            carry_out(litter, planned)
        with pytest.raises(LockHeld):
            purge(store_of(litter))
        assert litter.files() == before
    finally:
        holder.kill()
        holder.join()
    assert carry_out(litter, planned).done == planned.totals
