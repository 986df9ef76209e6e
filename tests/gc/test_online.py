"""Settling, waiting and purging: what came back into use is in place again, and stays."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import regfs.graph.read
import regfs.tree.scan
from regfs.cli.app import cli
from regfs.errors import Refused
from regfs.gc import collect as collect_module
from regfs.gc.collect import collect, purge, settle
from regfs.runs import Returned, runs
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, image, index
from tests.support.docker_registry import Client, Site
from tests.support.gates import Collector
from tests.support.online import ONE, WAIT, start, with_garbage
from tests.support.quarantined import OLD, move, move_old, the_run
from tests.support.registries import Recipe, build, new_tree, plan_of, recipes, registry_of


def back(returned: list[Returned]) -> list[tuple[str, str]]:
    return sorted((one.kind, one.digest or "") for one in returned)


@pytest.fixture
def moved(tree: TreeBuilder) -> TreeBuilder:
    """A registry whose former image lies in quarantine, whole."""
    return move_old(tree)


# -- what comes back ------------------------------------------------------------


@given(recipe=recipes(), untagged=st.booleans())
def test_settling_an_unchanged_tree_puts_nothing_back(recipe: Recipe, untagged: bool) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        applied = move(tree, delete_untagged=untagged)
        assert applied.returned == []
        assert settle(registry_of(tree)) == []


def test_a_tag_brings_back_all_that_its_image_needs(moved: TreeBuilder) -> None:
    moved.tag("app", "again", OLD.digest)
    returned = settle(registry_of(moved))
    blobs = [OLD.digest, *(blob.digest for blob in OLD.blobs)]
    links = [blob.digest for blob in OLD.blobs]
    wanted = [*(("blob", d) for d in blobs), *(("layer-link", d) for d in links)]
    assert back(returned) == sorted([*wanted, ("revision", OLD.digest)])
    assert all(moved.blob_path(digest).exists() for digest in blobs)
    assert all(moved.layer_path("app", digest).exists() for digest in links)
    assert moved.revision_path("app", OLD.digest).exists()
    assert plan_of(moved, delete_untagged=True).actions == []


def test_a_layer_link_brings_back_its_blob_and_nothing_else(moved: TreeBuilder) -> None:
    layer = OLD.blobs[-1].digest
    moved.layer_link("lib", layer)
    assert back(settle(registry_of(moved))) == [("blob", layer)]


def test_an_index_brings_back_its_children_in_its_own_repository(moved: TreeBuilder) -> None:
    parent = index(OLD)
    moved.blob(parent.data)
    moved.revision("app", parent.digest)
    returned = settle(registry_of(moved))
    assert ("revision", OLD.digest) in back(returned)
    assert moved.layer_path("app", OLD.blobs[-1].digest).exists()


def test_a_tag_of_another_repository_brings_back_no_link(moved: TreeBuilder) -> None:
    moved.tag("lib", "v1", OLD.digest)
    assert {one.kind for one in settle(registry_of(moved))} == {"blob"}


def test_an_item_whose_place_is_taken_stays_in_quarantine(moved: TreeBuilder) -> None:
    moved.push("app", "again", OLD)
    before = moved.files("docker")
    returned = settle(registry_of(moved))
    assert moved.files("docker") == before
    assert returned == []


def test_a_file_goes_back_into_a_folder_that_was_made_again(moved: TreeBuilder) -> None:
    moved.tag("app", "again", OLD.digest)
    moved.folder(moved.blob_path(OLD.digest).parent)
    settle(registry_of(moved))
    assert moved.blob_path(OLD.digest).exists()


def quarantined(tree: TreeBuilder, path: Path) -> Path:
    (run,) = (tree.root / ".regfs/runs").iterdir()
    return run / "quarantine" / tree.relative(path)


@pytest.mark.parametrize("what", ["revision", "layer"])
def test_an_item_that_was_written_to_after_its_check_comes_back(
    moved: TreeBuilder, what: str
) -> None:
    layer = OLD.blobs[-1].digest
    path = (
        moved.revision_path("app", OLD.digest)
        if what == "revision"
        else moved.layer_path("app", layer)
    )
    os.utime(quarantined(moved, path))
    settle(registry_of(moved))
    assert path.exists()
    assert moved.blob_path(layer).exists()


def test_a_repository_in_doubt_gets_all_its_links_back(moved: TreeBuilder) -> None:
    moved.write(moved.revision_path("app", moved.current("app", "v1")), b"")
    settle(registry_of(moved))
    assert moved.revision_path("app", OLD.digest).exists()
    assert all(moved.blob_path(blob.digest).exists() for blob in OLD.blobs)


def test_while_links_may_lie_unseen_every_blob_comes_back(moved: TreeBuilder) -> None:
    (moved.v2 / "repositories/app/_layers/sha256/pipe").symlink_to("/nowhere")
    settle(registry_of(moved))
    assert all(moved.blob_path(blob.digest).exists() for blob in OLD.blobs)


def test_doubt_that_passes_brings_nothing_back(
    moved: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = moved.revision_path("app", moved.current("app", "v1"))
    text, scan = link.read_bytes(), regfs.tree.scan.scan
    looks: list[int] = []

    def scan_during_a_write(*arguments: object, **options: object) -> object:
        moved.write(link, b"" if not looks else text)
        looks.append(1)
        return scan(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(collect_module, "scan", scan_during_a_write)
    assert settle(registry_of(moved)) == []
    assert len(looks) > 1


# -- the order of things ------------------------------------------------------------


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (regfs.graph.read, regfs.tree.scan):
        monkeypatch.setattr(
            module, "adaptive_map", lambda function, items, slow: map(function, items)
        )


def race(root: Path) -> Site:
    """Let a manifest be put while what it needs is moved away; return what came of it.

    The registry has looked at everything before the first move, and writes its
    links when the last is done: during the wait, if there is one.
    """
    with_garbage(root)
    now = time.time()
    site = Site(root, lambda: now)
    client = Client(iter([site.put_manifest("a", "again", ONE)]))
    collector: Collector = start(root, lambda: now, purge=True)
    collector.run_to("move")
    for _ in range(len(ONE.blobs) + 1):
        client.step()
    assert client.waits
    collector.run_to("pause")
    client.finish_request()
    if not collector.done:
        collector.resume()
        collector.run_to()
    assert collector.done
    return site


@pytest.mark.usefixtures("one_thread")
def test_a_push_that_checked_before_the_moves_and_wrote_after_them_is_whole(tmp_path: Path) -> None:
    site = race(tmp_path)
    assert list(site.acknowledged) == [("a", "again")]
    site.assert_whole()


@pytest.mark.usefixtures("one_thread")
def test_without_settling_it_would_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "_settle", lambda *_, **__: [])
    site = race(tmp_path)
    assert list(site.acknowledged) == [("a", "again")]
    with pytest.raises(AssertionError):
        site.assert_whole()


@pytest.mark.usefixtures("one_thread")
def test_without_waiting_it_would_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = collect_module.collect

    def hasty(*arguments: object, **options: object) -> object:
        return real(*arguments, **{**options, "wait": 0.0})  # type: ignore[arg-type]

    monkeypatch.setattr("tests.support.online.collect", hasty)
    site = race(tmp_path)
    with pytest.raises(AssertionError):
        site.assert_whole()


def test_a_run_waits_between_two_settles(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    waited = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        tree.tag("app", "again", OLD.digest)

    made = plan_of(tree, delete_untagged=True)
    applied = collect(made, registry_of(tree), purge=True, wait=WAIT, pause=pause)
    assert waited == [WAIT]
    assert applied.purged
    assert ("blob", OLD.digest) in back(applied.returned)
    assert tree.blob_path(OLD.digest).exists()


def test_a_run_that_is_interrupted_while_it_waits_leaves_all_in_quarantine(
    tree: TreeBuilder,
) -> None:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))

    def pause(seconds: float) -> None:
        raise KeyboardInterrupt

    made = plan_of(tree, delete_untagged=True)
    with pytest.raises(KeyboardInterrupt):
        collect(made, registry_of(tree), purge=True, pause=pause)
    (run,) = runs(open_store(str(tree.root)))
    assert (run.run, run.state) == (made.id, "applied")
    assert quarantined(tree, tree.blob_path(OLD.digest)).exists()


# -- a purge of its own -----------------------------------------------------------------


def later(seconds: float) -> Callable[[], float]:
    return lambda: time.time() + seconds


def test_a_run_younger_than_its_wait_is_not_purged(moved: TreeBuilder) -> None:
    run = the_run(moved).run
    with pytest.raises(Refused, match=r"purge it in (1h|59m)"):
        purge(registry_of(moved), run)
    done = purge(registry_of(moved))
    assert (done.runs, done.waiting) == ([], [run])
    assert quarantined(moved, moved.blob_path(OLD.digest)).exists()


def test_a_run_is_purged_after_its_wait_or_when_nobody_else_writes(moved: TreeBuilder) -> None:
    run = the_run(moved).run
    assert purge(registry_of(moved), run, clock=later(3610)).deleted.manifests == 1
    assert the_run(moved).state == "purged"


def test_offline_nothing_waits(moved: TreeBuilder) -> None:
    assert purge(registry_of(moved), offline=True).deleted.manifests == 1


def test_a_run_that_was_killed_waits_from_its_last_move(moved: TreeBuilder) -> None:
    run = the_run(moved).run
    journal = moved.root / f".regfs/runs/{run}/journal.jsonl"
    lines = [line for line in journal.read_text().splitlines() if '"applied"' not in line]
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(Refused, match="purge it in"):
        purge(registry_of(moved), run, clock=later(3500))
    assert purge(registry_of(moved), run, clock=later(3700)).runs == [run]


def test_a_purge_puts_back_what_is_in_use_by_then(moved: TreeBuilder) -> None:
    moved.tag("app", "again", OLD.digest)
    done = purge(registry_of(moved), offline=True)
    assert ("blob", OLD.digest) in back(done.returned)
    assert moved.blob_path(OLD.digest).exists()
    assert moved.revision_path("app", OLD.digest).exists()
    assert done.deleted.manifests == done.deleted.blobs == 0


def test_an_item_that_came_back_is_not_part_of_the_run(moved: TreeBuilder) -> None:
    before = the_run(moved).done
    moved.tag("app", "again", OLD.digest)
    returned = settle(registry_of(moved))
    after = the_run(moved).done
    assert before.blobs - after.blobs == len([one for one in returned if one.kind == "blob"])
    assert before.bytes - after.bytes == sum(one.size for one in returned)


# -- on the command line -----------------------------------------------------------------


def regfs_gc(tree: TreeBuilder, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["-r", str(tree.root), "gc", *arguments], standalone_mode=False)
    assert done.exception is None, done.output
    assert done.return_value == code
    return str(done.output)


def samples(text: str) -> dict[str, float]:
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name.replace("\\", ""): float(value) for name, _, value in rows}


def test_metrics_tell_of_every_run_that_wrote_to_the_file(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    file = tmp_path / "gc.prom"
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    regfs_gc(tree, "run", "-m", "--yes", "--metrics", str(file))
    first = samples(file.read_text())
    root = f'root="{tree.root}"'
    assert first[f"regfs_gc_runs_total{{{root}}}"] == 1
    assert first[f'regfs_gc_deleted_total{{kind="blob",{root}}}'] == 0
    held = first[f"regfs_gc_quarantined_bytes{{{root}}}"]
    assert held == the_run(tree).done.bytes > 0
    regfs_gc(tree, "purge", "--offline", "--metrics", str(file))
    second = samples(file.read_text())
    assert second[f"regfs_gc_runs_total{{{root}}}"] == 2
    assert second[f'regfs_gc_deleted_total{{kind="revision",{root}}}'] == 1
    assert second[f"regfs_gc_freed_bytes_total{{{root}}}"] == held
    assert second[f"regfs_gc_quarantined_bytes{{{root}}}"] == 0
    assert second[f"regfs_gc_duration_seconds{{{root}}}"] >= 0
    assert second[f"regfs_gc_last_completed_timestamp_seconds{{{root}}}"] > 0


def test_a_file_that_is_no_metrics_becomes_one(tree: TreeBuilder, tmp_path: Path) -> None:
    file = tmp_path / "gc.prom"
    file.write_text("{ nothing of the kind")
    tree.push("app", "v1", OLD)
    regfs_gc(tree, "run", "--yes", "--metrics", str(file))
    assert samples(file.read_text())[f'regfs_gc_runs_total{{root="{tree.root}"}}'] == 1


def test_a_run_with_nothing_to_do_begins_none_and_still_settles(moved: TreeBuilder) -> None:
    with moved.at_age(0):
        moved.layer_link("lib", OLD.blobs[-1].digest)
    text = regfs_gc(moved, "run", "--json", "--yes")
    assert json.loads(text)["returned"]
    assert len(runs(open_store(str(moved.root)))) == 1


def test_apply_with_purge_says_what_came_back_and_what_was_deleted(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    file = tmp_path / "plan.json"
    regfs_gc(tree, "plan", "-m", "-o", str(file))
    text = regfs_gc(tree, "apply", str(file), "--purge", "--offline")
    assert "Deleted: 4 blobs, 1 manifest" in text
    assert the_run(tree).state == "purged"


def test_a_purge_too_early_is_refused_in_one_line(moved: TreeBuilder) -> None:
    run = the_run(moved).run
    done = CliRunner().invoke(
        cli, ["-r", str(moved.root), "gc", "purge", run], standalone_mode=False
    )
    assert isinstance(done.exception, Refused)
    assert "\n" not in str(done.exception)
    assert f"Not deleted yet: run {run}" in regfs_gc(moved, "purge")


def test_an_interrupted_wait_says_how_to_go_on(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regfs.cli.gc_carry_out.time.sleep", interrupt)
    arguments = ["-r", str(tree.root), "gc", "run", "-m", "--yes", "--purge"]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert f"regfs -r {tree.root} gc purge {the_run(tree).run}" in done.output
    assert the_run(tree).state == "applied"
