"""What a plan does with indexes, manifests of every kind, and referrers."""

from __future__ import annotations

from typing import Any

import pytest

from regfs.findings import Code
from regfs.gc.plan import Plan
from tests.support.builder import (
    Blob,
    TreeBuilder,
    artifact,
    attestation,
    blob_of,
    buildkit,
    cache_index,
    image,
    index,
    oci_artifact,
    raw,
    schema1,
)
from tests.support.images import Content, dumps
from tests.support.registries import NOWHERE, collect, going, going_in, plan_of


def layers_of(content: Content) -> set[str]:
    """Return the digests of everything a manifest is pushed with."""
    return {content.digest, *(blob.digest for blob in content.blobs)}


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return plan_of(tree, delete_untagged=True, **policy)


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
