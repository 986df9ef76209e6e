"""Runs whose journal does not account for what lies in quarantine: seen, left alone, restored."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from regfs.cli.app import run as regfs
from regfs.errors import Doubt, Refused
from regfs.gc.collect import collect, purge, settle
from regfs.gc.restoring import restore as gc_restore
from regfs.gc.retention import RetentionPolicy
from regfs.gc.sweep import apply
from regfs.runs import Run, restore, runs
from regfs.runs import purge as purge_run
from tests.support.builder import TreeBuilder, image
from tests.support.journals import (
    damage_journal,
    journal_file,
    only_run,
    read_lines,
    write_journal,
)
from tests.support.registries import plan_of, registry_of, store_of

OLD = image(["base", "old"])
LAYER = OLD.blobs[-1].digest
Damage = Callable[[list[bytes]], list[bytes]]


class Site:
    """A registry whose former image lies in quarantine, and what it was before."""

    def __init__(self, tree: TreeBuilder) -> None:
        self.tree = tree
        tree.push("app", "v1", OLD)
        tree.push("app", "v1", image(["new"]))
        self.whole = tree.files()
        made = plan_of(tree, delete_untagged=True)
        collect(made, registry_of(tree), wait=0)
        self.run = only_run(tree)
        self.quarantine = tree.root / ".regfs/runs" / self.run / "quarantine"
        assert self.lying()

    def lying(self) -> set[str]:
        found = (path for path in self.quarantine.rglob("*") if path.is_file())
        return {path.relative_to(self.quarantine).as_posix() for path in found}

    def in_store(self, path: str) -> str:
        return f".regfs/runs/{self.run}/quarantine/{path}"

    def regfs(self, *words: str) -> int:
        return regfs(["-r", str(self.tree.root), *words])

    def push_by_cache(self) -> None:
        """Let a registry that remembers the layer acknowledge an image that needs it."""
        self.tree.push("app", "v2", OLD)
        for folder in self.layer_folders():
            shutil.rmtree(folder)

    def layer_folders(self) -> list[Path]:
        return [self.tree.blob_path(LAYER).parent]


@pytest.fixture
def site(tree: TreeBuilder) -> Site:
    return Site(tree)


def is_of_layer(line: bytes) -> bool:
    return b'"move"' in line and b'"blob"' in line and LAYER.encode() in line


def each(change: Callable[[bytes], bytes]) -> Damage:
    """Change the line of the layer's blob."""
    return lambda lines: [change(line) if is_of_layer(line) else line for line in lines]


def first_to_last(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


DAMAGES: dict[str, Damage] = {
    "a NUL": each(lambda line: b"\0" + line[1:]),
    "a line gone": each(lambda line: b""),
    "a line doubled": each(lambda line: line * 2),
    "another digest": each(lambda line: line.replace(LAYER.encode(), OLD.digest.encode())),
    "two lines swapped": first_to_last,
    "no head": lambda lines: lines[1:],
    "emptied": lambda lines: [],
    "cut at a line": lambda lines: lines[:2],
    "cut in a line": lambda lines: [*lines[:2], lines[2][:20]],
    "nothing but NULs": lambda lines: [b"\0" * 4096],
}
every_damage = pytest.mark.parametrize("damage", DAMAGES)


@every_damage
def test_a_damaged_run_is_reported_not_purged_and_can_be_restored(
    site: Site, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lying = site.lying()
    damage_journal(site.tree, site.run, DAMAGES[damage])
    assert [found.state for found in runs(store_of(site.tree))] == ["damaged"]
    assert site.regfs("gc", "runs") == 1
    assert f"run {site.run} is damaged" in capsys.readouterr().err
    assert site.regfs("gc", "purge", "--offline") == 3
    assert site.regfs("gc", "purge", "--offline", "--discard", site.run) == 3
    assert f"regfs gc restore {site.run}" in capsys.readouterr().err
    assert site.lying() == lying
    assert site.regfs("gc", "restore", site.run) == 0
    assert site.tree.files() == site.whole
    assert site.lying() == set()
    # What is empty asks for nothing any more.
    assert site.regfs("gc", "purge", "--offline") == 0


@every_damage
def test_items_of_a_damaged_run_that_are_in_use_are_put_back(site: Site, damage: str) -> None:
    site.push_by_cache()
    assert not site.tree.blob_path(LAYER).exists()
    damage_journal(site.tree, site.run, DAMAGES[damage])
    assert site.regfs("gc", "purge", "--offline") == 3
    assert site.tree.blob_path(LAYER).read_bytes() == OLD.blobs[-1].data


def test_a_missing_journal_is_damage(site: Site) -> None:
    journal_file(site.tree, site.run).unlink()
    (found,) = runs(store_of(site.tree))
    assert (found.state, found.damage) == ("damaged", "it is gone")
    with pytest.raises(Refused, match="it is gone"):
        purge_run(store_of(site.tree), site.run)
    restore(store_of(site.tree), site.run)
    assert site.tree.files() == site.whole


def test_the_journal_of_another_run_is_damage(site: Site) -> None:
    other = site.quarantine.parent.with_name("20260101T000000Z-bbbbbb")
    site.quarantine.parent.rename(other)
    with pytest.raises(Refused, match="damaged"):
        purge_run(store_of(site.tree), other.name)
    restore(store_of(site.tree), other.name)
    assert site.tree.files() == site.whole


STRAYS = [
    "docker/registry/v2/blobs/sha256/aa/" + "a" * 64 + "/data",
    "docker/registry/v2/repositories/app/_manifests/tags/x/current/link",
    "docker/README",
    "lost.bin",
]


@pytest.mark.parametrize("stray", STRAYS)
def test_what_no_line_names_is_never_deleted(site: Site, stray: str) -> None:
    path = site.quarantine / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"put there by hand")
    os.utime(path, (0, 0))
    with pytest.raises(Refused, match=f"no line names .*{stray}"):
        purge_run(store_of(site.tree), site.run)
    assert purge(registry_of(site.tree), offline=True).runs == []
    assert path.exists()
    restored = restore(store_of(site.tree), site.run)
    if stray.startswith("docker/"):
        assert (site.tree.root / stray).read_bytes() == b"put there by hand"
    else:
        assert path.exists()
        assert [one.path for one in restored.skipped] == [
            f".regfs/runs/{site.run}/quarantine/{stray}"
        ]
    assert site.whole.items() <= site.tree.files().items()


def test_a_file_beside_a_moved_one_that_no_line_names_is_a_stray(site: Site) -> None:
    (site.quarantine / site.tree.relative(site.tree.blob_path(LAYER))).with_name("x").touch()
    assert [found.state for found in runs(store_of(site.tree))] == ["damaged"]


def test_a_temporary_file_that_was_moved_with_its_folder_is_accounted_for(site: Site) -> None:
    """Of a registry that made a file to be renamed; and its request failed."""
    link = site.quarantine / site.tree.relative(site.tree.layer_path("app", LAYER))
    half = link.with_name("link.0f0e0d0c-0b0a-0908-0706-050403020100.tmp")
    half.write_bytes(b"")
    os.utime(half, (0, 0))
    assert [found.state for found in runs(store_of(site.tree))] == ["applied"]
    purge_run(store_of(site.tree), site.run)
    assert not site.quarantine.exists()


def test_a_purge_does_not_follow_a_symlink_out_of_quarantine(site: Site) -> None:
    kept = site.tree.files()
    (site.quarantine / "docker/way-out").symlink_to(site.tree.v2)
    with pytest.raises(Refused, match="no line names"):
        purge_run(store_of(site.tree), site.run)
    assert site.tree.files() == kept
    restore(store_of(site.tree), site.run)
    assert site.whole.items() <= site.tree.files().items()


def test_a_plan_whose_run_is_damaged_is_not_continued(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    made = plan_of(tree, delete_untagged=True)
    apply(made, registry_of(tree))
    damage_journal(tree, made.id, lambda lines: lines[:2])
    before = tree.files()
    with pytest.raises(Doubt, match="damaged"):
        apply(made, registry_of(tree))
    assert tree.files() == before


def test_a_run_that_is_damaged_after_it_was_chosen_is_not_purged(site: Site) -> None:
    def chosen(found: Sequence[Run]) -> Sequence[Run]:
        damage_journal(site.tree, site.run, DAMAGES["a NUL"])
        return found

    done = purge_run(store_of(site.tree), choose=chosen)
    assert (done.runs, done.files, [one.path for one in done.damaged]) == ([], 0, [site.run])
    assert site.regfs("gc", "restore", site.run) == 0
    assert site.tree.files() == site.whole


def test_a_damaged_run_does_not_keep_others_from_being_purged(site: Site) -> None:
    damage_journal(site.tree, site.run, DAMAGES["a NUL"])
    site.tree.push("app", "v3", image(["three"]))
    site.tree.push("app", "v3", image(["four"]))
    other = collect(plan_of(site.tree, delete_untagged=True), registry_of(site.tree), wait=0).run
    lying = site.lying()
    done = purge(registry_of(site.tree), offline=True)
    assert (done.runs, [one.path for one in done.damaged]) == ([other], [site.run])
    assert site.lying() == lying


def test_an_item_stays_in_quarantine_when_a_good_copy_is_in_place(site: Site) -> None:
    damage_journal(site.tree, site.run, DAMAGES["emptied"])
    site.tree.blob(OLD.blobs[-1].data)
    restored = restore(store_of(site.tree), site.run)
    assert [one.reason for one in restored.skipped] == ["it is there again"]
    assert site.tree.files() == site.whole
    assert site.lying() == {site.tree.relative(site.tree.blob_path(LAYER))}


# -- folders of a damaged run --------------------------------------------------------------


@pytest.fixture
def tagged(tree: TreeBuilder) -> TreeBuilder:
    """A registry of whose tags one lies in quarantine with its history, and an upload too."""
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", image(["older"]))
    tree.push("app", "old", OLD)
    tree.push("app", "keep-old", OLD)
    with tree.at_age(10**7):
        tree.upload("app", 3)
    block = {"repositories": ["**"], "keepTags": [{"patterns": ["keep.*"]}]}
    retention = RetentionPolicy.model_validate({"policies": [block]})
    done = collect(plan_of(tree, retention=retention, min_age=0.0), registry_of(tree)).done
    assert (done.tags, done.uploads) == (1, 1)
    return tree


def lose_lines(tree: TreeBuilder) -> str:
    run = only_run(tree)
    damage_journal(tree, run, DAMAGES["emptied"])
    return run


def test_tags_and_uploads_of_a_damaged_run_come_back_as_folders(tagged: TreeBuilder) -> None:
    run = lose_lines(tagged)
    (found,) = runs(store_of(tagged))
    assert (found.done.tags, found.done.tag_indexes, found.done.uploads) == (1, 0, 1)
    restored = restore(store_of(tagged), run)
    assert not restored.skipped
    assert tagged.current("app", "old") == OLD.digest
    assert len(list(tagged.tag_folder("app", "old").rglob("link"))) == 3
    (upload,) = (tagged.repository_path("app") / "_uploads").iterdir()
    assert (upload / "data").read_bytes() == b"uuu"


def test_a_tag_that_was_set_again_gets_its_history_back_and_keeps_what_it_says(
    tagged: TreeBuilder,
) -> None:
    run = lose_lines(tagged)
    new = tagged.current("app", "keep")
    tagged.tag("app", "old", new)
    restore(store_of(tagged), run)
    assert tagged.current("app", "old") == new
    index = tagged.tag_folder("app", "old") / "index/sha256"
    assert len(list(index.iterdir())) == 3


def test_what_a_tag_of_a_damaged_run_points_to_comes_along(tagged: TreeBuilder) -> None:
    run = lose_lines(tagged)
    tagged.untag("app", "keep-old")
    untagged = plan_of(tagged, delete_untagged=True, min_age=0.0)
    collect(untagged, registry_of(tagged))
    assert not tagged.blob_path(OLD.digest).exists()
    restored = gc_restore(store_of(tagged), run)
    assert {one.run for one in restored.along} == {untagged.id}
    assert tagged.blob_path(OLD.digest).exists()
    assert tagged.revision_path("app", OLD.digest).exists()


# -- journals of earlier versions --------------------------------------------------------


def as_of_old(site: Site) -> list[bytes]:
    """Write the journal as it was written before its lines had a check."""
    lines = read_lines(site.tree, site.run)
    write_journal(site.tree, site.run, *lines, checked=False)
    return [json.dumps(line).encode() + b"\n" for line in lines]


def test_an_old_journal_that_accounts_for_everything_is_whole(site: Site) -> None:
    as_of_old(site)
    assert [found.state for found in runs(store_of(site.tree))] == ["applied"]
    purge_run(store_of(site.tree), site.run)
    assert [found.state for found in runs(store_of(site.tree))] == ["purged"]


def test_a_run_with_an_old_journal_can_be_restored(site: Site) -> None:
    as_of_old(site)
    restore(store_of(site.tree), site.run)
    assert site.tree.files() == site.whole
    assert [found.state for found in runs(store_of(site.tree))] == ["restored"]


@pytest.mark.parametrize("damage", ["a NUL", "a line gone", "emptied", "cut at a line"])
def test_an_old_journal_that_lacks_a_line_is_damaged(site: Site, damage: str) -> None:
    as_of_old(site)
    damage_journal(site.tree, site.run, DAMAGES[damage])
    with pytest.raises(Refused, match="damaged"):
        purge_run(store_of(site.tree), site.run)
    restore(store_of(site.tree), site.run)
    assert site.tree.files() == site.whole


# -- what a crash leaves is no damage -----------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 40])
def test_a_run_killed_in_its_first_line_is_not_damaged(tree: TreeBuilder, left: int) -> None:
    tree.push("app", "v1", OLD)
    made = plan_of(tree, min_age=0)
    path = journal_file(tree, made.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"run": "2026 and so on, until it was cut off'[:left])
    assert [found.state for found in runs(store_of(tree))] == ["interrupted"]
    settle(registry_of(tree))
    apply(made, registry_of(tree))
    assert [found.state for found in runs(store_of(tree))] == ["applied"]
