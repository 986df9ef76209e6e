"""export: a copy has what it should, nothing that is damaged, and goes on where it stopped."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given

import regfs
from regfs.cli.app import run
from regfs.errors import LockHeld, Refused
from regfs.exchange.export import ExportOptions, export
from regfs.exchange.media import StoreMedium
from regfs.findings import Code
from regfs.runs.lock import exclusive
from regfs.stores import Writer, open_store
from regfs.tree.copied import MARK
from tests.support.builder import TreeBuilder, image
from tests.support.copies import LARGE, MULTI, ONE, SIGNED, TWO, exported, files, links
from tests.support.edits import assert_pullable, is_served
from tests.support.registries import Oracle, Recipe, build, fewer, new_tree, recipes


def unpacked(tar: Path | bytes, folder: Path) -> TreeBuilder:
    data = tar if isinstance(tar, bytes) else tar.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return TreeBuilder(folder)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_copy_has_all_that_is_reached_with_its_times(
    shop: TreeBuilder, tmp_path: Path, form: str
) -> None:
    if form == "folder":
        done = exported(shop, tmp_path / "copy")
        copy = TreeBuilder(tmp_path / "copy")
    else:
        done = exported(shop, tmp_path / "copy.tar")
        copy = unpacked(tmp_path / "copy.tar", tmp_path / "copy")
    assert links(copy) == links(shop)
    assert copy.blobs() == Oracle(shop).blobs
    assert done.copied.blobs == len(copy.blobs())
    assert done.findings == []
    assert regfs.open(str(copy.root)).verify().findings == ()


def test_references_bring_what_they_need_and_nothing_else(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    exported(shop, tmp_path / "copy", "app:multi")
    copy = TreeBuilder(tmp_path / "copy")
    assert_pullable(copy, "app", "multi", MULTI)
    assert is_served(copy, "app", SIGNED)  # it is about a child of the index
    assert copy.tags("app") == ["multi"]
    assert not copy.revision_path("app", TWO.digest).exists()
    assert not copy.repository_path("team/other").exists()


def test_a_signature_brings_its_image_and_tags_named_after_an_image_go_along(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    tree.push("app", "v1", ONE)
    tree.push("app", None, SIGNED)
    tree.fallback("app", ONE.digest, SIGNED)
    tree.push("app", f"{ONE.digest.replace(':', '-')}.sig", TWO)
    exported(tree, tmp_path / "a", f"app@{SIGNED.digest}")
    assert is_served(TreeBuilder(tmp_path / "a"), "app", ONE)
    exported(tree, tmp_path / "b", "app:v1")
    name = ONE.digest.replace(":", "-")
    assert TreeBuilder(tmp_path / "b").tags("app") == sorted(["v1", name, f"{name}.sig"])


def test_a_repository_brings_its_tags_and_one_without_tags_its_manifests(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    shop.push("bare", None, TWO)
    shop.push("app", None, image(["untagged"]))
    exported(shop, tmp_path / "copy", "app", "bare")
    copy = TreeBuilder(tmp_path / "copy")
    assert copy.tags("app") == ["multi", "v2"]
    assert is_served(copy, "bare", TWO)
    assert not copy.revision_path("app", image(["untagged"]).digest).exists()


@pytest.mark.parametrize("to", ["copy", "copy.tar", "-"])
@pytest.mark.parametrize("layer", ["one", LARGE])
def test_what_is_damaged_is_told_and_not_written(
    shop: TreeBuilder, tmp_path: Path, to: str, layer: str | bytes
) -> None:
    victim = image([layer]).blobs[-1].digest
    path = shop.blob_path(victim)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    place = to if to == "-" else str(tmp_path / to)
    program = [sys.executable, "-m", "regfs", "-r", str(shop.root), "export", "--to", place]
    done = subprocess.run(program, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"blob-corrupt" in done.stdout + done.stderr
    if to == "-":
        copy = unpacked(done.stdout, tmp_path / "copy")
    elif to == "copy":
        copy = TreeBuilder(tmp_path / "copy")
    else:
        copy = unpacked(tmp_path / to, tmp_path / "copy")
    assert copy.blobs() == Oracle(shop).blobs - {victim}
    assert copy.tags("app") == ["multi", "v2"]
    assert regfs.open(str(copy.root)).verify().counts.keys() == {("error", Code.BLOB_MISSING)}


def test_a_copy_goes_on_where_it_was_killed(tree: TreeBuilder, tmp_path: Path) -> None:
    for number in range(60):
        tree.push("app", f"v{number}", image([f"layer {number}", os.urandom(200_000)]))
    program = [sys.executable, "-m", "regfs", "-r", str(tree.root), "export", "--to"]
    copy = TreeBuilder(tmp_path / "copy")
    for path in (copy.v2, copy.v2.parent, copy.v2.parent.parent):
        for part in path.iterdir():
            part.rmdir()
        path.rmdir()
    for wanted in (5, 40, 90, 150):
        process = subprocess.Popen([*program, str(copy.root)], stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(copy.v2.rglob("data"))) < wanted:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        for link in copy.v2.rglob("link"):
            assert copy.blob_path(link.read_text()).exists()
    before = {path: path.stat().st_ino for path in copy.v2.rglob("data")}
    done = exported(tree, copy.root)
    assert 0 < done.present.blobs <= len(before)
    assert {path: path.stat().st_ino for path in before} == before
    assert links(copy) == links(tree)
    assert regfs.open(str(copy.root)).verify().findings == ()


def test_a_file_of_another_size_does_not_count(shop: TreeBuilder, tmp_path: Path) -> None:
    exported(shop, tmp_path / "copy")
    copy = TreeBuilder(tmp_path / "copy")
    victim = copy.blob_path(TWO.blobs[-1].digest)
    victim.write_bytes(LARGE[:1000])
    copy.layer_path("app", ONE.blobs[0].digest).write_text("")
    done = exported(shop, tmp_path / "copy")
    assert done.copied.blobs == 1
    assert victim.read_bytes() == shop.blob_path(TWO.blobs[-1].digest).read_bytes()
    assert {path: said for path, (said, _) in links(copy).items()} == {
        path: said for path, (said, _) in links(shop).items()
    }


def test_what_is_new_comes_and_nothing_is_removed(shop: TreeBuilder, tmp_path: Path) -> None:
    exported(shop, tmp_path / "copy")
    shop.untag("app", "multi")
    shop.push("app", "v3", image(["base", "three"]))
    done = exported(shop, tmp_path / "copy")
    assert done.copied.blobs == 3
    assert TreeBuilder(tmp_path / "copy").tags("app") == ["multi", "v2", "v3"]


def test_only_what_a_killed_export_was_writing_is_deleted(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    exported(shop, tmp_path / "copy")
    copy = TreeBuilder(tmp_path / "copy")
    half = copy.blob_path(ONE.digest).with_name(".data.0123456789ab.regfs-tmp")
    others = [half.with_name(name) for name in ("data.regfs-tmp", ".data.tmp", ".regfs-tmp")]
    others[2].mkdir()
    for path in (half, *others[:2]):
        path.write_text("half")
    exported(shop, tmp_path / "copy")  # the export before has ended: whose these are is unknown
    assert half.exists()
    (tmp_path / "copy" / MARK).write_text('{"begun_at": "2026-11-29T18:57:31Z"}')
    exported(shop, tmp_path / "copy")
    assert not half.exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("form", ["tree", "oci"])
def test_a_tag_in_a_copy_moves_only_when_that_is_asked_for(
    shop: TreeBuilder, tmp_path: Path, form: str
) -> None:
    exported(shop, tmp_path / "copy", format=form)
    shop.push("app", "multi", ONE)
    before = sorted((tmp_path / "copy").rglob("*"))
    with pytest.raises(Refused, match="app:multi point elsewhere there; give --replace"):
        exported(shop, tmp_path / "copy", format=form)
    assert sorted((tmp_path / "copy").rglob("*")) == before
    exported(shop, tmp_path / "copy", format=form, replace=True)
    exported(shop, tmp_path / "copy", format=form)
    if form == "tree":
        assert TreeBuilder(tmp_path / "copy").current("app", "multi") == ONE.digest
    else:
        assert entries(tmp_path / "copy")["app:multi"] == ONE.digest


def test_what_is_no_copy_is_left_alone(shop: TreeBuilder, tmp_path: Path) -> None:
    other = TreeBuilder(tmp_path / "other")
    other.push("app", "multi", TWO)
    before = links(other)
    with pytest.raises(Refused, match="no copy that regfs export has written"):
        exported(shop, other.root, replace=True)
    assert links(other) == before
    (tmp_path / "file.tar").write_text("mine")
    with pytest.raises(Refused, match="there already"):
        exported(shop, tmp_path / "file.tar")
    assert (tmp_path / "file.tar").read_text() == "mine"


def test_no_collection_runs_in_a_copy_that_is_written(shop: TreeBuilder, tmp_path: Path) -> None:
    exported(shop, tmp_path / "copy")
    store = open_store(str(tmp_path / "copy"))
    with exclusive(store), pytest.raises(LockHeld):
        exported(shop, tmp_path / "copy")


class Watched(StoreMedium):
    """A medium that remembers the order of what happens."""

    def __init__(self, root: Path) -> None:
        super().__init__(open_store(str(root), empty=True))
        self.events: list[str] = []

    def begin(self, path: str, size: int, mtime: float | None) -> Writer:
        self.events.append(path)
        return super().begin(path, size, mtime)

    def barrier(self) -> None:
        self.events.append("barrier")
        super().barrier()


def test_blobs_are_durable_before_links_and_links_before_tags(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    medium = Watched(tmp_path / "copy")
    opened = regfs.open(str(shop.root))
    export(opened.graph, opened.registry, (), medium, ExportOptions())
    kinds = [("/blobs/", 0), ("/_layers/", 1), ("/revisions/", 1), ("/index/", 2), ("/current/", 3)]
    stage = barriers = 0
    for event in medium.events:
        if event == "barrier":
            barriers += 1
        elif event != MARK:
            (here,) = {number for part, number in kinds if part in event}
            assert here >= stage
            assert barriers >= here
            stage = here
    assert stage == 3


def test_damaged_links_and_names_that_nobody_can_ask_for_are_left_out(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    shop.push("Bad_Name/x", "v1", ONE)
    shop.push("app", "-bad", ONE)
    shop.layer_path("app", ONE.blobs[0].digest).write_text(TWO.blobs[-1].digest)
    shop.revision_path("app", TWO.digest).write_text("")
    done = exported(shop, tmp_path / "copy")
    codes = {one.code for one in done.findings}
    assert {
        Code.LINK_MISMATCH,
        Code.LINK_EMPTY,
        Code.REPOSITORY_INVALID_NAME,
        Code.TAG_INVALID,
    } <= codes
    copy = TreeBuilder(tmp_path / "copy")
    assert not copy.layer_path("app", ONE.blobs[0].digest).exists()
    assert copy.tags("app") == ["multi", "v2"]
    assert sorted(one.name for one in (copy.v2 / "repositories").iterdir()) == ["app", "team"]


def test_a_manifest_that_nobody_can_read_brings_every_link(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    shop.push("team/other", "v1", ONE)
    path = shop.blob_path(image(["base", "other"]).digest)
    path.write_bytes(b"x" * path.stat().st_size)
    done = exported(shop, tmp_path / "copy", "team/other")
    full = exported(shop, tmp_path / "full")
    assert Code.BLOB_CORRUPT in {one.code for one in full.findings}
    assert Code.BLOB_CORRUPT not in {one.code for one in done.findings}  # no tag leads to it
    copy = TreeBuilder(tmp_path / "full")
    for blob in image(["base", "other"]).blobs:
        assert copy.layer_path("team/other", blob.digest).exists()


def test_what_may_not_be_looked_at_is_not_called_missing(shop: TreeBuilder, tmp_path: Path) -> None:
    place = shop.blob_path(TWO.blobs[-1].digest).parent.parent
    place.rename(tmp_path / "away")
    place.symlink_to(tmp_path / "away")
    done = exported(shop, tmp_path / "copy")
    codes = {one.code for one in done.findings}
    assert codes == {Code.BLOB_UNREADABLE, Code.SYMLINK_OUTSIDE}
    assert_pullable(TreeBuilder(tmp_path / "copy"), "app", "multi", MULTI)


# -- without what a former one has ----------------------------------------------------------


@pytest.mark.parametrize("former", ["folder", "tar", "list"])
def test_what_a_former_export_has_is_left_out(
    shop: TreeBuilder, tmp_path: Path, former: str
) -> None:
    place = tmp_path / ("full.tar" if former == "tar" else "full")
    exported(shop, place, list_file=str(tmp_path / "list"))
    shop.push("app", "v3", image(["base", "three"]))
    since = str(tmp_path / "list") if former == "list" else str(place)
    done = exported(shop, tmp_path / "more", since=[since], list_file=str(tmp_path / "next"))
    assert done.findings == []
    more = TreeBuilder(tmp_path / "more")
    assert links(more) == links(shop)
    new = {image(["base", "three"]).blobs[n].digest for n in range(3)}
    new -= {blob.digest for blob in ONE.blobs}
    manifests = {digest for digest, text in Oracle(shop).documents.items() if text}
    assert more.blobs() == new | manifests & Oracle(shop).blobs
    assert set((tmp_path / "next").read_text().split()) >= Oracle(shop).blobs


def test_a_list_that_is_not_as_it_was_written_is_refused(
    shop: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(shop, tmp_path / "full", list_file=str(tmp_path / "list"))
    with (tmp_path / "list").open("a") as file:
        file.write("sha256:1 \x1b[2J\n")
    arguments = ["-r", str(shop.root), "export", "--to", str(tmp_path / "x"), "--since"]
    assert run([*arguments, str(tmp_path / "list")]) == 2
    assert "not a blob" in capsys.readouterr().err


# -- OCI layouts ---------------------------------------------------------------------------


def entries(folder: Path) -> dict[str, str]:
    index = json.loads((folder / "index.json").read_bytes())
    name = "org.opencontainers.image.ref.name"
    return {one["annotations"][name]: one["digest"] for one in index["manifests"]}


def test_a_layout_names_every_tag_and_every_manifest_without_one(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    exported(shop, tmp_path / "layout", format="oci")
    assert entries(tmp_path / "layout") == {
        "app:multi": MULTI.digest,
        "app:v2": TWO.digest,
        f"app@{SIGNED.digest}": SIGNED.digest,
        "team/other:v1": image(["base", "other"]).digest,
    }
    blobs = {f"sha256:{path.name}" for path in (tmp_path / "layout/blobs/sha256").iterdir()}
    assert blobs == Oracle(shop).blobs
    exported(shop, tmp_path / "layout.tar", format="oci")
    unpacked(tmp_path / "layout.tar", tmp_path / "out")
    (tmp_path / "out/docker/registry/v2/blobs").rmdir()
    (tmp_path / "out/docker/registry/v2/repositories").rmdir()
    assert files(tmp_path / "out") == files(tmp_path / "layout")


# -- the law -------------------------------------------------------------------------------


@fewer(4, 10)
@given(recipe=recipes())
def test_a_copy_of_any_registry_needs_what_the_registry_needs(recipe: Recipe) -> None:
    with new_tree() as tree, new_tree() as place:
        build(tree, recipe)
        wanted = Oracle(tree)
        exported(tree, place.root / "copy")
        copy = TreeBuilder(place.root / "copy")
        found = Oracle(copy)
        assert copy.blobs() == wanted.blobs & wanted.present
        live = {name: live & wanted.present for name, live in wanted.live.items()}
        assert {name: one & found.present for name, one in found.live.items() if one} == {
            name: one for name, one in live.items() if one
        }
        for name in wanted.names:
            assert copy.tags(name) == tree.tags(name)
            assert found.revisions(name) == wanted.revisions(name)
