"""How long a run waits before it is purged, by what its journal tells, and what a purge asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import Doubt, Refused
from regfs.gc.collect import collect, purge, quarantined, settle
from regfs.gc.retention import RetentionPolicy
from regfs.gc.sweep import Applied, apply
from regfs.runs import restore, runs
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, image
from tests.support.journals import read_lines, write_journal
from tests.support.registries import plan_of, registry_of

OLD = image(["base", "old"])
LAYER = OLD.blobs[-1].digest
HOUR = 3600.0


def never(seconds: float) -> None:
    raise AssertionError(f"nobody was to wait {seconds} s")


def move(tree: TreeBuilder, *, wait: float | None = None, **policy: Any) -> Applied:
    made = plan_of(tree, **{"delete_untagged": True, **policy})
    return collect(made, registry_of(tree), wait=wait, pause=never)


@pytest.fixture
def full(tree: TreeBuilder) -> TreeBuilder:
    """A registry with an image that goes."""
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    return tree


def run_of(tree: TreeBuilder) -> str:
    (run,) = runs(open_store(str(tree.root)))
    return run.run


def folder_of(tree: TreeBuilder) -> Path:
    return tree.root / ".regfs/runs" / run_of(tree)


def lines_of(tree: TreeBuilder) -> list[dict[str, Any]]:
    return read_lines(tree, run_of(tree))


def write_lines(tree: TreeBuilder, lines: list[dict[str, Any]]) -> None:
    write_journal(tree, run_of(tree), *lines)


def in_seconds(seconds: float) -> Callable[[], float]:
    return lambda: time.time() + seconds


def may_purge(tree: TreeBuilder, clock: Callable[[], float] = time.time) -> bool:
    """Return whether the one run may be purged; it is, then."""
    try:
        return purge(registry_of(tree), run_of(tree), clock=clock).runs != []
    except Refused:
        return False


def heal_run(tree: TreeBuilder, name: str = "20260101T000000Z-aaaaaa") -> str:
    """Leave the run of a heal that has put a bad blob aside, and a good one in its place."""
    path = tree.relative(tree.blob_path(OLD.digest))
    folder = tree.root / ".regfs/runs" / name
    (folder / "quarantine" / path).parent.mkdir(parents=True)
    (folder / "quarantine" / path).write_bytes(b"strange")
    line = {"move": path, "path": path, "kind": "blob", "digest": OLD.digest, "size": 7}
    end = {"applied": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    write_journal(tree, name, {"run": name, "kind": "heal"}, line, end)
    return name


# -- how long -----------------------------------------------------------------------


def test_a_run_waits_as_long_as_its_wait_says(full: TreeBuilder) -> None:
    move(full, wait=10 * HOUR)
    assert not may_purge(full, in_seconds(9.9 * HOUR))
    assert may_purge(full, in_seconds(10.1 * HOUR))


def test_a_run_without_a_wait_waits_its_min_age(full: TreeBuilder) -> None:
    move(full, min_age=3 * HOUR)
    assert not may_purge(full, in_seconds(2.9 * HOUR))
    assert may_purge(full, in_seconds(3.1 * HOUR))


def test_a_plan_that_was_only_applied_waits_its_min_age(full: TreeBuilder) -> None:
    apply(plan_of(full, delete_untagged=True, min_age=3 * HOUR), registry_of(full))
    assert not may_purge(full, in_seconds(2.9 * HOUR))
    assert may_purge(full, in_seconds(3.1 * HOUR))


def test_a_run_with_a_wait_of_0_is_purged_at_once(full: TreeBuilder) -> None:
    move(full, wait=0)
    assert may_purge(full)


def test_without_a_wait_in_the_journal_a_run_waits_an_hour(full: TreeBuilder) -> None:
    move(full, wait=0)
    write_lines(full, [{k: v for k, v in one.items() if k != "wait"} for one in lines_of(full)])
    assert not may_purge(full, in_seconds(0.9 * HOUR))
    assert may_purge(full, in_seconds(1.1 * HOUR))


def test_the_longest_wait_of_a_continued_run_counts(full: TreeBuilder) -> None:
    move(full, wait=2 * HOUR)
    begun, *rest = lines_of(full)
    write_lines(full, [begun, {**begun, "wait": HOUR}, *rest])
    assert not may_purge(full, in_seconds(1.9 * HOUR))
    assert may_purge(full, in_seconds(2.1 * HOUR))


def test_the_last_end_of_a_run_counts_to_the_second(full: TreeBuilder) -> None:
    move(full, wait=100)
    lines = [line for line in lines_of(full) if "applied" not in line]
    early, late = ({"applied": f"2030-01-01T0{hour}:00:00Z", "done": 1} for hour in (1, 2))
    write_lines(full, [*lines, early, late])
    # The second was written without its fraction.
    end = datetime(2030, 1, 1, 2, 0, 1, tzinfo=UTC).timestamp()
    assert not may_purge(full, lambda: end + 99.5)
    assert may_purge(full, lambda: end + 100)


@pytest.fixture
def far_from_greenwich() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_a_journal_tells_the_time_in_utc(full: TreeBuilder) -> None:
    move(full, wait=HOUR)
    assert not may_purge(full, in_seconds(0.9 * HOUR))
    assert may_purge(full, in_seconds(1.1 * HOUR))


@pytest.mark.parametrize("late", ["", "quarantine/docker/registry/v2/blobs", "journal.jsonl"])
def test_a_run_that_was_killed_waits_from_whatever_it_did_last(
    full: TreeBuilder, late: str
) -> None:
    move(full, wait=HOUR)
    write_lines(full, [line for line in lines_of(full) if "applied" not in line])
    folder = folder_of(full)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 0))
    os.utime(folder / late)
    assert not may_purge(full, in_seconds(0.9 * HOUR))
    assert may_purge(full, in_seconds(1.1 * HOUR))


def test_files_keep_their_own_time_and_nobody_waits_for_them(full: TreeBuilder) -> None:
    move(full, wait=HOUR)
    write_lines(full, [line for line in lines_of(full) if "applied" not in line])
    folder = folder_of(full)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 0))
    os.utime(next((folder / "quarantine").rglob("data")))
    assert may_purge(full)


def test_an_interrupted_purge_is_completed_without_a_wait(full: TreeBuilder) -> None:
    move(full, wait=HOUR)
    write_lines(full, [*lines_of(full), {"purging": "2026-01-01T00:00:00Z"}])
    assert may_purge(full)


def test_a_heal_is_purged_without_a_wait(full: TreeBuilder) -> None:
    run = heal_run(full)
    assert purge(registry_of(full), run).runs == [run]


# -- what is asked --------------------------------------------------------------------


def test_a_purge_settles_collections_when_a_heal_is_among_the_runs(full: TreeBuilder) -> None:
    healed = heal_run(full)
    collected = move(full, wait=0).run
    full.tag("app", "again", OLD.digest)
    assert purge(registry_of(full)).runs == [healed, collected]
    assert full.blob_path(OLD.digest).exists()


def test_only_runs_as_old_as_was_asked_are_purged(full: TreeBuilder) -> None:
    run = move(full, wait=0).run
    assert purge(registry_of(full), older_than=2 * HOUR).runs == []
    assert purge(registry_of(full), older_than=2 * HOUR, clock=in_seconds(HOUR)).runs == []
    later = in_seconds(3 * HOUR)
    assert purge(registry_of(full), older_than=2 * HOUR, clock=later).runs == [run]


def test_a_tree_that_another_program_manages_is_not_settled(full: TreeBuilder) -> None:
    move(full)
    full.layer_link("lib", LAYER)
    full.write(full.root / "docker/registry/lockfiles/database-in-use", b"")
    with pytest.raises(Doubt, match="another program"):
        settle(registry_of(full))
    assert not full.blob_path(LAYER).exists()


def test_an_item_that_two_runs_moved_comes_back_from_the_later_one(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    block = {"repositories": ["**"], "keepTags": [{"patterns": ["v1"]}]}
    retention = RetentionPolicy.model_validate({"policies": [block]})
    for ago, content in ((9, OLD), (8, image(["later"]))):
        tree.push("app", "other", content)
        with tree.at_age(10**6):
            tree.tag("app", "other", content.digest)
        move(tree, now=time.time() - ago * 60, retention=retention)
        assert "other" not in tree.tags("app")
    for link in (tree.root / ".regfs/runs").glob("*/quarantine/**/tags/other/current/link"):
        os.utime(link)
    settle(registry_of(tree))
    assert tree.current("app", "other") == image(["later"]).digest


# -- a run of its own ------------------------------------------------------------------


def test_a_run_with_nothing_to_do_waits_for_nothing(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    applied = collect(plan_of(tree), registry_of(tree), purge=True, pause=never)
    assert not applied.purged
    assert runs(open_store(str(tree.root))) == []


@pytest.mark.parametrize("wait", [0.5, 1.0, 2.0])
def test_however_short_it_is_a_run_waits(full: TreeBuilder, wait: float) -> None:
    waited: list[float] = []
    made = plan_of(full, delete_untagged=True)
    applied = collect(made, registry_of(full), purge=True, wait=wait, pause=waited.append)
    assert waited == [wait]
    assert (applied.freed, applied.deleted) == (made.totals.bytes, made.totals)


def test_a_run_goes_by_its_own_clock(full: TreeBuilder) -> None:
    """By the clock of the host, which was set back since, all is too young."""
    made = plan_of(full, delete_untagged=True)
    back = collect(made, registry_of(full), clock=lambda: time.time() - 10**6, pause=never)
    assert back.done.blobs == back.done.manifests == 0
    assert full.blob_path(OLD.digest).exists()


def test_what_waits_is_counted_of_collections_and_until_it_is_back(full: TreeBuilder) -> None:
    heal_run(full)
    store = open_store(str(full.root))
    assert quarantined(store) == 0
    applied = move(full)
    assert quarantined(store) == applied.done.bytes > 0
    restore(store, applied.run)
    assert quarantined(store) == 0
