"""Verify on images of every kind, their history and what is beside them."""

from __future__ import annotations

import pytest

from regfs.findings import Code, Severity
from regfs.verify import Level
from tests.support.builder import (
    Blob,
    TreeBuilder,
    artifact,
    attestation,
    buildkit,
    cache_index,
    digest_of,
    dumps,
    image,
    index,
    oci_artifact,
    schema1,
)
from tests.support.damage import OTHER
from tests.support.verification import (
    BASE,
    check,
    codes,
    grave,
    only,
    touched,
)

# -- images of many kinds -----------------------------------------------------


def test_every_kind_of_manifest_is_whole(tree: TreeBuilder) -> None:
    subject = image(["subject"])
    tree.push("kinds", "docker", image(["a"], docker=True))
    tree.push("kinds", "list", index(image(["b"], docker=True), docker=True))
    tree.push("kinds", "old", schema1("kinds", "old", ["c"]))
    tree.push("kinds", "buildkit", buildkit(image(["d"])))
    tree.push("kinds", "cache", cache_index(["e"]))
    tree.push("kinds", "subject", subject)
    tree.push("kinds", None, artifact(["sbom"], subject=subject))
    tree.push("kinds", "artifact", oci_artifact(["blob"], subject=subject))
    tree.push("kinds", "attested", index(subject, attestation(subject)))
    tree.push("kinds", "nested", index(index(image(["f"]))))
    tree.fallback("kinds", subject.digest, artifact(["signature"], subject=subject))
    result = check(tree)
    assert [str(row.finding) for row in result.findings] == []
    assert result.checked.blobs == len(tree.blobs())


def test_a_blob_named_by_another_algorithm_is_whole(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(BASE, algorithm="sha512")]))
    result = check(tree)
    assert [str(row.finding) for row in result.findings] == []


def test_a_blob_stored_by_another_algorithm_is_hashed_with_it(tree: TreeBuilder) -> None:
    digest = digest_of(b"long", "sha512")
    tree.push("app", "v1", image([BASE]))
    tree.write(tree.blob_path(digest), b"lonG")
    row = only(check(tree), Code.BLOB_CORRUPT)
    assert row.finding.digest == digest
    assert str(row.finding.actual).startswith("sha512:")


def test_a_layer_kept_elsewhere_need_not_be_here(tree: TreeBuilder) -> None:
    kept = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    tree.push("windows", "v1", image([Blob(b"far", kept, {"urls": ["x:y"]}, stored=False), BASE]))
    assert codes(check(tree)) == []


def test_a_layer_kept_elsewhere_for_one_image_is_needed_by_another(tree: TreeBuilder) -> None:
    kept = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    tree.push("app", "foreign", image([Blob(b"far", kept, stored=False)]))
    tree.push("app", "plain", image([Blob(b"far", stored=False)]))
    row = only(check(tree), Code.BLOB_MISSING)
    assert row.finding.digest == digest_of(b"far")


def test_a_partial_mirror_is_no_error(tree: TreeBuilder) -> None:
    absent = [image([word]) for word in ("arm", "s390x")]
    pushed = tree.push("mirror", "v1", index(image([BASE]), sparse=absent))
    result = check(tree)
    assert codes(result) == ["index-child-missing"] * 2
    assert {row.finding.expected for row in grave(result)} == {one.digest for one in absent}
    assert {row.finding.digest for row in grave(result)} == {pushed}


def test_a_child_in_another_repository_cannot_be_pulled_from_this_one(tree: TreeBuilder) -> None:
    child = image([BASE])
    tree.push("other", "v1", child)
    tree.push("app", "v1", index(sparse=[child]))
    row = only(check(tree), Code.INDEX_CHILD_MISSING)
    assert (row.finding.repository, row.images) == ("app", ("app:v1",))


def test_a_layer_link_in_another_repository_does_not_count(tree: TreeBuilder) -> None:
    tree.push("other", "v1", image([BASE]))
    tree.push("app", "v1", image([BASE, "x"]))
    tree.push("app", "v2", image(["x"]))
    tree.delete_layer_link("app", digest_of(BASE))
    result = check(tree)
    assert codes(result) == ["layer-link-missing"]
    assert touched(result) == {"app:v1"}


def test_a_tag_to_a_manifest_of_another_repository_dangles(tree: TreeBuilder) -> None:
    pushed = tree.push("other", "v1", image([BASE]))
    tree.push("app", "v1", image(["x"]))
    tree.tag("app", "stolen", pushed)
    row = only(check(tree, level=Level.LINKS), Code.TAG_DANGLING)
    assert row.images == ("app:stolen",)
    assert "no revision link" in row.finding.message


def test_a_shared_layer_touches_images_through_every_index(tree: TreeBuilder) -> None:
    inner = image([BASE, "deep"])
    tree.push("a", "nested", index(index(inner)))
    tree.push("b", "plain", image([BASE]))
    tree.push("b", "other", image(["x"]))
    tree.push("b", None, image([BASE, "untagged"]))
    tree.break_("blob-flipped", "b", "plain", digest_of(BASE))
    untagged = image([BASE, "untagged"]).digest
    assert only(check(tree), Code.BLOB_CORRUPT).images == (
        "a:nested",
        "b:plain",
        f"b@{untagged}",
    )


def test_more_images_than_can_be_named_are_counted(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.report.IMAGES_LIMIT", 3)
    pushed = tree.push("app", "t0", image([BASE]))
    for number in range(1, 5):
        tree.tag("app", f"t{number}", pushed)
    tree.break_("blob-flipped", "app", "t0")
    row = only(check(tree), Code.BLOB_CORRUPT)
    assert (row.images, row.affected) == (("app:t0", "app:t1", "app:t2"), 5)


def test_an_index_that_promises_another_size_than_its_child_has_is_wrong(
    tree: TreeBuilder,
) -> None:
    child = image([BASE])
    document = {**index(child).document}
    document["manifests"][0]["size"] += 1
    tree.push("app", "plain", child)
    digest = tree.blob(dumps(document))
    tree.revision("app", digest)
    tree.tag("app", "multi", digest)
    for level in (Level.SIZES, Level.DIGESTS):
        row = only(check(tree, level=level), Code.DESCRIPTOR_SIZE_MISMATCH)
        assert (row.finding.digest, row.images) == (digest, ("app:multi",))
        assert child.digest in str(row.finding.expected)


def test_what_nothing_uses_is_told_as_a_leftover(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([BASE]))
    unused = tree.add_blob("app", "unused")
    orphan = tree.blob(b"orphan")
    result = check(tree)
    unreferenced = {
        row.finding.digest for row in result.findings if row.finding.code is Code.BLOB_UNREFERENCED
    }
    assert unreferenced == {unused, orphan}
    assert only(result, Code.LAYER_LINK_UNUSED).finding.digest == unused
    assert result.severity is Severity.INFO


def test_nothing_is_called_unused_beside_a_manifest_that_cannot_be_read(
    tree: TreeBuilder,
) -> None:
    tree.push("app", "v1", image([BASE]))
    tree.add_blob("app", "perhaps in it")
    tree.break_("manifest-truncated", "app", "v1")
    assert codes(check(tree)) == ["blob-corrupt"]
    leftovers = {Code.LAYER_LINK_UNUSED, Code.BLOB_UNREFERENCED}
    assert not leftovers & {row.finding.code for row in check(tree).findings}


def test_a_referrer_without_its_subject_is_worth_knowing(tree: TreeBuilder) -> None:
    tree.push("app", "v1", artifact(["sbom"], subject=image(["never pushed"])))
    result = check(tree)
    assert only(result, Code.SUBJECT_MISSING).finding.severity is Severity.INFO
    assert codes(result) == []


def test_a_repository_pushed_by_digest_only_has_no_tags(tree: TreeBuilder) -> None:
    tree.push("app", None, image([BASE]))
    assert codes(check(tree, level=Level.LINKS)) == ["repository-tagless"]


def test_only_old_uploads_are_stale(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([BASE]))
    tree.upload("app", 3)
    with tree.at_age(8 * 86400):
        old = tree.upload("app", 3)
    tree.set_age(tree.upload_path("app", old), 8 * 86400)
    row = only(check(tree, level=Level.LINKS), Code.UPLOAD_STALE)
    assert row.finding.path.endswith(old)


# -- history and side links ---------------------------------------------------


def test_a_history_of_what_is_gone_is_usual(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([BASE]))
    tree.write(tree.tag_index_path("app", "v1", OTHER), OTHER)
    result = check(tree)
    assert only(result, Code.LINK_DANGLING).finding.severity is Severity.INFO
    assert codes(result) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [("", Code.LINK_EMPTY), ("x", Code.LINK_INVALID), (OTHER, Code.LINK_MISMATCH)],
)
def test_a_broken_history_breaks_no_image(tree: TreeBuilder, content: str, code: Code) -> None:
    pushed = tree.push("app", "v1", image([BASE]))
    tree.write(tree.tag_index_path("app", "v1", pushed), content)
    row = only(check(tree), code)
    assert (row.finding.severity, row.images) == (Severity.WARNING, ())


def test_signatures_and_referrer_links_are_part_of_the_layout(tree: TreeBuilder) -> None:
    pushed = tree.push("app", "v1", image([BASE]))
    signature = tree.blob(b"signature")
    revision = tree.revision_path("app", pushed).parent
    tree.write(revision / "signatures/sha256" / signature[7:] / "link", signature)
    referrer = revision / "_referrers/_application/vnd.x/sha256" / OTHER[7:] / "link"
    tree.write(referrer, "x")
    result = check(tree, level=Level.LINKS)
    assert codes(result) == ["link-invalid"]
    assert grave(result)[0].finding.severity is Severity.WARNING
