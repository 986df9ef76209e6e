"""What verify finds, where, and whose images it says are touched; that it changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.findings import Code, Finding, Severity
from regfs.stores import Listing, Report
from regfs.verify import Level
from tests.make_fixtures import TREES
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
from tests.support.damage import DAMAGE, OTHER
from tests.support.registries import build, new_tree, recipes
from tests.support.verification import (
    BASE,
    V1,
    check,
    codes,
    grave,
    only,
    stocked,
    touched,
    watched,
)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


# -- every damage there is ----------------------------------------------------

BLOB_GONE = {"blob-missing", "link-dangling"}
EXPECTED: dict[str, tuple[set[str], bool]] = {
    "blob-flipped": ({"blob-corrupt"}, True),
    "blob-truncated": ({"blob-corrupt"}, True),
    "blob-grown": ({"blob-corrupt"}, True),
    "blob-empty": ({"blob-corrupt"}, True),
    "blob-missing": (BLOB_GONE, True),
    "blob-folder-missing": (BLOB_GONE, True),
    "blob-wrong-prefix": (BLOB_GONE | {"blob-misplaced"}, True),
    "fifo-data": ({"special-file", "blob-unreadable"}, True),
    "folder-data": ({"path-unreadable", "blob-unreadable"}, True),
    "link-empty": ({"link-empty"}, True),
    "link-newline": ({"link-invalid"}, True),
    "link-garbage": ({"link-invalid"}, True),
    "link-bare-hex": ({"link-invalid"}, True),
    "link-truncated": ({"link-invalid"}, True),
    "link-other-digest": ({"link-mismatch", "link-dangling"}, True),
    "link-missing": ({"tag-dangling"}, True),
    "layer-link-empty": ({"link-empty"}, True),
    "layer-link-newline": ({"link-invalid"}, True),
    "layer-link-garbage": ({"link-invalid"}, True),
    "layer-link-bare-hex": ({"link-invalid"}, True),
    "layer-link-truncated": ({"link-invalid"}, True),
    "layer-link-other-digest": ({"link-mismatch"}, True),
    "layer-link-missing": ({"layer-link-missing"}, True),
    "tag-current-empty": ({"link-empty"}, True),
    "tag-current-newline": ({"link-invalid"}, True),
    "tag-current-garbage": ({"link-invalid"}, True),
    "tag-current-bare-hex": ({"link-invalid"}, True),
    "tag-current-truncated": ({"link-invalid"}, True),
    "tag-current-other-digest": ({"tag-dangling"}, True),
    "tag-current-missing": ({"tag-without-current"}, True),
    "tag-without-current": ({"tag-without-current"}, True),
    "tag-index-missing": (set(), False),
    "fifo-link": ({"special-file"}, True),
    "manifest-missing": ({"link-dangling", "tag-dangling"}, True),
    "manifest-empty": ({"blob-corrupt"}, True),
    "manifest-flipped": ({"blob-corrupt"}, True),
    "manifest-truncated": ({"blob-corrupt"}, True),
    "manifest-not-json": ({"blob-corrupt"}, True),
    "manifest-other-json": ({"blob-corrupt"}, True),
    "manifest-too-large": ({"manifest-too-large", "blob-corrupt"}, True),
    "manifest-unknown-type": ({"manifest-unknown-type"}, True),
    "manifest-deep": ({"manifest-unreadable"}, True),
    "manifest-wrong-types": ({"manifest-unknown-type"}, True),
    "manifest-bogus-digest": ({"descriptor-invalid"}, True),
    "descriptor-wrong-size": ({"descriptor-size-mismatch"}, True),
    "index-child-missing": ({"index-child-missing"}, True),
    "subject-missing": (set(), False),
    "repository-tagless": ({"repository-tagless"}, False),
    "layer-link-dangling": ({"link-dangling"}, False),
    "layer-link-unused": (set(), False),
    "blob-unreferenced": (set(), False),
    "symlink-outside": ({"symlink-outside", "blob-unreadable"}, True),
    "symlink-loop": ({"symlink-loop"}, False),
    "symlink-dangling": ({"symlink-loop", "blob-unreadable"}, True),
    "temporary-file": (set(), False),
    "foreign-file": ({"foreign-path"}, False),
    "junk-file": (set(), False),
    "junk-folder": (set(), False),
    "rsync-half": (set(), False),
    "foreign-blob": ({"foreign-path"}, False),
    "algorithm-unknown": ({"algorithm-unsupported"}, False),
    "uppercase-digest": ({"foreign-path"}, False),
    "repository-invalid-name": ({"repository-invalid-name"}, False),
    "repository-empty": (set(), False),
    "directory-empty": (set(), False),
    "upload-without-startedat": (set(), False),
    "tag-invalid": ({"tag-invalid"}, False),
    "name-not-utf8": ({"repository-invalid-name", "name-not-utf8", "foreign-path"}, False),
}
"""Damage -> the codes above info it must give, and whether `app:v1` is hurt."""


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_damage_is_found_once_and_laid_to_the_right_image(
    shop: TreeBuilder, kind: str
) -> None:
    expected, hurt = EXPECTED[kind]
    shop.break_(kind, "app", "v1")
    result = check(shop)
    assert codes(result) == sorted(expected)
    assert touched(result) - {"app:-not-a-tag"} == ({"app:v1"} if hurt else set())


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("temporary-file", "temporary-file"),
        ("repository-empty", "repository-empty"),
        ("directory-empty", "directory-empty"),
    ],
)
def test_normal_leftovers_are_told_and_weigh_nothing(
    shop: TreeBuilder, kind: str, code: str
) -> None:
    damaged = shop.break_(kind, "app", "v1")
    result = check(shop)
    assert code in [row.finding.code for row in result.findings]
    assert any(damaged.startswith(row.finding.path) for row in result.findings)
    assert result.severity is Severity.INFO


LINK_LEVEL = {kind for kind in DAMAGE if "link" in kind or "tag" in kind} - {
    "layer-link-missing",  # only who reads the manifest knows that it is needed
    "layer-link-unused",  # or that it is not
    "tag-index-missing",
}


@pytest.mark.parametrize("kind", sorted(LINK_LEVEL))
def test_links_are_checked_without_opening_a_blob(shop: TreeBuilder, kind: str) -> None:
    shop.break_(kind, "app", "v1")
    store = watched(shop)
    result = check(shop, store=store, level=Level.LINKS)
    assert grave(result)
    assert result.checked.blobs == result.checked.bytes == result.checked.manifests == 0
    assert not [path for path in store.reads if "/blobs/" in path]


@pytest.mark.parametrize("kind", ["blob-truncated", "blob-grown"])
def test_sizes_are_compared_without_reading_layers(shop: TreeBuilder, kind: str) -> None:
    damaged = shop.break_(kind, "app", "v1")
    store = watched(shop)
    result = check(shop, store=store, level=Level.SIZES)
    row = only(result, Code.BLOB_SIZE_MISMATCH)
    assert (row.finding.path, row.images) == (damaged, ("app:v1",))
    assert damaged not in store.reads


def test_an_empty_blob_is_known_for_corrupt_without_reading_it(shop: TreeBuilder) -> None:
    damaged = shop.break_("blob-empty", "app", "v1")
    result = check(shop, level=Level.SIZES)
    assert [(row.finding.code, row.finding.path) for row in grave(result)] == [
        (Code.BLOB_CORRUPT, damaged)
    ]


def test_the_blob_of_no_bytes_may_be_empty(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(b""), BASE]))
    assert codes(check(tree)) == []


# -- random registries --------------------------------------------------------


def images_of(tree: TreeBuilder, digest: str) -> set[str]:
    """Return the images that need a blob: a plain look at the JSON on the disk."""

    def needs(manifest: str) -> bool:
        if manifest == digest:
            return True
        if manifest not in tree.blobs():
            return False
        document = tree.document(manifest)
        parts = [document.get("config"), *document.get("layers", [])]
        if any(part is not None and part["digest"] == digest for part in parts):
            return True
        return any(needs(child["digest"]) for child in document.get("manifests", []) if _is(child))

    def _is(child: dict[str, Any]) -> bool:
        if child["digest"] == digest:
            return True
        return "manifest" in child["mediaType"] or "index" in child["mediaType"]

    found = set()
    for folder in (tree.v2 / "repositories").rglob("_manifests"):
        name = folder.parent.relative_to(tree.v2 / "repositories").as_posix()
        tags = {tag: tree.current(name, tag) for tag in tree.tags(name)}
        found |= {f"{name}:{tag}" for tag, current in tags.items() if needs(current)}
        revisions = {f"sha256:{path.parent.name}" for path in folder.glob("revisions/*/*/link")}
        listed = {
            child["digest"]
            for revision in revisions
            for child in tree.document(revision).get("manifests", [])
        }
        tops = revisions - set(tags.values()) - listed
        found |= {f"{name}@{revision}" for revision in tops if needs(revision)}
    return found


@given(recipes())
def test_a_registry_that_was_only_used_has_no_errors(recipe: Any) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        result = check(tree)
        partial = {Code.INDEX_CHILD_MISSING, Code.REPOSITORY_TAGLESS}
        assert {row.finding.code for row in grave(result)} <= partial
        assert result.checked.blobs == len(tree.blobs())
        assert result.checked.bytes == sum(tree.blob_path(d).stat().st_size for d in tree.blobs())
        assert result.checked.links == len(list(tree.v2.rglob("link")))


@given(recipes(), st.data())
def test_a_flipped_bit_hurts_exactly_the_images_that_use_the_blob(
    recipe: Any, data: st.DataObject
) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        digest = data.draw(st.sampled_from(sorted(tree.blobs())))
        expected = images_of(tree, digest)
        hollow = {str(row.finding) for row in grave(check(tree))}  # of which nothing is there
        path = tree.blob_path(digest)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        result = check(tree)
        errors = [row for row in grave(result) if row.finding.severity is Severity.ERROR]
        errors = [row for row in errors if str(row.finding) not in hollow]
        assert [row.finding.code for row in errors] == [Code.BLOB_CORRUPT]
        assert set(errors[0].images) == expected
        assert errors[0].affected == len(expected)


@given(recipes(kinds=["image", "index", "cache"]), st.data())
def test_a_lost_layer_hurts_exactly_the_images_that_use_it(
    recipe: Any, data: st.DataObject
) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        digest = data.draw(st.sampled_from(sorted(tree.blobs())))
        expected = images_of(tree, digest)
        # Deleted by digest, a child that an index lists has no link any more.
        manifest = b'"schemaVersion"' in tree.blob_path(digest).read_bytes()
        tree.blob_path(digest).unlink()
        result = check(tree)
        lost = [row for row in result.findings if row.finding.code is Code.BLOB_MISSING]
        if manifest or not expected:
            assert not lost  # a lost manifest is told by its links, or its index
        else:
            assert set(only(result, Code.BLOB_MISSING).images) == expected


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


# -- what lies around ---------------------------------------------------------


def test_a_foreign_folder_is_named_once_whatever_is_in_it(shop: TreeBuilder) -> None:
    folder = shop.blob_path(V1.digest).parent / "copy"
    for number in range(20):
        shop.write(folder / f"{number}/data", b"x")
    result = check(shop, level=Level.LINKS)
    assert [row.finding.path for row in grave(result)] == [shop.relative(folder)]


@pytest.mark.parametrize(
    "path",
    [
        "blobs/sha256/{prefix}/{hex}/data.bak",
        "repositories/app/_manifests/tags/v1/current/link~",
        "repositories/app/_manifests/notes",
        "repositories/app/_uploads/1-2/other",
        "repositories/app/_custom/file",
        "stray",
    ],
)
def test_stray_files_are_seen_everywhere(shop: TreeBuilder, path: str) -> None:
    place = path.format(prefix=V1.digest[7:9], hex=V1.digest[7:])
    shop.write(shop.v2 / place, b"x")
    assert codes(check(shop, level=Level.LINKS)) == ["foreign-path"]


def test_a_link_in_an_upload_named_like_a_digest_is_foreign(shop: TreeBuilder) -> None:
    upload = shop.repository_path("app") / "_uploads" / V1.digest
    path = shop.write(upload / "link", V1.digest.encode())
    row = only(check(shop, level=Level.LINKS), Code.FOREIGN_PATH)
    assert row.finding.path == shop.relative(path)


def test_a_file_with_a_name_that_is_no_text_is_foreign_and_told_why(shop: TreeBuilder) -> None:
    shop.write(shop.blob_path(V1.digest).with_name(os.fsdecode(b"\xff")), b"x")
    assert codes(check(shop)) == ["foreign-path", "name-not-utf8"]


def test_a_second_name_for_a_repository_is_no_error(shop: TreeBuilder) -> None:
    shop.repository_path("alias").symlink_to("app")
    assert sorted(codes(check(shop))) == ["symlink-inside", "symlink-loop"]
    assert check(shop).severity is Severity.WARNING


def test_blobs_without_any_repository_look_like_a_disk_that_is_not_mounted(
    shop: TreeBuilder,
) -> None:
    shutil.rmtree(shop.v2 / "repositories")
    assert codes(check(shop, level=Level.LINKS)) == ["repositories-missing"]
    assert codes(check(shop)) == ["repositories-missing"]


def test_a_fresh_registry_is_clean(tree: TreeBuilder) -> None:
    result = check(tree)
    assert (result.findings, result.severity, result.checked.links) == ((), None, 0)


def test_the_state_of_regfs_itself_is_not_looked_at(shop: TreeBuilder) -> None:
    shop.write(shop.root / ".regfs/quarantine/run/data", b"x")
    assert check(shop).findings == ()


def test_folders_nobody_may_read_are_not_called_empty(shop: TreeBuilder) -> None:
    hidden = shop.relative(shop.repository_path("app") / "_layers/sha256")
    store = watched(shop)
    real = store.tree

    def tree(folder: str, report: Report, **options: Any) -> Iterator[Listing]:
        for listing in real(folder, report, **options):
            if listing.path == hidden:
                report(Finding(Code.PATH_UNREADABLE, hidden))
            elif not listing.path.startswith(hidden + "/"):
                yield listing

    store.tree = tree
    result = check(shop, store=store, level=Level.LINKS)
    assert [(row.finding.code, row.finding.path) for row in result.findings] == [
        (Code.PATH_UNREADABLE, hidden)
    ]


# -- trees that a registry wrote ----------------------------------------------

FIXTURES: dict[str, tuple[list[str], set[str]]] = {
    "whole": ([], set()),
    "damaged-layer-link-missing": (["layer-link-missing"], {"app:v1"}),
    "damaged-tag-without-current": (["tag-without-current"], {"app:v1"}),
    "tutorial": ([], set()),
    "digest-only": (["repository-tagless"], set()),
    "damaged-layer-missing": (["blob-missing", "link-dangling"], {"app:v1"}),
    "damaged-layer-flipped": (["blob-corrupt"], {"app:v1"}),
    "damaged-manifest-empty": (["blob-corrupt"], {"app:v1"}),
    "damaged-manifest-missing": (["link-dangling", "tag-dangling"], {"app:v1"}),
    "damaged-link-empty": (["link-empty"], {"app:v1"}),
}


@pytest.mark.parametrize("name", sorted(path.name for path in TREES.iterdir() if path.is_dir()))
def test_trees_of_the_reference_registry(tmp_path: Path, name: str) -> None:
    expected, images = FIXTURES[name]
    shutil.copytree(TREES / name, tmp_path / name)
    result = check(TreeBuilder(tmp_path / name))
    assert codes(result) == expected
    assert touched(result) == images
