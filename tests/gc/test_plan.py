"""What a plan lets go and what it keeps, as scenarios and as laws over random registries."""

from __future__ import annotations

import inspect
import json
import shutil
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import Doubt
from regfs.findings import Code
from regfs.gc.plan import Plan, fingerprint, plan, total
from regfs.gc.policy import Policy
from regfs.graph import build_graph
from regfs.tree.scan import scan
from tests.support.builder import (
    Blob,
    TreeBuilder,
    artifact,
    attestation,
    blob_of,
    buildkit,
    cache_index,
    digest_of,
    image,
    index,
    oci_artifact,
    raw,
    schema1,
)
from tests.support.images import Content, Document, dumps
from tests.support.registries import (
    NOWHERE,
    Oracle,
    Recipe,
    build,
    collect,
    files_of,
    going,
    going_in,
    new_tree,
    paths,
    plan_of,
    recipes,
    registry_of,
    scan_and_build,
)

HOUR = 3600.0


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


# -- indexes ------------------------------------------------------------------


def test_an_index_keeps_children_that_no_tag_names(tree: TreeBuilder) -> None:
    tree.push("app", "multi", index(image(["amd"]), image(["arm"], platform="linux/arm64")))
    assert untagged(tree).actions == []


def test_an_index_that_goes_takes_its_children_along(tree: TreeBuilder) -> None:
    child = image(["amd"])
    multi = index(child)
    tree.push("app", "multi", multi)
    tree.push("app", "multi", image(["new"]))
    planned = untagged(tree)
    assert going(planned, "revision") == {multi.digest, child.digest}
    assert going(planned, "blob") == layers_of(child) | {multi.digest}
    assert going(planned, "tag-index") == {multi.digest}


def test_a_tagged_child_outlives_its_index(tree: TreeBuilder) -> None:
    child = image(["amd"])
    multi = index(child)
    tree.push("app", None, multi)
    tree.push("app", "amd", child)
    assert going(untagged(tree), "blob") == {multi.digest}


def test_indexes_nest_as_deep_as_they_like(tree: TreeBuilder) -> None:
    content = image(["deep"])
    for _ in range(50):
        content = index(content)
    tree.push("app", "deep", content)
    assert untagged(tree).actions == []


@pytest.mark.parametrize("names", [("a", "z"), ("z", "a")])
def test_a_child_may_be_in_another_repository_only(
    tree: TreeBuilder, names: tuple[str, str]
) -> None:
    lists, holds = names
    child = image(["far"])
    tree.push(lists, "multi", index(sparse=[child]))
    tree.push(holds, None, child)
    tree.push(holds, "v1", image(["near"]))
    planned = untagged(tree)
    assert going_in(planned, "revision") == {(holds, child.digest)}
    assert going(planned, "blob") == set()


@pytest.mark.parametrize("names", [("a", "z"), ("z", "a")])
def test_the_full_copy_of_a_sparse_index_keeps_its_layers(
    tree: TreeBuilder, names: tuple[str, str]
) -> None:
    mirror, full = names
    child = image(["amd"])
    tree.push(mirror, "multi", index(sparse=[child]))
    tree.push(full, "multi", index(child))
    assert index(child).digest == index(sparse=[child]).digest
    assert untagged(tree).actions == []
    assert plan_of(tree).actions == []


def test_a_child_deleted_by_digest_keeps_its_layers_while_its_index_lives(
    tree: TreeBuilder,
) -> None:
    child = image(["amd"])
    tree.push("app", "multi", index(child))
    tree.delete_manifest("app", child.digest)
    assert plan_of(tree).actions == []
    assert untagged(tree).actions == []


def test_a_child_that_was_never_pushed_is_no_doubt(tree: TreeBuilder) -> None:
    tree.push("app", "multi", index(image(["amd"]), sparse=[image(["arm"])]))
    orphan = tree.blob(b"orphan")
    planned = plan_of(tree)
    assert going(planned, "blob") == {orphan}
    assert not planned.doubtful
    assert [f.code for f in planned.findings] == [Code.INDEX_CHILD_MISSING]


def test_a_child_of_unknown_type_keeps_what_it_names(tree: TreeBuilder) -> None:
    inner = image(["needed"])
    future = {"mediaType": "application/vnd.example.future+json", "schemaVersion": 2}
    child = tree.blob(dumps({**future, "things": [inner.document["layers"][0]]}))
    needed = tree.blob(inner.blobs[1].data)
    entry = {"mediaType": "application/vnd.example.future+json", "digest": child, "size": 1}
    tree.push("app", "v1", raw({"schemaVersion": 2, "manifests": [entry]}))
    assert going(plan_of(tree), "blob").isdisjoint({child, needed})


# -- manifests of every kind --------------------------------------------------


def unknown(layers: list[str]) -> Content:
    blobs = [blob_of(name) for name in layers]
    named = {"weird": [blob.digest for blob in blobs], "in a text": f"x {blobs[0].digest} y"}
    return raw({"mediaType": "application/vnd.example+json", **named}, "", blobs)


@pytest.mark.parametrize(
    "content",
    [
        image(["x"], docker=True),
        image(["x"], media_type=False),
        index(image(["x"]), docker=True),
        index(image(["x"]), media_type=False),
        index(index(image(["x"]))),
        schema1("app", "v1", ["x", "y"]),
        cache_index(["x", "y"]),
        cache_index(["x"], docker=True),
        buildkit(image(["x"])),
        artifact(["x"]),
        oci_artifact(["x"]),
        unknown(["x", "y"]),
    ],
    ids=lambda content: content.media_type.rpartition(".")[2] or "unknown",
)
def test_a_tagged_manifest_of_any_kind_keeps_all_that_it_names(
    tree: TreeBuilder, content: Content
) -> None:
    tree.push("app", "v1", content)
    orphan = tree.blob(b"orphan")
    for planned in (plan_of(tree), untagged(tree)):
        assert going(planned, "blob") == {orphan}
        assert len(planned.actions) == 1


def test_a_layer_named_by_sha512_keeps_the_blob_stored_by_sha256(tree: TreeBuilder) -> None:
    blob = Blob(blob_of("long").data, algorithm="sha512")
    tree.push("app", "v1", image([blob]))
    assert plan_of(tree).actions == []
    assert untagged(tree).actions == []


def test_an_alias_link_that_nothing_needs_goes_with_its_blob(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["kept"]))
    blob = Blob(blob_of("long").data, algorithm="sha512")
    stored = tree.add_blob("app", blob)
    planned = plan_of(tree)
    assert going(planned, "layer-link") == {stored, blob.digest}
    assert going(planned, "blob") == {stored}
    assert collect(tree).skipped == []


def test_an_alias_keeps_its_blob_even_beside_a_blob_stored_by_sha512(tree: TreeBuilder) -> None:
    blob = Blob(blob_of("long").data, algorithm="sha512")
    tree.push("app", "v1", image([blob]))
    tree.write(tree.blob_path(blob.digest), blob.data)
    assert plan_of(tree).actions == []


def test_one_digest_can_be_a_layer_and_a_manifest(tree: TreeBuilder) -> None:
    inner = image(["inner"])
    outer = image([Blob(inner.data)], b"{}")
    tree.push("app", None, inner)
    tree.push("app", "v1", outer)
    assert untagged(tree).actions == []


# -- referrers ----------------------------------------------------------------


def test_a_referrer_lives_while_its_subject_lives(tree: TreeBuilder) -> None:
    subject = image(["app"])
    tree.push("app", "v1", subject)
    tree.push("app", None, artifact(["sbom"], subject=subject))
    assert untagged(tree).actions == []


def test_a_referrer_goes_with_its_subject(tree: TreeBuilder) -> None:
    subject = image(["app"])
    tree.push("app", "v1", subject)
    referrer = tree.push("app", None, artifact(["sbom"], subject=subject))
    tree.push("app", "v1", image(["new"]))
    assert going(untagged(tree), "revision") == {subject.digest, referrer}


def test_a_chain_of_referrers_lives_and_goes_together(tree: TreeBuilder) -> None:
    subject = image(["app"])
    sbom = artifact(["sbom"], subject=subject)
    signature = artifact(["signature"], subject=sbom)
    for content in (sbom, signature):
        tree.push("app", None, content)
    tree.push("app", "v1", subject)
    assert untagged(tree).actions == []
    tree.push("app", "v1", image(["new"]))
    assert going(untagged(tree), "revision") == {subject.digest, sbom.digest, signature.digest}


def test_what_is_about_a_child_of_an_index_lives_with_the_index(tree: TreeBuilder) -> None:
    child = image(["amd"])
    tree.push("app", "multi", index(child))
    tree.push("app", None, artifact(["sbom"], subject=child))
    assert untagged(tree).actions == []


def test_a_referrer_of_an_image_in_another_repository_is_kept(tree: TreeBuilder) -> None:
    subject = image(["app"])
    tree.push("images", "v1", subject)
    tree.push("signatures", "any", image(["other"]))
    tree.push("signatures", None, artifact(["signature"], subject=subject))
    chained = artifact(["more"], subject=artifact(["signature"], subject=subject))
    tree.push("signatures", None, chained)
    assert untagged(tree).actions == []


def test_a_tagged_referrer_keeps_its_subject(tree: TreeBuilder) -> None:
    subject = image(["app"])
    tree.push("app", None, subject)
    tree.push("app", "signature", artifact(["signature"], subject=subject))
    assert untagged(tree).actions == []


def test_an_untagged_referrer_keeps_its_subject_while_revisions_are_roots(
    tree: TreeBuilder,
) -> None:
    subject = image(["app"])
    tree.push("app", None, subject)
    tree.push("app", None, artifact(["sbom"], subject=subject))
    tree.delete_revision("app", subject.digest)
    assert plan_of(tree).actions == []


def test_what_a_referrer_that_is_an_index_holds_keeps_its_own_subject(tree: TreeBuilder) -> None:
    subject, inner = image(["app"]), image(["inner"])
    tree.push("app", "v1", subject)
    tree.push("app", None, inner)
    signature = artifact(["signature"], subject=inner)
    tree.push("app", None, index(signature, artifact_type="x/y", subject=subject))
    assert untagged(tree).actions == []


def test_a_referrer_whose_subject_is_not_there_stays_by_default(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    referrer = tree.push("app", None, artifact(["sbom"], subject=NOWHERE))
    assert untagged(tree).actions == []
    assert going(untagged(tree, keep_referrers_of_dangling=False), "revision") == {referrer}


def test_a_fallback_tag_keeps_its_referrers_and_not_its_subject(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    subject = image(["old"])
    tree.push("app", None, subject)
    listed = artifact(["sbom"], subject=subject)
    tree.fallback("app", subject.digest, listed)
    planned = untagged(tree)
    assert going(planned, "revision") == {subject.digest}
    assert going(planned, "blob") == layers_of(subject)


def test_an_attestation_lives_and_goes_with_its_image(tree: TreeBuilder) -> None:
    built = image(["built"])
    tree.push("app", "v1", buildkit(built))
    assert untagged(tree).actions == []
    tree.push("app", "v1", image(["new"]))
    gone = {built.digest, attestation(built).digest, buildkit(built).digest}
    assert going(untagged(tree), "revision") == gone


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


# -- young things -------------------------------------------------------------


def test_young_things_stay_and_are_counted(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    with tree.at_age(60):
        tree.blob(b"young")
        tree.add_blob("app", "young too")
        tree.upload("app", 3)
    planned = plan_of(tree, uploads_older_than=0)
    assert planned.actions == []
    assert planned.kept == {"young": 4}


def test_a_young_link_keeps_an_old_blob(tree: TreeBuilder) -> None:
    digest = tree.blob(blob_of("mounted").data)
    with tree.at_age(60):
        tree.add_blob("app", "mounted")
    assert plan_of(tree).actions == []
    assert going(plan_of(tree, min_age=30), "blob") == {digest}


def test_a_young_alias_link_keeps_an_old_blob(tree: TreeBuilder) -> None:
    blob = Blob(blob_of("long").data, algorithm="sha512")
    stored = tree.add_blob("app", blob)
    tree.set_age(tree.layer_path("app", blob.digest), 60)
    assert going_in(plan_of(tree), "layer-link") == {("app", stored)}
    assert going(plan_of(tree), "blob") == set()


def test_a_young_revision_is_a_root_although_no_tag_names_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    content = index(image(["amd"]))
    tree.push("app", None, content)
    tree.set_age(tree.revision_path("app", content.digest), 60)
    assert untagged(tree).actions == []


def test_what_lost_its_tag_a_minute_ago_stays(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["old"]))
    with tree.at_age(60):
        tree.push("app", "v1", image(["new"]))
    assert untagged(tree).actions == []
    later = untagged(tree, now=time.time() + HOUR)
    assert going(later, "revision") == {image(["old"]).digest}


@pytest.mark.parametrize("min_age", [0.0, HOUR])
def test_what_comes_from_the_future_is_young(tree: TreeBuilder, min_age: float) -> None:
    tree.push("app", "v1", image(["app"]))
    with tree.at_age(-HOUR):
        tree.blob(b"tomorrow")
        tree.add_blob("app", "tomorrow too")
        tree.upload("app", 3)
        tree.push("app", None, image(["untagged tomorrow"]))
    planned = untagged(tree, min_age=min_age, uploads_older_than=0)
    assert planned.actions == []
    assert planned.kept == {"future": 4}


def test_an_upload_is_as_young_as_its_youngest_file(tree: TreeBuilder) -> None:
    upload = tree.upload("app", 100)
    assert plan_of(tree, uploads_older_than=HOUR).totals.uploads == 1
    assert plan_of(tree).kept == {"young": 1}
    tree.set_age(tree.upload_path("app", upload) / "data", 60)
    assert plan_of(tree, uploads_older_than=HOUR).kept == {"young": 1}


def test_an_upload_that_says_it_began_just_now_is_young(tree: TreeBuilder) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tree.upload("app", 100, started_at=now)
    assert plan_of(tree, uploads_older_than=HOUR).kept == {"young": 1}


@pytest.mark.parametrize("started_at", ["", "garbage", "2026-13-45T99:99:99Z"])
def test_an_upload_that_does_not_say_when_it_began_goes_by_its_files(
    tree: TreeBuilder, started_at: str
) -> None:
    upload = tree.upload("app", 100, started_at=started_at)
    planned = plan_of(tree, uploads_older_than=HOUR)
    assert paths(planned) == {tree.relative(tree.upload_path("app", upload))}


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


# -- laws over random registries ----------------------------------------------

POLICIES = st.fixed_dictionaries({"delete_untagged": st.booleans()})


@given(recipes(), st.booleans())
def test_a_plan_holds_exactly_what_the_oracle_does_not_keep(recipe: Recipe, prune: bool) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        planned = plan_of(tree, delete_untagged=prune)
        oracle = Oracle(tree, untagged=prune)
        inventory, _ = scan_and_build(tree)
        assert not inventory.repositories or not planned.doubtful
        links = {(n, str(d)) for n, r in inventory.repositories.items() for d in r.layers}
        kept = {(name, digest) for name in oracle.names for digest in oracle.layers[name]}
        assert going_in(planned, "layer-link") == links - kept
        assert not inventory.repositories or going(planned, "blob") == oracle.present - oracle.blobs
        revisions = {(name, d) for name in oracle.names for d in oracle.revisions(name)}
        live = {(name, digest) for name in oracle.names for digest in oracle.live[name]}
        assert going_in(planned, "revision") == (revisions - live if prune else set())


@given(recipes(), POLICIES)
def test_after_a_run_there_is_nothing_left_to_collect(recipe: Recipe, policy: Document) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        before = tree.size_on_disk()
        planned = plan_of(tree, **policy, uploads_older_than=0)
        applied = collect(tree, **policy, uploads_older_than=0)
        assert applied.skipped == []
        assert before - tree.size_on_disk() == planned.totals.bytes
        assert plan_of(tree, **policy, uploads_older_than=0).actions == []


@given(recipes(), POLICIES, st.permutations(["a", "a/b", "m", "z"]))
def test_names_do_not_matter(recipe: Recipe, policy: Document, names: list[str]) -> None:
    rename = dict(zip(["a", "a/b", "m", "z"], names, strict=True))
    with new_tree() as tree, new_tree() as other:
        here = plan_of(build(tree, recipe), **policy)
        there = plan_of(build(other, recipe, rename), **policy)
    assert going(here, "blob") == going(there, "blob")
    for kind in ("revision", "layer-link", "tag-index"):
        renamed = {(rename[name], digest) for name, digest in going_in(here, kind)}
        assert renamed == going_in(there, kind)


@given(recipes(), POLICIES, st.lists(st.integers(0, 100), min_size=2, max_size=2), st.data())
def test_waiting_longer_never_collects_more(
    recipe: Recipe, policy: Document, ages: list[int], data: st.DataObject
) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        for path in sorted(tree.root.rglob("*")):
            if path.is_file():
                tree.set_age(path, data.draw(st.integers(0, 100), label=path.name) + 0.5)
        now = time.time()
        less, more = (paths(plan_of(tree, **policy, min_age=age, now=now)) for age in sorted(ages))
        assert more <= less


@given(recipes(), POLICIES)
def test_a_lean_listing_plans_the_same(recipe: Recipe, policy: Document) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (plan_of(tree, **policy, lean=lean, now=now) for lean in (True, False))
    assert (first.actions, first.kept) == (second.actions, second.kept)


@given(recipes())
def test_histories_do_not_matter_while_revisions_are_roots(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (plan_of(tree, history=history, now=now) for history in (True, False))
    assert (first.actions, first.kept) == (second.actions, second.kept)


@given(recipes(), POLICIES)
def test_planning_twice_says_the_same(recipe: Recipe, policy: Document) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (plan_of(tree, **policy, now=now) for _ in range(2))
    assert first.actions == second.actions
    assert (first.totals, first.kept) == (second.totals, second.kept)
    assert first.totals == total(first.actions)
    assert first.id != second.id


@given(
    st.recursive(st.just(digest_of(b"x")), lambda t: st.lists(t) | st.dictionaries(st.text(), t))
)
def test_a_digest_anywhere_in_an_unknown_manifest_is_kept(document: object) -> None:
    with new_tree() as tree:
        tree.blob(b"x")
        tree.push("app", "v1", raw(json.dumps({"mediaType": "x/y", "it": document}).encode()))
        named = digest_of(b"x") in json.dumps(document)
        assert going(plan_of(tree), "blob") == (set() if named else {digest_of(b"x")})


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
