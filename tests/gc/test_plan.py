"""What a plan lets go and what it keeps, as scenarios."""

from __future__ import annotations

import inspect
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from regfs.digest import Digest
from regfs.errors import Doubt
from regfs.gc.plan import Plan, fingerprint, plan
from regfs.gc.policy import Policy
from regfs.graph import build_graph
from regfs.tree.inventory import DigestTable
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.images import Content
from tests.support.registries import (
    collect,
    files_of,
    going,
    going_in,
    plan_of,
    registry_of,
    scan_and_build,
)


def layers_of(content: Content) -> set[str]:
    """Return the digests of everything a manifest is pushed with."""
    return {content.digest, *(blob.digest for blob in content.blobs)}


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return plan_of(tree, delete_untagged=True, **policy)


# -- links live per repository, blobs globally --------------------------------


@pytest.mark.parametrize("names", [("a", "z"), ("z", "a"), ("a", "a/b"), ("a/b", "a")])
def test_a_layer_link_counts_in_its_own_repository_only(
    tree: TreeBuilder, names: tuple[str, str]
) -> None:
    user, other = names
    tree.push(user, "v1", image(["shared"]))
    digest = tree.add_blob(other, "shared")
    planned = plan_of(tree)
    assert going_in(planned, "layer-link") == {(other, digest)}
    assert going(planned, "blob") == set()


def test_a_blob_goes_with_the_last_repository_that_needs_it(tree: TreeBuilder) -> None:
    old = image(["shared"])
    tree.push("app", None, old)
    tree.push("app", "v1", image(["app"]))
    tree.push("lib", "v1", old)
    assert going(untagged(tree), "blob") == set()
    tree.untag("lib", "v1")
    tree.push("lib", "v2", image(["lib"]))
    assert going(untagged(tree), "blob") == layers_of(old)


def test_the_same_manifest_can_be_tagged_here_and_garbage_there(tree: TreeBuilder) -> None:
    content = image(["shared"])
    tree.push("here", "v1", content)
    tree.push("there", None, content)
    tree.push("there", "v1", image(["other"]))
    planned = untagged(tree)
    assert going_in(planned, "revision") == {("there", content.digest)}
    assert going_in(planned, "layer-link") == {
        ("there", blob.digest) for blob in content.blobs if blob.digest
    }
    assert going(planned, "blob") == set()


def test_a_repository_inside_another_is_one_of_its_own(tree: TreeBuilder) -> None:
    tree.push("a", "v1", image(["outer"]))
    inner = tree.push("a/b", None, image(["inner"]))
    tree.push("a/b", "v1", image(["kept"]))
    planned = untagged(tree)
    assert going_in(planned, "revision") == {("a/b", inner)}
    collect(tree, delete_untagged=True)
    assert files_of(tree, "a", "v1") <= tree.files().keys()


@pytest.mark.parametrize("name", ["Team/app", "My-Host.io/x", "tags/list", "manifests/x"])
def test_names_that_look_strange_are_collected_like_others(tree: TreeBuilder, name: str) -> None:
    kept = image(["kept"])
    tree.push(name, "v1", kept)
    old = tree.push(name, None, image(["old"]))
    planned = untagged(tree)
    assert going_in(planned, "revision") == {(name, old)}
    assert going(planned, "blob").isdisjoint(layers_of(kept))
    assert not planned.doubtful


@pytest.mark.parametrize("tag", ["link", "current", "index", "_layers", "data"])
def test_tags_that_look_like_the_layout_keep_their_image(tree: TreeBuilder, tag: str) -> None:
    tree.push("app", tag, image(["kept"]))
    assert plan_of(tree).actions == []
    assert untagged(tree).actions == []


# -- tags ---------------------------------------------------------------------


def test_an_overwritten_tag_gives_its_old_image_back_only_when_asked(tree: TreeBuilder) -> None:
    old, new = image(["base", "old"]), image(["base", "new"])
    tree.push("app", "v1", old)
    tree.push("app", "v1", new)
    assert plan_of(tree).actions == []
    assert going(untagged(tree), "blob") == layers_of(old) - layers_of(new)


def test_a_tag_without_current_keeps_all_it_ever_pointed_to(tree: TreeBuilder) -> None:
    tree.push("app", "kept", image(["kept"]))
    tree.push("app", "v1", image(["one"]))
    tree.push("app", "v1", image(["two"]))
    tree.break_("tag-without-current", "app", "v1")
    assert untagged(tree).actions == []


@pytest.mark.parametrize("damage", ["tag-without-current", "tag-current-empty"])
def test_what_only_the_history_of_a_tag_names_keeps_its_layers(
    tree: TreeBuilder, damage: str
) -> None:
    old = image(["old"])
    tree.push("app", "kept", image(["kept"]))
    tree.push("app", "v1", old)
    tree.delete_revision("app", old.digest)
    for blob in old.blobs:
        tree.delete_layer_link("app", blob.digest)
    tree.break_(damage, "app", "v1")
    assert going(plan_of(tree), "blob") == set()


def test_a_tag_without_current_whose_manifests_are_gone_is_no_doubt(tree: TreeBuilder) -> None:
    tree.push("app", "kept", image(["kept"]))
    old = tree.push("app", "v1", image(["old"]))
    tree.break_("tag-without-current", "app", "v1")
    tree.delete_revision("app", old)
    tree.delete_blob(old)
    planned = plan_of(tree)
    assert not planned.doubtful
    assert going(planned, "blob") == layers_of(image(["old"])) - {old}


def test_a_repository_without_tags_is_not_all_untagged(tree: TreeBuilder) -> None:
    tree.push("digests", None, image(["one"]))
    tree.push("digests", None, image(["two"]))
    planned = untagged(tree)
    assert planned.actions == []
    assert planned.kept == {"tagless": 2}
    assert [finding.repository for finding in planned.findings] == ["digests"]
    confirmed = untagged(tree, allow_tagless=("digests",))
    assert len(going(confirmed, "revision")) == 2


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_tags_that_only_stand_beside_images_do_not_make_the_images_untagged(
    tree: TreeBuilder, suffix: str
) -> None:
    """Images that are deployed by digest and signed have no other tags."""
    subject = tree.push("digests", None, image(["by digest"]))
    tree.push("digests", subject.replace(":", "-") + suffix, index(artifact(["signature"])))
    planned = untagged(tree)
    assert planned.actions == []
    assert planned.kept["tagless"] == 3
    assert subject in going(untagged(tree, allow_tagless=("digests",)), "revision")


# -- the plan itself ----------------------------------------------------------


def test_references_go_before_what_they_refer_to(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))
    tree.upload("app", 3)
    kinds = [str(action.kind) for action in untagged(tree, uploads_older_than=0).actions]
    assert list(dict.fromkeys(kinds)) == ["tag-index", "revision", "layer-link", "upload", "blob"]
    assert kinds == sorted(kinds, key=list(dict.fromkeys(kinds)).index)


def test_the_fingerprint_changes_with_tags_and_revisions_only(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["one"]))
    first = plan_of(tree).fingerprint
    tree.blob(b"orphan")
    assert plan_of(tree).fingerprint == first
    tree.push("app", None, image(["two"]))
    second = plan_of(tree).fingerprint
    tree.push("app", "v1", image(["two"]))
    assert len({first, second, plan_of(tree).fingerprint}) == 3


def test_a_plan_is_made_of_the_scan_that_its_graph_was_built_from(tree: TreeBuilder) -> None:
    """There is no second inventory to pass: one of another time would have blobs planned away."""
    assert list(inspect.signature(plan).parameters) == ["graph", "policy", "now", "read"]
    _, graph = scan_and_build(tree)
    tree.push("app", "v1", image(["app"]))
    made = plan(graph, Policy(allow_no_manifests=True, min_age=0.0), time.time())
    assert made.actions == []
    assert made.fingerprint == fingerprint(graph.inventory)


def test_some_repositories_alone_cannot_be_planned(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    registry = registry_of(tree)
    some = scan(registry.store, want=lambda name: name == "other")
    with pytest.raises(Doubt, match="only some of the repositories"):
        plan(build_graph(some, registry), Policy(), time.time())


def test_an_empty_registry_has_an_empty_plan(tree: TreeBuilder) -> None:
    planned = plan_of(tree)
    assert (planned.actions, planned.findings, planned.kept) == ([], [], {})
    assert not planned.doubtful


# -- one thing in two places --------------------------------------------------


@pytest.mark.parametrize("part", ["_layers", "_manifests/revisions", "_layers/sha256"])
def test_a_part_that_two_repositories_share_by_a_link_loses_nothing(
    tree: TreeBuilder, part: str
) -> None:
    tree.push("a", "v1", image(["kept in a"]))
    unused = tree.add_blob("a", "needed through the link only")
    tree.push("b", "v1", image(["needed through the link only"]))
    tree.age(30 * 86400)
    linked = tree.repository_path("b") / part
    shutil.rmtree(linked)
    linked.symlink_to(tree.repository_path("a") / part)
    before = tree.files()
    assert unused in tree.blobs()
    collect(tree, delete_untagged=True, min_age=0)
    assert tree.files() == before


def test_a_blob_that_another_is_a_link_to_stays(tree: TreeBuilder) -> None:
    tree.push("a", "v1", image(["kept"]))
    orphan = tree.blob(b"nothing names me, but a link leads here")
    tree.age(30 * 86400)
    second = tree.blob_path("sha256:" + "ab" * 32).parent
    second.parent.mkdir(parents=True, exist_ok=True)
    second.symlink_to(tree.blob_path(orphan).parent)
    collect(tree, min_age=0)
    assert tree.blob_path(orphan).exists()


def test_blobs_are_looked_at_some_at_a_time(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, a million of them would take 300 MB."""
    tree.push("app", "v1")
    for number in range(7):
        tree.blob(b"%d" % number)
    at_once, asked, files = plan_of(tree, min_age=0.0), [], DigestTable.files

    def asking(table: DigestTable, rows: list[int]) -> Iterator[tuple[Digest, int, float, int]]:
        asked.append(len(rows))
        return files(table, rows)

    monkeypatch.setattr(DigestTable, "files", asking)
    monkeypatch.setattr("regfs.gc.candidates._BATCH", 3)
    assert plan_of(tree, min_age=0.0).actions == at_once.actions
    assert asked == [0, 3, 3, 1]  # layer links, then blobs
    assert at_once.totals.blobs == 7
