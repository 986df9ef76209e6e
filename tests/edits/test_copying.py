"""cp and mv: the image is whole at its new place, and at its old one for as long as it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import (
    Doubt,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    ReferenceInvalid,
    Refused,
    StoreError,
)
from regfs.stores import WritableStore, open_store
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.crashes import Crash, CrashingStore
from tests.support.edits import MeddledStore, assert_pullable, editor, is_served, opened

ONE, TWO = image(["base", "one"]), image(["base", "two"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)


def stocked(root: Path) -> TreeBuilder:
    tree = TreeBuilder(root)
    tree.push("app", "multi", MULTI)
    with tree.at_age(300_000):
        tree.push("app", "v2", ONE)
    tree.push("app", "v2", TWO)
    tree.push("app", None, artifact(subject=TWO))
    return tree


@pytest.fixture
def shop(tmp_path: Path) -> TreeBuilder:
    return stocked(tmp_path / "registry")


def links(tree: TreeBuilder, name: str) -> dict[str, tuple[str, float]]:
    """Return every link of a repository by its path within, with content and time."""
    folder = tree.repository_path(name)
    found = (path for path in folder.rglob("link") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (path.read_text(), round(os.stat(path).st_mtime, 3))
        for path in found
    }


# -- cp ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["app:multi", f"app@{MULTI.digest}"])
def test_a_copy_is_whole_and_takes_no_blob(shop: TreeBuilder, source: str) -> None:
    before, folders, blobs = shop.files(), shop.folders(), shop.blobs()
    done = editor(shop).cp(source, "team/web:v1")
    assert_pullable(shop, "team/web", "v1", MULTI)
    assert_pullable(shop, "app", "multi", MULTI)
    assert shop.blobs() == blobs
    assert not is_served(shop, "team/web", TWO)
    opened(shop).restore(done.run or "")
    assert (shop.files(), shop.folders()) == (before, folders)


def test_a_copy_within_a_repository_is_a_tag(shop: TreeBuilder) -> None:
    done = editor(shop).cp("app:v2", "app:v3")
    assert [one.kind for one in done.created] == ["tag-index", "tag"]
    assert_pullable(shop, "app", "v3", TWO)


def test_a_copy_over_another_image_needs_force(shop: TreeBuilder) -> None:
    shop.push("web", "v1", ONE)
    with pytest.raises(Refused, match="give --force"):
        editor(shop).cp("app:v2", "web:v1")
    assert_pullable(shop, "web", "v1", ONE)
    editor(shop).cp("app:v2", "web:v1", force=True)
    assert_pullable(shop, "web", "v1", TWO)


@pytest.mark.parametrize(
    ("source", "new", "error"),
    [
        ("app", "web:v1", ReferenceInvalid),
        (ONE.digest, "web:v1", ReferenceInvalid),
        ("app:v2", "web", ReferenceInvalid),
        ("app:v2", "WEB:v1", NameInvalid),
        ("app:v9", "web:v1", ManifestUnknown),
    ],
)
def test_what_cannot_be_copied(shop: TreeBuilder, source: str, new: str, error: Any) -> None:
    before = shop.files("")
    with pytest.raises(error):
        editor(shop).cp(source, new)
    assert shop.files("") == before


def test_an_image_that_is_not_whole_is_not_copied(shop: TreeBuilder) -> None:
    shop.delete_layer_link("app", TWO.blobs[2].digest)
    with pytest.raises(Doubt, match="is not whole"):
        editor(shop).cp("app:v2", "web:v1")


def test_undo_leaves_what_a_later_push_relies_on(shop: TreeBuilder) -> None:
    done = editor(shop).cp("app:v2", "web:v1")
    later = image(["base", "later"])
    shop.push("web", "v2", later)  # its base was there already, by the copy
    restored = opened(shop).restore(done.run or "")
    assert [one.reason for one in restored.skipped] == [
        "something else in its repository needs it by now"
    ] * len(restored.skipped)
    assert shop.tags("web") == ["v2"]
    assert_pullable(shop, "web", "v2", later)


def test_a_push_of_the_same_tag_after_it_is_not_undone(shop: TreeBuilder) -> None:
    done = editor(shop).cp("app:v2", "web:v1")
    with shop.at_age(-60):
        shop.push("web", "v1", TWO)
    opened(shop).restore(done.run or "")
    assert_pullable(shop, "web", "v1", TWO)


@pytest.mark.parametrize(
    "call",
    [
        ("tag", "app:v2", "v3"),
        ("rollback", "app:v2"),
        ("cp", "app:v2", "web:v1"),
        ("mv", "app", "web"),
    ],
)
def test_a_tree_of_another_owner_is_left_alone(shop: TreeBuilder, call: tuple[str, ...]) -> None:
    shop.write(shop.root / "docker/registry/lockfiles/database-in-use", b"")
    before = shop.files("")
    method, *arguments = call
    with pytest.raises(Doubt, match="another program manages this tree"):
        getattr(editor(shop), method)(*arguments)
    assert shop.files("") == before


# -- mv ------------------------------------------------------------------------------------


def test_a_repository_has_all_its_links_and_their_times_under_the_new_name(
    shop: TreeBuilder,
) -> None:
    before, files, blobs = links(shop, "app"), shop.files(), shop.blobs()
    done = editor(shop).mv("app", "team/web")
    assert links(shop, "team/web") == before
    assert not shop.repository_path("app").exists()
    assert shop.blobs() == blobs
    opened(shop).restore(done.run or "")
    assert (links(shop, "app"), shop.files()) == (before, files)
    assert not shop.repository_path("team").exists()


def test_repositories_below_are_moved_if_asked_for(shop: TreeBuilder) -> None:
    shop.push("app/web", "v1", ONE)
    shop.push("app/web/deep", "v1", TWO)
    with pytest.raises(Refused, match="2 repositories lie below it, first app/web; give --recurs"):
        editor(shop).mv("app", "shop")
    editor(shop).mv("app", "shop", recursive=True)
    assert_pullable(shop, "shop", "multi", MULTI)
    assert_pullable(shop, "shop/web", "v1", ONE)
    assert_pullable(shop, "shop/web/deep", "v1", TWO)
    assert not shop.repository_path("app").exists()


def test_a_namespace_that_is_no_repository_is_moved(shop: TreeBuilder) -> None:
    shop.push("team/a", "v1", ONE)
    editor(shop).mv("team", "group", recursive=True)
    assert_pullable(shop, "group/a", "v1", ONE)


def test_what_exists_is_not_overwritten(shop: TreeBuilder) -> None:
    shop.push("web", "v1", ONE)
    shop.push("team/web", "v1", ONE)
    shop.push("team2/web", "v1", TWO)
    before = shop.files("")
    for name, new, recursive in (("app", "web", False), ("team", "team2", True)):
        with pytest.raises(Refused, match="web exists"):
            editor(shop).mv(name, new, recursive=recursive)
    assert shop.files("") == before


@pytest.mark.parametrize(
    ("name", "new", "error"),
    [
        ("nothing", "web", NameUnknown),
        ("app", "WEB", NameInvalid),
        ("app", "app", Refused),
        ("app", "../web", NameInvalid),
    ],
)
def test_what_cannot_be_moved(shop: TreeBuilder, name: str, new: str, error: Any) -> None:
    before = shop.files("")
    with pytest.raises(error):
        editor(shop).mv(name, new)
    assert shop.files("") == before


def test_a_repository_may_move_below_itself_but_not_with_all_below(shop: TreeBuilder) -> None:
    with pytest.raises(Refused, match="app/web lies below app"):
        editor(shop).mv("app", "app/web", recursive=True)
    editor(shop).mv("app", "app/web")
    assert_pullable(shop, "app/web", "multi", MULTI)
    assert shop.tags("app") == []


def test_a_storage_that_fails_half_way_says_how_to_undo_what_was_done(shop: TreeBuilder) -> None:
    before = shop.files()
    blocked = shop.write(shop.repository_path("web") / "_manifests", "in the way")
    with pytest.raises(StoreError, match="to undo what was done: regfs gc restore ") as caught:
        editor(shop).cp("app:v2", "web:v1")
    assert not shop.tag_folder("web", "v1").exists()
    run = str(caught.value).rpartition(" ")[2]
    restored = opened(shop).restore(run)
    assert {one.reason for one in restored.skipped} == {
        "its repository cannot be read completely, so something may need it"
    }
    blocked.unlink()
    opened(shop).restore(run)
    assert shop.files() == before


@pytest.mark.parametrize("place", ["tag", "revision", "layer"])
def test_a_damaged_link_refuses_the_move(shop: TreeBuilder, place: str) -> None:
    paths = {
        "tag": shop.tag_path("app", "v2"),
        "revision": shop.revision_path("app", TWO.digest),
        "layer": shop.layer_path("app", TWO.blobs[2].digest),
    }
    shop.write(paths[place], ONE.digest + "\n")
    before = shop.files("docker")
    with pytest.raises(Doubt, match="is damaged"):
        editor(shop).mv("app", "web")
    assert shop.files("docker") == before


def test_a_push_to_the_old_name_meanwhile_stays_whole(shop: TreeBuilder) -> None:
    """docker-registry checks the layers, the repository moves, the manifest is written."""
    later = image(["base", "two"], {"author": "later"})
    shop.push("other", "v1", later)

    def finish_push() -> None:
        with shop.at_age(0):
            shop.layer_link("app", later.blobs[0].digest)
            shop.revision("app", later.digest)
            shop.tag("app", "late", later.digest)

    store: WritableStore = MeddledStore(open_store(str(shop.root)), "sync", finish_push)
    done = editor(shop, store).mv("app", "web")
    assert done.returned
    assert_pullable(shop, "app", "late", later)
    assert_pullable(shop, "web", "v2", TWO)


def test_undo_of_a_move_leaves_what_a_later_push_relies_on(shop: TreeBuilder) -> None:
    done = editor(shop).mv("app", "web")
    later = image(["base", "later"])
    with shop.at_age(-60):
        shop.push("web", "late", later)
    opened(shop).restore(done.run or "")
    assert_pullable(shop, "web", "late", later)
    assert_pullable(shop, "app", "multi", MULTI)
    assert shop.tags("web") == ["late"]


def test_links_that_one_undo_took_out_come_back_when_another_needs_them(
    shop: TreeBuilder,
) -> None:
    moved = editor(shop).mv("app", "web")
    removed = editor(shop).rm("web:v2")
    opened(shop).restore(moved.run or "")
    restored = opened(shop).restore(removed.run or "")
    assert restored.along
    assert_pullable(shop, "web", "v2", TWO)
    assert_pullable(shop, "app", "v2", TWO)


def finished(tree: TreeBuilder) -> dict[str, str]:
    """Return every file but the half of one that a crash has left, for the next run to delete."""
    return {path: found for path, found in tree.files().items() if ".regfs-tmp" not in path}


# -- crashes ---------------------------------------------------------------------------------


def test_at_any_crash_of_a_move_every_image_has_one_of_its_names(tmp_path: Path) -> None:
    for at in range(0, 1000, 5):
        tree = stocked(tmp_path / str(at))
        before = tree.files()
        store: WritableStore = CrashingStore(open_store(str(tree.root)), at)
        try:
            editor(tree, store).mv("app", "web")
        except Crash:
            for tag, content in (("multi", MULTI), ("v2", TWO)):
                names = [one for one in ("app", "web") if tree.tag_path(one, tag).exists()]
                assert names
                for name in names:
                    assert_pullable(tree, name, tag, content)
            for run in opened(tree).runs():
                opened(tree).restore(run.run)
            assert finished(tree) == before
        else:
            assert at > 100
            return


def test_at_any_crash_of_a_copy_the_tag_is_whole_or_not_there(tmp_path: Path) -> None:
    for at in range(0, 1000, 3):
        tree = stocked(tmp_path / str(at))
        before = tree.files()
        store: WritableStore = CrashingStore(open_store(str(tree.root)), at)
        try:
            editor(tree, store).cp("app:multi", "web:v1")
        except Crash:
            if tree.tag_path("web", "v1").exists():
                assert_pullable(tree, "web", "v1", MULTI)
            for run in opened(tree).runs():
                opened(tree).restore(run.run)
            assert finished(tree) == before
        else:
            assert at > 30
            return
