"""Halves of files, empty folders, empty repositories: what of them goes, and what stays."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.scanning import scan_for_plan
from regfs.gc.sweep import Applied, apply
from regfs.graph import build_graph
from regfs.runs import restore
from regfs.stores import open_store
from regfs.tree.leftovers import is_for_one, is_unfinished
from tests.support.builder import TreeBuilder, image
from tests.support.registries import registry_of
from tests.support.retention import keep

V2 = "docker/registry/v2"
HEX = "ab" * 32
TMP = "0f8fad5b-d9cb-469f-a165-70867728950e.tmp"


def planned(tree: TreeBuilder, **policy: Any) -> Plan:
    """Plan as the command does: the walk for leftovers comes before the graph."""
    registry = registry_of(tree)
    options = Policy(**{"leftovers": True, **policy})
    inventory = scan_for_plan(registry.store, options)
    graph = build_graph(inventory, registry)
    return plan(graph, options, time.time(), registry.manifest_bytes)


def carried_out(tree: TreeBuilder, made: Plan) -> Applied:
    return apply(made, registry_of(tree))


def kinds(made: Plan) -> set[tuple[str, str]]:
    return {(one.kind.value, one.path.removeprefix(f"{V2}/")) for one in made.actions}


@pytest.fixture
def app(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", image(["app"]))
    tree.folder(tree.repository_path("app") / "_uploads")
    return tree


# -- halves of files --------------------------------------------------------------------

HALVES = [
    f"blobs/sha256/ab/{HEX}/data.{TMP}",
    f"blobs/sha256/ab/{HEX}/.data.1a2b.regfs-tmp",
    f"repositories/app/_layers/sha256/{HEX}/link.{TMP}",
    f"repositories/app/_manifests/revisions/sha256/{HEX}/link.{TMP}",
    f"repositories/app/_manifests/revisions/sha256/{HEX}/.link.1a2b.regfs-tmp",
    f"repositories/app/_manifests/tags/v1/current/link.{TMP}",
    f"repositories/app/_manifests/tags/v1/index/sha256/{HEX}/link.{TMP}",
]


@pytest.mark.parametrize("path", HALVES)
def test_half_of_a_file_goes_once_it_is_old(app: TreeBuilder, path: str) -> None:
    app.write(app.v2 / path, b"half")
    made = planned(app)
    assert ("temporary", path) in kinds(made)
    assert {kind for kind, _ in kinds(made)} == {"temporary"}
    before = app.files()
    applied = carried_out(app, made)
    assert applied.done.temporaries == 1
    assert applied.done.bytes == 4
    assert not (app.v2 / path).exists()
    restore(open_store(str(app.root)), applied.run)
    assert app.files() == before


@pytest.mark.parametrize("path", HALVES)
def test_half_of_a_file_that_is_young_stays(app: TreeBuilder, path: str) -> None:
    with app.at_age(60):
        app.write(app.v2 / path, b"half")
    assert "temporary" not in {kind for kind, _ in kinds(planned(app))}
    assert planned(app).kept["young"] >= 1


def test_without_being_asked_nobody_looks_for_leftovers(app: TreeBuilder) -> None:
    app.write(app.v2 / HALVES[0], b"half")
    app.folder(app.v2 / "blobs/sha256/cd")
    assert planned(app, leftovers=False).actions == []


@pytest.mark.parametrize(
    "name", [f"data.{TMP}", ".data.1a2b.regfs-tmp", f"hashstates/sha256/5.{TMP}"]
)
def test_what_lies_in_an_upload_goes_with_it_alone(app: TreeBuilder, name: str) -> None:
    upload = app.upload("app", 3, started_at=None)
    app.write(app.upload_path("app", upload) / name, b"half")
    app.folder(app.upload_path("app", upload) / "hashstates/sha256")
    assert planned(app).actions == []


def test_a_repository_in_doubt_keeps_its_leftovers(app: TreeBuilder) -> None:
    app.write(app.v2 / HALVES[2], b"half")
    app.folder(app.v2 / "repositories/app/_layers/sha256" / ("cd" * 32))
    app.push("app", "broken", image(["broken"]))
    app.break_("manifest-missing", "app", "broken")
    app.age(2 * 86400)
    assert {path for _, path in kinds(planned(app)) if path.startswith("repositories")} == set()


def test_while_parts_cannot_be_seen_blobs_keep_their_leftovers(app: TreeBuilder) -> None:
    app.write(app.v2 / HALVES[0], b"half")
    app.folder(app.v2 / "blobs/sha256/cd")
    second = app.v2 / "blobs/sha256/ef"
    second.symlink_to(app.v2 / "blobs/sha256/cd")
    assert planned(app).kept.get("incomplete", 0) == 0
    assert kinds(planned(app)) == set()


def test_a_half_that_grew_since_the_plan_stays(app: TreeBuilder) -> None:
    file = app.write(app.v2 / HALVES[0], b"half")
    made = planned(app)
    app.write(file, b"half and more")
    applied = carried_out(app, made)
    assert file.exists()
    assert [one.reason for one in applied.skipped] == ["it has changed since the plan"]


@pytest.mark.parametrize(
    ("path", "half"),
    [
        (f"{V2}/blobs/sha256/ab/{HEX}/data", False),
        (f"{V2}/blobs/sha256/ab/{HEX}/data.tmp", False),
        (f"{V2}/blobs/sha256/ab/{HEX}/other.{TMP}", False),
        (f"{V2}/blobs/sha256/ab/{HEX}/data.{TMP}", True),
        (f"{V2}/blobs/sha256/ab/{HEX}/.data.1a2b.regfs-tmp", True),
        (f"{V2}/blobs/sha256/ab/{HEX}/.data.1a2b.regfs-tmp.regfs-tmp", True),
        (f"{V2}/blobs/sha256/ab/{HEX}/data.1a2b.regfs-tmp", False),
        (f"{V2}/blobs/sha256/ab/{HEX}/.data.regfs-tmp", False),
        (f"{V2}/blobs/sha256/ab/{HEX}/.regfs-tmp", False),
    ],
)
def test_only_what_the_layout_knows_is_half_of_a_file(path: str, half: bool) -> None:
    assert is_unfinished(path) is half


# -- empty folders ----------------------------------------------------------------------

EMPTY = [
    "blobs/sha256/cd",
    f"blobs/sha256/ab/{HEX}",
    f"repositories/app/_layers/sha256/{HEX}",
    f"repositories/app/_manifests/revisions/sha256/{HEX}",
    "repositories/app/_manifests/tags/gone",
    "repositories/app/_manifests/tags/gone/current",
    "repositories/app/_manifests/tags/gone/index",
    "repositories/app/_manifests/tags/gone/index/sha256",
    f"repositories/app/_manifests/tags/v1/index/sha256/{HEX}",
]


@pytest.mark.parametrize("path", EMPTY)
def test_an_empty_folder_goes_with_those_above_it_that_hold_nothing_else(
    app: TreeBuilder, path: str
) -> None:
    before = app.folders()
    app.folder(app.v2 / path)
    made = planned(app)
    assert ("directory", path) in kinds(made)
    assert made.totals.bytes == 0
    applied = carried_out(app, made)
    assert applied.skipped == []
    assert applied.done == made.totals
    assert app.folders() == before
    assert planned(app).actions == []


@pytest.mark.parametrize(
    "path",
    [
        "blobs/sha512",
        "repositories/app/_uploads",
        "repositories/app/_layers/sha512",
        "repositories/app/_manifests/revisions/sha512",
        "repositories/new/_layers",
        "repositories/new/_manifests/tags",
        "repositories/between/nothing",
    ],
)
def test_folders_that_every_repository_has_stay(app: TreeBuilder, path: str) -> None:
    app.folder(app.v2 / path)
    assert planned(app).actions == []


def test_a_folder_stays_for_a_young_one_in_it(app: TreeBuilder) -> None:
    folder = app.folder(app.v2 / EMPTY[6] / f"sha256/{HEX}")
    app.set_age(folder, 60)
    made = planned(app)
    assert made.actions == []
    assert made.kept["young"] == 1


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_folder_that_is_not_empty_any_more_stays(app: TreeBuilder, what: str) -> None:
    folder = app.folder(app.v2 / EMPTY[1])
    made = planned(app)
    if what == "file":
        (folder / "data").write_bytes(b"x")
    else:
        (folder / "data").symlink_to("/etc/hostname")
    app.set_age(folder, 172_800)
    applied = carried_out(app, made)
    assert applied.done.directories == 0
    assert len(list(folder.iterdir())) == 1


def test_a_folder_whose_time_changed_since_the_plan_stays(app: TreeBuilder) -> None:
    folder = app.folder(app.v2 / EMPTY[0])
    made = planned(app)
    app.set_age(folder, 90_000)
    assert carried_out(app, made).done.directories == 0
    assert folder.exists()


def test_what_a_run_empties_goes_with_it_when_nobody_else_writes(app: TreeBuilder) -> None:
    before = app.folders()
    orphan = app.blob_path(app.blob(b"orphan"))
    (orphan.parent / ".data.half.regfs-tmp").write_bytes(b"")
    carried_out(app, planned(app, min_age=0))
    assert app.folders() == before
    assert planned(app, min_age=0).actions == []


def test_a_folder_in_an_upload_is_never_for_one() -> None:
    assert is_for_one(f"{V2}/{EMPTY[2]}")
    assert not is_for_one(f"{V2}/repositories/app/_uploads/1/_layers/sha256/{HEX}")


# -- empty repositories -------------------------------------------------------------------


def hollow(tree: TreeBuilder, name: str) -> Path:
    """Make a repository that holds nothing."""
    home = tree.repository_path(name)
    for part in ("_layers/sha256", "_manifests/revisions/sha256", "_manifests/tags", "_uploads"):
        tree.folder(home / part)
    return home


def empties(tree: TreeBuilder, **policy: Any) -> Applied:
    return carried_out(tree, planned(tree, empty_repositories=True, leftovers=False, **policy))


def test_an_empty_repository_goes_only_when_asked_for(app: TreeBuilder) -> None:
    home = hollow(app, "team/old")
    assert planned(app).actions == []
    applied = empties(app)
    assert applied.done.repositories == 1
    assert not home.parent.exists()
    assert app.tags("app") == ["v1"]


@pytest.mark.parametrize(("empty", "full"), [("a", "a/b"), ("a/b", "a")])
def test_a_repository_never_takes_another(tree: TreeBuilder, empty: str, full: str) -> None:
    tree.push(full, "v1", image(["full"]))
    hollow(tree, empty)
    before = tree.files()
    folders = {path for path in tree.folders() if path.startswith(f"{V2}/repositories/{full}/_")}
    applied = empties(tree)
    assert applied.done.repositories == 1
    assert tree.files() == before
    assert folders <= tree.folders()
    assert not (tree.repository_path(empty) / "_layers").exists()


def test_nested_empty_repositories_go_together(app: TreeBuilder) -> None:
    hollow(app, "a")
    hollow(app, "a/b")
    assert empties(app).done.repositories == 2
    assert not app.repository_path("a").exists()


@pytest.mark.parametrize(
    "file",
    [
        "README",
        "_custom/note",
        "_layers/note",
        f"_layers/sha256/{HEX}/link.{TMP}",
        "_manifests/note",
        "_manifests/tags/v1/note",
        "_uploads/note",
    ],
)
def test_a_repository_with_any_file_stays_whole(app: TreeBuilder, file: str) -> None:
    home = hollow(app, "old")
    app.write(home / file, b"somebody put it here")
    before = app.folders()
    applied = empties(app)
    assert applied.done.repositories == 0
    assert app.folders() == before


def test_a_repository_that_held_a_file_when_it_was_planned_is_not_promised(
    app: TreeBuilder,
) -> None:
    home = hollow(app, "old")
    app.write(home / "README", b"somebody put it here")
    app.write(home / "nested/_layers/note", b"and here")
    assert planned(app, empty_repositories=True).actions == []


@pytest.mark.parametrize("part", ["blobs", "uploads"])
def test_a_repository_with_only_blobs_or_uploads_goes_with_them(
    app: TreeBuilder, part: str
) -> None:
    if part == "blobs":
        app.add_blob("old", "pushed, and no manifest after it")
    else:
        app.upload("old", 3, started_at="2020-01-01T00:00:00Z")
    app.age(30 * 86400)
    before = app.size_on_disk()
    applied = empties(app)
    assert applied.done.repositories == 1
    assert not app.repository_path("old").exists()
    assert before - app.size_on_disk() == applied.done.bytes
    restored = restore(open_store(str(app.root)), applied.run)
    assert restored.bytes == applied.done.bytes


def test_a_repository_with_a_young_upload_stays(app: TreeBuilder) -> None:
    hollow(app, "old")
    with app.at_age(60):
        app.upload("old", 3)
    assert empties(app).done.repositories == 0


def test_a_repository_that_a_policy_empties_goes(app: TreeBuilder) -> None:
    app.push("old", "v1", image(["old"]))
    retention = keep("none", repositories=["old"], allowEmpty=True)
    applied = empties(app, retention=retention)
    assert (applied.done.tags, applied.done.repositories) == (1, 1)
    assert applied.skipped == []
    assert not app.repository_path("old").exists()


def test_a_repository_in_doubt_is_not_empty(app: TreeBuilder) -> None:
    home = hollow(app, "old")
    (home / "_manifests/tags/v1").symlink_to("/not/mounted")
    assert empties(app).done.repositories == 0
    assert (home / "_uploads").exists()


def test_a_repository_that_is_pushed_to_under_way_stays(app: TreeBuilder) -> None:
    hollow(app, "old")
    made = planned(app, empty_repositories=True)
    app.push("old", "v1", image(["pushed"]))
    before = app.files()
    applied = carried_out(app, made)
    assert app.files() == before
    assert applied.done.repositories == 0


@pytest.mark.parametrize("what", ["upload", "revision", "tag", "layer"])
def test_a_repository_that_holds_anything_is_not_promised(app: TreeBuilder, what: str) -> None:
    hollow(app, "old")
    digest = app.current("app", "v1")
    with app.at_age(60):
        if what == "upload":
            app.upload("old", 3)
        elif what == "revision":
            app.revision("old", digest)
        elif what == "tag":
            app.tag("old", "v1", digest)
        else:
            app.layer_link("old", digest)
    kinds_of = {one.kind.value for one in planned(app, empty_repositories=True).actions}
    assert "repository" not in kinds_of
