"""The last good copy: what lies at a thing's place is looked at before the thing is deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regfs.cli.app import run as regfs
from regfs.digest import Digest
from regfs.errors import Refused
from regfs.gc.collect import collect, purge, settle
from regfs.gc.retention import RetentionPolicy
from regfs.heal.quarantine import quarantine
from regfs.runs import purge as purge_run
from regfs.runs import restore, runs
from tests.support.backups import Memory, heal_from
from tests.support.builder import TreeBuilder, image
from tests.support.crashes import Crash, CrashingStore
from tests.support.journals import damage_journal, only_run, rewrite_journal
from tests.support.registries import plan_of, registry_of, store_of

OLD = image(["base", "old"])
LAYER = OLD.blobs[-1]
BAD = {
    "empty": b"",
    "short": LAYER.data[:-3],
    "wrong": LAYER.data[:-1] + b"\xff",
    "long": LAYER.data + LAYER.data,
}
every_bad = pytest.mark.parametrize("bad", BAD)


def push_badly(tree: TreeBuilder, data: bytes, *, needed: bool = True) -> Path:
    """Push the layer again, and let the power go before it was on the disk."""
    path = tree.blob_path(LAYER.digest)
    if needed:
        tree.push("app", "again", OLD)
    tree.blob(LAYER.data)
    path.write_bytes(data)
    return path


def lying(tree: TreeBuilder) -> set[str]:
    """Return the contents of the blobs that lie in quarantine."""
    found = (tree.root / ".regfs/runs").glob("*/quarantine/**/data")
    return {path.read_bytes().decode("latin-1") for path in found}


def holds(tree: TreeBuilder, data: bytes) -> bool:
    return data.decode("latin-1") in lying(tree)


@pytest.fixture
def moved(tree: TreeBuilder) -> TreeBuilder:
    """A registry whose former image lies in quarantine, whole."""
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    collect(plan_of(tree, delete_untagged=True), registry_of(tree), wait=0)
    return tree


# -- of a collection -----------------------------------------------------------------------


@every_bad
@pytest.mark.parametrize("needed", [True, False])
def test_a_purge_puts_a_good_blob_back_where_bad_bytes_lie(
    moved: TreeBuilder, bad: str, needed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = push_badly(moved, BAD[bad], needed=needed)
    assert regfs(["-r", str(moved.root), "gc", "purge", "--offline"]) == 0
    assert "Replaced bad bytes by the good copy" in capsys.readouterr().out
    assert path.read_bytes() == LAYER.data
    assert holds(moved, BAD[bad])  # until somebody has seen it
    assert regfs(["-r", str(moved.root), "gc", "purge", "--offline"]) == 0
    assert path.read_bytes() == LAYER.data
    assert lying(moved) == set()
    assert [run.state for run in runs(store_of(moved))] == ["purged"]


@every_bad
def test_a_restore_puts_a_good_blob_back_where_bad_bytes_lie(moved: TreeBuilder, bad: str) -> None:
    path = push_badly(moved, BAD[bad])
    restored = restore(store_of(moved), only_run(moved))
    assert restored.replaced == [moved.relative(path)]
    assert path.read_bytes() == LAYER.data
    assert holds(moved, BAD[bad])


def test_a_purge_deletes_the_copy_of_a_blob_that_is_good_in_place(moved: TreeBuilder) -> None:
    moved.push("app", "again", OLD)
    restored = restore(store_of(moved), only_run(moved))
    assert {one.reason for one in restored.skipped} == {"it is there again"}
    assert (restored.replaced, restored.restored) == ([], 1)  # the history of the tag
    before = moved.files()
    purge_run(store_of(moved), only_run(moved))
    assert (moved.files(), lying(moved)) == (before, set())
    # What was taken back is not said to be deleted.
    assert [run.state for run in runs(store_of(moved))] == ["restored"]


def test_of_two_bad_copies_none_is_deleted_without_discard(
    moved: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = push_badly(moved, b"bad", needed=False)
    copy = next((moved.root / ".regfs/runs").glob(f"*/quarantine/{moved.relative(path)}"))
    seen = copy.stat()
    copy.write_bytes(LAYER.data[:-1] + b"\xff")
    os.utime(copy, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert regfs(["-r", str(moved.root), "gc", "purge", "--offline"]) == 1
    assert "bad as well" in capsys.readouterr().err
    assert (path.read_bytes(), lying(moved)) == (b"bad", {copy.read_bytes().decode("latin-1")})
    (run,) = runs(store_of(moved))
    assert (run.state, run.done.blobs) == ("applied", 1)
    assert regfs(["-r", str(moved.root), "gc", "purge", "--offline", "--discard"]) == 0
    assert (path.read_bytes(), lying(moved)) == (b"bad", set())


@pytest.mark.parametrize("place", ["layer_path", "revision_path"])
def test_a_good_link_goes_back_where_an_empty_one_lies(moved: TreeBuilder, place: str) -> None:
    digest = OLD.digest if place == "revision_path" else LAYER.digest
    path: Path = getattr(moved, place)("app", digest)
    moved.write(path, b"")
    restore(store_of(moved), only_run(moved))
    assert path.read_text() == digest


def test_a_purge_checks_links_in_place_too(moved: TreeBuilder) -> None:
    path = moved.layer_path("app", LAYER.digest)
    moved.write(path, b"\0" * 71)
    purge_run(store_of(moved), only_run(moved))
    assert path.read_text() == LAYER.digest


def test_a_link_that_names_another_digest_is_left_to_a_person(moved: TreeBuilder) -> None:
    path = moved.layer_path("app", LAYER.digest)
    moved.write(path, OLD.digest)
    done = purge_run(store_of(moved), only_run(moved))
    assert [one.path for one in done.stays] == [moved.relative(path)]
    assert path.read_text() == OLD.digest


def test_a_tag_that_was_set_again_and_is_empty_is_not_rolled_back(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    tree.push("app", "old", OLD)
    block = {"repositories": ["**"], "keepTags": [{"patterns": ["v1"]}]}
    retention = RetentionPolicy.model_validate({"policies": [block]})
    assert collect(plan_of(tree, retention=retention), registry_of(tree), wait=0).done.tags == 1
    tree.write(tree.tag_path("app", "old"), b"")
    done = purge_run(store_of(tree), only_run(tree))
    assert tree.relative(tree.tag_folder("app", "old")) in {one.path for one in done.stays}
    assert tree.tag_path("app", "old").read_bytes() == b""
    restore(store_of(tree), only_run(tree))
    assert tree.current("app", "old") == OLD.digest


@pytest.mark.parametrize("discard", [False, True])
def test_a_good_item_stays_when_its_place_cannot_be_checked(
    moved: TreeBuilder, discard: bool
) -> None:
    path = moved.blob_path(LAYER.digest)
    (path / "a folder").mkdir(parents=True)
    done = purge_run(store_of(moved), only_run(moved), discard=discard)
    assert [one.path for one in done.stays] == [moved.relative(path)]
    assert holds(moved, LAYER.data)


def test_garbage_with_nothing_in_its_place_is_deleted_unread(moved: TreeBuilder) -> None:
    """Nearly all that is purged is such: it is not hashed."""
    for copy in (moved.root / ".regfs/runs").glob("*/quarantine/**/data"):
        seen = copy.stat()
        copy.write_bytes(b"x" * seen.st_size)
        os.utime(copy, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert purge(registry_of(moved), offline=True).stays == []
    assert lying(moved) == set()


def test_a_purge_killed_at_any_step_keeps_the_good_bytes(tmp_path: Path) -> None:
    for at in range(1000):
        tree = TreeBuilder(tmp_path / str(at))
        tree.push("app", "v1", OLD)
        tree.push("app", "v1", image(["new"]))
        collect(plan_of(tree, delete_untagged=True), registry_of(tree), wait=0)
        path = push_badly(tree, b"", needed=False)
        store = CrashingStore(store_of(tree), at)
        try:
            purge_run(store, only_run(tree))
        except Crash:
            assert holds(tree, LAYER.data) or path.read_bytes() == LAYER.data
            if runs(store_of(tree))[0].state == "applied":
                restore(store_of(tree), only_run(tree))
            purge_run(store_of(tree))
            assert path.read_bytes() == LAYER.data
        else:
            assert at > 10
            return
    raise AssertionError("it never came to its end")


# -- of `verify --quarantine` ---------------------------------------------------------------


@pytest.fixture
def set_aside(tree: TreeBuilder) -> TreeBuilder:
    """A registry one of whose layers was found corrupt, and is set aside."""
    tree.push("app", "v1", OLD)
    tree.blob_path(LAYER.digest).write_bytes(b"corrupt")
    assert quarantine(registry_of(tree), [Digest(LAYER.digest)]).moved
    return tree


def test_bad_bytes_stay_until_a_good_copy_has_come(
    set_aside: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-r", str(set_aside.root), "gc", "purge"]
    assert regfs(command) == 1
    assert "no good copy has come" in capsys.readouterr().err
    assert holds(set_aside, b"corrupt")
    push_badly(set_aside, LAYER.data[:5])
    assert regfs(command) == 1
    assert holds(set_aside, b"corrupt")
    set_aside.blob_path(LAYER.digest).write_bytes(LAYER.data)
    assert regfs(command) == 0
    assert lying(set_aside) == set()
    assert set_aside.blob_path(LAYER.digest).read_bytes() == LAYER.data


def test_bad_bytes_that_a_purge_left_can_be_restored(set_aside: TreeBuilder) -> None:
    purge_run(store_of(set_aside))
    restore(store_of(set_aside), only_run(set_aside))
    assert set_aside.blob_path(LAYER.digest).read_bytes() == b"corrupt"


def test_who_discards_is_not_told_to_discard(
    moved: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    (moved.blob_path(LAYER.digest) / "a folder").mkdir(parents=True)
    for flags, told in (([], True), (["--discard"], False)):
        assert regfs(["-r", str(moved.root), "gc", "purge", "--offline", *flags]) == 1
        said = capsys.readouterr()
        assert "cannot be checked" in said.err
        assert ("gc purge --discard" in said.out + said.err) is told


def test_discard_deletes_bad_bytes(set_aside: TreeBuilder) -> None:
    assert regfs(["-r", str(set_aside.root), "gc", "purge", "--discard"]) == 0
    assert lying(set_aside) == set()
    assert [run.state for run in runs(store_of(set_aside))] == ["purged"]


def test_settling_puts_no_bad_bytes_of_a_damaged_run_back(set_aside: TreeBuilder) -> None:
    damage_journal(set_aside, only_run(set_aside), lambda lines: [])
    assert settle(registry_of(set_aside)) == []
    assert not set_aside.blob_path(LAYER.digest).exists()
    assert holds(set_aside, b"corrupt")


def test_good_bytes_that_were_set_aside_go_back(set_aside: TreeBuilder) -> None:
    """The memory was bad, and not the disk."""
    (copy,) = (set_aside.root / ".regfs/runs").glob("*/quarantine/**/data")
    copy.write_bytes(LAYER.data)
    returned = purge_run(store_of(set_aside)).returned
    assert [one.digest for one in returned] == [LAYER.digest]
    assert set_aside.blob_path(LAYER.digest).read_bytes() == LAYER.data


def test_of_several_bad_blobs_those_with_a_good_copy_in_place_are_deleted(
    tree: TreeBuilder,
) -> None:
    tree.push("app", "v1", OLD)
    every = [Digest(blob.digest) for blob in OLD.blobs]
    for digest in every:
        tree.blob_path(digest).write_bytes(b"corrupt " + digest.encode())
    quarantine(registry_of(tree), every)
    tree.blob(LAYER.data)
    done = purge_run(store_of(tree))
    assert (done.files, len(done.stays)) == (1, len(every) - 1)
    (run,) = runs(store_of(tree))
    assert (run.state, run.done.blobs) == ("applied", len(every) - 1)
    restored = restore(store_of(tree), only_run(tree))
    assert (restored.restored, restored.skipped) == (len(every) - 1, [])
    assert tree.blob_path(LAYER.digest).read_bytes() == LAYER.data


# -- of heal ----------------------------------------------------------------------------------


def test_bytes_that_a_heal_replaced_stay_while_the_healed_copy_is_bad(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    source, path = Memory.of(tree), tree.blob_path(LAYER.digest)
    path.write_bytes(b"corrupt")
    heal_from(tree, source)
    path.write_bytes(b"")
    assert [one.path for one in purge_run(store_of(tree)).stays] == [tree.relative(path)]
    path.write_bytes(LAYER.data)
    assert purge_run(store_of(tree)).stays == []
    assert lying(tree) == set()


def test_the_good_bytes_of_a_restored_heal_are_not_deleted(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    source, path = Memory.of(tree), tree.blob_path(LAYER.digest)
    path.write_bytes(b"corrupt")
    run = heal_from(tree, source).run or ""
    restore(store_of(tree), run)
    assert path.read_bytes() == b"corrupt"
    returned = purge_run(store_of(tree), run).returned
    assert [one.path for one in returned] == [tree.relative(path)]
    assert path.read_bytes() == LAYER.data
    assert holds(tree, b"corrupt")


def test_a_purge_that_was_interrupted_checks_again_and_cannot_be_restored(
    moved: TreeBuilder,
) -> None:
    begun = {"purging": "2026-01-01T00:00:00Z"}
    rewrite_journal(moved, only_run(moved), lambda lines: [*lines, begun])
    assert [run.state for run in runs(store_of(moved))] == ["purging"]
    assert holds(moved, LAYER.data)
    with pytest.raises(Refused, match="purged"):
        restore(store_of(moved), only_run(moved))
    path = push_badly(moved, b"", needed=False)
    purge_run(store_of(moved), only_run(moved))
    assert path.read_bytes() == LAYER.data
