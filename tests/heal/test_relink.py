"""Links that can be proven are written, byte for byte; what is in doubt stays as it is."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

from regfs.errors import Doubt
from regfs.runs import RunKind, restore, runs
from tests.support.backups import ARM, LAYER, MULTI, ONE, relink_now, relink_plan, stocked
from tests.support.builder import Blob, TreeBuilder, blob_of, image, index
from tests.support.crashes import Crash, CrashingStore
from tests.support.damage import DAMAGE, OTHER
from tests.support.registries import store_of
from tests.support.verification import check, codes


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def places(shop: TreeBuilder) -> dict[str, Path]:
    return {
        "layer": shop.layer_path("app", LAYER),
        "config": shop.layer_path("app", ONE.blobs[0].digest),
        "revision": shop.revision_path("app", ONE.digest),
        "child": shop.revision_path("team/x", ARM.digest),
        "index": shop.tag_index_path("app", "v1", ONE.digest),
        "current": shop.tag_path("app", "v1"),
    }


PLACES = ("layer", "config", "revision", "child", "index", "current")


def test_a_whole_tree_has_nothing_to_write(shop: TreeBuilder) -> None:
    done = relink_now(shop)
    assert (done.run, done.written, done.ambiguous, done.skipped) == (None, [], [], [])
    assert not (shop.root / ".regfs").exists()


@pytest.mark.parametrize("place", [one for one in PLACES if one != "index"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_link_that_is_gone_and_proven_is_written_and_can_be_taken_back(
    shop: TreeBuilder, place: str, folder: bool
) -> None:
    good, path = shop.files(), places(shop)[place]
    shutil.rmtree(path.parent) if folder else path.unlink()
    damaged, folders = shop.files(), shop.folders()
    done = relink_now(shop)
    assert shop.files() == good
    assert [link.path for link in done.written] == [shop.relative(path)]
    assert codes(check(shop)) == []
    assert [run.kind for run in runs(store_of(shop))] == [RunKind.RELINK]
    restore(store_of(shop), done.run or "")
    assert (shop.files(), shop.folders()) == (damaged, folders)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("content", ["", "\n", "garbage", "sha256:1234", "bare", "newline"])
def test_a_damaged_link_whose_path_tells_is_written_anew(
    shop: TreeBuilder, place: str, content: str
) -> None:
    good, path = shop.files(), places(shop)[place]
    text = path.read_text()
    damage = {"bare": text.partition(":")[2], "newline": f"{text}\n"}.get(content, content)
    shop.write(path, damage)
    damaged = shop.files()
    done = relink_now(shop)
    assert shop.files() == good
    assert path.stat().st_size == 71
    assert (done.ambiguous, done.skipped) == ([], [])
    restore(store_of(shop), done.run or "")
    assert shop.files() == damaged


def test_all_links_of_an_image_but_the_tag_come_back_from_the_tag(shop: TreeBuilder) -> None:
    good = shop.files()
    for name in ("app", "team/x"):
        shutil.rmtree(shop.repository_path(name) / "_manifests/revisions")
    # What an index lists is proven by the links to all that it is made of: those stay.
    shutil.rmtree(shop.repository_path("app") / "_layers")
    order = [link.kind.value for link in relink_plan(shop).links]
    assert order == sorted(order, key=["layer-link", "revision", "tag"].index)
    relink_now(shop)
    assert shop.files() == good


# -- doubt --------------------------------------------------------------------


def stays(shop: TreeBuilder) -> None:
    before = shop.files()
    done = relink_now(shop)
    assert shop.files() == before
    assert done.written == []


@pytest.mark.parametrize("place", PLACES)
def test_a_link_that_names_another_digest_stays(shop: TreeBuilder, place: str) -> None:
    shop.write(places(shop)[place], OTHER + "\n")
    stays(shop)


@pytest.mark.parametrize("kind", ["blob-flipped", "blob-missing", "blob-empty"])
@pytest.mark.parametrize("empty", [False, True])
def test_no_link_is_written_to_a_blob_that_is_not_right(
    shop: TreeBuilder, kind: str, empty: bool
) -> None:
    shop.break_(kind, "app", "v1", LAYER)
    path = shop.layer_path("app", LAYER)
    shop.write(path, b"") if empty else path.unlink()
    stays(shop)


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind.startswith("manifest-")])
def test_a_manifest_that_is_damaged_or_not_understood_proves_nothing(
    shop: TreeBuilder, kind: str
) -> None:
    if kind in ("manifest-bogus-digest", "manifest-deep", "manifest-wrong-types") or (
        kind == "manifest-unknown-type"
    ):
        shop.break_(kind, "app", "v1")
        shutil.rmtree(shop.repository_path("app") / "_manifests/revisions")
    else:
        shop.break_(kind, "app", "v1")
        shop.revision_path("app", shop.current("app", "v1")).unlink()
    shop.layer_path("app", LAYER).unlink()
    stays(shop)


def test_a_tag_that_has_pointed_to_several_is_ambiguous(shop: TreeBuilder) -> None:
    newer = image(["newer"])
    with shop.at_age(60):
        shop.push("app", "v1", newer)
    shop.tag_path("app", "v1").unlink()
    stays(shop)
    (one,) = relink_plan(shop).ambiguous
    assert (one.repository, one.tag) == ("app", "v1")
    assert one.candidates == [newer.digest, ONE.digest]
    assert "2 of them intact" in one.reason


def test_a_tag_of_two_is_not_rolled_back_to_the_one_that_is_intact(shop: TreeBuilder) -> None:
    newer = image(["newer"])
    shop.push("app", "v1", newer)
    shop.break_("manifest-missing", "app", "v1")
    shop.write(shop.tag_path("app", "v1"), b"")
    stays(shop)
    assert "1 of them intact" in relink_plan(shop).ambiguous[0].reason


@pytest.mark.parametrize("kind", ["manifest-flipped", "manifest-missing", "revision-gone"])
def test_a_tag_is_not_pointed_to_what_is_not_served(shop: TreeBuilder, kind: str) -> None:
    if kind == "revision-gone":
        shop.delete_revision("app", ONE.digest)  # as somebody who deletes the image does first
    else:
        shop.break_(kind, "app", "v1")
    shop.tag_path("app", "v1").unlink()
    stays(shop)
    assert len(relink_plan(shop).ambiguous) == 1


def test_a_tag_without_history_stays(shop: TreeBuilder) -> None:
    shop.break_("tag-index-missing", "app", "v1")
    shop.write(shop.tag_path("app", "v1"), b"")
    stays(shop)
    assert relink_plan(shop).ambiguous[0].candidates == []


def test_an_index_of_another_repository_proves_nothing_here(shop: TreeBuilder) -> None:
    shop.push("app", "sparse", index(sparse=[image(["elsewhere"])]))
    shop.push("lib", "v1", image(["lib"]))
    shop.delete_revision("team/x", ARM.digest)
    written = [link.repository for link in relink_now(shop).written]
    assert written == ["team/x"]


@pytest.mark.parametrize("kind", ["fifo-link", "loop", "algorithm"])
def test_nothing_is_written_where_the_repository_cannot_be_seen_whole(
    shop: TreeBuilder, kind: str
) -> None:
    if kind == "algorithm":
        shop.write(shop.repository_path("app") / "_layers/md5" / ("d4" * 16) / "link", b"old")
    elif kind == "loop":
        (shop.tag_folder("app", "v1").parent / "loop").symlink_to("loop")
    else:
        shop.break_(kind, "app", "v1")
    shop.layer_path("app", LAYER).unlink()
    shop.layer_path("team/x", ARM.blobs[1].digest).unlink()
    done = relink_now(shop)
    assert [link.repository for link in done.written] == ["team/x"]
    assert "cannot be read completely" in done.skipped[0].reason


def test_a_link_by_another_algorithm_is_not_guessed(tree: TreeBuilder) -> None:
    long = Blob(blob_of("long").data, algorithm="sha512")
    tree.push("app", "v1", image([long]))
    tree.write(tree.layer_path("app", long.digest), b"")
    stays(tree)


def test_a_tree_whose_links_another_program_keeps_is_left_alone(shop: TreeBuilder) -> None:
    shop.write(shop.root / "docker/registry/lockfiles/database-in-use", b"")
    with pytest.raises(Doubt):
        relink_plan(shop)


def test_what_has_changed_since_the_plan_stays(shop: TreeBuilder) -> None:
    from regfs.heal.relink import relink
    from regfs.tree.registry import Registry

    path = shop.layer_path("app", LAYER)
    shop.write(path, b"")
    planned = relink_plan(shop)
    shop.write(path, LAYER)
    before = shop.files()
    done = relink(planned, Registry(store_of(shop)))
    assert (shop.files(), done.written) == (before, [])


# -- crashes ------------------------------------------------------------------


def test_a_crash_at_any_step_is_completed_by_the_next_and_can_be_taken_back(
    tmp_path: Path,
) -> None:
    crashed = 0
    for at in count():
        shop = stocked(TreeBuilder(tmp_path / str(at)))
        good = shop.files()
        shop.layer_path("app", LAYER).unlink()
        shop.write(shop.revision_path("team/x", MULTI.digest), b"")
        shop.tag_path("team/x", "multi").unlink()
        damaged = shop.files()
        try:
            relink_now(shop, CrashingStore(store_of(shop), at))
        except Crash:
            crashed += 1
        else:
            break
        relink_now(shop)
        assert shop.files() == good
        for run in reversed(runs(store_of(shop))):
            restore(store_of(shop), run.run)
        assert shop.files() == damaged
    assert crashed > 20
