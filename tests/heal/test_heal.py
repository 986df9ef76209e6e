"""Healing: what is fetched, what is put in place and when, and that it can be taken back."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from typing import Any

import pytest

from regfs.digest import Digest
from regfs.errors import LockHeld
from regfs.heal.repair import heal
from regfs.heal.report import HealState
from regfs.runs import RunKind, restore, runs
from regfs.runs.lock import exclusive
from regfs.tree.registry import Registry
from regfs.verify import Level
from tests.support.backups import (
    ARM,
    LAYER,
    MULTI,
    ONE,
    Endless,
    Memory,
    backup,
    heal_from,
    plan_of,
    states,
    stocked,
    wrong,
)
from tests.support.builder import TreeBuilder, image, index
from tests.support.registries import store_of
from tests.support.verification import check, codes


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


# -- what is fetched ----------------------------------------------------------


def test_a_whole_tree_needs_nothing_and_no_run_is_begun(shop: TreeBuilder) -> None:
    healed = heal_from(shop, Memory({}))
    assert (healed.run, healed.outcomes, healed.broken) == (None, [], 0)
    assert not (shop.root / ".regfs").exists()


KINDS = (
    "blob-flipped",
    "blob-truncated",
    "blob-grown",
    "blob-empty",
    "blob-missing",
    "blob-folder-missing",
    "fifo-data",
    "folder-data",
    "symlink-outside",
    "symlink-dangling",
    "manifest-missing",
    "manifest-empty",
    "manifest-flipped",
    "manifest-truncated",
    "manifest-not-json",
    "manifest-other-json",
    "manifest-too-large",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "tag"), [("app", "v1"), ("team/x", "multi")])
def test_every_damage_to_content_is_healed_and_can_be_taken_back(
    shop: TreeBuilder, kind: str, name: str, tag: str
) -> None:
    whole, good = backup(shop), shop.files()
    shop.break_(kind, name, tag)
    damaged, folders = shop.files(), shop.folders()
    healed = heal_from(shop, whole.root)
    assert shop.files() == good
    assert codes(check(shop)) == []
    assert healed.broken == 0
    restore(store_of(shop), healed.run or "")
    assert (shop.files(), shop.folders()) == (damaged, folders)


def test_only_what_is_needed_is_asked_for(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-flipped", "app", "v1", LAYER)
    heal_from(shop, source)
    assert [wanted.digest for wanted in source.asked] == [LAYER]
    assert source.asked[0].repositories == ("app", "team/x")
    assert source.asked[0].size == len(ONE.blobs[1].data)


def test_a_manifest_that_is_fetched_names_more_that_is_missing(shop: TreeBuilder) -> None:
    source, good = Memory.of(shop), shop.files()
    for content in (MULTI, ARM):
        shop.delete_blob(content.digest)
        for blob in content.blobs:
            shop.delete_blob(blob.digest)
    healed = heal_from(shop, source)
    assert shop.files() == good
    order = [one.digest for one in healed.outcomes]
    assert order.index(Digest(ARM.digest)) < order.index(Digest(MULTI.digest))
    for blob in ARM.blobs:
        assert order.index(Digest(blob.digest)) < order.index(Digest(ARM.digest))


def test_what_an_index_lists_and_nobody_pushed_is_fetched_on_demand(tree: TreeBuilder) -> None:
    away = image(["away"], platform="linux/s390x")
    tree.push("app", "v1", index(ONE, sparse=[away]))
    other = TreeBuilder(tree.root.with_name("other"))
    other.push("app", "v1", away)
    assert plan_of(tree, Memory.of(other)).items == []
    healed = heal_from(tree, Memory.of(other), sparse=True)
    assert healed.healed == 1 + len(away.blobs)
    assert tree.document(away.digest) == away.document


def test_a_dangling_layer_link_that_no_image_needs_is_no_loss(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    digest = shop.add_blob("app", "unused")
    source.content[digest] = shop.blob_path(digest).read_bytes()
    shop.delete_blob(digest)
    assert plan_of(shop, source).items == []


def test_level_sizes_finds_what_is_empty_missing_or_short_without_hashing(
    shop: TreeBuilder,
) -> None:
    source, good = Memory.of(shop), shop.files()
    shop.break_("blob-truncated", "app", "v1", LAYER)
    shop.break_("blob-empty", "team/x", "multi", ARM.blobs[1].digest)
    planned = plan_of(shop, source, level=Level.SIZES)
    assert {item.code for item in planned.items} == {"blob-size-mismatch", "blob-corrupt"}
    heal_from(shop, source, level=Level.SIZES)
    assert shop.files() == good


def test_a_plan_changes_nothing_and_counts_bytes(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-missing", "app", "v1", LAYER)
    shop.break_("manifest-missing", "team/x", "multi")
    del source.content[MULTI.digest]
    before = shop.files("")
    planned = plan_of(shop, source)
    assert shop.files("") == before
    assert (planned.fetch, planned.lacking) == (1, 1)
    assert planned.bytes == len(ONE.blobs[1].data)


# -- sources that are not to be trusted ---------------------------------------


@pytest.mark.parametrize(
    "given", [b"", b"wrong", ONE.blobs[1].data[:-1], ONE.blobs[1].data + b"\0"]
)
@pytest.mark.parametrize("kind", ["blob-flipped", "blob-missing"])
def test_wrong_bytes_never_reach_the_tree(shop: TreeBuilder, given: bytes, kind: str) -> None:
    whole = Memory.of(shop)
    shop.break_(kind, "app", "v1", LAYER)
    shop.break_("manifest-missing", "team/x", "multi")
    damaged = shop.blob_path(LAYER).exists() and shop.blob_path(LAYER).read_bytes()
    whole.content[LAYER] = given
    healed = heal_from(shop, whole)
    assert states(healed)[Digest(LAYER)] is HealState.WRONG
    assert (shop.blob_path(LAYER).exists() and shop.blob_path(LAYER).read_bytes()) == damaged
    assert states(healed)[Digest(MULTI.digest)] is HealState.HEALED
    assert healed.broken == 1
    assert [p.name for p in shop.blob_path(LAYER).parent.iterdir() if p.name != "data"] == []


def test_a_source_without_end_is_left_when_it_gives_too_much(shop: TreeBuilder) -> None:
    endless: Any = Endless()
    shop.break_("blob-missing", "app", "v1", LAYER)
    healed = heal_from(shop, Memory({LAYER: lambda: endless}))
    assert states(healed) == {Digest(LAYER): HealState.WRONG}
    assert endless.given <= 1 << 20


def test_a_manifest_without_end_is_left_too(shop: TreeBuilder) -> None:
    given: list[Endless] = []

    def give() -> Any:
        given.append(Endless())
        return given[-1]

    shop.break_("manifest-missing", "app", "v1")
    assert states(heal_from(shop, Memory({ONE.digest: give}))) == {
        Digest(ONE.digest): HealState.WRONG
    }
    assert sum(endless.given for endless in given) <= 16 << 20


def test_what_a_source_lacks_or_fails_at_is_told_and_the_rest_goes_on(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    for digest in (LAYER, ARM.blobs[1].digest, MULTI.digest):
        shop.delete_blob(digest)
    source.content[LAYER] = OSError("it hangs")
    del source.content[ARM.blobs[1].digest]
    healed = heal_from(shop, source)
    assert states(healed) == {
        Digest(LAYER): HealState.FAILED,
        Digest(ARM.blobs[1].digest): HealState.LACKING,
        Digest(MULTI.digest): HealState.HEALED,
    }
    assert healed.broken == 2


def test_what_was_pushed_again_meanwhile_is_left_alone(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    good = shop.blob_path(LAYER).read_bytes()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    planned = plan_of(shop, source)
    shop.write(shop.blob_path(LAYER), good)
    inode = shop.blob_path(LAYER).stat().st_ino
    healed = heal(planned, Registry(store_of(shop)), source)
    assert states(healed) == {Digest(LAYER): HealState.WAS_RIGHT}
    assert (shop.blob_path(LAYER).stat().st_ino, healed.broken) == (inode, 0)


def test_what_is_pushed_again_while_it_is_fetched_is_left_alone(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    good = shop.blob_path(LAYER).read_bytes()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    planned = plan_of(shop, source)

    def push_then_give() -> Any:
        shop.blob_path(LAYER).unlink()
        shop.write(shop.blob_path(LAYER), good)
        return io.BytesIO(good)

    source.content[LAYER] = push_then_give
    healed = heal(planned, Registry(store_of(shop)), source)
    assert states(healed) == {Digest(LAYER): HealState.WAS_RIGHT}
    assert list(shop.root.glob(".regfs/runs/*/quarantine/**/data")) == []


def test_others_change_the_tree_while_a_source_is_read(shop: TreeBuilder) -> None:
    source, held = Memory.of(shop), []
    good = shop.blob_path(LAYER).read_bytes()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    planned = plan_of(shop, source)

    def push_then_give() -> Any:
        with exclusive(store_of(shop), timeout=0), pytest.raises(LockHeld):
            held.append("the tree is ours")
            heal(planned, Registry(store_of(shop)), source)
        return io.BytesIO(good)

    source.content[LAYER] = push_then_give
    healed = heal(planned, Registry(store_of(shop)), source)
    assert (states(healed), held) == ({Digest(LAYER): HealState.HEALED}, ["the tree is ours"])
    assert not (shop.root / ".regfs/heal").exists()


def test_what_was_fetched_waits_for_the_end_of_another_run(
    shop: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, other = Memory.of(shop), ExitStack()
    good = shop.blob_path(LAYER).read_bytes()
    shop.break_("blob-flipped", "app", "v1", LAYER)

    def begin_then_give() -> Any:
        other.enter_context(exclusive(store_of(shop)))
        return io.BytesIO(good)

    source.content[LAYER] = begin_then_give
    monkeypatch.setattr("regfs.heal.repair.time.sleep", lambda seconds: other.close())
    assert heal_from(shop, source).broken == 0
    assert shop.blob_path(LAYER).read_bytes() == good


def test_what_a_heal_that_was_killed_has_fetched_is_not_fetched_again(shop: TreeBuilder) -> None:
    source, good = Memory.of(shop), shop.files()
    other = ARM.blobs[1].digest
    for digest, data in ((LAYER, ONE.blobs[1].data), (other, b"half of it")):
        shop.delete_blob(digest)
        shop.write(shop.root / f".regfs/heal/sha256/{digest[7:]}", data)
    healed = heal_from(shop, source)
    assert [wanted.digest for wanted in source.asked] == [other]
    assert (healed.broken, shop.files()) == (0, good)
    assert not (shop.root / ".regfs/heal").exists()


def test_ctrl_c_puts_in_place_what_was_fetched(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    for digest in (LAYER, MULTI.digest):
        shop.delete_blob(digest)
    planned = plan_of(shop, source)

    def interrupt() -> Any:
        raise KeyboardInterrupt

    source.content[MULTI.digest] = interrupt
    healed = heal(planned, Registry(store_of(shop)), source)
    assert (healed.stopped, states(healed)) == ("interrupted", {Digest(LAYER): HealState.HEALED})
    assert shop.blob_path(LAYER).exists()
    assert healed.broken == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_is_put_in_place_belongs_to_the_owner_of_the_tree(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-flipped", "app", "v1", LAYER)
    for folder, _, _ in os.walk(shop.root / "docker"):
        os.chown(folder, 4242, 4242)
    assert heal_from(shop, source).broken == 0
    assert shop.blob_path(LAYER).stat().st_uid == 4242


def test_nothing_is_done_while_another_holds_the_lock(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-missing", "app", "v1", LAYER)
    before = shop.files()
    with store_of(shop).lock(".regfs/lock", "somebody else"), pytest.raises(LockHeld):
        heal_from(shop, source)
    assert shop.files() == before
    assert source.asked == []


# -- taking back --------------------------------------------------------------


def test_a_run_says_of_what_kind_it_is_and_what_it_did(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-flipped", "app", "v1", LAYER)
    shop.break_("manifest-missing", "app", "v1")
    heal_from(shop, source)
    (run,) = runs(store_of(shop))
    assert (run.kind, run.state, run.done.blobs, run.made.blobs) == (RunKind.HEAL, "applied", 1, 2)


def test_what_was_pushed_since_is_not_taken_out(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-flipped", "app", "v1", LAYER)
    run = heal_from(shop, source).run or ""
    shop.write(shop.blob_path(LAYER), b"not what the run wrote")
    before = shop.files()
    restored = restore(store_of(shop), run)
    assert shop.files() == before
    assert [skip.reason for skip in restored.skipped] == ["it has changed since the run wrote it"]


def test_one_digest_of_a_heal_can_be_taken_back_alone(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-flipped", "app", "v1", LAYER)
    shop.break_("manifest-missing", "app", "v1")
    run = heal_from(shop, source).run or ""
    restore(store_of(shop), run, digests=frozenset([LAYER]))
    assert wrong(shop) == [LAYER]
    assert shop.blob_path(ONE.digest).exists()


def test_taking_back_twice_is_taking_back_once(shop: TreeBuilder) -> None:
    source = Memory.of(shop)
    shop.break_("blob-flipped", "app", "v1", LAYER)
    damaged = shop.files()
    run = heal_from(shop, source).run or ""
    restore(store_of(shop), run)
    again = restore(store_of(shop), run)
    assert (again.restored, again.removed, again.skipped) == (0, 0, [])
    assert shop.files() == damaged
