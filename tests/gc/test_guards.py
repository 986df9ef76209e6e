"""The guards of *never delete on doubt*, one test each: take a guard away and its test fails.

Most guards stand behind another one that hides their absence in usual trees;
each test here makes the tree in which one guard alone is between a blob and
its deletion. What is shown as scenarios in test_plan.py is not repeated;
the guards of a run are in test_guards_of_runs.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import Doubt
from regfs.findings import Code
from regfs.gc.plan import Plan
from tests.support.builder import Blob, TreeBuilder, blob_of, image, index
from tests.support.images import Content, raw
from tests.support.registries import going, plan_of

LONG = Blob(blob_of("long").data, algorithm="sha512")
STORED = blob_of("long").digest


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return plan_of(tree, delete_untagged=True, **policy)


def freeze(tree: TreeBuilder, name: str = "app") -> str:
    """Push an image that cannot be known any more; return its digest."""
    digest = tree.push(name, "broken", image(["broken"]))
    tree.break_("manifest-missing", name, "broken")
    return digest


def unlink_layers(tree: TreeBuilder, name: str, content: Content) -> None:
    """Take the layer links away that would protect the blobs of an image by themselves."""
    for blob in content.blobs:
        shutil.rmtree(tree.layer_path(name, blob.digest).parent)


# -- a frozen repository ------------------------------------------------------


def test_a_frozen_repository_loses_neither_link_nor_upload(tree: TreeBuilder) -> None:
    freeze(tree)
    tree.add_blob("app", "unused")
    tree.upload("app", 3)
    planned = untagged(tree, uploads_older_than=0)
    assert planned.actions == []
    assert planned.kept == {"frozen": 3, "frozen_repositories": 1}
    assert planned.doubtful


def test_a_frozen_repository_keeps_the_blobs_it_links_to(tree: TreeBuilder) -> None:
    freeze(tree)
    unused = tree.add_blob("app", "unused")
    tree.push("other", "v1", image(["other"]))
    orphan = tree.blob(b"orphan")
    assert unused not in going(plan_of(tree), "blob")
    assert going(plan_of(tree), "blob") == {orphan}


def test_a_frozen_repository_prunes_nothing_untagged(tree: TreeBuilder) -> None:
    freeze(tree)
    old = image(["old"])
    tree.push("app", None, old)
    tree.push("app", "v1", image(["new"]))
    unlink_layers(tree, "app", old)
    assert untagged(tree).actions == []


@pytest.mark.parametrize("history", [True, False])
def test_a_frozen_repository_keeps_what_its_tags_once_pointed_to(
    tree: TreeBuilder, history: bool
) -> None:
    freeze(tree)
    old = tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))
    tree.delete_revision("app", old)
    assert old not in going(plan_of(tree, history=history), "blob")


@pytest.mark.parametrize("history", [True, False])
def test_a_history_that_cannot_be_seen_blinds_where_it_matters(
    tree: TreeBuilder, history: bool
) -> None:
    freeze(tree)
    tree.push("app", "v1", image(["app"]))
    once = tree.blob(b"what v1 once was")
    folder = tree.tag_folder("app", "v1") / "index"
    shutil.rmtree(folder)
    folder.symlink_to("/not/mounted")
    planned = plan_of(tree, history=history)
    assert once not in going(planned, "blob")
    assert planned.kept["incomplete"] > 0


def test_untagged_manifests_cannot_be_planned_without_histories(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    with pytest.raises(Doubt, match="histories of tags were not read"):
        untagged(tree, history=False)
    assert plan_of(tree, history=False).actions == []


def test_a_frozen_repository_keeps_what_its_links_are_other_names_of(tree: TreeBuilder) -> None:
    freeze(tree)
    tree.add_blob("app", LONG)
    shutil.rmtree(tree.layer_path("app", STORED).parent)
    assert STORED not in going(plan_of(tree), "blob")


def test_the_freeze_reaches_all_repositories_that_name_a_broken_manifest(
    tree: TreeBuilder,
) -> None:
    child = image(["child"])
    tree.push("one", "v1", child)
    tree.push("two", "multi", index(index(child)))
    tree.push("three", "v1", image(["well"]))
    tree.break_("manifest-missing", "one", "v1")
    assert plan_of(tree).kept["frozen_repositories"] == 2
    unused = tree.add_blob("two", "unused")
    assert unused not in going(plan_of(tree), "blob")


# -- what cannot be known about a manifest ------------------------------------


def _unreadable(tree: TreeBuilder, data: Path) -> None:
    data.unlink()
    data.symlink_to("/etc/hostname")


def _too_large(tree: TreeBuilder, data: Path) -> None:
    # Sound JSON of the right digest is no help: nobody has seen whether anything follows.
    os.truncate(data, 5 << 20)


def _other_json(tree: TreeBuilder, data: Path) -> None:
    tree.write(data, image(["smaller"]).data)


def _missing(tree: TreeBuilder, data: Path) -> None:
    shutil.rmtree(data.parent)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_unreadable, Code.BLOB_UNREADABLE),
        (_too_large, Code.MANIFEST_TOO_LARGE),
        (_other_json, Code.BLOB_CORRUPT),
        (_missing, Code.LINK_DANGLING),
    ],
)
def test_a_manifest_that_cannot_be_known_keeps_what_its_repository_links_to(
    tree: TreeBuilder, damage: Callable[[TreeBuilder, Path], None], code: Code
) -> None:
    content = image(["needed"])
    digest = tree.push("app", None, content)
    damage(tree, tree.blob_path(digest))
    planned = plan_of(tree)
    assert planned.actions == []
    assert code in {finding.code for finding in planned.findings}
    assert planned.doubtful


def test_what_is_written_in_a_broken_manifest_is_kept_without_links(tree: TreeBuilder) -> None:
    content = image(["needed"])
    tree.push("app", "v1", content)
    unlink_layers(tree, "app", content)
    tree.write(tree.blob_path(content.digest), content.data + b" ")
    assert going(plan_of(tree), "blob") == set()


def test_a_broken_index_keeps_the_children_that_are_elsewhere(tree: TreeBuilder) -> None:
    child = image(["child"])
    tree.push("app", "multi", index(sparse=[child]))
    tree.push("elsewhere", None, child)
    tree.push("elsewhere", "v1", image(["other"]))
    tree.break_("manifest-truncated", "app", "multi")
    assert going(untagged(tree), "blob") == set()


def test_an_unknown_manifest_keeps_its_children_with_their_layers(tree: TreeBuilder) -> None:
    child = image(["child"])
    tree.push("elsewhere", None, child)
    tree.push("elsewhere", "v1", image(["other"]))
    tree.push("app", "v1", raw({"mediaType": "x/y", "it": [child.digest]}))
    assert going(untagged(tree), "blob") == set()


@pytest.mark.parametrize("media_type", ["application/vnd.example+json", ""])
def test_a_child_that_may_be_a_manifest_freezes_when_it_is_broken(
    tree: TreeBuilder, media_type: str
) -> None:
    child = image(["child"])
    entry = {**child.descriptor(), "mediaType": media_type}
    tree.push("app", "v1", raw({"schemaVersion": 2, "manifests": [entry]}))
    tree.blob(child.data)
    layer = tree.add_blob("app", "child")
    tree.write(tree.blob_path(child.digest), b"{}")
    planned = plan_of(tree)
    assert planned.kept["frozen_repositories"] == 1
    assert layer not in going(planned, "blob")


# -- links that do not say what their path says -------------------------------


def test_a_revision_link_that_names_two_manifests_keeps_both(tree: TreeBuilder) -> None:
    one, two = image(["one"]), image(["two"])
    tree.push("app", None, one)
    tree.push("app", None, two)
    tree.write(tree.revision_path("app", one.digest), two.digest)
    tree.delete_revision("app", two.digest)
    assert plan_of(tree).actions == []


def test_a_revision_link_stays_while_what_it_says_is_tagged(tree: TreeBuilder) -> None:
    one, two = image(["one"]), image(["two"])
    tree.push("app", None, one)
    tree.push("app", "v1", two)
    tree.write(tree.revision_path("app", one.digest), two.digest)
    assert going(untagged(tree), "revision") == set()


def test_a_revision_link_of_no_digest_freezes(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", image(["tagged"]))
    unused = tree.add_blob("app", "unused")
    tree.write(tree.revision_path("app", digest), "")
    planned = plan_of(tree)
    assert unused not in going(planned, "blob")
    assert planned.kept["frozen_repositories"] == 1


def test_a_tag_link_of_no_digest_freezes(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["tagged"]))
    unused = tree.add_blob("app", "unused")
    tree.write(tree.tag_path("app", "v2"), "")
    assert unused not in going(plan_of(tree), "blob")


def test_an_alias_link_of_no_digest_freezes(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([LONG]))
    tree.write(tree.layer_path("app", LONG.digest), "")
    planned = plan_of(tree)
    assert planned.kept["frozen_repositories"] == 1
    assert STORED not in going(planned, "blob")


def test_an_unneeded_alias_of_a_needed_blob_stays(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["long"]))
    tree.add_blob("app", LONG)
    assert plan_of(tree).actions == []


# -- what cannot be seen ------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["team", "app/_manifests", "app/_manifests/revisions", "app/_manifests/tags/v2"]
)
def test_where_links_may_lie_unseen_no_blob_goes(tree: TreeBuilder, place: str) -> None:
    tree.push("other", "v1", image(["other"]))
    tree.blob(b"needed by what is not seen")
    path = tree.v2 / "repositories" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/not/mounted")
    planned = plan_of(tree)
    assert planned.actions == []
    assert planned.kept["incomplete"] == 1
    assert planned.doubtful


@pytest.mark.parametrize("folder", ["_layers", "_manifests/revisions", "_manifests/tags/v1/index"])
def test_a_link_by_an_unknown_algorithm_freezes(tree: TreeBuilder, folder: str) -> None:
    tree.push("app", "v1", image(["app"]))
    unused = tree.add_blob("app", "unused")
    link = tree.repository_path("app") / folder / "blake3" / ("ab" * 32) / "link"
    tree.write(link, STORED)
    planned = plan_of(tree)
    assert planned.kept["frozen_repositories"] == 1
    assert unused not in going(planned, "blob")


@pytest.mark.parametrize("lean", [True, False])
def test_a_layer_link_that_cannot_be_looked_at_keeps_its_blob(
    tree: TreeBuilder, lean: bool
) -> None:
    """It may be young: a push under way."""
    tree.push("app", "v1", image(["app"]))
    unused = tree.add_blob("app", "unused")
    link = tree.layer_path("app", unused)
    link.unlink()
    link.symlink_to("/not/mounted")
    assert unused not in going(plan_of(tree, lean=lean), "blob")


# -- referrers ----------------------------------------------------------------


def test_a_referrer_in_a_repository_without_the_subject_lives_with_it(tree: TreeBuilder) -> None:
    subject = image(["app"])
    tree.push("images", "v1", subject)
    tree.push("notes", "v1", image(["other"]))
    listed = index(image(["inside"]), artifact_type="x/y", subject=subject)
    tree.push("notes", None, listed)
    assert untagged(tree).actions == []
