"""rm and untag: what goes, what stays because something needs it, and the way back."""

from __future__ import annotations

import os
from typing import Any

import pytest

from regfs.edits.edit import Edited
from regfs.errors import Doubt, ManifestUnknown, NameUnknown, ReferenceInvalid, Refused
from regfs.runs.totals import ActionKind
from tests.support.builder import (
    Content,
    TreeBuilder,
    artifact,
    attestation,
    digest_of,
    image,
    index,
)
from tests.support.edits import assert_pullable, editor, is_served, opened, pruned

ONE, TWO = image(["base", "one"]), image(["base", "two"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", ONE)
    tree.push("app", "v2", TWO)
    return tree


def removed(done: Edited) -> list[str]:
    """Return what went: tags by name, manifests by digest."""
    names = []
    for one in done.removed:
        if one.kind is ActionKind.TAG:
            names.append(one.path.rpartition("/")[2])
        elif one.kind is ActionKind.REVISION:
            names.append(str(one.digest))
    return names


def times(tree: TreeBuilder) -> dict[str, float]:
    return {path: os.stat(tree.root / path).st_mtime for path in tree.files()}


# -- untag ---------------------------------------------------------------------------------


def test_untag_takes_the_tag_and_nothing_else(shop: TreeBuilder) -> None:
    before = shop.files()
    done = editor(shop).untag("app:v1")
    assert removed(done) == ["v1"]
    assert shop.tags("app") == ["v2"]
    assert is_served(shop, "app", ONE)
    assert {path for path in before if "/tags/v1/" not in path} == set(shop.files())
    assert done.frees is not None
    assert done.frees.blobs == 0 == len(pruned(shop))


def test_undo_gives_the_same_bytes_and_times_back(shop: TreeBuilder) -> None:
    before, when = shop.files(), times(shop)
    done = [editor(shop).untag("app:v1"), editor(shop).rm("app:v2"), editor(shop).rm("app")]
    assert not shop.repository_path("app").exists()
    for one in reversed(done):
        assert opened(shop).restore(one.run or "").skipped == []
    assert (shop.files(), times(shop)) == (before, when)


def test_runs_name_the_edits(shop: TreeBuilder) -> None:
    editor(shop).untag("app:v1")
    editor(shop).rm("app:v2")
    found = opened(shop).runs()
    assert sorted(run.kind.value for run in found) == ["rm", "untag"]
    assert {run.state for run in found} == {"applied"}


def test_a_dry_run_changes_nothing(shop: TreeBuilder) -> None:
    before = shop.files("")
    done = editor(shop).rm("app:v1", dry_run=True)
    assert done.run is None
    assert removed(done) == ["v1", ONE.digest]
    assert shop.files("") == before


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_tag_can_be_removed(shop: TreeBuilder, content: bytes | None) -> None:
    path = shop.tag_path("app", "v1")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert removed(editor(shop).untag("app:v1")) == ["v1"]
    assert shop.tags("app") == ["v2"]


def test_untag_takes_tags_only(shop: TreeBuilder) -> None:
    for reference in ("app", f"app@{ONE.digest}"):
        with pytest.raises(ReferenceInvalid, match="untag takes NAME:TAG"):
            editor(shop).untag(reference)


# -- rm NAME:TAG ---------------------------------------------------------------------------


def test_rm_takes_the_image_so_that_a_plain_collection_frees_it(shop: TreeBuilder) -> None:
    assert pruned(shop) == set()
    done = editor(shop).rm("app:v1")
    assert removed(done) == ["v1", ONE.digest]
    own = {blob.digest for blob in ONE.blobs} - {blob.digest for blob in TWO.blobs}
    assert pruned(shop) == {*own, ONE.digest}
    assert done.frees is not None
    sizes = [shop.blob_path(digest).stat().st_size for digest in pruned(shop)]
    assert (done.frees.blobs, done.frees.bytes) == (len(sizes), sum(sizes))
    assert_pullable(shop, "app", "v2", TWO)


def test_another_tag_keeps_the_image(shop: TreeBuilder) -> None:
    shop.push("app", "latest", ONE)
    done = editor(shop).rm("app:v1")
    assert removed(done) == ["v1"]
    (kept,) = done.kept
    assert (kept.what, kept.reason) == (f"app@{ONE.digest}", "app:latest points to it")
    assert_pullable(shop, "app", "latest", ONE)


def test_an_index_goes_with_the_images_that_only_it_lists(tree: TreeBuilder) -> None:
    tree.push("app", "multi", MULTI)
    tree.push("app", "v1", ONE)
    done = editor(tree).rm("app:multi")
    assert set(removed(done)) == {"multi", MULTI.digest, ARM.digest}
    assert_pullable(tree, "app", "v1", ONE)
    assert ARM.digest in pruned(tree)


@pytest.mark.parametrize("tag", ["multi", None])
def test_an_index_that_stays_keeps_the_image(tree: TreeBuilder, tag: str | None) -> None:
    tree.push("app", tag, MULTI)
    tree.tag("app", "v1", ONE.digest)
    done = editor(tree).rm("app:v1")
    assert removed(done) == ["v1"]
    label = "app:multi" if tag else f"app@{MULTI.digest}"
    assert done.kept[0].reason == f"the index {label} lists it"
    assert is_served(tree, "app", MULTI)


def test_what_the_tag_pointed_to_before_stays(shop: TreeBuilder) -> None:
    shop.push("app", "v1", ARM)
    assert removed(editor(shop).rm("app:v1")) == ["v1", ARM.digest]
    assert is_served(shop, "app", ONE)


def test_the_history_of_other_tags_forgets_what_goes(shop: TreeBuilder) -> None:
    shop.tag("app", "v2", ONE.digest)
    shop.tag("app", "v2", TWO.digest)
    done = editor(shop).rm("app:v1")
    assert [one.kind for one in done.removed] == ["tag", "tag-index", "revision"]
    assert not shop.tag_index_path("app", "v2", ONE.digest).exists()
    assert_pullable(shop, "app", "v2", TWO)


def test_tags_of_one_image_named_together_take_it(shop: TreeBuilder) -> None:
    shop.push("app", "latest", ONE)
    assert removed(editor(shop).rm("app:v1", "app:latest")) == ["latest", "v1", ONE.digest]


def test_a_pattern_takes_all_tags_that_match(shop: TreeBuilder) -> None:
    shop.push("app", "latest", ARM)
    assert {"v1", "v2"} == {one for one in removed(editor(shop).rm("app:v*")) if ":" not in one}
    assert_pullable(shop, "app", "latest", ARM)


def test_the_same_image_in_another_repository_stays(shop: TreeBuilder) -> None:
    shop.push("web", "v1", ONE)
    done = editor(shop).rm("app:v1")
    assert done.frees is not None
    assert done.frees.blobs == 0
    assert_pullable(shop, "web", "v1", ONE)
    assert pruned(shop) == set()


# -- what is about an image ------------------------------------------------------------------


def test_referrers_go_with_their_image(shop: TreeBuilder) -> None:
    sbom = artifact(subject=ONE)
    shop.push("app", None, sbom)
    assert set(removed(editor(shop).rm("app:v1"))) == {"v1", ONE.digest, sbom.digest}


@pytest.mark.parametrize("ending", ["sig", "att", "sbom"])
def test_signatures_of_cosign_go_with_their_image(shop: TreeBuilder, ending: str) -> None:
    tag, other = (f"{one.digest.replace(':', '-')}.{ending}" for one in (ONE, TWO))
    shop.push("app", tag, image(["signature"]))
    shop.push("app", other, image(["other"]))
    assert removed(editor(shop).rm("app:v1"))[:2] == [tag, "v1"]
    assert shop.tags("app") == [other, "v2"]


def test_a_list_of_referrers_goes_with_its_image(shop: TreeBuilder) -> None:
    sbom = artifact(subject=ONE)
    later = artifact(["later"], subject=ONE)
    lists = [shop.fallback("app", ONE.digest, *some) for some in ([sbom], [sbom, later])]
    done = editor(shop).rm("app:v1")
    assert shop.tags("app") == ["v2"]
    assert {ONE.digest, sbom.digest, later.digest, *lists} < set(removed(done))


def test_a_referrer_with_a_tag_of_its_own_keeps_its_image(shop: TreeBuilder) -> None:
    sbom = artifact(subject=ONE)
    shop.push("app", "sbom", sbom)
    done = editor(shop).rm("app:v1")
    assert removed(done) == ["v1"]
    assert done.kept[0].reason == "app:sbom, which is about it, has a tag of its own"
    assert is_served(shop, "app", ONE)


def test_a_signature_is_removed_and_its_image_stays(shop: TreeBuilder) -> None:
    tag = f"{ONE.digest.replace(':', '-')}.sig"
    shop.push("app", tag, image(["signature"]))
    editor(shop).rm(f"app:{tag}")
    assert shop.tags("app") == ["v1", "v2"]
    opened(shop).apply(opened(shop).plan())
    assert shop.tags("app") == ["v1", "v2"]


def test_an_index_with_its_attestation_goes_whole(tree: TreeBuilder) -> None:
    built = index(ONE, attestation(ONE))
    tree.push("app", "v1", built)
    editor(tree).rm("app:v1")
    assert not any("revisions" in path for path in tree.files())


# -- rm NAME@DIGEST --------------------------------------------------------------------------


def test_rm_of_a_digest_takes_every_tag_of_it(shop: TreeBuilder) -> None:
    shop.push("app", "latest", ONE)
    done = editor(shop).rm(f"app@{ONE.digest[:20]}")
    assert removed(done) == ["latest", "v1", ONE.digest]


def test_rm_of_a_digest_that_an_index_lists_is_refused(tree: TreeBuilder) -> None:
    tree.push("app", "multi", MULTI)
    before = tree.files()
    with pytest.raises(Refused, match=f"app@{ARM.digest} stays: the index app:multi lists it"):
        editor(tree).rm(f"app@{ARM.digest}")
    assert tree.files() == before


def test_rm_of_a_layer_is_refused(shop: TreeBuilder) -> None:
    with pytest.raises(ManifestUnknown, match="layers are removed with their images"):
        editor(shop).rm(f"app@{ONE.blobs[1].digest}")


def test_a_digest_needs_its_repository(shop: TreeBuilder) -> None:
    with pytest.raises(ReferenceInvalid, match="give the repository too: NAME@DIGEST"):
        editor(shop).rm(ONE.digest)


@pytest.mark.parametrize(
    ("reference", "error"), [("app:v9", ManifestUnknown), ("web", NameUnknown)]
)
def test_what_is_not_there_is_said(shop: TreeBuilder, reference: str, error: Any) -> None:
    with pytest.raises(error, match="no such"):
        editor(shop).rm("app:v1", reference)
    assert_pullable(shop, "app", "v1", ONE)


# -- rm NAME ---------------------------------------------------------------------------------


def test_rm_of_a_repository_leaves_blobs_and_nothing_else(shop: TreeBuilder) -> None:
    shop.push("web", "v1", TWO)
    blobs = shop.blobs()
    done = editor(shop).rm("app")
    assert not shop.repository_path("app").exists()
    assert shop.blobs() == blobs
    assert done.frees is not None
    assert done.frees.blobs == len(pruned(shop)) == 3
    assert_pullable(shop, "web", "v1", TWO)


def test_of_a_tree_without_a_repository_nothing_is_freed(shop: TreeBuilder) -> None:
    done = editor(shop).rm("app")
    assert done.frees is not None
    assert (done.frees.blobs, done.frees.is_certain) == (0, False)


def test_repositories_below_stay_unless_they_are_asked_for(shop: TreeBuilder) -> None:
    shop.push("app/web", "v1", ONE)
    with pytest.raises(Refused, match="a repository lies below it, app/web; give --recursive"):
        editor(shop).rm("app")
    assert_pullable(shop, "app", "v1", ONE)
    editor(shop).rm("app", recursive=True)
    assert not any("/repositories/" in path for path in shop.files())


def test_a_folder_of_repositories_is_removed_with_recursive_only(shop: TreeBuilder) -> None:
    shop.push("team/api", "v1", ONE)
    shop.push("team/web", "v1", ONE)
    with pytest.raises(NameUnknown, match="no such repository: team"):
        editor(shop).rm("team")
    with pytest.raises(NameUnknown, match="no such repository: tea"):
        editor(shop).rm("tea", recursive=True)
    assert_pullable(shop, "team/web", "v1", ONE)
    editor(shop).rm("team", recursive=True)
    assert [one for one in shop.files() if "/team/" in one] == []
    assert_pullable(shop, "app", "v1", ONE)


def test_a_repository_whose_name_begins_alike_stays(shop: TreeBuilder) -> None:
    shop.push("app-web", "v1", ONE)
    editor(shop).rm("app", recursive=True)
    assert_pullable(shop, "app-web", "v1", ONE)


def test_an_upload_that_may_be_under_way_stays(shop: TreeBuilder) -> None:
    old = shop.upload("app", 10)
    with shop.at_age(60):
        young = shop.upload("app", 10)
    done = editor(shop).rm("app")
    assert shop.upload_path("app", young).exists()
    assert not shop.upload_path("app", old).exists()
    assert [one.reason for one in done.kept] == ["a push may be under way; --offline takes it too"]
    assert done.skipped == []
    editor(shop).rm("app", offline=True)
    assert not shop.repository_path("app").exists()


def test_a_file_that_is_not_of_the_layout_stays_and_is_named(shop: TreeBuilder) -> None:
    path = shop.write(shop.repository_path("app") / "_manifests/tags/v1/note.txt", "mine")
    done = editor(shop).rm("app")
    assert path.read_text() == "mine"
    assert shop.relative(path) in {one.path for one in done.skipped}


# -- doubt -----------------------------------------------------------------------------------


def test_a_manifest_that_cannot_be_read_may_be_an_index_of_it(shop: TreeBuilder) -> None:
    shop.write(shop.blob_path(TWO.digest), b"{}")
    before = shop.files()
    with pytest.raises(Doubt, match=r"it is not certain what app needs.*regfs untag"):
        editor(shop).rm("app:v1")
    assert shop.files() == before
    assert removed(editor(shop).untag("app:v1")) == ["v1"]


@pytest.mark.parametrize("damage", [b"{}", None])
def test_a_damaged_image_itself_can_be_removed(shop: TreeBuilder, damage: bytes | None) -> None:
    if damage is None:
        shop.delete_blob(ONE.digest)
    else:
        shop.write(shop.blob_path(ONE.digest), damage)
    assert removed(editor(shop).rm("app:v1")) == ["v1", ONE.digest]
    assert_pullable(shop, "app", "v2", TWO)


def test_a_tag_that_names_no_digest_keeps_all_that_it_ever_pointed_to(shop: TreeBuilder) -> None:
    shop.tag("app", "v2", ONE.digest)
    shop.tag_path("app", "v2").unlink()
    done = editor(shop).rm("app:v1")
    assert removed(done) == ["v1"]
    assert is_served(shop, "app", ONE)


def test_a_tag_whose_link_says_something_else_puts_the_repository_in_doubt(
    shop: TreeBuilder,
) -> None:
    shop.tag_path("app", "v2").write_bytes(b"rubbish")
    with pytest.raises(Doubt):
        editor(shop).rm("app:v1")
    assert set(removed(editor(shop).rm("app:v1", "app:v2"))) == {"v1", "v2", ONE.digest}
    assert is_served(shop, "app", TWO)


def test_damage_in_another_repository_is_none_of_it(shop: TreeBuilder) -> None:
    other = image(["other"])
    shop.push("web", "v1", other)
    shop.write(shop.blob_path(other.digest), b"{}")
    assert removed(editor(shop).rm("app:v1")) == ["v1", ONE.digest]


def test_a_link_out_of_the_tree_is_not_followed(shop: TreeBuilder) -> None:
    shop.tag_folder("app", "v2").rename(shop.root / "elsewhere")
    shop.tag_folder("app", "v2").symlink_to(shop.root / "elsewhere")
    for reference in ("app", "app:v1"):
        with pytest.raises(Doubt):
            editor(shop).rm(reference)
    assert_pullable(shop, "app", "v1", ONE)


def test_a_tree_of_another_owner_is_left_alone(shop: TreeBuilder) -> None:
    shop.write(shop.root / "docker/registry/lockfiles/database-in-use", b"")
    for edit in (editor(shop).rm, editor(shop).untag):
        with pytest.raises(Doubt, match="another program manages this tree"):
            edit("app:v1")
    assert_pullable(shop, "app", "v1", ONE)


def test_a_chain_of_indexes_goes_whole(tree: TreeBuilder) -> None:
    content: Content = image(["deep"])
    tree.push("app", None, content)
    for _ in range(300):
        content = index(content)
        tree.push("app", None, Content(content.data, content.media_type))
    tree.tag("app", "v1", content.digest)
    assert len(removed(editor(tree).rm("app:v1"))) == 302
    assert digest_of(content.data) == content.digest
