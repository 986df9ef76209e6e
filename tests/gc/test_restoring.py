"""Several runs over one tree: taking one back, what each is said to have done, and since when."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from regfs.cli.app import run as regfs
from regfs.digest import Digest
from regfs.errors import Refused, StoreError
from regfs.gc.collect import collect, purge, settle
from regfs.gc.restoring import restore
from regfs.gc.sweep import apply
from regfs.runs import Run, runs
from regfs.runs import purge as purge_run
from regfs.runs import restore as restore_run
from regfs.runs.totals import Totals
from regfs.stores import PathState
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, image, index
from tests.support.crashes import Crash, CrashingStore
from tests.support.journals import damage_journal, only_run
from tests.support.registries import plan_of, registry_of, store_of
from tests.support.stores import Dying

BASE = image(["base"])
OLD = image(["base", "old"])
HOUR = 3600.0
DAY = 24 * HOUR


def night(tree: TreeBuilder, **policy: Any) -> str:
    """Let a collection move what goes; return its run."""
    made = plan_of(tree, delete_untagged=True, **policy)
    return collect(made, registry_of(tree), wait=0).run


def is_whole(tree: TreeBuilder) -> bool:
    """Return whether verify finds nothing wrong with it."""
    return regfs(["-r", str(tree.root), "verify", "--quiet"]) == 0


def run_of(tree: TreeBuilder, name: str) -> Run:
    (found,) = (run for run in runs(store_of(tree)) if run.run == name)
    return found


# -- taking one of several back -----------------------------------------------------------


@pytest.fixture
def tree_of_two(tree: TreeBuilder) -> tuple[TreeBuilder, str, str]:
    """A registry whose untagged image went in two nights: its links, then the rest of it."""
    tree.push("app", "v1", BASE)
    tree.push("app", None, OLD)
    first = night(tree, max_freed=1)
    second = night(tree)
    moved = [run_of(tree, name).done for name in (first, second)]
    assert (moved[0].manifests, moved[0].blobs, moved[1].manifests) == (1, 1, 0)
    assert moved[1].blobs > 0
    return tree, first, second


def test_a_restore_brings_what_it_needs_from_another_run(
    tree_of_two: tuple[TreeBuilder, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    tree, first, second = tree_of_two
    assert regfs(["-r", str(tree.root), "gc", "restore", first]) == 0
    assert f"put back from run {second}" in capsys.readouterr().out
    assert is_whole(tree)
    assert tree.revision_path("app", OLD.digest).exists()
    assert run_of(tree, second).done.blobs == 0
    assert purge(registry_of(tree), offline=True).bytes == 0
    assert is_whole(tree)


def test_a_restore_killed_at_any_step_leaves_no_dangling_link(tmp_path: Any) -> None:
    for at in range(1000):
        tree = TreeBuilder(tmp_path / str(at))
        tree.push("app", "v1", BASE)
        tree.push("app", None, OLD)
        first = night(tree, max_freed=1)
        night(tree)
        try:
            restore(CrashingStore(store_of(tree), at), first)
        except Crash:
            for link in tree.root.glob("docker/**/link"):
                assert tree.blob_path(link.read_text()).exists()
            restore(store_of(tree), first)
            assert is_whole(tree)
        else:
            assert at > 10
            return
    raise AssertionError("it never came to its end")


def test_a_restore_brings_nothing_that_it_does_not_need(
    tree_of_two: tuple[TreeBuilder, str, str],
) -> None:
    tree, first, _ = tree_of_two
    tree.blob(b"garbage of another day")
    tree.age(10 * DAY)
    third = night(tree)
    restore(store_of(tree), first)
    assert run_of(tree, third).done.blobs == 1


def test_a_restore_brings_what_it_needs_from_a_damaged_run(
    tree_of_two: tuple[TreeBuilder, str, str],
) -> None:
    tree, first, second = tree_of_two
    damage_journal(tree, second, lambda lines: [])
    restore(store_of(tree), first)
    assert is_whole(tree)
    assert tree.revision_path("app", OLD.digest).exists()


def test_bad_bytes_of_a_damaged_run_stay_in_quarantine(
    tree_of_two: tuple[TreeBuilder, str, str],
) -> None:
    """It may have moved them because they are bad."""
    tree, first, second = tree_of_two
    damage_journal(tree, second, lambda lines: [])
    quarantine = tree.root / ".regfs/runs" / second / "quarantine"
    copies = [path for path in quarantine.rglob("data") if path.is_file()]
    for copy in copies:
        copy.write_bytes(b"bad")
    restored = restore(store_of(tree), first)
    assert not {one.kind for one in restored.along} & {"blob"}
    assert copies
    assert all(copy.exists() for copy in copies)


def test_a_restore_names_needed_blobs_that_were_purged(
    tree_of_two: tuple[TreeBuilder, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    tree, first, second = tree_of_two
    purge_run(store_of(tree), second)
    assert regfs(["-r", str(tree.root), "gc", "restore", first]) == 1
    told = capsys.readouterr().err
    assert f"this blob was purged with run {second}" in told
    assert OLD.digest.removeprefix("sha256:") in told or OLD.blobs[0].digest[7:] in told


def test_restoring_one_digest_brings_what_it_needs_from_its_own_run(tree: TreeBuilder) -> None:
    child = image(["arm"], platform="linux/arm64")
    both = index(OLD, child)
    tree.push("app", "v1", BASE)
    tree.push("app", None, both)
    tree.push("app", None, image(["other"]))
    run = night(tree)
    done = restore(store_of(tree), run, digests=frozenset({Digest(both.digest)}))
    assert {one.run for one in done.along} == {run}
    for content in (both, OLD, child):
        assert tree.revision_path("app", content.digest).exists()
    assert not tree.revision_path("app", image(["other"]).digest).exists()
    assert is_whole(tree)


# -- what is told of a run ------------------------------------------------------------------


@pytest.fixture
def full(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    return tree


def interrupted(tree: TreeBuilder, moves: int = 2) -> Totals:
    """Let a collection be cut off; return what it was to move."""
    made = plan_of(tree, delete_untagged=True)
    with pytest.raises(StoreError):
        apply(made, Registry(Dying(tree.root, moves)))
    return made.totals


def count(totals: Totals) -> int:
    return totals.blobs + totals.manifests + totals.layer_links + totals.tag_indexes


def test_an_interrupted_run_shows_what_is_done_and_what_is_left(
    full: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(full)
    (run,) = runs(store_of(full))
    assert (run.state, count(run.done)) == ("interrupted", 2)
    assert count(run.left) > 0
    assert regfs(["-r", str(full.root), "gc", "runs", "-v"]) == 0
    assert "not moved: " in capsys.readouterr().out


def test_an_interrupted_run_that_is_restored_shows_what_it_had_moved(full: TreeBuilder) -> None:
    before = full.files()
    interrupted(full)
    restore_run(store_of(full), only_run(full))
    (run,) = runs(store_of(full))
    assert (run.state, count(run.done), run.left) == ("restored", 2, Totals())
    assert full.files() == before


def test_an_interrupted_run_that_is_purged_shows_what_it_had_moved(full: TreeBuilder) -> None:
    interrupted(full)
    purge_run(store_of(full), only_run(full))
    (run,) = runs(store_of(full))
    assert (run.state, count(run.done), run.left) == ("purged", 2, Totals())


def test_items_that_were_left_in_place_are_not_counted(full: TreeBuilder) -> None:
    made = plan_of(full, delete_untagged=True)
    layer = full.blob_path(OLD.blobs[-1].digest)

    class Touching(Dying):
        def examine(self, paths: Any, *, limit: int = 0) -> Any:
            for path in paths:
                if isinstance(path, PathState):
                    os.utime(layer)  # somebody pushes it before it is looked at again
                yield from self._store.examine([path], limit=limit)

    applied = apply(made, Registry(Touching(full.root, -1)))
    assert layer.exists()
    (run,) = runs(store_of(full))
    assert run.done == applied.done
    assert run.done.blobs == made.totals.blobs - 1
    purge_run(store_of(full), run.run)
    (run,) = runs(store_of(full))
    assert (run.state, run.done) == ("purged", applied.done)


def test_a_restored_run_never_becomes_purged(full: TreeBuilder) -> None:
    run = night(full)
    restore_run(store_of(full), run)
    files = full.files()
    assert purge(registry_of(full), offline=True).runs == []
    assert purge(registry_of(full), run, offline=True).runs == []
    assert run_of(full, run).state == "restored"
    assert full.files() == files


def test_items_that_settling_put_back_are_not_counted(full: TreeBuilder) -> None:
    run = night(full)
    before = run_of(full, run).done
    full.layer_link("lib", OLD.blobs[-1].digest)
    settle(registry_of(full))
    assert run_of(full, run).done.blobs == before.blobs - 1


def test_a_digest_that_was_restored_is_not_counted(full: TreeBuilder) -> None:
    run = night(full)
    before = run_of(full, run).done
    layer = Digest(OLD.blobs[-1].digest)
    restore_run(store_of(full), run, digests=frozenset({layer}))
    after = run_of(full, run).done
    assert (after.blobs, after.layer_links) == (before.blobs - 1, before.layer_links - 1)


# -- since when -----------------------------------------------------------------------------


def later(seconds: float) -> Callable[[], float]:
    return lambda: time.time() + seconds


def of_old(tree: TreeBuilder) -> str:
    """Carry out a plan that was made eight days ago; return its run."""
    made = plan_of(tree, delete_untagged=True)
    then = time.gmtime(time.time() - 8 * DAY)
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', then)}-abcdef"
    return apply(replace(made, id=name), registry_of(tree), wait=0).run


def test_a_run_is_as_young_as_its_moves_however_old_its_plan(full: TreeBuilder) -> None:
    run = of_old(full)
    assert purge(registry_of(full), older_than=7 * DAY, offline=True).runs == []
    almost, after = later(7 * DAY - 60), later(7 * DAY + 60)
    assert purge(registry_of(full), older_than=7 * DAY, clock=almost).runs == []
    assert purge(registry_of(full), older_than=7 * DAY, clock=after).runs == [run]


def test_gc_runs_shows_when_items_were_moved(full: TreeBuilder) -> None:
    run = run_of(full, of_old(full))
    assert time.time() - run.created_at.timestamp() > 7 * DAY
    assert abs(time.time() - run.moved_at.timestamp()) < HOUR


def test_a_run_later_than_the_clock_stays_and_is_named(full: TreeBuilder) -> None:
    run = collect(plan_of(full, delete_untagged=True), registry_of(full), wait=HOUR).run
    past = later(-2 * DAY)
    for older_than in (0.0, DAY):
        done = purge(registry_of(full), older_than=older_than, clock=past)
        assert (done.runs, done.waiting) == ([], [])
        assert [one.path for one in done.future] == [run]
        assert "the clock stands at" in done.future[0].reason
        with pytest.raises(Refused, match="the clock stands at"):
            purge(registry_of(full), run, older_than=older_than, clock=past)


def test_an_interrupted_run_is_as_old_as_its_last_move(full: TreeBuilder) -> None:
    interrupted(full)
    run = only_run(full)
    folder = full.root / ".regfs/runs" / run
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 0))
    assert purge(registry_of(full), older_than=DAY, offline=True, clock=lambda: DAY - 5).runs == []
    future = time.time() + DAY
    os.utime(next(folder.glob("quarantine/**/sha256")), (future, future))
    done = purge(registry_of(full), older_than=1.0, offline=True)
    assert [one.path for one in done.future] == [run]
    assert done.runs == []


def test_a_wrong_clock_is_reported_on_standard_error(
    full: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(full)
    folder = next((full.root / ".regfs/runs").glob("*/quarantine/**/sha256"))
    future = time.time() + 10 * DAY
    os.utime(folder, (future, future))
    assert regfs(["-r", str(full.root), "gc", "purge", "--json"]) == 1
    captured = capsys.readouterr()
    assert "the clock stands at" in captured.err
    assert json.loads(captured.out)["future"][0]["path"] == only_run(full)
