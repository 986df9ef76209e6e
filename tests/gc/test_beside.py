"""Tags that stand beside an image, and tags that only look so: what lives, and what goes."""

from __future__ import annotations

from typing import Any

import pytest

from regfs.digest import ALGORITHMS, Digest
from regfs.gc.retention import RetentionPolicy
from regfs.graph.attached import attached_to, referrers
from tests.support import retention
from tests.support.attached import ENDINGS, GONE, NEW, OLD, beside_of, own, signed
from tests.support.builder import TreeBuilder, artifact, blob_of, digest_of, image, index
from tests.support.images import Content
from tests.support.registries import collect, going, plan_of, registry_of, scan_and_build
from tests.support.retention import judged, tags_of


def keep(*patterns: str, **block: Any) -> RetentionPolicy:
    return retention.keep(*patterns, **{"deleteUntagged": True, **block})


def push_by(tree: TreeBuilder, name: str, content: Content, algorithm: str) -> str:
    """Push an image by its digest in an algorithm, as a registry stores it; return that digest."""
    digest = digest_of(content.data, algorithm)
    tree.push(name, None, content)
    if digest != content.digest:
        tree.delete_revision(name, content.digest)
        tree.write(tree.revision_path(name, digest), content.digest)
    return digest


# -- tags that images have of their own digest (mirrored by digest) ------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("content", [OLD, index(OLD, image(["arm"]))], ids=["image", "index"])
def test_a_tag_of_its_own_digest_is_an_ordinary_tag(
    tree: TreeBuilder, content: Content, algorithm: str
) -> None:
    digest = push_by(tree, "mirror", content, algorithm)
    tree.tag("mirror", own(digest), content.digest)
    untagged = tree.push("mirror", None, image(["untagged"]))
    inventory, graph = scan_and_build(tree)
    current = inventory.repositories["mirror"].tags[own(digest)].current
    assert attached_to(graph, own(digest), current) is None
    assert going(plan_of(tree, delete_untagged=True), "revision") == {untagged}


def test_a_tag_of_its_own_digest_is_kept_and_counted_by_a_policy(tree: TreeBuilder) -> None:
    for content in (OLD, NEW, GONE):
        tree.push("mirror", own(content.digest), content)
    tree.push("mirror", "v1", image(["by tag"]))
    assert tags_of(judged(tree, keep("sha256-"))) <= {"mirror:v1"}
    dropped = tags_of(judged(tree, keep("v1", immutable=[own(NEW.digest)])))
    assert dropped == {f"mirror:{own(one.digest)}" for one in (OLD, GONE)}


def test_an_image_under_the_digest_it_had_before_it_was_converted_is_ordinary(
    tree: TreeBuilder,
) -> None:
    tree.push("mirror", own(GONE.digest), index(OLD, NEW))
    tree.push("mirror", own(digest_of(b"another")), image(["converted"]))
    assert plan_of(tree, delete_untagged=True, keep_referrers_of_dangling=False).actions == []
    _, graph = scan_and_build(tree)
    assert referrers(graph, Digest(GONE.digest), "mirror") == []


def test_an_index_of_platforms_under_its_own_digest_lists_no_referrers(tree: TreeBuilder) -> None:
    content = index(OLD, NEW)
    tree.push("mirror", own(content.digest), content)
    _, graph = scan_and_build(tree)
    assert referrers(graph, Digest(content.digest), "mirror") == []


# -- fallback tags, in every algorithm ----------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_fallback_tag_speaks_for_no_image(tree: TreeBuilder, algorithm: str) -> None:
    """What was pushed by digest stays: nobody here tags images."""
    digest = push_by(tree, "app", OLD, algorithm)
    tree.push("app", own(digest), index(artifact(["sbom"], subject=OLD)))
    planned = plan_of(tree, delete_untagged=True)
    assert planned.actions == []
    assert planned.kept["tagless"] > 0


def test_a_list_that_also_names_an_image_speaks_for_no_image_either(tree: TreeBuilder) -> None:
    tree.push("app", None, OLD)
    tree.push("app", own(OLD.digest), index(artifact(["sbom"], subject=OLD), image(["odd"])))
    assert plan_of(tree, delete_untagged=True).kept["tagless"] > 0


def test_a_signature_under_a_fallback_tag_is_about_its_subject(tree: TreeBuilder) -> None:
    tree.push("app", None, OLD)
    tree.push("app", own(OLD.digest), artifact(["signature"], subject=OLD))
    assert plan_of(tree, delete_untagged=True).kept["tagless"] > 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_long_fallback_tag_lives_and_goes_with_its_image(
    tree: TreeBuilder, algorithm: str
) -> None:
    tree.push("app", "keep", NEW)
    digest = push_by(tree, "app", OLD, algorithm)
    tree.tag("app", "v1", OLD.digest)
    listed = artifact(["sbom"], subject=digest)
    tree.push("app", own(digest), index(listed))
    assert tags_of(judged(tree, keep("keep", "v1"))) == set()
    assert tags_of(judged(tree, keep("keep"))) == {"app:v1", f"app:{own(digest)}"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_referrer_that_names_its_subject_in_any_algorithm_lives_and_goes_with_it(
    tree: TreeBuilder, algorithm: str
) -> None:
    digest = push_by(tree, "app", OLD, algorithm)
    tree.tag("app", "v1", OLD.digest)
    referrer = tree.push("app", None, artifact(["sbom"], subject=digest))
    knobs: dict[str, Any] = {"delete_untagged": True, "keep_referrers_of_dangling": False}
    assert plan_of(tree, **knobs).actions == []
    assert not plan_of(tree).findings
    tree.push("app", "v1", NEW)
    assert going(plan_of(tree, delete_untagged=True), "revision") == {digest, referrer}


# -- cosign -------------------------------------------------------------------------------


@pytest.fixture
def rebuilt(tree: TreeBuilder) -> TreeBuilder:
    """An image that was rebuilt under its tag, both signed; and the signature of one long gone."""
    tree.push("app", "latest", OLD)
    tree.push("app", "latest", NEW)
    for content in (OLD, NEW, GONE):
        for ending in ENDINGS:
            signed(tree, "app", content.digest, ending)
    return tree


def test_a_signature_goes_in_the_run_in_which_its_image_goes(rebuilt: TreeBuilder) -> None:
    planned = plan_of(rebuilt, delete_untagged=True)
    assert tags_of(planned) == beside_of(OLD)
    assert OLD.digest in going(planned, "revision")
    collect(rebuilt, delete_untagged=True)
    left = {f"app:{tag}" for tag in rebuilt.tags("app")}
    assert left == {"app:latest", *beside_of(NEW), *beside_of(GONE)}


def test_plain_gc_takes_no_tag(rebuilt: TreeBuilder) -> None:
    assert plan_of(rebuilt).actions == []


def test_a_signature_whose_image_is_gone_goes_on_demand(rebuilt: TreeBuilder) -> None:
    planned = plan_of(rebuilt, delete_untagged=True, keep_referrers_of_dangling=False)
    assert tags_of(planned) == beside_of(OLD) | beside_of(GONE)
    collect(rebuilt, delete_untagged=True, keep_referrers_of_dangling=False)
    assert plan_of(rebuilt, delete_untagged=True, keep_referrers_of_dangling=False).actions == []
    assert {f"app:{tag}" for tag in rebuilt.tags("app")} == {"app:latest", *beside_of(NEW)}


def test_the_signature_of_a_signature_goes_with_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    first = signed(tree, "app", OLD.digest)
    signed(tree, "app", first)
    assert plan_of(tree, delete_untagged=True).actions == []
    tree.push("app", "v1", NEW)
    assert len(tags_of(plan_of(tree, delete_untagged=True))) == 2


@pytest.mark.parametrize(
    "trace", ["blob", "revision elsewhere", "blind", "young", "root", "unreadable"]
)
def test_with_any_trace_of_its_image_a_signature_is_not_dangling(
    rebuilt: TreeBuilder, trace: str
) -> None:
    policy: dict[str, Any] = {"delete_untagged": True, "keep_referrers_of_dangling": False}
    if trace == "blob":
        with rebuilt.at_age(0):
            rebuilt.blob(GONE.data)
    elif trace == "revision elsewhere":
        rebuilt.push("team", "v1", GONE)
    elif trace == "blind":
        (rebuilt.v2 / "repositories/team").symlink_to("/not/mounted")
    elif trace == "young":
        for ending in ENDINGS:
            rebuilt.set_age(rebuilt.tag_path("app", f"{own(GONE.digest)}.{ending}"), 60)
    elif trace == "root":
        policy["roots"] = (f"@{GONE.digest}",)
    else:
        rebuilt.write(rebuilt.blob_path(GONE.digest).parent, b"no folder")
    assert not tags_of(plan_of(rebuilt, **policy)) & beside_of(GONE)


def test_signatures_in_a_repository_of_their_own_are_not_collected(tree: TreeBuilder) -> None:
    """cosign can keep them apart (COSIGN_REPOSITORY): their images may be in another registry."""
    signed(tree, "signatures", GONE.digest)
    planned = plan_of(tree, delete_untagged=True, keep_referrers_of_dangling=False)
    assert planned.actions == []
    assert planned.kept["tagless"] == 1


def test_a_list_whose_image_is_gone_stays_and_keeps_what_it_lists(tree: TreeBuilder) -> None:
    tree.push("app", "v1", NEW)
    tree.fallback("app", GONE.digest, artifact(["sbom"], subject=GONE))
    assert plan_of(tree, delete_untagged=True, keep_referrers_of_dangling=False).actions == []


def test_a_signature_comes_back_with_its_image(rebuilt: TreeBuilder) -> None:
    collect(rebuilt, purge=False, delete_untagged=True)
    assert not rebuilt.tag_folder("app", f"{own(OLD.digest)}.sig").exists()
    rebuilt.tag("app", "again", OLD.digest)
    from regfs.gc.collect import settle

    settle(registry_of(rebuilt))
    assert rebuilt.tag_path("app", f"{own(OLD.digest)}.sig").exists()
    assert plan_of(rebuilt, delete_untagged=True).actions == []


# -- what always wins ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["immutable", "keepTags"])
@pytest.mark.parametrize("content", [OLD, GONE], ids=["image goes", "image gone"])
def test_immutable_and_matching_keep_tags_win_over_every_other_reason(
    rebuilt: TreeBuilder, how: str, content: Content
) -> None:
    name = f"{own(content.digest)}.sig"
    ruled = (
        keep("latest", immutable=[name], deleteReferrers=True)
        if how == "immutable"
        else keep("latest", name, deleteReferrers=True)
    )
    dropped = tags_of(judged(rebuilt, ruled, keep_referrers_of_dangling=False))
    assert dropped == (beside_of(OLD) | beside_of(GONE)) - beside_of(content, "sig")
    (reason,) = [one.reason for one in judged(rebuilt, ruled).decisions if one.tag == name]
    assert how in reason


def test_signatures_take_no_place_of_an_image_in_a_count(tree: TreeBuilder) -> None:
    for number, content in enumerate((OLD, NEW, GONE)):
        with tree.at_age(90_000 * (9 - number)):
            tree.push("app", f"v{number}", content)
        signed(tree, "app", content.digest)
    entries = [{"mostRecentlyPushedCount": 2}]
    block = {"repositories": ["**"], "keepTags": entries, "deleteUntagged": True}
    planned = judged(tree, RetentionPolicy.model_validate({"policies": [block]}))
    assert tags_of(planned) == {"app:v0", *beside_of(OLD, "sig")}


def test_the_layers_of_a_signature_go_with_it(rebuilt: TreeBuilder) -> None:
    payload = blob_of(f"sig of {OLD.digest}").digest
    assert payload in going(plan_of(rebuilt, delete_untagged=True), "blob")
    assert payload not in going(plan_of(rebuilt), "blob")
