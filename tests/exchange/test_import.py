"""import: images of any root get into a tree whole, or not at all, and out again."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

import regfs
from regfs.cli.app import run
from regfs.errors import Doubt, LockHeld, ReferenceInvalid, Refused
from regfs.exchange.importing import ImportOptions, Origin, import_images
from regfs.exchange.report import ImportReport
from regfs.findings import Code
from regfs.gc.policy import Policy
from regfs.runs.lock import exclusive
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.archives import compressed, packed
from tests.support.builder import TreeBuilder, image, index
from tests.support.copies import ARM, MULTI, ONE, SIGNED, TWO, exported, files, links
from tests.support.crashes import Crash, CrashingStore
from tests.support.edits import assert_pullable, is_served
from tests.support.registries import Oracle, Recipe, build, fewer, new_tree, recipes


@pytest.fixture
def live(tmp_path: Path) -> TreeBuilder:
    """Return a tree that has images of its own."""
    other = TreeBuilder(tmp_path / "live")
    other.push("app", "old", image(["old"]))
    return other


def imported(tree: TreeBuilder, source: Path | str, *references: str, **how: Any) -> ImportReport:
    return regfs.open(str(tree.root)).import_from(str(source), *references, **how)


def everything(tree: TreeBuilder) -> dict[str, bytes]:
    return files(tree.v2)


@pytest.mark.parametrize(
    "form", ["tree", "tar", "tar.gz", "tar.zst", "oci", "oci.tar", "oci.tar.gz"]
)
def test_all_images_come_from_every_form(
    shop: TreeBuilder, live: TreeBuilder, tmp_path: Path, form: str
) -> None:
    source = tmp_path / "source"
    if form.startswith("oci"):
        exported(shop, source, format="oci")
        if form != "oci":
            data = compressed(packed(source), form.removeprefix("oci."))
            source = tmp_path / f"source.{form}"
            source.write_bytes(data)
    elif form == "tree":
        source = shop.root
    else:
        source = tmp_path / f"source.{form}"
        source.write_bytes(compressed(packed(shop.root), form))
    done = imported(live, source)
    assert done.findings == []
    assert_pullable(live, "app", "multi", MULTI)
    assert_pullable(live, "app", "v2", TWO)
    assert_pullable(live, "app", "old", image(["old"]))
    assert is_served(live, "app", SIGNED)
    assert regfs.open(str(live.root)).verify().findings == ()
    if "oci" not in form:
        mine = {path: said for path, said in links(live).items() if path in links(shop)}
        assert mine == links(shop)  # times and the history of tags too


def test_an_import_can_be_undone(shop: TreeBuilder, live: TreeBuilder) -> None:
    live.push("app", "v2", ONE)
    before = links(live)
    done = imported(live, shop.root, replace=True)
    assert live.current("app", "v2") == TWO.digest
    tree = regfs.open(str(live.root))
    assert done.edit.run is not None
    tree.restore(done.edit.run)
    assert links(live) == before
    live.age(200_000)
    tree.apply(tree.plan(Policy(min_age=0.0)))
    tree.purge(offline=True)
    assert live.blobs() == Oracle(live).blobs


def test_a_tag_that_points_elsewhere_moves_only_when_that_is_asked_for(
    shop: TreeBuilder, live: TreeBuilder
) -> None:
    live.push("app", "v2", ARM)
    before = everything(live)
    with pytest.raises(Refused, match="app:v2 point elsewhere here; give --replace"):
        imported(live, shop.root)
    assert everything(live) == before
    imported(live, shop.root, replace=True)
    assert_pullable(live, "app", "v2", TWO)


def test_the_same_again_does_nothing(shop: TreeBuilder, live: TreeBuilder) -> None:
    imported(live, shop.root)
    before = everything(live)
    done = imported(live, shop.root)
    assert (done.edit.run, done.edit.created) == (None, [])
    assert everything(live) == before


def test_a_dry_run_writes_nothing_and_says_the_same(shop: TreeBuilder, live: TreeBuilder) -> None:
    before = everything(live)
    would = imported(live, shop.root, dry_run=True)
    assert everything(live) == before
    done = imported(live, shop.root)
    assert would.edit.created == done.edit.created
    assert would.edit.transferred == done.edit.transferred


def test_references_bring_what_they_need(shop: TreeBuilder, live: TreeBuilder) -> None:
    imported(live, shop.root, "app:multi")
    assert_pullable(live, "app", "multi", MULTI)
    assert is_served(live, "app", SIGNED)
    assert live.tags("app") == ["multi", "old"]


# -- whole, or not at all --------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["blob-missing", "blob-flipped", "layer-link-missing", "layer-link-other", "manifest"]
)
def test_nothing_is_linked_unless_all_of_it_is_there(
    shop: TreeBuilder, live: TreeBuilder, damage: str
) -> None:
    layer = ONE.blobs[-1].digest
    if damage == "blob-missing":
        shop.blob_path(layer).unlink()
    elif damage == "blob-flipped":
        shop.blob_path(layer).write_bytes(b"x" * shop.blob_path(layer).stat().st_size)
    elif damage == "layer-link-missing":
        shop.layer_path("app", layer).unlink()
    elif damage == "layer-link-other":
        shop.layer_path("app", layer).write_text(TWO.blobs[-1].digest)
    else:
        shop.blob_path(ARM.digest).unlink()
    before = links(live)
    with pytest.raises(Doubt, match="nothing was linked"):
        imported(live, shop.root)
    assert links(live) == before
    assert run(["-r", str(live.root), "import", str(shop.root)]) == 3


def test_what_an_index_lists_and_was_never_pushed_may_be_absent(
    tree: TreeBuilder, live: TreeBuilder
) -> None:
    tree.push("app", "multi", index(ONE, sparse=[ARM]))
    done = imported(live, tree.root)
    assert is_served(live, "app", ONE)
    assert {one.code for one in done.findings} == {Code.INDEX_CHILD_MISSING}


def test_bytes_that_did_not_come_along_give_no_link(tree: TreeBuilder, live: TreeBuilder) -> None:
    secret = live.push("private", "v1", TWO)
    tree.push("public", "v1", TWO)
    for blob in TWO.blobs:
        tree.blob_path(blob.digest).unlink()
    with pytest.raises(Doubt, match="nothing was linked"):
        imported(live, tree.root)
    assert not live.repository_path("public").exists()
    assert live.current("private", "v1") == secret


def test_an_incremental_export_is_restored_with_its_former_one(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    exported(shop, tmp_path / "full.tar", list_file=str(tmp_path / "list"))
    shop.push("app", "v3", image(["base", "three"]))
    shop.untag("app", "multi")
    exported(shop, tmp_path / "more.tar", since=[str(tmp_path / "list")])
    fresh = TreeBuilder(tmp_path / "fresh")
    with pytest.raises(Doubt, match="--with FORMER"):
        imported(fresh, tmp_path / "more.tar")
    imported(fresh, tmp_path / "more.tar", former=[str(tmp_path / "full.tar")])
    assert links(fresh) == links(shop)
    assert fresh.blobs() == Oracle(shop).blobs
    both = TreeBuilder(tmp_path / "both")
    imported(both, tmp_path / "full.tar")
    imported(both, tmp_path / "more.tar")  # the same repositories have the rest
    assert_pullable(both, "app", "v3", image(["base", "three"]))


def test_something_else_in_the_place_of_a_blob_is_left_alone(
    shop: TreeBuilder, live: TreeBuilder
) -> None:
    live.write(live.blob_path(ONE.blobs[0].digest), b"half")
    with pytest.raises(Doubt, match="has 4 bytes, and not"):
        imported(live, shop.root)
    assert live.blob_path(ONE.blobs[0].digest).read_bytes() == b"half"


def test_a_run_that_is_under_way_is_waited_for_or_refused(
    shop: TreeBuilder, live: TreeBuilder
) -> None:
    before = links(live)
    with exclusive(open_store(str(live.root))), pytest.raises(LockHeld):
        imported(live, shop.root)
    assert links(live) == before


def test_the_tree_itself_is_refused(live: TreeBuilder) -> None:
    with pytest.raises(ReferenceInvalid, match="is the tree itself"):
        imported(live, live.root)


def test_names_that_nobody_can_ask_for_are_left_out(
    shop: TreeBuilder, live: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.push("Bad\x1b[2J/x", "v1", ONE)
    shop.push("app", "-bad", ONE)
    assert run(["-r", str(live.root), "import", str(shop.root)]) == 1
    said = capsys.readouterr().out
    assert "repository-invalid-name" in said
    assert "\x1b[2J" not in said
    assert live.tags("app") == ["multi", "old", "v2"]


def test_paths_of_a_hostile_archive_never_leave_the_tree(
    shop: TreeBuilder, live: TreeBuilder, tmp_path: Path
) -> None:
    source = tmp_path / "evil.tar"
    source.write_bytes(packed(shop.root))
    evil = ["../../outside", "/etc/outside"]
    evil += [f"docker/registry/v2/repositories/{name}/_manifests/tags/x/current/link"
             for name in ("../../../../out", "a/./b", "..")]  # fmt: skip
    with tarfile.open(source, "a") as archive:
        for name in evil:
            member = tarfile.TarInfo(name)
            archive.addfile(member)
    before = sorted(path.name for path in tmp_path.iterdir())
    imported(live, source)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert_pullable(live, "app", "multi", MULTI)


# -- crashes -----------------------------------------------------------------------------------


def test_a_crash_at_any_moment_leaves_no_link_that_leads_nowhere(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    tree.push("app", "v1", MULTI)
    origin = regfs.open(str(tree.root))
    source = Origin(origin.graph, origin.registry)
    at = crashed = 0
    while True:
        place = TreeBuilder(tmp_path / f"at-{at}")
        place.push("app", "old", image(["old"]))
        store = CrashingStore(open_store(str(place.root)), at)
        try:
            import_images(source, (), Registry(store), ImportOptions())
        except Crash:
            crashed += 1
        else:
            break
        for path in place.v2.rglob("link"):
            assert place.blob_path(path.read_text()).exists(), (at, path)
        assert_pullable(place, "app", "old", image(["old"]))
        imported(place, tree.root)
        assert_pullable(place, "app", "v1", MULTI)
        shutil.rmtree(place.root)
        at += 7
    assert crashed > 3


# -- the law -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tree", "oci"])
@fewer(5, 8)
@given(recipe=recipes(sparse=False))
def test_what_was_exported_and_imported_is_the_same(form: str, recipe: Recipe) -> None:
    with new_tree() as tree, new_tree() as fresh:
        build(tree, recipe)
        wanted = Oracle(tree)
        place = fresh.root / "copy"
        exported(tree, place, format=form)
        imported(fresh, place)
        found = Oracle(fresh)
        assert found.blobs & found.present == wanted.blobs & wanted.present
        for name in wanted.names:
            assert found.revisions(name) == wanted.revisions(name)
            assert fresh.tags(name) == tree.tags(name)
            for tag in tree.tags(name):
                assert fresh.current(name, tag) == tree.current(name, tag)


def test_a_name_that_begins_like_a_host_keeps_it_in_a_layout(
    tree: TreeBuilder, live: TreeBuilder, tmp_path: Path
) -> None:
    tree.push("docker.io/library/app", "v1", ONE)
    tree.push("docker.io/library/app", None, TWO)
    exported(tree, tmp_path / "layout", format="oci")
    imported(live, tmp_path / "layout")
    assert_pullable(live, "docker.io/library/app", "v1", ONE)
    assert is_served(live, "docker.io/library/app", TWO)
    index = tmp_path / "layout/index.json"
    index.write_text(index.read_text().replace('"docker.io/library/app"', '"../../etc"'))
    other = TreeBuilder(tmp_path / "other")
    imported(other, tmp_path / "layout")  # what no export would say is not believed
    assert_pullable(other, "app", "v1", ONE)


def test_an_import_says_what_it_did(
    shop: TreeBuilder, live: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", str(live.root), "import", str(shop.root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["edit"]["kind"] == "import"
    assert said["edit"]["transferred"]["blobs"] == len(Oracle(shop).blobs)
