"""Carrying out a plan: what moves, what stays, and that no crash loses a thing."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.errors import Doubt, LockHeld, PlanStale, Refused, RunUnknown, StoreError
from regfs.gc.plan import Plan, load, plan
from regfs.gc.policy import Policy
from regfs.gc.sweep import Applied, apply
from regfs.graph import build_graph
from regfs.render.tables import to_json
from regfs.runs import claim, purge, restore, runs
from regfs.stores import WritableStore, open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, image
from tests.support.crashes import Crash, CrashingStore

UNTAGGED = Policy(delete_untagged=True, min_age=0)
PLAIN = Policy(min_age=0)


def make_plan(tree: TreeBuilder, policy: Policy = UNTAGGED) -> Plan:
    registry = Registry(open_store(str(tree.root)))
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry)
    return plan(graph, policy, time.time())


def carry_out(tree: TreeBuilder, planned: Plan, store: Any = None, **options: Any) -> Applied:
    registry = Registry(store or open_store(str(tree.root)))
    return apply(planned, registry, **options)


def store_of(tree: TreeBuilder) -> WritableStore:
    return open_store(str(tree.root))


@pytest.fixture
def litter(tree: TreeBuilder) -> TreeBuilder:
    return with_litter(tree)


def with_litter(tree: TreeBuilder) -> TreeBuilder:
    """Make two images that stay, and one of every thing that goes."""
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("app", "v1", image(["base", "two"]))
    tree.push("lib", "latest", image(["base", "three"]))
    tree.add_blob("lib", "never used")
    tree.blob(b"linked by nothing")
    tree.upload("lib", 100, started_at="2020-01-01T00:00:00Z")
    tree.age(30 * 86400)
    return tree


def needed(tree: TreeBuilder) -> dict[str, str]:
    """Return the files that the tags of `litter` need, by the builder's own knowledge."""
    keep = set()
    for name, tag in (("app", "v1"), ("lib", "latest")):
        digest = tree.current(name, tag)
        document = tree.document(digest)
        keep |= {tree.tag_path(name, tag), tree.revision_path(name, digest), tree.blob_path(digest)}
        for descriptor in [document["config"], *document["layers"]]:
            keep.add(tree.blob_path(descriptor["digest"]))
            keep.add(tree.layer_path(name, descriptor["digest"]))
    files = tree.files()
    return {tree.relative(path): files[tree.relative(path)] for path in keep}


def assert_whole(tree: TreeBuilder, wanted: dict[str, str]) -> None:
    files = tree.files()
    assert {path: files.get(path) for path in wanted} == wanted


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
        time.sleep(60)


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
        assert ready.wait(30)
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


# -- crashes ------------------------------------------------------------------


def crashes(run: Callable[[int], CrashingStore], limit: int = 2000) -> list[int]:
    """Call `run` with 0, 1, 2.. until it ends without a crash; return the steps that crashed."""
    steps = []
    for at in count():
        assert at < limit
        try:
            run(at)
        except Crash:
            steps.append(at)
        else:
            return steps
    raise AssertionError


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

    assert len(crashes(crash)) > 30


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

    assert len(crashes(crash)) > 30


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

    assert len(crashes(crash)) > 30


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

    assert len(crashes(crash)) > 10


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

    assert len(crashes(crash)) > 10


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

    assert len(crashes(crash)) > 5


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


# -- plans on paper -----------------------------------------------------------


def test_a_plan_survives_being_written_down(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    again = load(to_json(planned).encode())
    assert again.actions == planned.actions
    assert again.policy == planned.policy
    assert (again.id, again.root, again.totals) == (planned.id, planned.root, planned.totals)
    assert carry_out(litter, again).done == planned.totals


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"schema": "regfs.plan/1"}',
        b'{"schema": "regfs.plan/2", "actions": []}',
        b'{"schema": "regfs.plan/1", "id": "../../docker"}',
        b'{"schema": "regfs.plan/1", "id": "a/b"}',
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(Exception, match="not a plan") as caught:
        load(data)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_utf8_survive_a_plan(tree: TreeBuilder) -> None:
    name = os.fsdecode(b"app-\xff")
    tree.push("good", "v1", image(["kept"]))
    tree.push("good", "v0", image(["x"]))
    tree.folder(tree.repository_path("good").parent / name / "_manifests")
    tree.upload(name, 10, started_at="2020-01-01T00:00:00Z")
    tree.age(30 * 86400)
    planned = load(to_json(make_plan(tree)).encode())
    applied = carry_out(tree, planned)
    assert applied.done.uploads == 1


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
