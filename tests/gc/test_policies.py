"""A retention policy in a tree: which tags go, what goes with them, and what keeps them."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from regfs.findings import Code
from regfs.gc.plan import load
from regfs.gc.retention import RetentionPolicy
from regfs.render.tables import to_json
from regfs.runs import restore
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, artifact, blob_of, buildkit, image, index
from tests.support.registries import collect, going, going_in, plan_of
from tests.support.retention import judged, keep, reason, tags_of

DAY = 86_400.0
YEAR = "2020-01-01T00:00:00Z"


# -- what goes ----------------------------------------------------------------------


def test_a_tag_goes_with_all_that_it_alone_held(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["base", "new"]))
    old = image(["base", "old"])
    tree.push("app", "old", old)
    planned = judged(tree, keep("keep"))
    assert tags_of(planned) == {"app:old"}
    assert going(planned, "revision") == {old.digest}
    config = old.blobs[0].digest
    assert going(planned, "blob") == {old.digest, config, blob_of("old").digest}
    assert going(planned, "layer-link") == {config, blob_of("old").digest}
    before = tree.size_on_disk()
    collect(tree, retention=keep("keep"))
    assert before - tree.size_on_disk() == planned.totals.bytes
    assert tree.tags("app") == ["keep"]


@pytest.mark.parametrize("holder", ["repository", "tag", "index", "subject"])
def test_what_another_holds_stays_without_the_tag(tree: TreeBuilder, holder: str) -> None:
    old = image(["old"])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", old)
    if holder == "repository":
        tree.push("other", "keep", old)
    elif holder == "tag":
        tree.push("app", "keep-too", old)
    elif holder == "index":
        tree.push("app", "keep-both", index(old, image(["arm"])))
    else:
        tree.push("app", "keep-sbom", artifact(subject=old))
    planned = judged(tree, keep("keep.*"))
    assert tags_of(planned) == {"app:old"}
    assert going(planned, "blob") == set()
    assert going(planned, "revision") == ({old.digest} if holder == "repository" else set())


def test_an_immutable_tag_stays(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "v1", image(["old"]))
    assert tags_of(judged(tree, keep("keep"))) == {"app:v1"}
    planned = judged(tree, keep("keep", immutable=["v1"]))
    assert planned.actions == []
    assert reason(planned, "v1") == "immutable[0] of policies[0]"


def test_a_repository_in_doubt_loses_no_tag(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", image(["old"]))
    tree.push("app", "broken", image(["broken"]))
    tree.break_("manifest-missing", "app", "broken")
    planned = judged(tree, keep("keep"))
    assert planned.actions == []
    assert "in doubt" in reason(planned, "old")


def test_a_young_tag_stays_with_what_it_was_before(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    before = tree.push("app", "old", image(["before"]))
    with tree.at_age(60):
        tree.push("app", "old", image(["old"]))
    planned = judged(tree, keep("keep"))
    assert tags_of(planned) == set()
    assert before not in going(planned, "revision")
    assert reason(planned, "old") == "too young (--min-age)"
    assert tags_of(judged(tree, keep("keep"), min_age=0)) == {"app:old"}


def test_of_an_unknown_age_nothing_goes(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", image(["old"]))
    os.utime(tree.tag_path("app", "old"), (0, 0))
    assert tags_of(judged(tree, keep("keep"), min_age=0)) == set()


def test_a_tag_that_cannot_be_read_stays_with_all_it_was(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    one, two = tree.push("app", "old", image(["1"])), tree.push("app", "old", image(["2"]))
    tree.tag_path("app", "old").unlink()
    planned = judged(tree, keep("keep"))
    assert tags_of(planned) == set()
    assert going(planned, "blob").isdisjoint({one, two})


def test_a_policy_that_would_drop_every_tag_drops_none(tree: TreeBuilder) -> None:
    tree.push("app", "one", image(["one"]))
    assert judged(tree, keep("none")).actions == []
    planned = judged(tree, keep("none", allowEmpty=True))
    assert tags_of(planned) == {"app:one"}
    assert tree.blobs() == going(planned, "blob")


def test_a_repository_without_a_block_loses_nothing(tree: TreeBuilder) -> None:
    tree.push("mine", "keep", image(["1"]))
    tree.push("mine", "old", image(["2"]))
    tree.push("yours", "keep", image(["3"]))
    tree.push("yours", "old", image(["4"]))
    tree.push("yours", None, image(["5"]))
    planned = judged(tree, keep("keep", repositories=["mine"]))
    assert tags_of(planned) == {"mine:old"}
    assert {one.repository for one in planned.actions} == {"mine", None}
    assert {one.repository for one in planned.decisions} == {"mine"}


# -- untagged manifests ---------------------------------------------------------------


def test_untagged_manifests_go_unless_the_block_says_otherwise(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    untagged = tree.push("app", None, image(["untagged"]))
    for said, asked, goes in (
        ({}, False, False),
        ({}, True, True),
        ({"deleteUntagged": True}, False, True),
        ({"deleteUntagged": False}, True, False),
    ):
        planned = judged(tree, keep("keep", **said), delete_untagged=asked)
        assert going(planned, "revision") == ({untagged} if goes else set())
        assert bool(planned.actions) is goes


@pytest.mark.parametrize("said", [{}, {"deleteUntagged": False}])
def test_a_tag_takes_its_manifest_along_and_what_had_none_before_stays(
    tree: TreeBuilder, said: dict[str, Any]
) -> None:
    child, old = image(["child"]), image(["old"])
    sbom = artifact(["sbom"], subject=old)
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", old)
    tree.push("app", "old-index", index(child))
    tree.push("app", None, sbom)
    was = tree.push("app", "moved", image(["was"]))
    tree.push("app", "moved", image(["is"]))
    never = image(["never tagged"])
    tree.push("app", None, index(never))
    planned = judged(tree, keep("^keep", **said))
    assert tags_of(planned) == {"app:old", "app:old-index", "app:moved"}
    gone = {one.digest for one in (old, sbom, child, index(child), image(["is"]))}
    assert going(planned, "revision") == gone
    collect(tree, retention=keep("^keep", **said))
    assert judged(tree, keep("^keep", **said)).actions == []
    assert {was, never.digest, index(never).digest} <= tree.blobs()


def test_what_a_manifest_without_a_tag_lists_stays_when_its_tag_goes(tree: TreeBuilder) -> None:
    """The index had no tag before, so it stays, and with it what it lists."""
    child = image(["child"])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", child)
    tree.push("app", None, index(child))
    planned = judged(tree, keep("keep"))
    assert tags_of(planned) == {"app:old"}
    assert going(planned, "revision") == set()


def test_the_subject_of_a_tag_that_goes_had_no_tag_and_stays(tree: TreeBuilder) -> None:
    subject = image(["subject"])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", None, subject)
    tree.push("app", "sbom", artifact(["sbom"], subject=subject))
    planned = judged(tree, keep("keep"))
    assert tags_of(planned) == {"app:sbom"}
    assert going(planned, "revision") == set(), "a referrer lives while its subject does"


def test_rules_for_untagged_manifests_hold_when_only_the_run_asks(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    older = tree.push("app", None, image(["older"]))
    with tree.at_age(DAY):
        tree.push("app", None, image(["newer"]))
    retention = keep("keep", keepUntagged={"mostRecentlyPushedCount": 1})
    assert judged(tree, retention).actions == []
    assert going(judged(tree, retention, delete_untagged=True), "revision") == {older}


def test_untagged_manifests_are_kept_by_rules_with_what_they_lead_to(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    older = tree.push("app", None, image(["older"]))
    child = image(["child"])
    newer = index(child)
    with tree.at_age(DAY):
        tree.push("app", None, newer)
    tree.set_age(tree.revision_path("app", child.digest), 2 * DAY)
    rules = {"mostRecentlyPushedCount": 1}
    planned = judged(tree, keep("keep", deleteUntagged=True, keepUntagged=rules))
    assert going(planned, "revision") == {older}
    kept = {one.digest for one in planned.decisions if one.tag is None and one.keep}
    assert kept == {newer.digest}


def test_a_tagless_repository_is_refused_to_a_policy_too(tree: TreeBuilder) -> None:
    tree.push("app", None, image(["by digest"]))
    assert judged(tree, keep("keep")).actions == []
    planned = judged(tree, keep("keep", deleteUntagged=True))
    assert planned.actions == []
    assert planned.kept == {"tagless": 1}
    assert [one.code for one in planned.findings] == [Code.REPOSITORY_TAGLESS]


# -- what is attached to an image --------------------------------------------------------


def cosign(digest: str) -> str:
    return digest.replace(":", "-") + ".sig"


@pytest.mark.parametrize("goes", [True, False])
def test_a_cosign_tag_goes_and_stays_with_its_image(tree: TreeBuilder, goes: bool) -> None:
    tree.push("app", "keep", image(["new"]))
    signed = tree.push("app", "old" if goes else "keep-it", image(["signed"]))
    signature = tree.push("app", cosign(signed), artifact(["signature"]))
    planned = judged(tree, keep("keep.*"))
    assert (f"app:{cosign(signed)}" in tags_of(planned)) is goes
    assert (signature in going(planned, "blob")) is goes
    (one,) = [one for one in planned.decisions if one.tag == cosign(signed)]
    assert one.keep is not goes


@pytest.mark.parametrize("goes", [True, False])
def test_a_fallback_tag_goes_and_stays_with_its_image(tree: TreeBuilder, goes: bool) -> None:
    tree.push("app", "keep", image(["new"]))
    old = image(["signed"])
    tree.push("app", "old" if goes else "keep-it", old)
    listed = artifact(["sbom"], subject=old)
    tree.fallback("app", old.digest, listed)
    planned = judged(tree, keep("keep.*"))
    assert (listed.digest in going(planned, "blob")) is goes
    assert bool(tags_of(planned) - {"app:old"}) is goes


def test_a_signature_of_a_signature_goes_with_the_image(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    for tag in ("old", "keep-it"):
        first = tree.push("app", tag, image([tag]))
        second = tree.push("app", cosign(first), artifact([f"of {tag}"]))
        tree.push("app", cosign(second), artifact([f"of that of {tag}"]))
    planned = judged(tree, keep("keep.*"))
    assert len(tags_of(planned)) == 3
    assert len(going(planned, "revision")) == 3


def test_a_tag_beside_an_image_that_lives_elsewhere_stays(tree: TreeBuilder) -> None:
    old = image(["old"])
    tree.push("app", "keep", image(["new"]))
    signed = tree.push("app", "old", old)
    tree.push("app", cosign(signed), artifact(["signature"]))
    tree.push("elsewhere", "keep", old)
    assert tags_of(judged(tree, keep("keep"))) == {"app:old"}


def test_a_tag_beside_nothing_that_is_here_stays(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", image(["old"]))
    tree.push("app", cosign("sha256:" + "1" * 64), artifact(["pushed first"]))
    assert tags_of(judged(tree, keep("keep"))) == {"app:old"}


def test_a_young_tag_beside_an_image_that_goes_stays(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    signed = tree.push("app", "old", image(["old"]))
    with tree.at_age(60):
        signature = tree.push("app", cosign(signed), artifact(["signature"]))
    planned = judged(tree, keep("keep"))
    assert tags_of(planned) == {"app:old"}
    assert signature not in going(planned, "blob")


def test_a_tag_beside_an_image_stays_when_a_root_says_so(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    signed = tree.push("app", "old", image(["old"]))
    signature = tree.push("app", cosign(signed), artifact(["signature"]))
    planned = judged(tree, keep("keep"), roots=(f"app@{signature}",))
    assert tags_of(planned) == {"app:old"}
    assert signature not in going(planned, "revision")


def test_a_run_that_was_cut_short_still_takes_the_signatures(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    signed = tree.push("app", "old", image(["old"]))
    tree.push("app", cosign(signed), artifact(["signature"]))
    tree.untag("app", "old")
    assert tags_of(judged(tree, keep("keep"))) == set(), "its image has no tag now, and stays"
    planned = judged(tree, keep("keep", deleteUntagged=True))
    assert tags_of(planned) == {f"app:{cosign(signed)}"}


def test_where_every_tag_stays_so_do_those_beside_images(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    signed = tree.push("app", None, image(["old"]))
    tree.push("app", cosign(signed), artifact(["signature"]))
    assert tags_of(judged(tree, keep("keep", keepTags=[]))) == set()


def test_a_fallback_tag_without_a_revision_keeps_what_it_lists(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    listed = artifact(["sbom"])
    subject = "sha256:" + "1" * 64
    tree.fallback("app", subject, listed)
    for digest in (listed.digest, index(listed).digest):
        tree.delete_revision("app", digest)
    assert plan_of(tree).actions == []
    assert plan_of(tree, delete_untagged=True).actions == []


# -- referrers ------------------------------------------------------------------------


def test_an_untagged_referrer_goes_with_its_subject(tree: TreeBuilder) -> None:
    old = image(["old"])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", old)
    sbom = tree.push("app", None, artifact(subject=old))
    assert sbom in going(judged(tree, keep("keep")), "revision")
    assert sbom not in going(judged(tree, keep("keep|old")), "revision")


@pytest.mark.parametrize("delete", [True, False])
def test_referrers_without_their_subject_go_if_the_block_says_so(
    tree: TreeBuilder, delete: bool
) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", None, artifact(subject="sha256:" + "0" * 64))
    planned = judged(tree, keep("keep", deleteUntagged=True, deleteReferrers=delete))
    assert bool(going(planned, "revision")) is delete


@pytest.mark.parametrize("knob", [True, False])
def test_the_knobs_of_referrers(tree: TreeBuilder, knob: bool) -> None:
    app = image(["app"])
    tree.push("app", "v1", app)
    about = tree.push("app", None, artifact(["about app"], subject=app))
    dangling = tree.push("app", None, artifact(["of none"], subject="sha256:" + "0" * 64))
    everywhere = tree.push("other", None, artifact(["elsewhere"], subject=app))
    tree.push("other", "v1", image(["other"]))
    first = plan_of(tree, delete_untagged=True, keep_referrers_of_dangling=knob)
    assert going(first, "revision") == (set() if knob else {dangling})
    second = plan_of(tree, delete_untagged=True, keep_referrers_of_subject=knob)
    assert going(second, "revision") == (set() if knob else {about, everywhere})


# -- what only configs tell -----------------------------------------------------------


def by_config(**rules: Any) -> RetentionPolicy:
    block = {"repositories": ["**"], "keepTags": [rules], "allowEmpty": True}
    return RetentionPolicy.model_validate({"policies": [block]})


def test_tags_are_kept_by_when_their_images_were_built(tree: TreeBuilder) -> None:
    tree.push("app", "old", image(["old"], {"created": YEAR}))
    tree.push("app", "new", image(["new"], {"created": "2999-01-01T00:00:00Z"}))
    tree.push("app", "unknown", image(["unknown"]))
    assert tags_of(judged(tree, by_config(createdWithin="30d"))) == {"app:old"}


def test_an_index_is_as_young_as_its_youngest_image(tree: TreeBuilder) -> None:
    old = image(["old"], {"created": YEAR})
    tree.push("app", "old", index(old))
    tree.push("app", "mixed", index(old, image(["new"], {"created": "2999-01-01T00:00:00Z"})))
    tree.push("app", "half", index(old, sparse=[image(["absent"])]))
    assert tags_of(judged(tree, by_config(createdWithin="30d"))) == {"app:old"}


def test_attestations_do_not_make_an_age_unknown(tree: TreeBuilder) -> None:
    old = image(["old"], {"created": YEAR})
    tree.push("app", "artifact", buildkit(old))
    attested = image(["provenance"], platform="unknown/unknown")
    tree.push("app", "image", index(old, attested))
    planned = judged(tree, by_config(createdWithin="30d"))
    assert tags_of(planned) == {"app:artifact", "app:image"}


def test_tags_are_kept_by_labels(tree: TreeBuilder) -> None:
    tree.push("app", "kept", image(["1"], {"config": {"Labels": {"keep": "yes"}}}))
    tree.push("app", "gone", image(["2"], {"config": {"Labels": {"keep": "no"}}}))
    assert tags_of(judged(tree, by_config(labels={"keep": "yes"}))) == {"app:gone"}


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
@pytest.mark.parametrize("rule", [{"createdWithin": "30d"}, {"labels": {"keep": "yes"}}])
def test_a_config_that_cannot_be_read_keeps(
    tree: TreeBuilder, damage: str, rule: dict[str, Any]
) -> None:
    content = image(["old"], {"created": YEAR})
    tree.push("app", "old", content)
    assert tags_of(judged(tree, by_config(**rule))) == {"app:old"}
    data = tree.blob_path(content.blobs[0].digest)
    if damage == "missing":
        shutil.rmtree(data.parent)
    else:
        tree.write(data, b'{"created": "2020-01-01T00:00:00Z"}')
    assert tags_of(judged(tree, by_config(**rule))) == set()


def test_a_schema_1_image_is_of_unknown_age(tree: TreeBuilder) -> None:
    from tests.support.builder import schema1

    tree.push("app", "old", schema1("app", "old"))
    assert tags_of(judged(tree, by_config(createdWithin="30d"))) == set()


# -- plans and runs -------------------------------------------------------------------


def test_restore_brings_tags_back_with_their_history(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", image(["1"]))
    tree.push("app", "old", image(["2"]))
    before = tree.files()
    applied = collect(tree, purge=False, retention=keep("keep"))
    assert applied.done.tags == 1
    assert tree.tags("app") == ["keep"]
    restore(open_store(str(tree.root)), applied.run)
    assert tree.files() == before


def test_a_plan_with_a_policy_and_roots_survives_being_written(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    old = tree.push("app", "old", image(["old"]))
    planned = judged(tree, keep("keep"), roots=(f"@{old}", "app:keep?"), tag_history=1)
    read = load(to_json(planned).encode())
    assert read.policy == planned.policy
    assert read.actions == planned.actions


def test_decisions_are_of_every_tag(tree: TreeBuilder) -> None:
    for number in range(3):
        tree.push("app", f"v{number}", image([str(number)]))
    planned = judged(tree, keep("v1"))
    told = {(one.tag, one.keep) for one in planned.decisions}
    assert told == {("v0", False), ("v1", True), ("v2", False)}
    assert going_in(planned, "tag") == {
        ("app", str(one.digest)) for one in planned.decisions if not one.keep
    }
