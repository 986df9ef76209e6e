"""Journals of runs purged long ago go; a journal that anything could rest on stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.gc.collect import collect, purge
from regfs.runs import KEEP, prune, restore, runs
from regfs.units import rfc3339
from tests.support.builder import TreeBuilder, image
from tests.support.journals import damage_journal, journal_file, only_run, rewrite_journal
from tests.support.registries import plan_of, registry_of, store_of

LATER = 2 * KEEP


@pytest.fixture
def purged(tree: TreeBuilder) -> TreeBuilder:
    """A tree with one run, which is purged."""
    tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))
    collect(plan_of(tree, delete_untagged=True), registry_of(tree), wait=0)
    purge(registry_of(tree))
    return tree


def test_the_journal_of_a_run_purged_long_ago_goes_with_its_folder(purged: TreeBuilder) -> None:
    run, before = only_run(purged), purged.files()
    assert prune(store_of(purged), KEEP, time.time() + LATER) == [run]
    assert runs(store_of(purged)) == []
    assert not journal_file(purged, run).parent.exists()
    assert purged.files() == before


def test_a_purge_prunes_what_is_old_enough(purged: TreeBuilder) -> None:
    run = only_run(purged)
    assert purge(registry_of(purged)).pruned == []
    done = purge(registry_of(purged), clock=lambda: time.time() + KEEP + 60)
    assert done.pruned == [run]


def test_a_younger_journal_stays(purged: TreeBuilder) -> None:
    assert prune(store_of(purged), KEEP, time.time() + KEEP - 60) == []
    assert len(runs(store_of(purged))) == 1


def purged_at(text: str) -> Callable[[TreeBuilder], None]:
    def change(tree: TreeBuilder) -> None:
        def changed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [line | {"purged": text} if "purged" in line else line for line in lines]

        rewrite_journal(tree, only_run(tree), changed)

    return change


def taken_back(tree: TreeBuilder) -> None:
    when = rfc3339(time.time())

    def changed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*lines[:-1], {"restored": when}, lines[-1]]

    rewrite_journal(tree, only_run(tree), changed)


def leave_something(tree: TreeBuilder) -> None:
    place = journal_file(tree, only_run(tree)).parent / "quarantine/docker/any"
    place.parent.mkdir(parents=True)
    place.write_text("not of this run")


GUARDS: dict[str, Callable[[TreeBuilder], object]] = {
    "damaged": lambda tree: damage_journal(tree, only_run(tree), lambda lines: [*lines, b"{}\n"]),
    "damaged before its end": lambda tree: damage_journal(
        tree, only_run(tree), lambda lines: [*lines, b"junk\n", *lines[-2:]]
    ),
    "taken back before": taken_back,
    "something lies there": leave_something,
    "no time": purged_at("long ago"),
    "a time to come": purged_at(rfc3339(time.time() + 3 * LATER)),
}


@pytest.mark.parametrize("case", GUARDS)
def test_a_journal_in_doubt_stays(purged: TreeBuilder, case: str) -> None:
    GUARDS[case](purged)
    file = journal_file(purged, only_run(purged))
    before = file.read_bytes()
    assert prune(store_of(purged), KEEP, time.time() + LATER) == []
    assert file.read_bytes() == before


@pytest.mark.parametrize("state", ["applied", "restored"])
def test_only_purged_runs_are_pruned(tree: TreeBuilder, state: str) -> None:
    tree.blob(b"nobody needs this")
    tree.push("app", "v1", image(["one"]))
    done = collect(plan_of(tree), registry_of(tree), wait=0)
    if state == "restored":
        restore(store_of(tree), done.run)
    assert prune(store_of(tree), KEEP, time.time() + LATER) == []
    assert [one.state for one in runs(store_of(tree))] == [state]


def test_a_plan_of_a_pruned_run_moves_only_what_goes_by_now(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    """Its journal would have refused it; without one it is a plan like any other."""
    tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))
    made = plan_of(tree, delete_untagged=True)
    collect(made, registry_of(tree), wait=0)
    purge(registry_of(tree))
    tree.push("app", "again", image(["old"]))
    prune(store_of(tree), KEEP, time.time() + LATER)
    before = tree.files()
    done = collect(made, registry_of(tree), wait=0, purge=True)
    assert done.deleted.blobs == 0
    assert tree.files() == before
    assert json.dumps(tree.tags("app")) == '["again", "v1"]'
