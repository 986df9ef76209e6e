"""Roots from outside where no link helps, and what is about something else, case by case."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from regfs.gc.plan import Plan
from tests.support.builder import Blob, TreeBuilder, artifact, blob_of, image, index
from tests.support.registries import going, going_in
from tests.support.retention import judged, keep

USED = image(["used"])
CONFIG = USED.blobs[0].digest


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return judged(tree, None, delete_untagged=True, **policy)  # type: ignore[arg-type]


# -- whom a root speaks for -----------------------------------------------------------


def test_a_root_that_tells_of_nothing_vouches_for_nothing(tree: TreeBuilder) -> None:
    """A tag that points nowhere and never has is no word on what is in use."""
    tree.push("app", None, USED)
    tree.folder(tree.tag_folder("app", "v1"))
    assert untagged(tree, roots=("app:v1",)).actions == []


@pytest.mark.parametrize("root", [f"@{CONFIG}", f"@{USED.digest}"])
def test_a_digest_vouches_only_where_its_image_is(tree: TreeBuilder, root: str) -> None:
    tree.push("app", None, USED)
    tree.push("other", None, image(["only digests here"]))
    assert untagged(tree, roots=(root,)).actions == []


def test_the_less_likely_reading_of_a_root_keeps_too(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["tagged"]))
    tree.push("app", None, USED)
    assert untagged(tree, roots=("host/app:v1", f"app@{CONFIG}?")).actions == []


def test_a_repository_without_manifests_is_not_called_tagless(tree: TreeBuilder) -> None:
    digest = tree.add_blob("app", "unused")
    planned = untagged(tree, allow_no_manifests=True)
    assert going(planned, "layer-link") == {digest}
    assert (planned.findings, planned.kept) == ([], {})


# -- what no repository links to --------------------------------------------------------


def unlinked(tree: TreeBuilder) -> None:
    """Make an untagged index whose child has no link of its own."""
    tree.push("app", "v1", image(["tagged"]))
    tree.push("app", None, index(USED))
    tree.delete_revision("app", USED.digest)
    shutil.rmtree(tree.repository_path("app") / "_layers")


WHOLE = {USED.digest, *(blob.digest for blob in USED.blobs)}


@pytest.mark.parametrize("root", [CONFIG, USED.digest])
def test_an_image_that_nothing_links_is_kept_by_its_name(tree: TreeBuilder, root: str) -> None:
    unlinked(tree)
    assert going(untagged(tree), "blob") == {*WHOLE, index(USED).digest}
    planned = untagged(tree, roots=(f"@{root}",))
    assert going(planned, "blob") == {index(USED).digest}


def test_a_manifest_that_nothing_names_is_read_for_what_it_names(tree: TreeBuilder) -> None:
    """Three deep, with a digest in it that is not there."""
    unlinked(tree)
    tree.delete_revision("app", index(USED).digest)
    outer = index(index(USED), image(["never pushed"]))
    tree.blob(outer.data)
    planned = untagged(tree, roots=(f"@{outer.digest}",))
    assert going(planned, "blob") == set()


@pytest.mark.parametrize("data", [b"no manifest", b"\n" * 5_000_000])
def test_a_root_that_is_no_manifest_is_kept_as_it_is(tree: TreeBuilder, data: bytes) -> None:
    tree.push("app", "v1", image(["tagged"]))
    other = tree.blob(b"another")
    root = tree.blob(data)
    planned = untagged(tree, roots=(f"@{root}",))
    assert going(planned, "blob") == {other}
    assert planned.findings == []


def test_a_root_by_another_algorithm_keeps_what_is_stored(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["tagged"]))
    long = Blob(blob_of("long").data, algorithm="sha512")
    stored = tree.add_blob("app", long)
    assert going(untagged(tree), "blob") == {stored}
    planned = untagged(tree, roots=(f"@{long.digest}",))
    assert going(planned, "blob") == set()
    assert planned.findings == []


# -- what is about something else -----------------------------------------------------------


def test_what_is_about_a_listed_referrer_stays(tree: TreeBuilder) -> None:
    subject = image(["absent"])
    listed = artifact(["sbom"], subject=subject)
    about = artifact(["signature"], subject=listed)
    tree.push("app", "v1", image(["tagged"]))
    tree.fallback("app", subject.digest, listed)
    tree.push("app", None, about)
    assert untagged(tree, keep_referrers_of_dangling=False).actions == []


def test_what_is_about_a_tag_that_was_decided_last_stays(tree: TreeBuilder) -> None:
    """An image is kept in one repository, its signature beside it in another, and in a third
    what is about the signature."""
    subject = image(["signed"])
    signature, about = image(["signature"]), artifact(["receipt"], subject=image(["signature"]))
    tree.push("a", "keep", subject)
    tree.push("b", "keep", image(["other"]))
    tree.push("b", None, subject)
    tree.push("b", f"{subject.digest.replace(':', '-')}.sig", signature)
    tree.push("c", "keep", image(["third"]))
    tree.push("c", None, about)
    planned = judged(tree, keep("keep"))
    assert ("c", about.digest) not in going_in(planned, "revision")
    assert going(planned, "tag") == set()


def test_decisions_tell_of_untagged_manifests_and_no_others(tree: TreeBuilder) -> None:
    tree.push("app", "keep", index(USED))
    old = tree.push("app", None, image(["old"]))
    policy = keep("keep", deleteUntagged=True, keepUntagged={"pushedWithin": "1d"})
    planned = judged(tree, policy)
    assert {one.digest for one in planned.decisions if one.tag is None} == {old}


def test_chains_of_referrers_lead_through_repositories_whatever_their_order(
    tree: TreeBuilder,
) -> None:
    subject = image(["signed"])
    first = artifact(["first"], subject=subject)
    beside, before, after = (
        artifact([word], subject=first) for word in ("beside", "before", "after")
    )
    last = artifact(["last"], subject=before)
    tree.push("k", "v1", subject)
    for name, referrers in {
        "z": [first, beside],
        "m": [before],
        "zz": [after],
        "a": [last],
    }.items():
        tree.push(name, "v1", image([name]))
        for one in referrers:
            tree.push(name, None, one)
    assert untagged(tree).actions == []
    gone = going_in(untagged(tree, keep_referrers_of_subject=False), "revision")
    assert {digest for _, digest in gone} == {
        one.digest for one in (first, beside, before, after, last)
    }


def test_signatures_go_and_stay_with_their_images_in_each_repository(tree: TreeBuilder) -> None:
    tags = {}
    for name, tag in (("a", "old"), ("b", "keep"), ("c", "old"), ("d", "keep")):
        content = image([f"{name} {tag}"])
        tree.push(name, "keep", image([name]))
        tree.push(name, tag, content)
        tags[name] = f"{content.digest.replace(':', '-')}.sig"
        tree.push(name, tags[name], image([f"signature {name}"]))
    planned = judged(tree, keep("keep"))
    dropped = {(one.repository, one.path.rpartition("/")[2]) for one in planned.actions
               if one.kind == "tag"}  # fmt: skip
    assert dropped == {("a", "old"), ("a", tags["a"]), ("c", "old"), ("c", tags["c"])}
    beside = {one.repository: one for one in planned.decisions if one.tag in tags.values()}
    assert [beside[name].keep for name in "abcd"] == [False, True, False, True]
    assert beside["a"].reason == "the image it is attached to is deleted"
